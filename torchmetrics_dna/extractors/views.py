"""Views of a layer, which its name ends with: class token, mean over positions, unit vectors, random projections."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchmetrics_dna.extractors.projections import STEP as PROJECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from torchmetrics_dna.extractors.projections import Projections

_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")  # as timm, transformers, torchvision and CLIP call it


class View(NamedTuple):
    """What a layer is of a network's output, such as ``head:mean`` of ``head``.

    Attributes:
        source: Which output.
        steps: What is done to it, one after another; nothing for the output itself.

    """

    source: str
    steps: tuple[str, ...] = ()

    @classmethod
    def of(cls, layer: str) -> View:
        """The view that a layer's name says; ValueError if there is no such view."""
        source, *steps = layer.split(":")
        for step in steps:
            if step not in (*_STEPS, PROJECTED):
                known = ", ".join((*_STEPS, PROJECTED))
                raise ValueError(f"Unknown view {step!r} of layer {source!r}; the views are: {known}")
        return cls(source, tuple(steps))

    def after(self, steps: Sequence[str]) -> View:
        """The same view of a view."""
        return View(self.source, (*steps, *self.steps))

    def take(self, activations: Tensor, projections: Projections | None = None) -> Tensor:
        """The view of activations ``(B, n, *positions)``, of the same positions or ``(B, n)``."""
        for step in self.steps:
            activations = projections(activations) if step == PROJECTED and projections else _STEPS[step](activations)
        return activations

    def width(self, neurons: int, projections: Projections | None) -> int:
        """How many neurons the view has, of so many of the output."""
        return projections.count if projections and PROJECTED in self.steps else neurons

    def check(self, layer: str, shape: Sequence[int], network: nn.Module, projections: Projections | None) -> None:
        """Check that the output has what the view takes.

        Args:
            layer: What the view is called.
            shape: Of the output for one image.
            network: The network.
            projections: The directions that there are.

        Raises:
            ValueError: If it has not.

        """
        if PROJECTED in self.steps and projections is None:
            raise ValueError(
                f"Layer {layer!r} expected to know how many random directions; give the extractor `projections`, such"
                " as 64"
            )
        tokens = len(shape) == 3
        for step in self.steps:
            if step == "class" and not tokens:
                raise ValueError(
                    f"Layer {layer!r} expected tokens (B, tokens, n), but {self.source!r} gives shape {tuple(shape)};"
                    " take the view 'mean', or a layer of tokens"
                )
            if step == "class" and not _has_class_token(network, shape[1]):
                raise ValueError(
                    f"Layer {layer!r} expected a class token, but {type(network).__name__} has no parameter"
                    f" {', '.join(_CLASS_TOKENS[:-1])} or {_CLASS_TOKENS[-1]} before {self.source!r}; take the view"
                    " 'mean'"
                )
            tokens = tokens and step in ("unit", PROJECTED)


def views_of(layers: Sequence[str]) -> tuple[list[str], dict[str, View]]:
    """The outputs that layers need, each once, and the view that each layer is."""
    views = {layer: View.of(layer) for layer in layers}
    return list(dict.fromkeys(view.source for view in views.values())), views


def with_projected(views: Mapping[str, View]) -> dict[str, View]:
    """Views with the projections of each before them, unless some are projected already."""
    if any(PROJECTED in view.steps for view in views.values()):
        return dict(views)
    projected = {f"{layer}:{PROJECTED}": View(view.source, (*view.steps, PROJECTED)) for layer, view in views.items()}
    return projected | dict(views)


def plain(views: Mapping[str, View]) -> bool:
    """Whether all layers are outputs themselves."""
    return all(not view.steps for view in views.values())


def _has_class_token(network: nn.Module, tokens: int) -> bool:
    # some networks add it after most of their blocks
    patches = getattr(getattr(network, "patch_embed", None), "num_patches", 0)
    names = (name.rpartition(".")[2] for name, _ in network.named_parameters())
    return tokens > patches and any(name in _CLASS_TOKENS for name in names)


def _wide(activations: Tensor) -> Tensor:
    """In float32 at least, in which sums keep their digits."""
    return activations.float() if activations.dtype in (torch.float16, torch.bfloat16) else activations


def _class(activations: Tensor) -> Tensor:
    return activations[:, :, 0].contiguous()  # or else all tokens would stay in memory


def _mean(activations: Tensor) -> Tensor:
    return _wide(activations.flatten(2)).mean(2) if activations.ndim > 2 else activations


def _unit(activations: Tensor) -> Tensor:
    return normalize(_wide(activations), dim=1)


_STEPS: dict[str, Callable[[Tensor], Tensor]] = {"class": _class, "mean": _mean, "unit": _unit}
