"""Projections of a layer's neurons on random directions, which respond to combinations of neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchmetrics_dna.extractors.cpu import rounding_alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STEP = "projected"  # in a layer's name
NUM_PROJECTIONS = 64  # where a layer's name has the step, and no number is given


def own_layers(layers: Iterable[str]) -> list[str]:
    """Return the layers that are not projections of others, over which distances are averaged; all if none is.

    Example:
        >>> own_layers(["head:projected", "head", "head:mean"])
        ['head', 'head:mean']

    """
    names = list(layers)
    return [layer for layer in names if STEP not in layer.split(":")] or names


class Projections:
    """Random directions in the space of each layer's neurons, shared by layers of equal width.

    The neurons of each position are normalized first, so that a few neurons with large values do not dominate.

    Args:
        count: Number of directions, K.
        seed: Seed of the directions.

    Raises:
        ValueError: If an argument has an invalid value.

    Example:
        >>> activations = 5 * torch.eye(3)[None]  # one image, three neurons, three positions
        >>> Projections(2, seed=0)(activations).norm(dim=2)  # directions have length 1
        tensor([[1., 1.]])

    """

    def __init__(self, count: int, seed: int) -> None:
        for name, value, least in (("projections", count, 1), ("projection_seed", seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")
        self.count, self.seed = count, seed
        self._directions: dict[tuple[int, torch.device], Tensor] = {}

    @classmethod
    def of(cls, outputs: Sequence[str] | None, count: int | None, seed: int) -> Projections | None:
        """Build projections from arguments; ValueError if the network is not used, or an argument is invalid."""
        if count is None:
            return None
        if outputs == ():
            raise ValueError("Argument `projections` is for layers of a network, but only properties are watched")
        return cls(count, seed)

    def __call__(self, activations: Tensor) -> Tensor:
        """Project activations ``(B, n, *positions)`` to ``(B, K, *positions)``, float32 in [-1, 1].

        On the CPU they are convolutions, which round identically for any number of images and threads.
        """
        directions = self._on(activations.device, activations.shape[1])
        unit = normalize(activations.float(), dim=1)
        points = unit.flatten(2) if unit.ndim > 2 else unit[..., None]
        if activations.device.type == "cpu":
            with rounding_alike(activations.device):
                projected = torch.conv2d(points[..., None].contiguous(), directions[..., None, None])[..., 0]
        else:
            projected = directions @ points
        return projected.reshape(len(activations), self.count, *activations.shape[2:])

    @property
    def preparation(self) -> dict[str, Any]:
        """Arguments of the extractor that define the projections."""
        return {"projections": self.count, "projection_seed": self.seed}

    def _on(self, device: torch.device, neurons: int) -> Tensor:
        """Return unit vectors, float32, ``(K, n)``; cached on the device, since copying them there is a device sync."""
        directions = self._directions.get((neurons, device))
        if directions is None:
            rows = np.random.default_rng(self.seed).standard_normal((self.count, neurons))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            directions = self._directions[neurons, device] = torch.from_numpy(rows).float().to(device)
        return directions
