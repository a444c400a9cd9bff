"""Folds of a batch, each as if its images had been added alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from accelerator import Accelerator
from networks import pixels, random_images

from torchmetrics_dna import DNAEMD, DNAExtractor
from torchmetrics_dna.neurons import ActivationRanges
from torchmetrics_dna.statistics import (
    CrossMomentStatistic,
    DNAStatistic,
    MomentStatistic,
    SelfRangingStatistic,
    histogram_statistic,
)
from torchmetrics_dna.statistics.folds import FoldedStatistic

pytestmark = pytest.mark.usefixtures("way")
Make = Callable[[DNAExtractor, ActivationRanges], DNAStatistic]
STATISTICS: dict[str, Make] = {
    "bounds": lambda extractor, ranges: histogram_statistic(extractor, 30, ranges),
    "grids": lambda extractor, _: SelfRangingStatistic(extractor, 30),
    "moments": lambda extractor, _: MomentStatistic(extractor),
    "cross moments": lambda extractor, _: CrossMomentStatistic(extractor),
}
every_statistic = pytest.mark.parametrize("make", STATISTICS.values(), ids=STATISTICS)


@every_statistic
def test_each_fold_is_that_of_its_images(make: Make) -> None:
    extractor, ranges = pixels()
    statistic = make(extractor, ranges)
    folded = FoldedStatistic(statistic, statistic, 5)
    state, alone = folded.empty("cpu"), [statistic.empty("cpu") for _ in range(5)]
    for seed, batch_keys in enumerate([[2, 0, 2, 3], [0, 3, 3, 0], [2, 2, 2, 2]]):
        images, keys = random_images(4, seed) // (seed + 1), torch.tensor(batch_keys)  # darker, so that grids differ
        folded.add_keyed_(state, [extractor(images[:3]), extractor(images[3:])], keys)
        for k in set(batch_keys):
            statistic.add_(alone[k], [extractor(images[keys == k])], batch_keys.count(k))
    for k, expected in enumerate(alone):
        for name, values in expected.items():
            of_fold = state[f"folds_{name}"].view(5, -1)[k]
            torch.testing.assert_close(of_fold, values, rtol=1e-12, atol=0, msg=f"{name} of fold {k}")


@every_statistic
def test_a_value_that_is_not_finite_changes_no_fold(make: Make) -> None:
    extractor, ranges = pixels()
    statistic = make(extractor, ranges)
    folded = FoldedStatistic(statistic, statistic, 5)
    state = folded.empty("cpu")
    activations = extractor(random_images(3, 0))
    folded.add_keyed_(state, [activations], torch.tensor([0, 1, 0]))
    before = {name: values.clone() for name, values in state.items()}
    spoilt = activations | {"mean": activations["mean"].index_fill(0, torch.tensor([2]), torch.nan)}
    with pytest.raises(ValueError, match="Layer 'mean' gives activations that are NaN or infinite"):
        folded.add_keyed_(state, [spoilt], torch.tensor([0, 0, 1]))
    assert all(torch.equal(values, before[name]) for name, values in state.items())


def test_folds_go_on_where_their_metric_went(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, ranges = pixels()
    images = random_images(6, 0)
    moved, stayed = (DNAEMD(extractor, ranges=ranges, num_bins=30, debias=True) for _ in range(2))
    stayed.update(images, real=True)
    with Accelerator():
        with monkeypatch.context() as patch:
            patch.setattr("torchmetrics_dna.binning.counting.optional", lambda _: None)  # no Triton
            moved.to("cuda")
            moved.update(images[:3].to("cuda"), real=True)
        moved.to("cpu")
        moved.update(images[3:], real=True)
    for fold, expected in zip(moved.to_dna(True).folds, stayed.to_dna(True).folds, strict=True):
        assert torch.equal(fold.counts, expected.counts)
