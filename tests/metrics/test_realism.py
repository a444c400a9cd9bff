from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Pixels, random_images
from processes import run
from torch import Tensor

from torchmetrics_dna import DNARealism, make_dna, rank
from torchmetrics_dna.functional import outlier_test
from torchmetrics_dna.functional.outliers import outlier_scores
from torchmetrics_dna.statistics.outliers import gaussians_of

REFERENCES = {
    ranges: make_dna(REAL, EXTRACTOR, num_bins=40, ranges=r) for ranges, r in (("fixed", RANGES), ("auto", "auto"))
}
IMAGES = random_images(9, 7)
OUTLIERS = make_dna(REAL, EXTRACTOR, kind="layer-gaussian")


def test_a_summary_names_the_worst() -> None:
    metric = DNARealism(EXTRACTOR, reference=OUTLIERS)
    metric.update(IMAGES[:5], indices=[10, 11, 12, 13, 14])
    metric.update(IMAGES[3:], indices=[13, 14, 15, 16, 17, 18])
    scores = metric.compute().numpy()
    summary = metric.summary(worst=2)
    order = np.argsort(-scores)[:2]
    assert summary["indices"] == (order + 10).tolist()
    assert summary["num_images"] == 9
    assert summary["scores"] == pytest.approx(scores[order])
    assert (summary["mean"], summary["median"]) == pytest.approx((scores.mean(), np.median(scores)))
    assert summary["max"] == summary["scores"][0]
    off = outlier_test(metric.compute(), metric.own_scores)
    assert summary.items() >= {"p_value": off.p_value, "share": off.share}.items()
    assert summary["percentiles"] == metric.percentiles(torch.from_numpy(scores[order])).tolist()
    plain = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    plain.update(IMAGES)
    assert plain.summary(worst=1)["indices"] == [int(plain.compute().argmax())]
    assert "p_value" not in plain.summary()
    with pytest.raises(RuntimeError, match="are for the score 'outlier', but the metric's is 'distance'"):
        plain.percentiles(plain.compute())


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
    activations = EXTRACTOR(IMAGES)
    means = {layer: values.double().reshape(*values.shape[:2], -1).mean(2) for layer, values in activations.items()}
    np.testing.assert_allclose(total.sqrt(), outlier_scores(means, gaussians_of(OUTLIERS)), rtol=1e-9)
    with pytest.raises(ValueError, match="uint8"):
        outliers.map(IMAGES.float())


def test_scores_by_other_settings_are_not_merged() -> None:
    fixed, other = REFERENCES["fixed"], make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=RANGES)
    weights = torch.arange(EXTRACTOR.neurons.total).double()
    rows = [
        {}, {"num_bins": 20}, {"contrast": other},
        {"contrast": make_dna(REAL[:3], EXTRACTOR, num_bins=40, ranges=RANGES)},
        {"neuron_weights": weights}, {"neuron_weights": weights + 1}, {"reference": other}, {"reference": OUTLIERS},
    ]  # fmt: skip
    metrics = [DNARealism(EXTRACTOR, **{"reference": fixed} | row) for row in rows]
    for metric in metrics:
        metric.update(IMAGES)
    for first, second in permutations(metrics, 2):
        with pytest.raises(ValueError, match=r"Can't merge the states of these metrics, their .* differ: "):
            first.merge_state(second)


