"""Fingerprints of networks: a few numbers of the activations for one fixed input.

Networks with equal weights may compute different activations. Fingerprints detect such differences.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Largest differences between equal networks, relative to the size of a layer's activations. In float32, activations
# changed by 2e-6 at most with the number of threads, the memory format, earlier batches and the instruction set. GPUs
# and half precision may change them by more.
TOLERANCE = 1e-4
TOLERANCE_OF_HALF = 5e-2


def fingerprint_of(form: Sequence[Any], activations: Mapping[str, Tensor], dtype: str | None) -> dict[str, Any]:
    """Summarize the activations of one input by four numbers per layer.

    Args:
        form: Form of the input.
        activations: Activations of each layer, ``(1, n, *positions)``.
        dtype: Precision of the network in words, or None for float32.

    Returns:
        Fingerprint, JSON-serializable. It has the form of the input, the tolerance for comparisons, and four float32
        numbers per layer, in base64. The first number is the root mean square of the activations. Two numbers are
        projections of the means of neurons. The last one is a projection of the root mean squares of neurons.

    """
    layers = {layer: b64encode(_summary(values).tobytes()).decode() for layer, values in activations.items()}
    is_precise = dtype is None or dtype.startswith("float64")
    tolerance = TOLERANCE if is_precise else TOLERANCE_OF_HALF
    return {"input": list(form), "tolerance": tolerance, "layers": layers}


def _summary(activations: Tensor) -> NDArray[np.float32]:
    """Return the four numbers of :func:`fingerprint_of` for a layer, from activations ``(1, n, *positions)``."""
    neurons = activations[0].detach().reshape(activations.shape[1], -1).double()
    mean = neurons.mean(1)
    mean_square = neurons.square().mean(1)
    angles = torch.arange(len(mean), dtype=torch.float64, device=mean.device)
    cosines = angles.cos()
    sines = angles.sin()
    summary = [mean_square.mean().sqrt(), mean @ cosines, mean @ sines, mean_square.sqrt() @ cosines]
    numbers = torch.stack(summary).cpu().numpy().astype("<f4")
    # With this scale, a change of one neuron is larger than the effect of rounding in all neurons.
    numbers[1:] /= len(mean) ** 0.5
    return numbers


def furthest_layer(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the layer that differs most between two fingerprints, and the difference relative to its size.

    Returns:
        The layer and the difference. The layer is "" if the inputs differ because one of the two networks fails on the
        preferred fixed input. None if the fingerprints agree, or can't be compared. This is so if one is of bytes and
        the other of floats, if their examples differ, or if they have no layer in common.

    """
    # The first entry is the dtype of the fixed image, or the digest of the fixed noise.
    if a["input"][0] != b["input"][0]:
        return None
    # A network that fails on the preferred input has another input. One that fails on all inputs has no layers.
    have_other_inputs = a["input"] != b["input"]
    only_one_has_layers = bool(a["layers"]) != bool(b["layers"])
    if have_other_inputs or only_one_has_layers:
        return "", np.inf
    common = sorted(a["layers"].keys() & b["layers"].keys())
    if not common:
        return None
    differences = {layer: _difference(a["layers"][layer], b["layers"][layer]) for layer in common}
    layer = max(common, key=differences.__getitem__)
    if differences[layer] <= max(a["tolerance"], b["tolerance"]):
        return None
    return layer, differences[layer]


def _difference(a: str, b: str) -> float:
    """Return the largest difference between two summaries in base64, relative to the larger root mean square."""
    first = _decoded(a)
    second = _decoded(b)
    # The first number is the root mean square. The smallest float avoids a division by 0.
    size = np.nanmax([first[0], second[0], np.finfo(np.float32).tiny])
    differences = np.abs(first - second) / size
    # Two infinite numbers, or two NaN, have the difference NaN, but are equal.
    are_equal = (first == second) | (np.isnan(first) & np.isnan(second))
    differences[are_equal] = 0
    # If only one of two numbers is NaN, their difference is infinite.
    return float(np.nan_to_num(differences, nan=np.inf).max())


def _decoded(summary: str) -> NDArray[np.float64]:
    """Return the four numbers of a summary in base64."""
    return np.frombuffer(b64decode(summary), "<f4").astype(float)
