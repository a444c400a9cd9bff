"""Fingerprints tell networks apart by what they compute of one fixed input, since weights don't tell all."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Differences relative to the size of a layer's activations. In float32, threads, memory formats, batches before, and
# instruction sets moved activations by 2e-6 at most. GPUs and half precision may move them by more.
TOLERANCE, TOLERANCE_OF_HALF = 1e-4, 5e-2


def fingerprint_of(form: Sequence[Any], activations: Mapping[str, Tensor], dtype: str | None) -> dict[str, Any]:
    """Summarize activations of one input, ``{layer: (1, n, *positions)}``, by four numbers a layer.

    The result is JSON-serializable: the form of the input, the tolerance of a comparison, which depends on the dtype of
    the network (None for float32), and for each layer, in base64, its size (root mean square) and projections of the
    neurons' means, two, and of their sizes, float32.
    """
    layers = {layer: b64encode(_summary(values).tobytes()).decode() for layer, values in activations.items()}
    is_precise = dtype is None or dtype.startswith("float64")
    tolerance = TOLERANCE if is_precise else TOLERANCE_OF_HALF
    return {"input": list(form), "tolerance": tolerance, "layers": layers}


def _summary(activations: Tensor) -> NDArray[np.float32]:
    """Return four numbers of the activations of one input, ``(1, n, *positions)``."""
    neurons = activations[0].detach().reshape(activations.shape[1], -1).double()
    mean = neurons.mean(1)
    square = neurons.square().mean(1)
    angles = torch.arange(len(mean), dtype=torch.float64, device=mean.device)
    across = angles.cos()
    along = angles.sin()
    summary = [square.mean().sqrt(), mean @ across, mean @ along, square.sqrt() @ across]
    numbers = torch.stack(summary).cpu().numpy().astype("<f4")
    # A change of one neuron then exceeds what rounding changes in all neurons.
    numbers[1:] /= len(mean) ** 0.5
    return numbers


def furthest_layer(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the layer that differs most between two fingerprints, and by how much relative to its size.

    The layer is "" if only one of two networks takes an input. None if they agree, or can't be compared: of bytes and
    floats, of unlike examples, or without a layer in common.
    """
    if a["input"][0] != b["input"][0]:
        return None
    if a["input"] != b["input"] or bool(a["layers"]) != bool(b["layers"]):
        return "", np.inf
    common = sorted(a["layers"].keys() & b["layers"].keys())
    if not common:
        return None
    differences = {layer: _difference(a["layers"][layer], b["layers"][layer]) for layer in common}
    furthest = max(common, key=differences.__getitem__)
    if differences[furthest] <= max(a["tolerance"], b["tolerance"]):
        return None
    return furthest, differences[furthest]


def _difference(a: str, b: str) -> float:
    """Return the largest difference between two summaries in base64, relative to the size of the larger one."""
    first, second = (np.frombuffer(b64decode(summary), "<f4").astype(float) for summary in (a, b))
    size = np.nanmax([first[0], second[0], np.finfo(np.float32).tiny])
    difference = np.abs(first - second) / size
    are_equal = (first == second) | (np.isnan(first) & np.isnan(second))
    difference[are_equal] = 0
    return float(np.nan_to_num(difference, nan=np.inf).max())
