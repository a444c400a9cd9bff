"""Fixed inputs, of which fingerprints are taken: an image, or noise like an example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.extractors.probing import DUMMY_SIZE
from torchmetrics_dna.extractors.watch import digest_of
from torchmetrics_dna.images.inputs import Inputs, mapped, tensors_of

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.preparation import Preparation

# Size of the image if the network takes any size.
_SIZE = (64, 64)


class FixedInputs:
    """Fixed inputs of a network that takes images prepared in this way, or inputs like the example."""

    def __init__(self, preparation: Preparation, example: Inputs | None) -> None:
        self._preparation = preparation
        self._like_example: list[Inputs] = []
        if example is not None:
            # Some modules fail on noise, or give what is not finite. They may take noise without a sign, or else the
            # first input of the example.
            self._like_example = [mapped(make, example) for make in (noise_like, _noise_without_sign, _first)]

    def form(self, inputs: Inputs) -> list[Any]:
        """Return the form of the fixed input for inputs of this dtype: dtype, height and width, or a digest of noise.

        It is the same for images of all sizes, so that all can be compared.
        """
        if self._like_example:
            noise = tensors_of(self._like_example[0])
            return [digest_of(dict(enumerate(noise)))]
        dtype = "uint8"
        if self._preparation.is_none and isinstance(inputs, Tensor):
            dtype = str(inputs.dtype).removeprefix("torch.")
        return [dtype, *(self._preparation.size or _SIZE)]

    def of(self, form: Sequence[Any]) -> Iterator[tuple[list[Any], Inputs]]:
        """Yield the fixed input of a form, and others for a module that fails on it, each with its own form."""
        for number, inputs in enumerate(self._like_example):
            yield [*self.form(inputs), number], inputs
        # The form of another extractor may be that of other inputs.
        if self._like_example or len(form) != 3:
            return
        dtype, height, width = form
        for size in [(height, width), DUMMY_SIZE]:
            yield [dtype, *size], fixed_images(self._preparation.channels, size, getattr(torch, dtype))


def fixed_images(channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return the image that fingerprints are taken of, as a batch: smooth shapes with noise, uint8 or in [0, 1]."""
    noise = torch.randint(0, 128, (1, channels, *size), generator=torch.Generator().manual_seed(0))
    rows, columns = (torch.arange(length) * 512 // length for length in size)
    smooth = ((rows[:, None] + columns) % 256 - 128).abs()
    images = (noise + smooth).clamp(max=255).to(torch.uint8)
    return images if dtype == torch.uint8 else images.to(dtype) / 255


def noise_like(example: Tensor) -> Tensor:
    """Return one input of noise: evenly in the range of an example, or about its only value; integers are its own.

    Examples are often zeros, because only their shape matters, and zeros hide most differences.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, *example.shape[1:])
    values = example.detach().cpu().flatten()
    if not example.is_floating_point():
        return values[torch.randint(len(values), shape, generator=generator)]
    low, high = values.double().aminmax()
    middle = (low + high) / 2
    half = (high - low) / 2 or torch.ones(())
    noise = middle + half * (2 * torch.rand(shape, generator=generator) - 1)
    return noise.to(example.dtype)


def _noise_without_sign(example: Tensor) -> Tensor:
    noise = noise_like(example)
    return noise.abs() if example.is_floating_point() else noise


def _first(example: Tensor) -> Tensor:
    return example[:1].detach().cpu().clone()
