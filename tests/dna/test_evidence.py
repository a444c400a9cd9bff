"""Evidence for a distance: its laws against plain numpy, and how often intervals hold the truth on real activations."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from dnas import ranges
from makers import emd, fed, frechet
from networks import Outputs, random_images
from processes import run
from scipy.stats import t as student
from shards import CROWD, CROWD_FAKE, shard

from torchmetrics_dna import DNAEMD, DNAExtractor, compare, make_dna
from torchmetrics_dna.dna import GaussianDNA, HistogramDNA
from torchmetrics_dna.dna.averaging import PLAIN, Averaging
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Evidence, farther_test, lower_end, paired_p_value, weigh_evidence
from torchmetrics_dna.functional.permutation import relabelings
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.statistics.folds import content_folds, image_notes

NEURONS = Neurons({"a": 3})


def dna(counts: np.ndarray, num_images: int, neurons: Neurons = NEURONS) -> HistogramDNA:
    return HistogramDNA(torch.from_numpy(counts), neurons, ranges(neurons), num_images, "x")


def in_folds(parts: list[HistogramDNA] | list[GaussianDNA]) -> HistogramDNA | GaussianDNA:
    return replace(merged(parts), folds=tuple(parts))


def evidence(
    a: HistogramDNA, b: HistogramDNA, confidence: float = 0.95, name: str = "dna-emd", tested: bool = True
) -> Evidence | None:
    record = DISTANCES[name]
    unions = record.folded(a, b) if tested else replace(record.folded(a, b), num_relabelings=0)
    return weigh_evidence(record.between(a, b), unions, record.power, confidence=confidence, averaging=PLAIN)


def square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the whole, and of each neuron."""
    a, b = (x.cumsum(1) / x.sum(1, keepdims=True) for x in (a, b))
    distances = np.abs(a - b).sum(1)
    return np.array([distances.mean(), *distances]) ** 2


