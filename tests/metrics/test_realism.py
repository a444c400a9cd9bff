from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Outputs, Pixels, random_images
from one_ruler import distances
from processes import run
from sklearn.covariance import OAS
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import DNAExtractor, DNARealism, NeuronWeights, make_dna

REFERENCES = {
    ranges: make_dna(REAL, EXTRACTOR, num_bins=40, ranges=r) for ranges, r in (("fixed", RANGES), ("auto", "auto"))
}
IMAGES = random_images(9, 7)


OUTLIERS = make_dna(REAL, EXTRACTOR, kind="layer-gaussian")


def outliers_by_sklearn(images: Tensor) -> np.ndarray:
    """Root of the mean over layers of squared distances per neuron, with the unbiased covariance."""
    squares = []
    for layer in EXTRACTOR.neurons:
        reference_means, scored_means = (
            EXTRACTOR(side)[layer].double().flatten(2).mean(2)
            if EXTRACTOR(side)[layer].ndim > 2
            else EXTRACTOR(side)[layer].double()
            for side in (REAL, images)
        )
        unbiased = len(reference_means) / (len(reference_means) - 1)
        squares.append(
            OAS().fit(reference_means.numpy()).mahalanobis(scored_means.numpy()) / unbiased / reference_means.shape[1]
        )
    return np.sqrt(np.mean(squares, 0))


def test_outlier_scores_are_those_of_sklearn(tmp_path: Path) -> None:
    OUTLIERS.save(tmp_path / "x.dna.npz")
    for reference, options in ((OUTLIERS, {}), (tmp_path / "x.dna.npz", {"score": "outlier"})):
        metric = DNARealism(EXTRACTOR, reference=reference, **options)
        assert metric.score == "outlier"
        for part in IMAGES.split(4):
            metric.update(part)
        np.testing.assert_allclose(metric.compute(), outliers_by_sklearn(IMAGES), rtol=1e-5)
    assert torch.equal(metric(IMAGES[:1]), metric.compute()[:1])  # whatever the batch


def test_a_summary_names_the_worst() -> None:
    metric = DNARealism(EXTRACTOR, reference=OUTLIERS)
    metric.update(IMAGES[:5], indices=[10, 11, 12, 13, 14])
    metric.update(IMAGES[3:], indices=[13, 14, 15, 16, 17, 18])
    scores = outliers_by_sklearn(IMAGES)
    summary = metric.summary(worst=2)
    order = np.argsort(-scores)[:2]
    assert summary["indices"] == (order + 10).tolist()
    assert summary["num_images"] == 9
    assert summary["scores"] == pytest.approx(scores[order])
    assert (summary["mean"], summary["median"]) == pytest.approx((scores.mean(), np.median(scores)))
    assert summary["max"] == summary["scores"][0]
    assert "share_beyond" not in summary
    limit = float(np.sort(scores)[5])
    assert metric.summary(limit=limit + 1e-9)["share_beyond"] == pytest.approx(3 / 9)
    plain = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    with pytest.raises(RuntimeError, match="At least one image is required"):
        plain.summary()
    plain.update(IMAGES)
    assert plain.summary(worst=1)["indices"] == [int(plain.compute().argmax())]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ranges", ["fixed", "auto"])
def test_maps_add_up_to_the_scores(ranges: str, weighted: bool) -> None:
    weights = torch.rand(EXTRACTOR.neurons.total).double() if weighted else None
    other = make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=RANGES if ranges == "fixed" else "auto")
    for contrast in (None, other):
        metric = DNARealism(EXTRACTOR, reference=REFERENCES[ranges], contrast=contrast, neuron_weights=weights)
        maps = metric.map(IMAGES)
        total = sum(values.reshape(9, -1).mean(1) for values in maps.values())
        np.testing.assert_allclose(total, metric(IMAGES), rtol=0, atol=1e-9)
    outliers = DNARealism(EXTRACTOR, reference=OUTLIERS)
    total = sum(values.reshape(9, -1).mean(1) for values in outliers.map(IMAGES).values())
    np.testing.assert_allclose(total.sqrt(), outliers(IMAGES), rtol=1e-9)
    with pytest.raises(ValueError, match="uint8"):
        outliers.map(IMAGES.float())


