"""The named extractors: the networks that they say they are, with the official layers, weights and images.

With features of published numbers: FD-DINOv2's class token with either resize, CMMD's embedding.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dnas
import numpy as np
import pytest
import skimage.data
import timm
import torch
from official import SHALLOW, clip_with_projection, dinov2, random_official, small_inception_of_fid
from PIL import Image
from torch import Tensor

from torchmetrics_dna import DNAExtractor, compare, demo, make_dna
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.extractors.build import build_network
from torchmetrics_dna.extractors.inception import fid_inception
from torchmetrics_dna.extractors.probing import probe
from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.statistics.setup import extractor_of

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def tokens(depth: int, width: int) -> dict[str, int]:
    return {f"block_{i}": width for i in range(depth)} | {"last_norm": width}


RESNET50 = {f"layer{s}_{i}": 128 * 2**s for s, depth in enumerate((3, 4, 6, 3), 1) for i in range(depth)}
VGG16 = {
    f"relu_{s}_{i}": n
    for s, (n, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1)
    for i in range(1, depth + 1)
}
# name: layers with their neurons, all neurons, size, mean and std
FACTS = {
    "efficientnet_lite0": (dict(PRESETS["efficientnet_lite0"].neurons), 2064, 224, HALF),
    "mugs_vit_base": (tokens(12, 768), 9984, 224, IMAGENET),
    "mugs_vit_large": (tokens(24, 1024), 25600, 224, IMAGENET),
    "dino_vit_base": (tokens(12, 768), 9984, 224, IMAGENET),
    "dino_resnet50": (RESNET50, 15104, 224, IMAGENET),
    "clip_im_vit_b16": (tokens(12, 768), 9984, 224, CLIP),
    "inception": ({"block_0": 64, "block_1": 192, "block_2": 768, "block_3": 2048}, 3072, 299, HALF),
    "inception_fid": ({"spatial": 2023, "block_3": 2048, "logits": 1008}, 5079, 299, ((128 / 255,) * 3,) * 2),
    "vgg16": (VGG16, 4224, 224, IMAGENET),
    "rand_resnet50": (RESNET50, 15104, 224, IMAGENET),
    "sd_vae_encoder": ({"latent": 4}, 4, 512, HALF),
    "hrnet_w48": ({"last_layer": 720}, 720, 224, IMAGENET),
    "dinov2_vit_large": (tokens(24, 1024), 25600, 224, IMAGENET),
    "dinov2_edm2": ({"class_token": 1024}, 1024, 224, IMAGENET),
    "dinov2_dgm_eval": ({"class_token": 1024}, 1024, 224, IMAGENET),
    "clip_vit_large_336": (tokens(24, 1024) | {"projected": 768}, 26368, 336, CLIP),
}
RESIZES = {
    "inception_fid": "tensorflow",
    "dinov2_edm2": "torch",
    "dinov2_dgm_eval": "pillow",
    "clip_vit_large_336": "pillow",
}
POSITIONS = {"inception": [73**2, 35**2, 17**2, 1], "sd_vae_encoder": [64**2], "hrnet_w48": [56**2]}
# below are those that resize in other ways; rand_resnet50 is dino_resnet50 with other weights
OFFICIAL = [
    *(name for name in FACTS if name not in ("efficientnet_lite0", "rand_resnet50", *RESIZES)),
    "hrnet_w48, MSeg",
]


def with_gate(cases: Iterable[str], *gate: str) -> list[Any]:
    """Cases, all of which are outer but those of the gate."""
    return [pytest.param(case, marks=[] if case in gate else pytest.mark.outer) for case in cases]


def photographs(size: int) -> Tensor:
    """Two squares of a photograph, of the size that the network takes."""
    photograph = torch.from_numpy(skimage.data.astronaut()).movedim(2, 0)
    return torch.stack([photograph[:, :size, :size], photograph[:, -size:, -size:].flip(2)])


def test_every_preset_is_in_the_table() -> None:
    assert list(FACTS) == list(PRESETS)


@pytest.mark.parametrize("name", FACTS)
def test_layers_and_images_are_the_official_ones(name: str) -> None:
    layers, total, size, (mean, std) = FACTS[name]
    preset = PRESETS[name]
    assert dict(preset.neurons) == layers
    assert list(preset.neurons) == list(preset.submodules) == list(layers)
    assert sum(layers.values()) == total
    assert (preset.input_size, preset.mean, preset.std) == ((size, size), mean, std)
    assert preset.resize == RESIZES.get(name, "clean")
    assert preset.licence


@pytest.mark.parametrize("name", with_gate(FACTS, "efficientnet_lite0", "dino_vit_base", "dino_resnet50"))
def test_the_network_has_these_layers(name: str) -> None:
    preset = PRESETS[name]
    submodules = {layer: View.of(path).source for layer, path in preset.submodules.items()}
    shapes = probe(build_network(preset), submodules, preset.input_size, 3).shapes
    for layer, width in FACTS[name][0].items():
        of_tokens = len(shapes[layer]) == 3
        assert shapes[layer][2 if of_tokens else 1] == width
    if name in POSITIONS:
        assert [shape[2:].numel() for shape in shapes.values()] == POSITIONS[name]


def shallow(monkeypatch: pytest.MonkeyPatch, name: str, depth: int, layers: Iterable[str]) -> None:
    """Reduce a preset to the first blocks of its network and some layers."""
    preset = PRESETS[name]
    fields = {field: {layer: getattr(preset, field)[layer] for layer in layers} for field in ("submodules", "neurons")}
    monkeypatch.setitem(PRESETS, name, replace(preset, options={**preset.options, "depth": depth}, **fields))


@pytest.mark.slow
@pytest.mark.parametrize("case", with_gate(OFFICIAL, "dino_resnet50"))
def test_an_official_file_gives_the_official_numbers(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = case.split(",")[0]
    layers, _, size, (mean, std) = FACTS[name]
    size = 256 if name == "sd_vae_encoder" else size  # which takes any, and long for its own
    if name in SHALLOW:
        layers = tokens(SHALLOW[name], layers["last_norm"])
        shallow(monkeypatch, name, SHALLOW[name], layers)
    official = random_official(case, tmp_path)
    torch.save(official.content, tmp_path / "official.pth")
    extractor = DNAExtractor(name, weights_path=tmp_path / "official.pth", input_size=size)
    assert dict(extractor.neurons) == layers
    images = photographs(size)[: 1 if name == "sd_vae_encoder" else 2]
    normalised = (images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    expected = official.activations(normalised)
    activations = extractor(images)
    assert list(activations) == list(layers)
    for layer, values in activations.items():
        expected_values = expected[layer]
        if name.endswith(("base", "large", "b16")) and expected_values.ndim == 3:
            expected_values = expected_values.transpose(1, 2)
        assert values.shape == expected_values.shape
        assert float((values - expected_values).abs().max() / expected_values.abs().max()) < 1e-5, layer


def test_the_network_of_fid_pools_like_tensorflow(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 107, 107)
    state, logits, spatial = small_inception_of_fid(tmp_path, images)
    (network := fid_inception()).load_state_dict(state)
    seen: list[Tensor] = []
    network.Mixed_6d.branch1x1.first_channels.register_forward_hook(lambda _m, _a, output: seen.append(output))
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(images), logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))
    torch.testing.assert_close(seen[0], spatial, rtol=1e-4, atol=1e-5 * float(spatial.abs().max()))


def test_without_weights_a_network_takes_no_memory() -> None:
    assert {parameter.device.type for parameter in build_network(PRESETS["vgg16"]).parameters()} == {"meta"}


IMPORTS = """
import sys
import torch
from torchmetrics_dna.extractors.build import build_network
from torchmetrics_dna.extractors.presets import PRESETS

