"""Fixed inputs for fingerprints of networks: an image, or noise with the shape and range of an example."""

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

# Height and width of the fixed image if images are not resized.
_SIZE = (64, 64)
# The fixed image is the sum of noise below this number, and of waves between 0 and this number.
_HALF_OF_GREYS = 128
# Number of periods of the waves along the height and the width of the fixed image.
_PERIODS = 2


class FixedInputs:
    """Fixed inputs of a network.

    Args:
        preparation: Preparation of images for the network.
        example: Batch of inputs, for a network whose inputs are not images, or None for images.

    """

    def __init__(self, preparation: Preparation, example: Inputs | None) -> None:
        self._preparation = preparation
        self._like_example: list[Inputs] = []
        if example is not None:
            # Some modules fail on noise, or return values that are not finite. Such modules may accept noise without
            # negative values, or else the first input of the example.
            self._like_example = [mapped(make, example) for make in (noise_like, _noise_without_sign, _first)]

    def form(self, inputs: Inputs) -> list[Any]:
        """Return the form of the fixed input, for a batch of this dtype.

        Images of all sizes have the same form, so their fingerprints can be compared.

        Returns:
            The dtype, height and width of the fixed image. For inputs other than images, a digest of the fixed noise.

        """
        if self._like_example:
            noise = tensors_of(self._like_example[0])
            return [digest_of(dict(enumerate(noise)))]
        dtype = "uint8"
        if self._preparation.is_none and isinstance(inputs, Tensor):
            dtype = str(inputs.dtype).removeprefix("torch.")
        return [dtype, *(self._preparation.size or _SIZE)]

    def of(self, form: Sequence[Any]) -> Iterator[tuple[list[Any], Inputs]]:
        """Yield the fixed inputs of a form, each as a pair of its exact form and the input.

        The first input is preferred. The following ones are for a module that fails on the inputs before.
        """
        if self._like_example:
            for number, inputs in enumerate(self._like_example):
                yield [*self.form(inputs), number], inputs
            return
        # A form of another length is that of an extractor for other inputs. It does not describe an image.
        if len(form) != 3:
            return
        dtype, height, width = form
        for size in [(height, width), DUMMY_SIZE]:
            yield [dtype, *size], fixed_images(self._preparation.channels, size, getattr(torch, dtype))


def fixed_images(channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return the fixed image for fingerprints, as a batch of one: smooth shapes with noise.

    Args:
        channels: Number of channels.
        size: Height and width.
        dtype: uint8, or a floating point type, for which the values are in [0, 1].

    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, _HALF_OF_GREYS, (1, channels, *size), generator=generator)
    height, width = size
    period = 2 * _HALF_OF_GREYS
    rows = torch.arange(height) * (_PERIODS * period) // height
    columns = torch.arange(width) * (_PERIODS * period) // width
    # Diagonal triangle waves.
    waves = ((rows[:, None] + columns) % period - _HALF_OF_GREYS).abs()
    images = (noise + waves).to(torch.uint8)
    return images if dtype == torch.uint8 else images.to(dtype) / 255


def noise_like(example: Tensor) -> Tensor:
    """Return one input of noise with the shape of an example, as a batch of one.

    Floating point values are uniform in the range of the example. If the example has a single value, they are uniform
    within 1 of it. Integers are drawn from the values of the example.

    The example itself is not used, because examples are often all zeros, which hide most differences between networks.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, *example.shape[1:])
    values = example.detach().cpu().flatten()
    if not example.is_floating_point():
        return values[torch.randint(len(values), shape, generator=generator)]
    low, high = values.double().aminmax()
    middle = (low + high) / 2
    half_width = (high - low) / 2
    if half_width == 0:
        half_width = torch.ones_like(half_width)
    noise = middle + half_width * (2 * torch.rand(shape, generator=generator) - 1)
    return noise.to(example.dtype)


def _noise_without_sign(example: Tensor) -> Tensor:
    """Return the noise of :func:`noise_like` without negative floating point values."""
    noise = noise_like(example)
    return noise.abs() if example.is_floating_point() else noise


def _first(example: Tensor) -> Tensor:
    """Return a copy of the first input of an example, as a batch of one on the CPU."""
    return example[:1].detach().cpu().clone()