def test_a_filter_keeps_what_the_ranking_keeps() -> None:
    images = torch.cat([random_images(6, 8), IMAGES // 8])
    ranking = rank(images, REAL, EXTRACTOR)
    for reference in (ranking.reference, OUTLIERS):
        metric = DNARealism(EXTRACTOR, reference=reference)
        kept = ranking.filter(0.3)
        limit = np.sort(ranking.typical)[int(np.ceil((len(REAL) + 1) * 0.7)) - 1]
        assert metric.limit(0.3) == pytest.approx(ranking.limit(0.3))
        assert ranking.limit(0.3) == limit
        near = sorted(i for i, x in zip(ranking.numbers, ranking.scores, strict=True) if x <= limit)
        assert sorted(kept.numbers) == near
        assert 0 < len(kept.names) < len(images)
        assert torch.equal(metric.filter(images, 0.3), images[sorted(kept.numbers)])
        assert not metric.update_called
    by_distance = rank(images, REAL, EXTRACTOR, score="distance")
    near = {i for i, x in zip(by_distance.numbers, by_distance.scores, strict=True) if x <= by_distance.limit(0.3)}
    assert {*by_distance.filter(0.3).numbers} == near
    with pytest.raises(RuntimeError, match="are for the score 'outlier', but the metric's is 'distance'"):
        DNARealism(EXTRACTOR, reference=REFERENCES["fixed"]).filter(images)
    with pytest.raises(ValueError, match="pass the reference as images, and a score other than 'local'"):
        rank(images, REFERENCES["fixed"], EXTRACTOR).filter()


def test_the_limit_is_known_from_a_file_of_the_reference_alone(tmp_path: Path) -> None:
    """The file holds a sample of the reference's images, so no ranking is needed before."""
    path = tmp_path / "reference.dna.npz"
    make_dna(REAL, EXTRACTOR, kind="layer-gaussian").save(path)
    metric = DNARealism(EXTRACTOR, reference=path)
    own_scores = metric.own_scores.sort().values
    assert len(own_scores) == len(REAL)
    for share in (0.15, 0.3):
        rank_of_limit = int(np.ceil((len(REAL) + 1) * (1 - share)))
        assert metric.limit(share) == own_scores[rank_of_limit - 1]
        assert metric.limit(share) == pytest.approx(rank(IMAGES, REAL, EXTRACTOR).limit(share))


def test_scores_are_those_of_a_ranking() -> None:
    """From images, from a file, from merged parts, in batches, and of floats."""
    ranking = rank(IMAGES, REAL, EXTRACTOR)
    expected = torch.empty_like(ranking.scores)
    expected[ranking.numbers] = ranking.scores
    parts = [make_dna(part, EXTRACTOR, kind="layer-gaussian") for part in REAL.split(len(REAL) // 2)]
    for reference in (OUTLIERS, parts[0].merge(*parts[1:]), parts[-1].merge(*parts[:-1])):
        metric = DNARealism(EXTRACTOR, reference=reference)
        for batch in IMAGES.split(4):
            metric.update(batch)
        np.testing.assert_allclose(metric.compute(), expected, rtol=1e-4)
        np.testing.assert_allclose(metric.own_scores.sort().values, ranking.typical.sort().values, rtol=1e-4)
    without = replace(OUTLIERS, sample=None)
    with pytest.raises(ValueError, match=r"has none; make it anew with `kind='layer-gaussian'`"):
        DNARealism(EXTRACTOR, reference=without)
    old = replace(OUTLIERS, sample=replace(OUTLIERS.sample, version=1))
    with pytest.raises(ValueError, match="properties by version 1 of their definitions"):
        DNARealism(EXTRACTOR, reference=old)


class Renamed(Pixels):
    pass


def test_scores_that_do_not_fit() -> None:
    histograms = REFERENCES["fixed"]
    for options, error, message in (
        ({}, TypeError, "`reference` .* got none; pass reference=make_dna\\(images, kind='layer-gaussian'\\)"),
        ({"contrast": histograms}, TypeError, "got none; pass reference=make_dna\\(images, kind='histogram'\\)"),
        ({"reference": histograms, "score": "best"}, ValueError, "`score` expected to be one of"),
        ({"reference": histograms, "score": "outlier"}, TypeError, "=make_dna\\(images, kind='layer-gaussian'"),
        ({"reference": OUTLIERS, "score": "contrast"}, TypeError, "=make_dna\\(images, kind='histogram'"),
        ({"reference": OUTLIERS, "num_bins": 20}, ValueError, "`num_bins` is not for the score 'outlier'"),
        ({"reference": OUTLIERS, "contrast": histograms}, ValueError, "`contrast` is not for the score 'outlier'"),
        ({"reference": histograms, "score": "distance", "contrast": histograms}, ValueError, "`contrast` is not for"),
        ({"reference": histograms, "score": "contrast"}, ValueError, "pass the DNA of the pool, or use rank"),
        ({"reference": make_dna(REAL[:1], EXTRACTOR, kind="layer-gaussian")}, RuntimeError, "More than two images"),
        (
            {"reference": histograms, "contrast": 3},
            TypeError,
            "`contrast` expected to be a HistogramDNA",
        ),
        ({"reference": make_dna(REAL, EXTRACTOR, kind="gaussian")}, TypeError, "expected to be a HistogramDNA or the"),
        ({"reference": make_dna(REAL, Renamed())}, ValueError, "their extractors differ"),
        ({"reference": replace(OUTLIERS, num_images=0)}, ValueError, "expected to say of how many images it is"),
    ):
        with pytest.raises(error, match=message):
            DNARealism(EXTRACTOR, **options)


def test_indices_are_of_all_images_or_of_none() -> None:
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    with pytest.raises(RuntimeError, match="to compute DNARealism, but got 0"):
        metric.summary()
    metric.update(IMAGES, range(9))
    scores = metric.compute()
    for bad in ([0], torch.zeros(9), -torch.ones(9).long()):
        with pytest.raises(ValueError, match="`indices` expected to be 9 integers of 0 or more"):
            metric.update(IMAGES, bad)
    with pytest.raises(ValueError, match="`indices` expected in every call or in none"):
        metric.update(IMAGES)
    assert torch.equal(metric.compute(), scores)


def share_scores(rank: int, world: int, expected: list[Tensor]) -> None:
    """Every rank scores its shard, as a distributed sampler with padding gives it; the last one has none."""
    busy = world - 1
    shard = torch.tensor([*range(9), *range(-9 % busy)][rank::busy] if rank < busy else []).long()
    for reference, scores in zip((REFERENCES["fixed"], OUTLIERS), expected, strict=True):
        metric = DNARealism(EXTRACTOR, reference=reference)
        for part in shard.split(2 + rank) if len(shard) else ():
            metric.update(IMAGES[part], indices=part)
        assert torch.equal(metric.compute(), scores)
        summary = metric.summary(worst=3)
        assert summary["indices"] == scores.argsort(descending=True, stable=True)[:3].tolist()
        assert summary["num_images"] == 9
        if reference is OUTLIERS:  # of all images, each once
            off = outlier_test(scores, metric.own_scores)
            assert summary.items() >= {"p_value": off.p_value, "share": off.share}.items()
        metric.update(IMAGES[:1], indices=[0])  # the shard goes on where it was
        assert torch.equal(metric.compute(), scores)
        metric.reset()
        metric.update(IMAGES[:1], indices=None if rank else [0])
        with pytest.raises(ValueError, match="`indices` expected in every call or in none, on all processes alike"):
            metric.compute()


def test_processes_get_all_scores_in_order() -> None:
    """Unequal shards, one of them empty, padding as a distributed sampler adds it."""
    run(3, share_scores, [DNARealism(EXTRACTOR, reference=each)(IMAGES) for each in (REFERENCES["fixed"], OUTLIERS)])
