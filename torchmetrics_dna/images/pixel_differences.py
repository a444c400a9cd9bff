"""Compare the pixels of pairs of images A and B.

If the difference of a pair is a known change of all pixels, such as swapped channels or a gamma, the change is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

LEVELS = 256
WHITE = LEVELS - 1
# Largest difference in grey levels that counts as rounding.
ROUNDING = 1
# Share of the unequal pairs that a change must explain.
NEARLY_ALL = 0.95
# Smallest and largest gamma that is searched for.
GAMMAS = (0.2, 5.0)
# Smallest number of different grey levels, without black and white, from which a gamma is estimated.
LEAST_LEVELS = 8
# Number of pixel values that are counted at a time.
_CHUNK = 1 << 20
# Grey levels of black and white in the limited range of video.
_LOW = 16
_HIGH = 235
# Empty interval: its lower end is larger than its upper end.
_EMPTY = (np.inf, -np.inf)

SWAPPED = "swapped channels"
LIMITED = "limited range"
FULL = "full range"
GAMMA = "gamma"


def swap_channels(image: Bytes) -> Bytes:
    """Reverse the order of the channels, as from RGB to BGR."""
    return image[..., ::-1]


def to_limited_range(image: Bytes) -> Bytes:
    """Map the grey levels from 0 to 255 to the range from 16 to 235."""
    levels = np.arange(LEVELS) * (_HIGH - _LOW) / WHITE + _LOW
    return levels.round().astype(np.uint8)[image]


def to_full_range(image: Bytes) -> Bytes:
    """Map the grey levels from 16 to 235 to the range from 0 to 255. Other grey levels are clipped."""
    levels = (np.arange(LEVELS) - float(_LOW)) * WHITE / (_HIGH - _LOW)
    return levels.round().clip(0, WHITE).astype(np.uint8)[image]


#: Changes without an amount, by name. If several explain the same number of pairs, the first one is reported.
EXACT_CHANGES: dict[str, Callable[[Bytes], Bytes]] = {
    SWAPPED: swap_channels,
    LIMITED: to_limited_range,
    FULL: to_full_range,
}


class PairDifference(NamedTuple):
    """Differences between the pixels of an image A and an image B of the same shape.

    Attributes:
        counts: Number of pixel values with each absolute difference from 0 to 255, int64, ``(256,)``.
        changes: Names of the changes in ``EXACT_CHANGES`` that convert A to B, up to rounding.
        gammas: Smallest and largest gamma that converts A to B, up to rounding. If there is no such gamma, the first is
            larger than the second.

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
        num_pairs: Number of pairs, which may be a sample of all pairs.
        num_total: Number of all pairs.
        num_different: Number of pairs that differ in at least one pixel.
        num_other_shapes: Number of pairs whose images differ in size, so that their pixels were not compared.
        share: Share of the pixel values that differ, among the pairs that differ. A pixel has one value per channel.
        median: Median of the absolute differences above 0.
        largest: Largest absolute difference.
        change: Name of the change that converts A to B, up to rounding, in at least 95% of the unequal pairs. None if
            there is no such change.
        amount: Gamma of the change. None for a change without an amount.
        num_explained: Number of unequal pairs that the change explains.
        num_unequal: Number of unequal pairs. Their images differ by more than rounding in at least one value.

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

    A change explains a pair if it converts A to B with a difference of at most one grey level. A change is reported if
    it explains at least 95% of the pairs that differ by more than one grey level.

    Args:
        pairs: Images ``(H, W, C)`` of A and of B, uint8, of any size.
        num_total: Number of all pairs, if ``pairs`` is a sample of them. By default, the number of ``pairs``.

    Returns:
        The differences, and the change that explains most pairs.

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
        return PixelDifferences(
            num_pairs=num_pairs, num_total=num_total, num_different=0, num_other_shapes=num_other_shapes
        )
    counts = np.sum([pair.counts for pair in different], axis=0)
    unequal = [pair for pair in different if pair.largest > ROUNDING]
    explanation = explaining_change(unequal)
    return PixelDifferences(
        num_pairs=num_pairs,
        num_total=num_total,
        num_different=len(different),
        num_other_shapes=num_other_shapes,
        share=float(counts[1:].sum() / counts.sum()),
        median=median_difference(counts),
        largest=max(pair.largest for pair in different),
        change=explanation.change,
        amount=explanation.amount,
        num_explained=explanation.num_pairs,
        num_unequal=len(unequal),
    )


