"""DNAs of every kind, small, with all that a file has to keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA, check_comparable
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.neurons import Neurons

# names that a zip, an npz or a path could mistake
LAYERS = ("block.0/conv-1", "../köpf", "x.npy", "x", "dna.json", "層 1")
PREPARATION = {"resize": "clean", "input_size": [224, 224], "crop": "center", "mean": [0.5, 0.5, 0.5], "std": None}
_COMMON = {"weights_digest": "0123456789abcdef", "preparation": PREPARATION, "notes": 'Ünïcode\n"notes"'}


def neurons(layers: tuple[str, ...] = LAYERS) -> Neurons:
    """Neurons of layers with 1, 3, 5, ... neurons each; a selection of the last layer."""
    widths: dict[str, int | list[int]] = {layer: 1 + 2 * i for i, layer in enumerate(layers)}
    widths[layers[-1]] = [1, 4, 5]
    return Neurons(widths)


def ranges(of: Neurons, margin: str = "scale") -> ActivationRanges:
    random = np.random.default_rng(0)
    low = torch.from_numpy(random.normal(size=of.total))
    return ActivationRanges(low, low + torch.from_numpy(random.random(of.total)), of, margin, "named")


def histogram(
    of: Neurons | None = None, num_bins: int = 6, largest: int = 2**40, margin: str = "scale"
) -> HistogramDNA:
    """Histogram DNA whose counts sum up to the same number for each neuron of a layer."""
    of = neurons() if of is None else of
    random = np.random.default_rng(0)
    counts = [np.stack([random.permutation(row) for _ in range(n)]) for n, row in _rows(of, num_bins, largest)]
    return HistogramDNA(torch.from_numpy(np.concatenate(counts)), of, ranges(of, margin), 12, "tiny", **_COMMON)


def gaussian(of: Neurons | None = None) -> GaussianDNA:
    of = neurons() if of is None else of
    random = np.random.default_rng(1)
    return GaussianDNA(
        torch.from_numpy(random.normal(size=of.total)),
        torch.from_numpy(random.random(of.total)),
        of,
        12,
        "tiny",
        **_COMMON,
    )


def layer_gaussian(of: Neurons | None = None) -> LayerGaussianDNA:
    of = neurons() if of is None else of
    random = np.random.default_rng(2)
    cov = {layer: torch.from_numpy(np.cov(random.normal(size=(n, 9)))).reshape(n, n) for layer, n in of.items()}
    return LayerGaussianDNA(torch.from_numpy(random.normal(size=of.total)), cov, of, 12, "tiny", **_COMMON)


def every_kind(of: Neurons | None = None) -> list[DNA]:
    return [histogram(of), histogram(of, margin="auto"), gaussian(of), layer_gaussian(of)]


def in_folds(of: Neurons | None = None) -> list[DNA]:
    """A DNA of each kind with two folds, whose histograms have fewer bins."""
    folded = []
    for dna in every_kind(of):
        parts = [dna, merged([dna, dna])]
        fixed = isinstance(dna, HistogramDNA) and not dna.self_ranging
        folds = [part.rebin(3) if fixed else part for part in parts]
        folds = [part.to_gaussian() if isinstance(part, LayerGaussianDNA) else part for part in folds]
        folded.append(replace(merged(parts), folds=tuple(replace(fold, notes="") for fold in folds)))
    return folded


def _rows(of: Neurons, num_bins: int, largest: int) -> list[tuple[int, np.ndarray]]:
    random = np.random.default_rng(3)
    top = [0, 255, 256, 65_535, largest, 1]  # around where one more byte is needed
    return [
        (width, np.append(random.integers(0, top[i % len(top)] + 1, num_bins - 1), top[i % len(top)]))
        for i, width in enumerate(of.values())
    ]


def about(dna: DNA) -> dict[str, object]:
    """Return the metadata of a DNA in json types."""
    return {
        "digest": dna.digest,
        "layers": [[layer, list(dna.neurons.numbers(layer))] for layer in dna.neurons],
        "num_images": dna.num_images,
        "extractor": dna.extractor,
        "weights": dna.weights_digest,
        "preparation": dna.preparation,
        "notes": dna.notes,
    }


def tensors(dna: DNA) -> dict[str, torch.Tensor]:
    """Return all tensors of a DNA, by name."""
    if isinstance(dna, HistogramDNA):
        by_name = {"counts": dna.counts}
        return by_name | ({} if dna.ranges is None else {"low": dna.ranges.minimum, "high": dna.ranges.maximum})
    if isinstance(dna, GaussianDNA):
        return {"mean": dna.mean, "var": dna.var}
    assert isinstance(dna, LayerGaussianDNA)
    return {"mean": dna.mean, **dna.cov}


def are_alike(a: DNA, b: DNA, rtol: float = 1e-9, atol: float = 1e-12) -> bool:
    """True if two DNAs are comparable and of as many images, with equal counts, or moments equal up to rounding."""
    try:
        check_comparable(a, b)
    except ValueError:
        return False
    if a.num_images != b.num_images:
        return False
    others = tensors(b)
    return all(
        torch.allclose(values, others[name], rtol, atol) if values.is_floating_point() else values.equal(others[name])
        for name, values in tensors(a).items()
    )
