"""Byte planes of counts in files, least significant first.

Bytes of equal significance are stored together, which compresses better and faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_planes(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Split counts ``(n, num_bins)`` into byte planes ``(bytes, n, num_bins)``, as few as hold them."""
    values = np.ascontiguousarray(counts, "<i8")
    used = max(1, (int(values.max(initial=0)).bit_length() + 7) // 8)
    return np.ascontiguousarray(values.view(np.uint8).reshape(*values.shape, 8)[..., :used].transpose(2, 0, 1))


def check_planes(planes: NDArray[Any], shape: tuple[int, int], num_values: int) -> None:
    """Raise ValueError unless the planes have this shape, and counts of each neuron sum to ``num_values``."""
    if planes.ndim != 3 or planes.shape[1:] != shape or planes.dtype != np.uint8 or not 1 <= len(planes) <= 8:
        raise ValueError(f"its counts are {planes.dtype} of shape {planes.shape}, expected uint8, up to 8 of {shape}")
    if len(planes) == 8 and planes[7].max(initial=0) > 127:
        raise ValueError("its counts are larger than 2^63 - 1")
    sums = sum(plane.sum(1, dtype=np.int64) << (8 * k) for k, plane in enumerate(planes))
    if np.any(sums != num_values):
        raise ValueError(f"its counts of a layer do not add up to {num_values} values")


def from_planes(planes: NDArray[Any], counts: NDArray[np.int64]) -> None:
    """Invert :func:`to_planes` into ``counts``."""
    counts[:] = planes[0]
    for k in range(1, len(planes)):
        counts += planes[k].astype(np.int64) << (8 * k)


def largest_count(planes: NDArray[Any]) -> int:
    """Return the largest count.

    Example:
        >>> largest_count(to_planes(np.array([[7, 300], [2, 299]])))
        300

    """
    counts = np.empty(planes.shape[1:], np.int64)
    from_planes(planes, counts)
    return int(np.max(counts, initial=0))
