from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from makers import EXTRACTOR, RANGES, REAL
from networks import random_images
from processes import run
from torch import Tensor
from torchmetrics import MetricCollection

from torchmetrics_dna import DNAEMD, DNARealism, OutlierShare, SharedCollection, make_dna
from torchmetrics_dna.functional import outlier_test
from torchmetrics_dna.functional.outliers import share_beyond, share_limit

REFERENCE = make_dna(random_images(40, 3), EXTRACTOR, kind="layer-gaussian")
IMAGES = torch.cat([random_images(16, 7), random_images(8, 8) // 6])


def share_of(images: Tensor) -> dict[str, float]:
    """Compute the share from single scores, by Storey's formula in numpy."""
    realism = DNARealism(EXTRACTOR, reference=REFERENCE)
    scores, own = realism(images).numpy(), realism.own_scores.numpy()
    beyond = (scores > np.quantile(own, 0.9)).mean()
    share = np.clip((beyond - 0.1) / 0.9, 0, 1)
    error = 2 / 0.9 * np.sqrt(beyond * (1 - beyond) / len(scores) + (1 - share) ** 2 * 0.09 / len(own))
    return {
        "outlier_share": share,
        "outlier_share_low": max(0, share - error),
        "outlier_share_high": min(1, share + error),
    }


def as_floats(values: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def test_the_share_is_that_of_the_scores() -> None:
    metric = OutlierShare(EXTRACTOR, reference=REFERENCE)
    for batch in IMAGES.split(5):
        metric.update(batch)
    values = metric.compute()
    assert as_floats(values) == pytest.approx(share_of(IMAGES))
    assert 0 < values["outlier_share_low"] < values["outlier_share"] < values["outlier_share_high"] < 1
    realism = DNARealism(EXTRACTOR, reference=REFERENCE)
    realism.update(IMAGES)
    summary = realism.summary()
    assert [*as_floats(values).values()] == [summary["share"], summary["low"], summary["high"]]
    metric.reset()
    metric.update(IMAGES, real=True)
    with pytest.raises(RuntimeError, match="required to compute OutlierShare, but got 0"):
        metric.compute()
    metric.update(IMAGES[:16])
    assert as_floats(metric.compute()) == pytest.approx(share_of(IMAGES[:16]))


def test_forward_returns_the_share_of_the_batch() -> None:
    metric = OutlierShare(EXTRACTOR, reference=REFERENCE)
    assert all(value.isnan() for value in metric(IMAGES, real=True).values())
    assert as_floats(metric(IMAGES[:9], real=False)) == pytest.approx(share_of(IMAGES[:9]))
    assert as_floats(metric(IMAGES[9:])) == pytest.approx(share_of(IMAGES[9:]))
    assert as_floats(metric.compute()) == pytest.approx(share_of(IMAGES))


@pytest.mark.parametrize("cls", [SharedCollection, MetricCollection])
def test_it_is_a_member_of_a_collection(cls: type[MetricCollection]) -> None:
    """Real images are those of another member."""
    other = make_dna(random_images(40, 4), EXTRACTOR, kind="layer-gaussian")
    metrics = cls({
        "dna-emd": DNAEMD(EXTRACTOR, ranges=RANGES, num_bins=40),
        "outliers": OutlierShare(EXTRACTOR, reference=REFERENCE),
    })  # fmt: skip
    metrics.update(REAL, real=True)
    metrics.update(IMAGES, real=False)
    values = metrics.compute()
    alone = DNAEMD(EXTRACTOR, ranges=RANGES, num_bins=40)
    alone.update(REAL, real=True)
    alone.update(IMAGES, real=False)
    assert torch.equal(values.pop("dna-emd"), alone.compute())
    assert as_floats(values) == pytest.approx(share_of(IMAGES))
    both = cls({
        "a": OutlierShare(EXTRACTOR, reference=REFERENCE),
        "b": OutlierShare(EXTRACTOR, reference=other),
        "scores": DNARealism(EXTRACTOR, reference=REFERENCE),
    })  # fmt: skip
    both.update(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert [len(group) for group in both.compute_groups.values()] == [1, 1, 1], "other references count other images"


def test_wrong_arguments() -> None:
    histograms = make_dna(REAL, EXTRACTOR, num_bins=40, ranges=RANGES)
    for reference in (None, histograms):
        with pytest.raises(TypeError, match="`reference` .*pass reference=make_dna\\(images, kind='layer-gaussian'\\)"):
            OutlierShare(EXTRACTOR, reference=reference)
    with pytest.raises(ValueError, match="has none; make it anew with `kind='layer-gaussian'`"):
        OutlierShare(EXTRACTOR, reference=replace(REFERENCE, sample=None))
    metric = OutlierShare(EXTRACTOR, reference=REFERENCE)
    for real in (True, False):
        with pytest.raises(ValueError, match="uint8"):
            metric.update(IMAGES.float(), real=real)
    with pytest.raises(ValueError, match="`real` expected to be a bool"):
        metric.update(IMAGES, real="yes")
    other = OutlierShare(EXTRACTOR, reference=make_dna(REAL, EXTRACTOR, kind="layer-gaussian"))
    metric.update(IMAGES)
    other.update(IMAGES)
    with pytest.raises(ValueError, match="their references differ"):
        metric.merge_state(other)


@pytest.mark.parametrize("num_images", [1, 3, 7, 49, 1000])
def test_counts_give_the_share_of_single_scores(num_images: int) -> None:
    """To the last bit, also where the mean of so many ones and zeros is no finite binary fraction."""
    generator = torch.Generator().manual_seed(num_images)
    typical = torch.rand(61, generator=generator)
    scores = torch.rand(num_images, generator=generator) * 1.3
    num_beyond = int((scores.double() > typical.double().quantile(0.9)).sum())
    found = outlier_test(scores, typical)
    assert share_beyond(num_beyond, num_images, len(typical)) == (found.share, found.low, found.high)
    assert share_limit(typical) == float(np.quantile(typical.double().numpy(), 0.9))


def share_counts(rank: int, world: int, expected: dict[str, Tensor]) -> None:
    """Every rank counts its shard; the last one has none."""
    metric = OutlierShare(EXTRACTOR, reference=REFERENCE)
    collection = SharedCollection(metric, DNAEMD(EXTRACTOR, ranges=RANGES, num_bins=40))
    collection.update(REAL, real=True)
    if rank < world - 1:
        for batch in IMAGES[rank :: world - 1].split(2 + rank):
            collection.update(batch, real=False)
    values = collection.compute()
    assert {name: values[name] for name in expected} == expected
    summary = metric(IMAGES[:9], real=False)  # the counts of this process alone, and of this batch alone
    assert as_floats(summary) == pytest.approx(share_of(IMAGES[:9]))


def test_each_process_returns_the_share_of_all() -> None:
    metric = OutlierShare(EXTRACTOR, reference=REFERENCE)
    metric.update(IMAGES)
    run(3, share_counts, metric.compute())