def test_scores_that_do_not_fit() -> None:
    histograms = REFERENCES["fixed"]
    for options, error, message in (
        ({"reference": histograms, "score": "best"}, ValueError, "`score` expected to be one of"),
        ({"reference": histograms, "score": "outlier"}, TypeError, "make it by make_dna.*kind='layer-gaussian'"),
        ({"reference": OUTLIERS, "score": "contrast"}, TypeError, "make it by make_dna.*kind='histogram'"),
        ({"reference": OUTLIERS, "num_bins": 20}, ValueError, "`num_bins` is not for the score 'outlier'"),
        ({"reference": OUTLIERS, "contrast": histograms}, ValueError, "`contrast` is not for the score 'outlier'"),
        ({"reference": histograms, "score": "distance", "contrast": histograms}, ValueError, "`contrast` is not for"),
        ({"reference": histograms, "score": "contrast"}, ValueError, "give the DNA of the pool, or use rank"),
        ({"reference": make_dna(REAL[:1], EXTRACTOR, kind="layer-gaussian")}, RuntimeError, "More than one image"),
        ({"reference": replace(OUTLIERS, num_images=0)}, ValueError, "expected to say of how many images it is"),
    ):
        with pytest.raises(error, match=message):
            DNARealism(EXTRACTOR, **options)


def shares(images: Tensor) -> np.ndarray:
    """Cumulative shares of Pixels' activations in 40 bins within RANGES, neuron by neuron, by numpy."""
    pixels = images.numpy().astype(np.float64)
    layers = pixels, pixels[:, :, 1:] - pixels[:, :, :-1], images.float().mean((2, 3)).double().numpy()
    rows = [layer[:, neuron].ravel() for layer in layers for neuron in range(3)]
    centres, halves = ((sign * RANGES.bounds()[0] + RANGES.bounds()[1]).numpy() / 2 for sign in (1, -1))
    counts = []
    for row, centre, half in zip(rows, centres, halves, strict=True):
        places = (np.clip((row - centre) / (half + 1e-8), -1, 1) + 1) * 20
        counts.append(np.bincount(np.minimum(np.floor(places), 39).astype(int), minlength=40))
    return np.cumsum(counts, 1) / np.sum(counts, 1, keepdims=True)


