"""Every metric in every form, and how it takes a batch of images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from makers import EXTRACTOR, FAKE, MAKERS, ONE_SIDED, emd, frechet, realism, with_reference
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import CMMD, MIND, make_dna
from torchmetrics_dna.metrics import PRDC

CLASSES = ["a", "b", "a", "c", "c", "a"]
Feed = Callable[[Metric, Tensor, bool], None]


def plainly(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=real)


def one_sided(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs)


def only_fake(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=False)


def in_order(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, indices=torch.arange(len(imgs)) + 100 * metric.update_count)


def classed(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=real, classes=CLASSES[: len(imgs)])


def grouped(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=real, groups=list("aabbca")[: len(imgs)])


def contrasted(**kwargs: object) -> Metric:
    return realism(contrast=make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=realism().reference.ranges), **kwargs)


def some_neurons(**kwargs: object) -> Metric:
    return realism(neuron_weights=torch.tensor([0, 0.5, 0, 0, 0, 0, 0.2, 0, 0.3]), **kwargs)


FORMS: dict[str, tuple[Callable[..., Metric], Feed]] = {
    **{name: (make, plainly) for name, make in MAKERS.items()},
    **{name: (make, one_sided) for name, make in ONE_SIDED.items()},
    "emd with reference": (lambda **kwargs: with_reference("emd", **kwargs), only_fake),
    "realism with indices": (ONE_SIDED["contrasted_realism"], in_order),
    "realism, contrast": (contrasted, one_sided),
    "realism, some neurons": (some_neurons, one_sided),
    "emd by class": (lambda **kwargs: emd(classes=list("abc"), reduction="class", **kwargs), classed),
    "auto emd by class": (lambda **kwargs: emd(classes=list("abc"), ranges="auto", **kwargs), classed),
    "frechet by class": (lambda **kwargs: frechet(classes=list("abc"), **kwargs), classed),
    "emd in folds": (lambda **kwargs: emd(num_folds=5, **kwargs), grouped),
    "auto emd in folds": (lambda **kwargs: emd(num_folds=5, ranges="auto", **kwargs), grouped),
    "frechet in folds": (lambda **kwargs: frechet(num_folds=5, **kwargs), grouped),
    "mind": (lambda **kwargs: MIND(EXTRACTOR, **{"layer": "contrast", "num_projections": 5} | kwargs), plainly),
    "cmmd": (lambda **kwargs: CMMD(EXTRACTOR, **kwargs), plainly),
    "prdc": (lambda **kwargs: PRDC(EXTRACTOR, nearest_k=2, **kwargs), plainly),
}


def values(metric: Metric) -> list[Tensor]:
    found = metric.compute()
    return [value.cpu() for value in found.values()] if isinstance(found, dict) else [found.cpu()]
