"""Results that are written into an input: torch's values, and nothing that is read later changes."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.capture import capture, probe
from torchmetrics_dna.extractors.cpu import rounding_alike

SIZE = 32, 40


class Small(nn.Module):
    """Convolution, batch normalization, and a linear layer between two functions that a case chooses."""

    def __init__(self, case):
        super().__init__()
        self.conv, self.norm, self.same = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8).eval(), nn.Identity()
        self.fc, self.act, self.relu = nn.Linear(8, 16), nn.GELU(), nn.ReLU(inplace=True)
        self.case = case
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var)

    def forward(self, imgs):
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
        if self.case == "returned":
            return normal, maps, active, rows
        return normal, active


CASES = [
    ("chain", {"normal": "same", "active": "act"}, {0, 1}),
    ("chain", {"maps": "conv", "active": "act"}, {1}),
    ("chain", {"maps": "conv", "rows": "fc"}, set()),
    ("read later", {}, set()),
    ("a view is read later", {}, set()),
    ("in a list", {}, set()),
    ("returned", {}, set()),
]


def passes(network, submodules, imgs, reusable):
    """Activations without and with calls that write into their input."""
    with torch.inference_mode():
        for calls in (frozenset(), reusable):
            with rounding_alike(imgs.device, calls):
                yield capture(network, submodules, imgs)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize(("case", "submodules", "expected"), CASES)
def test_what_is_read_later_stays(case, submodules, expected, last):
    torch.manual_seed(0)
    network = Small(case).to(memory_format=torch.channels_last if last else torch.contiguous_format)
    probed = probe(network, submodules, SIZE)
    assert probed.reusable == expected
    plain, reused = passes(network, submodules, torch.randn(3, 3, *SIZE), probed.reusable)
    assert plain.keys() == reused.keys()
    for layer, values in plain.items():
        assert torch.equal(values, reused[layer]), layer


def test_the_memory_is_that_of_the_input():
    network, addresses = Small("chain"), []
    reusable = probe(network, {}, SIZE).reusable
    for module in (network.conv, network.norm, network.fc, network.act):
        module.register_forward_hook(lambda _module, _args, output: addresses.append(output.data_ptr()))
    with torch.inference_mode(), rounding_alike(torch.device("cpu"), reusable):
        network(torch.randn(2, 3, *SIZE))
    conv, norm, fc, act = addresses
    assert conv == norm
    assert fc == act


def test_other_inputs_than_when_probed_are_not_written_to():
    module = nn.BatchNorm2d(3).eval()
    with torch.inference_mode(), rounding_alike(torch.device("cpu"), frozenset({0, 1, 2})):
        imgs = torch.randn(2, 3, 4, 4)
        half = functional.conv2d(imgs.bfloat16(), torch.ones(3, 3, 1, 1, dtype=torch.bfloat16))
        before = imgs.clone(), half.clone()
        module(imgs)
        functional.gelu(half)
        assert torch.equal(imgs, before[0])
        assert torch.equal(half, before[1])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "densenet121"])
def test_networks_of_timm(name):
    torch.manual_seed(0)
    network = timm.create_model(name).eval().to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    size = (160, 160) if "vit" in name else (64, 64)
    layers = {path: path for path, module in network.named_modules() if path.count(".") == 1}
    ran: list[str] = []

    def note(path: str):
        return lambda _module, _args, output: ran.append(path) if isinstance(output, Tensor) else None

    handles = [network.get_submodule(path).register_forward_hook(note(path)) for path in layers]
    imgs = torch.randn(2, 3, *size).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(imgs)
    for handle in handles:
        handle.remove()
    submodules = {path: path for path in layers if ran.count(path) == 1}
    probed = probe(network, submodules, size)
    assert probed.reusable
    plain, reused = passes(network, submodules, imgs, probed.reusable)
    assert all(torch.equal(plain[layer], reused[layer]) for layer in submodules)
