"""Small networks whose activations are exact and cheap."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchmetrics_dna import ActivationRanges, DNAExtractor


class Outputs(nn.Module):
    """Network whose output is a function of the images."""

    def __init__(self, outputs: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, imgs: Tensor) -> object:
        return self.outputs(imgs)


class Pixels(nn.Module):
    """Activations that are simple sums of pixels, so equal for any batch size and order.

    ``each_pass`` sees the images and the activations of each pass, to count, watch or spoil them, and returns them.
    """

    each_pass: Callable[[Tensor, dict[str, Tensor]], dict[str, Tensor]] | None = None

    def forward(self, imgs: Tensor) -> dict[str, Tensor]:
        pixels = imgs.float()
        outputs = {"colours": pixels, "contrast": pixels[:, :, 1:] - pixels[:, :, :-1], "mean": pixels.mean((2, 3))}
        return outputs if self.each_pass is None else self.each_pass(imgs, outputs)


class Convolutions(nn.Module):
    """Three named submodules, one of them never needed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Linear(8, 5)

    def forward(self, imgs: Tensor) -> Tensor:
        return self.classifier(self.body(self.stem(imgs)).mean((2, 3)))


def pixels(**options: bool) -> tuple[DNAExtractor, ActivationRanges]:
    """An extractor over :class:`Pixels`, with ranges that hold all its activations."""
    extractor = DNAExtractor(Pixels(), **options)
    extremes = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    extremes[0, :, ::2] = 255
    extremes[1, :, 1::2] = 255
    return extractor, ActivationRanges.observe(extractor(extremes))


def random_images(count: int, seed: int, size: tuple[int, int] = (12, 10)) -> Tensor:
    """uint8 images of noise; for what depends on counts alone, not on what pictures show."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)
