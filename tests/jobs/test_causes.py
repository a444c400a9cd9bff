"""Causes are named by making them, on images that did not choose them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import mannwhitneyu
from torch import nn

from torchmetrics_dna import DNAExtractor, Reading, compare
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.changes import change_image
from torchmetrics_dna.jobs.causes import CHECKED, LABEL, ChangedImages, squared_quantiles, squared_ranks
from torchmetrics_dna.jobs.make import measure_ranges

pytestmark = pytest.mark.causes
PHOTOS = [np.asarray(Image.fromarray(photo).resize((32, 32))) for photo in photographs(72)]


class Filters(nn.Sequential):
    """Random filters, which see detail, brightness and colour."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())


@pytest.fixture(scope="module")
def extractor() -> DNAExtractor:
    return DNAExtractor(Filters(), layers=["0", "2"], input_size=32)


def darker(photos: list[np.ndarray], factor: float = 0.5) -> list[np.ndarray]:
    return [(photo * factor).astype(np.uint8) for photo in photos]


def test_what_was_done_is_named_with_its_amount(extractor: DNAExtractor, tmp_path: Path) -> None:
    result = compare(PHOTOS[:36], {"dark": darker(PHOTOS[36:])}, extractor)["dark"]
    assert result.causes.names == ("darker",)
    assert result.causes.amounts[0] == pytest.approx(50, abs=10)
    assert result.causes.bins[1] <= result.causes.bins[0] / 2
    assert result.causes.num_images == 36
    assert f"darkened by about {result.causes.amounts[0]:.2g}%" in result.verdict_lines[0]
    assert result.to_dict()["causes"]["names"] == ("darker",)
    result.save(tmp_path / "x.result.npz")
    assert Comparison.load(tmp_path / "x.result.npz").causes == result.causes


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("weights", [None, 0, 20])  # of one neuron alone, of either layer
def test_bins_before_a_change_are_about_the_distance_without_noise(
    weights: int | None, pairs: bool, extractor: DNAExtractor
) -> None:
    """Whatever is asked of the comparison is asked of what a change leaves of it, too."""
    options = {"pairs": pairs}
    if weights is not None:
        options["neuron_weights"] = torch.eye(extractor.neurons.total, dtype=torch.float64)[weights]
    result = compare(PHOTOS[: 72 if pairs else 40], darker(PHOTOS[0 if pairs else 40 :]), extractor, **options)
    assert result.causes.bins[0] == pytest.approx(result["dna-emd"].debiased, rel=0.2)


@pytest.mark.outer
@pytest.mark.slow
def test_two_causes_of_pairs(extractor: DNAExtractor) -> None:
    grey = [np.asarray(Image.fromarray(photo).convert("L").convert("RGB")) for photo in darker(PHOTOS, 0.7)]
    result = compare(PHOTOS, grey, extractor, pairs=True)
    assert result.causes.names == ("darker", "less saturation")
    assert result.causes.amounts == pytest.approx((30, 100), rel=0.15)
    far, near, nearest_ = result.causes.bins
    assert nearest_ <= min(far, near) / 2


@pytest.mark.slow
def test_nothing_is_named_where_nothing_was_done(extractor: DNAExtractor) -> None:
    equal = compare(PHOTOS[:36], PHOTOS[36:], extractor)
    assert equal.p_value > 0.05
    assert equal.causes is None
    squares = np.random.default_rng(0).integers(0, 2, (36, 3, 3, 1), np.uint8).repeat(3, 3) * 255
    other = compare(PHOTOS[:36], list(squares.repeat(16, 1).repeat(16, 2)), extractor)
    assert other.p_value <= 0.05
    assert other.causes.names == ()
    assert other.explain().causes is None
    assert "No tested change explains the difference" in other.verdict


def test_it_can_be_left_out_and_needs_images(extractor: DNAExtractor) -> None:
    seen: list[str] = []
    reading = Reading(progress=lambda source, *_: seen.append(source))
    result = compare(PHOTOS[:36], darker(PHOTOS[36:]), extractor, causes=False, reading=reading)
    assert result.causes is None
    assert result.verdict_lines[0] == "B differs significantly from A."
    assert LABEL not in seen
    for a, b in ((PHOTOS[:9], darker(PHOTOS[9:36])), (iter(PHOTOS[:36]), darker(PHOTOS[36:]))):
        assert compare(a, b, extractor).causes is None


