"""What a batch of images must look like."""

from __future__ import annotations

import torch
from torch import Tensor


def check_images(imgs: Tensor, normalize: bool) -> None:
    """ValueError (TypeError if it is no tensor) unless ``imgs`` is a batch of RGB images.

    Args:
        imgs: Shape ``(B, 3, H, W)``.
        normalize: False: uint8 is expected. True: floating point in [0, 1].

    """
    if not isinstance(imgs, Tensor):
        raise TypeError(f"Argument `imgs` expected to be a Tensor, but got {type(imgs).__name__}")
    if imgs.ndim != 4 or imgs.shape[1] != 3:
        raise ValueError(f"Argument `imgs` expected to have shape (B, 3, H, W), but got {tuple(imgs.shape)}")
    if 0 in imgs.shape:
        raise ValueError(f"Argument `imgs` expected to hold images, but got shape {tuple(imgs.shape)}")
    if not normalize:
        if imgs.dtype != torch.uint8:
            raise ValueError(
                f"Argument `imgs` expected to be uint8, but got {imgs.dtype}; for floats in [0, 1] set `normalize=True`"
            )
        return
    if not imgs.is_floating_point():
        raise ValueError(
            f"Argument `imgs` expected to be floating point with `normalize=True`, but got {imgs.dtype};"
            " for uint8 set `normalize=False`"
        )
    low, high = torch.stack(torch.aminmax(imgs.detach())).tolist()
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise ValueError(
            f"Argument `imgs` expected to lie in [0, 1] with `normalize=True`, but got values from {low:g} to {high:g}"
        )
