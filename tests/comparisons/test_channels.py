"""Sets of grey images of 16 bits, and of images of many bands, by networks that take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from networks import Outputs
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, rank, report

RNG = np.random.default_rng(0)


def extractor(channels: int) -> DNAExtractor:
    """A network whose neurons are the channels."""
    return DNAExtractor(Outputs(lambda imgs: imgs.float()), channels=channels)


def grey_folders(folder: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """PNGs of 16 bits whose difference is far below a level of 8 bits."""
    pixels = 20_000 + RNG.integers(0, 100, (2, 40, 12, 10)) + np.array([0, 5])[:, None, None, None]
    for side, images in zip("ab", pixels, strict=True):
        (folder / side).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.astype(np.uint16)).save(folder / side / f"{number:02}.png")
    return folder / "a", folder / "b", *(pixels[..., None] / 65535)


def arrays_of_bands(folder: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """Arrays of five bands, one of them packed; a band is darker in the other set."""
    a, b = RNG.random((2, 40, 12, 10, 5), np.float32)
    b[..., 3] *= 0.9
    np.savez(folder / "a.npz", a)
    np.savez_compressed(folder / "b.npz", b)
    return folder / "a.npz", folder / "b.npz", a, b


@pytest.mark.parametrize(("make", "channels"), [(grey_folders, 1), (arrays_of_bands, 5)])
def test_two_sets_are_compared_by_what_was_saved(make: Callable, channels: int, tmp_path: Path) -> None:
    a, b, *pixels = make(tmp_path)
    comparison = compare(a, b, extractor(channels))
    means = [images.astype(float).mean((1, 2)) for images in pixels]  # (images, channels)
    expected = np.square(means[0].mean(0) - means[1].mean(0)) + np.square(
        means[0].std(0, ddof=1) - means[1].std(0, ddof=1)
    )
    assert comparison["dna-fd"].value == pytest.approx(expected.mean(), rel=1e-3)
    assert comparison.p_value < 0.01
    assert rank(b, pixels[0].astype(np.float32), extractor(channels)).scores.numel() == 40
    same = compare(a, pixels[0].astype(np.float32), extractor(channels), metrics=["dna-emd"], num_folds=None)
    assert same["dna-emd"].value == pytest.approx(0, abs=1e-3)


def test_reports_of_grey_images_have_pictures_and_those_of_bands_say_that_they_have_none(tmp_path: Path) -> None:
    for make, channels in ((grey_folders, 1), (arrays_of_bands, 5)):
        a, b, *_ = make(tmp_path)
        if channels == 5:
            np.savez(tmp_path / "b.npz", np.load(tmp_path / "b.npz")["arr_0"])  # by number
        report(a, b, tmp_path / f"{channels}.html", extractor(channels))
    grey, bands = ((tmp_path / f"{channels}.html").read_text() for channels in (1, 5))
    assert "data:image/jpeg" in grey
    assert "data:image/jpeg" not in bands
    assert "images have 5 channels" in bands
    with pytest.raises(ValueError, match="A contact sheet takes grey or RGB images, but images have 5 channels"):
        rank(b, a, extractor(5)).plot()
