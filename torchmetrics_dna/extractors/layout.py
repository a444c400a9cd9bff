"""Layout of the layers in a network's outputs: which axis has the neurons, how many there are, which view is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchmetrics_dna.extractors.capture import (
    Probed,
    probe,
    probe_example,
    shapes_reached,
    submodules_in_words,
    tried,
    two_images,
    two_inputs,
)
from torchmetrics_dna.images.inputs import Inputs, mapped
from torchmetrics_dna.images.properties import LAYER

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.build import Built
    from torchmetrics_dna.extractors.preparation import Preparation

DUMMY_SIZE = (224, 224)
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")  # of timm, transformers, torchvision and CLIP


class View(NamedTuple):
    """View of a network's output, such as ``head:mean`` of ``head``."""

    source: str  # name of the output
    steps: tuple[str, ...] = ()  # operations on it, in order; empty for the output itself

    @classmethod
    def of(cls, layer: str) -> View:
        """Parse the view in a layer's name; ValueError if there is no such view."""
        source, *steps = layer.split(":")
        for step in steps:
            if step not in _STEPS:
                raise ValueError(f"Unknown view {step!r} of layer {source!r}; the views are: {', '.join(_STEPS)}")
        return cls(source, tuple(steps))

    def after(self, steps: Sequence[str]) -> View:
        """Compose this view with ``steps`` before it."""
        return View(self.source, (*steps, *self.steps))

    def take(self, activations: Tensor) -> Tensor:
        """Apply the view to activations ``(B, n, *positions)``; positions are kept or reduced to ``(B, n)``."""
        for step in self.steps:
            activations = _STEPS[step](activations)
        return activations


def _wide(activations: Tensor) -> Tensor:
    """Convert half precision and integers to float32, to keep the precision of sums."""
    return activations if activations.dtype in (torch.float32, torch.float64) else activations.float()


_STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "class": lambda activations: activations[:, :, 0].contiguous(),  # a view would keep all tokens in memory
    "mean": lambda activations: _wide(activations.flatten(2)).mean(2) if activations.ndim > 2 else activations,
    "unit": lambda activations: normalize(_wide(activations), dim=1),
}


