"""Pairs of images that correspond: against tests and jackknives of pairs written out, on photographs."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from html import unescape
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import pixels
from PIL import Image
from scipy.stats import binom
from scipy.stats import t as student

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, Reading, compare, make_dna
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.demo import jpeg, photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.images.pixel_differences import PixelDifferences, compare_pixels
from torchmetrics_dna.reporting import write

PHOTOS = [np.ascontiguousarray(photo[:64, :64]) for photo in photographs(8)]
COPIES = [jpeg(photo, strength=4) for photo in PHOTOS]
EXTRACTOR, RANGES = pixels()
OPTIONS = {"ranges": RANGES, "num_bins": 40, "metrics": ["dna-emd"]}


def histograms(pictures: list[np.ndarray]) -> np.ndarray:
    """Of each image alone, ``(images, N, bins)``."""
    alone = [make_dna(picture[None], EXTRACTOR, ranges=RANGES, num_bins=40) for picture in pictures]
    return np.stack([dna.counts.numpy() for dna in alone])


def emd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each neuron, between sums of histograms of images."""
    a, b = (x.sum(0).cumsum(1) / x.sum((0, 2))[:, None] for x in (a, b))
    return np.abs(a - b).sum(1)


def test_against_exchanges_and_a_jackknife_written_out() -> None:
    comparison = compare(PHOTOS, COPIES, EXTRACTOR, pairs=True, **OPTIONS)
    a, b = histograms(PHOTOS), histograms(COPIES)
    values, n = emd(a, b), len(a)
    assert comparison["dna-emd"].value == pytest.approx(values.mean(), rel=1e-9)

    def square(rows: np.ndarray, others: np.ndarray) -> float:
        return emd(rows, others).mean() ** 2

    left = np.array([square(np.delete(a, k, 0), np.delete(b, k, 0)) for k in range(n)])
    bias = (n - 1) * (left.mean() - square(a, b))
    jackknife = comparison["dna-emd"].evidence.jackknife
    assert jackknife.left == pytest.approx(square(a, b) - bias, rel=1e-9)
    assert jackknife.variance == pytest.approx((n - 1) / n * np.square(left - left.mean()).sum(), rel=1e-9)
    assert jackknife.freedom == pytest.approx(n - 1)

    rows, shifts, overlap = [], [], []
    middles = np.arange(40)
    for keeps in product([True, False], repeat=n):
        keep = np.array(keeps)[:, None, None]
        sides = np.where(keep, a, b), np.where(keep, b, a)
        rows.append(emd(*sides))
        shifts.append(np.subtract(*(x.sum(0) @ middles / x.sum((0, 2)) for x in sides)))
        overlap.append((2 * np.mean(keeps) - 1) ** 2)
    rows, shifts = np.array(rows), np.array(shifts)

    def standard(x: np.ndarray) -> np.ndarray:
        return np.divide(x - x.mean(0), x.std(0), out=np.zeros_like(x), where=x.std(0) > 1e-9)

    squares = np.divide(shifts**2, (shifts**2).mean(0), out=np.zeros_like(shifts), where=abs(shifts).max(0) > 1e-9)
    z = standard(rows)
    columns = EXTRACTOR.neurons.slices.values()
    kinds = [
        standard(np.stack([z[:, c].mean(1) for c in columns], 1)).max(1),
        standard(np.stack([squares[:, c].mean(1) for c in columns], 1)).max(1),
        z.max(1),
    ]
    overall = np.max([standard(kind) for kind in kinds], 0)
    assert comparison.p_value == np.mean(overall >= overall[0] - 1e-9)
    assert comparison["dna-emd"].evidence.test.exact
    assert comparison.least_p_value == 2 / 2**n
    share = np.mean(overlap)

    def debiased(x: np.ndarray) -> np.ndarray:
        return x[0] ** 2 - np.maximum(0, np.mean(x**2, 0) - share * x[0] ** 2) / (1 - share)

    belief = max(0, 1 - comparison.p_value / 0.2)
    of_neurons = emd(a, b) ** 2
    rest = np.array([emd(np.delete(a, k, 0), np.delete(b, k, 0)) ** 2 for k in range(n)])
    of_neurons -= (n - 1) * (rest.mean(0) - of_neurons)
    expected = max(debiased(rows.mean(1)), (belief * np.maximum(0, of_neurons) ** 0.5).mean() ** 2)
    assert comparison["dna-emd"].evidence.centre == pytest.approx(expected, rel=1e-9)
    reach = student.ppf(0.975, n - 1) * jackknife.variance**0.5
    interval = comparison.interval
    ends = [max(0, expected - reach) ** 0.5, (max(expected, jackknife.left) + reach) ** 0.5]
    assert [interval.low, interval.high] == pytest.approx(ends, rel=1e-2)


