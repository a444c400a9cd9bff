"""Every public function on an accelerator, which the CPU stands in for: the CPU's values, where the inputs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import isfunction
from typing import Any

import pytest
import torch
from accelerator import Accelerator, mapped
from torch import Tensor

from torchmetrics_dna import functional

RANDOM = torch.Generator().manual_seed(0)


def some(*shape: int) -> Tensor:
    return torch.rand(shape, generator=RANDOM, dtype=torch.float64) + 0.1


def counts(neurons: int = 4) -> Tensor:
    return (some(neurons, 10) * 50).long()


def cov(neurons: int) -> Tensor:
    return some(20, neurons).T.cov()


ONES, LAYERS = torch.ones(4, dtype=torch.float64), {"first": some(3, 4, 5, 5), "second": some(3, 2, 2, 2)}
SIX = torch.ones(6, dtype=torch.float64)
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "activation_histogram": ((some(3, 4, 5, 5), 0 * ONES, ONES), {"num_bins": 10}),
    "cmmd": ((some(8, 4), some(6, 4)), {}),
    "dna_emd": ((counts(), counts(), ONES), {"reduction": "none"}),
    "dna_frechet": ((some(4), some(4), some(4), some(4), ONES), {}),
    "dna_realism": ((LAYERS, counts(6), 0 * SIX, SIX, SIX, counts(6)), {}),
    "dna_realism_map": ((LAYERS, counts(6), 0 * SIX, SIX, SIX, counts(6)), {}),
    "outlier_test": ((some(8), some(30)), {}),
    "heat": (({"first": some(3, 5, 5), "second": some(3, 2, 2)},), {"side": 7}),
    "layer_frechet_distance": ((some(4), cov(4), some(4), cov(4)), {}),
    "layer_frechet_estimate": ((some(12, 3), some(9, 3), (torch.arange(12) % 6, torch.arange(9) % 5)), {}),
    "learn_neuron_weights": ((some(6), some(3, 6)), {"held_out": (some(6), some(3, 6)), "steps": 5}),
    "mind": ((some(8, 4), some(6, 4)), {}),
    "outliers_by_properties": ((some(40, 21) / 2, some(5, 21)), {}),
    "prdc": ((some(8, 4), some(9, 4)), {}),
    "score_limit": ((some(30),), {}),
    "select_neurons": ((some(3, 6), 2), {}),
    "sensitivity_deviation": ((some(2, 6), SIX / 6), {}),
}


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, bool | int | float):
        yield torch.tensor(value)


# Takes p-values, and no tensors.
OF_NO_TENSORS = {"last_improvement"}


def test_every_function_has_a_row() -> None:
    functions = {name for name in functional.__all__ if isfunction(getattr(functional, name))}
    assert set(CALLS) == functions - OF_NO_TENSORS


NO_STAND_IN = {"learn_neuron_weights"}  # torch differentiates on real devices alone


@pytest.mark.parametrize(
    ("name", "device"),
    [
        *((name, Accelerator) for name in CALLS if name not in NO_STAND_IN),
        *(pytest.param(name, nullcontext, marks=pytest.mark.cuda) for name in CALLS),
    ],
)
def test_values_are_the_cpu_s_and_lie_where_the_inputs_do(
    name: str, device: Callable[[], AbstractContextManager[object]]
) -> None:
    function: Callable[..., Any] = getattr(functional, name)
    arguments, options = CALLS[name]
    expected = list(tensors(function(*arguments, **options)))
    assert expected
    with device():
        sent, sent_options = mapped(lambda each: each.to("cuda"), (arguments, options))
        result = list(tensors(function(*sent, **sent_options)))
        assert all(value.device.type == "cuda" or value.ndim == 0 for value in result)
        result = [value.cpu() for value in result]
    for value, on_cpu in zip(result, expected, strict=True):
        torch.testing.assert_close(value, on_cpu, rtol=1e-9, atol=1e-12, equal_nan=True)
