"""States come back as they were, whatever was done to them before; and what another tool made of them is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import chain
from typing import Any

import dnas
import pytest
import torch
from forms import FORMS, values
from makers import FAKE, REAL
from networks import random_images
from torchmetrics import Metric

from torchmetrics_dna.metrics.dna import DNAMetric

Make = Callable[[], Metric]
every_form = pytest.mark.parametrize("form", FORMS)


def loaded(metric: Metric, make: Make) -> Metric:
    fresh = make()
    for each in (metric, fresh):
        each.persistent(True)
    fresh.load_state_dict(metric.state_dict())
    return fresh


def merged(metric: Metric, other: Metric | dict[str, Any]) -> Metric:
    metric.merge_state(other)
    return metric


def emptied(metric: Metric) -> Metric:
    """The metric after a state of no images was loaded over it, and its own again."""
    metric.persistent(True)
    own = copy.deepcopy(metric.state_dict())
    empty = metric.clone()
    empty.reset()
    metric.load_state_dict(empty.state_dict())
    metric.load_state_dict(own)
    return metric


def in_half_precision(metric: Metric) -> Metric:
    """The metric after a parent that holds it, and torchmetrics itself, asked for half precision."""
    torch.nn.ModuleDict({"metric": metric}).half()
    metric.set_dtype(torch.float16)
    return metric


OPERATIONS: dict[str, Callable[[Metric, Make], Metric]] = {
    "pickle": lambda metric, _: pickle.loads(pickle.dumps(metric)),
    "deepcopy": lambda metric, _: copy.deepcopy(metric),
    "state_dict": loaded,
    "empty +": lambda metric, make: merged(make(), metric),
    "+ empty": lambda metric, make: merged(metric, make()),
    "empty + dict": lambda metric, make: merged(make(), metric.metric_state),
    "emptied": lambda metric, _: emptied(metric),
    "half": lambda metric, _: in_half_precision(metric),
    "to": lambda metric, _: metric.to("cpu"),
}


def content(metric: Metric) -> dict[str, torch.Tensor]:
    """All states, rows in one tensor; of folds their values, since without images a grid's extremes mean nothing."""
    sides = [metric.to_dna(real) for real in (True, False)] if isinstance(metric, DNAMetric) else []
    if any(dna.folds for dna in sides):
        folds = [(side, k, fold) for side, dna in enumerate(sides) for k, fold in enumerate((dna, *dna.folds))]
        return {f"{side} {k} {name}": held for side, k, fold in folds for name, held in dnas.tensors(fold).items()}
    states = metric.metric_state.items()
    return {name: torch.cat(state) if isinstance(state, list) else state for name, state in states}


def fed(form: str, metric: Metric) -> Metric:
    for images, real in ((REAL, True), (FAKE, False)):
        FORMS[form].feed(metric, images, real)
    return metric


def every_pair(names: list[str]) -> list[str]:
    """A sequence in which every two names follow each other, in either order."""
    return [
        *chain.from_iterable([a, *chain.from_iterable((a, b) for b in names[i:])] for i, a in enumerate(names, 1)),
        names[0],
    ]


@pytest.mark.outer
@every_form
def test_a_state_is_the_same_after_any_two_operations(form: str) -> None:
    make = FORMS[form].make
    metric = fed(form, make())
    expected, value = copy.deepcopy(content(metric)), values(metric)
    for name in every_pair([*OPERATIONS]):
        metric = OPERATIONS[name](metric, make)
        torch.testing.assert_close(
            content(metric), expected, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert all(map(torch.equal, values(metric), value))
    total = fed(form, make())
    for images, real in ((REAL, True), (FAKE, False)):
        arguments = FORMS[form].arguments(total, images, real)
        for each in (metric, total):
            each.update(images, **arguments)
    assert all(map(torch.equal, values(metric), values(total))), "counting goes on"
    assert all(map(torch.equal, values(fed(form, make(compute_on_cpu=True))), value))


@every_form
@pytest.mark.parametrize("name", ["pickle", "deepcopy", "state_dict", "empty +", "empty + dict"])
def test_a_copy_and_its_original_go_their_own_way(form: str, name: str) -> None:
    metric = fed(form, FORMS[form].make())
    before = copy.deepcopy(content(metric))
    other = OPERATIONS[name](metric, FORMS[form].make)
    FORMS[form].feed(other, random_images(5, 5), False)
    torch.testing.assert_close(content(metric), before, rtol=0, atol=0)
    before = copy.deepcopy(content(other))
    FORMS[form].feed(metric, random_images(5, 6), False)
    torch.testing.assert_close(content(other), before, rtol=0, atol=0)


@every_form
def test_states_of_another_precision_are_refused(form: str) -> None:
    """Tools that cast checkpoints would let counting go on in the precision that they chose."""
    metric = fed(form, FORMS[form].make())
    metric.persistent(True)
    expected, saved = copy.deepcopy(content(metric)), metric.state_dict()
    for name, state in metric.metric_state.items():
        for dtype in (torch.float16, torch.float32, torch.float64, torch.int32, torch.int64):
            cast = [part.to(dtype) for part in state] if isinstance(state, list) else state.to(dtype)
            if next(iter(cast)).dtype == next(iter(state)).dtype:
                continue
            message = f"Expected state variable {name} to be torch.*, but got {dtype}"
            with pytest.raises(ValueError, match=message):
                metric.merge_state(metric.metric_state | {name: cast})
            if not isinstance(state, list):  # which are bytes there
                with pytest.raises(RuntimeError, match=message):
                    metric.load_state_dict(saved | {name: cast})
    torch.testing.assert_close(content(metric), expected, rtol=0, atol=0)
