"""Features of published numbers: FD-DINOv2's class token with either resize, CMMD's embedding; against others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from official import clip_with_projection, dinov2
from PIL import Image
from torch import Tensor

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.statistics.setup import extractor_of

PHOTOS = [np.ascontiguousarray(photo) for photo in photographs(2)]


def by_torch(photo: np.ndarray, size: int) -> np.ndarray:
    """Resize like EDM2: floats from 0 to 255, neither rounded nor clipped; (3, size, size)."""
    batch = torch.from_numpy(photo.transpose(2, 0, 1)).float()[None]
    return torch.nn.functional.interpolate(batch, (size, size), mode="bicubic", antialias=True)[0].numpy()


def by_pillow(photo: np.ndarray, size: int) -> np.ndarray:
    """Resize like torchvision for dgm-eval."""
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def normalised(photos: list[np.ndarray], resize: Callable[..., np.ndarray], name: str) -> Tensor:
    preset = PRESETS[name]
    images = torch.stack([torch.from_numpy(resize(photo, preset.input_size[0]).copy()).float() for photo in photos])
    return (images / 255 - torch.tensor(preset.mean)[:, None, None]) / torch.tensor(preset.std)[:, None, None]


def shallow(monkeypatch: pytest.MonkeyPatch, name: str, depth: int, layers: list[str]) -> None:
    """Reduce a preset to the first blocks of its network and some layers."""
    preset = PRESETS[name]
    chosen = [layer for layer in preset.submodules if layer in layers]
    of_layers = {
        field: {layer: getattr(preset, field)[layer] for layer in chosen} for field in ("submodules", "neurons")
    }
    monkeypatch.setitem(PRESETS, name, replace(preset, options={**preset.options, "depth": depth}, **of_layers))


def close(actual: Tensor, expected: Tensor) -> bool:
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[[Tensor], Tensor]]:
    """An official file of random weights, and transformers' class token after the final norm."""
    torch.manual_seed(0)
    official = dinov2(depth=1)
    path = tmp_path_factory.mktemp("dinov2") / "dinov2.pth"
    torch.save(official.content, path)
    return path, lambda images: official.activations(images)["last_norm"][:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "resize"), [("dinov2_edm2", by_torch), pytest.param("dinov2_dgm_eval", by_pillow, marks=pytest.mark.outer)]
)
def test_fd_dinov2_is_of_the_class_token(
    name: str,
    resize: Callable[..., np.ndarray],
    dino: tuple[Path, Callable[[Tensor], Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path, class_token = dino
    shallow(monkeypatch, name, 1, ["class_token"])
    extractor = DNAExtractor(name, weights_path=path)
    expected = class_token(normalised(PHOTOS, resize, name))
    tensors = torch.from_numpy(np.stack(PHOTOS)).movedim(3, 1)
    activations = extractor(tensors)["class_token"]
    assert close(activations, expected)
    other = by_pillow if resize is by_torch else by_torch
    assert not close(activations, class_token(normalised(PHOTOS, other, name)))

    for i, photo in enumerate(PHOTOS):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    dna = make_dna(tmp_path, extractor, kind="layer-gaussian")
    assert close(dna.mean.float(), expected.mean(0)), "files are resized as tensors are"
    assert (dna.preparation or {})["resize"] == extractor.resize
    assert extractor_of(dna, weights_path=path).resize == extractor.resize
    with pytest.raises(ValueError, match=r"image preparations \(resize\) differ: '(torch|pillow)' and 'clean'"):
        compare(PHOTOS, dna, DNAExtractor(name, weights_path=path, resize="clean"), metrics=["fd"])


@pytest.mark.outer
def test_cmmd_is_of_the_normalised_embedding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "clip_vit_large_336"
    torch.manual_seed(0)
    official = clip_with_projection(1)
    torch.save(official.content, tmp_path / "clip.pth")
    shallow(monkeypatch, name, 1, ["block_0", "last_norm", "projected"])
    extractor = DNAExtractor(name, weights_path=tmp_path / "clip.pth", layers=["last_norm", "projected"])
    tensors = torch.from_numpy(np.stack(PHOTOS)).movedim(3, 1)
    activations = extractor(tensors)
    assert {layer: x.shape for layer, x in activations.items()} == {"last_norm": (2, 1024), "projected": (2, 768)}
    assert close(activations["projected"], official.activations(normalised(PHOTOS, by_pillow, name))["projected"])
