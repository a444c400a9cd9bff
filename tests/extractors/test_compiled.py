"""Modules that ``torch.compile`` compiled give the activations of the modules as they were before."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor


class Scaled(nn.Module):
    """Run a module on images in [0, 1], with methods of tensors that differ by name alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module((images.float() / 255 - 0.1) / 0.9)


class LinearHead(nn.Module):
    """Convolutions and a linear head on the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 8)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.middle(torch.relu(self.stem(images)))
        return self.head(maps.movedim(1, -1)).movedim(-1, 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]


def hugging_face() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    class LastTokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = ViTConfig(
                hidden_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=24,
                patch_size=8,
            )
            self.model = ViTModel(config)

        def forward(self, images: Tensor) -> Tensor:
            return self.model(images).last_hidden_state

    return LastTokens()


MODULES: dict[str, Callable[[], nn.Module]] = {
    "padded convolution": lambda: nn.Conv2d(3, 8, 3, padding=1),
    "strided convolutions": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2)),
    "padding by name": lambda: nn.Sequential(nn.Conv2d(3, 8, 4, padding="same"), nn.GELU()),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
    "transposed convolution": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 3, stride=2)),
    "linear head": LinearHead,
    "attention": Attention,
    "pooled": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    "timm": lambda: timm.create_model("resnet10t", pretrained=False, num_classes=6),
    "Hugging Face": hugging_face,
}
IMAGES = torch.randint(0, 256, (12, 3, 24, 24), generator=torch.Generator().manual_seed(0)).byte()


# A module of the user's stays in the mode in which it was, and is in evaluation mode while the extractor runs it.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "is_training"),
    [
        ("eager", False),
        ("eager", True),
        ("aot_eager", False),
        pytest.param("inductor", False, marks=pytest.mark.outer),
    ],
)
@pytest.mark.parametrize("name", MODULES)
def test_a_compiled_module_gives_the_activations_of_the_plain_one(name: str, backend: str, is_training: bool) -> None:
    torch.manual_seed(0)
    plain = Scaled(MODULES[name]()).train(is_training)
    compiled = torch.compile(copy.deepcopy(plain), backend=backend)
    of_plain = DNAExtractor(plain, input_size=24)
    of_compiled = DNAExtractor(compiled, input_size=24)
    for count in (12, 12, 5):
        (expected,) = of_plain(IMAGES[:count]).values()
        (found,) = of_compiled(IMAGES[:count]).values()
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert compiled.training is is_training
    with torch.no_grad():
        by_hand = compiled.eval()(IMAGES)
        assert torch.allclose(by_hand, plain.eval()(IMAGES), rtol=1e-4, atol=1e-5)