@pytest.mark.outer  # draws and tests 200 times
@pytest.mark.parametrize("paired", [True, False])
def test_false_alarms_are_as_many_as_the_level_allows(paired: bool) -> None:
    """Of pairs, original and copy are exchanged at random; of independent sides, images are shared out at random."""
    photos = [np.ascontiguousarray(photo[:48, :48]) for photo in photographs(24)]
    counts = torch.from_numpy(np.stack([histograms(photos), histograms([jpeg(p, strength=4) for p in photos])]))
    random, draws, alarms = np.random.default_rng(0), 200, 0
    for _ in range(draws):
        chosen = torch.from_numpy(random.permutation(24))
        if paired:
            which = torch.from_numpy(random.integers(0, 2, 10))
            sides = counts[which, chosen[:10]], counts[1 - which, chosen[:10]]
        else:
            sides = counts[0, chosen[:10]], counts[0, chosen[10:20]]
        a, b = (in_folds(side) for side in sides)
        alarms += DISTANCES["dna-emd"].result(a, b, paired=paired).p_value <= 0.05
    assert binom.ppf(0.001, draws, 0.05) <= alarms <= binom.ppf(0.999, draws, 0.05)


def in_folds(counts: torch.Tensor) -> HistogramDNA:
    """Of single images, a fold each."""
    single = [HistogramDNA(image, EXTRACTOR.neurons, RANGES, 1, "pixels") for image in counts]
    whole = HistogramDNA(counts.sum(0), EXTRACTOR.neurons, RANGES, len(counts), "pixels")
    return replace(whole, folds=tuple(single))


