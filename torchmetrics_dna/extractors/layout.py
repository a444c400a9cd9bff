"""Layout of the layers in a network's outputs: the view of each layer, the axis of its neurons, and their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from torchmetrics_dna.extractors.modules import submodules_in_words
from torchmetrics_dna.extractors.probing import Probed, probe, probe_example, shapes_reached
from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.images.properties import LAYER

if TYPE_CHECKING:
    from torch import Tensor, nn

    from torchmetrics_dna.extractors.build import Built
    from torchmetrics_dna.images.inputs import Inputs

# Names of the parameter that holds a class token: in timm and transformers, in torchvision, and in CLIP.
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
# Shape of each output of a network, by the name of the output.
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Layout:
    """Layout of layers in the outputs of a network.

    Attributes:
        views: View of each layer, with the name of its output.
        axes: Axis of the neurons in each output.
        widths: Number of neurons of each layer.
        bytes_per_image: Memory of the outputs for one image, in bytes.
        probed: Properties of the network that were found by running it on one image, or on an example.

    """

    views: Mapping[str, View]
    axes: Mapping[str, int]
    widths: Mapping[str, int]
    bytes_per_image: int
    probed: Probed

    def read(self, outputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Return the activations of each layer, ``(count, n, *positions)``.

        Args:
            outputs: Outputs of the network.
            count: Number of inputs of the pass.

        Raises:
            ValueError: If names or shapes of the outputs are not as probed.

        """
        activations = {}
        for layer, view in self.views.items():
            if view.source not in outputs:
                raise ValueError(
                    f"The network's outputs are {', '.join(outputs)}, but for the image it was first tried with there"
                    f" was {view.source!r}; pass a module whose outputs have the same names for all images"
                )
            output = outputs[view.source]
            self._check_shape(layer, output, count)
            neurons_first = output.movedim(self.axes[view.source], 1)
            activations[layer] = view.take(neurons_first)
            self._check_width(layer, activations[layer].shape[1])
        return activations

    def _check_shape(self, layer: str, output: Tensor, count: int) -> None:
        """Raise ValueError unless the output of a layer is not empty, and has one row per input."""
        shape = tuple(output.shape)
        if 0 in shape[1:]:
            raise ValueError(
                f"Layer {layer!r} returned shape {shape}, which holds no activations; pass a module that returns some"
                " for each input"
            )
        probed_shape = tuple(self.probed.shapes[self.views[layer].source])
        if len(shape) != len(probed_shape) or shape[0] != count:
            raise ValueError(
                f"Layer {layer!r} returned shape {shape} for {count} images, but {probed_shape} for one; pass a module"
                " with one row for each image"
            )

    def _check_width(self, layer: str, width: int) -> None:
        """Raise ValueError unless a layer has as many neurons as when the network was probed."""
        if width != self.widths[layer]:
            raise ValueError(
                f"Layer {layer!r} returned {width} neurons, but {self.widths[layer]} for the first image it was tried"
                " with; pass images of one size, or set `input_size`"
            )


def layout_of_images(built: Built, size: tuple[int, int], channels: int) -> Layout:
    """Probe a network with one image.

    Raises:
        ValueError: If the network fails, a layer does not exist, or its neurons are ambiguous.

    """
    probed = probe(built.network, built.submodules, size, channels)
    views = _views(built, probed)
    shapes = {view.source: probed.shapes[view.source] for view in views.values()}
    axes = _neuron_axes(built, shapes, size, channels)
    return _layout(built, probed, views, axes)


def layout_of_example(built: Built, example: Inputs, channels_last: bool | Sequence[str]) -> Layout:
    """Probe a module with the first two inputs of an example.

    Args:
        built: Module and layers.
        example: The example.
        channels_last: Whether outputs have their neurons on the last axis, rather than on axis 1: a bool for all
            outputs, or the names of the outputs that do.

    Raises:
        ValueError: If the module fails, or a layer does not exist.

    """
    probed = probe_example(built.network, built.submodules, example)
    views = _views(built, probed)
    neurons_last = _outputs_with_neurons_last(probed, channels_last)
    axes = {}
    for output, shape in probed.shapes.items():
        axes[output] = len(shape) - 1 if output in neurons_last else 1
    return _layout(built, probed, views, axes)


