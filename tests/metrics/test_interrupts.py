"""A metric that is interrupted anywhere holds what it held before, or the whole batch; or it says so until `reset`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

import pytest
import torch
from forms import FORMS, tensors
from interrupts import interrupted
from makers import EXTRACTOR, FAKE, REAL
from networks import Convolutions, random_images
from torchmetrics import Metric

from torchmetrics_dna import DNAExtractor, DNAFrechet
from torchmetrics_dna.extractors.guard import lock_of

ROOMS = ("metrics", "statistics", "binning", "extractors/base", "extractors/guard")
TOLD = "An update was interrupted while it added images"
more = random_images(7, 5)


def ready(form: str, **kwargs: object) -> Metric:
    metric = FORMS[form].make(**kwargs)
    for images, real in ((REAL, True), (FAKE, False)):
        FORMS[form].feed(metric, images, real)
    return metric


def held(metric: Metric) -> dict[str, Any]:
    states = {name: list(state) if isinstance(state, list) else [state] for name, state in metric.metric_state.items()}
    return copy.deepcopy(states | {"synced": metric._is_synced})


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether they hold the same, to the last bit; rows in as many tensors, or in fewer."""
    if a.keys() != b.keys():
        return False
    for name, value in a.items():
        if isinstance(value, list):
            own, other = (torch.cat(each) if each else torch.zeros(0) for each in (value, b[name]))
            if own.shape != other.shape or own.dtype != other.dtype or not torch.equal(own, other):
                return False
        elif value != b[name]:
            return False
    return True


@pytest.mark.outer
@pytest.mark.parametrize(
    ("form", "at_once"),  # in one part, or in three, whose first ones are added before the last runs
    [
        ("emd", 8),
        ("layer_frechet", 8),
        ("auto emd in folds", 8),
        ("auto emd in folds", 3),
        ("realism with indices", 3),
        ("prdc", 8),
        ("activation_range", 3),
    ],
)
def test_an_update_adds_all_or_nothing_or_says_so(form: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXTRACTOR, "images_at_once", at_once)
    base, whole = ready(form), ready(form)
    arguments = FORMS[form].arguments(base, more, False)
    whole.update(more, **arguments)
    before, after, value = held(base), held(whole), tensors(whole.compute())
    metric, is_told = base, False

    def make() -> Callable[[], object]:
        nonlocal metric
        metric = base.clone()
        return partial(metric.update, more, **arguments)

    for place in interrupted(make, *ROOMS):
        state = held(metric)
        if same(state, before):
            metric.update(more, **arguments)
            assert all(map(torch.equal, tensors(metric.compute()), value)), place
        elif not same(state, after):
            check_told(form, metric, place, thoroughly=not is_told)
            is_told = True


def check_told(form: str, metric: Metric, place: str, thoroughly: bool) -> None:
    """Check that every use of a state that is incomplete is an error, and that `reset` ends it."""
    with pytest.raises(ValueError, match=TOLD):
        pytest.fail(f"an incomplete state is not told: interrupted at {place}, {metric.compute()}")
    if not thoroughly:
        return
    arguments, other = FORMS[form].arguments(metric, more, False), FORMS[form].make()
    metric.persistent(True)
    other.persistent(True)
    for use in (
        lambda: metric.update(more, **arguments),
        lambda: metric(more, **arguments),
        lambda: other.merge_state(metric),
        lambda: metric.merge_state(ready(form)),
        metric.clone().compute,
        pickle.loads(pickle.dumps(metric)).compute,
    ):
        with pytest.raises(ValueError, match=TOLD):
            use()
    with pytest.raises(RuntimeError, match=TOLD):
        other.load_state_dict(metric.state_dict())
    metric.distributed_available_fn, metric.dist_sync_fn = lambda: True, as_of_two
    with pytest.raises(RuntimeError, match=rf"{TOLD}.* \(process 0\)"):  # in all processes
        metric.compute()
    metric.distributed_available_fn = lambda: False
    metric.reset()
    for images, real in ((REAL, True), (FAKE, False)):
        FORMS[form].feed(metric, images, real)
    assert all(map(torch.equal, tensors(metric.compute()), tensors(ready(form).compute())))


def as_of_two(tensor: torch.Tensor, group: object = None) -> list[torch.Tensor]:
    """Gather from two processes that hold the same."""
    return [tensor, tensor.clone()]


def as_one_of_two(form: str) -> Metric:
    return ready(form, dist_sync_fn=as_of_two, distributed_available_fn=lambda: True, dist_sync_on_step=True)


def loaded(metric: Metric, states: dict[str, Any]) -> None:
    metric.persistent(True)
    metric.load_state_dict(states)


CALLS: dict[str, Callable[[str, Metric], Callable[[], object]]] = {
    "forward": lambda form, metric: partial(metric, more, **FORMS[form].arguments(metric, more, False)),
    "compute": lambda form, metric: metric.compute,
    "sync": lambda form, metric: partial(metric.sync, dist_sync_fn=as_of_two),
    "merge_state": lambda form, metric: partial(metric.merge_state, ready(form)),
    "reset": lambda form, metric: metric.reset,
    "load_state_dict": lambda form, metric: partial(loaded, metric, saved(form)),
}


def saved(form: str) -> dict[str, Any]:
    metric = FORMS[form].make()
    metric.persistent(True)
    FORMS[form].feed(metric, REAL, True)
    return metric.state_dict()


@pytest.mark.outer
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", ["self_ranging_emd", "prdc"])
def test_what_does_not_add_in_place_does_all_or_nothing(form: str, call: str) -> None:
    base = as_one_of_two(form)
    base.persistent(True)
    whole = base.clone()
    CALLS[call](form, whole)()
    before, after = held(base), held(whole)
    metric = base

    def make() -> Callable[[], object]:
        nonlocal metric
        metric = base.clone()
        return CALLS[call](form, metric)

    for place in interrupted(make, "metrics", "statistics"):
        state = held(metric)
        assert same(state, before) or same(state, after), place


def test_the_network_is_as_before() -> None:
    """Also its lock, hooks and the precision of torch, which it was borrowed with."""
    network = Convolutions()
    metric = DNAFrechet(DNAExtractor(network, layers=["stem", "body"], input_size=16))
    metric.update(more, real=True)
    free: list[bool] = []

    def ask() -> None:
        free.append(lock_of(network).acquire(blocking=False))
        lock_of(network).release()

    torch.set_float32_matmul_precision("high")
    try:
        for place in interrupted(lambda: partial(metric.update, more, real=False), "extractors"):
            assert all(module.training for module in network.modules()), place
            assert not any(module._forward_hooks for module in network.modules()), place
            assert torch.get_float32_matmul_precision() == "high", place
            thread = Thread(target=ask)
            thread.start()
            thread.join()
            assert free.pop(), place
    finally:
        torch.set_float32_matmul_precision("highest")
