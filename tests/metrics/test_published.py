"""Published metrics in a loop: one pass a network, and the values of `compare`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from small_protocols import make_small
from torch import Tensor
from torchmetrics import MetricCollection

from torchmetrics_dna import compare
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna.distances import all_published
from torchmetrics_dna.metrics import published_metrics

PHOTOS = [np.ascontiguousarray(photo[:64, :64]) for photo in photographs(24)]
SETS = PHOTOS[:12], [blur(photo, strength=3) for photo in PHOTOS[12:]]


def batch(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).movedim(3, 1)


REAL, FAKE = map(batch, SETS)


def feed(metrics: MetricCollection, real: Tensor = REAL, fake: Tensor = FAKE, size: int = 5) -> MetricCollection:
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(size):
            metrics.update(part, real=is_real)
    return metrics


@pytest.mark.outer
@pytest.mark.parametrize(
    "names", [list(all_published()), ["dna-emd", "fd", "mind", "coverage"]], ids=["published", "others"]
)
def test_values_are_those_of_compare_in_one_pass(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    metrics = published_metrics(names)
    passes: list[int] = []
    extractors = {id(metric.extractor): metric.extractor for metric in metrics.values(copy_state=False)}
    assert len(extractors) == (2 if "fid" in names else 1)  # of Inception's and DINOv2's, and of CLIP's crop
    for extractor in extractors.values():
        extractor.network.register_forward_pre_hook(lambda _, args: passes.append(len(args[0])))
    for _ in range(2):  # before and after groups are formed
        metrics.reset()
        feed(metrics)
        assert sum(passes) == len(extractors) * (len(REAL) + len(FAKE))
        values = metrics.compute()
        expected = compare(*SETS, metrics=names, num_folds=None)
        assert set(values) == set(names)
        assert {name: float(value) for name, value in values.items()} == pytest.approx(
            {name: result.value for name, result in expected.items()}, rel=1e-6
        )
        passes.clear()
    groups = {frozenset(group) for group in metrics.compute_groups.values()}
    assert (frozenset({"kid", "precision", "recall"}) in groups) == ("fid" in names)
    assert {name for name, metric in metrics.items() if metric.higher_is_better} == SCORES & set(names)


SCORES = {"is", "precision", "recall", "coverage"}


def test_options_are_those_of_each_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    metrics = published_metrics(["fid", "kid"], reset_real_features=False, normalize=True)
    value = metrics(FAKE[:1] / 255, real=False)
    assert all(figure.isnan() for figure in value.values())
    assert not any(metric.reset_real_features for metric in metrics.values())
    copied = pickle.loads(pickle.dumps(feed(metrics, REAL[:4] / 255, FAKE[:4] / 255)))
    assert copied.compute() == metrics.compute()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["fid", "nonsense"],), "`metrics` expected to be any of dna-emd, .*, fid, .*but got 'nonsense'"),
        (([],), "but got none"),
        ((["fid", "mind"],), r"but got fid, mind; make those of efficientnet_lite0 \(mind\) by another call"),
        ((["precision", "clipped-density", "coverage"],), r"\(clipped-density, coverage\) by another call"),
        ((["fid", "cmmd"], "x.pth"), "a folder with the weights of each network, but got 'x.pth'"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published_metrics(*arguments)
