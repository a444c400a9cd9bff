"""Evidence for fd: its test, its value without noise, and what is refused, in words."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pixel_sets import EXTRACTOR, A, B
from scipy.linalg import sqrtm
from torch import Tensor

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Evidence, weigh_evidence
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.functional import layer_frechet_distance
from torchmetrics_dna.functional.permutation import relabelings
from torchmetrics_dna.jobs.features import SpatialMeans
from torchmetrics_dna.jobs.frechet_plan import plan_for
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.plots import plot_layers

NEURONS = Neurons({"colour": 3, "light": 1})
SIZES = [3, 5, 2, 6, 4, 3]  # of folds, unequal
Array = NDArray[np.float64]
Side = tuple[Features, Tensor]


def colours(count: int) -> Array:
    """Of each photograph its mean colour, and how bright its upper half is."""
    photos = np.stack(photographs(count)).astype(np.float64)
    return np.concatenate([photos.mean((1, 2)), photos[:, : photos.shape[1] // 2].mean((1, 2, 3))[:, None]], 1)


def features_of(values: Array, folds: Array | list[int]) -> Side:
    return Features(torch.from_numpy(values), NEURONS, "colours"), torch.as_tensor(folds)


def fd(a: Array, b: Array) -> Array:
    """Of each layer."""
    found = []
    for rows in NEURONS.slices.values():
        x, y = a[:, rows], b[:, rows]
        covs = [np.cov(side.T).reshape(x.shape[1], -1) for side in (x, y)]
        root = np.real(sqrtm(covs[0] @ covs[1])).trace()
        found.append(np.square(x.mean(0) - y.mean(0)).sum() + covs[0].trace() + covs[1].trace() - 2 * root)
    return np.array(found)


def evidence(sides: list[Side], values: Array) -> Evidence | None:
    record, (features, folds) = DISTANCES["fd"], zip(*sides, strict=True)
    plan = plan_for(NEURONS, [side.num_images for side in features])
    return weigh_evidence(torch.from_numpy(values), record.unions(*features, folds, plan), record.power)


def two_sides() -> tuple[list[Array], list[int], Evidence, Array]:
    images = colours(46)
    sides = [images[:23], images[23:] * 0.9]
    folds = np.repeat(range(6), SIZES)
    value = fd(*sides)
    found = evidence([features_of(side, folds) for side in sides], value)
    assert found is not None
    return sides, folds, found, value


def test_the_jackknife_against_the_formula() -> None:
    sides, folds, found, value = two_sides()
    bias = 0
    for side in (0, 1):
        for k, size in enumerate(SIZES):
            rest = list(sides)
            rest[side] = sides[side][folds != k]
            bias = bias + (1 - size / 23) * (fd(*rest) - value)
    np.testing.assert_allclose(found.layers, np.maximum(0, value - bias), rtol=1e-6)
    assert found.debiased == pytest.approx(max(0, (value - bias).mean()), rel=1e-6)
    assert found.interval.low <= found.debiased <= found.interval.high
    assert torch.equal(found.neurons, found.layers)


def test_the_permutation_test_against_one_written_out() -> None:
    sides, folds, found, _ = two_sides()
    pool, number = np.concatenate(sides), np.concatenate([folds, folds + 6])
    labels = relabelings(6, 6, 200).numpy()
    rows, values, shifts = [], [], []
    for label in labels:
        a, b = pool[label[number]], pool[~label[number]]
        values.append(fd(a, b))
        rows.append(values[-1] * len(a) * len(b))
        shifts.append((a.mean(0) - b.mean(0)) ** 2 * len(a) * len(b))
    squares = np.array(shifts) / np.mean(shifts, 0)
    of_layers = np.stack([squares[:, columns].mean(1) for columns in NEURONS.slices.values()], 1)
    z, shift = ((x - np.mean(x, 0)) / np.std(x, 0) for x in (np.array(rows), of_layers))
    kinds = np.stack([z.max(1), shift.max(1)], 1)
    overall = ((kinds - kinds.mean(0)) / kinds.std(0)).max(1)
    either = np.maximum(z, shift)
    assert found.test.num_relabelings == 200
    assert found.test.p_value == np.mean(overall >= overall[0] - 1e-9)
    np.testing.assert_allclose(found.test.layers, [np.mean(either.max(1) >= x - 1e-9) for x in either[0]])
    under = np.mean(values[1:], 1)
    assert found.null == pytest.approx(under.mean(), rel=1e-6)
    assert found.null_high == pytest.approx(np.quantile(under, 0.95), rel=1e-6)


def test_copies_of_one_set() -> None:
    side = features_of(colours(24), [k % 6 for k in range(24)])
    found = evidence([side, side], np.zeros(2))
    assert (found.debiased, found.test.p_value) == (0, 1)


@pytest.mark.parametrize(
    ("widths", "num_images", "tested", "debiased", "told"),
    [
        ({"a": 20, "b": 30}, (60, 60), True, ("a", "b"), []),
        ({"a": 20, "b": 30}, (60, 40), True, ("a",), ["value without noise of b and of the whole: .* 60 .* are 40"]),
        ({"a": 20, "b": 30}, (39, 39), True, (), ["value without noise here: that takes 2 images .* 60 .* are 39"]),
        (
            {"a": 20},
            (61, 40),
            False,
            ("a",),
            ["no test .* of 40 and 61 images finds too much; .* or test dna-emd"],
        ),
        ({"a": 1280}, (2560, 2560), False, ("a",), ["no test .* take about 210 s; .* at most 464 images"]),
        ({"a": 2048}, (4096, 4096), False, (), ["no test here", "since that would take about 176 s; watch"]),
        ({"a": 10}, (10**8, 10**8), False, (), ["no test and no value without noise .*, since that keeps 10 numbers"]),
    ],
)
def test_what_would_be_wrong_or_too_dear_is_refused(
    widths: dict[str, int], num_images: tuple[int, int], tested: bool, debiased: tuple[str, ...], told: list[str]
) -> None:
    plan = plan_for(Neurons(widths), num_images)
    assert (plan.tested, plan.debiased, plan.needs_features) == (tested, debiased, tested or bool(debiased))
    for line, pattern in zip(plan.limits, told, strict=True):
        assert re.search(pattern, line), line


def test_compare_says_what_it_can_and_what_it_can_not() -> None:
    photos = photographs(44)
    blurred = [blur(photo, strength=6) for photo in photos[:34]]
    extractor = DNAExtractor(layers=["block_0", "block_5"])  # 16 and 192 neurons
    found = compare(photos[:34], blurred, extractor, metrics=["fd"])
    assert found.p_value == found["fd"].p_value <= 0.05
    assert min(found["fd"].layers[layer].p_value for layer in found.neurons) == found.p_value
    assert (found["fd"].debiased, found["fd"].layers["block_5"].debiased, found.interval) == (None, None, None)
    assert found["fd"].layers["block_0"].debiased < found["fd"].layers["block_0"].value
    told = found.to_dict()
    assert (told["fd_debiased"], told["p_values"]["fd"]) == (None, found.p_value)
    assert told["layers"]["block_0"]["fd_debiased"] == found["fd"].layers["block_0"].debiased
    assert [line for line in found.notices if line.startswith("fd")] == [
        "fd has no value without noise of block_5 and of the whole: that takes 2 images a side for each neuron of a"
        " layer, 384 for the widest, but there are 34"
    ]
    assert "without noise" in [text.get_text() for text in plot_layers(found).axes[0].get_legend().get_texts()]
    uneven = compare(photos, blurred[:16], extractor, metrics=["fd"])
    assert (uneven.p_value, uneven["fd"].debiased) == (None, None)
    assert any("no test here, since a test of 16 and 44 images" in line for line in uneven.notices)
    assert uneven["fd"].value > 0


def test_spatial_means_are_kept_only_for_fd_with_folds() -> None:
    assert compare(A, B, EXTRACTOR, metrics=["fd"])["fd"].evidence is not None
    plain = compare(A, B, EXTRACTOR, metrics=["fd"], num_folds=None)
    assert (plain["fd"].evidence, plain.notices) == (None, [])
    few = compare(A[:4], B[:4], EXTRACTOR, metrics=["fd"])
    assert (few["fd"].evidence, [line for line in few.notices if line.startswith("fd")]) == (None, [])


@pytest.mark.outer
def test_level_and_value_on_real_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws of photographs: of nothing the test finds something in 5 %, and without noise the value is right."""
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)  # enough for one level
    extractor = DNAExtractor(layers=["block_1"])
    features = SpatialMeans(extractor.neurons)
    side = features.empty("cpu")
    photos = photographs(160)
    for picture in [*photos, *(blur(photo, strength=2) for photo in photos)]:
        features.add_(side, [extractor(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])], 1)
    real, fake = features.value(side).double().split(160)
    neurons, size, record = extractor.neurons, 60, DISTANCES["fd"]
    generator = torch.Generator().manual_seed(0)
    plan = plan_for(neurons, [size, size])

    def drawn(images: Tensor) -> Side:
        chosen = torch.randint(len(images), (size,), generator=generator)
        folds = torch.randint(20, (size,), generator=generator)
        return Features(images[chosen], neurons, extractor.name), folds

    def of_layers(a: Tensor, b: Tensor, correction: int) -> Tensor:
        moments = ([(x[:, rows].mean(0), x[:, rows].T.cov(correction=correction)) for x in (a, b)] for rows in slices)
        return torch.stack([layer_frechet_distance(*one, *other) for one, other in moments])

    slices = list(neurons.slices.values())
    p_values, plain, left = [], [], []
    for _ in range(40):
        for others in (real, fake):
            a, b = drawn(real), drawn(others)
            values = of_layers(a[0].values.double(), b[0].values.double(), 1)
            unions = record.unions(a[0], b[0], (a[1], b[1]), plan)
            found = weigh_evidence(values, unions, record.power)
            if others is real:
                p_values.append(found.test.p_value)
            else:
                plain.append(float(values.mean()))
                left.append(found.debiased)
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.12
    truth = float(of_layers(real, fake, 0).mean())
    assert np.mean(plain) > 1.1 * truth
    assert np.mean(left) == pytest.approx(truth, rel=0.1)
