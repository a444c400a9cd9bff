"""Run a network on a batch, on the device of the batch and without gradients.

The activations of an image do not depend on the number of images in the batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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

# Pattern of torch's messages about inputs whose dtype differs from that of the weights.
_ABOUT_TYPES = re.compile(r"dtype|Byte|unsigned char|scalar type")
# Number of images per forward pass on the CPU, and largest size of their activations. With more images, buffers are so
# large that the system maps their pages again for each batch.
_AT_ONCE = 8
_AT_ONCE_BYTES = 2**27
# Number of images per pass of a light convolutional network. Such a network is fastest with fewer images, because its
# weights stay in the caches of the CPU.
_AT_ONCE_OF_LIGHT = 4
# Size of the weights below which a network is light.
_LIGHT_BYTES = 2**25
# Number of small inputs per pass, and largest size of all of them. For small inputs, the overhead of a call matters
# more than the size of buffers.
_AT_ONCE_OF_SMALL = 1024
_SMALL_BYTES = 2**22


class Runner:
    """Network with the layers to read.

    Args:
        built: Network and layers.
        is_named: Whether the network was made by name. Such a network follows the images to their device. The user's
            module stays on its device.
        preparation: Preparation of images.
        takes_images: Whether inputs are images.

    Attributes:
        name: Name of the extractor.
        submodules: Path of the submodule of each output; empty to read the network's own outputs.
        layout: Layout of the layers; None before :meth:`probe`, or if no layer of the network is read.
        watch: Weights of the network.

    """

    def __init__(self, built: Built, is_named: bool, preparation: Preparation, takes_images: bool) -> None:
        self.name = built.name
        self.submodules: Mapping[str, str] = built.submodules
        self.is_named = is_named
        self.preparation = preparation
        self.layout: Layout | None = None
        # Only the watch holds the network. torch would register an attribute of the extractor as its submodule.
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
        """Return a runner of another network with the same layers: a copy of the user's module."""
        runner = copy(self)
        runner.watch = Watch(network, samples=True)
        return runner

    def probe(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> Layout:
        """Find and keep the layout of the layers, by running the network on an image or on inputs of an example.

        Args:
            built: Network and layers.
            example: Batch of inputs, of which two are used, or None for images.
            channels_last: Whether the neurons are on the last axis of inputs other than images: a bool for all layers,
                or the names of the layers where they are.

        Raises:
            ValueError: If the network fails, a layer does not exist, its neurons are ambiguous, or the activations of
                the user's module depend on the rest of a batch or on random numbers.

        """
        with lock_of(self.network):
            self.layout = borrowed(
                self.network, self.is_named, self._find_checked_layout, built, example, channels_last
            )
        return self.layout

    def _find_checked_layout(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> Layout:
        """Return the layout of the layers, after a check of the user's module; the arguments are those of `probe`."""
        layout = self._find_layout(built, example, channels_last)
        if not self.is_named:
            check_repeatable(layout, self.network, self.submodules, self._pairs_of_inputs(example))
        return layout

    def _find_layout(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> Layout:
        """Return the layout of the layers; the arguments are those of `probe`."""
        if example is None:
            return layout_of_images(built, self._size_of_images(), self.preparation.channels)
        return layout_of_example(built, example, channels_last)

    def _pairs_of_inputs(self, example: Inputs | None) -> Iterable[Inputs]:
        """Return batches of two inputs, for the check that activations do not depend on the rest of a batch."""
        if example is None:
            return two_images(self.network, self._size_of_images(), self.preparation.channels)
        return [two_inputs(self.network, example)]

    def _size_of_images(self) -> tuple[int, int]:
        """Return the height and width of the images for which the network is probed."""
        return self.preparation.size or DUMMY_SIZE

    def run(self, inputs: Any, autocast: torch.dtype | None, home: torch.device) -> dict[str, Tensor]:
        """Return the activations of the network's layers for a batch, or a part of one.

        A network that was made by name is moved to the device of the batch.

        Args:
            inputs: The batch.
            autocast: Dtype of torch's autocast, or None to run without autocast.
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
            # Weights that are moved in inference mode can't be used in training.
            with torch.inference_mode(False):
                self.network.to(device)

    def _follow(self, device: torch.device) -> None:
        """Move a network that was made by name to a device, and to the memory format that is fastest there."""
        self._move(device)
        # On the CPU, convolutions are a quarter faster with channels last. The format of the user's modules does not
        # change, because such modules may take views that this format does not allow.
        memory_format = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        weight = _first_weight_with_format(self.network)
        # All weights have the format of the first one.
        if weight is not None and not weight.is_contiguous(memory_format=memory_format):
            with torch.inference_mode(False):
                self.network.to(memory_format=memory_format)

    def _go_back(self, home: torch.device) -> None:
        """Move the network back after a failure, if some of its parts are on another device."""
        if any(tensor.device != home for tensor in self.watch.tensors):
            with torch.inference_mode(False):
                self.network.to(home)

    def _check_device(self, device: torch.device) -> None:
        """Raise ValueError if the user's module is on another device than the images."""
        devices = {tensor.device for tensor in self.watch.tensors}
        # A module that is spread over several devices moves the images itself.
        if len(devices) != 1 or device in devices:
            return
        own_device = devices.pop()
        # Weights on the meta device have no values: such a module loads its weights in each call.
        if own_device.type != "meta":
            raise ValueError(
                f"The images are on {device}, but the network is on {own_device}; move either:"
                f" `imgs.to({str(own_device)!r})`, or the metric, which takes the network along, `.to({str(device)!r})`"
            )

    def _activations(self, batch: Any, autocast: torch.dtype | None) -> dict[str, Tensor]:
        """Return the activations of the network's layers for a batch; empty if no layer of the network is read."""
        if self.layout is None:
            return {}
        inputs = self._prepared(batch, self.layout)
        first_tensor = tensors_of(inputs)[0]
        keep_freed_memory()
        try:
            outputs = self._outputs(inputs, self.layout, autocast)
        except RuntimeError as err:
            self._raise_if_explained(err, first_tensor)
            raise
        return self.layout.read(outputs, len(first_tensor))

    def _outputs(self, inputs: Any, layout: Layout, autocast: torch.dtype | None) -> dict[str, Tensor]:
        """Run the network on prepared inputs, and return its outputs."""
        device = tensors_of(inputs)[0].device
        # Copy all outputs of the user's module, because it may modify any of them in place. It may do so for only some
        # of the inputs.
        copied = layout.probed.edited if self.is_named else None
        with (
            # Without the cache: the user's code may be in autocast, too, and would reuse weights without gradients.
            torch.autocast(device.type, autocast, enabled=autocast is not None, cache_enabled=False),
            self._rounding(device),
        ):
            return capture(self.network, self.submodules, inputs, copied, stops=self.is_named)

    def _prepared(self, batch: Any, layout: Layout) -> Any:
        """Return a prepared copy of a batch, to which the network may write."""
        if not self._takes_images:
            return mapped(torch.clone, batch)
        dtype = layout.probed.dtype if self.preparation.is_none else own_dtype(self.network)
        return self.preparation.apply(batch, dtype)

    def _rounding(self, device: torch.device) -> AbstractContextManager[object]:
        """Return a context in which the activations of an image do not depend on its batch.

        For a compiled module, the context does nothing.
        """
        if are_compiled(self.network.modules()):
            return nullcontext()
        return rounding_alike(device)

    def _raise_if_explained(self, err: RuntimeError, batch: Tensor) -> None:
        """Raise ValueError if a pass failed because of the size or dtype of images, or the dtype of weights.

        Args:
            err: Error of the pass.
            batch: First tensor of the batch.

        """
        size = tuple(batch.shape[-2:])
        keeps_size = self._takes_images and self.preparation.size is None
        # The network accepts images of DUMMY_SIZE: it was probed with one when the extractor was made.
        if keeps_size and size != DUMMY_SIZE and ABOUT_SIZES.search(str(err)):
            raise ValueError(
                f"{self.name} can't take images of {size[0]} x {size[1]} pixels ({first_line(err)}); pass"
                f" `input_size={DUMMY_SIZE[0]}`, a size that it takes"
            ) from err
        dtype = batch.dtype
        if dtype == torch.uint8 and _ABOUT_TYPES.search(str(err)):
            halves = [0.5] * self.preparation.channels
            raise ValueError(
                f"{self.name} takes floats, but got uint8 images; pass `mean` and `std`, for both such as {halves},"
                " with which images become floats, or a module that takes uint8"
            ) from err
        dtype_now = own_dtype(self.network)
        if dtype_now != self._dtype_at_first:
            raise ValueError(
                f"{self.name} has {dtype_now} weights, but had {self._dtype_at_first} ones when its extractor was made;"
                " make a new DNAExtractor of it"
            ) from err


def _first_weight_with_format(network: nn.Module) -> Tensor | None:
    """Return the first weight of a network whose memory format may be channels last or contiguous, but not both."""
    for weight in network.parameters():
        if weight.ndim == 4 and weight.shape[1] > 1 and weight.shape[2] > 1:
            return weight
    return None


def images_at_once(network: nn.Module, bytes_per_image: int, example: Example | None) -> int:
    """Return the maximum number of images or other inputs per forward pass on the CPU.

    Args:
        network: The network.
        bytes_per_image: Memory of the activations of one image or other input.
        example: Structure of inputs that are not images, or None for images.

    """
    weights = list(network.parameters())
    is_light = sum(weight.nbytes for weight in weights) < _LIGHT_BYTES
    # A transformer has a single convolution, which cuts images into patches.
    has_convolutions = sum(weight.ndim == 4 for weight in weights) > 1
    most = _AT_ONCE_OF_LIGHT if is_light and has_convolutions else _AT_ONCE
    if example is not None:
        most_by_size = _SMALL_BYTES // max(example.num_bytes, bytes_per_image)
        most = max(most, min(_AT_ONCE_OF_SMALL, most_by_size))
    most_by_memory = _AT_ONCE_BYTES // bytes_per_image
    return max(1, min(most, most_by_memory))
