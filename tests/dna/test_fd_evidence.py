"""Evidence for fd: its test, its value without noise, and what is refused, in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from networks import Outputs, random_images
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import Tensor

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Evidence, weigh_evidence
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.fid_statistics import save_fid_statistics
from torchmetrics_dna.dna.folded import plan_for
from torchmetrics_dna.dna.gaussian import LayerGaussianDNA
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.functional import layer_frechet_estimate
from torchmetrics_dna.functional.permutation import relabelings
from torchmetrics_dna.functional.student import student_quantile
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


# 3 neurons, for which 9 images a side are enough, and 12, which take 36
FEW_AND_MANY = DNAExtractor(
    Outputs(lambda imgs: {"few": imgs.float().mean((2, 3)), "many": imgs[:, 0].float().mean(2)}), input_size=12
)


def fd(a: Array, b: Array) -> Array:
    """Of each layer."""
    distances = []
    for rows in NEURONS.slices.values():
        x, y = a[:, rows], b[:, rows]
        covs = [np.cov(side.T).reshape(x.shape[1], -1) for side in (x, y)]
        root = np.real(sqrtm(covs[0] @ covs[1])).trace()
        distances.append(np.square(x.mean(0) - y.mean(0)).sum() + covs[0].trace() + covs[1].trace() - 2 * root)
    return np.array(distances)


def evidence(sides: list[Side], values: Array) -> Evidence | None:
    record, (features, folds) = DISTANCES["fd"], zip(*sides, strict=True)
    plan = plan_for(NEURONS, [side.num_images for side in features], tested=True, name="fd", by_fold=False)
    return weigh_evidence(
        torch.from_numpy(values), record.folded(*features, folds, plan), record.power, averaging=PLAIN, confidence=0.95
    )


def two_sides() -> tuple[list[Array], list[int], Evidence, Array]:
    images = colours(46)
    sides = [images[:23], images[23:] * 0.9]
    folds = np.repeat(range(6), SIZES)
    value = fd(*sides)
    weighed = evidence([features_of(side, folds) for side in sides], value)
    assert weighed is not None
    return sides, folds, weighed, value


def test_noise_is_that_of_the_estimate_of_each_layer() -> None:
    sides, folds, weighed, value = two_sides()
    estimates = [
        layer_frechet_estimate(*(torch.from_numpy(side[:, rows]) for side in sides), (torch.from_numpy(folds),) * 2)
        for rows in NEURONS.slices.values()
    ]
    left = [plain - float(estimate.bias) for plain, estimate in zip(value, estimates, strict=True)]
    np.testing.assert_allclose(weighed.layers, np.maximum(0, left), rtol=1e-6)
    assert weighed.jackknife.left == pytest.approx(np.mean(left), rel=1e-6)
    by_side = [np.mean(phi, 0) for phi in zip(*(estimate.influences for estimate in estimates), strict=True)]
    assert weighed.jackknife.variance == pytest.approx(sum(phi.var(ddof=1) / len(phi) for phi in by_side), rel=1e-6)
    assert weighed.interval.low <= weighed.debiased <= weighed.interval.high
    assert torch.equal(weighed.neurons, weighed.layers)


def test_images_that_belong_together_count_once() -> None:
    """Twelve images, each of them ten times: the error is that of twelve, and not of 120."""
    images = np.repeat(colours(12), 10, 0)
    reference = colours(30) * 0.9
    moments = [torch.from_numpy(x) for x in (reference.mean(0), np.cov(reference[:, :3].T), np.cov(reference[:, 3:].T))]
    cov = {"colour": moments[1], "light": moments[2].reshape(1, 1)}
    exact = LayerGaussianDNA(moments[0], cov, NEURONS, 0, "colours")
    side, folds = features_of(images, np.repeat(np.arange(12), 10))
    variances = []
    for by_fold in (True, False):
        plan = plan_for(NEURONS, [120], tested=False, by_fold=by_fold, name="fd")
        weighed = weigh_evidence(
            torch.zeros(2),
            DISTANCES["fd"].folded(exact, side, (None, folds), plan),
            power=1,
            averaging=PLAIN,
            confidence=0.95,
        )
        assert weighed.test is None
        variances.append(weighed.jackknife.variance)
        estimates = [
            layer_frechet_estimate(tuple(exact.by_layer()[layer]), side.select([layer]).values, (None, folds))
            for layer in NEURONS
        ]
        phi = np.mean([estimate.influences[1] for estimate in estimates], 0)
        units = phi.reshape(12, 10).mean(1) if by_fold else phi
        assert variances[-1] == pytest.approx(units.var(ddof=1) / len(units), rel=1e-6)
    assert variances[0] == pytest.approx(variances[1] * 119 / 11, rel=1e-6)


def test_the_permutation_test_against_one_written_out() -> None:
    sides, folds, weighed, _ = two_sides()
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
    assert weighed.test.num_relabelings == 200
    assert weighed.test.p_value == np.mean(overall >= overall[0] - 1e-9)
    np.testing.assert_allclose(weighed.test.layers, [np.mean(either.max(1) >= x - 1e-9) for x in either[0]])
    under = np.mean(values[1:], 1)
    assert weighed.null == pytest.approx(under.mean(), rel=1e-6)
    assert weighed.null_high == pytest.approx(np.quantile(under, 0.95), rel=1e-6)


@pytest.mark.parametrize(
    ("widths", "num_images", "tested", "debiased", "limits"),
    [
        ({"a": 20, "b": 30}, (90, 60), True, ("a",), ["no interval of b and of the whole: .* 90 .* are 60"]),
        ({"a": 20, "b": 30}, (59, 59), True, (), ["no interval here: that takes 3 images .* 90 .* are 59"]),
        (
            {"a": 20},
            (91, 60),
            False,
            ("a",),
            ["no test .* of 60 and 91 images has too many false .* test dna-emd"],
        ),
        ({"a": 1280}, (3840, 3840), False, ("a",), ["no test .* take about 210 s; test dna-emd"]),
        (
            {"a": 1280},
            (3840, None),
            False,
            (),
            ["no test and no debiased value .*, since a stream does not say how long it is"],
        ),
        (
            {"a": 10},
            (10**8, 10**8),
            False,
            (),
            ["no test and no debiased value .*, since that would keep 10 numbers per image"],
        ),
    ],
)
def test_what_would_be_wrong_or_too_dear_is_refused(
    widths: dict[str, int], num_images: tuple[int, int], tested: bool, debiased: tuple[str, ...], limits: list[str]
) -> None:
    plan = plan_for(Neurons(widths), num_images, tested=True, name="fd", by_fold=False)
    assert (plan.tested, plan.debiased) == (tested, debiased)
    for line, pattern in zip(plan.limits, limits, strict=True):
        assert re.search(pattern, line), line


def test_compare_says_what_it_can_and_what_it_can_not() -> None:
    images = random_images(34, 0, (12, 12))
    comparison = compare(images, images // 2, FEW_AND_MANY, metrics=["fd"])
    fd, few = comparison["fd"], comparison["fd"].layers["few"]
    assert comparison.p_value == fd.p_value <= 0.05
    assert min(fd.layers[layer].p_value for layer in comparison.neurons) == comparison.p_value
    assert (fd.debiased, fd.layers["many"].debiased, comparison.interval) == (None, None, None)
    assert few.debiased < few.value
    as_json = comparison.to_dict()
    assert (as_json["fd_debiased"], as_json["fd_p_value"]) == (None, comparison.p_value)
    assert as_json["layers"]["few"]["fd_debiased"] == few.debiased
    (line,) = (line for line in comparison.notices if line.startswith("fd"))
    assert re.search("many .* 36 .* 34", line)
    assert "debiased" in [text.get_text() for text in plot_layers(comparison).axes[0].get_legend().get_texts()]
    uneven = compare(images, images[:16], FEW_AND_MANY, metrics=["fd"])
    assert (uneven.p_value, uneven["fd"].debiased) == (None, None)
    assert any("no test here" in line and "16 and 34" in line for line in uneven.notices)
    assert uneven["fd"].value > 0


def test_published_statistics_give_an_error_bar(tmp_path: Path) -> None:
    extractor, photos = (
        DNAExtractor(FEW_AND_MANY.network, layers=["few"], input_size=12),
        random_images(150, 0, (12, 12)),
    )
    save_fid_statistics(make_dna(photos[:50], extractor, kind="layer-gaussian"), tmp_path / "real.npz")
    sets = {"brighter": 128 + photos[50:100] // 2, "dark": photos[100:] // 2}
    by_set = compare(tmp_path / "real.npz", sets, extractor, metrics=["fd"])
    reference = load_dna(tmp_path / "real.npz")
    estimates = {}
    for name, images in sets.items():
        estimate = layer_frechet_estimate((reference.mean, *reference.cov.values()), extractor(images)["few"])
        figure, interval = by_set[name]["fd"].overall, by_set[name]["fd"].interval
        assert figure.value == pytest.approx(float(estimate.value), rel=1e-4)
        assert figure.p_value is None
        reach = student_quantile(0.975, 49) * float(estimate.standard_error)
        left = by_set[name]["fd"].evidence.jackknife.left
        assert interval.high == pytest.approx(left + reach, rel=1e-4)
        assert interval.low == pytest.approx(max(0, left - reach), rel=1e-4)
        assert not any(line.startswith("fd") for line in by_set[name].notices)
        estimates[name] = left, float(estimate.standard_error)
    (near, near_error), (far, far_error) = sorted(estimates.values())
    p = by_set.p_values[max(sets, key=lambda name: estimates[name])]
    assert p == pytest.approx(2 * scipy.stats.t.sf((far - near) / np.hypot(near_error, far_error), 98), rel=0.1)


def test_the_references_own_images_and_too_few_are_told(tmp_path: Path) -> None:
    extractor, images = FEW_AND_MANY, random_images(40, 0, (12, 12))
    reference = make_dna(images, extractor, kind="layer-gaussian")
    own = compare(reference, images, extractor, metrics=["fd"])
    assert own["fd"].debiased == 0
    assert any(x.startswith("fd is 0, but") for x in own.notices)
    few = compare(reference, images[:30], extractor, metrics=["fd"])
    assert few["fd"].interval is None
    assert any(re.search("36 for the widest.* 30", x) for x in few.notices)
