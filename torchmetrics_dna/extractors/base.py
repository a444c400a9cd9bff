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
from torchmetrics_dna.extractors.preparation import Preparation
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

    - A module of yours is not changed. After a pass, its training flags are as before. Only ``.to(device)`` moves it,
      and its weights keep their dtype. A network that was made by name follows the images to their device.
    - The network is not a submodule of the extractor. A module that holds the extractor gets no parameters, buffers or
      checkpoint entries from it.
    - Copies of the extractor, and so of metrics, share the network. There is one exception: if ``copy.deepcopy`` copies
      an object that holds your module and, after it, the extractor, the copied extractor uses the copied module. An
      average of weights is such an object.
    - Several threads may use an extractor, or several extractors of one module, if each thread has its own metrics. One
      thread at a time runs the network. No other thread may train the module meanwhile.
    - In a ``SharedCollection``, the network runs once per batch for all metrics.

    Args:
        feature: Name of a preset or of a timm model, or a module. Weights of timm models are downloaded by timm. A
            module that timm built is treated like its name, with its current weights. Any other module gets images that
            are not resized or normalised. Its output defines the layers, unless ``layers`` does. The output may be a
            tensor ``(B, n)`` or ``(B, n, H, W)``, or a dict, list or tuple of such tensors.
        layers: Names of the layers, in this order: layers of the preset, submodules of the network, or entries of its
            output. The default for a preset is all its layers. For a timm model, it is every block or stage and the
            final norm. For another module, it is the output. A name may end with a view: ``"last_norm:class"`` is the
            class token of that layer, ``"head:mean"`` the mean over positions, ``"head:unit"`` the neurons of each
            position divided by their norm. The final norm of a transformer is called ``"last_norm"`` in presets, and
            ``"norm"`` in most timm models. Each of these names is accepted for both. The layer keeps the network's own
            name.
        weights_path: Weights for a preset or timm model, instead of the default source. This is a file, with a state
            dict or in the official format, or a folder. A folder is searched for ``NAME.safetensors``, ``NAME.pth`` and
            the path of the file in its repository. If the folder has ``NAME.ranges.json`` or the official ranges, these
            are used.
        crop: ``"center"`` crops images to the largest central square before they are resized.
        input_size: Height and width to which images are resized, or one number for both. The default is that of the
            preset or timm model.
        resize: Method of resizing: ``"clean"``, ``"torch"`` (not clipped), ``"pillow"`` (rounded to bytes) or
            ``"tensorflow"``. The first three are bicubic with antialiasing, the last one is bilinear without. The
            default is that of the preset, or else ``"clean"``.
        mean: Mean per channel, which is subtracted from images in [0, 1]: a list, or one number for all channels.
        std: Standard deviation per channel, by which images are then divided: a list, or one number for all channels.
        channels: Number of channels of images. For named networks and timm models, grey images (1) are repeated to
            three channels. For other modules, images are decoded to this number of channels: 1 is grey, 3 is RGB, and
            other numbers are bands.
        inputs: ``"images"``, or ``"any"`` for a module with other inputs, such as latents, volumes, spectrograms or
            point clouds. A batch is then a tensor, a tuple of positional arguments or a dict of keyword arguments. Its
            tensors have the batch on axis 0. Inputs are not resized, scaled or normalised, and arguments about images
            are not accepted.
        example: Batch of such inputs. A copy of the module runs on up to two of them, together and one by one. All
            inputs must have the structure, numbers of axes and dtypes of the example, but may have other sizes. The
            activations are ``(B, n, *positions)``.
        channels_last: For such inputs, whether layers have their neurons on the last axis, as transformers do: a bool
            for all layers, or the names of these layers.
        dtype: ``"bfloat16"`` or ``"float16"`` to run the network under torch's autocast. This changes activations, so
            such DNAs are not comparable with others.
        properties: Whether to measure properties of the original images as well, before they are resized. They are the
            layer ``"properties"`` of :func:`~torchmetrics_dna.images.properties.image_properties`, whose neurons have
            names. This layer comes first, unless ``layers`` places it. The feature ``"properties"`` has only this
            layer, and no network. By default, only :func:`compare` measures properties, for two sets of images. If
            False, :func:`compare` does not measure them either.
        device: Device to which the network is moved. If None, it stays in place, which is the CPU for a named network.

    Attributes:
        name: Name that identifies the extractor.
        is_named: True if the network was made by name, so that no code of the user's changes its weights.
        neurons: Layers with their numbers of neurons.
        has_properties: True if properties of images are among the layers.
        example: Structure and dtypes of inputs that are not images; None for images.
        bytes_per_image: Memory of the activations of one image, in bytes.
        fingerprint: The last fingerprint of :meth:`take_fingerprint`; None before the first, and for a named network.
        input_size: Height and width to which images are resized; None if they are not resized.
        crop: Crop of images before they are resized.
        resize: Method of resizing.
        image_channels: Number of channels of the network's input, to which images are decoded; 0 for other inputs.
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
            raise TypeError("Argument `feature` is a DNAExtractor already")
        self.dtype: torch.dtype | None = autocast_dtype(dtype)
        check_resize(crop, resize)
        _check_properties(properties, layers)
        about_images = {
            "weights_path": weights_path,
            "crop": crop,
            "input_size": input_size,
            "resize": resize,
            "mean": mean,
            "std": std,
            "channels": channels,
            "properties": properties,
        }
        check_inputs(inputs, example, channels_last, feature, layers, about_images)
        takes_images = example is None
        self.example: Example | None = None
        if example is not None:
            self.example = Example.of(example, noun="row" if is_identity(feature) else "input")
        # A list, so that it is the same when it is read from json.
        self.channels_last = channels_last if isinstance(channels_last, bool) else list(channels_last)
        self.is_named = not isinstance(feature, nn.Module)
        with float32_by_default():
            built = build(feature, layers, weights_path, takes_images)
        if built.layers is not None:
            layers = built.layers
        self.name = built.name
        preparation = Preparation(channels=0)
        self.allowed_channels: tuple[int, ...] = ()
        if takes_images:
            takes_rgb = built.preparation.size is not None or built.views == {}
            preparation = built.preparation.with_arguments(
                self.name, input_size, crop, resize, mean, std, channels, takes_rgb
            )
            if properties and preparation.channels not in (1, 3):
                raise ValueError(f"Argument `properties` is for grey and RGB images, but `channels` is {channels}")
            # A network for RGB images also accepts grey images, whose channel is repeated.
            accepts_grey_and_rgb = takes_rgb and channels == 1
            self.allowed_channels = (1, 3) if accepts_grey_and_rgb else (preparation.channels,)
        self._preparation = preparation
        self.image_channels = preparation.channels
        self.input_size = preparation.size
        self.crop = preparation.crop
        self.resize = preparation.resize
        self._fixed_inputs = FixedInputs(preparation, example)
        self._runner = Runner(built, self.is_named, preparation, takes_images)
        widths = self._probe(built, example, channels_last)
        # Probing a network is faster before its weights are loaded.
        built.load()
        self.neurons = _neurons(widths, layers, has_properties=bool(properties) or feature == LAYER)
        self.has_properties = LAYER in self.neurons
        self.may_have_properties = properties is not False and self.image_channels in (1, 3)
        self._ranges = built.ranges
        self.fingerprint: dict[str, Any] | None = None
        if device is not None:
            self.to(device)

    def _probe(self, built: Built, example: Inputs | None, channels_last: bool | Sequence[str]) -> dict[str, int]:
        """Probe the network; return the number of neurons of each of its layers."""
        if built.views == {}:
            # No output of the network is used.
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
        """Raise ValueError if the inputs can't be shown as pictures; ``what`` would show them: "A contact sheet"."""
        if self.why_no_pictures:
            raise ValueError(f"{what} takes grey or RGB images, but {self.why_no_pictures}")

    @property
    def weights_version(self) -> Hashable:
        """Value that changes if weights, buffers or their dtypes change. It is cheap, and needs no device sync.

        If it is the same at two times, :attr:`weights_digest` is the same, too. It consists of torch's version counters
        and addresses and, for a user's module on the CPU, of sampled values. On other devices, writes that torch does
        not count are missed, such as writes to ``.data`` or by the replay of a CUDA graph.
        """
        return self._runner.watch.snapshot()

    @property
    def weights_digest(self) -> str:
        """Digest of the current weights of the network, 16 hexadecimal digits. If they change, it is computed again."""
        return self._runner.watch.digest

    @property
    def origin(self) -> dict[str, Any]:
        """Name, current weights, preparation and fingerprint, as fields of values that are made of its activations."""
        return {
            "extractor": self.name,
            "weights_digest": self.weights_digest,
            "preparation": self.preparation,
            "fingerprint": self.fingerprint,
        }

    def input_form(self, imgs: Inputs) -> list[Any]:
        """Return the form of the fixed input for inputs of this dtype: dtype, height and width, or a digest of noise.

        It is the same for images of all sizes, so that all can be compared.
        """
        return self._fixed_inputs.form(imgs)

    def take_fingerprint(self, form: Sequence[Any]) -> dict[str, Any] | None:
        """Run the network on a fixed input; return and keep a few numbers of each layer's activations.

        Two modules with equal weights may compute different activations, because of another activation function, a
        hook, an adapter that is switched off, or a plain attribute. So metrics and jobs take a fingerprint with the
        first images of a set, and compare fingerprints when they compare sets. A named network has no fingerprint,
        since no code of the user's changes it. If a network fails on such inputs, its fingerprint has no layers.

        Args:
            form: Result of :meth:`input_form`, or the ``"input"`` of another fingerprint.

        """
        if not self.is_named:
            self.fingerprint = shared_fingerprint(self, self._runner.watch, form, self._fingerprint)
        return self.fingerprint

    def _fingerprint(self, form: Sequence[Any]) -> dict[str, Any]:
        """Return the fingerprint of the first fixed input that gives finite activations, else of the last that runs."""
        # The precision of autocast is part of the preparation. Other weights than float32 may need autocast to run.
        precision = self._precision(None)
        autocast = None if precision is None else self.dtype
        fingerprint = fingerprint_of(form, {}, precision)
        device = self.device
        # Random numbers that a module draws are the same each time, and the user's go on as without a fingerprint.
        with lock_of(self.network), same_random_numbers(self.network, seed=0):
            for form_of_inputs, inputs in self._fixed_inputs.of(form):
                # A module fails on noise if it takes pixels as indices, for example.
                with suppress(Exception):
                    inputs_on_device = mapped(lambda tensor: tensor.to(device), inputs)
                    outputs = self._runner.run(inputs_on_device, autocast, home=device)
                    fingerprint = fingerprint_of(form_of_inputs, outputs, precision)
                    is_finite = all(bool(values.isfinite().all()) for values in outputs.values())
                    if is_finite:
                        break
        return fingerprint

    @property
    def digest(self) -> str:
        """Digest of the weights, the layers and the preparation of images, 16 hexadecimal digits."""
        widths = dict(self.neurons)
        settings = (self.weights_digest, untagged(self.name), widths, self._runner.submodules, self.preparation)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    @property
    def preparation(self) -> dict[str, Any]:
        """Preparation of images and precision of the network, JSON-serializable."""
        precision = self._precision(self.dtype)
        if self.example is not None:
            return {"inputs": self.example.dtypes, "channels_last": self.channels_last or None, "dtype": precision}
        preparation = self._preparation.identity(precision)
        if self.has_properties:
            preparation["properties"] = VERSION
        return preparation

    def _precision(self, autocast: torch.dtype | None) -> str | None:
        """Return the precision of the network in words, such as "bfloat16, float16 weights"; None for float32."""
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
        """Activation ranges for the weights, or None; downloaded on first use.

        Raises:
            OSError: If they can't be downloaded.

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
                f"{argument('ranges')} expected to be ActivationRanges, a path or 'auto', but got {brief(ranges)}"
            )
        restricted = self._fitting(ranges)
        if restricted.margin == "auto":
            # The range of a self-ranging histogram is no bound for another.
            return None
        return restricted

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

    @outside_graphs
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
        activations = {}
        for layer in parts[0]:
            parts_of_layer = [part[layer] for part in parts]
            # A dict keeps the order of the shapes.
            shapes = dict.fromkeys(tuple(values.shape[2:]) for values in parts_of_layer)
            if len(shapes) > 1:
                raise ValueError(
                    f"Layer {layer!r} has positions of shape {' and '.join(map(str, shapes))} in this batch, which one"
                    " tensor can't hold; give inputs apart whose positions differ"
                )
            activations[layer] = torch.cat(parts_of_layer)
        return activations

    def in_parts(
        self, imgs: Inputs, properties: Tensor | None = None, resized: bool = False, wait: bool = True
    ) -> Iterable[dict[str, Tensor]]:
        """Compute the activations of :meth:`forward`, part by part of the batch: each as it is asked for, and once.

        Consumers that read activations once, such as metrics, save the memory of all others, and the time in which the
        system maps it. Without ``wait``, the range of floating point images is checked without a device sync: more
        than 0.001 beyond [0, 1], activations are NaN.
        """
        is_float = isinstance(imgs, Tensor) and imgs.dtype != torch.uint8
        # On the CPU, values are read without a device sync.
        wait = wait or not isinstance(imgs, Tensor) or imgs.device.type == "cpu"
        takes_images = self.example is None
        may_be_out_of_range = takes_images and resized and self.resize == "torch"
        if not may_be_out_of_range:
            self.check(imgs, is_float, wait)
        if properties is not None:
            return self._run(imgs, properties)
        run: Callable[[Any], Iterator[dict[str, Tensor]]] = self._run
        if takes_images and is_float and not resized:
            run = self._run_clamped if wait else self._run_or_nan
        return shared_activations(self, self._runner.watch, imgs, run)

    def _run(
        self, imgs: Any, properties: Tensor | None = None, is_clamped: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Run the network part by part; images are first clamped to [0, 1] if ``is_clamped``."""
        if self.example is None:
            # Grey channels are repeated.
            imgs = imgs.expand(-1, self.image_channels, -1, -1)
        first_tensor = tensors_of(imgs)[0]
        count = len(first_tensor)
        at_once = self.images_at_once if first_tensor.device.type == "cpu" else max(1, count)
        home = self.device
        for rows in cut(count, at_once):
            inputs = mapped(itemgetter(rows), imgs)
            if is_clamped:
                inputs = inputs.clamp(0, 1)
            measured = None
            if self.has_properties:
                measured = image_properties(inputs) if properties is None else properties[rows]
            activations = self._runner.run(inputs, self.dtype, home)
            if measured is not None:
                activations[LAYER] = measured
            # Each layer leaves the dict, so that the consumer alone holds it and can free its memory.
            yield {layer: activations.pop(layer) for layer in self.neurons}

    def _run_clamped(self, imgs: Any) -> Iterator[dict[str, Tensor]]:
        """Run the network on floating point images clamped to [0, 1], whose range was checked."""
        return self._run(imgs, is_clamped=True)

    def _run_or_nan(self, imgs: Any) -> Iterator[dict[str, Tensor]]:
        """Replace activations by NaN if an image is out of range, without a device sync."""
        valid = in_unit_range(imgs)
        for part in self._run(imgs, is_clamped=True):
            with torch.inference_mode():
                yield {layer: torch.where(valid.to(values.device), values, torch.nan) for layer, values in part.items()}

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
        extractor = copy(self)
        # These ranges are cached for the neurons of the original.
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
        """Take only the device: other metrics share the network, or the user has it, in the dtype that it has."""
        self._runner.move(fn(torch.zeros(0, device=self.device)).device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DNAExtractor:
        """Return the extractor itself; or of the copy of a user's module, where a holder of both is copied."""
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
        """Compute spatial means for images, or other inputs, that the extractor accepts."""
        mean_view = View(self.layer, ("mean",))
        means = [mean_view.take(part[self.layer]).float() for part in self.extractor.in_parts(imgs)]
        return torch.cat(means)

    def __setattr__(self, name: str, value: Any) -> None:
        # FeatureShare of torchmetrics puts its cache there.
        if name == "forward":
            raise RuntimeError(NO_FEATURE_SHARE)
        super().__setattr__(name, value)


def _check_properties(properties: bool | None, layers: Sequence[str] | None) -> None:
    """Raise ValueError unless the argument ``properties`` is a bool or None, and agrees with the layers."""
    if properties is not None:
        check_bool("properties", properties)
    if properties is False and LAYER in (layers or ()):
        raise ValueError(f"{argument('properties')} is False, but {written('layers')} has {LAYER!r}")


def _neurons(widths: dict[str, int], layers: Sequence[str] | None, has_properties: bool) -> Neurons:
    """Return the number of neurons of each layer, in the order of ``layers``; properties come first by default."""
    chosen = list(layers or ())
    order = [layer for layer in widths if layer not in chosen]
    order += chosen
    if has_properties and LAYER not in order:
        order.insert(0, LAYER)
    return Neurons({layer: widths.get(layer, len(PROPERTIES)) for layer in order})
