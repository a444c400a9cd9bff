"""Intervals: their law against plain numpy, and how often they hold the truth on real activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dnas import ranges
from makers import emd, fed, self_ranging_emd
from networks import pixels, random_images
from processes import run
from scipy.stats import t as student
from torch import Tensor
from workers import CROWD, CROWD_FAKE, folds

from torchmetrics_dna import DNAEMD, DNAExtractor, HistogramDNA, Neurons, compare, make_dna
from torchmetrics_dna.dna.jackknife import jackknife, noise_floor, student_quantile
from torchmetrics_dna.functional import activation_histogram
from torchmetrics_dna.images import open_source
from torchmetrics_dna.sets.demo import blur, jpeg, photographs
from torchmetrics_dna.tally.folds import FoldedImages, content_folds

NEURONS = Neurons({"a": 3})
RANGES = ranges(NEURONS)


def dna(counts: np.ndarray, num_images: int) -> HistogramDNA:
    return HistogramDNA(torch.from_numpy(counts), NEURONS, RANGES, num_images, "x")


def square(a: np.ndarray, b: np.ndarray) -> float:
    a, b = (x.cumsum(1) / x.sum(1, keepdims=True) for x in (a, b))
    return float(np.abs(a - b).sum(1).mean()) ** 2


def test_against_the_formulas_written_out() -> None:
    random = np.random.default_rng(0)
    sizes = [3, 4, 1, 2, 5, 3]  # of folds, unequal
    sides = [[random.integers(0, 9 + shift, (3, 8)) * size + 1 for size in sizes] for shift in (0, 6)]
    sides[1] = [np.sort(fold) for fold in sides[1]]
    whole = [sum(folds) for folds in sides]
    value = square(*whole)
    total, g, bias, variances = sum(sizes), len(sizes), 0.0, [0.0, 0.0]
    for side, folds_ in enumerate(sides):
        left = []
        for fold in folds_:
            rest = list(whole)
            rest[side] = whole[side] - fold
            left.append(square(*rest))
        estimate = g * value - sum((1 - m / total) * v for m, v in zip(sizes, left, strict=True))
        bias += value - estimate
        for m, v in zip(sizes, left, strict=True):
            h = total / m
            variances[side] += (h * value - (h - 1) * v - estimate) ** 2 / (h - 1) / g
    variance = sum(variances)
    reach = student.ppf(0.95, variance**2 / sum(v**2 / (g - 1) for v in variances)) * variance**0.5
    expected = [max(0.0, value - bias + shift) ** 0.5 for shift in (0, -reach, reach)]
    found = jackknife(
        *([dna(fold, m) for fold, m in zip(folds_, sizes, strict=True)] for folds_ in sides), confidence=0.9
    )
    assert [found.value, found.low, found.high] == pytest.approx(expected, rel=1e-3)
    assert (found.confidence, found.num_folds) == (0.9, 6)


@pytest.mark.parametrize("freedom", [4, 9, 18, 1000])
@pytest.mark.parametrize("probability", [0.75, 0.95, 0.975, 0.995])
def test_students_t(probability: float, freedom: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(student.ppf(probability, freedom), rel=1e-2)


def test_what_is_exact_adds_no_doubt() -> None:
    random = np.random.default_rng(0)
    folds_ = [dna(random.integers(1, 9, (3, 8)), 2) for _ in range(6)]
    other = dna(np.sort(random.integers(1, 30, (3, 8))), 12)
    one, both = jackknife(folds_, other), jackknife(folds_, [other] * 5)
    assert one.low < one.value < one.high
    assert both.value == pytest.approx(one.value)
    assert both.high == pytest.approx(one.high)  # folds that are all alike vary nothing
    wide, narrow = (jackknife(folds_, other, confidence=c) for c in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_too_few_folds() -> None:
    some, none = dna(np.ones((3, 8), np.int64), 2), dna(np.zeros((3, 8), np.int64), 0)
    with pytest.raises(ValueError, match=r"at least 5 folds with images on each side, but got 4"):
        jackknife([some] * 5, [some] * 4 + [none])
    with pytest.raises(ValueError, match="`confidence` expected to be between 0 and 1, but got 95"):
        jackknife([some] * 5, some, confidence=95)
    with pytest.raises(ValueError, match="at least 2 folds with images"):
        noise_floor([some, none])


def images_alone(pictures: list[np.ndarray], extractor: DNAExtractor, num_bins: int = 200) -> Tensor:
    """Histograms of each image, ``(images, N, num_bins)``."""
    batch = torch.stack([torch.from_numpy(p.copy()) for p in pictures]).permute(0, 3, 1, 2)
    low, high = extractor.ranges.bounds()
    where = extractor.neurons.slices
    activations = [extractor(part) for part in batch.split(16)]
    return torch.stack(
        [
            torch.cat(
                [
                    activation_histogram(values[i : i + 1], low[where[layer]], high[where[layer]], num_bins)
                    for layer, values in part.items()
                ]
            )
            for part in activations
            for i in range(len(next(iter(part.values()))))
        ]
    )


@pytest.mark.slow
def test_coverage_on_real_activations() -> None:
    """Samples of photographs and of degraded ones, drawn from populations whose distance is known."""
    extractor = DNAExtractor(layers=["block_4"])
    photos = photographs(120)
    pictures = [photos, [blur(p, strength=6) for p in photos], [jpeg(p, strength=3) for p in photos]]
    real, *fakes = (images_alone(some, extractor) for some in pictures)
    generator = torch.Generator().manual_seed(0)

    def whole(counts: Tensor) -> HistogramDNA:
        return HistogramDNA(counts.sum(0), extractor.neurons, extractor.ranges, len(counts), extractor.name)

    for fake in (*fakes, real[:60]):
        truth, held, draws = float(whole(real).distances(whole(fake)).mean()), 0, 200
        for _ in range(draws):
            sides = [some[torch.randint(len(some), (60,), generator=generator)] for some in (real, fake)]
            interval = jackknife(*([whole(side[k::10]) for k in range(10)] for side in sides))
            held += interval.low <= truth <= interval.high
        assert 0.90 <= held / draws <= 0.98, (truth, held / draws)


@pytest.mark.parametrize("make", [emd, self_ranging_emd])
def test_folds_change_no_distance(make: object) -> None:
    metric, plain = make(num_folds=5), make()
    for one in (metric, plain):
        fed(one, CROWD, CROWD_FAKE)
    assert float(metric.compute()) == float(plain.compute())
    assert metric.to_dna(True).digest == plain.to_dna(True).digest
    before = metric.interval(), metric.noise_floor()
    assert before[0].low <= before[0].value <= before[0].high
    metric.reset()
    for image in CROWD.flip(0):
        metric.update(image[None], real=True)
    metric.update(CROWD_FAKE, real=False)
    assert (metric.interval(), metric.noise_floor()) == before  # images go by their pixels, not by when they came
    with pytest.raises(ValueError, match="No folds of images were kept apart; give argument `num_folds`"):
        plain.interval()
    with pytest.raises(ValueError, match="`num_folds` expected to be an integer of at least 5, but got 4"):
        make(num_folds=4)


def test_a_reference_is_exact() -> None:
    metric = emd(num_folds=5, reference=fed(emd()).to_dna(True))
    metric.update(CROWD_FAKE, real=False)
    assert metric.interval().num_folds == 5
    assert metric.noise_floor(real=False) > 0
    with pytest.raises(ValueError, match="`reference` can't be split"):
        metric.noise_floor()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_agree_with_one(world: int, tmp_path: Path) -> None:
    metric = fed(emd(num_folds=5), CROWD, CROWD_FAKE)
    torch.save((float(metric.compute()), metric.interval(), metric.noise_floor()), tmp_path / "expected")
    run(world, folds, tmp_path, str(tmp_path / "expected"))


def test_folds_are_about_equal_and_of_pixels_alone() -> None:
    images = torch.randint(0, 256, (600, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = content_folds(images, 10)
    assert found.bincount(minlength=10).min() > 30
    assert torch.equal(content_folds(images.flip(0), 10).flip(0), found)
    assert torch.equal(content_folds(images.float() / 255, 10), found)
    assert content_folds(images[:0], 10).shape == (0,)
    flat = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    assert content_folds(flat, 10).bincount(minlength=10).min() > 5


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("form", ["files", "tensors"])
def test_images_are_in_one_fold_for_metrics_and_for_compare(form: str, num_workers: int, photo_folder: Path) -> None:
    """In whichever process and order they are read, and as bytes or as floats."""
    extractor, bounds = pixels()
    images = torch.stack([torch.from_numpy(image.copy()) for image in open_source(photo_folder)]).permute(0, 3, 1, 2)
    metric = DNAEMD(extractor, ranges=bounds, num_bins=40, num_folds=10)
    for real, some in ((True, images.flip(0)), (False, images // 2)):
        for batch in some.split(5):
            metric.update(batch, real=real)
    sources = (photo_folder, images // 2) if form == "files" else (images / 255, (images // 2) / 255)
    options = {"ranges": bounds, "num_bins": 40, "metrics": ["dna-emd"], "num_workers": num_workers, "batch_size": 7}
    found = compare(*sources, extractor, confidence=0.9, **options)
    if form == "files":
        assert found.interval == metric.interval(0.9)
        assert found.noise_floor == metric.noise_floor()
    folds = FoldedImages(open_source(sources[0]), 10)
    _ = [folds[i] for i in range(len(folds))]
    assert torch.equal(folds.folds, content_folds(images, 10))


def test_large_images_are_asked_for_some_of_their_pixels() -> None:
    image = random_images(1, 0, (1200, 1600))
    fold = content_folds(image, 10)
    assert torch.equal(content_folds(image.contiguous(memory_format=torch.channels_last), 10), fold)
    folds = FoldedImages(open_source(image), 10)
    _ = folds[0]
    assert torch.equal(folds.folds, fold)
    others = [content_folds(random_images(1, seed, (1200, 1600)), 10) for seed in range(8)]
    assert torch.cat(others).unique().numel() > 3


def test_compare_says_how_sure_it_is(tmp_path: Path) -> None:
    photos = photographs(20)
    blurred = [blur(photo, strength=6) for photo in photos]
    result = compare(photos, blurred, layers=["block_4"], confidence=0.9)
    assert result.interval.low < result.interval.value < result.interval.high
    assert result.interval.value < result.dna_emd
    assert 0 < result.noise_floor < result.dna_emd
    for side in result.measured:
        counts = side.dnas["histogram"].counts
        assert side.folds == []  # ten times the rest
        assert counts.untyped_storage().nbytes() == counts.nbytes
    assert result.dna_emd == compare(photos, blurred, layers=["block_4"]).dna_emd
    assert result.to_dict()["interval"]["confidence"] == 0.9
    reference = make_dna(photos, layers=["block_4"])
    fixed = compare(reference, blurred, confidence=0.9)
    assert fixed.interval.high - fixed.interval.low < result.interval.high - result.interval.low
    assert fixed.noise_floor > 0
    assert (result.noise_floor_side, fixed.noise_floor_side) == ("a", "b")
    with pytest.raises(ValueError, match="`confidence` needs images on at least one side"):
        compare(reference, reference, confidence=0.9)
    with pytest.raises(ValueError, match="at least 5 folds with images on each side, but got 2, of 3 images"):
        compare(photos[:3], blurred, layers=["block_4"], confidence=0.9)
