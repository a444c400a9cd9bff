from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Pixels, random_images
from processes import run
from torch import Tensor

from torchmetrics_dna import DNARealism, make_dna, rank
from torchmetrics_dna.functional import few_are_off

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
    assert "p_value" not in summary
    typical = rank(REAL[:1], REAL, EXTRACTOR).typical
    off = few_are_off(metric.compute(), typical)
    tested = DNARealism(EXTRACTOR, reference=OUTLIERS, typical=typical)
    tested.update(IMAGES)
    assert tested.summary().items() >= {"p_value": off.p_value, "share": off.share}.items()
    assert off.p_value > 0.05 >= few_are_off(100 * metric.compute(), typical).p_value
    plain = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
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
    for score in ("outlier", "distance"):
        ranking = rank(images, REAL, EXTRACTOR, score=score)
        metric = DNARealism(EXTRACTOR, reference=ranking.reference, typical=ranking.typical)
        assert metric.score == score
        kept = ranking.filter(0.3)
        limit = np.sort(ranking.typical)[int(np.ceil((len(REAL) + 1) * 0.7)) - 1]
        assert metric.limit(0.3) == ranking.limit(0.3) == limit
        near = sorted(i for i, x in zip(ranking.numbers, ranking.scores, strict=True) if x <= limit)
        assert sorted(kept.numbers) == near
        assert 0 < len(kept.names) < len(images)
        assert torch.equal(metric.filter(images, 0.3), images[sorted(kept.numbers)])
        assert not metric.update_called
    with pytest.raises(ValueError, match="the metric has none; give `typical=ranking.typical`"):
        DNARealism(EXTRACTOR, reference=OUTLIERS).filter(images)
    with pytest.raises(ValueError, match="give the reference as images, and a score other than 'local'"):
        rank(images, OUTLIERS, EXTRACTOR).filter()


class Renamed(Pixels):
    pass


def test_scores_that_do_not_fit() -> None:
    histograms = REFERENCES["fixed"]
    for options, error, message in (
        ({}, TypeError, "`reference` .* got none; give reference=make_dna\\(images, kind='layer-gaussian'\\)"),
        ({"contrast": histograms}, TypeError, "got none; give reference=make_dna\\(images, kind='histogram'\\)"),
        ({"reference": histograms, "score": "best"}, ValueError, "`score` expected to be one of"),
        ({"reference": histograms, "score": "outlier"}, TypeError, "=make_dna\\(images, kind='layer-gaussian'"),
        ({"reference": OUTLIERS, "score": "contrast"}, TypeError, "=make_dna\\(images, kind='histogram'"),
        ({"reference": OUTLIERS, "num_bins": 20}, ValueError, "`num_bins` is not for the score 'outlier'"),
        ({"reference": OUTLIERS, "contrast": histograms}, ValueError, "`contrast` is not for the score 'outlier'"),
        ({"reference": histograms, "score": "distance", "contrast": histograms}, ValueError, "`contrast` is not for"),
        ({"reference": histograms, "score": "contrast"}, ValueError, "give the DNA of the pool, or use rank"),
        ({"reference": make_dna(REAL[:1], EXTRACTOR, kind="layer-gaussian")}, RuntimeError, "More than one image"),
        (
            {"reference": histograms, "contrast": 3},
            TypeError,
            "`contrast` expected to be a HistogramDNA",
        ),
        ({"reference": make_dna(REAL, EXTRACTOR, kind="gaussian")}, TypeError, "expected to be a HistogramDNA or the"),
        ({"reference": make_dna(REAL, Renamed())}, ValueError, "their extractors differ"),
        ({"reference": OUTLIERS, "typical": torch.ones(2, 2)}, ValueError, "`typical` expected to be finite scores"),
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
        metric = DNARealism(EXTRACTOR, reference=reference, typical=scores[:5] / 3)
        for part in shard.split(2 + rank) if len(shard) else ():
            metric.update(IMAGES[part], indices=part)
        assert torch.equal(metric.compute(), scores)
        summary = metric.summary(worst=3)
        assert summary["indices"] == scores.argsort(descending=True, stable=True)[:3].tolist()
        off = few_are_off(scores, scores[:5] / 3)  # of all images, each once
        told = {"p_value": off.p_value, "share": off.share} if reference is OUTLIERS else {}
        assert summary.items() >= {"num_images": 9, **told}.items()
        metric.update(IMAGES[:1], indices=[0])  # the shard goes on where it was
        assert torch.equal(metric.compute(), scores)
        metric.reset()
        metric.update(IMAGES[:1], indices=None if rank else [0])
        with pytest.raises(ValueError, match="`indices` expected in every call or in none, on all processes alike"):
            metric.compute()


def test_processes_get_all_scores_in_order() -> None:
    """Unequal shards, one of them empty, padding as a distributed sampler adds it."""
    run(3, share_scores, [DNARealism(EXTRACTOR, reference=each)(IMAGES) for each in (REFERENCES["fixed"], OUTLIERS)])
