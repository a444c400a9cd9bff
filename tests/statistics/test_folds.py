"""Folds of a batch, each as if its images had been added alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from accelerator import Accelerator
from networks import pixels, random_images

from torchmetrics_dna import DNAEMD, DNAExtractor
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.neurons import ActivationRanges
from torchmetrics_dna.statistics import (
    CrossMomentStatistic,
    DNAStatistic,
    MomentStatistic,
    SelfRangingStatistic,
    histogram_statistic,
)

pytestmark = pytest.mark.usefixtures("way")
Make = Callable[[DNAExtractor, ActivationRanges, int | None], DNAStatistic]
# with 5 folds, and what each of them is alone, without any
STATISTICS: dict[str, Make] = {
    "bounds": lambda extractor, ranges, folds: histogram_statistic(extractor, 30, ranges, folds),
    "grids": lambda extractor, _, folds: SelfRangingStatistic(extractor, 30, folds),
    "fewer bins": lambda extractor, ranges, folds: histogram_statistic(extractor, 500 if folds else 100, ranges, folds),
    "coarser grids": lambda extractor, _, folds: SelfRangingStatistic(extractor, 900 if folds else 100, folds),
    "moments": lambda extractor, _, folds: MomentStatistic(extractor, folds),
    "of cross moments": lambda extractor, _, folds: (
        CrossMomentStatistic(extractor, num_folds=folds) if folds else MomentStatistic(extractor)
    ),
}
every_statistic = pytest.mark.parametrize("make", STATISTICS.values(), ids=STATISTICS)


@every_statistic
def test_each_fold_is_that_of_its_images(make: Make) -> None:
    extractor, ranges = pixels()
    folded, statistic = make(extractor, ranges, 5), make(extractor, ranges, None)
    state, alone = folded.empty("cpu"), [statistic.empty("cpu") for _ in range(5)]
    parts, states = folded.empty("cpu"), []
    for seed, batch_keys in enumerate([[2, 0, 2, 3], [0, 3, 3, 0], [2, 2, 2, 2]]):
        images, keys = random_images(4, seed) // (seed + 1), torch.tensor(batch_keys)  # darker, so that grids differ
        batch = Activations(extractor(images[:3]), extractor(images[3:]))
        folded.add_(state, batch, keys)
        states.append(folded.empty("cpu"))
        folded.add_(states[-1], batch, keys)
        for k in set(batch_keys):
            statistic.add_(alone[k], Activations(extractor(images[keys == k])))
    for each in states:
        folded.merge_(parts, each)
    for dna in (folded.value(state), folded.value(parts)):
        assert dna.num_images == 12
        for k, expected in enumerate(map(statistic.value, alone)):
            fold = dna.folds[k]
            assert fold.num_images == expected.num_images == [3, 0, 6, 3, 0][k]
            if isinstance(fold, HistogramDNA):
                assert torch.equal(*(each.counts for each in in_same_bins(fold, expected)))
            else:
                torch.testing.assert_close((fold.mean, fold.var), (expected.mean, expected.var), rtol=1e-12, atol=1e-13)


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
