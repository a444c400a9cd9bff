"""Compare the pixels of image pairs, and find a change of all pixels that explains the differences exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

LEVELS = 256
WHITE = LEVELS - 1
# Number of grey levels by which rounding may change a pixel.
ROUNDING = 1
# Share of the pairs that a change must explain.
NEARLY_ALL = 0.95
# Smallest and largest gamma of the search.
GAMMAS = (0.2, 5.0)
# Number of different grey levels between black and white from which a gamma is estimated.
LEAST_LEVELS = 8
# Number of values that are counted at a time.
_CHUNK = 1 << 20
# Black and white of the limited range of video.
_LOW = 16
_HIGH = 235
# Interval without values.
_EMPTY = (np.inf, -np.inf)

SWAPPED = "swapped channels"
LIMITED = "limited range"
FULL = "full range"
GAMMA = "gamma"


def swap_channels(image: Bytes) -> Bytes:
    """Exchange the first and the last channel, as in BGR for RGB."""
    return image[..., ::-1]


def to_limited_range(image: Bytes) -> Bytes:
    """Map grey levels 0 to 255 to 16 to 235."""
    levels = np.arange(LEVELS) * (_HIGH - _LOW) / WHITE + _LOW
    return levels.round().astype(np.uint8)[image]


def to_full_range(image: Bytes) -> Bytes:
    """Map grey levels 16 to 235 to 0 to 255, and clip those beyond."""
    levels = (np.arange(LEVELS) - float(_LOW)) * WHITE / (_HIGH - _LOW)
    return levels.round().clip(0, WHITE).astype(np.uint8)[image]


#: Changes without an amount, in the order in which they are tried.
EXACT_CHANGES: dict[str, Callable[[Bytes], Bytes]] = {
    SWAPPED: swap_channels,
    LIMITED: to_limited_range,
    FULL: to_full_range,
}


class PairDifference(NamedTuple):
    """Differences between the pixels of two images of one shape.

    Attributes:
        counts: Number of values of each absolute difference, int64, ``(256,)``.
        changes: Names of the changes among ``EXACT_CHANGES`` of A that give B, up to rounding.
        gammas: The least and the largest gamma that gives B, up to rounding; the first is larger if there is none.

    """

    counts: NDArray[np.int64]
    changes: tuple[str, ...]
    gammas: tuple[float, float]

    @property
    def largest(self) -> int:
        """Largest absolute difference."""
        return int(self.counts.nonzero()[0].max())


@dataclass(frozen=True)
class PixelDifferences:
    """Differences between the pixels of pairs of images, in grey levels.

    Attributes:
        num_pairs: Number of pairs that were compared.
        num_total: Number of pairs that these were drawn from.
        num_different: Number of these pairs that differ in at least one pixel.
        num_other_shapes: Number of pairs whose images differ in size; their pixels were not compared.
        share: Share of the values that differ, in the pairs that differ. A pixel has a value for each channel.
        median: Median of the absolute differences of these values: at least half of them are not larger.
        largest: Largest absolute difference.
        change: Name of the change of A that gives B up to rounding in nearly all pairs that differ by more than
            rounding; None if there is none.
        amount: Its gamma; None for a change without an amount.
        num_explained: Number of pairs in which this change gives B.
        num_unequal: Number of pairs that differ by more than rounding.

    """

    num_pairs: int
    num_total: int
    num_different: int
    num_other_shapes: int
    share: float = 0.0
    median: int = 0
    largest: int = 0
    change: str | None = None
    amount: float | None = None
    num_explained: int = 0
    num_unequal: int = 0


def compare_pixels(pairs: Iterable[tuple[Bytes, Bytes]], num_total: int | None = None) -> PixelDifferences:
    """Compare the pixels of pairs of images.

    A change of A explains a pair if it gives every value of B within one grey level. A change is named if it explains
    at least 95 % of the pairs that differ by more than one grey level.

    Args:
        pairs: Images ``(H, W, C)`` of A and of B, uint8, of any size.
        num_total: Number of pairs that these were drawn from; by default their own number.

    Returns:
        The differences, and the change that explains the most pairs.

    Example:
        >>> image = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
        >>> compare_pixels([(image, image[..., ::-1])]).change
        'swapped channels'

    """
    compared = list[PairDifference]()
    num_pairs = 0
    for a, b in pairs:
        num_pairs += 1
        if a.shape == b.shape:
            compared.append(compare_pair(a, b))
    num_other_shapes = num_pairs - len(compared)
    if num_total is None:
        num_total = num_pairs
    different = [pair for pair in compared if pair.largest > 0]
    if not different:
        return PixelDifferences(num_pairs, num_total, 0, num_other_shapes)
    counts = np.sum([pair.counts for pair in different], axis=0)
    unequal = [pair for pair in different if pair.largest > ROUNDING]
    change, amount, num_explained = explaining_change(unequal)
    return PixelDifferences(
        num_pairs,
        num_total,
        len(different),
        num_other_shapes,
        share=float(counts[1:].sum() / counts.sum()),
        median=median_difference(counts),
        largest=max(pair.largest for pair in different),
        change=change,
        amount=amount,
        num_explained=num_explained,
        num_unequal=len(unequal),
    )


def compare_pair(a: Bytes, b: Bytes) -> PairDifference:
    """Compare the pixels of two images of one shape."""
    joint = joint_counts(a, b)
    levels_a, levels_b = joint.nonzero()
    differences = np.abs(levels_a - levels_b)
    counts = np.zeros(LEVELS, np.int64)
    np.add.at(counts, differences, joint[levels_a, levels_b])
    if differences.max() <= ROUNDING:
        return PairDifference(counts, (), _EMPTY)
    changes = tuple(name for name, change in EXACT_CHANGES.items() if are_equal(change(a), b))
    return PairDifference(counts, changes, possible_gammas(levels_a, levels_b))


def joint_counts(a: Bytes, b: Bytes) -> NDArray[np.int64]:
    """Count how often each grey level of A is at the place of each grey level of B, shape ``(256, 256)``."""
    counts = np.zeros(LEVELS * LEVELS, np.int64)
    values_a = a.reshape(-1)
    values_b = b.reshape(-1)
    for start in range(0, len(values_a), _CHUNK):
        part = slice(start, start + _CHUNK)
        cells = values_a[part].astype(np.int64) * LEVELS + values_b[part]
        counts += np.bincount(cells, minlength=LEVELS * LEVELS)
    return counts.reshape(LEVELS, LEVELS)


def are_equal(a: Bytes, b: Bytes) -> bool:
    """True if no value of two images differs by more than rounding."""
    return bool((np.maximum(a, b) - np.minimum(a, b)).max() <= ROUNDING)


def possible_gammas(levels_a: NDArray[np.int64], levels_b: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of gammas g for which each level b is 255 (a / 255)^g, rounded, within one grey level.

    The first end is larger than the second if there is no such gamma, or if A has too few levels to estimate one.
    """
    is_end = (levels_a == 0) | (levels_a == WHITE)
    # A gamma does not change black and white.
    if (np.abs(levels_a - levels_b)[is_end] > ROUNDING).any():
        return _EMPTY
    inner_a = levels_a[~is_end] / WHITE
    inner_b = levels_b[~is_end].astype(float)
    if len(np.unique(inner_a)) < LEAST_LEVELS:
        return _EMPTY
    slack = ROUNDING + 0.5
    darkest = (inner_b - slack).clip(min=0) / WHITE
    brightest = (inner_b + slack) / WHITE
    # The logarithm of black is minus infinity, so that any large gamma gives black.
    with np.errstate(divide="ignore"):
        largest = np.log(darkest) / np.log(inner_a)
    least = np.log(brightest) / np.log(inner_a)
    return max(GAMMAS[0], float(least.max())), min(GAMMAS[1], float(largest.min()))


