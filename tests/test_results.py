"""Contract of all results: their words, json, identity, pickling and copying."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import pickle
import pkgutil
from pathlib import Path

import pytest
from all_results import RESULTS

import torchmetrics_dna

PACKAGE = Path(torchmetrics_dna.__file__).parent


@pytest.mark.parametrize("name", RESULTS)
def test_a_result(name: str) -> None:
    make, words = RESULTS[name]
    result, other = make(), make()
    assert repr(result).startswith(words)
    if name not in ("a window", "what was measured", "a demonstration"):  # told by all their fields
        assert len(repr(result)) < 300
        assert "\n" not in repr(result)
        assert "None" not in repr(result)
    if name != "a window":  # of numbers alone, which are equal if these are
        assert result == result
        assert result != other
        assert {result, other, result} == {result, other}
    if hasattr(result, "to_dict"):
        values = result.to_dict()
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert other.to_dict() == values
    for duplicate in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert type(duplicate) is type(result)
        assert repr(duplicate) == repr(result)
        assert not hasattr(result, "to_dict") or duplicate.to_dict() == values


def test_values_can_not_be_changed() -> None:
    mutable = {
        f"{value.__module__}.{value.__name__}"
        for room in ("dna", "comparisons", "functional", "neurons", "plots", "reporting", "singles", "statistics")
        for module in pkgutil.walk_packages([str(PACKAGE / room)], f"torchmetrics_dna.{room}.")
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and value.__module__ == module.name and dataclasses.is_dataclass(value)
        if not value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    }
    assert mutable == set()
