from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import dnas
import numpy as np
import pytest
import torch
from dnas import are_alike
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.binning import Activations, add_counts_, bins_within
from torchmetrics_dna.binning.moments import image_moments
from torchmetrics_dna.binning.self_ranging import dyadic_grid
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.neurons import Neurons

NEURONS = Neurons({"a": 2, "b": 3})
RANGES = ActivationRanges(torch.arange(5.0), torch.arange(5.0) + 1, NEURONS)


ONES = torch.ones(5, 4, dtype=torch.int64)


def histogram(counts: Tensor = ONES, num_images: int = 3, **changes: object) -> HistogramDNA:
    plain = {"counts": counts, "neurons": NEURONS, "ranges": RANGES, "num_images": num_images, "extractor": "x"}
    return HistogramDNA(**plain | changes)


def gaussian(values: np.ndarray) -> GaussianDNA:
    moments = image_moments(Activations({"all": torch.from_numpy(values)})).sum(0)
    return GaussianDNA.from_moments(moments, NEURONS, len(values), "x")


def gaussian_of_plain_sums(values: np.ndarray) -> GaussianDNA:
    moments = torch.from_numpy(np.stack([values.sum(0), np.square(values).sum(0)]))
    return GaussianDNA.from_moments(moments, NEURONS, len(values), "x")


def layer_gaussian(values: np.ndarray, **changes: object) -> LayerGaussianDNA:
    cov = {layer: torch.from_numpy(_cov(values[:, columns])) for layer, columns in NEURONS.slices.items()}
    return LayerGaussianDNA(torch.from_numpy(values.mean(0)), cov, NEURONS, len(values), "x", **changes)


def gaussian_of(dna: GaussianDNA | LayerGaussianDNA) -> GaussianDNA:
    return dna.to_gaussian() if isinstance(dna, LayerGaussianDNA) else dna


def _cov(values: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(values.T)) if len(values) > 1 else np.zeros((values.shape[1],) * 2)


samples = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(5)), elements=st.floats(-100, 100))