@pytest.mark.outer
def test_the_network_sees_few_images_again(extractor: DNAExtractor) -> None:
    """Those of A after changes, and 48 of many without; with ranges of the sets themselves, those of both sides."""
    reports: list[tuple[int, int]] = []

    def tell(source: str, done: int, total: int) -> None:
        if source == LABEL:
            reports.append((done, total))

    dark, ranges = darker(2 * PHOTOS), measure_ranges(PHOTOS, extractor).ranges
    many = 2 * CHECKED
    cases = (36, False, False, 36), (36, False, True, 3 * 36), (72, False, False, many), (72, True, False, 3 * CHECKED)
    for count, pairs, of_sets, expected in cases:
        reports.clear()
        options = {"pairs": pairs, "ranges": "auto" if of_sets else ranges, "reading": Reading(progress=tell)}
        result = compare(PHOTOS[:count], dark[0 if pairs else 36 :][:count], extractor, **options)
        assert result.causes.names == ("darker",)
        assert reports[-1] == (expected, expected)
        assert all(done <= total for done, total in reports)


@pytest.mark.outer
def test_a_resize_is_named_only_where_images_are_smaller(extractor: DNAExtractor) -> None:
    small = [change_image(photo, "resize", 20) for photo in PHOTOS]
    enlarged = [np.asarray(Image.fromarray(photo).resize((32, 32), Image.Resampling.BICUBIC)) for photo in small]
    causes = compare(PHOTOS, small, extractor, pairs=True).causes
    assert (causes.names, causes.amounts) == (("resize",), pytest.approx((20,), rel=0.1))
    assert "resize" not in compare(PHOTOS, enlarged, extractor, pairs=True).causes.names


def test_properties_are_compared_by_ranks_and_quantiles() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (16, 4)).astype(float), rng.integers(0, 5, (30, 4)).astype(float)
    shares = [mannwhitneyu(b[:, i], a[:, i]).statistic / (16 * 30) for i in range(4)]
    assert squared_ranks(a, b) == pytest.approx(sum((share - 0.5) ** 2 for share in shares))
    variance = rng.random(4)
    percentages = range(5, 100, 10)
    expected = sum(
        (np.percentile(a[:, i], q) - np.percentile(b[:, i], q)) ** 2 / variance[i]
        for i in range(4)
        for q in percentages
    )
    assert squared_quantiles(a, b, variance) == pytest.approx(expected)


def test_changed_images() -> None:
    source = open_source(PHOTOS[:4])
    changes = [("darker", 50.0), ("noise", 4.0)]
    images = ChangedImages(source, [2, 0], changes)
    assert list(images.names) == [source.names[i] for i in (2, 0)]
    for index, number in ((0, 2), (1, 0)):
        assert np.array_equal(ChangedImages(source, [2, 0], [])[index], PHOTOS[number])
        noisy = change_image(change_image(PHOTOS[number], "darker", 50), "noise", 4, seed=number)
        assert np.array_equal(images[index], noisy)
    grey = ChangedImages(source, [1], [("darker", 50.0)]).decode(0, channels=1).pixels
    assert grey.shape == (32, 32, 1)
    assert grey.mean() == pytest.approx(PHOTOS[1].mean() / 2, abs=4)


def test_changed_images_of_floats_stay_floats() -> None:
    images = [(photo / 255).astype(np.float32) for photo in PHOTOS[:2]]
    changed = ChangedImages(open_source(images), [1], [("darker", 50.0)])[0]
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, change_image(PHOTOS[1], "darker", 50) / 255, atol=1e-6)


def test_a_network_without_mean_and_std_takes_changed_images_of_floats() -> None:
    network = DNAExtractor(Filters(), layers=["0", "2"])
    a = [(photo / 255).astype(np.float32) for photo in PHOTOS[:12]]
    b = [(photo / 510).astype(np.float32) for photo in PHOTOS[12:24]]
    assert compare(a, b, network).p_value_of_any <= 0.05
