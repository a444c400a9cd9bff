"""Decompose a shift of neurons into named changes of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDING = 1e-20  # relative square of a shift below which it is zero up to rounding
_SWEEPS = 4  # of coordinate descent over the chosen changes


class ChangeFit(NamedTuple):
    """Changes that add up to a shift."""

    changes: list[tuple[int, float]]  # index and strength, the largest first
    unexplained: float  # share of the shift's square, from 0 to 1
    alone: Tensor  # unexplained share for each change alone, (C,)


def fit_changes(shift: Tensor, paths: Tensor, content: Tensor, most: int = 3, least_gain: float = 0.05) -> ChangeFit:
    """Fit nonnegative strengths of few changes to a shift, greedily from the one that explains most.

    Each change is a piecewise linear path from zero over the shifts of its strengths. Changes are additive. Directions
    of ``content``, along which images differ by what they show, are projected out of both.

    Args:
        shift: Mean activation of B less that of A, float64, shape ``(N,)``.
        paths: Shift of each change at each strength, shape ``(C, S, N)``, in the same units.
        content: Directions to ignore, shape ``(K, N)``.
        most: Maximum number of changes.
        least_gain: Minimum share of the shift's square that each further change must explain.

    Example:
        >>> paths = torch.eye(3).double()[:, None] * torch.tensor([1.0, 2.0, 4.0]).double()[None, :, None]
        >>> fit = fit_changes(torch.tensor([3.0, 0.0, 1.0]).double(), paths, torch.zeros(0, 3).double())
        >>> fit.changes, fit.unexplained, fit.alone.tolist()
        ([(0, 2.5), (2, 1.0)], 0.0, [0.1, 1.0, 0.9])

    """
    basis = torch.linalg.qr(content.T)[0]
    least = _ROUNDING * float(shift @ shift)
    shift, paths = (values - (values @ basis) @ basis.T for values in (shift, paths))
    paths = torch.cat([torch.zeros_like(paths[:, :1]), paths], 1)
    total, residual = float(shift @ shift), shift
    if total <= least:
        return ChangeFit([], 1.0, torch.ones(len(paths), dtype=torch.float64))
    alone = _closest(shift, paths)[0]
    strengths: dict[int, float] = {}
    parts: dict[int, Tensor] = {}
    while len(parts) < most:
        costs = _closest(residual, paths)[0]
        costs[list(parts)] = torch.inf
        best = int(costs.argmin())
        if float(residual @ residual - costs[best]) < least_gain * total:
            break
        parts[best] = torch.zeros_like(shift)
        for _ in range(_SWEEPS if len(parts) > 1 else 1):
            for change, part in parts.items():
                _, strength, points = _closest(residual + part, paths[change : change + 1])
                strengths[change], parts[change] = float(strength[0]), points[0]
                residual = residual + part - points[0]
    order = sorted(parts, key=lambda change: -float(parts[change] @ parts[change]))
    return ChangeFit(
        [(change, strengths[change]) for change in order], float(residual @ residual) / total, alone / total
    )


def _closest(shift: Tensor, paths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project a shift onto paths; return squared distances ``(C,)``, strengths, and the nearest points ``(C, N)``."""
    starts, steps = paths[:, :-1], paths.diff(dim=1)
    share = ((shift - starts) * steps).sum(2) / (steps * steps).sum(2).clamp(min=torch.finfo(torch.float64).tiny)
    share = share.clamp(0, 1)
    points = starts + share[..., None] * steps
    costs, segment = ((shift - points) ** 2).sum(2).min(1)
    index = torch.arange(len(paths))
    return costs, segment + share[index, segment], points[index, segment]