def _outputs_with_neurons_last(probed: Probed, channels_last: bool | Sequence[str]) -> Sequence[str]:
    """Return the names of the outputs whose neurons are on the last axis; ValueError for an unknown name."""
    if isinstance(channels_last, bool):
        return list(probed.shapes) if channels_last else []
    for output in channels_last:
        if output not in probed.shapes:
            raise ValueError(
                f"Unknown layer {output!r} in `channels_last`; the outputs are: {', '.join(probed.shapes)}"
            )
    return channels_last


def _views(built: Built, probed: Probed) -> Mapping[str, View]:
    """Return the view of each layer; ValueError if the network does not have its output."""
    if not built.views:
        return {output: View(output) for output in probed.shapes}
    for view in built.views.values():
        if view.source not in probed.shapes:
            raise ValueError(
                f"Unknown layer {view.source!r}; the network's outputs are: {', '.join(probed.shapes)}; its"
                f" submodules: {submodules_in_words(built.network)}"
            )
    return built.views


def _layout(built: Built, probed: Probed, views: Mapping[str, View], axes: Mapping[str, int]) -> Layout:
    """Return the layout of layers with these views; count their neurons and the memory of the outputs they need."""
    shapes = {view.source: probed.shapes[view.source] for view in views.values()}
    widths = _widths(views, shapes, axes, built.network)
    bytes_per_image = 4 * sum(prod(shape[1:]) for shape in shapes.values())
    return Layout(views, axes, widths, bytes_per_image, probed)


def _widths(views: Mapping[str, View], shapes: Shapes, axes: Mapping[str, int], network: nn.Module) -> dict[str, int]:
    """Return the number of neurons of each layer.

    Raises:
        ValueError: If a view does not fit its output, a layer has no neurons, or a layer has the reserved name of the
            layer of image properties.

    """
    for layer, view in views.items():
        if "class" in view.steps:
            _check_has_class_token(layer, view, shapes[view.source], axes[view.source], network)
    _check_names(views)
    widths = {}
    for layer, view in views.items():
        shape = shapes[view.source]
        widths[layer] = shape[axes[view.source]]
        if widths[layer] == 0:
            raise ValueError(f"Layer {layer!r} has no neurons: it gives shape {tuple(shape)}")
    return widths


def _check_names(views: Mapping[str, View]) -> None:
    """Raise ValueError if a layer of the network has the reserved name of the layer of image properties."""
    if LAYER in views:
        raise ValueError(
            f"The network's output {LAYER!r} has the name of the layer of image properties; rename it, or choose"
            " others by `layers`"
        )


def _check_has_class_token(layer: str, view: View, shape: Sequence[int], axis: int, network: nn.Module) -> None:
    """Raise ValueError unless the output of a layer has tokens, and one of them is the class token.

    Args:
        layer: Name of the layer.
        view: The view of the layer, with the step "class".
        shape: Shape of the output.
        axis: Axis of the output's neurons.
        network: The network.

    """
    _check_has_tokens(layer, view, shape, axis)
    if not _has_class_token(network):
        raise ValueError(
            f"Layer {layer!r} expected a class token, but {type(network).__name__} has no parameter"
            f" {', '.join(_CLASS_TOKENS[:-1])} or {_CLASS_TOKENS[-1]}; take the view 'mean'"
        )
    # Some networks add the class token only after most of their blocks. Before, there are as many tokens as patches.
    if shape[1] <= _num_patches(network):
        raise ValueError(
            f"Layer {layer!r} expected a class token, but {view.source!r} has only the tokens of patches; take the"
            " view 'mean', or a later layer"
        )


def _check_has_tokens(layer: str, view: View, shape: Sequence[int], axis: int) -> None:
    """Raise ValueError unless a view takes the class token from tokens; arguments as for _check_has_class_token."""
    has_tokens = len(shape) == 3 and axis == 2
    steps_before = view.steps[: view.steps.index("class")]
    keeps_tokens = all(step == "unit" for step in steps_before)
    # The view "class" leaves no tokens, so it can't be taken twice.
    takes_twice = view.steps.count("class") > 1
    if not has_tokens or not keeps_tokens or takes_twice:
        raise ValueError(
            f"Layer {layer!r} expected tokens (B, tokens, n), but {view.source!r} gives shape {tuple(shape)};"
            " take the view 'mean', or a layer of tokens"
        )


def _has_class_token(network: nn.Module) -> bool:
    """Return True if a network has a parameter with the name of a class token."""
    last_names = {name.split(".")[-1] for name, _ in network.named_parameters()}
    return not last_names.isdisjoint(_CLASS_TOKENS)