def test_pairs_find_what_independent_sides_do_not() -> None:
    slight = [np.clip(photo.astype(int) + 1, 0, 255).astype(np.uint8) for photo in PHOTOS]
    assert compare(PHOTOS, slight, EXTRACTOR, **OPTIONS).p_value > 0.05
    comparison = compare(PHOTOS, slight, EXTRACTOR, pairs=True, **OPTIONS)
    assert comparison.explain().paired
    assert comparison.p_value == comparison.least_p_value == 2 / 256
    assert comparison.interval.value > 0
    assert not any("independent" in notice or "near-duplicates of" in notice for notice in comparison.notices)
    equal = compare(PHOTOS, PHOTOS, EXTRACTOR, pairs=True, **OPTIONS)
    assert (equal["dna-emd"].value, equal.p_value, equal.interval.value) == (0, 1, 0)
    network = DNAExtractor(layers=["block_0"])  # sums of floating point, in other orders
    for result in compare(PHOTOS, PHOTOS, network, pairs=True, metrics=["dna-fd", "fd"], causes=False).values():
        assert (result.value, result.null_mean) == (0, 0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Originals, and copies in another format and of names that sort otherwise below a folder."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, pictures, end in (("originals", PHOTOS, "png"), ("copies", COPIES, "jpeg")):
        for i, picture in enumerate(pictures):
            path = folder / name / f"{'ab'[i % 2]}" / f"photo {i}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, **({"quality": 100, "subsampling": 0} if end == "jpeg" else {}))
    return folder / "originals", folder / "copies"


def test_pairs_are_offered_not_assumed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copies = compare(*folders, EXTRACTOR, **OPTIONS)
    offered = r"8 images in \S*{} have the same names as images in \S*originals\. If they show the same, compare"
    assert any(re.match(offered.format("copies"), notice) for notice in copies.notices)
    assert not copies.paired
    assert not copies.explain().paired
    assert copies.p_value > 0.05
    assert "originals" in copies.verdict
    assert f"{copies['dna-emd'].value:.3g} bins" in copies.verdict
    for name in ("photo", "0"):
        for i, photo in enumerate(PHOTOS):  # others than those of their names
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(255 - photo.transpose(1, 0, 2)).save(tmp_path / name / f"{name} {i}.png".replace("0 ", "0"))
    notices = compare(folders[0], tmp_path / "photo", EXTRACTOR, **OPTIONS).notices
    assert any(re.match(offered.format("photo"), notice) for notice in notices)
    for sides in ((tmp_path / "0", list((tmp_path / "0").iterdir())), (PHOTOS, [255 - photo for photo in PHOTOS])):
        assert not any("have names of" in notice for notice in compare(*sides, EXTRACTOR, **OPTIONS).notices)


def test_five_pairs_are_too_few() -> None:
    comparison = compare(PHOTOS[:5], COPIES[:5], EXTRACTOR, pairs=True, **OPTIONS)
    assert comparison.least_p_value == 2 / 32
    assert any(re.search("^5 folds .* below 0.062", notice) for notice in comparison.notices)


@pytest.mark.parametrize("kind", [DNAEMD, DNAFrechet])
def test_metrics_take_pairs_by_groups(kind: type) -> None:
    settings = {"ranges": RANGES, "num_bins": 40} if kind is DNAEMD else {}
    metric = kind(EXTRACTOR, num_folds=64, pairs=True, debias=True, **settings)
    originals, copies = (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2) for x in (PHOTOS, COPIES))
    with pytest.raises(ValueError, match="`groups` expected to have the pair of each image, since `pairs` is True"):
        metric.update(originals, real=True)
    names = [f"photo {i}" for i in range(8)]
    metric.update(originals, real=True, groups=names)
    metric.update(copies.flip(0), real=False, groups=names[::-1])
    name = "dna-emd" if kind is DNAEMD else "dna-fd"
    options = OPTIONS | {"metrics": [name]} if kind is DNAEMD else {"metrics": [name]}
    expected = compare(PHOTOS, COPIES, EXTRACTOR, pairs=True, **options)
    weighed = metric.evidence()
    assert len({fold.num_images for fold in metric.to_dna(True).folds} - {0}) == 1, "each pair has a fold of its own"
    assert weighed.test.p_value == pytest.approx(expected.p_value)
    assert float(metric.compute()) == pytest.approx(expected[name].debiased)
    metric.update(originals[:1], real=True, groups=["another"])
    with pytest.raises(RuntimeError, match="pass both images of each pair"):
        metric.compute()
    with pytest.raises(ValueError, match="`pairs` requires `num_folds` or `debias`"):
        kind(EXTRACTOR, pairs=True, **settings)


COLOURFUL = [photo for photo in photographs(40) if np.ptp(photo, axis=2).mean() > 12][:12]
COLOURFUL = [np.ascontiguousarray(photo[: 64 + 4 * i, :64]) for i, photo in enumerate(COLOURFUL)]
RESIZING = DNAExtractor(torch.nn.Conv2d(3, 4, 3), mean=[0.5] * 3, std=[0.5] * 3, input_size=32)
AUTO = {"ranges": "auto", "metrics": ["dna-emd"]}


def with_gamma(photo: np.ndarray) -> np.ndarray:
    return (255 * (photo / 255) ** 0.9).round().astype(np.uint8)


