"""Differences between the pixels of pairs are those that numpy computes, and exact changes are named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from torchmetrics_dna.images.pixel_differences import compare_pixels

Image = NDArray[np.uint8]


def images(count: int, channels: int = 3, seed: int = 0) -> list[Image]:
    """Smooth gradients with noise, of different sizes."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        height, width = 20 + i, 31 - i % 7
        gradient = np.linspace(0, 200, height * width * channels).reshape(height, width, channels)
        made.append((gradient + random.integers(0, 56, gradient.shape)).astype(np.uint8))
    return made


def with_gamma(image: Image, gamma: float) -> Image:
    return np.round(255 * (image / 255) ** gamma).astype(np.uint8)


def limited(image: Image) -> Image:
    return np.round(16 + image * (219 / 255)).astype(np.uint8)


def noisy(image: Image, largest: int) -> Image:
    noise = np.random.default_rng(9).integers(-largest, largest + 1, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, tuple[Callable[[Image], Image], str | None, float | None]] = {
    "BGR for RGB": (lambda image: image[..., ::-1], "swapped channels", None),
    "limited range": (limited, "limited range", None),
    "gamma .9": (lambda image: with_gamma(image, 0.9), "gamma", 0.9),
    "gamma 2.2": (lambda image: with_gamma(image, 2.2), "gamma", 2.2),
    "one grey level": (lambda image: noisy(image, 1), None, None),
    "noise": (lambda image: noisy(image, 9), None, None),
    "limited range with noise of one level": (lambda image: noisy(limited(image), 1), "limited range", None),
    "inverted": (lambda image: 255 - image, None, None),
    "mirrored": (lambda image: image[:, ::-1], None, None),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_changes_are_named_and_differences_are_those_of_numpy(name: str, channels: int) -> None:
    change, expected, amount = CHANGES[name]
    originals = images(20, channels)
    changed = [change(image) for image in originals]
    found = compare_pixels(zip(originals, changed, strict=True))
    differences = [abs(a.astype(int) - b) for a, b in zip(originals, changed, strict=True)]
    different = [each for each in differences if each.any()]
    assert (found.num_pairs, found.num_total, found.num_other_shapes) == (20, 20, 0)
    assert found.num_different == len(different)
    if not different:  # the channels of grey images, exchanged
        assert (found.change, found.largest, found.median) == (None, 0, 0)
        return
    values = np.concatenate([each.ravel() for each in different])
    above = np.sort(values[values > 0])
    assert found.largest == above[-1]
    assert found.median == above[(len(above) + 1) // 2 - 1]
    assert found.share == pytest.approx(len(above) / len(values))
    assert found.change == expected
    if amount is None:
        assert found.amount is None
    else:
        assert found.amount == pytest.approx(amount, abs=0.01)


def test_a_change_has_to_explain_nearly_all_pairs_that_differ() -> None:
    originals = images(40)
    changed = [image[..., ::-1] for image in originals]
    changed[3] = noisy(originals[3], 5)
    found = compare_pixels(zip(originals, changed, strict=True))
    assert (found.change, found.num_explained, found.num_unequal) == ("swapped channels", 39, 40)
    for i in range(4, 8):
        changed[i] = noisy(originals[i], 5)
    assert compare_pixels(zip(originals, changed, strict=True)).change is None
    # Pairs that are equal ask for no change, so they do not count against one.
    unchanged = [*originals[:30], *(image[..., ::-1] for image in originals[30:])]
    assert compare_pixels(zip(originals, unchanged, strict=True)).change == "swapped channels"


def test_order_and_memory_layout_do_not_matter() -> None:
    originals = images(12)
    changed = [with_gamma(image, 1.4) for image in originals]
    expected = compare_pixels(zip(originals, changed, strict=True))
    backwards = compare_pixels(zip(originals[::-1], changed[::-1], strict=True))
    fortran = compare_pixels(
        (np.asfortranarray(a), np.asfortranarray(b)) for a, b in zip(originals, changed, strict=True)
    )
    assert expected == backwards == fortran


def test_images_of_other_sizes_are_counted_and_not_compared() -> None:
    originals = images(5)
    changed = [originals[0], originals[1][1:], *(image[..., ::-1] for image in originals[2:])]
    found = compare_pixels(zip(originals, changed, strict=True), num_total=100)
    assert (found.num_pairs, found.num_total, found.num_other_shapes, found.num_different) == (5, 100, 1, 3)
    assert found.change == "swapped channels"
    assert compare_pixels([]).num_pairs == 0
