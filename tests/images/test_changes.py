"""Named changes of images: the same each time, stronger with each strength, and what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images.changes import CHANGES, STRENGTHS, change_image

PHOTO = photographs(5)[3]  # the cat


@pytest.mark.parametrize("name", CHANGES)
def test_they_grow_with_strength_and_are_the_same_each_time(name: str) -> None:
    before = PHOTO.copy()
    changed = [change_image(PHOTO, name, strength, seed=1) for strength in STRENGTHS]
    assert np.array_equal(before, PHOTO)
    for image, strength in zip(changed, STRENGTHS, strict=True):
        assert (image.shape, image.dtype) == (PHOTO.shape, np.uint8)
        assert np.array_equal(image, change_image(PHOTO, name, strength, seed=1))
    differences = [np.abs(image.astype(int) - PHOTO).mean() for image in changed]
    assert differences == sorted(differences) or name == "hue"  # which goes round
    assert differences[0] > 0.1


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (300, 8, 3)])
def test_images_of_any_size(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for name in CHANGES:
        assert change_image(image, name, 5).shape == shape


def test_they_are_what_they_are_called() -> None:
    def changed(name: str) -> np.ndarray:
        return change_image(PHOTO, name, 5).astype(float)

    assert changed("brighter").mean() > PHOTO.mean() > changed("darker").mean()
    assert changed("more contrast").std() > PHOTO.std() > changed("less contrast").std()
    colour = {name: np.ptp(changed(name), axis=2).mean() for name in ("more saturation", "less saturation")}
    assert colour["more saturation"] > np.ptp(PHOTO, axis=2).mean() > colour["less saturation"] < 1
    assert (changed("warmer") - PHOTO).mean((0, 1))[0] > 10 > -10 > (changed("warmer") - PHOTO).mean((0, 1))[2]
    assert (changed("cooler") - PHOTO).mean((0, 1))[2] > 10 > -10 > (changed("cooler") - PHOTO).mean((0, 1))[0]
    assert len(np.unique(changed("fewer colours"))) == 3
    assert (changed("occlusion") == 0).all(2).mean() > 0.15
    assert np.abs(np.diff(changed("blur"), axis=1)).mean() < np.abs(np.diff(PHOTO.astype(float), axis=1)).mean() / 2


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match="^Argument `name` expected to be one of noise, salt.*, but got 'fuzz'"):
        change_image(PHOTO, "fuzz", 1)
    with pytest.raises(ValueError, match="^Argument `strength` expected to be an integer from 1 to 5, but got 6"):
        change_image(PHOTO, "blur", 6)


@pytest.mark.parametrize(
    ("name", "strength", "words"),
    [
        ("noise", 5, "noise of at least 50 grey levels"),
        ("blur", 5, "a blur of at least 4 px"),
        ("blur", 0.5, "a blur of under 0.36 px"),  # 4 * 0.2 ** 1.5
        ("darker", 2.5, "darkening by about 30 %"),
        ("JPEG compression", 3.5, "JPEG compression of quality about 27"),  # between 32.8 and 20.4
        ("JPEG compression", 0.5, "JPEG compression of quality over 58"),
        ("fewer colours", 3, "a reduction to about 6 levels per channel"),
    ],
)
def test_amounts_in_words(name: str, strength: float, words: str) -> None:
    assert CHANGES[name].in_words(strength) == words
