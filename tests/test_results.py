"""Contract of all results: their words, json, identity, pickling and copying."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_results import EXTRACTOR, FIXED, RANGES, RESULTS, A, B, C
from torch import Tensor

import torchmetrics_dna
from torchmetrics_dna import Features, compare, make_dna, rank

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


def dataclasses_of(*rooms: str) -> Iterator[type]:
    for room in rooms:
        for module in pkgutil.walk_packages([str(PACKAGE / room)], f"torchmetrics_dna.{room}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and value.__module__ == module.name and dataclasses.is_dataclass(value):
                    yield value


def test_values_can_not_be_changed() -> None:
    rooms = ("dna", "comparisons", "functional", "neurons", "plots", "reporting", "singles", "statistics")
    assert not [value for value in dataclasses_of(*rooms) if not value.__dataclass_params__.frozen]


def test_what_holds_tensors_is_equal_to_itself_alone() -> None:
    """Fields of tensors can't be compared by ``==``, which gives tensors, nor found by their hash."""
    classes = dataclasses_of("binning", "comparisons", "dna", "functional", "images", "jobs", "neurons", "singles")
    compared = {
        value.__name__
        for value in classes
        if any(str(field.type).split(" |")[0] == "Tensor" for field in dataclasses.fields(value))
        if "__eq__" in vars(value) and value.__dataclass_params__.eq
    }
    assert compared == set()


IMAGES = np.concatenate([A[:5], B, C[:2]])  # of which five are the reference's own
NEURONS = [1, 4, 8]  # of nine, in their order


def ranked(score: Any) -> tuple[Any, Any, list[int]]:
    ranking = rank(IMAGES, A, EXTRACTOR, score=score, nearest=C)
    part = ranking.filter(0.2 if score == "outlier" else 0.1)
    return ranking, part, [ranking.numbers.index(number) for number in part.numbers]


def nearest() -> tuple[Any, Any, list[int]]:
    near = rank(IMAGES, A, EXTRACTOR, nearest=C).nearest
    return near, near.take(torch.tensor([7, 0, 3])), [7, 0, 3]


def some_neurons(value: Any) -> tuple[Any, Any, list[int]]:
    return value, value.select(neurons=NEURONS), NEURONS


def a_layer(value: Any) -> tuple[Any, Any, list[int]]:
    layer = list(value.neurons)[1]
    places = value.neurons.slices[layer]
    return value, value.select([layer]), list(range(places.start, places.stop))


# by method, a result and a part of it, and the places in the whole of what the part has
PARTS: dict[str, Callable[[], tuple[Any, Any, list[int]]]] = {
    "Ranking.filter": lambda: ranked("outlier"),
    "Ranking.filter of contrasts": lambda: ranked("contrast"),
    "Nearest.take": nearest,
    "DNA.select": lambda: some_neurons(make_dna(A, EXTRACTOR, num_folds=6, **FIXED)),
    "DNA.select of moments": lambda: some_neurons(make_dna(A, EXTRACTOR, kind="gaussian", num_folds=6)),
    "DNA.select of a layer": lambda: a_layer(make_dna(A, EXTRACTOR, **FIXED)),
    "ActivationRanges.select": lambda: some_neurons(RANGES),
    "ActivationRanges.take": lambda: (
        RANGES, RANGES.take(torch.tensor(NEURONS), RANGES.select(neurons=NEURONS).neurons), NEURONS
    ),
    "Features.select": lambda: a_layer(Features(torch.arange(72.0).reshape(8, 9), EXTRACTOR.neurons, "x")),
}  # fmt: skip
ELSEWHERE = {
    "ImageSample.select": "dna/test_image_sample.py",
    "ImageSource.take": "test_the_same_set_again.py",
    "Measured.select": "comparisons/test_compare.py",
}


def test_each_method_that_takes_a_part_has_a_row() -> None:
    methods = {
        f"{value.__name__}.{name}"
        for value in dataclasses_of("comparisons", "dna", "images", "jobs", "neurons", "singles")
        for name in ("filter", "take", "select")
        if name in vars(value)
    }
    assert methods == {name.partition(" of ")[0] for name in PARTS} | set(ELSEWHERE)


def same_of(whole: Any, part: Any, places: list[int], count: int, at: str = "") -> int:
    """Check each field that has a value for each of the whole's entries; return how many."""
    if dataclasses.is_dataclass(whole):
        pairs = {field.name: getattr(part, field.name) for field in dataclasses.fields(whole)}
        return sum(
            same_of(getattr(whole, name), value, places, count, f"{at}.{name}")
            for name, value in pairs.items()
            if name not in {*getattr(whole, "UNSAVED", ()), "outliers"}  # sources of the whole, and its test
        )
    if isinstance(whole, Tensor) and count in whole.shape:
        for axis in (axis for axis, length in enumerate(whole.shape) if length == count):
            whole = whole.index_select(axis, torch.tensor(places))
        assert torch.equal(part, whole), at
        return 1
    if isinstance(whole, list) and len(whole) == count:
        assert part == [whole[place] for place in places], at
        return 1
    if isinstance(whole, tuple):
        return sum(same_of(*pair, places, count, at) for pair in zip(whole, part, strict=True))
    return 0


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_result_has_the_values_of_its_entries(name: str) -> None:
    whole, part, places = PARTS[name]()
    count = len(whole.names) if hasattr(whole, "names") and not hasattr(whole, "neurons") else whole.neurons.total
    assert 0 < len(places) < count
    assert same_of(whole, part, places, count) >= 1
    if name.startswith("Ranking"):
        assert 0 < int(part.own.sum()) < len(places)
        assert same_of(whole, part, places, count) >= 7


def test_several_sets_by_another_distance_have_its_results() -> None:
    sets = compare(A, {"b": B, "c": C}, EXTRACTOR, metrics=["dna-emd", "dna-fd"], **FIXED)
    by_moments = sets.by("dna-fd")
    assert {name: each["dna-fd"] for name, each in by_moments.items()} == {name: sets[name]["dna-fd"] for name in "bc"}
    assert by_moments.best == min("bc", key=lambda name: sets[name]["dna-fd"].debiased)
