"""DNAExtractor: a frozen network whose activations describe images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from torchmetrics_dna.checks import brief, check_bool
from torchmetrics_dna.extractors.arguments import autocast_dtype, check_inputs
from torchmetrics_dna.extractors.build import Built, build, untagged
from torchmetrics_dna.extractors.compiled import outside_graphs
from torchmetrics_dna.extractors.cpu import cut
from torchmetrics_dna.extractors.fingerprint import fingerprint_of
from torchmetrics_dna.extractors.fixed_inputs import FixedInputs
from torchmetrics_dna.extractors.guard import float32_by_default, lock_of
from torchmetrics_dna.extractors.modules import same_random_numbers
from torchmetrics_dna.extractors.preparation import ImageArguments, Preparation
from torchmetrics_dna.extractors.running import Runner, images_at_once
from torchmetrics_dna.extractors.sharing import NO_FEATURE_SHARE, shared_activations, shared_fingerprint
from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.files.download import fetch
from torchmetrics_dna.images.inputs import Example, Inputs, mapped, tensors_of
from torchmetrics_dna.images.noun import is_identity
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, VERSION, image_properties, without_properties
from torchmetrics_dna.images.resize import Resize, check_resize
from torchmetrics_dna.images.tensors import check_images, in_unit_range
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.options import argument, written

if TYPE_CHECKING:
    from torchmetrics_dna.images.cells import Crop

PROPERTY_RANGES = ActivationRanges(
    torch.zeros(len(PROPERTIES)), torch.ones(len(PROPERTIES)), Neurons({LAYER: len(PROPERTIES)}), name=LAYER
)


class DNAExtractor(nn.Module):
    """Frozen network that maps images to the activations of chosen layers, ``{layer: (B, n, *positions)}``.

    The network runs in evaluation mode and without gradients. It computes in IEEE float32, unless its weights or
    ``dtype`` have another precision.

    - Your own module is not changed. After a pass, its training flags are as before. Only ``.to(device)`` moves the
      module, and its weights keep their dtype. A network that was made by name follows the images to their device.
    - The network is not a submodule of the extractor. A module that holds the extractor gets no parameters, buffers or
      checkpoint entries from it.
    - Copies of the extractor share the network, and so do copies of metrics. There is one exception, for an object that
      holds your module and, after the module, the extractor. If ``copy.deepcopy`` copies such an object, the copied
      extractor uses the copied module. An example is a model that averages weights.
    - Several threads may use an extractor, or several extractors of one module, if each thread has its own metrics. One
      thread at a time runs the network. No other thread may train the module while it runs.
    - In a ``SharedCollection``, the network runs once per batch for all metrics.

    Args:
        feature: Name of a preset or of a timm model, or a module. timm downloads the weights of its models. A module
            that timm built is prepared like the model of that name, but keeps its current weights. Any other module
            gets images that are not resized or normalised. The output of such a module defines the layers, unless
            ``layers`` is passed. The output may be a tensor ``(B, n)`` or ``(B, n, H, W)``, or a dict, list or tuple of
            such tensors.
        layers: Names of the layers, in the order in which they are returned: layers of the preset, submodules of the
            network, or entries of its output. For a preset, the default is all its layers, except for
            ``"inception_fid"``, where it is ``"block_3"``. For a timm model, the default is every block or stage and
            the final norm. For another module, the default is the output. A name may end with a view.
            ``"last_norm:class"`` is the class token of the layer ``"last_norm"``. ``"head:mean"`` is the mean of
            ``"head"`` over positions. ``"head:unit"`` divides the neurons of each position by their norm. The final
            norm of a transformer is called ``"last_norm"`` in presets, and ``"norm"`` in most timm models. Both names
            are accepted for presets and for timm models. The layer keeps the network's own name.
        weights_path: File or folder with weights for a preset or timm model, instead of the default source. A file
            holds a state dict, or has the official format. A folder is searched for ``NAME.safetensors``, ``NAME.pth``,
            ``NAME.pt`` and the path that the file has in its repository. If the folder has ``NAME.ranges.json`` or the
            official activation ranges, these ranges are used.
        crop: ``"center"`` crops images to the largest central square before they are resized.
        input_size: Height and width to which images are resized, or one number for both. The default is that of the
            preset or timm model.
        resize: Method of resizing: ``"clean"``, ``"torch"`` (not clipped), ``"pillow"`` (rounded to bytes) or
            ``"tensorflow"``. The first three are bicubic with antialiasing. The last one is bilinear without
            antialiasing. The default is that of the preset. Without a preset, the default is ``"clean"``.
        mean: Mean of each channel, subtracted from images in [0, 1]: a list, or one number for all channels.
        std: Standard deviation of each channel, by which images are then divided: a list, or one number for all
            channels.
        channels: Number of channels of images. For named networks and timm models, grey images (1) are repeated to
            three channels. For other modules, images are decoded to this number of channels: 1 is grey, 3 is RGB, and
            other numbers are bands.
        inputs: ``"images"``, or ``"any"`` for a module with other inputs, such as latents, volumes, spectrograms or
            point clouds. With ``"any"``, a batch is a tensor, a tuple of positional arguments or a dict of keyword
            arguments. The tensors of a batch have the batch on axis 0. Inputs are not resized, scaled or normalised,
            and arguments about images are not accepted.
        example: Batch of inputs, required by ``inputs="any"``. A copy of the module runs on up to two inputs of the
            example, together and one by one. All later inputs must have the structure, numbers of axes and dtypes of
            the example, but may have other sizes. The activations are ``(B, n, *positions)``.
        channels_last: For ``inputs="any"``, whether layers have their neurons on the last axis, as transformers do: a
            bool for all layers, or the names of the layers that do.
        dtype: ``"bfloat16"`` or ``"float16"`` to run the network under torch's autocast. Autocast changes activations,
            so DNAs of different precisions can't be compared.
        properties: Whether to measure properties of the original images as well, before they are resized. The
            properties are the layer ``"properties"``, see
            :func:`~torchmetrics_dna.images.properties.image_properties`. The neurons of this layer have names. The
            layer comes first, unless ``layers`` has it at another place. The feature ``"properties"`` has only this
            layer, and no network. By default, only :func:`compare` measures properties, for two sets of images. If
            False, :func:`compare` does not measure properties either.
        device: Device to which the network is moved. If None, the network stays where it is. A named network is then on
            the CPU.

    Attributes:
        name: Name that identifies the extractor.
        is_named: True if the network was made by name. The user's code then can't change its weights.
        neurons: Number of neurons of each layer.
        has_properties: True if the properties of images are one of the layers.
        may_have_properties: True if :meth:`with_properties` can add the properties of images.
        example: Structure and dtypes of inputs that are not images, or None for images.
        bytes_per_image: Memory of the activations of one image, in bytes.
        fingerprint: The last result of :meth:`take_fingerprint`; None before its first call, and for a named network.
        input_size: Height and width to which images are resized, or None if they are not resized.
        crop: Crop of images before they are resized.
        resize: Method of resizing.
        image_channels: Number of channels to which images are decoded for the network, or 0 for other inputs.
        allowed_channels: Numbers of channels that images may have; empty for other inputs.
        images_at_once: Maximum number of images per forward pass on the CPU. Larger batches are split.

    Raises:
        TypeError: If ``feature`` is neither a name nor a module.
        ValueError: If a name is unknown, or arguments do not go together. Also if the activations of a module depend on
            the rest of a batch or on random numbers.

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
            raise TypeError("Argument `feature` is a DNAExtractor already")
        self.dtype: torch.dtype | None = autocast_dtype(dtype)
        check_resize(crop, resize)
        _check_properties(properties, layers)
        image_arguments = ImageArguments(crop, input_size, resize, mean, std, channels)
        about_images = {"weights_path": weights_path, **vars(image_arguments), "properties": properties}
        check_inputs(inputs, example, channels_last, feature, layers, about_images)
        self.example = _structure(example, feature)
        # A list stays equal when it is written to json and read again.
        self.channels_last = channels_last if isinstance(channels_last, bool) else list(channels_last)
        self.is_named = not isinstance(feature, nn.Module)
        takes_images = example is None
        with float32_by_default():
            built = build(feature, layers, weights_path, takes_images)
        self.name = built.name
        self._ranges = built.ranges
        self.allowed_channels: tuple[int, ...]
        if takes_images:
            preparation = built.preparation.with_arguments(self.name, image_arguments, built.takes_rgb)
            _check_channels_of_properties(properties, preparation.channels)
            # If the network takes RGB images, the channel of grey images is repeated.
            is_grey_for_rgb = built.takes_rgb and channels == 1
            self.allowed_channels = (1, 3) if is_grey_for_rgb else (preparation.channels,)
        else:
            preparation = Preparation(channels=0)
            self.allowed_channels = ()
        self._set_preparation(preparation, example)
        self._runner = Runner(built, self.is_named, preparation, takes_images)
        widths = self._probe(built, example, channels_last)
        # Probing a network is faster before its weights are loaded.
        built.load()
        requested_layers = layers if built.layers is None else built.layers
        self.neurons = _neurons(widths, requested_layers, has_properties=bool(properties) or feature == LAYER)
        self.has_properties = LAYER in self.neurons
        self.may_have_properties = properties is not False and self.image_channels in (1, 3)
        self.fingerprint: dict[str, Any] | None = None
        if device is not None:
            self.to(device)

    def _set_preparation(self, preparation: Preparation, example: Inputs | None) -> None:
        """Set the preparation of images, with the attributes and the fixed inputs that follow from it."""
        self._preparation = preparation
        self.image_channels = preparation.channels
        self.input_size = preparation.size
        self.crop = preparation.crop
        self.resize = preparation.resize
        self._fixed_inputs = FixedInputs(preparation, example)

    def _probe(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> dict[str, int]:
        """Return the number of neurons of each layer of the network, and set the attributes about its memory.

        The network is probed, unless the only layer is that of image properties, which the network does not compute.
        """
        if built.views == {}:
            # Properties are float32.
            self.bytes_per_image = 4 * len(PROPERTIES)
            widths = {}
        else:
            layout = self._runner.probe(built, example, channels_last)
            self.bytes_per_image = layout.bytes_per_image
            widths = dict(layout.widths)
        self.images_at_once = images_at_once(self.network, self.bytes_per_image, self.example)
        return widths

    # Identity

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._runner.network

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self._runner.device

    @property
    def why_no_pictures(self) -> str:
        """Reason why the inputs can't be shown as pictures; empty for grey and RGB images."""
        if self.example is not None:
            return "the network takes no pictures"
        if self.image_channels not in (1, 3):
            return f"images have {self.image_channels} channels"
        return ""

    def check_pictures(self, what: str) -> None:
        """Raise ValueError if the inputs can't be shown as pictures.

        Args:
            what: Subject of the message, which names what shows pictures, such as "A contact sheet".

        """
        if self.why_no_pictures:
            raise ValueError(f"{what} takes grey or RGB images, but {self.why_no_pictures}")

    @property
    def weights_version(self) -> Hashable:
        """Value that changes if weights, buffers or their dtypes change.

        The value is cheap, and needs no device sync. As long as the value is the same, :attr:`weights_digest` is the
        same, too. The value consists of torch's version counters and the addresses of tensors. For a user's module on
        the CPU, it also has sampled values. On other devices, the value misses writes that torch does not count, such
        as writes to ``.data`` or by the replay of a CUDA graph.
        """
        return self._runner.watch.snapshot()

    @property
    def weights_digest(self) -> str:
        """Digest of the current weights of the network, 16 hexadecimal digits; computed again if the weights change."""
        return self._runner.watch.digest

    @property
    def origin(self) -> dict[str, Any]:
        """Name, weights digest, preparation and fingerprint, which a DNA keeps of its extractor."""
        return {
            "extractor": self.name,
            "weights_digest": self.weights_digest,
            "preparation": self.preparation,
            "fingerprint": self.fingerprint,
        }

    def input_form(self, imgs: Inputs) -> list[Any]:
        """Return the form of the fixed input of fingerprints, for a batch of this dtype.

        Images of all sizes have the same form, so their fingerprints can be compared.

        Returns:
            The dtype, height and width of the fixed image. For inputs other than images, a digest of the fixed noise.

        """
        return self._fixed_inputs.form(imgs)

    def take_fingerprint(self, form: Sequence[Any]) -> dict[str, Any] | None:
        """Run the network on a fixed input; return and keep a few numbers of each layer's activations.

        Two modules with equal weights may compute different activations, because of another activation function, a
        hook, an adapter that is switched off, or a plain attribute. So metrics and jobs take a fingerprint with the
        first images of a set, and compare fingerprints when they compare sets.

        Args:
            form: Result of :meth:`input_form`, or the ``"input"`` of another fingerprint.

        Returns:
            The fingerprint. If the network fails on all fixed inputs, the fingerprint has no layers. A named network
            has no fingerprint (None), because the user's code can't change it.

        """
        if not self.is_named:
            self.fingerprint = shared_fingerprint(self, self._runner.watch, form, self._fingerprint)
        return self.fingerprint

    def _fingerprint(self, form: Sequence[Any]) -> dict[str, Any]:
        """Return the fingerprint of the first fixed input for which all activations are finite.

        If there is no such input, the fingerprint is that of the last input on which the network does not fail.
        """
        # Fingerprints are taken without autocast, whose dtype is part of the preparation already. But weights that are
        # not float32 may need autocast to run.
        precision = self._precision(None)
        autocast = None if precision is None else self.dtype
        # If the network fails on all inputs, the fingerprint has no layers.
        fingerprint = fingerprint_of(form, {}, precision)
        # A module that draws random numbers gets the same ones each time. The user's random state does not change.
        with lock_of(self.network), same_random_numbers(self.network, seed=0):
            for form_of_inputs, inputs in self._fixed_inputs.of(form):
                # Some modules fail on noise. An example is a module that uses pixels as indices.
                with suppress(Exception):
                    activations = self._activations_of_fixed(inputs, autocast)
                    fingerprint = fingerprint_of(form_of_inputs, activations, precision)
                    if _are_finite(activations):
                        break
        return fingerprint

    def _activations_of_fixed(self, inputs: Inputs, autocast: torch.dtype | None) -> dict[str, Tensor]:
        """Return the activations of a fixed input of fingerprints, computed on the device of the network."""
        device = self.device
        inputs_on_device = mapped(lambda tensor: tensor.to(device), inputs)
        return self._runner.run(inputs_on_device, autocast, home=device)

    @property
    def digest(self) -> str:
        """Digest of the weights, the layers and the preparation of images, 16 hexadecimal digits."""
        widths = dict(self.neurons)
        settings = (self.weights_digest, untagged(self.name), widths, self._runner.submodules, self.preparation)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    @property
    def preparation(self) -> dict[str, Any]:
        """Preparation of images or other inputs, and precision of the network, JSON-serializable."""
        precision = self._precision(self.dtype)
        if self.example is not None:
            return {"inputs": self.example.dtypes, "channels_last": self.channels_last or None, "dtype": precision}
        preparation = self._preparation.identity(precision)
        if self.has_properties:
            preparation["properties"] = VERSION
        return preparation

    def _precision(self, autocast: torch.dtype | None) -> str | None:
        """Return the precision of the network in words (such as "bfloat16, float16 weights"), or None for float32."""
        words = []
        if autocast is not None:
            words.append(str(autocast))
        dtypes = {weight.dtype for weight in self._runner.watch.parameters if weight.is_floating_point()}
        unusual_dtypes = sorted(str(dtype) for dtype in dtypes - {torch.float32})
        words += [f"{dtype} weights" for dtype in unusual_dtypes]
        if not words:
            return None
        return ", ".join(words).replace("torch.", "")

    @cached_property
    def ranges(self) -> ActivationRanges | None:
        """Packaged activation ranges for the weights, or None if there are none. They are downloaded on first use.

        Raises:
            OSError: If the ranges can't be downloaded.

        """
        if self._ranges is None:
            has_only_properties = list(self.neurons) == [LAYER]
            return PROPERTY_RANGES if has_only_properties else None
        path = self._ranges
        if isinstance(path, str):
            remedy = f"pass the file as {written('ranges')}, or {written('ranges', 'auto')}"
            path = fetch(path, is_fixed=True, remedy=remedy)
        ranges = self._fitting(ActivationRanges.load(path))
        return replace(ranges, name=ranges.name or self.name)

    def resolve_ranges(
        self, ranges: ActivationRanges | str | os.PathLike[str] | None = None
    ) -> ActivationRanges | None:
        """Return activation ranges for this extractor's layers.

        Args:
            ranges: Activation ranges, or a file of them. None uses the packaged ranges, if there are any. ``"auto"``
                requests self-ranging histograms.

        Returns:
            The ranges, or None for self-ranging histograms.

        Raises:
            TypeError: If ``ranges`` has another type.
            ValueError: If the layers or numbers of neurons do not match.

        """
        if ranges is None:
            return self.ranges
        if ranges == "auto":
            return None
        if isinstance(ranges, (str, os.PathLike)):
            ranges = ActivationRanges.load(ranges)
        if not isinstance(ranges, ActivationRanges):
            raise TypeError(
                f"{argument('ranges')} expected to be ActivationRanges, a path or 'auto', but got {brief(ranges)}"
            )
        restricted = self._fitting(ranges)
        if restricted.margin == "auto":
            # These are observed ranges of self-ranging histograms. They do not bound the values of other images.
            return None
        return restricted

    def _fitting(self, ranges: ActivationRanges) -> ActivationRanges:
        """Restrict ranges to the layers of this extractor; add the fixed ranges of properties if it measures them."""
        if self.has_properties and LAYER not in ranges.neurons:
            ranges = ranges.append(PROPERTY_RANGES)
        return ranges.restrict(self.neurons)

    # Calls

    def check(self, imgs: Any, normalize: bool, values: bool = True) -> None:
        """Raise ValueError or TypeError unless the extractor accepts a batch.

        Args:
            imgs: The batch.
            normalize: Whether images are floating point in [0, 1], rather than uint8.
            values: Whether to check the values of images, too. For floating point images on an accelerator, this check
                is a device sync.

        """
        if self.example is not None:
            self.example.check(imgs)
        else:
            check_images(imgs, normalize, self.allowed_channels, values)

    @outside_graphs
    def forward(self, imgs: Inputs, properties: Tensor | None = None, resized: bool = False) -> dict[str, Tensor]:
        """Compute the activations of a batch of images or other inputs.

        Args:
            imgs: Images ``(B, 3, H, W)``: uint8, or floating point in [0, 1]; or other inputs, like the example.
            properties: Properties of the original images, one column per property. By default, they are measured on
                ``imgs``.
            resized: Whether images were already resized by the method of this extractor. Images resized by ``"torch"``
                may have values outside [0, 1].

        Returns:
            Activations of each layer, ``{layer: (B, n, *positions)}``.

        Raises:
            ValueError: If images have another shape, dtype or range.

        """
        parts = list(self.in_parts(imgs, properties, resized))
        if len(parts) == 1:
            return parts[0]
        return {layer: _joined(layer, [part[layer] for part in parts]) for layer in parts[0]}

    def in_parts(
        self, imgs: Inputs, properties: Tensor | None = None, resized: bool = False, wait: bool = True
    ) -> Iterable[dict[str, Tensor]]:
        """Compute the activations of :meth:`forward` for one part of the batch after another.

        Each part is computed when it is requested, and can be read once. A consumer such as a metric thus needs memory
        for one part only, which also saves the time to allocate more.

        Args:
            imgs: Images or other inputs, see :meth:`forward`.
            properties: Properties of the original images, see :meth:`forward`.
            resized: Whether images were already resized, see :meth:`forward`.
            wait: Whether a device sync is allowed, to check the range of floating point images. Otherwise, the
                activations of a batch are NaN if a value is more than 0.001 outside [0, 1]. The range of images is not
                checked in this way if they were resized, or if their properties are given.

        """
        if self.example is not None:
            self.example.check(imgs)
            return shared_activations(self, self._runner.watch, imgs, self._run)
        is_float = isinstance(imgs, Tensor) and imgs.dtype != torch.uint8
        is_on_cpu = isinstance(imgs, Tensor) and imgs.device.type == "cpu"
        may_be_out_of_range = resized and self.resize == "torch"
        # On the CPU, values are read without a device sync.
        checks_values = (wait or is_on_cpu) and not may_be_out_of_range
        self.check(imgs, is_float, checks_values)
        if properties is not None:
            # Activations are shared by their images alone, so activations with given properties are not shared.
            return self._run(imgs, properties)
        run = self._run_of_range(has_range=is_float and not resized, is_checked=checks_values)
        return shared_activations(self, self._runner.watch, imgs, run)

    def _run_of_range(self, has_range: bool, is_checked: bool) -> Callable[[Any], Iterator[dict[str, Tensor]]]:
        """Return the method that runs the network on a batch of images.

        Args:
            has_range: Whether the images are floating point, and must be in [0, 1].
            is_checked: Whether this range has been checked.

        """
        if not has_range:
            return self._run
        return self._run_clamped if is_checked else self._run_or_nan

    def _run(
        self, imgs: Any, properties: Tensor | None = None, is_clamped: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Run the network on one part of a batch after another.

        Args:
            imgs: Images or other inputs.
            properties: Properties of the original images; None to measure them on ``imgs``.
            is_clamped: Whether to clamp images to [0, 1] first.

        """
        if self.example is None:
            # The network may take RGB images: repeat the channel of grey images.
            imgs = imgs.expand(-1, self.image_channels, -1, -1)
        first_tensor = tensors_of(imgs)[0]
        count = len(first_tensor)
        at_once = self.images_at_once if first_tensor.device.type == "cpu" else max(1, count)
        home = self.device
        for rows in cut(count, at_once):
            inputs = mapped(itemgetter(rows), imgs)
            if is_clamped:
                inputs = inputs.clamp(0, 1)
            properties_of_part = None if properties is None else properties[rows]
            # No variable holds the activations here, so that the consumer can free their memory.
            yield self._activations_of_part(inputs, properties_of_part, home)

    def _activations_of_part(self, inputs: Any, properties: Tensor | None, home: torch.device) -> dict[str, Tensor]:
        """Return the activations of each layer for a part of a batch, in the order of the layers.

        Args:
            inputs: The part.
            properties: Properties of its original images; None to measure them on ``inputs``.
            home: Device to which the network is moved back if it fails.

        """
        if properties is None and self.has_properties:
            properties = image_properties(inputs)
        activations = self._runner.run(inputs, self.dtype, home)
        if properties is not None:
            activations[LAYER] = properties
        return {layer: activations[layer] for layer in self.neurons}

    def _run_clamped(self, imgs: Any) -> Iterator[dict[str, Tensor]]:
        """Run the network on floating point images clamped to [0, 1]; their range must have been checked."""
        return self._run(imgs, is_clamped=True)

    def _run_or_nan(self, imgs: Any) -> Iterator[dict[str, Tensor]]:
        """Run the network, and replace all activations by NaN if an image is out of range, without a device sync."""
        valid = in_unit_range(imgs)
        for part in self._run(imgs, is_clamped=True):
            with torch.inference_mode():
                yield {layer: torch.where(valid.to(values.device), values, torch.nan) for layer, values in part.items()}

    def pooled(self, layer: str) -> PooledLayer:
        """Return a module that computes the spatial means of a layer, ``(B, n)``.

        Pass the module to torchmetrics' FID, KID and similar metrics as ``feature``.
        """
        return PooledLayer(self, layer)

    def without_properties(self) -> DNAExtractor:
        """Return the extractor without the layer of image properties.

        It returns the extractor itself if it does not have this layer, or has no other layer.

        Example:
            >>> DNAExtractor(layers=["head"], properties=True).without_properties().neurons
            Neurons(1280 in 1 layer: head 1280)

        """
        neurons = without_properties(self.neurons)
        return self if neurons is None else self._of(neurons)

    def with_properties(self) -> DNAExtractor:
        """Return the extractor with the properties of images as its first layer.

        It returns the extractor itself if it has this layer already or takes neither grey nor RGB images. It also does
        so if the extractor was made with ``properties=False``.

        Example:
            >>> list(DNAExtractor(layers=["head"]).with_properties().neurons)
            ['properties', 'head']

        """
        if self.has_properties or not self.may_have_properties:
            return self
        return self._of(Neurons({LAYER: len(PROPERTIES), **self.neurons}))

    def _of(self, neurons: Neurons) -> DNAExtractor:
        """Return a copy with these layers: those of the network, with or without the properties of images."""
        extractor = copy(self)
        # The cached ranges are those of the original's layers.
        extractor.__dict__.pop("ranges", None)
        extractor.neurons = neurons
        extractor.has_properties = LAYER in neurons
        return extractor

    # torch

    def train(self, mode: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Stay in evaluation mode: the network never trains."""
        return super().train(False)

    def extra_repr(self) -> str:
        """Return the name and neurons, for ``repr``."""
        return f"{self.name!r}, {self.neurons}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> DNAExtractor:  # noqa: ARG002
        """Move the network to the device of ``fn``, but keep its dtype, because others use the network, too."""
        self._runner.move(fn(torch.zeros(0, device=self.device)).device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DNAExtractor:
        """Return the extractor itself; or an extractor of the copied module, if the user's module was just copied."""
        network = memo.get(id(self.network))
        if network is None or self.is_named:
            return self
        copied = copy(self)
        copied._runner = self._runner.with_network(network)
        return copied


class PooledLayer(nn.Module):
    """Module of the spatial means of one layer, shape ``(B, n)``, float32; see :meth:`DNAExtractor.pooled`.

    Attributes:
        num_features: Number of neurons n.

    """

    def __init__(self, extractor: DNAExtractor, layer: str) -> None:
        super().__init__()
        if layer not in extractor.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers are: {', '.join(extractor.neurons)}")
        self.extractor = extractor
        self.layer = layer
        self.num_features = extractor.neurons[layer]

    @outside_graphs
    def forward(self, imgs: Inputs) -> Tensor:
        """Compute the spatial means of images, or of other inputs that the extractor accepts."""
        mean_view = View(self.layer, ("mean",))
        means = [mean_view.take(part[self.layer]).float() for part in self.extractor.in_parts(imgs)]
        return torch.cat(means)

    def __setattr__(self, name: str, value: Any) -> None:
        # FeatureShare of torchmetrics replaces `forward` by a cache.
        if name == "forward":
            raise RuntimeError(NO_FEATURE_SHARE)
        super().__setattr__(name, value)


def _check_properties(properties: bool | None, layers: Sequence[str] | None) -> None:
    """Raise ValueError unless the argument ``properties`` is a bool or None, and agrees with the layers."""
    if properties is not None:
        check_bool("properties", properties)
    if properties is False and LAYER in (layers or ()):
        raise ValueError(f"{argument('properties')} is False, but {written('layers')} has {LAYER!r}")


def _structure(example: Inputs | None, feature: str | nn.Module) -> Example | None:
    """Return the structure and dtypes of an example, or None if there is no example."""
    if example is None:
        return None
    return Example.of(example, noun="row" if is_identity(feature) else "input")


def _joined(layer: str, parts: list[Tensor]) -> Tensor:
    """Return the activations of a layer for a batch, from those for parts of the batch.

    Raises:
        ValueError: If the parts have positions of different shapes.

    """
    # A dict removes duplicates, and keeps the order of the shapes for the message.
    shapes = dict.fromkeys(tuple(part.shape[2:]) for part in parts)
    if len(shapes) > 1:
        raise ValueError(
            f"Layer {layer!r} has positions of shape {' and '.join(map(str, shapes))} in this batch, which one"
            " tensor can't hold; pass inputs apart whose positions differ"
        )
    return torch.cat(parts)


def _are_finite(activations: dict[str, Tensor]) -> bool:
    """True if the activations of all layers are finite."""
    return all(bool(values.isfinite().all()) for values in activations.values())


def _check_channels_of_properties(properties: bool | None, channels: int) -> None:
    """Raise ValueError if properties were requested, but images have bands instead of a grey channel or RGB."""
    if properties and channels not in (1, 3):
        raise ValueError(f"Argument `properties` is for grey and RGB images, but `channels` is {channels}")


def _neurons(widths: dict[str, int], layers: Sequence[str] | None, has_properties: bool) -> Neurons:
    """Return the number of neurons of each layer, in the order of ``layers``.

    Args:
        widths: Number of neurons of each layer that the network computes.
        layers: Requested layers, or None for all.
        has_properties: Whether to add the layer of image properties. It comes first, unless ``layers`` has it.

    """
    requested = list(layers or ())
    order = [layer for layer in widths if layer not in requested]
    order += requested
    if has_properties and LAYER not in order:
        order.insert(0, LAYER)
    return Neurons({layer: widths.get(layer, len(PROPERTIES)) for layer in order})
