"""HistogramDNA: a histogram of the activations of each neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.self_ranging import Grid, bounds_of, dyadic_grid, regrid_
from torchmetrics_dna.dna.base import DNA
from torchmetrics_dna.dna.codec import ByLayer, Encoded, array_name, check_planes, split_arrays, to_planes
from torchmetrics_dna.dna.gaussian import GaussianDNA
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.emd import MOST_COUNTS, check_counted, dna_emd
from torchmetrics_dna.functional.self_ranging import RangedCounts, self_ranging_emd
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.options import written

if TYPE_CHECKING:
    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False, repr=False)
class HistogramDNA(DNA):
    """One histogram per neuron, Eq. (2) of the paper.

    Args:
        counts: Histograms, shape ``(N, num_bins)``, int64.
        neurons: The N neurons, in order.
        ranges: Activation ranges. The bins of a histogram divide the bounds of its range. None if unknown, since
            files of vdna don't store ranges.
        num_images: Number of images that were counted.
        extractor: Name of the extractor.
        weights_digest, preparation, notes, folds: As for :class:`~torchmetrics_dna.dna.base.DNA`.

    Raises:
        ValueError: If shapes or types do not fit.

    Example:
        >>> from torchmetrics_dna import ActivationRanges
        >>> from torchmetrics_dna.neurons import Neurons
        >>> neurons = Neurons({"conv": 1, "head": 1})
        >>> ranges = ActivationRanges(torch.zeros(2), torch.ones(2), neurons)
        >>> dna = HistogramDNA(torch.tensor([[1, 3], [4, 0]]), neurons, ranges, num_images=1, extractor="tiny")
        >>> (dna + dna).select(layers=["head"]).counts
        tensor([[8, 0]])

    """

    kind: ClassVar[str] = "histogram"
    distance_name: ClassVar[str] = "dna-emd"
    least_images: ClassVar[int] = 1

    counts: Tensor
    neurons: Neurons
    ranges: ActivationRanges | None
    num_images: int
    extractor: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.counts.ndim != 2 or len(self.counts) != self.neurons.total or self.counts.dtype != torch.int64:
            raise ValueError(
                f"Argument `counts` expected to be int64 of shape ({self.neurons.total}, num_bins),"
                f" but got {self.counts.dtype} of shape {tuple(self.counts.shape)}"
            )
        if self.ranges is not None and self.ranges.neurons != self.neurons:
            raise ValueError(f"Argument `ranges` expected to be of {self.neurons!r}, but got {self.ranges!r}")

    @property
    def num_bins(self) -> int:
        """Number of bins of each histogram."""
        return self.counts.shape[1]

    @property
    def known_ranges(self) -> ActivationRanges:
        """Activation ranges; ValueError if they are unknown."""
        if self.ranges is None:
            raise ValueError(
                "The activation ranges of this DNA are unknown, since files of vdna do not keep them; pass them as"
                f" {written('ranges')} when loading"
            )
        return self.ranges

    @property
    def self_ranging(self) -> bool:
        """True if the histograms have determined their own ranges (margin rule ``"auto"``)."""
        return self.ranges is not None and self.ranges.margin == "auto"

    @property
    def grid(self) -> Grid:
        """Bins of a self-ranging histogram, on the device of the counts."""
        return self._grid(self.known_ranges, self.num_bins)

    def to_gaussian(self) -> GaussianDNA:
        """Compute the mean and variance of all activations of each neuron, from the centers of the bins.

        The error of the mean is at most half a bin, and far less if a neuron fills many bins. The error of the variance
        is at most a quarter of a squared bin plus a bin times the standard deviation. Activations beyond the bounds
        count in the first and in the last bin.

        Raises:
            ValueError: If the ranges are unknown.

        """
        edges = self.bin_edges()
        # Tensors as large as the counts are changed in place, which saves memory.
        centers = (edges[:, 1:] + edges[:, :-1]).div_(2)
        shares = self.counts.double().div_(self.counts.sum(1, keepdim=True).clamp(min=1))
        mean = (shares * centers).sum(1)
        var = centers.sub_(mean[:, None]).square_().mul_(shares).sum(1)
        return GaussianDNA(
            mean, var, self.neurons, self.num_images, statistics="activations", notes=self.notes, **self.origin
        )

    @override
    def _take(self, positions: Tensor, neurons: Neurons) -> HistogramDNA:
        ranges = None if self.ranges is None else self.ranges.take(positions, neurons)
        return replace(self, counts=self.counts[positions.to(self.counts.device)], neurons=neurons, ranges=ranges)

    def rebin(self, num_bins: int) -> HistogramDNA:
        """Merge bins into fewer, wider bins. The result equals a count with that number of bins.

        Args:
            num_bins: A divisor of the current number of bins, 2 or more.

        Raises:
            ValueError: If ``num_bins`` is not such a divisor.

        """
        if num_bins < 2 or self.num_bins % num_bins:
            raise ValueError(
                f"Argument `num_bins` expected to divide the {self.num_bins} bins that there are, but got {num_bins};"
                " pass 2 or more"
            )
        if not self.self_ranging:
            return replace(self, counts=self.counts.view(len(self.counts), num_bins, -1).sum(2))
        counts = self.counts.clone()
        regrid_(counts, self.grid, self._grid(self.known_ranges, num_bins))
        return replace(self, counts=counts[:, :num_bins].contiguous())

    @override
    def _distances(self, other: HistogramDNA) -> Tensor:
        device = self.counts.device
        if not self.self_ranging:
            return dna_emd(self.counts, other.counts.to(device), reduction="none")
        counts = self.ranged_counts()
        other_counts = other.to(device).ranged_counts()
        low, high = counts.bounds()
        distances = self_ranging_emd(counts, other_counts, low, high)
        check_counted(distances)
        return distances

    def ranged_counts(self) -> RangedCounts:
        """Return the counts of self-ranging histograms with their ranges, on the device of the counts."""
        device = self.counts.device
        ranges = self.known_ranges
        return RangedCounts(self.counts, ranges.minimum.to(device), ranges.maximum.to(device))

    def by_layer(self) -> dict[str, Tensor]:
        """Return views of the counts of each layer, ``{layer: (n, num_bins)}``."""
        return self.neurons.split(self.counts)

    @override
    def _absorb(self, other: HistogramDNA) -> dict[str, Any]:
        self._check_sums(other)
        ranges = self.ranges
        if self.self_ranging:
            union = self.known_ranges.union(other.known_ranges)
            ranges = replace(union, name=self.known_ranges.name)
            regrid_(self.counts, self.grid, self._grid(ranges, self.num_bins))
        # Regridding copies the counts, so one layer at a time takes less memory.
        for rows in self.neurons.slices.values():
            self.counts[rows] += other.counts_within(ranges, rows).to(self.counts.device)
        return {"counts": self.counts, "ranges": ranges, "num_images": self.num_images + other.num_images}

    def _check_sums(self, other: HistogramDNA) -> None:
        """Raise ValueError if the counts of both DNAs together are too large to be added exactly."""
        for layer, rows in self.neurons.slices.items():
            # All neurons of a layer have the same number of values.
            first_neuron = rows.start
            values = float(self.counts[first_neuron].sum(dtype=torch.float64))
            values += float(other.counts[first_neuron].sum(dtype=torch.float64))
            if values > MOST_COUNTS:
                raise ValueError(
                    f"Layer {layer!r} would have {values:.4g} values of each neuron, more than the 2^53 that add up"
                    " exactly"
                )

    @override
    def _copy(self) -> HistogramDNA:
        return replace(self, counts=self.counts.clone())

    @property
    @override
    def _own_settings(self) -> dict[str, Any]:
        ranges = self.ranges or "unknown (pass `ranges` when loading)"
        return {"num_bins": self.num_bins, "ranges": ranges}

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        described["num_bins"] = self.num_bins
        described["num_values"] = {layer: int(counts[0].sum()) for layer, counts in self.by_layer().items()}
        described["ranges"] = None
        for layer, counts in self.by_layer().items():
            arrays[array_name("counts", layer)] = to_planes(counts.cpu().numpy())
        if self.ranges is not None:
            described["ranges"] = {"margin": self.ranges.margin, "digest": self.ranges.digest}
            arrays |= split_arrays("minimum", self.neurons, self.ranges.minimum)
            arrays |= split_arrays("maximum", self.neurons, self.ranges.maximum)
            if self.ranges.name:
                remarks["ranges_name"] = self.ranges.name
        return described, arrays, remarks

    @override
    def _encode_all(self) -> Encoded:
        for layer, sums in self.neurons.split(self.counts.sum(1)).items():
            if (sums != sums[0]).any():
                raise ValueError(
                    f"The counts of layer {layer!r} add up to {int(sums.min())} for one neuron and"
                    f" {int(sums.max())} for another, but all neurons of a layer have as many values; count its images"
                    " anew"
                )
        return super()._encode_all()

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        num_bins = check_type("num_bins", header["dna"]["num_bins"], int)
        ranges = _decode_ranges(header, arrays)
        counts = _decode_counts(header["dna"], arrays, num_bins)
        return super()._decode(header, arrays, counts=counts, ranges=ranges, **fields)

    def counts_within(self, ranges: ActivationRanges | None, rows: slice = slice(None)) -> Tensor:
        """Return the counts of a slice of the neurons. Counts of self-ranging histograms are regridded to ``ranges``.

        Args:
            ranges: Ranges that contain those of this DNA.
            rows: The slice.

        """
        if ranges is None or not self.self_ranging or ranges.digest == self.known_ranges.digest:
            return self.counts[rows]
        counts = self.counts[rows].clone()
        wider = self._grid(ranges, self.num_bins)
        regrid_(counts, self.grid.take(rows), wider.take(rows))
        return counts

    def _grid(self, ranges: ActivationRanges, num_bins: int) -> Grid:
        """Return the bins of self-ranging histograms with these ranges, on the device of the counts."""
        device = self.counts.device
        return dyadic_grid(ranges.minimum.to(device), ranges.maximum.to(device), num_bins)

    def bin_edges(self) -> Tensor:
        """Return the bin edges, in activations, float64, ``(N, num_bins + 1)``; ValueError if ranges are unknown."""
        device = self.counts.device
        index = torch.arange(self.num_bins + 1, dtype=torch.float64, device=device)
        if self.self_ranging:
            return (self.grid.start[:, None] + index) * self.grid.width[:, None]
        low, high = self.known_ranges.bounds()
        low = low.to(device)[:, None]
        high = high.to(device)[:, None]
        return low + (high - low) * index / self.num_bins

    def __repr__(self) -> str:
        ranges = "unknown" if self.ranges is None else self.ranges.label
        images = images_in_words(self.num_images, noun_of(self))
        return f"HistogramDNA({images}, {self.extractor!r}, {self.num_bins} bins, {self.neurons!r}, ranges {ranges})"


def _decode_ranges(header: Mapping[str, Any], arrays: ByLayer) -> ActivationRanges | None:
    """Return the activation ranges of a file; None if it has none."""
    described = header["dna"]["ranges"]
    if described is None:
        return None
    minimum = arrays.flat("minimum")
    maximum = arrays.flat("maximum")
    name = check_type("ranges_name", header.get("ranges_name"), str, NoneType)
    ranges = ActivationRanges(minimum, maximum, arrays.neurons, described["margin"], name)
    if ranges.digest != described["digest"]:
        raise ValueError("its ranges are not what their digest says")
    return ranges


def _decode_counts(described: Mapping[str, Any], arrays: ByLayer, num_bins: int) -> Tensor:
    """Return the counts of a file, ``(N, num_bins)``."""
    neurons = arrays.neurons
    planes_of_layers = arrays.field_of_layers("counts")
    # All layers are checked before memory is allocated.
    for layer, planes in planes_of_layers.items():
        num_values = check_type("num_values", described["num_values"][layer], int)
        check_planes(planes, (neurons[layer], num_bins), num_values)
    counts = torch.zeros(neurons.total, num_bins, dtype=torch.int64)
    for layer, planes in planes_of_layers.items():
        # This is a view of the counts.
        counts_of_layer = counts[neurons.slices[layer]].numpy()
        for significance, plane in enumerate(planes):
            counts_of_layer += plane.astype("int64") << (8 * significance)
    return counts


def in_same_bins(*dnas: HistogramDNA) -> list[HistogramDNA]:
    """Return comparable DNAs in the same bins, without folds. Self-ranging DNAs are regridded to their joint range."""
    ranges = dnas[0].ranges
    if ranges is not None and dnas[0].self_ranging:
        ranges = ranges.union(*(dna.known_ranges for dna in dnas[1:]))
    return [replace(dna, ranges=ranges, counts=dna.counts_within(ranges), folds=()) for dna in dnas]


def pairwise_emd(dnas: Sequence[HistogramDNA]) -> Tensor:
    """Compute the EMD of each neuron between all pairs of DNAs, in bins, float64, ``(pairs, N)``.

    The pairs are in the order of ``itertools.combinations``. Between self-ranging DNAs, the unit is the bin that the
    joint range of all DNAs would have with fixed bounds. It is the same for all pairs, so that the matrix is symmetric.
    """
    if not dnas[0].self_ranging:
        return torch.stack([a.distances(b) for a, b in combinations(dnas, 2)])
    union = dnas[0].known_ranges.union(*(dna.known_ranges for dna in dnas[1:]))
    low, high = bounds_of(union.minimum, union.maximum)
    counts = [dna.ranged_counts() for dna in dnas]
    return torch.stack([self_ranging_emd(a, b, low, high) for a, b in combinations(counts, 2)])


def grouped(a: HistogramDNA, b: HistogramDNA, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crop the histograms of each neuron to the bins that A or B fills, and group these bins for drawing.

    Args:
        a: A histogram DNA with known ranges.
        b: A histogram DNA in the same bins.
        groups: Maximum number of groups per neuron.

    Returns:
        Three tensors:

        - The shares of A and of B in each group, ``(N, 2, groups)``. The groups in use come first.
        - The number of groups in use, ``(N,)``.
        - The activations at the start of the first and at the end of the last group in use, ``(N, 2)``.

    """
    bins = torch.arange(a.num_bins)
    is_filled = (a.counts + b.counts) > 0
    first_bin = torch.where(is_filled, bins, a.num_bins).amin(1)
    last_bin = torch.where(is_filled, bins, -1).amax(1)
    num_filled = last_bin - first_bin + 1
    # These divisions round up.
    bins_per_group = -(-num_filled // groups)
    num_used = -(-num_filled // bins_per_group)
    # Bins beyond the groups are empty, so it does not matter to which group they are clamped.
    group_of_bin = ((bins - first_bin[:, None]) // bins_per_group[:, None]).clamp(0, groups - 1)
    zeros = torch.zeros(len(group_of_bin), groups, dtype=torch.int64)
    sums_a = zeros.scatter_add(1, group_of_bin, a.counts)
    sums_b = zeros.scatter_add(1, group_of_bin, b.counts)
    sums = torch.stack([sums_a, sums_b], 1)
    shares = sums / sums.sum(2, keepdim=True)
    edges = a.bin_edges()
    start = edges[:, 0]
    width = edges[:, 1] - start
    first_and_end = torch.stack([first_bin, first_bin + num_used * bins_per_group], 1)
    ends = start[:, None] + width[:, None] * first_and_end
    return shares, num_used, ends