def with_noise(photo: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(len(photo)).normal(0, 1, photo.shape)
    return (photo + noise).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda photo: photo[..., ::-1], "swapped channels", "B is A with red and blue swapped in all 12 pairs"),
        (lambda photo: (16 + photo * (219 / 255)).round().astype(np.uint8), "limited range", "B is A in limited range"),
        (with_gamma, "gamma", "B is A with gamma 0.90 in all 12 pairs"),
        (with_noise, None, "12 of 12 pairs differ in pixels, by 1 grey level (median) and at most"),
    ],
)
@pytest.mark.causes
def test_a_change_of_all_pixels_is_said_and_saved(change: object, name: str | None, words: str, tmp_path: Path) -> None:
    changed = [np.ascontiguousarray(change(photo)) for photo in COLOURFUL]
    result = compare(COLOURFUL, changed, RESIZING, pairs=True, **AUTO)
    assert result.pixels == compare_pixels(zip(COLOURFUL, changed, strict=True))
    assert result.pixels.change == name
    first, second, *_ = result.verdict_lines
    assert first.startswith("12 of 12 pairs differ in pixels, by ")
    assert words in (first if name is None else second)
    assert (result.causes is None) is (name is not None), "what explains all pixels needs no search by the network"
    assert str(result.explain()).startswith(first)
    assert result.to_dict()["pixels"] == asdict(result.pixels)
    result.save(tmp_path / "pairs.result.npz")
    assert Comparison.load(tmp_path / "pairs.result.npz").verdict == result.verdict
    write(tmp_path / "pairs.html", result)
    page = unescape((tmp_path / "pairs.html").read_text(encoding="utf-8"))
    assert first in page.replace("\N{NO-BREAK SPACE}", " ")
    assert words in page.replace("\N{NO-BREAK SPACE}", " ")


def test_pixels_of_partners_by_name_with_one_of_another_size_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    for side, end in (("a", ""), ("b", "of ")):
        (tmp_path / side).mkdir()
        for i, photo in enumerate(COLOURFUL[:8]):
            # The names of B sort in the opposite order.
            name = f"{i}.png" if side == "a" else f"{end}{9 - i} {i}.png"
            Image.fromarray(photo if side == "a" else photo[..., ::-1].copy()).save(tmp_path / side / name)
    (tmp_path / "b" / "of 8 1.png").write_bytes(b"no image")
    Image.fromarray(COLOURFUL[2][:20]).save(tmp_path / "b" / "of 7 2.png")
    options = {**AUTO, "reading": Reading(skip_unreadable=True)}
    result = compare(tmp_path / "a", tmp_path / "b", RESIZING, pairs=lambda name: Path(name).stem[-1], **options)
    assert result.pixels == compare_pixels(
        [(photo, photo[..., ::-1]) for i, photo in enumerate(COLOURFUL[:8]) if i not in (1, 2)]
        + [(PHOTOS[0], PHOTOS[0][:9])]
    )
    assert (result.pixels.num_pairs, result.pixels.num_other_shapes, result.pixels.num_explained) == (7, 1, 6)


def test_pixels_of_grey_images_of_several_sets_and_of_none() -> None:
    grey = DNAExtractor(torch.nn.Conv2d(1, 4, 3), channels=1, mean=[0.5], std=[0.5], input_size=32)
    shades = [photo[..., :1] for photo in COLOURFUL]
    changed = [with_gamma(shade) for shade in shades]
    options = {**AUTO, "causes": False, "pairs": True}
    results = compare(shades, {"same": [shade.copy() for shade in shades], "changed": changed}, grey, **options)
    assert results["same"].pixels == PixelDifferences(12, 12, 0, 0)
    assert results["changed"].pixels.amount == pytest.approx(0.9, abs=0.005)
    assert compare(shades, changed, grey, **options | {"pairs": False}).pixels is None
    bands = DNAExtractor(torch.nn.Conv2d(2, 4, 3), channels=2, mean=[0.5] * 2, std=[0.5] * 2, input_size=32)
    of_bands = [np.repeat(shade, 2, axis=2) for shade in shades]
    assert compare(of_bands, [image // 2 for image in of_bands], bands, **options).pixels is None


def test_of_many_pairs_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.jobs.pixel_pairs.MOST_PAIRS", 5)
    result = compare(PHOTOS, COPIES, EXTRACTOR, pairs=True, **OPTIONS)
    assert (result.pixels.num_pairs, result.pixels.num_total) == (5, 8)
    assert result.verdict.startswith("5 of 5 pairs, drawn from 8, differ in pixels")
