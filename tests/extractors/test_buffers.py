"""Results that are written into an input: torch's values, and nothing that is read later changes."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.capture import capture, probe
from torchmetrics_dna.extractors.cpu import rounding_alike

CPU, SIZE = torch.device("cpu"), (32, 40)


class Small(nn.Module):
    """Convolution, batch normalization, and a linear layer between two functions that a case chooses."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self.conv, self.norm, self.same = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8).eval(), nn.Identity()
        self.fc, self.act, self.relu = nn.Linear(8, 16), nn.GELU(), nn.ReLU(inplace=True)
        self.case = case
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var)

    def forward(self, imgs: Tensor) -> tuple[Tensor, ...]:
        maps = self.conv(imgs)
        normal = self.same(self.relu(self.norm(maps)))
        rows = self.fc(normal.mean((2, 3)))
        active = self.act(rows)
        if self.case == "read later":
            return normal + maps, torch.cat([active, rows], 1)
        if self.case == "a view is read later":
            return normal + maps.view_as(maps), active[:, :8] + rows[:, :8]
        if self.case == "in a list":
            return torch.stack([normal, maps]).sum(0), torch.stack([active, rows]).sum(0)
        return (normal, maps, active, rows) if self.case == "returned" else (normal, active)


CASES = [
    ("chain", {"normal": "same", "active": "act"}, {0, 1}),
    ("chain", {"maps": "conv", "active": "act"}, {1}),
    ("chain", {"maps": "conv", "rows": "fc"}, set()),
    *((case, {}, set()) for case in ("read later", "a view is read later", "in a list", "returned")),
]


def check(network: nn.Module, submodules: dict[str, str], imgs: Tensor) -> frozenset[int]:
    """Activations are those without such calls, which are returned."""
    reusable = probe(network, submodules, imgs.shape[2:]).reusable
    activations = []
    for calls in (frozenset[int](), reusable):
        with torch.inference_mode(), rounding_alike(CPU, calls):
            activations.append(capture(network, submodules, imgs))
    assert activations[0].keys() == activations[1].keys()
    assert all(map(torch.equal, *(each.values() for each in activations)))
    return reusable


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize(("case", "submodules", "expected"), CASES)
def test_what_is_read_later_stays(case: str, submodules: dict[str, str], expected: set[int], last: bool) -> None:
    network = Small(case).to(memory_format=torch.channels_last if last else torch.contiguous_format)
    assert check(network, submodules, torch.randn(3, 3, *SIZE)) == expected


def test_the_memory_is_that_of_the_input_unless_inputs_are_others_than_when_probed() -> None:
    network, addresses = Small("chain"), []
    reusable = probe(network, {}, SIZE).reusable
    for module in (network.conv, network.norm, network.fc, network.act):
        module.register_forward_hook(lambda _module, _args, output: addresses.append(output.data_ptr()))
    with torch.inference_mode(), rounding_alike(CPU, reusable):
        network(torch.randn(2, 3, *SIZE))
    assert addresses[::2] == addresses[1::2]
    with torch.inference_mode(), rounding_alike(CPU, frozenset({0, 1, 2})):
        imgs = torch.randn(2, 3, 4, 4)
        half = functional.conv2d(imgs.bfloat16(), torch.ones(3, 3, 1, 1, dtype=torch.bfloat16))
        before = imgs.clone(), half.clone()
        nn.BatchNorm2d(3).eval()(imgs)
        functional.gelu(half)
        assert torch.equal(imgs, before[0])
        assert torch.equal(half, before[1])


OF_TIMM = {
    "test_resnet": ["conv1", "layer1", "layer3"],
    "test_vit": ["patch_embed", "blocks.2", "norm"],
    "test_efficientnet": ["conv_stem", "blocks.1", "bn2"],
    "test_convnext": ["stem", "stages.1", "stages.3"],
    "densenet121": ["features.denseblock1", "features.denseblock3"],
}


@pytest.mark.parametrize("name", OF_TIMM)
def test_networks_of_timm(name: str) -> None:
    network = timm.create_model(name).eval().to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    side = 160 if "vit" in name else 64
    assert check(network, {path: path for path in OF_TIMM[name]}, torch.randn(2, 3, side, side))
