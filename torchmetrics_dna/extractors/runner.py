"""Run a network on parts of a batch: on the device of the images, with activations that no other image changes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from torchmetrics_dna.extractors.capture import capture, device_of, own_dtype
from torchmetrics_dna.extractors.cpu import rounding_alike
from torchmetrics_dna.extractors.guard import borrowed, lock_of
from torchmetrics_dna.extractors.watch import Watch
from torchmetrics_dna.images.inputs import tensors_of
from torchmetrics_dna.images.properties import PROPERTIES
from torchmetrics_dna.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchmetrics_dna.extractors.build import Built
    from torchmetrics_dna.extractors.layout import Layout
    from torchmetrics_dna.images.inputs import Inputs

# what torch says of inputs of another type than the weights
_ABOUT_TYPES = re.compile(r"dtype|Byte|unsigned char|scalar type")
# images per forward pass on the CPU: the buffers of more are so large that the system maps their pages anew for each
# batch; a light network of convolutions, whose weights stay in caches, is fastest with half as many
_AT_ONCE, _AT_ONCE_OF_LIGHT, _AT_ONCE_BYTES = 8, 4, 2**27
_LIGHT_BYTES = 2**25
_AT_ONCE_OF_SMALL, _SMALL_BYTES = 1024, 2**22  # small inputs: calls of the network cost more than its buffers


class Runner:
    """Network of an extractor, and how it is run.

    A network of ours (``is_named``) follows the images and is arranged for their device; a module of the user's stays
    as it is.

    Args:
        built: The network and the layers to read; its weights need not be loaded.
        layout_of: Function that probes the network, see :class:`Layout`.
        is_named: Whether the network was made by name.
        input_bytes: Memory of an input that is no image; 0 for images.

    Attributes:
        layout: Layout of the layers in its outputs; None if no layer of the network is used.
        bytes_per_image: Memory of the activations of one image.
        watch: Its weights, and whether they changed.
        at_once: Maximum number of images per forward pass on the CPU.

    Raises:
        ValueError: If the network fails when it is probed, or a layer can't be read.

    """

    def __init__(
        self,
        built: Built,
        layout_of: Callable[[Built], Layout],
        *,
        is_named: bool,
        input_bytes: int,
    ) -> None:
        self.network, self.submodules, self.is_named = built.network, built.submodules, is_named
        self.watch = Watch(self.network, samples=not is_named)
        self._dtype = own_dtype(self.network)  # which inputs were chosen for
        self._memory_format = torch.contiguous_format  # of convolution weights
        self.layout: Layout | None = None
        self.bytes_per_image, self.at_once = 4 * len(PROPERTIES), _AT_ONCE
        if built.views != {}:
            if not is_named and self.device.type == "meta":
                raise ValueError("The module is on the meta device, so it has no weights; load them before")
            lazy = [name for name, tensor in self.network.named_parameters() if is_lazy(tensor)]
            if lazy:
                raise ValueError(
                    f"The module's {lazy[0]!r} has no shape before its first call; call the module on a batch before"
                )
            with lock_of(self.network):
                self.layout = borrowed(self.network, is_named, layout_of, built)
            self.bytes_per_image = self.layout.bytes_per_image
            weights = list(self.network.parameters())
            is_light = sum(weight.nbytes for weight in weights) < _LIGHT_BYTES
            has_convolutions = sum(weight.ndim == 4 for weight in weights) > 1  # one makes patches
            at_once = _AT_ONCE_OF_LIGHT if is_light and has_convolutions else _AT_ONCE
            if input_bytes:
                few_bytes = _SMALL_BYTES // max(input_bytes, self.bytes_per_image)
                at_once = max(at_once, min(_AT_ONCE_OF_SMALL, few_bytes))
            self.at_once = max(1, min(at_once, _AT_ONCE_BYTES // self.bytes_per_image))

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return device_of(self.network)

    def move(self, device: torch.device) -> None:
        """Move the network to a device."""
        if self.device != device:
            with torch.inference_mode(False):  # or weights would be fit for inference alone
                self.network.to(device)

    def meet(self, device: torch.device) -> None:
        """Bring a network of ours to the device of images; ValueError if a module of the user's is on another."""
        if self.is_named:
            self.move(device)
            # on the CPU, convolutions are a quarter faster with channels last; a module of the user's may take views of
            # activations that these do not have
            memory_format = torch.channels_last if device.type == "cpu" else torch.contiguous_format
            if memory_format is not self._memory_format:
                with torch.inference_mode(False):
                    self.network.to(memory_format=memory_format)
                self._memory_format = memory_format
            return
        devices = {tensor.device for tensor in self.watch.tensors}
        # a module may be spread over devices, or fetch its weights from elsewhere
        if len(devices) == 1 and device not in devices and not (found := devices.pop()).type == "meta":
            raise ValueError(
                f"The images are on {device}, but the network is on {found}; move either: `imgs.to({str(found)!r})`, or"
                f" the metric, which takes the network along, `.to({str(device)!r})`"
            )

    def activations(self, inputs: Inputs, layout: Layout, name: str, dtype: torch.dtype | None) -> dict[str, Tensor]:
        """Run the network on prepared inputs; return ``{layer: (B, n, *positions)}``.

        Args:
            inputs: Images, or other inputs, as the network takes them.
            layout: Layout of the layers.
            name: Name of the extractor, for errors.
            dtype: Precision of autocast, or None.

        Raises:
            ValueError: If the network takes no images of this dtype, or gives something else than for the image that it
                was first tried with.

        """
        first = tensors_of(inputs)[0]
        keep_freed_memory()
        try:
            # weights that autocast caches here would have no gradients in a context of the user's around it
            with torch.autocast(first.device.type, dtype, enabled=dtype is not None, cache_enabled=False):
                edited, reusable = layout.probed.edited, layout.probed.reusable
                with rounding_alike(first.device, reusable if self.is_named else frozenset()):
                    copied = edited if self.is_named else None
                    outputs = capture(self.network, self.submodules, inputs, copied, stops=self.is_named)
        except RuntimeError as err:
            if first.dtype == torch.uint8 and _ABOUT_TYPES.search(str(err)):
                raise ValueError(
                    f"{name} takes floats, but got uint8 images; give `mean` and `std`, such as (0.5, 0.5, 0.5)"
                    " for both, with which images become floats, or a module that takes uint8"
                ) from err
            if (dtype_now := own_dtype(self.network)) != self._dtype:
                raise ValueError(
                    f"{name} has {dtype_now} weights, but had {self._dtype} ones when its extractor was made; make a"
                    " new DNAExtractor of it"
                ) from err
            raise
        return layout.read(outputs, len(first))
