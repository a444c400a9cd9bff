"""Projections of a layer's neurons on random directions, which see what neurons do together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchmetrics_dna.extractors.cpu import alike_convolutions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STEP = "projected"  # of a layer's name


def own_layers(layers: Iterable[str]) -> list[str]:
    """Layers that are no projections of others, over which distances of layers are averaged; all if there are no such.

    Example:
        >>> own_layers(["head:projected", "head", "head:mean"])
        ['head', 'head:mean']

    """
    every = list(layers)
    return [layer for layer in every if STEP not in layer.split(":")] or every


class Projections:
    """So many random directions in the space of each layer's neurons; layers of one width have the same.

    What is projected is each position's neurons divided by their norm, or else the few neurons of the largest values
    would outshine what the others do together.

    Args:
        count: How many, K.
        seed: From which they follow.

    Raises:
        ValueError: If an argument has a wrong value.

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
        """Those that arguments ask for; ValueError if nothing is asked of the network, or an argument is wrong."""
        if count is None:
            return None
        if outputs == ():
            raise ValueError("Argument `projections` is for layers of a network, but only properties are watched")
        return cls(count, seed)

    def __call__(self, activations: Tensor) -> Tensor:
        """Activations ``(B, n, *positions)``, projected: ``(B, K, *positions)``, float32 in [-1, 1].

        On the CPU they round as convolutions of the network do, alike for any number of images and threads.
        """
        directions = self._on(activations.device, activations.shape[1])
        unit = normalize(activations.float(), dim=1)
        points = unit.flatten(2) if unit.ndim > 2 else unit[..., None]
        if activations.device.type == "cpu":
            with alike_convolutions(activations.device):
                made = torch.conv2d(points[..., None].contiguous(), directions[..., None, None])[..., 0]
        else:
            made = directions @ points
        return made.reshape(len(activations), self.count, *activations.shape[2:])

    @property
    def preparation(self) -> dict[str, Any]:
        """What of them is part of an extractor, as arguments of it."""
        return {"projections": self.count, "projection_seed": self.seed}

    def _on(self, device: torch.device, neurons: int) -> Tensor:
        """Unit vectors, float32, shape ``(K, n)``; they wait on the device, since sending them would wait for it."""
        known = self._directions.get((neurons, device))
        if known is None:
            rows = np.random.default_rng(self.seed).standard_normal((self.count, neurons))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            known = self._directions[neurons, device] = torch.from_numpy(rows).float().to(device)
        return known
