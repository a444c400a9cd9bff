"""Pixels of pairs: differences against numpy, and changes of all pixels that are named with their amounts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from torchmetrics_dna.demo import jpeg, photographs
from torchmetrics_dna.images.pixel_differences import (
    FULL,
    GAMMA,
    LIMITED,
    SWAPPED,
    PixelDifferences,
    common_gamma,
    compare_pixels,
    possible_gammas,
    to_full_range,
    to_limited_range,
)

Picture = NDArray[np.uint8]

PHOTOS = [photo for photo in photographs(60) if np.ptp(photo, axis=2).mean() > 12][:20]
# Images of different sizes, the first of which is larger than what is counted at once.
SIZES = [(700, 600), (192, 64), (1, 9), (33, 50), (64, 64)]


def rounded(values: NDArray[np.float64]) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


def swapped(image: Picture) -> Picture:
    return image[..., ::-1]


def limited(image: Picture) -> Picture:
    return rounded(16 + image.astype(float) * 219 / 255)


def full(image: Picture) -> Picture:
    return rounded((image.astype(float) - 16) * 255 / 219)


def with_gamma(gamma: float, image: Picture) -> Picture:
    return rounded(255 * (image / 255) ** gamma)


def noisy(image: Picture, deviation: float, seed: int) -> Picture:
    return rounded(image + np.random.default_rng(seed).normal(0, deviation, image.shape))


def off_by_one(image: Picture, seed: int) -> Picture:
    """Add what rounding may do: at most one grey level."""
    return rounded(image.astype(float) + np.random.default_rng(seed).integers(-1, 2, image.shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_differences_are_those_of_numpy(channels: int) -> None:
    random = np.random.default_rng(channels)
    pairs = []
    for number, size in enumerate(SIZES):
        a = random.integers(0, 256, (*size, channels), dtype=np.uint8)
        b = np.where(random.random(a.shape) < 0.3, random.integers(0, 256, a.shape), a).astype(np.uint8)
        pairs.append((a, a.copy() if number == 3 else b))
    pairs.append((pairs[0][0], pairs[1][0]))
    found = compare_pixels(pairs)
    different = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in (*pairs[:3], pairs[4])])
    above = np.sort(different[different > 0])
    assert (found.num_pairs, found.num_different, found.num_other_shapes) == (6, 4, 1)
    assert found.largest == above.max()
    assert found.share == pytest.approx(len(above) / len(different), rel=1e-12)
    assert (above <= found.median).mean() >= 0.5 > (above < found.median).mean()
    assert found.change is None


@pytest.mark.parametrize("view", [np.asarray, np.asfortranarray, lambda image: image[::-1, ::-1]])
def test_memory_layout_and_order_do_not_matter(view: Callable[[Picture], Picture]) -> None:
    pairs = [(view(photo), view(with_gamma(0.9, photo))) for photo in PHOTOS]
    expected = compare_pixels([(photo, with_gamma(0.9, photo)) for photo in PHOTOS])
    assert compare_pixels(pairs) == compare_pixels(pairs[::-1]) == expected


CHANGES: dict[str, tuple[Callable[[Picture], Picture], str, float | None]] = {
    "BGR": (swapped, SWAPPED, None),
    "limited range": (limited, LIMITED, None),
    "full range": (lambda image: full(limited(image)), "", None),
    "gamma 0.9": (lambda image: with_gamma(0.9, image), GAMMA, 0.9),
    "gamma 1.05": (lambda image: with_gamma(1.05, image), GAMMA, 1.05),
    "gamma 2.2": (lambda image: with_gamma(2.2, image), GAMMA, 2.2),
    "noise of one grey level": (lambda image: noisy(image, 1, 0), "", None),
    "darker": (lambda image: rounded(image * 0.9), "", None),
    "JPEG": (lambda image: jpeg(image, 2), "", None),
    "rounding": (lambda image: off_by_one(image, 0), "", None),
}


@pytest.mark.parametrize("rounds", [False, True], ids=["exact", "rounded again"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_all_pixels_is_named_with_its_amount(name: str, rounds: bool) -> None:
    """Exactly, and where a file or a renderer rounded once more, so that some pixels are off by one."""
    change, named, amount = CHANGES[name]
    pairs = []
    for seed, photo in enumerate(PHOTOS):
        changed = change(photo)
        pairs.append((photo, off_by_one(changed, seed) if rounds else changed))
    found = compare_pixels(pairs)
    assert (found.change or "") == named
    assert found.num_explained == (len(PHOTOS) if named else 0)
    if amount is None:
        assert found.amount is None
    else:
        assert found.amount == pytest.approx(amount, abs=0.004)


def test_images_in_limited_range_that_become_full() -> None:
    pairs = [(limited(photo), photo) for photo in PHOTOS]
    assert compare_pixels(pairs).change == FULL


def test_tables_of_ranges_are_their_formulas() -> None:
    levels = np.arange(256, dtype=np.uint8)[None, :, None]
    assert np.array_equal(to_limited_range(levels), limited(levels))
    assert np.array_equal(to_full_range(levels), full(levels))


@pytest.mark.parametrize(("num_others", "is_named"), [(0, True), (1, True), (2, False), (5, False)])
def test_a_change_is_named_if_it_explains_nearly_all_pairs_that_differ(num_others: int, is_named: bool) -> None:
    pairs = [(photo, swapped(photo)) for photo in PHOTOS]
    pairs[:num_others] = [(photo, noisy(photo, 9, 1)) for photo in PHOTOS[:num_others]]
    equal = [(photo, photo) for photo in PHOTOS[:7]]
    found = compare_pixels([*pairs, *equal])
    assert (found.num_pairs, found.num_different, found.num_unequal) == (27, 20, 20)
    assert found.change == (SWAPPED if is_named else None)
    assert found.num_explained == (20 - num_others if is_named else 0)


def test_a_change_of_grey_images_is_no_swap() -> None:
    grey = [np.repeat(photo[..., :1], 3, axis=2) for photo in PHOTOS]
    assert compare_pixels([(image, swapped(image)) for image in grey]) == PixelDifferences(20, 20, 0, 0)
    assert compare_pixels([(image, rounded(image * 0.8)) for image in grey]).change is None
    of_one_channel = [image[..., :1] for image in grey]
    assert compare_pixels([(image, limited(image)) for image in of_one_channel]).change == LIMITED


def test_no_gamma_is_estimated_from_few_levels() -> None:
    flat = np.full((8, 8, 3), 100, np.uint8)
    assert compare_pixels([(flat, flat + 20)]).change is None
    assert compare_pixels([(PHOTOS[0], PHOTOS[0] * 0)]).change is None


@pytest.mark.parametrize("gamma", [0.25, 0.5, 0.95, 1.1, 3.0])
def test_possible_gammas_hold_the_true_one_and_no_other_far_off(gamma: float) -> None:
    levels = np.arange(256)
    low, high = possible_gammas(levels, rounded(255 * (levels / 255) ** gamma).astype(int))
    assert low <= gamma <= high
    for other in (low - 0.01, high + 0.01):
        difference = rounded(255 * (levels / 255) ** other).astype(int) - rounded(255 * (levels / 255) ** gamma)
        assert np.abs(difference).max() > 1


def test_the_common_gamma_lies_in_the_most_intervals() -> None:
    assert common_gamma([]) is common_gamma([(2.0, 1.0)]) is None
    assert common_gamma([(0.8, 1.0), (2.0, 2.4), (0.9, 1.2), (2.0, 1.0)]) == pytest.approx(0.95)


def test_sets_without_pixels_to_compare() -> None:
    assert compare_pixels([]) == PixelDifferences(0, 0, 0, 0)
    other = [(photo, photo[:40]) for photo in PHOTOS[:3]]
    assert compare_pixels(other, num_total=9) == PixelDifferences(3, 9, 0, 3)
