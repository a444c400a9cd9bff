"""Constants that say how much is done at a time change no number."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from kinds import packed_npz, parquet, shards
from slowly import Polynomials, some_images

import torchmetrics_dna
from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, DNARealism, compare, make_dna, rank
from torchmetrics_dna.dna.distances import of_any_network

_NAMES = re.compile("AT_ONCE|CELLS|CHUNK|HELD|ROWS|TASK|TILE|WIDEST")
_WORDS = re.compile("#.* (at a time|of a tile|of a task)")
_STEPS = {"range": slice(2, 3), "split": slice(None), "blocks": slice(None), "cut": slice(None)}
_OTHERS = {"binning.cpu:_GROUP", "binning.cpu:_LANES", "demo:_OTHERS"}  # compiled into functions, or photographs
_ROOT = Path(torchmetrics_dna.__file__).parent


def _modules() -> Iterator[tuple[str, list[str], ast.Module, dict[str, int]]]:
    """Yield name, lines, syntax and integer constants of each module but Triton's, which has tests of its own."""
    for path in sorted(_ROOT.rglob("*.py")):
        name, text = ".".join(path.relative_to(_ROOT).with_suffix("").parts), path.read_text(encoding="utf-8")
        if path.stem != "cuda" and re.search("^_?[A-Z][A-Z_, ]* = ", text, re.MULTILINE):
            held = vars(import_module(f"torchmetrics_dna.{name}"))
            integers = {key: value for key, value in held.items() if key.isupper() and type(value) is int}
            yield name, text.splitlines(), ast.parse(text), integers


def _block_sizes() -> dict[str, int]:
    """Return the size of each block, by module and name; they are known by their names, or by words beside them."""
    sizes = {}
    for module, lines, tree, integers in _modules():
        for line in tree.body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            for name in integers.keys() & names:
                if _NAMES.search(name) or _WORDS.search(lines[line.lineno - 1]):
                    sizes[f"{module}:{name}"] = integers[name]
    return {name: size for name, size in sizes.items() if name not in _OTHERS}


def test_whatever_is_a_step_is_a_block_size() -> None:
    known = _block_sizes().keys() | _OTHERS
    for module, _, tree, integers in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = getattr(node.func, "id", getattr(node.func, "attr", ""))
                steps = [each for step in node.args[_STEPS.get(function, slice(0))] for each in ast.walk(step)]
                for step in steps:
                    if isinstance(step, ast.Name) and step.id in integers:
                        assert f"{module}:{step.id}" in known, f"line {node.lineno}"


def _values(value: Any) -> list[Any]:
    """All numbers and texts of a nested result, in order."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, torch.Tensor):
        value = value.double().flatten().tolist()
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in _values(each)]
    return [value]


def _results(folder: Path) -> list[Any]:
    # of numbers that neither size divides, with copies at places without a period, within a set and in both
    real, fake, others = (
        some_images(count, seed).permute(0, 2, 3, 1).numpy().copy() for seed, count in enumerate((37, 29, 17))
    )
    for copy, place in ((0, 35), (1, 8), (1, 22), (4, 31), (9, 17), (12, 13), (20, 36)):
        real[place] = real[copy]
    for copy, place in ((0, 1), (1, 6), (5, 3), (8, 16), (10, 27), (21, 28), (25, 14), (30, 11)):
        fake[place] = real[copy]
    for copy, place in ((2, 3), (11, 4), (19, 16)):
        others[place] = fake[copy]
    extractor, found = DNAExtractor(Polynomials()), []
    found.append(compare(real, fake, extractor, metrics=list(of_any_network()), num_folds=6).to_dict())
    rankings = [
        rank(others, real, extractor, nearest=fake),
        rank(others, real, extractor, score="local"),
        rank(real, real, extractor, nearest=real),
        rank(others, real, extractor, contrast=fake, ranges="auto", num_bins=31),
    ]
    for ranking in rankings:
        found += [ranking.scores, ranking.numbers, ranking.maps(range(3))]
    for nearest in (rankings[0].nearest, rankings[2].nearest):
        found += [nearest.distances, nearest.ratios, nearest.names, nearest.copies]
    found += [rankings[0].typical, rankings[-1].typical]
    dna = make_dna(real, extractor, num_bins=31)
    dna.save(folder / "x.dna.npz")
    reference = make_dna(fake, extractor, num_bins=250, num_folds=6)
    found += [dna.counts, [fold.counts for fold in reference.folds]]
    for metric in (DNAEMD(extractor, num_folds=6, num_bins=250), DNAFrechet(extractor, debias=True, reduction="none")):
        for side, images in ((True, real), (False, fake)):
            for part in torch.from_numpy(images).permute(0, 3, 1, 2).split(25):
                metric.update(part, real=side)
        found += [metric.compute(), metric.evidence().test.neurons, metric.evidence().neurons]
    realism = DNARealism(extractor, reference=folder / "x.dna.npz")
    realism.update(torch.from_numpy(others).permute(0, 3, 1, 2))
    found += [realism.compute(), realism.map(torch.from_numpy(others).permute(0, 3, 1, 2))]
    for make in (shards, packed_npz, parquet):
        parent = folder / make.__name__
        parent.mkdir(exist_ok=True)
        found.append(make_dna(make(parent), extractor, ranges="auto", num_bins=31).counts)
    return _values(found)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    folder = tmp_path_factory.mktemp("dna")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
        return _results(folder), folder


ARRIVING = {"extractors", "metrics"}  # whose blocks are what others get at a time


@pytest.mark.outer
@pytest.mark.parametrize("of_arriving", [True, False])
@pytest.mark.parametrize("size", [3, 11])
def test_results_stay(
    size: int, of_arriving: bool, usual: tuple[list[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    for name, before in _block_sizes().items():
        module, _, constant = name.partition(":")
        if (module.split(".")[0] in ARRIVING) is of_arriving:
            # of bins, as many as 2 or 7 histograms have, which are not all of a layer
            changed = size if before <= 4096 else 21 * size + 1
            monkeypatch.setattr(import_module(f"torchmetrics_dna.{module}"), constant, changed)
    expected, folder = usual
    assert _results(folder) == [
        pytest.approx(value, rel=1e-9, abs=1e-13, nan_ok=True) if isinstance(value, float) else value
        for value in expected
    ]
