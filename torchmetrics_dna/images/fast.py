"""Choose between the compiled functions for images and plain ones. Their results are equal to the last bit."""

from __future__ import annotations

from typing import Any

from torchmetrics_dna.extras import loaded, optional

# Images that take longer to resize and measure without numba than numba takes to load its cache.
_WORTH_LOADING = 200
# Images that take longer to resize and measure without numba than numba takes to compile.
_WORTH_COMPILING = 1000


def compiled_images() -> Any:
    """Return the compiled functions if numba is loaded in this process and need not compile them, else None."""
    module = loaded("images.cpu")
    if module is None or not module.is_ready():
        return None
    return module


def prepare(num_images: int | None) -> None:
    """Load or compile the functions if a number of images is worth it; None is a stream, which may be long.

    Call this before worker processes are forked, which have the functions then.
    """
    if num_images is not None and num_images <= _WORTH_LOADING:
        return
    module = optional("images.cpu")
    if module is None:
        return
    if module.is_ready() or num_images is None or num_images > _WORTH_COMPILING:
        module.prepare()
