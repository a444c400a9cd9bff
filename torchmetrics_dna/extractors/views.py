"""Views of a network's outputs, such as the mean over positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


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


def _class_token(activations: Tensor) -> Tensor:
    # The copy frees the memory of all other tokens.
    return activations[:, :, 0].contiguous()


def _mean(activations: Tensor) -> Tensor:
    if activations.ndim == 2:
        return activations
    return _wide(activations.flatten(2)).mean(2)


def _unit(activations: Tensor) -> Tensor:
    return normalize(_wide(activations), dim=1)


def _wide(activations: Tensor) -> Tensor:
    """Convert half precision and integers to float32, to keep the precision of sums."""
    if activations.dtype in (torch.float32, torch.float64):
        return activations
    return activations.float()


_STEPS: dict[str, Callable[[Tensor], Tensor]] = {"class": _class_token, "mean": _mean, "unit": _unit}