def common_gamma(intervals: Sequence[tuple[float, float]]) -> float | None:
    """Return the gamma that lies in the most intervals, the middle of where these overlap; None if all are empty."""
    filled = np.array([interval for interval in intervals if interval[0] <= interval[1]]).reshape(-1, 2)
    if not len(filled):
        return None
    least, largest = filled.T
    # Whether interval i, in row i, holds the least gamma of interval j, in column j.
    holds = (least[:, None] <= least) & (least <= largest[:, None])
    start = least[holds.sum(axis=0).argmax()]
    holds_start = (least <= start) & (start <= largest)
    return float((start + largest[holds_start].min()) / 2)


def explaining_change(pairs: Sequence[PairDifference]) -> tuple[str | None, float | None, int]:
    """Return the change that explains the most pairs, its gamma if it is one, and the number of these pairs.

    The change is None unless it explains nearly all pairs.
    """
    num_explained = {name: sum(name in pair.changes for pair in pairs) for name in EXACT_CHANGES}
    gamma = common_gamma([pair.gammas for pair in pairs])
    if gamma is not None:
        num_explained[GAMMA] = sum(pair.gammas[0] <= gamma <= pair.gammas[1] for pair in pairs)
    best = max(num_explained, key=num_explained.__getitem__)
    if not pairs or num_explained[best] < NEARLY_ALL * len(pairs):
        return None, None, 0
    amount = gamma if best == GAMMA else None
    return best, amount, num_explained[best]


def median_difference(counts: NDArray[np.int64]) -> int:
    """Return the median of the differences above 0, of which there is at least one: half are not larger."""
    above = counts.copy()
    above[0] = 0
    cumulative = above.cumsum()
    return int(np.searchsorted(cumulative, cumulative[-1] / 2))