class Finder:
    def find_spec(self, name, path=None, target=None):
        assert not torch.empty(0).is_meta, name

sys.meta_path.insert(0, Finder())
for name in ("inception", "vgg16", "efficientnet_lite0", "hrnet_w48", "sd_vae_encoder"):
    build_network(PRESETS[name])
"""


@pytest.mark.outer
def test_nothing_is_imported_while_tensors_take_no_memory() -> None:
    """Tensors that a module makes on import must have values: with torch 2.8, torchvision's import fails without."""
    process = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


PHOTOS = [np.ascontiguousarray(photo) for photo in demo.photographs(2)]


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
    with pytest.raises(ValueError, match=r"their preparations \(resize\) differ: '(torch|pillow)' and 'clean'"):
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


def test_the_final_norm_has_two_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The layer has the network's own name, so that DNAs by either name are of the same layer."""
    name = "dino_vit_base"
    shallow(monkeypatch, name, 1, ["block_0", "last_norm"])
    torch.manual_seed(0)
    network = timm.create_model("vit_base_patch16_224", depth=1, num_classes=0)
    torch.save(network.state_dict(), tmp_path / "dino.pth")
    path = {"weights_path": tmp_path / "dino.pth"}
    by_preset = [DNAExtractor(name, layers=["block_0", norm], **path) for norm in ("last_norm", "norm")]
    by_timm = [DNAExtractor(network, layers=["blocks.0", norm]) for norm in ("last_norm", "norm")]
    assert [list(extractor.neurons) for extractor in by_preset] == [["block_0", "last_norm"]] * 2
    assert [list(extractor.neurons) for extractor in by_timm] == [["blocks.0", "norm"]] * 2
    assert by_preset[0].digest == by_preset[1].digest
    assert by_timm[0].digest == by_timm[1].digest
    photos = torch.from_numpy(np.stack(PHOTOS)).movedim(3, 1)
    activations = [extractor(photos)["norm"] for extractor in by_timm]
    assert torch.equal(*activations)
    assert list(DNAExtractor(network, layers=["last_norm:class"]).neurons) == ["norm:class"]
    assert list(DNAExtractor(name, layers=["norm:class", "properties"], **path).neurons) == [
        "last_norm:class", "properties",
    ]  # fmt: skip
    for feature, options in ((name, path), (network, {})):
        with pytest.raises(ValueError, match="expected to name each layer once, but got \\['norm', 'last_norm'\\]"):
            DNAExtractor(feature, layers=["norm", "last_norm"], **options)
        with pytest.raises(ValueError, match="^Unknown layer 'last_nrm'; the"):
            DNAExtractor(feature, layers=["last_nrm"], **options)
    with pytest.raises(ValueError, match="^Unknown layer 'last_norm'; the submodules"):
        DNAExtractor(timm.create_model("resnet18"), layers=["last_norm"])


def test_a_dna_of_an_unknown_network_says_to_give_it() -> None:
    with pytest.raises(ValueError, match="^Can't build the extractor 'mine' of this DNA; pass it as `feature`: "):
        extractor_of(replace(dnas.histogram(), extractor="mine"))