@pytest.mark.parametrize(("changed", "seed"), [(3, 0), (1, 26)])  # neurons of three
def test_against_the_formulas_written_out(changed: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = [3, 4, 1, 2, 5, 3]  # of folds, unequal
    sides = [[random.integers(0, 9 + shift, (3, 8)) * size + 1 for size in sizes] for shift in (0, 6)]
    sides[1] = [np.concatenate([np.sort(fold[:changed]), fold[changed:]]) for fold in sides[1]]
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
            variances[side] += (h * value[0] - (h - 1) * v[0] - estimate[0]) ** 2 / (h - 1) / g
    variance = sum(variances)
    reach = student.ppf(0.95, variance**2 / sum(v**2 / (g - 1) for v in variances)) * variance**0.5
    folded = [in_folds([dna(fold, m) for fold, m in zip(fold_counts, sizes, strict=True)]) for fold_counts in sides]
    weighed, untested = evidence(*folded, confidence=0.9), evidence(*folded, confidence=0.9, tested=False)
    assert weighed.jackknife.left == pytest.approx(value[0] - bias[0], rel=1e-12)
    figures = value - bias
    interval = untested.interval
    expected = [max(0.0, figures[0] + shift) ** 0.5 for shift in (0, -reach, reach)]
    assert [interval.value, interval.low, interval.high] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(untested.neurons, np.maximum(0, figures)[1:] ** 0.5, rtol=1e-12)
    assert (interval.confidence, interval.num_folds, untested.debiased) == (0.9, 6, interval.value)
    # relabelings instead: all ways to choose 6 of 12 folds, of which the first is observed
    folds_, sizes = [*sides[0], *sides[1]], np.array(sizes * 2)
    whole, single, noise, overlap = [], [], [], []
    for chosen in combinations(range(12), 6):
        others = [k for k in range(12) if k not in chosen]
        figures = square(*(sum(folds_[k] for k in ks) for ks in (chosen, others)))
        images = sizes[list(chosen)].sum(), sizes[others].sum()
        noise.append((total * total) / (images[0] * images[1]))
        overlap.append((sizes[[k for k in chosen if k < 6]].sum() / images[0]
                        - sizes[[k for k in others if k < 6]].sum() / images[1]) ** 2)  # fmt: skip
        whole.append(figures[0] / noise[-1])
        single.append(figures[1:] / noise[-1])
    share = np.mean(overlap)
    left, of_neurons = (
        x[0] - np.maximum(0, np.mean(x, 0) - share * x[0]) / (1 - share) for x in (np.array(whole), np.array(single))
    )
    belief = max(0, 1 - weighed.test.p_value / 0.2)
    assert belief > 0.7
    centre = max(left, (belief * np.maximum(0, of_neurons) ** 0.5).mean() ** 2)
    assert (centre > left) == (changed == 1), "both terms are checked"
    assert weighed.centre == pytest.approx(centre, rel=1e-9)
    interval = weighed.interval
    expected = [max(0.0, centre + shift) ** 0.5 for shift in (0, -reach, reach)]
    assert [interval.value, interval.low, interval.high] == pytest.approx(expected, rel=1e-3)
    assert interval.excludes_zero
    np.testing.assert_allclose(weighed.neurons, np.maximum(0, of_neurons) ** 0.5, rtol=1e-9)
    assert float(weighed.layers[0]) == pytest.approx(interval.value, rel=1e-12)
    assert weighed.least_p_value == 2 / 924
    assert weighed.null_above == pytest.approx(np.quantile(whole, 0.95) - np.mean(whole), rel=1e-9)


@pytest.mark.parametrize("quantile", [1.7, 0.1])
def test_the_lower_end_is_where_a_test_begins_to_reject(quantile: float) -> None:
    """By halving: the least distance that is nearer to the estimate than its noise, between that at 0 and there."""
    random = np.random.default_rng(3)
    sides = [[order(random.integers(0, 9, (3, 8))) * 3 + 1 for _ in range(9)] for order in (np.asarray, np.sort)]
    far = evidence(*(in_folds([dna(fold, 3) for fold in side]) for side in sides))
    at_zero = far.null_above
    at_centre = max(at_zero, quantile * far.jackknife.variance**0.5)
    low, high = 0.0, far.centre
    for _ in range(80):
        middle = (low + high) / 2
        noise = (at_zero**2 + (at_centre**2 - at_zero**2) * middle / far.centre) ** 0.5
        low, high = (middle, high) if far.centre - middle > noise else (low, middle)
    assert 0 < low < far.centre
    assert lower_end(far, quantile) == pytest.approx(low, rel=1e-9)
    assert lower_end(replace(far, interval=replace(far.interval, excludes_zero=False)), quantile) == 0
    assert lower_end(replace(far, null_above=far.centre), quantile) == 0


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def test_whether_a_set_is_further_than_another_by_all_exchanges() -> None:
    random = np.random.default_rng(4)
    sizes = [[3, 2, 4, 1, 2], [2, 3, 1, 4, 2], [3, 3, 2, 2, 3]]
    folds = [
        [order(random.integers(0, 9, (3, 8))) * size + 1 for size in of_set]
        for order, of_set in zip((np.asarray, np.sort, np.asarray), sizes, strict=True)
    ]
    a, b, c = (
        [dna(fold, size) for fold, size in zip(of_set, of_sizes, strict=True)]
        for of_set, of_sizes in zip(folds, sizes, strict=True)
    )
    whole, others, gains, apart = sum(folds[0]), [*folds[1], *folds[2]], [], []
    for chosen in combinations(range(10), 5):
        near = sum(others[k] for k in range(10) if k not in chosen)
        squares = square(whole, sum(others[k] for k in chosen)), square(whole, near)
        gains.append(squares[0][0] - squares[1][0])
        apart.append(squares[0][1:] ** 0.5 - squares[1][1:] ** 0.5)
    folded = DISTANCES["dna-emd"].folded(in_folds(a), in_folds([*b, *c]))
    expected = np.mean([gain >= gains[0] - 1e-9 for gain in gains])
    further = farther_test(folded, 5, 2, PLAIN)
    assert further.p_value == pytest.approx(expected)
    assert expected < 0.05
    z, of_layer = (standard(each) for each in (np.array(apart), standard(np.array(apart)).sum(1, keepdims=True)))
    clearest = np.maximum(*standard(np.stack([of_layer[:, 0], z.max(1)], 1)).T)
    assert further.test.p_value == pytest.approx(np.mean(clearest >= clearest[0] - 1e-9))
    back = DISTANCES["dna-emd"].folded(in_folds(a), in_folds([*c, *b]))
    assert min(farther_test(back, 5, 2, PLAIN).p_value, farther_test(back, 5, 2, PLAIN).test.p_value) > 0.5


def test_the_interval_of_a_layer_is_that_of_the_layer_alone() -> None:
    random = np.random.default_rng(0)
    neurons = Neurons({"a": 2, "b": 3})
    sides = []
    for order in (np.asarray, np.sort):
        counts = [order(random.integers(0, 9, (5, 8))) * size + 1 for size in (3, 4, 1, 2, 5, 3)]
        sides.append(in_folds([dna(fold_counts, 2, neurons) for fold_counts in counts]))
    weighed = evidence(*sides)
    for layer, interval in zip("ab", weighed.layer_intervals, strict=True):
        alone = [replace(side.select([layer]), folds=tuple(f.select([layer]) for f in side.folds)) for side in sides]
        assert interval == evidence(*alone).interval
        assert interval.low < interval.value < interval.high
    assert [fold_counts.value for fold_counts in weighed.layer_intervals] == weighed.layers.tolist()


def test_a_test_that_two_sets_are_near() -> None:
    """By Student's t of scipy; the hypothesis of a distance that is 0 after noise is taken out has p = 0.5 there."""
    random = np.random.default_rng(0)
    a, b = (sampled(draws(shift, 60, random), random) for shift in (np.zeros(6), np.full(6, 0.05)))
    result = DISTANCES["dna-emd"].result(a, b)
    jackknife, value = result.evidence.jackknife, result.debiased
    for limit in (0.5, value, 1.2 * value, 2 * value):
        t = (limit**2 - value**2) / jackknife.variance**0.5
        assert result.p_value_of_at_least(limit) == pytest.approx(student.sf(t, jackknife.freedom), rel=1e-6)
    assert result.p_value_of_at_least(value) == pytest.approx(0.5)
    assert DISTANCES["dna-emd"].result(a, a).p_value_of_at_least(1e-9) == 0
    assert replace(result, evidence=None).p_value_of_at_least(1) is None
    with pytest.raises(ValueError, match="`distance` expected to be above 0, but got 0"):
        result.p_value_of_at_least(0)


def test_the_interval_holds_0_if_the_test_finds_nothing() -> None:
    random = np.random.default_rng(1)
    seen = set()
    for factor in [0.0, 0.3, 1.0] * 4:
        a, b = (sampled(draws(shift, 60, random), random) for shift in (np.zeros(6), factor * np.linspace(0, 0.1, 6)))
        weighed = evidence(a, b)
        figures = [
            (weighed.interval, weighed.test.p_value),
            *zip(weighed.layer_intervals, weighed.test.layers, strict=True),
        ]
        for interval, p in figures:
            differs = bool(p <= 0.05)
            seen.add(differs)
            assert interval.excludes_zero == differs
            assert (interval.low > 0 or interval.ends.startswith("(0, ")) == differs
            assert (interval.value > 0) or not differs
            assert interval.low <= interval.value <= interval.high
    assert seen == {False, True}


def draws(shift: np.ndarray, images: int, random: np.random.Generator) -> np.ndarray:
    """Histograms of images whose neurons differ in their means by a shift, ``(images, N, 40)``."""
    means = random.normal(0.4, 0.08, (images, len(shift), 1)) + shift[:, None]
    bins = (np.clip(random.normal(means, 0.05, (images, len(shift), 30)), 0, 0.999) * 40).astype(int)
    return np.stack([[np.bincount(row, minlength=40) for row in image] for image in bins])


def sampled(images: np.ndarray, random: np.random.Generator) -> HistogramDNA:
    """A sample of 40 images in 8 folds."""
    neurons = Neurons({"a": images.shape[1]})
    drawn = images[random.integers(0, len(images), 40)]
    return in_folds([dna(drawn[k::8].sum(0), 5, neurons) for k in range(8)])


def test_weights_below_0_have_a_test_alone_and_the_reason_why() -> None:
    random = np.random.default_rng(0)
    sides = [sampled(draws(shift, 60, random), random) for shift in (np.zeros(6), np.linspace(0, 0.1, 6))]
    record, plain = DISTANCES["dna-emd"], evidence(*sides)
    for given in (torch.full((6,), -1 / 6).double(), torch.tensor([-0.5, -0.1, 0, 0.2, 0.3, 0.4]).double()):
        result = record.result(*sides, averaging=Averaging(given))
        assert result.value == pytest.approx(float((given * record.between(*sides)).sum()))
        assert (result.debiased, result.interval, result.layers["a"].interval) == (None, None, None)
        assert result.p_value_of_at_least(1) is None
        assert any("weights below 0" in line for line in result.limits)
        assert paired_p_value(result.evidence, plain) is None
        if (given < 0).all():
            assert result.p_value == plain.test.p_value
    half = torch.tensor([0.0, 0, 0, 1, 1, 1], dtype=torch.float64)
    assert record.result(*sides, averaging=Averaging(half / 3)).interval is not None


def test_a_neuron_that_is_constant_in_a_counts_as_in_the_value() -> None:
    """Self-ranging histograms of a side where a neuron is dead, and one is a constant, have no width to divide by."""
    images = random_images(24, 0)
    dead = images.clone()
    dead[:, 1], dead[:, 2] = 0, 77
    extractor = DNAExtractor(Outputs(lambda imgs: imgs.float()), input_size=12)
    sides = [make_dna(each, extractor, num_bins=40, num_folds=6) for each in (dead, images)]
    for a, b in (sides, sides[::-1]):
        values, weighed = a.distances(b), evidence(a, b)
        observed = DISTANCES["dna-emd"].folded(a, b)
        in_a = torch.arange(len(observed.sizes_a) + len(observed.sizes_b))[None] < len(observed.sizes_a)
        torch.testing.assert_close(observed.distances(in_a, ~in_a)[0], values, rtol=0.1, atol=0.05)  # read at edges
        assert 0 <= weighed.null < 40
        assert weighed.interval.low <= weighed.debiased <= weighed.interval.high < 40


def test_unequal_folds_of_gaussians_against_the_formula() -> None:
    """dna-fd is debiased as it is, not its square."""
    random = np.random.default_rng(0)
    images = [random.normal(shift, 1 + shift, (23, 3)) for shift in (0, 1)]
    sizes = [3, 5, 2, 6, 4, 3]
    parts = [np.split(side, np.cumsum(sizes)[:-1]) for side in images]

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a.mean(0) - b.mean(0)) ** 2 + (a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2

    value, bias = distance(*images), 0
    for side in (0, 1):
        for k, size in enumerate(sizes):
            rest = list(images)
            rest[side] = np.concatenate(parts[side][:k] + parts[side][k + 1 :])
            bias = bias + (1 - size / 23) * (distance(*rest) - value)
    moments = [[(torch.tensor(x.mean(0)), torch.tensor(x.var(0, ddof=1))) for x in side] for side in parts]
    folded = [[GaussianDNA(*of, NEURONS, m, "x") for of, m in zip(side, sizes, strict=True)] for side in moments]
    weighed = evidence(*map(in_folds, folded), name="dna-fd")
    np.testing.assert_allclose(weighed.neurons, np.maximum(0, value - bias), rtol=1e-10)
    assert weighed.debiased == pytest.approx(max(0, (value - bias).mean()), rel=1e-10)


@pytest.mark.parametrize("weights", [None, [0.1, 0.7, 0.2]])
def test_chance_is_of_halves_of_a_written_out(weights: list[float] | None) -> None:
    """Eleven unequal folds of A halved forty times, as 5 and 6, and brought to the numbers of images of both sides."""
    random = np.random.default_rng(0)
    sizes, weigh = [np.arange(1, 12), np.full(6, 4)], np.full(3, 1 / 3) if weights is None else np.array(weights)
    folds = [[random.integers(0, 9, (3, 8)) * size + 1 for size in side] for side in sizes]
    a, b = (in_folds([dna(f, int(m)) for f, m in zip(*of, strict=True)]) for of in zip(folds, sizes, strict=True))
    expected = []
    for half in relabelings(5, 6, 40).numpy():
        first, second = (
            sum(folds[0][k] for k in chosen.nonzero()[0]).cumsum(1).astype(float) for chosen in (half, ~half)
        )
        apart = np.abs(first / first[:, -1:] - second / second[:, -1:]).sum(1) @ weigh
        num_images = sizes[0][half].sum(), sizes[0][~half].sum()
        noise = (1 / 66 + 1 / 24) / sum(1 / images for images in num_images)
        expected.append(apart * noise**0.5)
    averaging = Averaging(None if weights is None else torch.tensor(weights, dtype=torch.float64))
    result = DISTANCES["dna-emd"].result(a, b, averaging)
    assert len(expected) == 40
    assert result.evidence.chance == pytest.approx(np.mean(expected), rel=1e-6)


def test_what_is_exact_adds_no_doubt() -> None:
    random = np.random.default_rng(0)
    folded = in_folds([dna(random.integers(1, 9, (3, 8)), 2) for _ in range(6)])
    other = dna(np.sort(random.integers(1, 30, (3, 8))), 3)
    exact, both = evidence(folded, other), evidence(folded, in_folds([other] * 5))
    assert exact.interval.low < exact.debiased < exact.interval.high
    assert both.jackknife.left == pytest.approx(exact.jackknife.left)
    assert both.jackknife.variance == pytest.approx(exact.jackknife.variance)  # folds that are all alike vary nothing
    assert exact.test is None  # since what is exact can't be shared out anew
    assert both.test.p_value < 0.05
    assert both.test.exact
    assert both.test.num_relabelings == 462
    uneven = evidence(folded, in_folds([replace(other, num_images=12)] * 5))
    assert uneven.test is None  # for no few folds of 12 images make up for folds of 2
    wide, narrow = (evidence(folded, other, c).interval for c in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    copies = evidence(folded, folded)
    assert copies.debiased == copies.interval.low == 0 < copies.null
    assert copies.test.p_value == 1


def test_too_few_folds() -> None:
    full, empty = dna(np.ones((3, 8), np.int64), 2), dna(np.zeros((3, 8), np.int64), 0)
    folded = in_folds([full] * 4 + [empty])
    assert evidence(folded, in_folds([full] * 5)) is None
    assert evidence(full, full) is None
    # all images of a side in one group: that is not a side without folds, which is taken for exact
    one_group = in_folds([full, *[empty] * 9])
    assert evidence(one_group, in_folds([full] * 6)) is None
    assert evidence(full, in_folds([full] * 6)) is not None


def test_too_few_folds_of_metrics() -> None:
    few = emd(debias=True)
    assert few(CROWD[:2], True).isnan()
    few.update(CROWD[2:4], real=False)
    with pytest.raises(RuntimeError, match="At least 5 folds with images are required, but got 2 and 2"):
        few.compute()
    with pytest.raises(ValueError, match="`debias` expected to be a bool"):
        emd(debias=1)
    with pytest.raises(ValueError, match="of at least 5, but got 0; for no folds, pass `num_folds=None`"):
        compare(CROWD, CROWD_FAKE, num_folds=0)
    with pytest.raises(ValueError, match="of at least 5, .* got 4"):
        frechet(num_folds=4)
    with pytest.raises(ValueError, match=f"`groups` expected to have {len(CROWD)} names, but got 1"):
        few.update(CROWD, real=True, groups=["a"])
    with pytest.raises(ValueError, match="`groups` requires folds of images; create it with num_folds=20"):
        emd().update(CROWD, real=True, groups=["clip"] * len(CROWD))


def figures_of(metric: DNAEMD) -> list[object]:
    weighed = metric.evidence()
    return [float(metric.compute()), weighed.interval, weighed.null, weighed.test.z.tolist(), weighed.neurons.tolist()]


def share_folds(rank: int, world: int, expected: str) -> None:
    """Evidence is that of one process, whichever images a process saw."""
    metric = emd(num_folds=5)
    for images, real in ((CROWD, True), (CROWD_FAKE, False)):
        mine = shard(images, rank, world)
        if len(mine):
            metric.update(mine, real=real)
    assert figures_of(metric) == torch.load(expected, weights_only=False)


@pytest.mark.outer
def test_processes_agree_with_one(tmp_path: Path) -> None:
    torch.save(figures_of(fed(emd(num_folds=5), CROWD, CROWD_FAKE)), tmp_path / "expected")
    run(3, share_folds, str(tmp_path / "expected"))


def test_folds_are_about_equal_and_of_pixels_alone() -> None:
    images = torch.randint(0, 256, (600, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    folds = content_folds(images, 10)
    assert folds.bincount(minlength=10).min() > 30
    assert torch.equal(content_folds(images.flip(0), 10).flip(0), folds)
    assert torch.equal(content_folds(images.float() / 255, 10), folds)
    assert [image_notes(image.permute(1, 2, 0).numpy(), 10)["folds"] for image in images] == folds.tolist()
    for shape in ((700, 900, 3), (1, 80_000, 1), (5, 7, 4)):  # of which not all pixels are taken, and long ones
        image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        assert torch.equal(image_notes(image.numpy(), 10)["folds"], content_folds(image.permute(2, 0, 1)[None], 10)[0])
    deep = (20_000 + images.float() / 4) / 65535  # of 16 bits, all alike in 8
    assert content_folds(deep, 10).unique().numel() > 1
    assert content_folds(images[:0], 10).shape == (0,)
    flat = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    assert content_folds(flat, 10).bincount(minlength=10).min() > 5
