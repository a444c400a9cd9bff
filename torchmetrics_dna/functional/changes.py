"""Which named changes of images a shift of neurons is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDING = 1e-20  # of a shift's square, which is left where it is nothing but content
_SWEEPS = 4  # over the changes that are chosen, each fitted anew beside the others


class ChangeFit(NamedTuple):
    """Changes that add up to a shift.

    Attributes:
        changes: The number and strength of each, the largest first.
        unexplained: Share of the shift's square that they leave, from 0 to 1.
        alone: What each change would leave by itself, shape ``(C,)``.

    """

    changes: list[tuple[int, float]]
    unexplained: float
    alone: Tensor


def fit_changes(shift: Tensor, paths: Tensor, content: Tensor, most: int = 3, least_gain: float = 0.05) -> ChangeFit:
    """Fit the strengths of few changes to a shift, none of them negative: the one that explains most first.

    Each change is a path, from no shift over that of strength 1 to that of the last, with straight lines between.
    Changes add up. What lies along ``content``, in which images differ by what they show, is taken from both.

    Args:
        shift: Mean activation of B less that of A, float64, shape ``(N,)``.
        paths: That of each change in each strength, shape ``(C, S, N)``, in the same units.
        content: Directions, shape ``(K, N)``.
        most: How many changes to name.
        least_gain: Which share of the shift's square a change has to explain beyond those before it.

    Example:
        >>> paths = torch.eye(3).double()[:, None] * torch.tensor([1.0, 2.0, 4.0]).double()[None, :, None]
        >>> found = fit_changes(torch.tensor([3.0, 0.0, 1.0]).double(), paths, torch.zeros(0, 3).double())
        >>> found.changes, found.unexplained, found.alone.tolist()
        ([(0, 2.5), (2, 1.0)], 0.0, [0.1, 1.0, 0.9])

    """
    basis = torch.linalg.qr(content.T)[0]
    least = _ROUNDING * float(shift @ shift)
    shift, paths = (values - (values @ basis) @ basis.T for values in (shift, paths))
    paths = torch.cat([torch.zeros_like(paths[:, :1]), paths], 1)
    whole, left = float(shift @ shift), shift
    if whole <= least:
        return ChangeFit([], 1.0, torch.ones(len(paths), dtype=torch.float64))
    alone = _closest(shift, paths)[0]
    strengths: dict[int, float] = {}
    parts: dict[int, Tensor] = {}
    while len(parts) < most:
        costs = _closest(left, paths)[0]
        costs[list(parts)] = torch.inf
        best = int(costs.argmin())
        if float(left @ left - costs[best]) < least_gain * whole:
            break
        parts[best] = torch.zeros_like(shift)
        for _ in range(_SWEEPS if len(parts) > 1 else 1):
            for change, part in parts.items():
                _, found, points = _closest(left + part, paths[change : change + 1])
                strengths[change], parts[change] = float(found[0]), points[0]
                left = left + part - points[0]
    order = sorted(parts, key=lambda change: -float(parts[change] @ parts[change]))
    return ChangeFit([(change, strengths[change]) for change in order], float(left @ left) / whole, alone / whole)


def _closest(shift: Tensor, paths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The squared distance to each path, ``(C,)``; the strength where it is closest; its shift there, ``(C, N)``."""
    starts, steps = paths[:, :-1], paths.diff(dim=1)
    share = ((shift - starts) * steps).sum(2) / (steps * steps).sum(2).clamp(min=torch.finfo(torch.float64).tiny)
    share = share.clamp(0, 1)
    points = starts + share[..., None] * steps
    costs, where = ((shift - points) ** 2).sum(2).min(1)
    every = torch.arange(len(paths))
    return costs, where + share[every, where], points[every, where]
