from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from networks import Convolutions
from safetensors.torch import save_file

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.extractors.weights import find_weights, load_weights

DEFAULT = PRESETS["efficientnet_lite0"]


def test_the_wheel_matches_timm_by_order() -> None:
    official = torch.load(find_weights(DEFAULT, weights_path=None), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    tensors = [tensor for name, tensor in official.items() if not name.endswith("num_batches_tracked")]
    assert len(names) == len(tensors) == 247
    load_weights(network, find_weights(DEFAULT, weights_path=None), DEFAULT)
    loaded = network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in zip(names, tensors, strict=True))


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "safetensors"])
def test_files_of_every_form(tmp_path: Path, key: str | None) -> None:
    source, target = Convolutions(), Convolutions()
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    path = tmp_path / ("w.safetensors" if key == "safetensors" else "w.pth")
    if key == "safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save({key: source.state_dict(), "epoch": 3} if key else source.state_dict(), path)
    load_weights(target, path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def resampled(grid: np.ndarray, size: int) -> np.ndarray:
    """Bicubic interpolation (a = -0.75) of the first axis, whose scale is that of ``size + 0.1``, as in DINOv2."""
    old = len(grid)
    weights = np.zeros((size, old))
    for place in range(size):
        centre = (place + 0.5) * old / (size + 0.1) - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            x = abs(centre - tap)
            near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[place, min(max(tap, 0), old - 1)] += near if x <= 1 else far
    return np.tensordot(weights, grid, 1)


def small_vit() -> torch.nn.Module:
    """Vision transformer with a grid of 10 x 10 positions and 64 neurons."""
    size = {"img_size": 160, "embed_dim": 64, "depth": 2, "num_heads": 2}
    network: torch.nn.Module = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **size)
    return network


@pytest.mark.parametrize("side", [10, 7])
def test_official_names_and_another_grid_are_translated(side: int, tmp_path: Path) -> None:
    source, target = (small_vit() for _ in range(2))
    expected = source.state_dict()
    assert expected["pos_embed"].shape == (1, 1 + 10 * 10, 64)
    positions = torch.randn(1, 1 + side * side, 64)
    official = {f"teacher.{name.replace('.mlp.', '.feed.')}": tensor for name, tensor in expected.items()}
    official |= {"teacher.pos_embed": positions, "head.weight": torch.zeros(3), "teacher.head.bias": torch.zeros(3)}
    torch.save(official, tmp_path / "official.pth")
    preset = replace(
        DEFAULT, architecture="timm:vit_tiny_patch16_224", prefix="teacher.", unused=("head.",), by_order=False
    )
    preset = replace(preset, renames={r"\.feed\.": ".mlp."})
    load_weights(target, tmp_path / "official.pth", preset)
    grid = positions[0, 1:].reshape(side, side, 64).numpy().astype(np.float64)
    columns = resampled(np.swapaxes(resampled(grid, 10), 0, 1), 10) if side != 10 else np.swapaxes(grid, 0, 1)
    tokens = np.concatenate([positions[0, :1].numpy(), np.swapaxes(columns, 0, 1).reshape(100, 64)])
    for name, tensor in target.state_dict().items():
        wanted = torch.from_numpy(tokens[None]).float() if name == "pos_embed" else expected[name]
        torch.testing.assert_close(tensor, wanted, rtol=0, atol=1e-5 * (name == "pos_embed" and side != 10), msg=name)


def test_a_timm_name_brings_timms_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    torch.nn.init.constant_(network.norm.bias, 3.5)
    snapshot = tmp_path / f"models--{network.pretrained_cfg['hf_hub_id'].replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        RuntimeError, match=r"timm can't fetch the weights of 'vit_tiny_patch16_224' \(.*`weights_path`"
    ):
        DNAExtractor("vit_tiny_patch16_224")
    save_file(network.state_dict(), snapshot / "model.safetensors")
    extractor = DNAExtractor("vit_tiny_patch16_224")
    assert dict(extractor.neurons) == {**{f"blocks.{i}": 192 for i in range(12)}, "norm": 192}
    assert float(extractor.network.norm.bias.detach().sum()) == 192 * 3.5


def test_an_error_without_words_is_told_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(RuntimeError, match=r"timm can't fetch the weights of 'vit_tiny_patch16_224' \(OSError\)"):
        DNAExtractor("vit_tiny_patch16_224")


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return Path("owned").touch, ()


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"stem.weight": Malicious()}, protocol=2))
    with pytest.raises(ValueError, match=r"w\.pth is not a state dict that can be loaded without running code"):
        load_weights(Convolutions(), tmp_path / "w.pth")
    assert not (tmp_path / "owned").exists()


def test_errors_name_the_file_and_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file of weights 'missing'"):
        load_weights(Convolutions(), "missing")
    state = Convolutions().state_dict()
    del state["stem.bias"]
    state["body.1.weight"] = torch.zeros(1)
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    expected = r"1 missing \(stem.bias ...\); 1 unexpected \(extra ...\); 1 of another shape \(body.1.weight ...\)"
    with pytest.raises(ValueError, match=expected):
        load_weights(Convolutions(), tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="is not a state dict"):
        load_weights(Convolutions(), tmp_path / "list.pth")
    for damaged in (b"\x80\x02.", b"\x80\x02h\x01."):  # what raises IndexError and KeyError as it is unpickled
        (tmp_path / "damaged.pth").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged.pth is not a state dict that can be loaded without running code"):
            load_weights(Convolutions(), tmp_path / "damaged.pth")
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    with pytest.raises(ValueError, match="it holds other things than tensors"):
        load_weights(Convolutions(), tmp_path / "numbers.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "short.pth")
    with pytest.raises(ValueError, match="`weights_path` expected a file of 247 tensors, but got one of 1; pass"):
        DNAExtractor(weights_path=tmp_path / "short.pth")


def test_a_folder_of_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has none of vgg16.safetensors, vgg16.pth, vgg16.pt, vgg16-397923af"):
        find_weights(PRESETS["vgg16"], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has none of .*, Mugs/mugs_vit_base/weights.pth"):
        find_weights(PRESETS["mugs_vit_base"], tmp_path)
    (tmp_path / "vgg16-397923af.pth").touch()
    assert find_weights(PRESETS["vgg16"], tmp_path).name == "vgg16-397923af.pth"
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    save_file(network.state_dict(), tmp_path / "efficientnet_lite0.safetensors")
    assert DNAExtractor(weights_path=tmp_path).ranges is None
    ranges = DNAExtractor().ranges
    assert ranges is not None
    ranges.save(tmp_path / "efficientnet_lite0.ranges.json")
    extractor = DNAExtractor(weights_path=tmp_path)
    assert extractor.ranges is not None
    assert extractor.ranges.digest == ranges.digest
    assert torch.equal(extractor.network.conv_stem.weight, network.conv_stem.weight)
