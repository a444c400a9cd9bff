"""Every metric in every form, and how it takes a batch of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from makers import EXTRACTOR, FAKE, MAKERS, ONE_SIDED, emd, frechet, realism, with_reference
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import make_dna
from torchmetrics_dna.metrics import CMMD, MIND, PRDC


class Form(NamedTuple):
    """A metric, and what ``update`` takes beside images."""

    make: Callable[..., Metric]
    arguments: Callable[[Metric, Tensor, bool], dict[str, object]]

    def feed(self, metric: Metric, imgs: Tensor, real: bool) -> None:
        metric.update(imgs, **self.arguments(metric, imgs, real))

    @property
    def is_one_sided(self) -> bool:
        return self.arguments in (one_sided, in_order)


def plainly(metric: Metric, imgs: Tensor, real: bool) -> dict[str, object]:
    return {"real": real}


def one_sided(metric: Metric, imgs: Tensor, real: bool) -> dict[str, object]:
    return {}


def only_fake(metric: Metric, imgs: Tensor, real: bool) -> dict[str, object]:
    return {"real": False}


def in_order(metric: Metric, imgs: Tensor, real: bool) -> dict[str, object]:
    return {"indices": torch.arange(len(imgs)) + 100 * metric.update_count}


def grouped(metric: Metric, imgs: Tensor, real: bool) -> dict[str, object]:
    return {"real": real, "groups": list("aabbcac")[: len(imgs)]}


def contrasted(**kwargs: object) -> Metric:
    return realism(contrast=make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=realism().reference.ranges), **kwargs)


def some_neurons(**kwargs: object) -> Metric:
    return realism(neuron_weights=torch.tensor([0, 0.5, 0, 0, 0, 0, 0.2, 0, 0.3]), **kwargs)


FORMS: dict[str, Form] = {
    **{name: Form(make, plainly) for name, make in MAKERS.items()},
    **{name: Form(make, one_sided) for name, make in ONE_SIDED.items()},
    "emd with reference": Form(lambda **kwargs: with_reference("emd", **kwargs), only_fake),
    "realism with indices": Form(ONE_SIDED["realism"], in_order),
    "realism, contrast": Form(contrasted, one_sided),
    "realism, some neurons": Form(some_neurons, one_sided),
    "emd in folds": Form(lambda **kwargs: emd(num_folds=5, **kwargs), grouped),
    "auto emd in folds": Form(lambda **kwargs: emd(num_folds=5, ranges="auto", **kwargs), grouped),
    "frechet in folds": Form(lambda **kwargs: frechet(num_folds=5, **kwargs), grouped),
    "mind": Form(lambda **kwargs: MIND(EXTRACTOR, **{"layer": "contrast", "num_projections": 5} | kwargs), plainly),
    "cmmd": Form(lambda **kwargs: CMMD(EXTRACTOR, **kwargs), plainly),
    "prdc": Form(lambda **kwargs: PRDC(EXTRACTOR, nearest_k=2, **kwargs), plainly),
}


def values(metric: Metric) -> list[Tensor]:
    return tensors(metric.compute())


def tensors(value: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return [part.cpu() for part in value.values()] if isinstance(value, dict) else [value.cpu()]