@pytest.mark.parametrize("each", [2**51, 2**61])
def test_counts_that_would_not_add_up_exactly_are_not_merged(each: int) -> None:
    a, b = (histogram(torch.full((5, 4), value)) for value in (each, each // 2))
    with pytest.raises(ValueError, match=r"Layer 'a' would have .* values of each neuron, more than the 2\^53"):
        a + b
    assert (a.counts == each).all()
    assert (b.counts == each // 2).all()


@settings(max_examples=40)
@given(samples, samples, samples)
def test_merging_gaussians_gives_the_gaussian_of_all(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    joined = np.concatenate([a, b, c])
    exactly, nearly = {"rtol": 1e-11, "atol": 1e-11}, {"rtol": 1e-6, "atol": 1e-8}  # as sums of squares cancel
    for make, near in ((gaussian, exactly), (gaussian_of_plain_sums, nearly), (layer_gaussian, exactly)):
        merged = make(a).merge(make(b), make(c))
        assert merged.num_images == len(joined)
        assert are_alike(merged, make(c) + (make(a) + make(b)), **near)
        single = gaussian_of(merged)
        np.testing.assert_allclose(single.mean, joined.mean(0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(single.var, joined.var(0, ddof=1), **near)
        assert not gaussian_of(make(a[:1])).var.any()
    assert are_alike(merged, layer_gaussian(joined), **exactly)


@pytest.mark.parametrize("make", [gaussian, layer_gaussian, lambda values: histogram()])
def test_sums_are_merged(make: Callable[[np.ndarray], DNA]) -> None:
    dnas = [make(np.random.default_rng(seed).normal(size=(4, 5))) for seed in range(3)]
    assert sum(dnas).digest == dnas[0].merge(*dnas[1:]).digest
    assert sum(dnas[:1]).digest == dnas[0].digest
    assert dnas[0].num_images < sum(dnas).num_images  # none of them has changed
    for other in (1, False, None):
        with pytest.raises(TypeError, match="unsupported operand type"):
            other + dnas[0]


def layers_of(**cov: Tensor) -> LayerGaussianDNA:
    return LayerGaussianDNA(torch.zeros(5), cov, NEURONS, 2, "x")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: histogram(torch.ones(5, 4)), r"int64 of shape \(5, num_bins\), but got torch.float32"),
        (lambda: histogram(torch.ones(4, 4).long()), r"of shape \(4, 4\)"),
        (lambda: histogram(ranges=RANGES.select(["a"])), "Argument `ranges` expected to be of Neurons"),
        (lambda: GaussianDNA(torch.ones(3), torch.ones(5), NEURONS, 2, "x"), r"`mean` expected to have shape \(5,\)"),
        (lambda: GaussianDNA(torch.ones(5), -torch.ones(5), NEURONS, 2, "x"), "`var` expected to be 0 or more"),
        *((lambda n=n: histogram().rebin(n), f"divide the 4 bins .*, but got {n}") for n in (0, 1, -1, 3, 8)),
        (lambda: histogram(num_images=-1), "`num_images` expected to be from 0 to 2"),
        (lambda: layers_of(a=torch.eye(2)), "`mean` and `cov` expected to have shapes"),
        (lambda: layers_of(a=torch.eye(2), b=torch.eye(2)), "`mean` and `cov` expected to have shapes"),
        (lambda: layers_of(a=torch.eye(2), b=torch.eye(3).cumsum(1)), "symmetric and finite, but layer 'b' is not"),
        (lambda: layers_of(a=torch.eye(2) / 0, b=torch.eye(3)), "symmetric and finite, but layer 'a' is not"),
    ],
)
def test_bad_values(call: Callable[[], DNA], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# the quotient of a subnormal and a bin's width may round to zero
@settings(max_examples=40)
@given(arrays(np.float64, (5, 30), elements=st.floats(-3, 9, allow_subnormal=False)), st.sampled_from([1, 2, 3, 6]))
def test_fewer_bins_are_what_counting_into_them_gives(values: np.ndarray, factor: int) -> None:
    ends = torch.from_numpy(values.min(1)), torch.from_numpy(values.max(1))

    def counted(bins: int, own: bool) -> HistogramDNA:
        empty = torch.zeros(5, bins, dtype=torch.int64)
        where = dyadic_grid(*ends, bins).bins(bins) if own else bins_within(*RANGES.bounds(), bins)
        add_counts_(empty, Activations({"all": torch.from_numpy(values)[None]}), where)
        return histogram(empty, 1, ranges=ActivationRanges(*ends, NEURONS, "auto") if own else RANGES)

    for own in (False, True):
        assert torch.equal(counted(12, own).rebin(12 // factor).counts, counted(12 // factor, own).counts)


def test_what_is_unknown_of_official_files() -> None:
    known, unknown = histogram(), histogram(ranges=None)
    assert (unknown + unknown).distances(unknown).tolist() == [0] * 5
    assert unknown.select(["b"]).rebin(2).ranges is None
    with pytest.raises(
        ValueError, match=r"ranges \(digest\) differ: '\w{16}' and 'unknown \(pass `ranges` when loading\)'"
    ):
        known.merge(unknown)
    with pytest.raises(
        ValueError, match="The activation ranges of this DNA are unknown.* pass them as `ranges` when loading"
    ):
        unknown.to_gaussian()
    with pytest.raises(ValueError, match="merge the histograms"):
        known.to_gaussian().merge(known.to_gaussian())


def test_where_a_dna_is_from_counts_as_far_as_it_is_known() -> None:
    plain = {"resize": "clean", "crop": "none"}
    dna = histogram(
        torch.ones(5, 4).long(), weights_digest="aa", preparation=plain | {"input_size": [9, 9]}, notes="one"
    )
    partial = histogram(preparation=plain, notes="two")
    merged = partial + dna + dna
    assert (merged.weights_digest, merged.preparation, merged.notes) == ("aa", dna.preparation, "two\none")
    for changes, message in (
        ({"weights_digest": "bb"}, r"weights \(digest\) differ: 'aa' and 'bb'"),
        ({"preparation": {"crop": "center"}}, r"their preparations \(crop\) differ: 'none' and 'center'"),
        ({"preparation": {"input_size": None}}, r"their preparations \(input_size\) differ: \[9, 9\] and 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            dna.distances(histogram(**changes))


def test_digests_are_of_what_a_dna_is() -> None:
    dna = histogram()
    named = ActivationRanges(RANGES.minimum, RANGES.maximum, NEURONS, name="some name")
    assert dna.digest == histogram(notes="other notes", ranges=named).digest
    others = [
        histogram(torch.ones(5, 4).long() * 2),
        histogram(torch.ones(5, 2).long()),
        histogram(num_images=4),
        histogram(weights_digest="aa"),
        histogram(ranges=None),
        gaussian(np.zeros((2, 5))),
        layer_gaussian(np.zeros((2, 5))),
    ]
    assert len({dna.digest, *(other.digest for other in others)}) == 8


@pytest.mark.parametrize("make", [lambda values: histogram(torch.from_numpy(values).long()), gaussian, layer_gaussian])
def test_a_dna_has_the_distance_that_is_registered_first_for_its_representation(
    make: Callable[[np.ndarray], DNA],
) -> None:
    random = np.random.default_rng(0)
    a, b = (make(random.uniform(1, 100, (5, 5))) for _ in range(2))
    record = next(record for record in DISTANCES.values() if record.kinds[:1] == (a.kind,))
    assert (a.distance_name, a.least_images) == (record.name, record.least)
    assert a.distances(b).all()
    assert torch.equal(a.distances(b), record.result(a, b, with_evidence=False).values)


def test_folds_share_out_the_images() -> None:
    dna = dnas.in_folds()[0]
    with pytest.warns(UserWarning, match="Not all DNAs have as many folds, so the merged one has none"):
        assert (dna + replace(dna, folds=())).folds == ()
    with pytest.raises(ValueError, match=r"`folds` expected to share out 36 images of Neurons.*, but got"):
        replace(dna, folds=dna.folds[:1])
    with pytest.raises(ValueError, match="`folds` expected to share out"):
        replace(dna, folds=(dna.folds[0], dna.folds[1].select(layers=[next(iter(dna.neurons))])))