def test_scores_are_those_of_numpy() -> None:
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    for part in IMAGES.split(4):
        metric.update(part)
    expected = [np.abs(shares(REAL) - shares(image[None])).sum(1).mean() for image in IMAGES]
    np.testing.assert_allclose(metric.compute(), expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_indices_give_the_order_and_what_was_repeated() -> None:
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    metric.update(IMAGES)
    plain = metric.compute()
    metric.reset()
    order = torch.tensor([4, 0, 8, 2, 6, 1, 7, 3, 5, 4, 0])
    metric.update(IMAGES[order[:6]], indices=order[:6])
    metric.update(IMAGES[order[6:]], order[6:].tolist())
    assert torch.equal(metric.compute(), plain)
    for bad in ([0], torch.zeros(9), -torch.ones(9).long()):
        with pytest.raises(ValueError, match="`indices` expected to be 9 integers of 0 or more"):
            metric.update(IMAGES, bad)
    with pytest.raises(ValueError, match="`indices` expected in every call or in none"):
        metric.update(IMAGES)
    assert torch.equal(metric.compute(), plain)
    metric.reset()
    with pytest.raises(RuntimeError, match="At least one image is required to compute DNARealism, but got 0"):
        metric.compute()


def share_scores(rank: int, world: int, expected: list[Tensor]) -> None:
    """Every rank scores its shard, as a distributed sampler with padding gives it; the last one has none."""
    for reference, scores in zip((REFERENCES["fixed"], OUTLIERS), expected, strict=True):
        metric = DNARealism(EXTRACTOR, reference=reference)
        score_shard(metric, IMAGES, rank, world - 1)
        assert torch.equal(metric.compute(), scores)
        assert metric.summary(worst=3)["indices"] == scores.argsort(descending=True, stable=True)[:3].tolist()
        metric.update(IMAGES[:1], indices=[0])  # the shard goes on where it was
        assert torch.equal(metric.compute(), scores)
        metric.reset()
        metric.update(IMAGES[:1], indices=None if rank else [0])
        with pytest.raises(ValueError, match="`indices` expected in every call or in none, on all processes alike"):
            metric.compute()


def test_processes_get_all_scores_in_order() -> None:
    """Unequal shards, one of them empty, padding as a distributed sampler adds it."""
    run(3, share_scores, [DNARealism(EXTRACTOR, reference=each)(IMAGES) for each in (REFERENCES["fixed"], OUTLIERS)])


@pytest.mark.parametrize("weighted", [False, True])
def test_self_ranging_references_share_bins(weighted: bool) -> None:
    weights = torch.rand(EXTRACTOR.neurons.total).double() if weighted else None
    by_neuron = 1 / EXTRACTOR.neurons.total if weights is None else weights.numpy()
    arguments = {"reference": REFERENCES["auto"], "neuron_weights": weights}
    other = make_dna(FAKE, EXTRACTOR, num_bins=40, ranges="auto")
    for contrast, sides in ((None, [REAL]), (other, [REAL, FAKE])):
        metric = DNARealism(EXTRACTOR, contrast=contrast, **arguments)
        for part in IMAGES.split(4):
            metric.update(part)
        to_reference, *to_contrast = distances(EXTRACTOR, IMAGES, sides, 40)
        expected = to_reference - sum(to_contrast)
        np.testing.assert_allclose(metric.compute(), (expected * by_neuron).sum(1), rtol=0, atol=1e-9)


def test_a_contrast_is_the_difference_of_two_distances(tmp_path: Path) -> None:
    reference = REFERENCES["fixed"]
    pool = make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=reference.ranges)
    pool.save(tmp_path / "pool.dna.npz")
    weights = torch.rand(reference.neurons.total).double()
    weights[0] = 0
    for kwargs in ({}, {"neuron_weights": weights}):
        both = [DNARealism(EXTRACTOR, reference=reference_dna, **kwargs)(IMAGES) for reference_dna in (reference, pool)]
        metric = DNARealism(EXTRACTOR, reference=reference, contrast=tmp_path / "pool.dna.npz", **kwargs)
        torch.testing.assert_close(metric(IMAGES), both[0] - both[1], rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match="`contrast` expected to be a HistogramDNA or the path of one, but got int"):
        DNARealism(EXTRACTOR, reference=reference, contrast=3)


def test_weights_layers_and_files(tmp_path: Path) -> None:
    reference = REFERENCES["fixed"]
    reference.save(tmp_path / "x.dna.npz")
    weights = NeuronWeights.of_neurons(torch.tensor([1]), reference.neurons, EXTRACTOR.name)
    weights.save(tmp_path / "x.weights.npz")
    metric = DNARealism(EXTRACTOR, reference=tmp_path / "x.dna.npz", neuron_weights=tmp_path / "x.weights.npz")
    metric.update(IMAGES[:1])
    single = make_dna(IMAGES[:1], EXTRACTOR, num_bins=40, ranges=RANGES)
    assert float(metric.compute()) == pytest.approx(float(reference.distances(single)[1]), abs=1e-9)
    fewer = DNARealism(EXTRACTOR, reference=reference, num_bins=20)
    assert fewer.reference.num_bins == 20
    with pytest.raises(ValueError, match="their extractors differ"):
        DNARealism(DNAExtractor(Outputs(lambda imgs: Pixels()(imgs))), reference=reference)
    with pytest.raises(TypeError, match="expected to be a HistogramDNA or the path of one"):
        DNARealism(EXTRACTOR, reference=make_dna(REAL, EXTRACTOR, kind="gaussian"))


def score_shard(metric: Metric, images: Tensor, rank: int, busy: int) -> Tensor:
    """Score what a distributed sampler with padding gives one of the busy processes; gives the images' indices."""
    padded = [*range(len(images)), *range(-len(images) % busy)]
    mine = torch.tensor(padded[rank::busy] if rank < busy else []).long()
    for part in mine.split(2 + rank):
        if len(part):
            metric.update(images[part], indices=part)
    return mine
