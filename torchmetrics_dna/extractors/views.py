"""Views of a network's outputs, such as the mean over positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class View(NamedTuple):
    """View of a network's output, such as ``head:mean`` of ``head``.

    Attributes:
        source: Name of the output.
        steps: Operations on the output, in order; empty for the output itself.

    """

    source: str
    steps: tuple[str, ...] = ()

    @classmethod
    def of(cls, layer: str) -> View:
        """Parse the name of a layer, such as ``"head:mean"``; raise ValueError for an unknown view."""
        source, *steps = layer.split(":")
        for step in steps:
            if step not in _STEPS:
                raise ValueError(f"Unknown view {step!r} of layer {source!r}; the views are: {', '.join(_STEPS)}")
        return cls(source, tuple(steps))

    def after(self, steps: Sequence[str]) -> View:
        """Return the view that first applies ``steps`` to the output, then the steps of this view."""
        return View(self.source, (*steps, *self.steps))

    def take(self, activations: Tensor) -> Tensor:
        """Apply the view to activations ``(B, n, *positions)``. The result has the same shape, or shape ``(B, n)``."""
        for step in self.steps:
            activations = _STEPS[step](activations)
        return activations


def _class_token(activations: Tensor) -> Tensor:
    """Return the class token, which is the first one."""
    # Without a copy, the result would keep the memory of all tokens.
    return activations[:, :, 0].contiguous()


def _mean(activations: Tensor) -> Tensor:
    """Return the mean over positions."""
    if activations.ndim == 2:
        return activations
    return _wide(activations.flatten(2)).mean(2)


def _unit(activations: Tensor) -> Tensor:
    """Return the neurons of each position divided by their norm."""
    return normalize(_wide(activations), dim=1)


def _wide(activations: Tensor) -> Tensor:
    """Convert half precision and integers to float32, so that sums are precise."""
    if activations.dtype in (torch.float32, torch.float64):
        return activations
    return activations.float()


_STEPS: dict[str, Callable[[Tensor], Tensor]] = {"class": _class_token, "mean": _mean, "unit": _unit}
