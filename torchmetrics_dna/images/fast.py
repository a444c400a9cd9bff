"""Choose between the compiled and the uncompiled functions for images. Their results are equal to the last bit."""

from __future__ import annotations

from typing import Any

from torchmetrics_dna.extras import loaded, optional

# Number of images above which loading numba's cache takes less time than it saves.
_WORTH_LOADING = 200
# Number of images above which compiling the functions takes less time than it saves.
_WORTH_COMPILING = 1000


def compiled_images() -> Any:
    """Return the module of compiled functions.

    Return None if the module is not loaded in this process, or its functions are not compiled yet.
    """
    module = loaded("images.cpu")
    if module is None or not module.is_ready():
        return None
    return module


def prepare(num_images: int | None) -> None:
    """Load or compile the functions if there are enough images to save time.

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
