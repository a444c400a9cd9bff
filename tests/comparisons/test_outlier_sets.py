"""Which of several sets differs from the others together: against the definition written out, and by its laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import pixels
from PIL import Image

from torchmetrics_dna import make_dna
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.functional.permutation import partitions
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, image_properties
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.sides import open_sides

EXTRACTOR, RANGES = pixels()
OPTIONS: dict[str, Any] = {"ranges": RANGES, "num_bins": 40}
SIZES = (24, 20, 18, 22, 21, 19, 20, 23)


def images(count: int, seed: int, brighter: float = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(100 + brighter, 30, (count, 9, 8, 3)) + random.normal(0, 20, (count, 1, 1, 3))
    return values.clip(0, 255).astype(np.uint8)


def sets(count: int, odd: dict[int, float]) -> dict[str, np.ndarray]:
    """Sets of unequal size, names not in their order, some of them brighter."""
    return {"badcfehg"[i]: images(SIZES[i], 10 * count + i, odd.get(i, 0)) for i in range(count)}


def standard(values: np.ndarray) -> np.ndarray:
    deviation = values.std(0)
    return np.where(deviation > 1e-12, (values - values.mean(0)) / np.where(deviation > 1e-12, deviation, 1), 0)


def overall(counts: np.ndarray, sizes: np.ndarray, masks: np.ndarray, layers: list[slice]) -> np.ndarray:
    """Statistic of each mask of folds against all other folds, as a comparison of two sets has it."""
    sums = [np.tensordot(side.astype(float), counts, 1) for side in (masks, ~masks)]
    a, b = (of_side / of_side.sum(2, keepdims=True) for of_side in sums)
    moved = np.cumsum(a - b, 2)
    noise = np.sqrt(1 / (masks @ sizes) + 1 / (~masks @ sizes))[:, None]
    z, squares = standard(np.abs(moved).sum(2) / noise), np.square(moved.sum(2) / noise)
    squares /= np.maximum(squares.mean(0), 1e-30)
    of_layers = [standard(np.stack([of[:, rows].mean(1) for rows in layers], 1)).max(1) for of in (z, squares)]
    return standard(np.stack([of_layers[0], z.max(1), of_layers[1]], 1)).max(1)


def shares(values: np.ndarray) -> np.ndarray:
    return np.array([np.mean(values >= value - 1e-9) for value in values])


def written_out(measured: dict[str, Any], parts: list[list[str]]) -> tuple[float, dict[str, float], float | None]:
    left, odd, first = sorted(measured), dict[str, float](), None
    while True:
        folds = {name: [fold for fold in measured[name].folds if fold.num_images] for name in left}
        masks = partitions([len(folds[name]) for name in left], 400).numpy()
        flat, every = masks.reshape(-1, masks.shape[2]), [fold for name in left for fold in folds[name]]
        evidence = np.full(len(flat), -1.0)
        for part in parts:
            of_part = [fold.select(part) for fold in every]
            counts = np.stack([fold.counts.numpy().astype(np.float64) for fold in of_part])
            sizes = np.array([fold.num_images for fold in every])
            p_values = shares(overall(counts, sizes, flat, [*of_part[0].neurons.slices.values()]))
            evidence = np.maximum(evidence, -p_values)
        evidence = evidence.reshape(-1, len(left))
        largest = evidence.max(1)
        p = float(np.mean(largest >= largest[0] - 1e-9))
        first = p if first is None else first
        if p > (0.02 if odd else 0.05):
            return first, odd, p if odd else None
        if len(odd) == max(1, len(measured) // 4):
            return first, {}, None
        odd[left.pop(int(evidence[0].argmax()))] = p


CASES = {
    "none of 4": (4, {}), "one of 4": (4, {2: 25}), "one of 3": (3, {0: -30}), "two of 4": (4, {0: 30, 2: -30}),
    "two of 8": (8, {1: 40, 6: -40}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("count", "odd"),
    [pytest.param(*case, id=name, marks=[pytest.mark.outer] * (case[0] > 4)) for name, case in CASES.items()],
)
@pytest.mark.parametrize("beside", [True, False], ids=["properties", "network"])
def test_against_the_definition(count: int, odd: dict[int, float], beside: bool) -> None:
    given = sets(count, odd)
    extractor = EXTRACTOR if beside else pixels(properties=False)[0]
    arguments = Arguments(extractor, metrics=["dna-emd"], **OPTIONS)
    sides = open_sides([*given.values()], arguments, with_properties=True)
    measured = {name: sides.measured(k).dnas["histogram"] for k, name in enumerate(given)}
    network = list(EXTRACTOR.neurons)
    p_value, named, p_of_rest = written_out(measured, [network, [LAYER]] if beside else [network])
    result = matrix(given, extractor, **OPTIONS)
    assert result.outliers is not None
    assert (result.outliers.p_value, result.outliers.p_of_rest) == (
        pytest.approx(p_value),
        p_of_rest and pytest.approx(p_of_rest),
    )
    assert result.outliers.outliers == pytest.approx(named)
    expected = [[*given][i] for i in odd] if len(odd) <= max(1, count // 4) else []
    assert sorted(named) == sorted(expected)
    assert (p_value <= 0.05) == bool(odd)
    assert result.verdict.splitlines()[0].startswith(
        f"{next(iter(named))} " if named else "None of" if not odd else f"The {count} sets differ"
    )
    assert bool(result.outliers.properties) == (beside and bool(named))
    for (
        each
    ) in result.outliers.properties:  # which are those of the first that is named, beside the means of the others
        column = PROPERTIES.index(each.name)
        means = {
            name: float(image_properties(torch.from_numpy(of_set).movedim(3, 1))[:, column].double().mean())
            for name, of_set in given.items()
        }
        own = means.pop(next(iter(named)))
        assert each.range_of_others == pytest.approx((min(means.values()), max(means.values())), abs=1 / 40)
        assert each.b == pytest.approx(own, abs=1 / 40)
        assert not each.range_of_others[0] <= each.b <= each.range_of_others[1]


def test_the_answer_is_that_of_saved_dnas_and_in_all_formats(tmp_path: Path) -> None:
    """Of the network alone: DNAs have what was saved; the same by self-ranging bins up to their number."""
    given = sets(4, {2: 25})
    extractor = pixels(properties=False)[0]
    dnas = {name: make_dna(of_set, extractor, num_folds=20, **OPTIONS) for name, of_set in given.items()}
    of_images, of_dnas = matrix(given, extractor, **OPTIONS), matrix(dnas)
    assert of_images.outliers == of_dnas.outliers
    result = matrix(given, EXTRACTOR, **OPTIONS)
    result.save(tmp_path / "x.result.npz")
    loaded = type(result).load(tmp_path / "x.result.npz")
    assert (loaded.outliers, loaded.verdict) == (result.outliers, result.verdict)
    document = result.to_dict()
    assert document["verdict"] == result.verdict
    assert document["outlier_sets"]["outliers"] == result.outliers.outliers
    assert document["outlier_sets"]["properties"][0]["name"] == result.outliers.properties[0].name
    own_ranges = matrix(given, EXTRACTOR, ranges="auto", num_bins=40)
    assert [*own_ranges.outliers.outliers] == [*result.outliers.outliers]


FOUR = sets(4, {2: 25})
FEW = FOUR | {"b": FOUR["b"][:4]}
COPIES = FOUR | {"d": np.concatenate([FOUR["d"][:19], FOUR["a"][:3]])}
LACKS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "images": (FEW, {}, "b has 4 images, but about 10 are needed"),
    "folds": (FOUR, {"num_folds": None}, "no folds of images were kept (`num_folds=None`)"),
    "groups": (FOUR, {"groups": tuple([i % 3 for i in range(len(each))] for each in FOUR.values())},
               "b has 3 groups, but about 8 are needed"),
    "one size": (FOUR | {"b": images(40, 5)}, {},
                 "the largest set has 40 images, more than 1.5 times as many as the smallest (18)"),
    "copies": (COPIES, {}, "3 of 20 images in a are near-duplicates of images in other sets"),
    "the same": (FOUR | {"d": FOUR["a"]}, {}, "a and d are the same images"),
    "a distance": (FOUR, {"metrics": ["kid"]}, "kid has no such test, but dna-emd has one"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "options", "lacks"), LACKS.values(), ids=LACKS)
def test_what_a_test_lacks_is_said(given: Any, options: dict[str, Any], lacks: str) -> None:
    result = matrix(given, EXTRACTOR, **OPTIONS, **options)
    assert (result.outliers.why_untested, result.outliers.p_value, result.outliers.outliers) == (lacks, None, {})
    assert lacks in result.verdict


def test_copies_that_are_different_pictures() -> None:
    assert matrix(COPIES, EXTRACTOR, copies=False, **OPTIONS).outliers.p_value is not None
    two = matrix({"a": FOUR["a"], "b": FOUR["b"]}, EXTRACTOR, **OPTIONS)
    assert (two.outliers, two.verdict.startswith("Between the two sets: dna-emd ")) == (None, True)


@pytest.mark.outer
def test_groups_are_the_unit() -> None:
    """Sets of a few subjects, many images of each: one subject or another is no difference between sets."""
    p_values = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        subjects = random.normal(110, 30, (4, 8, 1, 1, 1, 3))
        clips = (subjects + random.normal(0, 12, (4, 8, 5, 9, 8, 3))).clip(0, 255).astype(np.uint8)
        given = dict(zip("abcd", clips.reshape(4, 40, 9, 8, 3), strict=True))
        groups = tuple([[f"{name}{i // 5}" for i in range(40)] for name in given])
        each = [
            matrix(given, EXTRACTOR, copies=False, metrics=["dna-emd"], **more, **OPTIONS).outliers.p_value
            for more in ({}, {"groups": groups})
        ]
        p_values.append(each)
    alone, grouped = (np.array(p_values) <= 0.05).sum(0)
    assert alone >= 3
    assert grouped <= 1


@pytest.mark.outer
def test_a_set_of_files_is_not_odd_among_sets_in_memory(tmp_path: Path) -> None:
    given = sets(4, {})
    for i, image in enumerate(given["d"]):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    expected = matrix(given, EXTRACTOR, **OPTIONS).outliers
    assert matrix({**given, "d": tmp_path}, EXTRACTOR, **OPTIONS).outliers.p_value == expected.p_value


@pytest.mark.outer
def test_many_sets_keep_fewer_folds() -> None:
    """Merged folds are those of the same images; of 28 sets each keeps 5, and the odd one is found."""
    given = {f"{i:02}": images(14, 100 + i, 60 if i == 7 else 0) for i in range(28)}
    result = matrix(given, EXTRACTOR, **OPTIONS)
    assert [*result.outliers.outliers] == ["07"]
    assert result.num_images == [14] * 28


def test_a_weight_of_zero_leaves_a_neuron_out() -> None:
    neurons = EXTRACTOR.neurons
    seen = torch.zeros(neurons.total)
    seen[neurons.positions(["contrast"])] = 1
    options = OPTIONS | {"neuron_weights": seen}
    by_weights = matrix(FOUR, EXTRACTOR, **options).outliers
    assert by_weights == matrix(FOUR, EXTRACTOR, **options, metrics=["kid", "dna-emd"]).outliers
    assert by_weights.p_value > 0.05 > matrix(FOUR, EXTRACTOR, **OPTIONS).outliers.p_value  # which is of brightness
