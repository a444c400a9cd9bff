"""DNAExtractor: a frozen network whose activations describe images."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from itertools import chain
from operator import index
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.build import Plan, half_of, plan
from torchmetrics_dna.extractors.capture import capture, device_of, own_dtype
from torchmetrics_dna.extractors.channels import channels_of, per_channel, standardised
from torchmetrics_dna.extractors.compiled import CompiledCapture
from torchmetrics_dna.extractors.cpu import PackedWeights, cut, rounding_alike
from torchmetrics_dna.extractors.guard import borrowing, float32_by_default, lock_of
from torchmetrics_dna.extractors.layout import Layout, in_order, or_nan
from torchmetrics_dna.extractors.sharing import PooledLayer, Shareable, shared
from torchmetrics_dna.extractors.timm_models import untagged
from torchmetrics_dna.files.download import fetch
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, VERSION, image_properties
from torchmetrics_dna.images.resize import Resize, check_resize, resize_tensor
from torchmetrics_dna.images.tensors import check_images, in_unit_range
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from torchmetrics_dna.images.cells import Crop

PROPERTY_RANGES = ActivationRanges(
    torch.zeros(len(PROPERTIES)), torch.ones(len(PROPERTIES)), Neurons({LAYER: len(PROPERTIES)}), name=LAYER
)
_SAMPLES = 16  # values of each tensor, to detect changes of weights
# what torch says of inputs of another type than the weights
_ABOUT_TYPES = re.compile(r"dtype|Byte|unsigned char|scalar type")
# images per forward pass on the CPU: the buffers of more are so large that the system maps their pages anew for each
# batch; matrix products, of which transformers consist, gain from more rows
_AT_ONCE, _AT_ONCE_OF_TRANSFORMERS, _AT_ONCE_BYTES = 4, 8, 2**27


class DNAExtractor(Shareable):
    """Frozen network that maps images to the activations of chosen layers, ``{layer: (B, n, *positions)}``.

    The network runs in evaluation mode, without gradients, in IEEE float32 unless its weights or ``dtype`` say
    otherwise. A module of yours is then as if it had run by itself; only ``.to(device)`` moves it, and nothing casts
    it. A named network follows the images. Neither is registered as a submodule: a module that holds the extractor
    gets no parameters, buffers or checkpoint entries from it, and copies of the extractor (hence of metrics) share it.
    Several threads, each with its own metrics, may use one extractor, or several of one module: a lock lets one run the
    network at a time. No other thread may train the module meanwhile. In a call of a ``MetricCollection``, the network
    runs once for all members.

    Args:
        feature: Name of a preset or of a timm model, whose weights timm fetches; or a module. A module that timm built
            is treated like its name, with its current weights. Any other module gets unprocessed images, and its output
            (a tensor ``(B, n)`` or ``(B, n, H, W)``, a dict, list or tuple of them) defines the layers, unless
            ``layers`` does.
        layers: Names of the layers, in this order: layers of the preset, submodules of the network, or entries of its
            output. Default: all layers of a preset; every block or stage and the final norm of a timm model; the output
            of another module. A name may end with a view: ``"last_norm:class"`` is the class token of that layer,
            ``"head:mean"`` the mean over positions, ``"head:unit"`` the neurons of each position divided by their norm.
        weights_path: Weights for a preset or timm model, instead of the default source: a file (a state dict, or the
            official file), or a folder, which is searched for ``NAME.safetensors``, ``NAME.pth`` and the path of the
            file in its repository; ``NAME.ranges.json`` or the official ranges in that folder are used with it.
        crop: ``"center"`` crops images to the largest central square before they are resized.
        input_size: Height and width (or one number) to resize images to; by default that of the preset or timm model.
        resize: ``"clean"``, ``"torch"`` (not clipped) or ``"pillow"`` (rounded to bytes), antialiased and bicubic, or
            ``"tensorflow"``, bilinear without antialiasing. Default: that of the preset, or else ``"clean"``.
        mean: Mean per channel, subtracted from images in [0, 1].
        std: Standard deviation per channel, by which images are then divided.
        channels: Number of channels of images. Grey images (1) are repeated for named networks and timm models; other
            modules get images of this number of channels unchanged.
        dtype: ``"bfloat16"`` or ``"float16"`` to run the network under torch's autocast. This changes activations, so
            such DNAs are not comparable with others.
        properties: Whether to measure properties of the original images, before any resize, too: the layer
            ``"properties"`` of :func:`~torchmetrics_dna.images.properties.image_properties`, whose neurons have names.
            It comes first, unless ``layers`` places it. The feature ``"properties"`` has only that layer, no network.
        compile: Whether to run a named network by ``torch.compile``, which pays for several thousand images. Torch
            keeps the code in ``~/.cache/torch/inductor``, where later processes load it, unless
            ``TORCHINDUCTOR_CACHE_DIR`` is set. Activations change by rounding, so counts differ from those without it.
        device: Device to move the network to; None to leave it in place (the CPU for a named network).

    Attributes:
        name: Name that identifies the extractor.
        neurons: Layers with their numbers of neurons.
        has_properties: True if properties of images are among the layers.
        bytes_per_image: Memory of the activations of one image, in bytes.
        allowed_channels: Numbers of channels that images may have.
        images_at_once: Maximum number of images per forward pass on the CPU, where larger batches are split.
        network: The network.

    Raises:
        TypeError: If ``feature`` is neither a name nor a module.
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
        compile: bool = False,  # noqa: A002 - torch's own word
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        self.dtype = half_of(dtype)
        check_resize(crop, resize)
        with float32_by_default():
            built = plan(feature, layers, weights_path)
        self.name = built.name
        self.crop: Crop = crop
        self.input_size = built.input_size if input_size is None else _size(input_size)
        self.resize: Resize = resize or built.resize
        self.allowed_channels, self._channels = channels_of(built, channels, properties)
        self.mean = per_channel("mean", built.mean if mean is None else mean, self._channels)
        self.std = per_channel("std", built.std if std is None else std, self._channels)
        for name, is_set in (("crop", crop != "none"), ("resize", resize)):
            if is_set and self.input_size is None:
                raise ValueError(f"Argument `{name}` goes with an `input_size`; this network takes images as they are")
        # bypasses __setattr__, so that torch does not register it as a submodule
        self.__dict__["network"] = built.network
        self._own = not isinstance(feature, nn.Module)
        if compile and not self._own:
            raise ValueError(
                "Argument `compile` is for named networks, since it leaves hooks on submodules; give"
                " `torch.compile(module)` as `feature`"
            )
        self._memory_format = torch.contiguous_format  # of images and of convolution weights
        self._packed = PackedWeights() if self._own else None  # a user's weights may change
        self._packed_version: Hashable = None
        self._known_weights: tuple[Hashable, str] | None = None
        self._submodules = built.submodules
        self.neurons = in_order(self._lay_out(built), layers or (), properties or feature == LAYER)
        built.load()  # after the layout: probing a network without weights is faster
        self.has_properties = LAYER in self.neurons
        self._ranges = built.ranges
        self._compiled = CompiledCapture(self.network, self._submodules) if compile else None
        if device is not None:
            self.to(device)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return device_of(self.network)

    @cached_property
    def ranges(self) -> ActivationRanges | None:
        """Activation ranges for the weights, or None; downloaded on first use.

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
    def weights_version(self) -> Hashable:
        """Value that is equal as long as weights, buffers and their dtypes are; cheap, and without a device sync.

        Ask for it before and after, and for :attr:`weights_digest` only where it differs. It has torch's version
        counters, addresses and, of a user's module on the CPU, sampled values. On other devices, writes that torch does
        not count, such as to ``.data`` or by the replay of a CUDA graph, are missed.
        """
        return _version_of(self.network, with_values=not self._own)

    @property
    def weights_digest(self) -> str:
        """Digest of the current weights of the network, 16 hexadecimal digits; computed anew where they changed."""
        version = _version_of(self.network, with_values=not self._own, waits=True)
        if self._known_weights is None or self._known_weights[0] != version:
            self._known_weights = version, self._hash_weights()
        return self._known_weights[1]

    def _hash_weights(self) -> str:
        sha = hashlib.sha256()
        tensors = self.network.state_dict()
        tensors |= {name: buffer for name, buffer in self.network.named_buffers() if name not in tensors}
        for name, tensor in tensors.items():
            if isinstance(tensor, Tensor):  # a module may keep other things, too
                sha.update(name.encode())
                sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return sha.hexdigest()[:16]

    @property
    def digest(self) -> str:
        """Digest of the weights, the layers and the preparation of images, 16 hexadecimal digits."""
        name = untagged(self.name)
        settings = (self.weights_digest, name, dict(self.neurons), self._submodules, self.preparation)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    @property
    def preparation(self) -> dict[str, Any]:
        """Preparation of images and precision of the network, JSON-serializable."""
        as_list = {name: value and list(value) for name, value in (("mean", self.mean), ("std", self.std))}
        size = self.input_size and list(self.input_size)
        weights = {p.dtype for p in self.network.parameters() if p.is_floating_point()} - {torch.float32}
        dtypes = [str(self.dtype)] if self.dtype else []
        dtypes += [f"{dtype} weights" for dtype in sorted(map(str, weights))]
        settings: dict[str, Any] = {
            "resize": self.resize if size else "none",
            "input_size": size,
            "crop": self.crop,
            **as_list,
            "dtype": ", ".join(dtypes).replace("torch.", "") or None,
        }
        settings |= {"channels": self._channels} if self._channels != 3 else {}
        return settings | ({"properties": VERSION} if self.has_properties else {})

    def forward(self, imgs: Tensor, properties: Tensor | None = None, resized: bool = False) -> dict[str, Tensor]:
        """Compute the activations of a batch of images, neurons on axis 1.

        Args:
            imgs: Images ``(B, 3, H, W)``: uint8, or floating point in [0, 1].
            properties: Properties of the original images, ``(B, 21)``; by default measured on ``imgs``.
            resized: Whether images were already resized by the method of this extractor; those of ``"torch"`` may have
                values beyond [0, 1].

        Raises:
            ValueError: If images have another shape, dtype or range.

        """
        parts = self.in_parts(imgs, properties, resized)
        return (
            parts[0] if len(parts) == 1 else {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}
        )

    def in_parts(
        self, imgs: Tensor, properties: Tensor | None = None, resized: bool = False, wait: bool = True
    ) -> list[dict[str, Tensor]]:
        """Compute the activations of :meth:`forward`, as a list of consecutive parts of the batch.

        Consumers that read activations once, such as metrics, save the time and memory of concatenating them. Without
        ``wait``, the range of floating point images is checked without a device sync: beyond [0, 1], activations are
        NaN.
        """
        wait = wait or imgs.device.type == "cpu"
        if not (resized and self.resize == "torch"):
            check_images(imgs, isinstance(imgs, Tensor) and imgs.dtype != torch.uint8, self.allowed_channels, wait)
        with lock_of(self.network):
            if properties is not None:
                return self._run(imgs, properties)
            return shared(self, imgs, self._run if wait or imgs.dtype == torch.uint8 else self._run_or_nan)

    def _run(self, imgs: Tensor, properties: Tensor | None = None) -> list[dict[str, Tensor]]:
        imgs = imgs.expand(-1, self._channels, -1, -1)  # repeats grey channels
        self._meet(imgs.device)
        with borrowing(self.network, self._own):
            at_once = self.images_at_once if imgs.device.type == "cpu" else max(1, len(imgs))
            parts = []
            for rows in cut(len(imgs), at_once):
                part = self._layout.read(self._outputs(imgs[rows], at_once), len(imgs[rows])) if self._layout else {}
                if self.has_properties:
                    part[LAYER] = image_properties(imgs[rows]) if properties is None else properties[rows]
                parts.append({layer: part[layer] for layer in self.neurons})
        return parts

    def _meet(self, device: torch.device) -> None:
        """Move a network of ours to the device of images; ValueError if a module of the user's is on another."""
        if self._own:
            self._move(device)
            self._refresh()
            return
        devices = {tensor.device for tensor in chain(self.network.parameters(), self.network.buffers())}
        # a module may be spread over devices, or fetch its weights from elsewhere
        if len(devices) == 1 and device not in devices and not (found := devices.pop()).type == "meta":
            raise ValueError(
                f"The images are on {device}, but the network is on {found}; move either: `imgs.to({str(found)!r})`, or"
                f" the metric, which takes the network along, `.to({str(device)!r})`"
            )

    def _move(self, device: torch.device) -> None:
        if self.device != device:
            with torch.inference_mode(False):  # or weights would be fit for inference alone
                self.network.to(device)

    def _refresh(self) -> None:
        """Arrange a network of ours for its device, and drop what was made of weights that changed since.

        On the CPU, convolutions are a quarter faster with channels last. A user's module stays as it is, since it may
        take views of activations that channels last do not have.
        """
        memory_format = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        if self._compiled is None and memory_format is not self._memory_format:
            with torch.inference_mode(False):
                self.network.to(memory_format=memory_format)
            self._memory_format = memory_format
        version = self.weights_version
        if self._packed is not None and version != self._packed_version:
            self._packed.clear()
            self._packed_version = version

    def _run_or_nan(self, imgs: Tensor) -> list[dict[str, Tensor]]:
        return or_nan(self._run(imgs), in_unit_range(imgs))

    def pooled(self, layer: str) -> PooledLayer:
        """Return a module that computes the spatial means of a layer, ``(B, n)``, as ``feature`` of FID, KID etc."""
        return PooledLayer(self, layer)

    def resolve_ranges(
        self, ranges: ActivationRanges | str | os.PathLike[str] | None = None
    ) -> ActivationRanges | None:
        """Return activation ranges for this extractor's layers: ``ranges``, read from a file, or packaged ones.

        Returns:
            The ranges; None if histograms are to range themselves: for ``"auto"``, for ranges of self-ranging
            histograms, or by default without packaged ranges.

        Raises:
            ValueError: If layers or neurons do not match.
            TypeError: If ``ranges`` is of another type.

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
        # the range of a self-ranging histogram is no bound for another
        return None if restricted.margin == "auto" else restricted

    def _fitting(self, ranges: ActivationRanges) -> ActivationRanges:
        """Restrict ranges to these neurons, with the fixed ranges of properties added."""
        if self.has_properties and LAYER not in ranges.neurons:
            ranges = ranges.beside(PROPERTY_RANGES)
        return ranges.restrict(self.neurons)

    def train(self, mode: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Stay in evaluation mode: the network never trains."""
        return super().train(False)

    def extra_repr(self) -> str:
        """Return the name and neurons, for ``repr``."""
        return f"{self.name!r}, {self.neurons}"

    def _outputs(self, imgs: Tensor, at_once: int) -> dict[str, Tensor]:
        prepared = self._prepare(imgs)
        try:
            # weights that autocast caches here would have no gradients in a context of the user's around it
            with torch.autocast(imgs.device.type, self.dtype, enabled=self.dtype is not None, cache_enabled=False):
                if self._compiled is not None:
                    return self._compiled(prepared, at_once)
                with rounding_alike(imgs.device, self._packed):
                    edited = self._layout.probed.edited if self._layout else frozenset()
                    return capture(self.network, self._submodules, prepared, edited, stops=self._own)
        except RuntimeError as err:
            if prepared.dtype == torch.uint8 and _ABOUT_TYPES.search(str(err)):
                raise ValueError(
                    f"{self.name} takes floats, but got uint8 images; give `mean` and `std`, such as (0.5, 0.5, 0.5)"
                    " for both, with which images become floats, or a module that takes uint8"
                ) from err
            raise

    def _prepare(self, imgs: Tensor) -> Tensor:
        if self.input_size is None and self.mean is None and self.std is None:
            takes = self._layout and self._layout.probed.dtype
            imgs = imgs.to(takes) if takes and imgs.is_floating_point() else imgs
            return imgs.clone()  # the network may write to them
        imgs = resize_tensor(imgs, self.input_size or (imgs.shape[2], imgs.shape[3]), self.crop, self.resize)
        imgs = imgs.clone() if self.mean is self.std is None else standardised(imgs, self.mean, self.std)
        return imgs.to(own_dtype(self.network))

    def _lay_out(self, built: Plan) -> Mapping[str, int]:
        """Probe the layout of the layers in the network's outputs; return their numbers of neurons."""
        self._layout: Layout | None = None
        if built.outputs == ():  # no layer of the network is used
            self.bytes_per_image, self.images_at_once = 4 * len(PROPERTIES), _AT_ONCE
            return {}
        if not self._own and self.device.type == "meta":
            raise ValueError("The module is on the meta device, so it has no weights; load them before")
        with lock_of(self.network), borrowing(self.network, self._own):
            self._layout = Layout.of(built, self.input_size, self._channels)
        self.bytes_per_image = self._layout.bytes_per_image
        convolutions = sum(weight.ndim == 4 for weight in self.network.parameters())
        at_once = _AT_ONCE if convolutions > 1 else _AT_ONCE_OF_TRANSFORMERS  # one makes patches
        self.images_at_once = max(1, min(at_once, _AT_ONCE_BYTES // self.bytes_per_image))
        return self._layout.widths

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Take only the device: other metrics share the network, or the user has it, in the dtype that it has."""
        with lock_of(self.network):
            self._move(fn(torch.zeros(0, device=self.device)).device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DNAExtractor:
        return self


def _size(value: Any) -> tuple[int, int]:
    """Return the height and width that an argument gives."""
    try:
        sides = tuple(index(side) for side in (value if isinstance(value, Iterable) else (value, value)))
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"Argument `input_size` expected to be a height and width, or one number, but got {value!r}")
    return sides


def _version_of(network: nn.Module, with_values: bool, waits: bool = False) -> Hashable:
    """Return a cheap fingerprint of the weights: addresses, torch's version counters, and values if asked for.

    Version counters miss writes to ``.data``, such as those of moving averages; these change the sampled values, which
    are read on devices other than the CPU only if the host may wait.
    """
    return tuple(
        (
            tensor.data_ptr(),
            None if tensor.is_inference() else tensor._version,
            tensor.dtype,
            _sample_of(tensor) if with_values and (waits or tensor.device.type == "cpu") else None,
        )
        for tensor in chain(network.parameters(), network.buffers())
    )


def _sample_of(tensor: Tensor) -> tuple[float, ...]:
    is_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    flat = (tensor.detach().movedim(1, 3) if is_last else tensor.detach()).flatten()  # a view, without a copy
    return tuple(flat[:: len(flat) // _SAMPLES + 1].tolist())
