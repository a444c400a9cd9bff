"""Slips of torchmetrics' FID and KID (1.9) that ours must not make; each check is seen to catch FID or KID."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from makers import EXTRACTOR, FAKE, MAKERS, REAL, fed
from torch import nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.wrappers import FeatureShare

from torchmetrics_dna import SharedCollection

Make = Callable[..., Metric]


def fid(**kwargs: object) -> FrechetInceptionDistance:
    return FrechetInceptionDistance(EXTRACTOR.pooled("contrast"), **kwargs)


def kid(**kwargs: object) -> KernelInceptionDistance:
    return KernelInceptionDistance(EXTRACTOR.pooled("contrast"), subsets=2, subset_size=3, **kwargs)


def forward_counts_once(make: Make) -> None:
    metric = make(reset_real_features=False)
    fed(metric)
    before = metric.compute()
    for _ in range(3):
        metric(FAKE, real=False)
    metric.reset()
    metric.update(FAKE, real=False)
    torch.testing.assert_close(metric.compute(), before)


def a_one_sided_forward_loses_nothing(make: Make) -> None:
    metric = make()
    metric.update(REAL, real=True)
    flags = metric._to_sync, metric._should_unsync, metric._enable_grad
    metric(FAKE, real=False)
    metric.update(FAKE, real=False)
    assert flags == (metric._to_sync, metric._should_unsync, metric._enable_grad)
    torch.testing.assert_close(metric.compute(), fed(make(), REAL, torch.cat([FAKE, FAKE])).compute())


def a_fresh_metric_computes_from_merged_state(make: Make) -> None:
    metric = make()
    metric.merge_state(fed(make()))
    assert metric.compute() == fed(make()).compute()


def merging_clears_the_cached_value(make: Make) -> None:
    metric = fed(make())
    metric.compute()
    metric.merge_state(fed(make(), REAL, 255 - FAKE))
    torch.testing.assert_close(
        metric.compute(), fed(make(), torch.cat([REAL, REAL]), torch.cat([FAKE, 255 - FAKE])).compute()
    )


def collections_keep_what_is_to_be_kept(make: Make) -> None:
    metrics = MetricCollection({"a": make(reset_real_features=True), "b": make(reset_real_features=False)})
    metrics.update(REAL, real=True)
    metrics.update(FAKE, real=False)
    expected = metrics.compute()["b"]
    metrics.reset()
    metrics.update(FAKE, real=False)
    torch.testing.assert_close(metrics["b"].compute(), expected)


def a_reused_buffer_is_seen_anew(make: Make, collection: type[MetricCollection] = SharedCollection) -> None:
    shared = collection({"a": make(), "b": make()})
    buffer = REAL.clone()
    shared.update(buffer, real=True)
    buffer[:5] = FAKE
    shared.update(buffer[:], real=False)
    buffer.copy_(255 - REAL)
    shared.update(buffer, real=False)
    buffer.copy_(REAL // 3)
    shared.update(buffer, real=False)
    alone = make()
    alone.update(REAL, real=True)
    for fake in (torch.cat([FAKE, REAL[5:]]), 255 - REAL, REAL // 3):
        alone.update(fake, real=False)
    torch.testing.assert_close(shared.compute()["b"], alone.compute())
    copy.deepcopy(shared)


def a_plotted_zero_is_zero(make: Make) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    metric = fed(make())
    assert float(metric.plot(torch.tensor(0.0))[1].lines[0].get_ydata()[0]) == 0


class Plain(nn.Module):
    num_features = 3

    def forward(self, imgs: torch.Tensor) -> torch.Tensor:
        return imgs.float().mean((2, 3))


class Broken(nn.Module):
    num_features = 3

    def forward(self, imgs: torch.Tensor) -> torch.Tensor:
        return imgs.float().mean((2, 3)) * torch.nan


def features_that_are_nan_are_an_error(make: Make) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        fed(make()).compute()


def an_empty_batch_is_an_error(make: Make) -> None:
    with pytest.raises(ValueError, match="expected to hold images"):
        make().update(REAL[:0], real=True)


def real_is_a_bool(make: Make) -> None:
    with pytest.raises(ValueError, match="Argument `real` expected to be a bool"):
        make().update(REAL, real="no")


def nothing_trains(make: Make) -> None:
    holder = nn.Module()
    holder.metric = make()
    holder.network = EXTRACTOR.network
    holder.train()
    trains: list[bool] = []
    hook = EXTRACTOR.network.register_forward_hook(lambda module, *_: trains.append(module.training))
    fed(holder.metric)
    hook.remove()
    assert trains
    assert not any(trains)
    assert EXTRACTOR.network.training, "its owner's mode"
    EXTRACTOR.network.eval()


SLIPS = {
    forward_counts_once: fid,  # B1
    a_one_sided_forward_loses_nothing: fid,  # B2
    a_fresh_metric_computes_from_merged_state: fid,  # B3
    merging_clears_the_cached_value: fid,  # B4
    collections_keep_what_is_to_be_kept: fid,  # B5
    a_plotted_zero_is_zero: kid,  # B7
    an_empty_batch_is_an_error: lambda: FrechetInceptionDistance(Plain()),  # B8
    real_is_a_bool: fid,
}


@pytest.mark.parametrize(
    "check", [*SLIPS, a_reused_buffer_is_seen_anew, nothing_trains], ids=lambda check: check.__name__
)
@pytest.mark.parametrize("name", MAKERS)
def test_ours_does_not_slip(check: Callable[[Make], None], name: str) -> None:
    check(MAKERS[name])


@pytest.mark.parametrize("check", SLIPS, ids=lambda check: check.__name__)
def test_the_check_catches_torchmetrics(check: Callable[[Make], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # pytest.raises inside a check fails with a BaseException of pytest's own
        with pytest.raises((Exception, pytest.fail.Exception)):
            check(SLIPS[check])


def test_nan_features_are_an_error_for_ours_and_a_number_for_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics_dna import DNAEMD, DNAFrechet

    for kind in (DNAEMD, DNAFrechet):
        features_that_are_nan_are_an_error(lambda kind=kind: kind(Broken()))
    # MKL's dgebal writes beyond its memory where a matrix holds NaN, which ends the process now or later
    monkeypatch.setattr(torch.linalg, "eigvals", lambda matrix: torch.full(matrix.shape[:-1], torch.nan + 0j))
    with pytest.raises(pytest.fail.Exception):
        features_that_are_nan_are_an_error(lambda: FrechetInceptionDistance(Broken()))


def test_lru_caches_make_feature_share_stale() -> None:
    """B6, on a network of torchmetrics' kind: a buffer changed in place still gives its old features."""
    with pytest.raises(AssertionError):
        a_reused_buffer_is_seen_anew(lambda: FrechetInceptionDistance(Plain()), FeatureShare)
