"""The extractor: a frozen network whose activations describe images."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.build import Plan, half_of, plan
from torchmetrics_dna.extractors.capture import CompiledCapture, capture, device_of
from torchmetrics_dna.extractors.channels import channels_of, check_per_channel, standardised
from torchmetrics_dna.extractors.cpu import alike_convolutions, cut
from torchmetrics_dna.extractors.guard import evaluating, lock_of
from torchmetrics_dna.extractors.layout import Layout, in_order, or_nan
from torchmetrics_dna.extractors.projections import Projections
from torchmetrics_dna.extractors.sharing import PooledLayer, Shareable, SharedPass
from torchmetrics_dna.files.download import fetch
from torchmetrics_dna.images import Crop, Resize, check_images, check_resize, resize_tensor
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, VERSION, image_properties
from torchmetrics_dna.images.tensors import in_unit_range
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROPERTY_RANGES = ActivationRanges(
    torch.zeros(len(PROPERTIES)), torch.ones(len(PROPERTIES)), Neurons({LAYER: len(PROPERTIES)}), name=LAYER
)
_SAMPLES = 16  # of each tensor of a user's module
# on the CPU: intermediate results of more images lie in blocks that the system maps anew, page by page, each time
_AT_ONCE, _AT_ONCE_BYTES = 4, 2**27


class DNAExtractor(Shareable):
    """Images to the activations of chosen layers, ``{layer: (B, n, *positions)}``.

    The network runs in evaluation mode and without gradients. A module that you give is left as it was after each
    call: the mode of each submodule, ``requires_grad``, its batch norms' statistics. It is no submodule: whatever holds
    the extractor gets no parameters, buffers or checkpoint entries from it, and copies of the extractor (hence of
    metrics) are the extractor itself. Several threads may use one extractor, or several of one module, each with
    metrics of its own: one runs the network at a time. No other thread may train that module meanwhile.

    Args:
        feature: The name of a preset; that of a timm model, whose weights timm fetches; or a module. One that timm
            built is as its name, with the weights it has. Any other gets images as they are, and its output (a tensor
            ``(B, n)`` or ``(B, n, H, W)``, a dict, list or tuple of them) gives the layers, unless ``layers`` does.
        layers: Which layers, in this order: names of the preset's layers, submodules of the network, or entries of its
            output. Default: all of the preset; of timm models every block or stage, and the final norm; of other
            modules their output. A name may end with a view: ``"last_norm:class"`` is the class token of that layer
            alone, ``"head:mean"`` the mean over positions, ``"head:unit"`` the neurons of each position divided by
            their norm, ``"head:projected"`` its ``projections``.
        weights_path: Weights for a preset or timm model, instead of the usual source: a file (what a state dict is
            written to, or the official one), or a folder, where ``NAME.safetensors`` or ``NAME.pth`` is looked for, and
            the file by its path in its repository; there, ``NAME.ranges.json`` or the official ranges go with it.
        crop: ``"center"`` cuts the largest central square out before images are resized.
        input_size: Height and width (or one number) to resize images to. Presets and timm models know theirs.
        resize: ``"clean"``, ``"torch"`` (not clipped) or ``"pillow"`` (rounded to bytes), antialiased and bicubic, or
            ``"tensorflow"``, bilinear between the nearest pixels. Presets know theirs; else the first.
        mean: Per channel, subtracted from images in [0, 1].
        std: Per channel, divided by.
        channels: Of images. Grey ones (1) are repeated for networks by name, and for what timm built; other modules get
            images of so many channels as they are.
        dtype: ``"bfloat16"`` or ``"float16"``: let torch's autocast compute in it where it holds that to be safe.
            Changes activations, so such DNAs are not comparable with others; see the page on numbers.
        properties: Watch properties of the images, too, as they are given, before any resize: the layer
            ``"properties"`` of :func:`~torchmetrics_dna.images.properties.image_properties`, whose neurons have names.
            It comes first, unless ``layers`` says where. The feature ``"properties"`` has that layer and no network.
        projections: Watch each layer's projections on so many random directions, too, which see what neurons do
            together: layers named ``"head:projected"``, which come first unless ``layers`` says which there are.
        projection_seed: Of the directions.
        compile: Run the network by ``torch.compile``: its first batches take a minute or so. Activations change no more
            than between batch sizes.
        device: Device of the network; by default it stays where it is, which is the CPU for a name.

    Attributes:
        name: What extractors are told apart by.
        neurons: The layers and how many neurons each has.
        has_properties: Whether properties of images are among them.
        bytes_per_image: Memory that the activations of one image take, in bytes.
        takes: How many channels images may have.
        images_at_once: How many images go through the network at once on the CPU, where larger batches are cut.
        network: The network.

    Raises:
        TypeError: If ``feature`` is none of these.
        ValueError: If a name is unknown.

    Example:
        >>> extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "head"])
        >>> extractor.neurons
        Neurons(1296 in 2 layers: block_0 16, head 1280)
        >>> activations = extractor(torch.randint(0, 256, (2, 3, 90, 120), dtype=torch.uint8))
        >>> {layer: tuple(x.shape) for layer, x in activations.items()}
        {'block_0': (2, 16, 112, 112), 'head': (2, 1280, 7, 7)}

    """

    network: nn.Module

    def __init__(
        self,
        feature: str | nn.Module = "efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        weights_path: str | os.PathLike[str] | None = None,
        crop: Crop = "none",
        input_size: int | tuple[int, int] | None = None,
        resize: Resize | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channels: int = 3,
        dtype: str | torch.dtype | None = None,
        properties: bool = False,
        projections: int | None = None,
        projection_seed: int = 0,
        compile: bool = False,  # noqa: A002 - torch's own word
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        self.dtype = half_of(dtype)
        check_resize(crop, resize)
        built = plan(feature, layers, weights_path)
        size = (input_size, input_size) if isinstance(input_size, int) else input_size
        self.name = built.name
        self.crop: Crop = crop
        self.input_size = size or built.input_size
        self.resize: Resize = resize or built.resize
        self.mean = built.mean if mean is None else tuple(mean)
        self.std = built.std if std is None else tuple(std)
        self.takes, self._channels = channels_of(built, channels, properties)
        check_per_channel(self._channels, mean=self.mean, std=self.std)
        for name, given in (("crop", crop != "none"), ("resize", resize)):
            if given and self.input_size is None:
                raise ValueError(f"Argument `{name}` goes with an `input_size`; this network takes images as they are")
        # straight into __dict__, so that torch does not register it as a submodule
        self.__dict__["network"] = built.network
        self._own = not isinstance(feature, nn.Module)
        self._known_weights: tuple[Any, str] | None = None  # what tells that they changed, and their digest
        self._submodules = built.submodules
        self._projections = Projections.of(built.outputs, projections, projection_seed)
        self.neurons = in_order(self._lay_out(built), layers or (), properties or feature == LAYER)
        built.load()  # now, since without its weights a network is tried in less time
        self.has_properties = LAYER in self.neurons
        self._shared = SharedPass()
        self._ranges = built.ranges if self._projections is None else None  # which are of neurons, not of projections
        self._compiled = CompiledCapture(self.network, self._submodules) if compile else None
        if device is not None:
            self.to(device)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return device_of(self.network)

    @cached_property
    def ranges(self) -> ActivationRanges | None:
        """The activation ranges that go with the weights, or None; downloaded when they are first needed.

        Raises:
            OSError: If they can't be downloaded.

        """
        if self._ranges is None:
            return PROPERTY_RANGES if list(self.neurons) == [LAYER] else None
        path = self._ranges
        if isinstance(path, str):
            path = fetch(path, is_fixed=True, remedy="give it as `ranges`, or give `ranges='auto'`")
        ranges = self._fitting(ActivationRanges.load(path))
        return replace(ranges, name=ranges.name or self.name)

    @property
    def weights_digest(self) -> str:
        """16 hexadecimal digits of the network's weights, as they are now: a module of the user's may train on."""
        state = None if self._own else _state_of(self.network)
        if self._known_weights is None or self._known_weights[0] != state:
            self._known_weights = state, self._hash_weights()
        return self._known_weights[1]

    def _hash_weights(self) -> str:
        sha = hashlib.sha256()
        for name, tensor in self.network.state_dict().items():
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return sha.hexdigest()[:16]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with the weights, the layers or how images are prepared."""
        settings = (self.weights_digest, self.name, dict(self.neurons), self._submodules, self.preparation)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    @property
    def preparation(self) -> dict[str, Any]:
        """Preparation of images for the network, and its precision, in json's types."""
        as_list = {name: value and list(value) for name, value in (("mean", self.mean), ("std", self.std))}
        size = self.input_size and list(self.input_size)
        dtype = self.dtype and str(self.dtype).removeprefix("torch.")
        found: dict[str, Any] = {
            "resize": self.resize if size else "none",
            "input_size": size,
            "crop": self.crop,
            **as_list,
            "dtype": dtype,
        }
        found |= {"channels": self._channels} if self._channels != 3 else {}
        found |= self._projections.preparation if self._projections else {}
        return found | ({"properties": VERSION} if self.has_properties else {})

    def forward(self, imgs: Tensor, properties: Tensor | None = None, resized: bool = False) -> dict[str, Tensor]:
        """Activations of a batch of images, neurons on axis 1.

        Args:
            imgs: Shape ``(B, 3, H, W)``: uint8, or floating point in [0, 1].
            properties: Those of the images before they were resized, ``(B, 21)``; by default measured now.
            resized: Whether images were resized as this extractor does it; ``"torch"`` may leave values beyond [0, 1].

        Raises:
            ValueError: If images are something else.

        """
        parts = self.in_parts(imgs, properties, resized)
        return (
            parts[0] if len(parts) == 1 else {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}
        )

    def in_parts(
        self, imgs: Tensor, properties: Tensor | None = None, resized: bool = False, wait: bool = True
    ) -> list[dict[str, Tensor]]:
        """Activations as :meth:`forward` gives them, in parts as images went through the network.

        What only goes through activations once, as metrics do, saves the time and memory of joining them. Without
        ``wait``, a device is not asked whether floating point images lie in [0, 1]: if not, activations are NaN.
        """
        wait = wait or imgs.device.type == "cpu"
        if not (resized and self.resize == "torch"):
            check_images(imgs, isinstance(imgs, Tensor) and imgs.dtype != torch.uint8, self.takes, wait)
        with lock_of(self.network):
            if properties is not None:
                return self._run(imgs, properties)
            return self._shared.get(imgs, self._run if wait or imgs.dtype == torch.uint8 else self._run_or_nan)

    def share_with(self, consumer: object) -> None:
        """Run the network once for all consumers that ask about the same images one after another."""
        with lock_of(self.network):
            self._shared.register(consumer)

    def release(self) -> None:
        """Let go of activations that are kept for other consumers."""
        self._shared.drop()

    def _run(self, imgs: Tensor, properties: Tensor | None = None) -> list[dict[str, Tensor]]:
        imgs = imgs.expand(-1, self._channels, -1, -1)  # which repeats grey ones
        if self.device != imgs.device:  # whoever else holds the network may have moved it
            self.network.to(imgs.device)
        with evaluating(self.network, forever=self._own), torch.inference_mode():
            at_once = self.images_at_once if imgs.device.type == "cpu" else max(1, len(imgs))
            parts = []
            for some in cut(len(imgs), at_once):
                part = self._layout.read(self._outputs(imgs[some])) if self._layout else {}
                if self.has_properties:
                    part[LAYER] = image_properties(imgs[some]) if properties is None else properties[some]
                parts.append({layer: part[layer] for layer in self.neurons})
        for layer, values in parts[0].items():
            if values.shape[1] != self.neurons[layer]:
                raise ValueError(
                    f"Layer {layer!r} gave {values.shape[1]} neurons, but {self.neurons[layer]} for the image it was"
                    " first tried with; give the extractor an `input_size`"
                )
        return parts

    def _run_or_nan(self, imgs: Tensor) -> list[dict[str, Tensor]]:
        return or_nan(self._run(imgs), in_unit_range(imgs))

    def pooled(self, layer: str) -> PooledLayer:
        """A module that gives the spatial means of one layer, ``(B, n)``, as ``feature`` for FID, KID and others."""
        return PooledLayer(self, layer)

    def resolve_ranges(
        self, ranges: ActivationRanges | str | os.PathLike[str] | None = None
    ) -> ActivationRanges | None:
        """Activation ranges for this extractor's layers: those given, read from a file, or the packaged ones.

        Returns:
            None for ``"auto"`` (and for what self-ranging histograms found), also where none are given and none are
            packaged: histograms find their own.

        Raises:
            ValueError: If they do not fit.
            TypeError: If they are something else.

        """
        if ranges is None:
            return self.ranges
        if ranges == "auto":
            return None
        if isinstance(ranges, (str, os.PathLike)):
            ranges = ActivationRanges.load(ranges)
        if not isinstance(ranges, ActivationRanges):
            raise TypeError(
                f"Argument `ranges` expected to be an ActivationRanges, a path or 'auto', but got {ranges!r}"
            )
        restricted = self._fitting(ranges)
        # what a self-ranging histogram found are no bounds for another: that one finds its own
        return None if restricted.margin == "auto" else restricted

    def _fitting(self, ranges: ActivationRanges) -> ActivationRanges:
        """Ranges for these neurons; those of properties are known."""
        if self.has_properties and LAYER not in ranges.neurons:
            ranges = ranges.beside(PROPERTY_RANGES)
        return ranges.restrict(self.neurons)

    def train(self, mode: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Does nothing: the network never trains."""
        return super().train(False)

    def extra_repr(self) -> str:
        """Name and neurons, for ``repr``."""
        return f"{self.name!r}, {self.neurons}"

    def _outputs(self, imgs: Tensor) -> dict[str, Tensor]:
        prepared = self._prepare(imgs)
        with torch.autocast(imgs.device.type, self.dtype, enabled=self.dtype is not None):
            if self._compiled is not None:
                return self._compiled(prepared)
            with alike_convolutions(imgs.device):
                return capture(self.network, self._submodules, prepared)

    def _prepare(self, imgs: Tensor) -> Tensor:
        if self.input_size is None and self.mean is None and self.std is None:
            return imgs
        imgs = resize_tensor(imgs, self.input_size or (imgs.shape[2], imgs.shape[3]), self.crop, self.resize)
        imgs = standardised(imgs, self.mean, self.std)
        parameter = next(self.network.parameters(), imgs)
        return imgs.to(parameter.dtype)

    def _lay_out(self, built: Plan) -> Mapping[str, int]:
        """Find where layers lie in the network's outputs; gives how many neurons each has."""
        self._layout: Layout | None = None
        if built.outputs == ():  # of the network nothing is asked
            self.bytes_per_image, self.images_at_once = 4 * len(PROPERTIES), _AT_ONCE
            return {}
        with lock_of(self.network), evaluating(self.network, forever=self._own):
            self._layout = Layout.of(built, self.input_size, self._channels, self._projections)
        self.bytes_per_image = self._layout.bytes_per_image
        self.images_at_once = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // self.bytes_per_image))
        return self._layout.widths

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> DNAExtractor:
        with lock_of(self.network):
            self.release()
            self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DNAExtractor:
        return self


def _state_of(network: nn.Module) -> list[Any]:
    """A value that changes with the weights, at little cost: where tensors are, torch's counter of writes, and samples.

    The counter misses writes to ``.data``, such as those of moving averages, which change all of a tensor.
    """
    return [
        (
            tensor.data_ptr(),
            None if tensor.is_inference() else tensor._version,
            tensor.detach().flatten()[:: tensor.numel() // _SAMPLES + 1].tolist(),
        )
        for tensor in chain(network.parameters(), network.buffers())
    ]
