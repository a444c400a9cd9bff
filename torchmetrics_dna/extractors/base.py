"""DNAExtractor: a frozen network whose activations describe images; its arguments, its identity, and its calls."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from torchmetrics_dna.checks import brief, check_bool
from torchmetrics_dna.extractors.build import build, untagged
from torchmetrics_dna.extractors.capture import capture, device_of, own_dtype, same_random_numbers
from torchmetrics_dna.extractors.cpu import cut, keep_freed_memory, rounding_alike
from torchmetrics_dna.extractors.fingerprint import Watch, digest_of, fingerprint_of, fixed_images, noise_like
from torchmetrics_dna.extractors.guard import borrowed, float32_by_default, lock_of
from torchmetrics_dna.extractors.layout import DUMMY_SIZE, Layout
from torchmetrics_dna.extractors.preparation import Preparation
from torchmetrics_dna.extractors.sharing import PooledLayer, shared_activations, shared_fingerprint
from torchmetrics_dna.files.download import fetch
from torchmetrics_dna.images.inputs import ROWS, Example, Inputs, mapped, tensors_of
from torchmetrics_dna.images.noun import is_identity
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, VERSION, image_properties, without_properties
from torchmetrics_dna.images.resize import Resize, check_resize
from torchmetrics_dna.images.tensors import check_images, in_unit_range
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from torchmetrics_dna.images.cells import Crop

PROPERTY_RANGES = ActivationRanges(
    torch.zeros(len(PROPERTIES)), torch.ones(len(PROPERTIES)), Neurons({LAYER: len(PROPERTIES)}), name=LAYER
)
# what torch says of inputs of another type than the weights
_ABOUT_TYPES = re.compile(r"dtype|Byte|unsigned char|scalar type")
# images per forward pass on the CPU: the buffers of more are so large that the system maps their pages anew for each
# batch; a light network of convolutions, whose weights stay in caches, is fastest with half as many
_AT_ONCE, _AT_ONCE_OF_LIGHT, _AT_ONCE_BYTES = 8, 4, 2**27
_LIGHT_BYTES = 2**25
_FIXED_SIZE = (64, 64)  # of the image of a fingerprint, if the network takes any size
_AT_ONCE_OF_SMALL, _SMALL_BYTES = 1024, 2**22  # small inputs: calls of the network cost more than its buffers


class DNAExtractor(nn.Module):
    """Frozen network that maps images to the activations of chosen layers, ``{layer: (B, n, *positions)}``.

    The network runs in evaluation mode, without gradients, in IEEE float32 unless its weights or ``dtype`` say
    otherwise. A module of yours is then as if it had run by itself; only ``.to(device)`` moves it, and nothing casts
    it. A named network follows the images. Neither is registered as a submodule: a module that holds the extractor
    gets no parameters, buffers or checkpoint entries from it, and copies of the extractor (hence of metrics) share it,
    but for ``copy.deepcopy`` of what holds first your module and then the extractor, such as for an average of weights.
    Several threads, each with its own metrics, may use one extractor, or several of one module: a lock lets one run the
    network at a time. No other thread may train the module meanwhile. In a call of a ``SharedCollection``, the network
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
        mean: Mean per channel, a list or of one channel a number, subtracted from images in [0, 1].
        std: Standard deviation per channel, by which images are then divided.
        channels: Number of channels of images. Grey images (1) are repeated for named networks and timm models; for
            other modules, images are decoded to this number of channels: 1 is grey, and other than 3 are bands.
        inputs: ``"images"``, or ``"any"`` for a module that takes something else: latents, volumes, spectrograms,
            point clouds. A batch is then a tensor, or a tuple of the module's positional arguments or a dict of its
            keyword arguments, of one length, batch first. It is passed on as it is, nothing is resized, scaled or
            normalised. Arguments about images are left out.
        example: Batch of such inputs, of which up to two run through a copy of the module here, together and apart.
            Inputs must have its structure, numbers of axes and dtypes; sizes are free. Activations are ``(B, n,
            *positions)``.
        channels_last: For such inputs, whether layers have their neurons on the last axis, as transformers do: of all
            layers, or of those named.
        dtype: ``"bfloat16"`` or ``"float16"`` to run the network under torch's autocast. This changes activations, so
            such DNAs are not comparable with others.
        properties: Whether to measure properties of the original images, before any resize, too: the layer
            ``"properties"`` of :func:`~torchmetrics_dna.images.properties.image_properties`, whose neurons have names.
            It comes first, unless ``layers`` places it. The feature ``"properties"`` has only that layer, no network.
            By default :func:`compare` measures them of two sets of images, and nothing else does; False: nor does it.
        device: Device to move the network to; None to leave it in place (the CPU for a named network).

    Attributes:
        name: Name that identifies the extractor.
        is_named: True if the network was made by name, so that no code of the user's changes its weights.
        neurons: Layers with their numbers of neurons.
        has_properties: True if properties of images are among the layers.
        example: Structure and dtypes of inputs that are no images; None for images.
        bytes_per_image: Memory of the activations of one image, in bytes.
        fingerprint: What :meth:`take_fingerprint` gave last; None before, and for a named network.
        input_size: Height and width that images are resized to; None to leave them as they are.
        crop: Crop of images before that.
        resize: Method of resizing.
        image_channels: Number of channels that images are decoded to: that of the network's input; 0 for other inputs.
        allowed_channels: Numbers of channels that images may have; empty for other inputs.
        images_at_once: Maximum number of images per forward pass on the CPU, where larger batches are split.

    Raises:
        TypeError: If ``feature`` is neither a name nor a module.
        ValueError: If a name is unknown, or the activations of a module depend on the rest of a batch or on chance.

    Example:
        >>> extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "head"])
        >>> extractor.neurons
        Neurons(1296 in 2 layers: block_0 16, head 1280)
        >>> activations = extractor(torch.randint(0, 256, (2, 3, 90, 120), dtype=torch.uint8))
        >>> {layer: tuple(x.shape) for layer, x in activations.items()}
        {'block_0': (2, 16, 112, 112), 'head': (2, 1280, 7, 7)}
        >>> latents = torch.randn(2, 4, 32, 32)
        >>> DNAExtractor(torch.nn.Conv2d(4, 8, 3), inputs="any", example=latents).neurons
        Neurons(8 in 1 layer: output 8)

    """

    def __init__(
        self,
        feature: str | nn.Module = "efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        weights_path: str | os.PathLike[str] | None = None,
        crop: Crop = "none",
        input_size: int | tuple[int, int] | None = None,
        resize: Resize | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        channels: int = 3,
        inputs: Literal["images", "any"] = "images",
        example: Inputs | None = None,
        channels_last: bool | Sequence[str] = False,
        dtype: str | torch.dtype | None = None,
        properties: bool | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        if isinstance(feature, DNAExtractor):
            raise TypeError("Argument `feature` is a DNAExtractor already; give it as it is")
        precision: Any = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
        if precision not in (None, torch.float16, torch.bfloat16):
            raise ValueError(f"Argument `dtype` expected to be 'float16', 'bfloat16' or None, but got {dtype!r}")
        self.dtype: torch.dtype | None = precision
        check_resize(crop, resize)
        if properties is not None:
            check_bool("properties", properties)
        if properties is False and LAYER in (layers or ()):
            raise ValueError(f"Argument `properties` is False, but `layers` has {LAYER!r}; leave one out")
        of_images: dict[str, Any] = {"weights_path": weights_path, "crop": crop, "input_size": input_size}
        of_images |= {"resize": resize, "mean": mean, "std": std, "channels": channels, "properties": properties}
        _check_inputs(inputs, example, channels_last, feature, layers, of_images)
        self.example = None if example is None else Example.of(example, "row" if is_identity(feature) else "input")
        self.channels_last = channels_last if isinstance(channels_last, bool) else list(channels_last)  # as in json
        self.is_named = not isinstance(feature, nn.Module)
        with float32_by_default():
            built = build(feature, layers, weights_path, example is None)
        self.name = built.name
        prepared = Preparation(channels=0)
        self.allowed_channels: tuple[int, ...] = ()
        if example is None:
            takes_rgb = built.preparation.size is not None or built.views == {}
            options = input_size, crop, resize, mean, std, channels, takes_rgb
            prepared = built.preparation.with_arguments(self.name, *options)
            if properties and prepared.channels not in (1, 3):
                raise ValueError(
                    f"Argument `properties` is for grey and RGB images, but `channels` is {channels}; leave one out"
                )
            self.allowed_channels = (1, 3) if takes_rgb and channels == 1 else (prepared.channels,)
        self._preparation, self.image_channels = prepared, prepared.channels
        self.input_size, self.crop, self.resize = prepared.size, prepared.crop, prepared.resize
        # which holds the network: as an attribute, torch would register it as a submodule
        self._watch = Watch(built.network, samples=not self.is_named)
        self._submodules, self._own_dtype = built.submodules, own_dtype(self.network)  # which inputs are chosen for
        self._layout: Layout | None = None
        self.bytes_per_image, self.images_at_once = 4 * len(PROPERTIES), _AT_ONCE
        if built.views != {}:
            probe = Layout.of, built, self.is_named, prepared, example, channels_last
            with lock_of(self.network):
                self._layout = borrowed(self.network, self.is_named, *probe)
            self.bytes_per_image = self._layout.bytes_per_image
            self.images_at_once = _images_at_once(self.network, self.bytes_per_image, self.example)
        built.load()  # after the layout: probing a network without weights is faster
        widths = self._layout.widths if self._layout else {}
        order = [*(layer for layer in widths if layer not in (layers or ())), *(layers or ())]
        if (properties or feature == LAYER) and LAYER not in order:
            order.insert(0, LAYER)
        self.neurons = Neurons({layer: widths.get(layer, len(PROPERTIES)) for layer in order})
        self.has_properties = LAYER in self.neurons
        self.may_have_properties = properties is not False and self.image_channels in (1, 3)
        self._ranges = built.ranges
        self.fingerprint: dict[str, Any] | None = None
        # for a module that fails on noise, or gives what is not finite, noise without a sign, and what the example is
        makes = noise_like, partial(noise_like, signed=False), lambda tensor: tensor[:1].detach().cpu().clone()
        self._fixed_inputs = () if example is None else tuple(mapped(make, example) for make in makes)
        if device is not None:
            self.to(device)

    # Identity

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._watch.network

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return device_of(self.network)

    @property
    def why_no_pictures(self) -> str:
        """Reason why what it takes can't be shown as pictures; empty for grey and RGB images."""
        if self.example is not None:
            return "the network takes no pictures"
        return "" if self.image_channels in (1, 3) else f"images have {self.image_channels} channels"

    def check_pictures(self, what: str) -> None:
        """Raise ValueError if what it takes can't be shown, with ``what`` shows it, such as "A contact sheet"."""
        if self.why_no_pictures:
            raise ValueError(f"{what} takes grey or RGB images, but {self.why_no_pictures}; leave it out")

    @property
    def weights_version(self) -> Hashable:
        """Value that is equal as long as weights, buffers and their dtypes are; cheap, and without a device sync.

        Ask for it before and after, and for :attr:`weights_digest` only where it differs. It has torch's version
        counters, addresses and, of a user's module on the CPU, sampled values. On other devices, writes that torch does
        not count, such as to ``.data`` or by the replay of a CUDA graph, are missed.
        """
        return self._watch.snapshot()

    @property
    def weights_digest(self) -> str:
        """Digest of the current weights of the network, 16 hexadecimal digits; computed anew where they changed."""
        return self._watch.digest

    @property
    def origin(self) -> dict[str, Any]:
        """Name, current weights, preparation and fingerprint, as fields of values that are made of its activations."""
        names = ("weights_digest", "preparation", "fingerprint")
        return {"extractor": self.name} | {name: getattr(self, name) for name in names}

    def input_form(self, imgs: Inputs) -> list[Any]:
        """Return the form of the fixed input for inputs of this dtype: dtype, height and width, or a digest of noise.

        It is the same for images of all sizes, so that all can be compared.
        """
        if self._fixed_inputs:
            return [digest_of(dict(enumerate(tensors_of(self._fixed_inputs[0]))))]
        dtype = str(imgs.dtype).removeprefix("torch.") if self._preparation.is_none else "uint8"  # type: ignore[union-attr]
        return [dtype, *(self.input_size or _FIXED_SIZE)]

    def take_fingerprint(self, form: Sequence[Any]) -> dict[str, Any] | None:
        """Run the network on a fixed input; return what it computes as a few numbers a layer, and keep them.

        Two modules, or one at two times, may have equal weights, and yet compute other activations: by another
        activation function, a hook, an adapter that is switched off, a plain attribute. So metrics and jobs take a
        fingerprint with the first images of a side and when they compare. A named network has none, since no code of
        the user's changes what it does; that of one that fails on such inputs has no layers.

        Args:
            form: What :meth:`input_form` gives, or the ``"input"`` of another fingerprint.

        """
        if not self.is_named:
            self.fingerprint = shared_fingerprint(self, form, self._fingerprint)
        return self.fingerprint

    def _fingerprint(self, form: Sequence[Any]) -> dict[str, Any]:
        exact = copy(self)
        exact.dtype = None  # the precision of autocast is in the preparation
        if (precision := exact.preparation["dtype"]) is not None:
            exact.dtype = self.dtype  # such weights may need it
        taken = fingerprint_of(form, {}, precision)
        # random numbers that a module draws are the same each time, and the user's go on as without it
        with lock_of(self.network), same_random_numbers(self.network, seed=0):
            for form_now, inputs in self._fixed(form):
                with suppress(Exception):  # it takes no such input, as where pixels are numbers of something
                    there = mapped(lambda tensor: tensor.to(self.device), inputs)
                    outputs = borrowed(self.network, self.is_named, exact._outputs, there)
                    taken = fingerprint_of(form_now, outputs, precision)
                    if all(bool(values.isfinite().all()) for values in outputs.values()):
                        break
        return taken

    def _fixed(self, form: Sequence[Any]) -> Iterator[tuple[list[Any], Inputs]]:
        """Yield the fixed input of a form, and others for a module that fails on it, each with its own form."""
        for number, inputs in enumerate(self._fixed_inputs):
            yield [*self.input_form(inputs), number], inputs
        takes_images = not self._fixed_inputs and len(form) == 3  # or it is the form of another extractor
        for size in [(form[1], form[2]), DUMMY_SIZE] if takes_images else []:
            yield [form[0], *size], fixed_images(self.image_channels, size, getattr(torch, form[0]))

    @property
    def digest(self) -> str:
        """Digest of the weights, the layers and the preparation of images, 16 hexadecimal digits."""
        layers = dict(self.neurons), self._submodules
        settings = (self.weights_digest, untagged(self.name), *layers, self.preparation)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    @property
    def preparation(self) -> dict[str, Any]:
        """Preparation of images and precision of the network, JSON-serializable."""
        weights = {p.dtype for p in self._watch.parameters if p.is_floating_point()} - {torch.float32}
        dtypes = [str(self.dtype)] if self.dtype else []
        dtypes += [f"{dtype} weights" for dtype in sorted(map(str, weights))]
        precision = ", ".join(dtypes).replace("torch.", "") or None
        if self.example is not None:
            return {"inputs": self.example.dtypes, "channels_last": self.channels_last or None, "dtype": precision}
        return self._preparation.identity(precision) | ({"properties": VERSION} if self.has_properties else {})

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

    def resolve_ranges(
        self, ranges: ActivationRanges | str | os.PathLike[str] | None = None
    ) -> ActivationRanges | None:
        """Return activation ranges for this extractor's layers: ``ranges``, read from a file, or packaged ones.

        Returns:
            The ranges; None if histograms are to range themselves: for ``"auto"``, for ranges of self-ranging
            histograms, or by default without packaged ranges.

        Raises:
            ValueError: If layers or neurons do not match.

        """
        if ranges is None:
            return self.ranges
        if ranges == "auto":
            return None
        if isinstance(ranges, (str, os.PathLike)):
            ranges = ActivationRanges.load(ranges)
        if not isinstance(ranges, ActivationRanges):
            raise TypeError(
                f"Argument `ranges` expected to be ActivationRanges, a path or 'auto', but got {brief(ranges)}"
            )
        restricted = self._fitting(ranges)
        # the range of a self-ranging histogram is no bound for another
        return None if restricted.margin == "auto" else restricted

    def _fitting(self, ranges: ActivationRanges) -> ActivationRanges:
        """Restrict ranges to these neurons, with the fixed ranges of properties added."""
        if self.has_properties and LAYER not in ranges.neurons:
            ranges = ranges.beside(PROPERTY_RANGES)
        return ranges.restrict(self.neurons)

    # Calls

    def check(self, imgs: Any, normalize: bool, values: bool = True) -> None:
        """Raise ValueError or TypeError unless a batch is what the extractor takes.

        Args:
            imgs: The batch.
            normalize: Whether images are floating point in [0, 1], rather than uint8.
            values: Whether to check values of images, too. For floating point images on a device, this is a device
                sync.

        """
        if self.example is not None:
            self.example.check(imgs)
        else:
            check_images(imgs, normalize, self.allowed_channels, values)

    def forward(self, imgs: Inputs, properties: Tensor | None = None, resized: bool = False) -> dict[str, Tensor]:
        """Compute the activations of a batch of images, neurons on axis 1.

        Args:
            imgs: Images ``(B, 3, H, W)``: uint8, or floating point in [0, 1]; or other inputs, like the example.
            properties: Properties of the original images, a column each; by default measured on ``imgs``.
            resized: Whether images were already resized by the method of this extractor; those of ``"torch"`` may have
                values beyond [0, 1].

        Raises:
            ValueError: If images have another shape, dtype or range.

        """
        parts = list(self.in_parts(imgs, properties, resized))
        if len(parts) == 1:
            return parts[0]
        for layer in parts[0]:
            shapes = {tuple(part[layer].shape[2:]): None for part in parts}
            if len(shapes) > 1:
                raise ValueError(
                    f"Layer {layer!r} has positions of shape {' and '.join(map(str, shapes))} in this batch, which one"
                    " tensor can't hold; give inputs apart whose positions differ"
                )
        return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}

    def in_parts(
        self, imgs: Inputs, properties: Tensor | None = None, resized: bool = False, wait: bool = True
    ) -> Iterable[dict[str, Tensor]]:
        """Compute the activations of :meth:`forward`, part by part of the batch: each as it is asked for, and once.

        Consumers that read activations once, such as metrics, save the memory of all others, and the time in which the
        system maps it. Without ``wait``, the range of floating point images is checked without a device sync: more
        than 0.001 beyond [0, 1], activations are NaN.
        """
        is_float = isinstance(imgs, Tensor) and imgs.dtype != torch.uint8
        wait = wait or not isinstance(imgs, Tensor) or imgs.device.type == "cpu"
        if self.example is not None or not (resized and self.resize == "torch"):
            self.check(imgs, is_float, wait)
        if properties is not None:
            return self._run(imgs, properties)
        run: Callable[[Any], Iterator[dict[str, Tensor]]] = self._run
        if is_float and self.example is None and not resized:
            run = self._run_clamped if wait else self._run_or_nan
        return shared_activations(self, imgs, run)

    def _run(
        self, imgs: Any, properties: Tensor | None = None, is_clamped: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Run the network part by part; images are first clamped to [0, 1] if ``is_clamped``."""
        if self.example is None:
            imgs = imgs.expand(-1, self.image_channels, -1, -1)  # repeats grey channels
        first = tensors_of(imgs)[0]
        at_once = self.images_at_once if first.device.type == "cpu" else max(1, len(first))
        for rows in cut(len(first), at_once):
            inputs = mapped(itemgetter(rows), imgs)
            if is_clamped:
                inputs = inputs.clamp(0, 1)
            with lock_of(self.network):
                self._meet(first.device)
                part = borrowed(self.network, self.is_named, self._outputs, inputs)
                if self.has_properties:
                    part[LAYER] = image_properties(inputs) if properties is None else properties[rows]
            yield {layer: part.pop(layer) for layer in self.neurons}

    def _run_clamped(self, imgs: Any) -> Iterator[dict[str, Tensor]]:
        """Run the network on floating point images clamped to [0, 1], whose range was checked."""
        return self._run(imgs, is_clamped=True)

    def _run_or_nan(self, imgs: Any) -> Iterator[dict[str, Tensor]]:
        """Replace activations by NaN if an image is out of range, without a device sync."""
        valid = in_unit_range(imgs)
        for part in self._run(imgs, is_clamped=True):
            with torch.inference_mode():
                yield {layer: torch.where(valid.to(values.device), values, torch.nan) for layer, values in part.items()}

    def _outputs(self, imgs: Any) -> dict[str, Tensor]:
        """Return the activations of the network's layers for a part of a batch."""
        if self._layout is None:
            return {}
        probed = self._layout.probed
        if self.example is not None:
            inputs = mapped(torch.clone, imgs)  # the network may write to them
        else:
            inputs = self._preparation.apply(
                imgs, probed.dtype if self._preparation.is_none else own_dtype(self.network)
            )
        first = tensors_of(inputs)[0]
        copied = probed.edited if self.is_named else None
        keep_freed_memory()
        try:
            # weights that autocast caches here would have no gradients in a context of the user's around it
            with (
                torch.autocast(first.device.type, self.dtype, enabled=self.dtype is not None, cache_enabled=False),
                rounding_alike(first.device),
            ):
                outputs = capture(self.network, self._submodules, inputs, copied, stops=self.is_named)
        except RuntimeError as err:
            if first.dtype == torch.uint8 and _ABOUT_TYPES.search(str(err)):
                raise ValueError(
                    f"{self.name} takes floats, but got uint8 images; give `mean` and `std`, for both such as"
                    f" {[0.5] * self.image_channels}, with which images become floats, or a module that takes uint8"
                ) from err
            if (dtype_now := own_dtype(self.network)) != self._own_dtype:
                raise ValueError(
                    f"{self.name} has {dtype_now} weights, but had {self._own_dtype} ones when its extractor was made;"
                    " make a new DNAExtractor of it"
                ) from err
            raise
        return self._layout.read(outputs, len(first))

    def _meet(self, device: torch.device) -> None:
        """Bring a network of ours to the device of images; ValueError if a module of the user's is on another."""
        if self.is_named:
            self._move(device)
            # on the CPU, convolutions are a quarter faster with channels last; a module of the user's may take views of
            # activations that these do not have
            form = torch.channels_last if device.type == "cpu" else torch.contiguous_format
            weights = (w for w in self.network.parameters() if w.ndim == 4 and w.shape[1] > 1 < w.shape[2])
            first = next(weights, None)  # which tells for all
            if first is not None and not first.is_contiguous(memory_format=form):
                with torch.inference_mode(False):
                    self.network.to(memory_format=form)
            return
        devices = {tensor.device for tensor in self._watch.tensors}
        # a module may be spread over devices, or fetch its weights from elsewhere
        if len(devices) == 1 and device not in devices and not (own := devices.pop()).type == "meta":
            raise ValueError(
                f"The images are on {device}, but the network is on {own}; move either: `imgs.to({str(own)!r})`, or"
                f" the metric, which takes the network along, `.to({str(device)!r})`"
            )

    def _move(self, device: torch.device) -> None:
        if self.device != device:
            with torch.inference_mode(False):  # or weights would be fit for inference alone
                self.network.to(device)

    def pooled(self, layer: str) -> PooledLayer:
        """Return a module that computes the spatial means of a layer, ``(B, n)``, as ``feature`` of FID, KID etc."""
        return PooledLayer(self, layer)

    def without_properties(self) -> DNAExtractor:
        """Return the extractor without properties of images; itself if it does not have both.

        Example:
            >>> DNAExtractor(layers=["head"], properties=True).without_properties().neurons
            Neurons(1280 in 1 layer: head 1280)

        """
        neurons = without_properties(self.neurons)
        return self if neurons is None else self._of(neurons)

    def with_properties(self) -> DNAExtractor:
        """Return the extractor with properties of images as its first layer; itself if it was to have none.

        It also returns itself if it has them, or takes no RGB images.

        Example:
            >>> list(DNAExtractor(layers=["head"]).with_properties().neurons)
            ['properties', 'head']

        """
        if self.has_properties or not self.may_have_properties:
            return self
        return self._of(Neurons({LAYER: len(PROPERTIES), **self.neurons}))

    def _of(self, neurons: Neurons) -> DNAExtractor:
        """Return a copy for these neurons: those of the network, with or without properties of images."""
        other = copy(self)
        other.__dict__.pop("ranges", None)  # cached for these neurons
        other.neurons, other.has_properties = neurons, LAYER in neurons
        return other

    # torch

    def train(self, mode: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Stay in evaluation mode: the network never trains."""
        return super().train(False)

    def extra_repr(self) -> str:
        """Return the name and neurons, for ``repr``."""
        return f"{self.name!r}, {self.neurons}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Take only the device: other metrics share the network, or the user has it, in the dtype that it has."""
        with lock_of(self.network):
            self._move(fn(torch.zeros(0, device=self.device)).device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DNAExtractor:
        """Return the extractor itself; or of the copy of a user's module, where a holder of both is copied."""
        network = memo.get(id(self.network))
        if network is None or self.is_named:
            return self
        copied = copy(self)
        copied._watch = Watch(network, samples=True)
        return copied


def _images_at_once(network: nn.Module, bytes_per_image: int, example: Example | None) -> int:
    """Return the maximum number of images, or of inputs like an example, per forward pass on the CPU."""
    weights = list(network.parameters())
    is_light = sum(weight.nbytes for weight in weights) < _LIGHT_BYTES
    has_convolutions = sum(weight.ndim == 4 for weight in weights) > 1  # one makes patches
    at_once = _AT_ONCE_OF_LIGHT if is_light and has_convolutions else _AT_ONCE
    if example is not None:
        at_once = max(at_once, min(_AT_ONCE_OF_SMALL, _SMALL_BYTES // max(example.num_bytes, bytes_per_image)))
    return max(1, min(at_once, _AT_ONCE_BYTES // bytes_per_image))


def _check_inputs(
    inputs: str,
    example: object,
    channels_last: object,
    feature: object,
    layers: Sequence[str] | None,
    of_images: dict[str, Any],
) -> None:
    """Raise ValueError unless arguments about inputs go together, and with those that are ``of_images``."""
    if is_identity(feature):
        if inputs != "any" or not isinstance(example, Tensor) or layers is not None:
            raise ValueError(
                f"Feature {feature!r} takes embeddings, which have no layers; give `inputs='any'` and, as `example`, a"
                " batch of them (N, D)"
            )
        ROWS.check(example)
    if inputs == "images":
        if example is not None or channels_last is not False:
            name = "example" if example is not None else "channels_last"
            raise ValueError(f"Argument `{name}` goes with `inputs='any'`; leave it out, or give both")
        return
    if example is None:
        raise ValueError("Argument `inputs` is 'any', so `example` expected to be a batch of inputs, but got None")
    if not isinstance(feature, nn.Module) and not is_identity(feature):
        raise ValueError(f"Argument `inputs` is 'any', so `feature` expected to be a module, but got {feature!r}")
    names = [name for name, value in of_images.items() if value not in (None, False, "none", 3)]
    names += ["layers"] if LAYER in (layers or ()) else []
    for name in names:
        what = f"has {LAYER!r}, which are" if name == "layers" else "is"
        raise ValueError(f"Argument `{name}` {what} for pictures, but `inputs` is 'any'; leave it out")
