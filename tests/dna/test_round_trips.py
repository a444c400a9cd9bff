"""Values come back as they were, whatever was done to them before, and merging with none changes nothing.

Words over all that can be done to a value are compared with numbers that are picked from the first one by hand.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import dnas
import pytest
import torch
from torch import Tensor

from torchmetrics_dna import ActivationRanges, Features
from torchmetrics_dna.dna import DNA, GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.neuron_weights import NeuronWeights
from torchmetrics_dna.neurons import Neurons

Key = tuple[str, int]  # a neuron: its layer, and its number there
NEURONS = dnas.neurons(("block.0/conv-1", "../köpf", "層 1"))  # of the last, some
_ORIGIN = {"weights_digest": "aa", "preparation": dnas.PREPARATION}
_RANDOM = torch.Generator().manual_seed(0)
FEATURES = Features(
    torch.rand(4, NEURONS.total, generator=_RANDOM),
    NEURONS,
    "tiny",
    names=["a", "b", "ü", "d"],
    pictures=torch.randint(0, 256, (4, 3 * 32**2), dtype=torch.uint8, generator=_RANDOM),
    **_ORIGIN,
)
WEIGHTS = NeuronWeights(torch.rand(NEURONS.total, generator=_RANDOM), NEURONS, "tiny", "aa", "edges")


def empty(dna: Any, folds: bool = True) -> Any:
    """A DNA like this one, but of no images."""
    nothing: dict[str, Any] = {"num_images": 0, "folds": tuple(map(empty, dna.folds)) if folds else ()}
    if isinstance(dna, LayerGaussianDNA):
        return replace(dna, mean=0 * dna.mean, cov={layer: 0 * cov for layer, cov in dna.cov.items()}, **nothing)
    if isinstance(dna, GaussianDNA):
        return replace(dna, mean=0 * dna.mean, var=0 * dna.var, **nothing)
    zeros = torch.zeros(dna.neurons.total)
    ranges = ActivationRanges(zeros, zeros, dna.neurons, "auto") if dna.self_ranging else dna.ranges
    return replace(dna, counts=0 * dna.counts, ranges=ranges, **nothing)


VALUES: dict[str, Any] = {
    **{f"{dna.kind} {getattr(dna, 'self_ranging', '')}": dna for dna in dnas.in_folds(NEURONS)},
    "histogram of unknown ranges": replace(dnas.histogram(NEURONS), ranges=None),
    "gaussian of activations": dnas.histogram(NEURONS).to_gaussian(),
    "DNA of which little is known": replace(dnas.gaussian(NEURONS), weights_digest=None, preparation=None, notes=""),
    "no images": empty(dnas.histogram(NEURONS, margin="auto")),
    **{f"ranges {margin}": dnas.ranges(NEURONS, margin) for margin in ("scale", "widen", "auto")},
    "features": FEATURES,
    "neuron weights": WEIGHTS,
    "neurons": NEURONS,
}
every_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


def filed(value: Any, folder: Path) -> Any:
    if isinstance(value, Neurons):
        return Neurons.from_list(value.to_list())
    value.save(folder / "x.npz")
    return type(value).load(folder / "x.npz")


def some_layers(value: Any) -> Any:
    layers = kept_layers(keys_of(value))
    return value.take(value.positions(layers)) if isinstance(value, Neurons) else value.select(layers)


def kept_layers(keys: list[Key]) -> list[str]:
    layers = [*dict.fromkeys(layer for layer, _ in keys)]
    return [layer for layer in layers if layer != layers[1]] if len(layers) > 1 else layers


def some_neurons(value: Any) -> Any:
    chosen = [*range(0, len(keys_of(value)), 2)]
    if isinstance(value, Neurons):
        return value.take(value.positions(neurons=chosen))
    return value.select(neurons=chosen)


def backwards(keys: list[Key]) -> list[Key]:
    layers = [*dict.fromkeys(layer for layer, _ in keys)]
    return [key for layer in reversed(layers) for key in keys if key[0] == layer]


def restricted(value: Any) -> Any:
    neurons = getattr(value, "neurons", value)
    return value.restrict(Neurons({layer: list(neurons.numbers(layer)) for layer in reversed(list(neurons))}))


# what is done to a value, what that leaves of its neurons, and the classes that take it
Operation = tuple[Callable[[Any, Path], Any], Callable[[list[Key]], list[Key]], tuple[type, ...]]
ANY: tuple[type, ...] = (DNA, Features, NeuronWeights, ActivationRanges, Neurons)


def same(keys: list[Key]) -> list[Key]:
    return keys


OPERATIONS: dict[str, Operation] = {
    "file": (filed, same, ANY),
    "pickle": (lambda value, _: pickle.loads(pickle.dumps(value)), same, ANY),
    "copy": (lambda value, _: copy(value), same, ANY),
    "deepcopy": (lambda value, _: deepcopy(value), same, ANY),
    "to": (lambda value, _: value.to("cpu"), same, (DNA,)),
    "+ empty": (lambda value, _: value + empty(value), same, (DNA,)),
    "empty +": (lambda value, _: empty(value) + value, same, (DNA,)),
    "+ empty without folds": (lambda value, _: value + empty(value, folds=False), same, (DNA,)),
    "empty without folds +": (lambda value, _: empty(value, folds=False) + value, same, (DNA,)),
    "merge": (lambda value, _: value.merge(), same, (DNA,)),
    "layers": (
        lambda value, _: some_layers(value),
        lambda keys: [key for key in keys if key[0] in kept_layers(keys)],
        (DNA, ActivationRanges, Neurons, Features),
    ),
    "neurons": (lambda value, _: some_neurons(value), lambda keys: keys[::2], (DNA, ActivationRanges, Neurons)),
    "restrict": (lambda value, _: restricted(value), backwards, (DNA, ActivationRanges)),
}


def keys_of(value: Any) -> list[Key]:
    neurons = getattr(value, "neurons", value)
    return [(layer, number) for layer in neurons for number in neurons.numbers(layer)]


def numbers_of(value: Any) -> dict[tuple[Any, ...], Any]:
    """All numbers of a value, by field and neuron, or pair of neurons."""
    numbers: dict[tuple[Any, ...], Any] = {}
    for name in ("counts", "mean", "var", "weights", "minimum", "maximum"):
        if isinstance(getattr(value, name, None), Tensor):
            for key, row in zip(keys_of(value), getattr(value, name).tolist(), strict=True):
                numbers[name, key] = row
    if isinstance(value, Features):
        numbers |= {("feature", key): row for key, row in zip(keys_of(value), value.values.T.tolist(), strict=True)}
    for layer, cov in getattr(value, "cov", {}).items():
        keys = [key for key in keys_of(value) if key[0] == layer]
        numbers |= {("cov", *pair): x for pair, x in zip(product(keys, keys), cov.flatten().tolist(), strict=True)}
    if getattr(value, "ranges", None) is not None:
        numbers |= {("ranges", *at): number for at, number in numbers_of(value.ranges).items()}
    for k, fold in enumerate(getattr(value, "folds", ())):
        numbers |= {("fold", k, *at): number for at, number in numbers_of(fold).items()}
    return numbers


def about(value: Any) -> dict[str, Any]:
    """What a value has beside neurons and their numbers."""
    names = {
        "num_images", "extractor", "weights_digest", "preparation", "notes", "statistics", "margin", "name", "names",
    }  # fmt: skip
    plain: dict[str, Any] = {name: getattr(value, name) for name in names if hasattr(value, name)}
    if getattr(value, "pictures", None) is not None:
        plain["pictures"] = value.pictures.tolist()
    if getattr(value, "ranges", None) is not None:
        plain["ranges"] = value.ranges.margin, value.ranges.name
    return plain | {"folds": [about(fold) for fold in getattr(value, "folds", ())]}


def ask(value: Any) -> None:
    """Ask for all that a value caches."""
    for kind in type(value).__mro__:
        for name, attribute in vars(kind).items():
            if isinstance(attribute, cached_property):
                getattr(value, name)
    for fold in getattr(value, "folds", ()):
        ask(fold)


def check(value: Any, keys: list[Key], numbers: dict[tuple[Any, ...], Any], plain: dict[str, Any]) -> None:
    """Compare a value with numbers of its neurons, and with one of its fields that was made afresh."""
    assert keys_of(value) == keys
    chosen = set(keys)
    assert numbers_of(value) == {
        at: number
        for at, number in numbers.items()
        if chosen.issuperset(part for part in at if isinstance(part, tuple))
    }
    assert about(value) == plain
    if is_dataclass(value):
        fresh = type(value)(**{field.name: getattr(value, field.name) for field in fields(value)})
        assert value.digest == fresh.digest
        assert [fold.digest for fold in getattr(value, "folds", ())] == [
            replace(fold).digest for fold in getattr(value, "folds", ())
        ]


@every_value
def test_every_word_of_two_gives_back_the_value(value: Any, tmp_path: Path) -> None:
    numbers, plain = numbers_of(value), about(value)
    assert numbers or isinstance(value, Neurons)
    words = [((), value, keys_of(value))]
    for _ in range(2):
        longer = []
        for word, current, keys in words:
            ask(current)
            for name, (do, left, classes) in OPERATIONS.items():
                if isinstance(value, classes):
                    longer.append(((*word, name), do(current, tmp_path), left(keys)))
        for word, current, keys in words + longer:
            try:
                check(current, keys, numbers, plain)
            except AssertionError as err:
                err.add_note(f"after {', '.join(word)}")
                raise
        words = longer
