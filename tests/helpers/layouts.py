"""Activations that lie in memory as networks and users leave them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# what networks give, and what users may make of it: (shape, the order of axes in memory, what is cut out)
LAYOUTS = {
    "convolution": ((3, 5, 6, 7), (0, 1, 2, 3), ...),
    "channels last": ((3, 21, 6, 7), (0, 2, 3, 1), ...),
    "tokens": ((2, 70, 45), (0, 2, 1), ...),
    "pooled": ((9, 70), (0, 1), ...),
    "pooled, transposed": ((7, 21), (1, 0), ...),
    "many positions": ((2, 3, 50, 60), (0, 1, 2, 3), ...),
    "a window": ((2, 5, 12, 14), (0, 1, 2, 3), np.s_[:, :, 2:9, 3:11]),
    "a window of channels last": ((2, 40, 9, 9), (0, 2, 3, 1), np.s_[:, 1:38, 2:9, 3:8]),
    "every other": ((4, 9, 8, 8), (0, 1, 2, 3), np.s_[::2, ::2, ::2, ::2]),
    "every other token": ((2, 70, 45), (0, 2, 1), np.s_[:, 1::3, ::2]),
    "volumes": ((2, 5, 3, 4, 5), (0, 1, 2, 3, 4), ...),
    "windows of volumes": ((2, 5, 3, 4, 5), (0, 1, 2, 3, 4), np.s_[:, :, 1:, 1:, 1:]),
    "one neuron": ((4, 1, 6), (0, 2, 1), ...),
    "one value": ((1, 1), (0, 1), ...),
    "no images": ((0, 5, 3), (0, 1, 2), ...),
    "no neurons": ((2, 0, 3), (0, 1, 2), ...),
    "no positions": ((2, 3, 0), (0, 1, 2), ...),
}


def laid_out(layout: str, dtype: torch.dtype) -> Tensor:
    """Activations that lie in memory like this."""
    shape, order, cut = LAYOUTS[layout]
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return values.permute(order).contiguous().permute([order.index(axis) for axis in range(len(shape))])[cut]
