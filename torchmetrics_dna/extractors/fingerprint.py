"""Fingerprints: what a network computes, told by its activations of one fixed input, since its weights don't tell."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# differences relative to the size of a layer's activations: in float32, threads, memory formats, batches before, and
# instruction sets moved them by 2e-6 at most (tests/benchmarks/fingerprints.py); GPUs and half precision may by more
TOLERANCE, TOLERANCE_OF_HALF = 1e-4, 5e-2


def fixed_images(channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return the image that fingerprints are taken of, as a batch: smooth shapes with noise, uint8 or in [0, 1]."""
    noise = torch.randint(0, 128, (1, channels, *size), generator=torch.Generator().manual_seed(0))
    rows, columns = (torch.arange(length) * 512 // length for length in size)
    smooth = ((rows[:, None] + columns) % 256 - 128).abs()
    images = (noise + smooth).clamp(max=255).to(torch.uint8)
    return images if dtype == torch.uint8 else images.to(dtype) / 255


def fingerprint_of(form: Sequence[Any], activations: Mapping[str, Tensor], dtype: str | None) -> dict[str, Any]:
    """Summarize activations of one input by four numbers a layer.

    Args:
        form: What determines the input, JSON-serializable.
        activations: Its activations, ``{layer: (1, n, *positions)}``.
        dtype: Precision of the network, if it is not float32.

    Returns:
        JSON-serializable: the form of the input, the tolerance of a comparison, and for each layer, in base64, its size
        (root mean square) and projections of the neurons' means, two, and of their sizes, float32.

    """
    layers = {}
    for layer, values in activations.items():
        neurons = values[0].detach().reshape(values.shape[1], -1).double()
        mean, square = neurons.mean(1), neurons.square().mean(1)
        angles = torch.arange(len(mean), dtype=torch.float64, device=mean.device)
        across, along = angles.cos(), angles.sin()
        summary = [square.mean().sqrt(), mean @ across, mean @ along, square.sqrt() @ across]
        numbers = torch.stack(summary).cpu().numpy().astype("<f4")
        numbers[1:] /= len(mean) ** 0.5  # what one neuron changes stands out of what rounding changes in all
        layers[layer] = b64encode(numbers.tobytes()).decode()
    tolerance = TOLERANCE if dtype is None or dtype.startswith("float64") else TOLERANCE_OF_HALF
    return {"input": list(form), "tolerance": tolerance, "layers": layers}


def furthest_layer(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the layer that differs most between two fingerprints, and by how much relative to its size.

    None if they agree, or can't be compared, since they are of other inputs or have no layer in common.
    """
    if a["input"] != b["input"]:
        return None
    differences = {}
    for layer in a["layers"].keys() & b["layers"].keys():
        ours, theirs = (np.frombuffer(b64decode(each["layers"][layer]), "<f4").astype(float) for each in (a, b))
        size = np.nanmax([ours[0], theirs[0], np.finfo(np.float32).tiny])
        apart = np.abs(ours - theirs) / size
        apart[(ours == theirs) | (np.isnan(ours) & np.isnan(theirs))] = 0
        differences[layer] = float(np.nan_to_num(apart, nan=np.inf).max())
    layer = max(sorted(differences), key=differences.__getitem__, default="")
    return (layer, differences[layer]) if layer and differences[layer] > max(a["tolerance"], b["tolerance"]) else None
