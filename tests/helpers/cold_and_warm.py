"""Print a digest of the result of each compiled function: one line for each function and layout."""

from __future__ import annotations

import hashlib

import torch
from numba.core.dispatcher import Dispatcher
from torch import Tensor

from torchmetrics_dna.binning import Activations, FoldCounts, bins_within, cpu
from torchmetrics_dna.functional.self_ranging import RangedCounts

BINS = 100
random = torch.Generator().manual_seed(0)


def show(label: str, values: Tensor) -> None:
    print(label, hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16])


def go_through(label: str, values: Tensor) -> None:
    """Count, score and average activations, neurons on axis 1."""
    neurons = values.shape[1]
    bins = bins_within(torch.full((neurons,), -3.0), torch.full((neurons,), 2.7), BINS)
    batch = Activations({"layer": values})
    counts, folds = torch.zeros(neurons, BINS, dtype=torch.int64), torch.zeros(2, neurons, BINS // 4, dtype=torch.int64)
    wide = bins_within(torch.full((neurons,), -3.0), torch.full((neurons,), 2.7), BINS // 4)
    cpu.add_counts_(counts, batch, bins, FoldCounts(folds, wide, torch.arange(len(values)) % 2))
    show(f"count {label}", counts)
    show(f"folds {label}", folds)
    references = torch.randint(0, 50, (2, neurons, BINS), generator=random)
    distances = torch.zeros(2, len(values), neurons, dtype=torch.float64)
    cpu.fill_distances_(distances, batch, references, bins, torch.ones(neurons, dtype=torch.float64))
    show(f"distances {label}", distances)
    show(f"means {label}", cpu.spatial_means(batch))


def main() -> None:
    values = torch.randn(3, 37, 19, 23, generator=random)
    go_through("neurons first", values)
    go_through("neurons last", values.to(memory_format=torch.channels_last))
    go_through("few positions", values[:, :5, 0, :7])
    go_through("many positions", torch.randn(1, 2, 260, 260, generator=random))
    go_through("float64", values.double())
    a, b = (torch.randint(0, 1000, (300, BINS), generator=random) for _ in "ab")
    show("emd", cpu.emd_of_rows(a, b))
    low, high = torch.rand(300, generator=random).double() * 9, torch.rand(300, generator=random).double() * 40 + 50
    places_a, places_b = RangedCounts(a, low, high).places(), RangedCounts(b, low + 3, high * 2).places()
    show("area", cpu.areas_of_rows(a, b, places_a, places_b, torch.stack([low, high], 1)))
    sums, totals = (torch.randint(0, 1000, shape, generator=random).float() for shape in ((3, 7, 20), (7, 20)))
    show("sums", cpu.distances_of_sums(sums, torch.rand(3, 7, generator=random).double(), totals))
    compiled = {name: function for name, function in vars(cpu).items() if isinstance(function, Dispatcher)}
    print("compiled here", *sorted(name for name, function in compiled.items() if function.stats.cache_misses))
    print("not called", *sorted(name for name, function in compiled.items() if not function.signatures))


if __name__ == "__main__":
    main()
