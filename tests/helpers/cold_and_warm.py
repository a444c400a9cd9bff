"""Print a digest of the result of each compiled function: one line for each function and layout."""

from __future__ import annotations

import hashlib

import torch
from numba.core.dispatcher import Dispatcher
from torch import Tensor

from torchmetrics_dna.binning import bins_within, cpu
from torchmetrics_dna.binning.single_rows import SingleRows
from torchmetrics_dna.functional import cpu as distances_on_cpu
from torchmetrics_dna.kernels import rows, tiles

BINS = 100
random = torch.Generator().manual_seed(0)


def show(label: str, values: Tensor) -> None:
    print(label, hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16])


def go_through(label: str, values: Tensor) -> None:
    """Count, score, sum and find the extremes of activations, neurons on axis 1."""
    neurons = values.shape[1]
    bins = bins_within(torch.full((neurons,), -3.0), torch.full((neurons,), 2.7), BINS)
    parts = [{"layer": values}]
    counts = torch.zeros(neurons, BINS, dtype=torch.int64)
    cpu.add_counts_(counts, parts, bins)
    show(f"count {label}", counts)
    references = torch.randint(0, 50, (2, neurons, BINS), generator=random)
    weights = torch.ones(neurons, dtype=torch.float64)
    distances = torch.zeros(2, len(values), neurons, dtype=torch.float64)
    layout = SingleRows([values[0, 0].numel()], weights, BINS, [neurons])
    rows = layout.empty(len(values), "cpu")
    distances_on_cpu.fill_distances_(distances, parts, references, bins, weights, (layout, rows))
    show(f"distances {label}", distances)
    show(f"rows {label}", rows)
    distances_on_cpu.fill_from_rows_(distances.zero_(), rows, layout, references)
    show(f"distances of rows {label}", distances)
    counts.zero_()
    cpu.count_rows_(counts, rows, layout.starts, layout.activations)
    show(f"counts of rows {label}", counts)
    show(f"means {label}", cpu.spatial_means([values]))
    show(f"extremes {label}", cpu.extremes(parts))


def main() -> None:
    values = torch.randn(3, 37, 19, 23, generator=random)
    go_through("neurons first", values)
    go_through("neurons last", values.to(memory_format=torch.channels_last))
    go_through("few positions", values[:, :5, 0, :7])
    go_through("many positions", torch.randn(1, 2, 260, 260, generator=random))
    # another type is compiled to the same but for how one value is read
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        show(f"means {dtype}", cpu.spatial_means([values.to(dtype)]))
    a, b = (torch.randint(0, 1000, (300, BINS), generator=random) for _ in "ab")
    show("emd", distances_on_cpu.emd_of_rows(a, b))
    begin, end = torch.rand(300, generator=random).double() * 9, torch.rand(300, generator=random).double() * 40 + 50
    show("area", distances_on_cpu.area_of_rows(a, b, begin, end))
    starts, shifts = (torch.randint(low, high, (300,), generator=random) for low, high in ((-99, 99), (0, 3)))
    cpu.regrid_(a, starts, shifts, starts >> shifts)
    show("regridded", a)
    functions = {**vars(tiles), **vars(rows)}
    compiled = {name: function for name, function in functions.items() if isinstance(function, Dispatcher)}
    print("compiled here", *sorted(name for name, function in compiled.items() if function.stats.cache_misses))
    print("not called", *sorted(name for name, function in compiled.items() if not function.signatures))


if __name__ == "__main__":
    main()