def _num_patches(network: nn.Module) -> int:
    """Return the number of patches of an image in a network of timm; 0 if it is unknown."""
    patch_embed = getattr(network, "patch_embed", None)
    num_patches: int = getattr(patch_embed, "num_patches", 0)
    return num_patches


def _neuron_axes(built: Built, shapes: Shapes, size: tuple[int, int], channels: int) -> dict[str, int]:
    """Find the axis of neurons in each output: ``(B, n)``, ``(B, tokens, n)``, ``(B, n, H, W)`` or ``(B, H, W, n)``.

    Raises:
        ValueError: If an output has another number of axes, or its neurons are ambiguous.

    """
    for output, shape in shapes.items():
        _check_number_of_axes(output, shape)
    axes = {}
    ambiguous = {}
    for output, shape in shapes.items():
        axis = _axis_by_shape(shape, size)
        if axis is None:
            ambiguous[output] = shape
        else:
            axes[output] = axis
    if ambiguous:
        axes |= _axes_by_growth(built, ambiguous, size, channels)
    return axes


def _axes_by_growth(built: Built, shapes: Shapes, size: tuple[int, int], channels: int) -> dict[str, int]:
    """Find the axis of neurons in each output by running the network again, on an image that is twice as tall.

    Raises:
        ValueError: If the neurons of an output are still ambiguous.

    """
    taller_size = (2 * size[0], size[1])
    taller_shapes = shapes_reached(built.network, built.submodules, taller_size, channels)
    axes = {}
    for output, shape in shapes.items():
        # The network may fail on the taller image before it computes the output. The shape then counts as equal.
        taller_shape = taller_shapes.get(output, shape)
        axis = _axis_by_growth(shape, taller_shape, size)
        if axis is None:
            raise ValueError(
                f"Layer {output!r} gives shape {tuple(shape)}, in which neurons can't be told from positions;"
                " pass another `input_size`, another layer, or a module that returns (B, tokens, n)"
            )
        axes[output] = axis
    return axes


def _check_number_of_axes(output: str, shape: Sequence[int]) -> None:
    """Raise ValueError unless an output for images has two, three or four axes."""
    if len(shape) in (2, 3, 4):
        return
    remedy = "pass `inputs='any'`, for which it may have more axes"
    if len(shape) < 2:
        remedy = "pass a row for each image"
    raise ValueError(
        f"Layer {output!r} gives shape {tuple(shape)}; expected (B, n), (B, tokens, n), (B, n, H, W) or"
        f" (B, H, W, n); {remedy}"
    )


def _axis_by_shape(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the axis of neurons by the shape of an output for an image of a size, or None if the axis is ambiguous."""
    if len(shape) == 2:
        return 1
    if len(shape) == 3:
        return 2
    # For images that are not square, the aspect ratio is not enough: their activation maps may still be square.
    if size[0] != size[1]:
        return None
    return _axis_by_proportion(shape, size)


def _axis_by_growth(shape: Sequence[int], taller: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the axis of neurons by comparing the shapes of an output for two images, one taller than the other.

    For a taller image, the number of rows of positions grows, and the number of neurons does not.

    Args:
        shape: Shape for an image of ``size``, four axes.
        taller: Shape for the taller image.
        size: Height and width of the first image.

    Returns:
        The axis, or None if it is ambiguous.

    """
    grown_axes = [axis for axis in (1, 2, 3) if taller[axis] != shape[axis]]
    if grown_axes == [1]:
        return 3
    if grown_axes == [2]:
        return 1
    if grown_axes:
        return None
    return _axis_by_proportion(shape, size)


def _axis_by_proportion(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the axis of neurons by the aspect ratio of the image.

    The two axes of positions have this aspect ratio, or length 1. None if this holds for both possible axes of neurons,
    or for neither.
    """
    _, first, second, third = shape
    may_be_last = _has_proportion(first, second, size)
    may_be_first = _has_proportion(second, third, size)
    if may_be_last and not may_be_first:
        return 3
    if may_be_first and not may_be_last:
        return 1
    # For a single neuron at a single position, both axes give the same activations.
    if first == second == third == 1:
        return 1
    return None


def _has_proportion(height: int, width: int, size: tuple[int, int]) -> bool:
    """True if a map has the aspect ratio of an image of this size, or a single position."""
    if height == width == 1:
        return True
    return height * size[1] == width * size[0]
