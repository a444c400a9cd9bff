"""Choose between the compiled functions for images and plain ones. Their results are equal to the last bit."""

from __future__ import annotations

from typing import Any

from torchmetrics_dna.extras import loaded, optional

# Images that take longer to resize and measure without numba than numba takes to load its cache.
_WORTH_LOADING = 200
# Images that take longer to resize and measure without numba than numba takes to compile.
_WORTH_COMPILING = 1000


def compiled_images() -> Any:
    """Return the compiled functions; None if numba is not loaded in this process, or would have to compile them."""
    module = loaded("images.cpu")
    if module is None or not module.is_ready():
        return None
    return module


def prepare(num_images: int | None) -> None:
    """Load or compile the functions if there are enough images for this to save time.

    Call this before worker processes are forked, so that they inherit the functions.

    Args:
        num_images: Number of images; None for a stream, which may be long.

    """
    if num_images is not None and num_images <= _WORTH_LOADING:
        return
    module = optional("images.cpu")
    if module is None:
        return
    if module.is_ready() or num_images is None or num_images > _WORTH_COMPILING:
        module.prepare()