@dataclass(frozen=True)
class Layout:
    """Layout of layers in the outputs of a network."""

    views: Mapping[str, View]  # output and view of each layer
    axes: Mapping[str, int]  # of the neurons in each output
    widths: Mapping[str, int]  # number of neurons of each layer
    bytes_per_image: int  # of the outputs
    probed: Probed  # what a pass of one image, or of the example, showed

    @classmethod
    def of(
        cls,
        built: Built,
        is_named: bool,
        preparation: Preparation,
        example: Inputs | None,
        channels_last: bool | Sequence[str],
    ) -> Layout:
        """Probe the network with an image, or with the first two of an example; a module of the user's with two more.

        Neurons of other inputs than images are on axis 1, with ``channels_last`` on the last axis, of all outputs or
        those named. ValueError if the network fails, a layer does not exist, or its neurons are ambiguous; and as of
        :meth:`_check_repeatable`.
        """
        network, size, channels = built.network, preparation.size or DUMMY_SIZE, preparation.channels
        if example is None:
            probed = probe(network, built.submodules, size, channels)
        else:
            probed = probe_example(network, built.submodules, example)
        views = built.views or {source: View(source) for source in probed.shapes}
        for view in views.values():
            if view.source not in probed.shapes:
                raise ValueError(
                    f"Unknown layer {view.source!r}; the network's outputs are: {', '.join(probed.shapes)}; its"
                    f" submodules: {submodules_in_words(network)}"
                )
        shapes = {view.source: probed.shapes[view.source] for view in views.values()}
        if example is None:
            axes = _neuron_axes(built, shapes, size, channels)
        else:
            last = probed.shapes if channels_last is True else channels_last or ()
            for layer in last:
                if layer not in probed.shapes:
                    raise ValueError(
                        f"Unknown layer {layer!r} in `channels_last`; the outputs are: {', '.join(probed.shapes)}"
                    )
            axes = {layer: len(shape) - 1 if layer in last else 1 for layer, shape in probed.shapes.items()}
        num_bytes = 4 * sum(prod(shape[1:]) for shape in shapes.values())
        layout = cls(views, axes, _widths(views, shapes, axes, network), num_bytes, probed)
        if not is_named:
            two = [two_inputs(network, example)] if example is not None else two_images(network, size, channels)
            layout._check_repeatable(built, two)
        return layout

    def _check_repeatable(self, built: Built, pairs: Iterable[Inputs]) -> None:
        """Raise ValueError unless a module gives each of two inputs the same alone, and each time.

        Nor may it write to a buffer. A module that can't be copied is not checked.
        """
        run = partial(tried, built.network, built.submodules)
        for two in pairs:
            each = [mapped(itemgetter(slice(i, i + 1)), two) for i in range(2)]
            trials = run([two, *each])
            with suppress(ValueError):  # of rows that are not those of inputs, which is said of the user's
                together, *alone = (self.read(trial.outputs, 1 + (i == 0)) for i, trial in enumerate(trials))
                break
        else:
            return
        for name, values in trials[0].buffers.items():
            if trials[-1].buffers.get(name) != values:
                raise ValueError(
                    f"The module writes to its buffer {name!r} in evaluation mode, so its weights would be others for"
                    " each batch; keep the tensor as a plain attribute, or write to it in training mode only"
                )
        for i, layer in product(range(2), together):
            if _agree(together[layer][i], alone[i][layer][0]):
                continue
            again = [self.read(trial.outputs, 1)[layer][0] for trial in run([each[i]] * 2)]
            raise ValueError(
                f"Layer {layer!r} gives an input other activations each time; give a module without random numbers, and"
                " without a memory of what it saw before"
                if again and not _agree(*again)
                else f"Layer {layer!r} gives an input other activations beside another one than alone; give a module"
                " without statistics, attention or recurrence over the batch (axis 0), and with a fixed number of"
                " positions, or one that runs inputs one by one"
            )

    def read(self, outputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Return the activations of each layer, ``(count, n, *positions)``; ValueError unless outputs are as probed."""
        activations = {}
        for layer, view in self.views.items():
            if view.source not in outputs:
                raise ValueError(
                    f"The network's outputs are {', '.join(outputs)}, but for the image it was first tried with there"
                    f" was {view.source!r}; give a module whose outputs have the same names for all images"
                )
            output, expected = outputs[view.source], self.probed.shapes[view.source]
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
            values = view.take(output.movedim(self.axes[view.source], 1))
            if values.shape[1] != self.widths[layer]:
                raise ValueError(
                    f"Layer {layer!r} gave {values.shape[1]} neurons, but {self.widths[layer]} for the image it was"
                    " first tried with; give images of one size, as by `input_size`"
                )
            activations[layer] = values
        return activations


def _widths(
    views: Mapping[str, View], shapes: Mapping[str, Sequence[int]], axes: Mapping[str, int], network: nn.Module
) -> dict[str, int]:
    """Return the number of neurons of each layer; ValueError for an unfit view, no neurons, or a name that is taken."""
    for layer, view in views.items():
        shape = shapes[view.source]
        is_tokens = len(shape) == 3 and axes[view.source] == 2
        for step in view.steps:
            if step == "class" and not is_tokens:
                raise ValueError(
                    f"Layer {layer!r} expected tokens (B, tokens, n), but {view.source!r} gives shape {tuple(shape)};"
                    " take the view 'mean', or a layer of tokens"
                )
            # some networks add the token only after most blocks
            patches = getattr(getattr(network, "patch_embed", None), "num_patches", 0)
            parameters = (name.rpartition(".")[2] for name, _ in network.named_parameters())
            if step == "class" and not (shape[1] > patches and any(name in _CLASS_TOKENS for name in parameters)):
                raise ValueError(
                    f"Layer {layer!r} expected a class token, but {type(network).__name__} has no parameter"
                    f" {', '.join(_CLASS_TOKENS[:-1])} or {_CLASS_TOKENS[-1]} before {view.source!r}; take the view"
                    " 'mean'"
                )
            is_tokens = is_tokens and step == "unit"
    if LAYER in views:
        raise ValueError(
            f"The network's output {LAYER!r} has the name of the layer of image properties; rename it, or choose"
            " others by `layers`"
        )
    widths = {layer: shapes[view.source][axes[view.source]] for layer, view in views.items()}
    for layer, width in widths.items():
        if not width:
            raise ValueError(f"Layer {layer!r} has no neurons: it gives shape {tuple(shapes[views[layer].source])}")
    return widths


def _agree(a: Tensor, b: Tensor) -> bool:
    """True if activations of one input, ``(n, *positions)``, differ by rounding; it may change few positions more."""
    if a.shape != b.shape:
        return False
    eps = torch.finfo(b.dtype if b.is_floating_point() else torch.float32).eps
    gaps = (a.cpu().double() - b.cpu().double()).abs().reshape(len(a), -1)
    return bool((gaps > eps**0.5 * b.abs().max().item()).double().mean(1).max() < 0.5)


def _neuron_axes(
    built: Built, shapes: Mapping[str, Sequence[int]], size: tuple[int, int], channels: int
) -> dict[str, int]:
    """Find the axis of neurons in each output: ``(B, n)``, ``(B, tokens, n)``, ``(B, n, H, W)`` or ``(B, H, W, n)``.

    ValueError if an output has another number of axes, or its neurons are ambiguous.
    """
    axes: dict[str, int | None] = {}
    for layer, shape in shapes.items():
        if len(shape) not in (2, 3, 4):
            remedy = (
                "give a row for each image"
                if len(shape) < 2
                else "give `inputs='any'`, for which it may have more axes"
            )
            raise ValueError(
                f"Layer {layer!r} gives shape {tuple(shape)}; expected (B, n), (B, tokens, n), (B, n, H, W) or"
                f" (B, H, W, n); {remedy}"
            )
        axes[layer] = {2: 1, 3: 2}.get(len(shape)) or (_by_proportion(shape, size) if size[0] == size[1] else None)
    taller: Mapping[str, Sequence[int]] = {}
    if None in axes.values():
        taller = shapes_reached(built.network, built.submodules, (2 * size[0], size[1]), channels)
    for layer, shape in shapes.items():
        if axes[layer] is None:  # positions are more in taller images
            grown = tuple(axis for axis in (1, 2, 3) if taller.get(layer, shape)[axis] != shape[axis])
            axes[layer] = {(): _by_proportion(shape, size), (1,): 3, (2,): 1}.get(grown)
        if axes[layer] is None:
            raise ValueError(
                f"Layer {layer!r} gives shape {tuple(shape)}, in which neurons can't be told from positions;"
                " give another `input_size`, another layer, or a module that gives (B, tokens, n)"
            )
    return {layer: axis for layer, axis in axes.items() if axis is not None}


def _by_proportion(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the neurons beside two axes with the aspect ratio of the image, or with a single position; else None."""
    _, first, second, third = shape
    channels_last, channels_first = (
        height * size[1] == width * size[0] or height == width == 1
        for height, width in ((first, second), (second, third))
    )
    if channels_last == channels_first:
        return 1 if first == second == third == 1 else None
    return 3 if channels_last else 1
