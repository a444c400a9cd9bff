"""Constants that say how much is done at a time change no number."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slowly import Polynomials, some_images

import torchmetrics_dna
from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, DNARealism, compare, make_dna, rank
from torchmetrics_dna.dna.distances import DISTANCES

_CONSTANT = re.compile(r"^(_?[A-Z][A-Z_]*) = ([\d_]+(?: << \d+)?)  # .*(?:at a time|of a tile|of a task)", re.MULTILINE)
_ROOT = Path(torchmetrics_dna.__file__).parent


def _block_sizes() -> Iterator[tuple[str, int]]:
    """Yield each constant, and its size; those of Triton have tests of their own."""
    for path in sorted(_ROOT.rglob("*.py")):
        if path.name != "cuda.py":
            module = ".".join(("torchmetrics_dna", *path.relative_to(_ROOT).with_suffix("").parts))
            for match in _CONSTANT.finditer(path.read_text(encoding="utf-8")):
                number, _, shift = match[2].partition(" << ")
                yield f"{module}:{match[1]}", int(number) << int(shift or 0)


def _numbers(value: Any) -> list[float]:
    """All numbers of a nested result, in order."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, torch.Tensor):
        value = value.double().flatten().tolist()
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in _numbers(each)]
    return [float(value)] if isinstance(value, (int, float)) else []


def _results(folder: Path) -> list[float]:
    real, fake, others = (
        some_images(count, seed).permute(0, 2, 3, 1).numpy().copy() for seed, count in enumerate((23, 19, 9))
    )
    fake[3] = real[5]  # a picture that both have
    extractor, found = DNAExtractor(Polynomials()), []
    found.append(compare(real, fake, extractor, metrics=list(DISTANCES), num_folds=6).to_dict())
    rankings = [
        rank(others, real, extractor, nearest=fake),
        rank(others, real, extractor, score="local"),
        rank(others, real, extractor, contrast=fake, ranges="auto", num_bins=31),
    ]
    for ranking in rankings:
        found += [ranking.scores, ranking.numbers, ranking.maps(range(3))]
    found += [rankings[0].typical, rankings[2].typical, rankings[0].nearest.distances, rankings[0].nearest.ratios]
    dna = make_dna(real, extractor, num_bins=31)
    dna.save(folder / "x.dna.npz")
    reference = make_dna(fake, extractor, num_bins=250, num_folds=6)
    found += [dna.counts, [fold.counts for fold in reference.folds]]
    for metric in (DNAEMD(extractor, num_folds=6, num_bins=250), DNAFrechet(extractor, debias=True, reduction="none")):
        for side, images in ((True, real), (False, fake)):
            for part in torch.from_numpy(images).permute(0, 3, 1, 2).split(7):
                metric.update(part, real=side)
        found += [metric.compute(), metric.evidence().test.neurons, metric.evidence().neurons]
    realism = DNARealism(extractor, reference=folder / "x.dna.npz")
    realism.update(torch.from_numpy(others).permute(0, 3, 1, 2))
    with tarfile.open(folder / "x.tar", "w") as archive:
        for number, image in enumerate(real[:4]):
            Image.fromarray(image).save(folder / f"{number}.png")
            archive.add(folder / f"{number}.png", f"{number}.png")
    np.savez_compressed(folder / "x.npz", images=real)
    found += [make_dna(folder / name, extractor, ranges="auto", num_bins=31).counts for name in ("x.tar", "x.npz")]
    return _numbers([*found, realism.compute(), realism.map(torch.from_numpy(others).permute(0, 3, 1, 2))])


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], Path]:
    folder = tmp_path_factory.mktemp("dna")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
        return _results(folder), folder


@pytest.mark.outer
@pytest.mark.parametrize("room", ["binning", "functional", "images", "singles"])
def test_numbers_stay(room: str, usual: tuple[list[float], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    sizes = {name: size for name, size in _block_sizes() if name.split(".")[1] == room}
    assert sizes
    for name, size in sizes.items():
        module, _, constant = name.partition(":")
        monkeypatch.setattr(import_module(module), constant, 3 if size <= 4096 else 97)
    expected, folder = usual
    assert _results(folder) == pytest.approx(expected, rel=1e-9, abs=1e-13, nan_ok=True)
