"""Run a network on a batch: on the device of the batch, without gradients, and alike for any number of images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.capture import capture
from torchmetrics_dna.extractors.compiled import are_compiled
from torchmetrics_dna.extractors.cpu import keep_freed_memory, rounding_alike
from torchmetrics_dna.extractors.guard import borrowed, lock_of
from torchmetrics_dna.extractors.layout import Layout, layout_of_example, layout_of_images
from torchmetrics_dna.extractors.modules import device_of, own_dtype
from torchmetrics_dna.extractors.probing import ABOUT_SIZES, DUMMY_SIZE
from torchmetrics_dna.extractors.repeatable import check_repeatable, two_images, two_inputs
from torchmetrics_dna.extractors.watch import Watch
from torchmetrics_dna.files.damage import first_line
from torchmetrics_dna.images.inputs import Example, Inputs, mapped, tensors_of

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.build import Built
    from torchmetrics_dna.extractors.preparation import Preparation

# What torch says of inputs of another type than the weights.
_ABOUT_TYPES = re.compile(r"dtype|Byte|unsigned char|scalar type")
# Images per forward pass on the CPU. The buffers of more images are so large that the system maps their pages anew for
# each batch. A light network of convolutions, whose weights stay in caches, is fastest with half as many.
_AT_ONCE, _AT_ONCE_OF_LIGHT, _AT_ONCE_BYTES = 8, 4, 2**27
_LIGHT_BYTES = 2**25
# For small inputs, calls of the network cost more than its buffers.
_AT_ONCE_OF_SMALL, _SMALL_BYTES = 1024, 2**22


class Runner:
    """Network with the layers that are read from it.

    Args:
        built: Network and layers.
        is_named: Whether the network was made by name. A module of the user's stays on its device.
        preparation: Preparation of images.
        takes_images: Whether inputs are images.

    Attributes:
        layout: Layout of the layers; None before :meth:`probe`, or if no layer of the network is read.
        watch: Weights of the network.

    """

    def __init__(self, built: Built, is_named: bool, preparation: Preparation, takes_images: bool) -> None:
        self.name = built.name
        self.submodules: Mapping[str, str] = built.submodules
        self.is_named = is_named
        self.preparation = preparation
        self.layout: Layout | None = None
        # The watch also holds the network, which torch would register as a submodule of an extractor.
        self.watch = Watch(built.network, samples=not is_named)
        self._takes_images = takes_images
        self._dtype_at_first = own_dtype(built.network)

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.watch.network

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return device_of(self.network)

    def with_network(self, network: nn.Module) -> Runner:
        """Return the same for a copy of a user's module."""
        runner = copy(self)
        runner.watch = Watch(network, samples=True)
        return runner

    def probe(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> Layout:
        """Find and keep the layout of the layers, by an image or by the first two of an example.

        ValueError if the network fails, a layer does not exist, its neurons are ambiguous, or activations of a module
        of the user's depend on the rest of a batch or on chance.
        """
        with lock_of(self.network):
            self.layout = borrowed(self.network, self.is_named, self._find_layout, built, example, channels_last)
        return self.layout

    def _find_layout(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> Layout:
        size = self.preparation.size or DUMMY_SIZE
        channels = self.preparation.channels
        if example is None:
            layout = layout_of_images(built, size, channels)
        else:
            layout = layout_of_example(built, example, channels_last)
        if self.is_named:
            return layout
        pairs = two_images(self.network, size, channels) if example is None else [two_inputs(self.network, example)]
        check_repeatable(layout, self.network, self.submodules, pairs)
        return layout

    def run(self, inputs: Any, autocast: torch.dtype | None, home: torch.device) -> dict[str, Tensor]:
        """Return the activations of the network's layers for a batch, or a part of one.

        A network that was made by name follows the batch to its device.

        Args:
            inputs: The batch.
            autocast: Dtype of torch's autocast; None for none.
            home: Device to which a network that was made by name is moved back if the pass fails.

        """
        device = tensors_of(inputs)[0].device
        with lock_of(self.network):
            try:
                if self.is_named:
                    self._follow(device)
                else:
                    self._check_device(device)
                return borrowed(self.network, self.is_named, self._activations, inputs, autocast)
            except BaseException:
                if self.is_named:
                    self._go_back(home)
                raise

    def move(self, device: torch.device) -> None:
        """Move the network to a device."""
        with lock_of(self.network):
            self._move(device)

    def _move(self, device: torch.device) -> None:
        if device.type == "meta":
            raise ValueError("The network can't be moved to the meta device, where its weights would be lost")
        if self.device != device:
            # In inference mode, the moved weights would be fit for inference alone.
            with torch.inference_mode(False):
                self.network.to(device)

    def _follow(self, device: torch.device) -> None:
        """Move a network that was made by name to the device of images, in the memory format that is fastest there."""
        self._move(device)
        # On the CPU, convolutions are a quarter faster with channels last. A module of the user's may take views of
        # activations that this format does not allow.
        memory_format = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        for weight in self.network.parameters():
            if weight.ndim == 4 and weight.shape[1] > 1 and weight.shape[2] > 1:
                # All weights have the format of the first one.
                if not weight.is_contiguous(memory_format=memory_format):
                    with torch.inference_mode(False):
                        self.network.to(memory_format=memory_format)
                return

    def _go_back(self, home: torch.device) -> None:
        """Move the network back after a failure, which may have left parts of it on another device."""
        if any(tensor.device != home for tensor in self.watch.tensors):
            with torch.inference_mode(False):
                self.network.to(home)

    def _check_device(self, device: torch.device) -> None:
        """Raise ValueError if a module of the user's is on another device than the images."""
        devices = {tensor.device for tensor in self.watch.tensors}
        # A module may be spread over several devices, or fetch its weights from elsewhere.
        if len(devices) != 1 or device in devices:
            return
        own = devices.pop()
        if own.type != "meta":
            raise ValueError(
                f"The images are on {device}, but the network is on {own}; move either: `imgs.to({str(own)!r})`, or"
                f" the metric, which takes the network along, `.to({str(device)!r})`"
            )

    def _activations(self, batch: Any, autocast: torch.dtype | None) -> dict[str, Tensor]:
        if self.layout is None:
            return {}
        inputs = self._prepared(batch, self.layout)
        first = tensors_of(inputs)[0]
        # A module of the user's may write to any output, for some inputs only.
        copied = self.layout.probed.edited if self.is_named else None
        keep_freed_memory()
        try:
            with (
                # Weights that autocast caches here would have no gradients in a context of the user's around it.
                torch.autocast(first.device.type, autocast, enabled=autocast is not None, cache_enabled=False),
                self._rounding(first.device),
            ):
                outputs = capture(self.network, self.submodules, inputs, copied, stops=self.is_named)
        except RuntimeError as err:
            self._explain(err, first)
            raise
        return self.layout.read(outputs, len(first))

    def _prepared(self, batch: Any, layout: Layout) -> Any:
        """Return a copy of a batch as the network takes it, to which it may write."""
        if not self._takes_images:
            return mapped(torch.clone, batch)
        dtype = layout.probed.dtype if self.preparation.is_none else own_dtype(self.network)
        return self.preparation.apply(batch, dtype)

    def _rounding(self, device: torch.device) -> AbstractContextManager[object]:
        """Return a context in which activations of an image don't depend on its batch.

        A compiled module runs as it is.
        """
        if are_compiled(self.network.modules()):
            return nullcontext()
        return rounding_alike(device)

    def _explain(self, err: RuntimeError, batch: Tensor) -> None:
        """Raise ValueError if a pass failed because of the size or dtype of images, or the dtype of weights."""
        size = tuple(batch.shape[-2:])
        is_other_size = self._takes_images and self.preparation.size is None and size != DUMMY_SIZE
        if is_other_size and ABOUT_SIZES.search(str(err)):
            # The network was tried with an image of this size when its extractor was made.
            raise ValueError(
                f"{self.name} can't take images of {size[0]} x {size[1]} pixels ({first_line(err)}); give"
                f" `input_size={DUMMY_SIZE[0]}`, a size that it takes"
            ) from err
        dtype = batch.dtype
        if dtype == torch.uint8 and _ABOUT_TYPES.search(str(err)):
            halves = [0.5] * self.preparation.channels
            raise ValueError(
                f"{self.name} takes floats, but got uint8 images; give `mean` and `std`, for both such as {halves},"
                " with which images become floats, or a module that takes uint8"
            ) from err
        dtype_now = own_dtype(self.network)
        if dtype_now != self._dtype_at_first:
            raise ValueError(
                f"{self.name} has {dtype_now} weights, but had {self._dtype_at_first} ones when its extractor was made;"
                " make a new DNAExtractor of it"
            ) from err


def images_at_once(network: nn.Module, bytes_per_image: int, example: Example | None) -> int:
    """Return the maximum number of images, or of inputs like an example, per forward pass on the CPU."""
    weights = list(network.parameters())
    is_light = sum(weight.nbytes for weight in weights) < _LIGHT_BYTES
    # A single convolution only cuts images into patches.
    has_convolutions = sum(weight.ndim == 4 for weight in weights) > 1
    at_once = _AT_ONCE_OF_LIGHT if is_light and has_convolutions else _AT_ONCE
    if example is not None:
        most_of_small = _SMALL_BYTES // max(example.num_bytes, bytes_per_image)
        at_once = max(at_once, min(_AT_ONCE_OF_SMALL, most_of_small))
    return max(1, min(at_once, _AT_ONCE_BYTES // bytes_per_image))