def compare_pair(a: Bytes, b: Bytes) -> PairDifference:
    """Compare the pixels of two images of the same shape."""
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
    """Count the pixel values for each pair of a grey level in A (row) and in B (column), shape ``(256, 256)``."""
    counts = np.zeros(LEVELS * LEVELS, np.int64)
    values_a = a.reshape(-1)
    values_b = b.reshape(-1)
    for start in range(0, len(values_a), _CHUNK):
        part = slice(start, start + _CHUNK)
        cells = values_a[part].astype(np.int64) * LEVELS + values_b[part]
        counts += np.bincount(cells, minlength=LEVELS * LEVELS)
    return counts.reshape(LEVELS, LEVELS)


def are_equal(a: Bytes, b: Bytes) -> bool:
    """Return True if no value of two images differs by more than rounding."""
    return bool((np.maximum(a, b) - np.minimum(a, b)).max() <= ROUNDING)


def possible_gammas(levels_a: NDArray[np.int64], levels_b: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of gammas that convert levels of A to levels of B, with a tolerance of one grey level.

    A gamma g converts the level a to 255 (a / 255)^g, rounded.

    Args:
        levels_a: Grey levels in A.
        levels_b: Grey level in B of the same pixel, for each grey level in A.

    Returns:
        Lower and upper end of the interval. The lower end is larger than the upper end if there is no such gamma, or if
        A has too few grey levels for an estimate.

    """
    is_black_or_white = (levels_a == 0) | (levels_a == WHITE)
    # A gamma does not change black and white.
    changes_of_black_and_white = np.abs(levels_a - levels_b)[is_black_or_white]
    if (changes_of_black_and_white > ROUNDING).any():
        return _EMPTY
    inner_a = levels_a[~is_black_or_white] / WHITE
    inner_b = levels_b[~is_black_or_white].astype(float)
    if len(np.unique(inner_a)) < LEAST_LEVELS:
        return _EMPTY
    # The level in B was rounded, by half a level at most.
    tolerance = ROUNDING + 0.5
    darkest = (inner_b - tolerance).clip(min=0) / WHITE
    brightest = (inner_b + tolerance) / WHITE
    # Ignore divisions by zero: the logarithm of black is minus infinity, so that no gamma is too large.
    with np.errstate(divide="ignore"):
        largest_gammas = np.log(darkest) / np.log(inner_a)
    least_gammas = np.log(brightest) / np.log(inner_a)
    # A common gamma of all levels lies between the largest lower bound and the smallest upper bound.
    lower = max(GAMMAS[0], float(least_gammas.max()))
    upper = min(GAMMAS[1], float(largest_gammas.min()))
    return lower, upper


def common_gamma(intervals: Sequence[tuple[float, float]]) -> float | None:
    """Return the gamma that lies in the largest number of intervals; None if all intervals are empty.

    The gamma is the middle of the range that these intervals share.
    """
    nonempty = [(lower, upper) for lower, upper in intervals if lower <= upper]
    if not nonempty:
        return None
    lower_ends, upper_ends = np.array(nonempty).T
    # The range shared by most intervals begins at the lower end of an interval.
    # Element (i, j) is True if interval i contains the lower end of interval j.
    contains = (lower_ends[:, None] <= lower_ends) & (lower_ends <= upper_ends[:, None])
    start = lower_ends[contains.sum(axis=0).argmax()]
    contains_start = (lower_ends <= start) & (start <= upper_ends)
    return float((start + upper_ends[contains_start].min()) / 2)


class Explanation(NamedTuple):
    """Change that explains the differences of nearly all pairs.

    Attributes:
        change: Name of the change. None if no change explains nearly all pairs.
        amount: Gamma of the change. None for a change without an amount.
        num_pairs: Number of pairs that the change explains.

    """

    change: str | None = None
    amount: float | None = None
    num_pairs: int = 0


def explaining_change(pairs: Sequence[PairDifference]) -> Explanation:
    """Return the change that explains most pairs. Its name is None unless these are nearly all pairs."""
    if not pairs:
        return Explanation()
    num_explained = {name: sum(name in pair.changes for pair in pairs) for name in EXACT_CHANGES}
    gamma = common_gamma([pair.gammas for pair in pairs])
    if gamma is not None:
        num_explained[GAMMA] = sum(pair.gammas[0] <= gamma <= pair.gammas[1] for pair in pairs)
    best = max(num_explained, key=num_explained.__getitem__)
    if num_explained[best] < NEARLY_ALL * len(pairs):
        return Explanation()
    amount = gamma if best == GAMMA else None
    return Explanation(best, amount, num_explained[best])


def median_difference(counts: NDArray[np.int64]) -> int:
    """Return the median of the differences above 0. There must be at least one such difference.

    Args:
        counts: Number of pixel values with each absolute difference, ``(256,)``.

    """
    counts_above_0 = counts.copy()
    counts_above_0[0] = 0
    cumulative = counts_above_0.cumsum()
    return int(np.searchsorted(cumulative, cumulative[-1] / 2))
