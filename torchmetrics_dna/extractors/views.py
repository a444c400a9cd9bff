"""Views of a layer, which its name ends with: class token, mean over positions, unit vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")  # of timm, transformers, torchvision and CLIP


class View(NamedTuple):
    """View of a network's output, such as ``head:mean`` of ``head``.

    Attributes:
        source: Name of the output.
        steps: Operations on it, in order; empty for the output itself.

    """

    source: str
    steps: tuple[str, ...] = ()

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

    def check(self, layer: str, shape: Sequence[int], network: nn.Module, tokens: bool) -> None:
        """Check that the output supports the view.

        Args:
            layer: Name of the view.
            shape: Shape of the output for one image.
            network: The network.
            tokens: Whether the output is tokens ``(B, tokens, n)``.

        Raises:
            ValueError: If it does not.

        """
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
            tokens = tokens and step == "unit"


def _has_class_token(network: nn.Module, tokens: int) -> bool:
    # some networks add the token only after most blocks
    patches = getattr(getattr(network, "patch_embed", None), "num_patches", 0)
    names = (name.rpartition(".")[2] for name, _ in network.named_parameters())
    return tokens > patches and any(name in _CLASS_TOKENS for name in names)


def _wide(activations: Tensor) -> Tensor:
    """Convert half precision and integers to float32, to keep the precision of sums."""
    return activations if activations.dtype in (torch.float32, torch.float64) else activations.float()


def _class(activations: Tensor) -> Tensor:
    return activations[:, :, 0].contiguous()  # a view would keep all tokens in memory


def _mean(activations: Tensor) -> Tensor:
    return _wide(activations.flatten(2)).mean(2) if activations.ndim > 2 else activations


def _unit(activations: Tensor) -> Tensor:
    return normalize(_wide(activations), dim=1)


_STEPS: dict[str, Callable[[Tensor], Tensor]] = {"class": _class, "mean": _mean, "unit": _unit}
