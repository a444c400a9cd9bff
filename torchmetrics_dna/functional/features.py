"""Checks of the features of single images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def check_features(a: Tensor, b: Tensor, name: str) -> None:
    """Check two sets of features, each ``(images, n)``, for a distance of this name.

    Raises:
        ValueError: If shapes or dtypes are wrong, or a value is not finite.
        RuntimeError: If a set is empty.

    """
    shapes = [tuple(features.shape) for features in (a, b)]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"Expected two sets of features, each (images, n), but got shapes {shapes[0]} and {shapes[1]}")
    if not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(f"Expected features in floating point, but got {a.dtype} and {b.dtype}")
    if not (len(a) and len(b)):
        raise RuntimeError(
            f"At least one image is required for both sides to compute {name}, but got {len(a)} and {len(b)}"
        )
    for features in (a, b):
        check_finite_rows(features, name)


def check_finite_rows(features: Tensor, name: str) -> None:
    """Raise ValueError that names the first image with NaN or infinity, in ``(images, n)``, if any."""
    bad = ~features.isfinite().all(1)
    if bad.any():
        raise ValueError(
            f"Expected finite features to compute {name}, but got NaN or infinity in {int(bad.sum())} of {len(bad)}"
            f" images, first in image {int(bad.nonzero()[0])}; leave them out, and check the network"
        )
