"""Layout of the layers in a network's outputs: which axis has the neurons, how many there are, which view is taken."""

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

_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")  # of timm, transformers, torchvision and CLIP

Shapes = Mapping[str, Sequence[int]]  # of outputs


@dataclass(frozen=True)
class Layout:
    """Layout of layers in the outputs of a network."""

    views: Mapping[str, View]  # output and view of each layer
    axes: Mapping[str, int]  # of the neurons in each output
    widths: Mapping[str, int]  # number of neurons of each layer
    bytes_per_image: int  # of the outputs
    probed: Probed  # what a pass of one image, or of the example, showed

    def read(self, outputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Return the activations of each layer, ``(count, n, *positions)``; ValueError unless outputs are as probed."""
        return {layer: self._read_layer(layer, outputs, count) for layer in self.views}

    def _read_layer(self, layer: str, outputs: Mapping[str, Tensor], count: int) -> Tensor:
        view = self.views[layer]
        if view.source not in outputs:
            raise ValueError(
                f"The network's outputs are {', '.join(outputs)}, but for the image it was first tried with there"
                f" was {view.source!r}; give a module whose outputs have the same names for all images"
            )
        output = outputs[view.source]
        expected = self.probed.shapes[view.source]
        if 0 in output.shape[1:]:
            raise ValueError(
                f"Layer {layer!r} gave shape {tuple(output.shape)}, which holds no activations; give a module that"
                " gives some for each input"
            )
        if output.ndim != len(expected) or len(output) != count:
            raise ValueError(
                f"Layer {layer!r} gave shape {tuple(output.shape)} for {count} images, but {tuple(expected)} for"
                " one; give a module with one row for each image"
            )
        activations = view.take(output.movedim(self.axes[view.source], 1))
        if activations.shape[1] != self.widths[layer]:
            raise ValueError(
                f"Layer {layer!r} gave {activations.shape[1]} neurons, but {self.widths[layer]} for the image it was"
                " first tried with; give images of one size, as by `input_size`"
            )
        return activations


def layout_of_images(built: Built, size: tuple[int, int], channels: int) -> Layout:
    """Probe a network with one image.

    ValueError if the network fails, a layer does not exist, or its neurons are ambiguous.
    """
    probed = probe(built.network, built.submodules, size, channels)
    views = _views(built, probed)
    shapes = {view.source: probed.shapes[view.source] for view in views.values()}
    axes = _neuron_axes(built, shapes, size, channels)
    return _layout(built, probed, views, axes)


def layout_of_example(built: Built, example: Inputs, channels_last: bool | Sequence[str]) -> Layout:
    """Probe a module with the first two of an example.

    Neurons are on axis 1, with ``channels_last`` on the last axis, of all outputs or those named. ValueError if the
    module fails or a layer does not exist.
    """
    probed = probe_example(built.network, built.submodules, example)
    views = _views(built, probed)
    last = _outputs_with_neurons_last(probed, channels_last)
    axes = {output: len(shape) - 1 if output in last else 1 for output, shape in probed.shapes.items()}
    return _layout(built, probed, views, axes)


def _outputs_with_neurons_last(probed: Probed, channels_last: bool | Sequence[str]) -> Sequence[str]:
    if channels_last is True:
        return list(probed.shapes)
    last = channels_last or ()
    for output in last:
        if output not in probed.shapes:
            raise ValueError(
                f"Unknown layer {output!r} in `channels_last`; the outputs are: {', '.join(probed.shapes)}"
            )
    return last


def _views(built: Built, probed: Probed) -> Mapping[str, View]:
    """Return the view of each layer; ValueError for an output that the network has not."""
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
    shapes = {view.source: probed.shapes[view.source] for view in views.values()}
    widths = _widths(views, shapes, axes, built.network)
    bytes_per_image = 4 * sum(prod(shape[1:]) for shape in shapes.values())
    return Layout(views, axes, widths, bytes_per_image, probed)


def _widths(views: Mapping[str, View], shapes: Shapes, axes: Mapping[str, int], network: nn.Module) -> dict[str, int]:
    """Return the number of neurons of each layer; ValueError for an unfit view, no neurons, or a name that is taken."""
    for layer, view in views.items():
        if "class" in view.steps:
            _check_has_class_token(layer, view, shapes[view.source], axes[view.source], network)
    if LAYER in views:
        raise ValueError(
            f"The network's output {LAYER!r} has the name of the layer of image properties; rename it, or choose"
            " others by `layers`"
        )
    widths = {}
    for layer, view in views.items():
        shape = shapes[view.source]
        widths[layer] = shape[axes[view.source]]
        if widths[layer] == 0:
            raise ValueError(f"Layer {layer!r} has no neurons: it gives shape {tuple(shape)}")
    return widths


def _check_has_class_token(layer: str, view: View, shape: Sequence[int], axis: int, network: nn.Module) -> None:
    """Raise ValueError unless an output has tokens, one of which is the class token, where the view takes it."""
    steps_before = view.steps[: view.steps.index("class")]
    is_tokens = len(shape) == 3 and axis == 2 and all(step == "unit" for step in steps_before)
    # After the class token is taken, there are no tokens left.
    if not is_tokens or view.steps.count("class") > 1:
        raise ValueError(
            f"Layer {layer!r} expected tokens (B, tokens, n), but {view.source!r} gives shape {tuple(shape)};"
            " take the view 'mean', or a layer of tokens"
        )
    parameters = [name.rpartition(".")[2] for name, _ in network.named_parameters()]
    # Some networks add the token only after most of their blocks.
    num_patches = getattr(getattr(network, "patch_embed", None), "num_patches", 0)
    if shape[1] <= num_patches or not any(name in _CLASS_TOKENS for name in parameters):
        raise ValueError(
            f"Layer {layer!r} expected a class token, but {type(network).__name__} has no parameter"
            f" {', '.join(_CLASS_TOKENS[:-1])} or {_CLASS_TOKENS[-1]} before {view.source!r}; take the view"
            " 'mean'"
        )


def _neuron_axes(built: Built, shapes: Shapes, size: tuple[int, int], channels: int) -> dict[str, int]:
    """Find the axis of neurons in each output: ``(B, n)``, ``(B, tokens, n)``, ``(B, n, H, W)`` or ``(B, H, W, n)``.

    ValueError if an output has another number of axes, or its neurons are ambiguous.
    """
    for output, shape in shapes.items():
        _check_number_of_axes(output, shape)
    axes = {output: _axis_by_shape(shape, size) for output, shape in shapes.items()}
    taller: Shapes = {}
    if None in axes.values():
        taller = shapes_reached(built.network, built.submodules, (2 * size[0], size[1]), channels)
    found = {}
    for output, shape in shapes.items():
        axis = axes[output]
        if axis is None:
            axis = _axis_by_growth(shape, taller.get(output, shape), size)
        if axis is None:
            raise ValueError(
                f"Layer {output!r} gives shape {tuple(shape)}, in which neurons can't be told from positions;"
                " give another `input_size`, another layer, or a module that gives (B, tokens, n)"
            )
        found[output] = axis
    return found


def _check_number_of_axes(output: str, shape: Sequence[int]) -> None:
    if len(shape) in (2, 3, 4):
        return
    remedy = "give `inputs='any'`, for which it may have more axes"
    if len(shape) < 2:
        remedy = "give a row for each image"
    raise ValueError(
        f"Layer {output!r} gives shape {tuple(shape)}; expected (B, n), (B, tokens, n), (B, n, H, W) or"
        f" (B, H, W, n); {remedy}"
    )


def _axis_by_shape(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the axis of neurons by the shape for an image of a size; None if it is ambiguous."""
    if len(shape) == 2:
        return 1
    if len(shape) == 3:
        return 2
    # Images that are not square may become square maps.
    return _axis_by_proportion(shape, size) if size[0] == size[1] else None


def _axis_by_growth(shape: Sequence[int], taller: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the axis of neurons by what grows in taller images, which are the positions; None if it is ambiguous."""
    grown = [axis for axis in (1, 2, 3) if taller[axis] != shape[axis]]
    if grown == [1]:
        return 3
    if grown == [2]:
        return 1
    return _axis_by_proportion(shape, size) if not grown else None


def _axis_by_proportion(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the neurons beside two axes with the aspect ratio of the image, or with a single position; else None."""
    _, first, second, third = shape
    is_last = _has_proportion(first, second, size)
    is_first = _has_proportion(second, third, size)
    if is_last != is_first:
        return 3 if is_last else 1
    if first == second == third == 1:
        return 1
    return None


def _has_proportion(height: int, width: int, size: tuple[int, int]) -> bool:
    if height == width == 1:
        return True
    return height * size[1] == width * size[0]
