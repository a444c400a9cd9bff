"""HistogramDNA: how often each neuron gave which activation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self, override

from torchmetrics_dna.binning.self_ranging import Grid, dyadic_grid, regrid_
from torchmetrics_dna.dna.base import DNA, check_comparable, check_enough
from torchmetrics_dna.dna.codec import Encoded, Joined, array_name, split_arrays
from torchmetrics_dna.dna.gaussian import GaussianDNA
from torchmetrics_dna.dna.planes import check_planes, from_planes, to_planes
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.emd import dna_emd, dna_emd_on_grid
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False, repr=False)
class HistogramDNA(DNA):
    """One histogram per neuron, Eq. (2) of the paper.

    Args:
        counts: Shape ``(N, num_bins)``, int64.
        neurons: The N neurons, in order.
        ranges: Their activation ranges, whose bounds the histograms span; None if unknown, as official files don't
            keep them.
        num_images: How many images were counted.
        extractor: Name of the extractor.
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: How images were prepared for the extractor, as far as known.
        notes: Whatever a user wants to say about it.

    Raises:
        ValueError: If shapes or types do not fit.

    Example:
        >>> from torchmetrics_dna import ActivationRanges, Neurons
        >>> neurons = Neurons({"conv": 1, "head": 1})
        >>> ranges = ActivationRanges(torch.zeros(2), torch.ones(2), neurons)
        >>> dna = HistogramDNA(torch.tensor([[1, 3], [4, 0]]), neurons, ranges, num_images=1, extractor="tiny")
        >>> (dna + dna).select(layers=["head"]).counts
        tensor([[8, 0]])

    """

    kind: ClassVar[str] = "histogram"

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
        """Bins of each histogram."""
        return self.counts.shape[1]

    @property
    def known_ranges(self) -> ActivationRanges:
        """The activation ranges; ValueError if they are unknown."""
        if self.ranges is None:
            raise ValueError(
                "The activation ranges of this DNA are unknown, as official files don't keep them;"
                " give them when loading: load_dna(path, ranges=...)"
            )
        return self.ranges

    @property
    def self_ranging(self) -> bool:
        """Whether the histograms found their own ends (margin rule ``"auto"``)."""
        return self.ranges is not None and self.ranges.margin == "auto"

    @property
    def grid(self) -> Grid:
        """The bins of a self-ranging histogram, on the device of the counts."""
        return self._grid(self.known_ranges, self.num_bins)

    @override
    def _moved(self, device: torch.device | str) -> HistogramDNA:
        return replace(self, counts=self.counts.to(device))

    def to_gaussian(self) -> GaussianDNA:
        """Mean and variance of all activations of each neuron, each activation taken for the middle of its bin.

        So the mean is off by half a bin at most, and by far less where a neuron fills many bins; the variance by a
        quarter of a squared bin plus a bin times the standard deviation at most. Values beyond the bounds count as if
        they lay in the end bins.

        Raises:
            ValueError: If the ranges are unknown.

        """
        edges = self.bin_edges()
        middles = (edges[:, 1:] + edges[:, :-1]).div_(2)
        shares = self.counts.double().div_(self.counts.sum(1, keepdim=True).clamp(min=1))
        mean = (shares * middles).sum(1)
        var = middles.sub_(mean[:, None]).square_().mul_(shares).sum(1)
        return GaussianDNA(mean, var, self.neurons, self.num_images, self.extractor, "activations", **self.origin)

    @override
    def _take(self, positions: Tensor, neurons: Neurons) -> HistogramDNA:
        ranges = None if self.ranges is None else self.ranges.take(positions, neurons)
        return replace(self, counts=self.counts[positions.to(self.counts.device)], neurons=neurons, ranges=ranges)

    def rebin(self, num_bins: int) -> HistogramDNA:
        """The same activations in fewer, wider bins; exactly what counting with so many would have given.

        Args:
            num_bins: A divisor of the present number of bins.

        Raises:
            ValueError: If it does not divide.

        """
        if num_bins < 1 or self.num_bins % num_bins:
            raise ValueError(
                f"Argument `num_bins` expected to divide the {self.num_bins} bins that there are, but got {num_bins}"
            )
        if not self.self_ranging:
            return replace(self, counts=self.counts.view(len(self.counts), num_bins, -1).sum(2))
        counts = self.counts.clone()
        regrid_(counts, self.grid, self._grid(self.known_ranges, num_bins))
        return replace(self, counts=counts[:, :num_bins].contiguous())

    @override
    def distances(self, other: HistogramDNA) -> Tensor:
        """Earth Mover's Distance of each neuron, in bins, shape ``(N,)``, float64.

        Between self-ranging DNAs, a bin is the one that this DNA's range, with its margin, has under fixed bounds.

        Raises:
            ValueError: If extractor, neurons, bins or bounds differ, or a neuron has no counts.
            RuntimeError: If one of the two holds no image.

        """
        check_comparable(self, other)
        check_enough(self, other, "dna-emd", least=1)
        where = self.counts.device
        if not self.self_ranging:
            return dna_emd(self.counts, other.counts.to(where), reduction="none")
        united = self.known_ranges.union(other.known_ranges)
        mine, theirs = (dna.counts_within(united).to(where) for dna in (self, other))
        low, high = (bound.to(where) for bound in self.known_ranges.bounds())
        found = dna_emd_on_grid(mine, theirs, self._grid(united, self.num_bins), low, high)
        if found.isnan().any():
            raise ValueError(f"Neuron {int(found.isnan().nonzero()[0])} has no counts in one of the sets")
        return found

    def by_layer(self) -> dict[str, Tensor]:
        """Counts of each layer, ``{layer: (n, num_bins)}``; views."""
        return self.neurons.split(self.counts)

    def allclose(self, other: DNA) -> bool:
        """Whether both hold the same counts of the same images and neurons; counts are exact, so nothing is 'close'."""
        return (
            isinstance(other, HistogramDNA)
            and self.matches(other)
            and self.num_images == other.num_images
            and torch.equal(self.counts, other.counts.to(self.counts.device))
        )

    @override
    def _absorb(self, other: HistogramDNA) -> dict[str, Any]:
        if not other.num_images:
            return {}
        ranges = self.ranges
        if self.self_ranging:
            known = (self if self.num_images else other).known_ranges  # what no image gave has no range
            ranges = replace(known.union(other.known_ranges), name=self.known_ranges.name)
            regrid_(self.counts, self.grid, self._grid(ranges, self.num_bins))
        for rows in self.neurons.slices.values():  # so that moved counts are never there as a whole
            self.counts[rows] += other.counts_within(ranges, rows).to(self.counts.device)
        return {"counts": self.counts, "ranges": ranges, "num_images": self.num_images + other.num_images}

    @override
    def _copy(self) -> HistogramDNA:
        return replace(self, counts=self.counts.clone())

    @override
    def _identity(self, **more: Any) -> dict[str, Any]:
        ranges = self.ranges or "unknown (give `ranges` when loading)"
        return super()._identity(num_bins=self.num_bins, ranges=ranges, **more)

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        described |= {
            "num_bins": self.num_bins,
            "num_values": {layer: int(counts[0].sum()) for layer, counts in self.by_layer().items()},
            "ranges": None,
        }
        for layer, counts in self.by_layer().items():
            arrays[array_name("counts", layer)] = to_planes(counts.cpu().numpy())
        if self.ranges is not None:
            described["ranges"] = {"margin": self.ranges.margin, "digest": self.ranges.digest}
            arrays |= split_arrays("minimum", self.neurons, self.ranges.minimum)
            arrays |= split_arrays("maximum", self.neurons, self.ranges.maximum)
            remarks |= {"ranges_name": self.ranges.name} if self.ranges.name else {}
        return described, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
        dna, neurons, ranges = header["dna"], arrays.neurons, None
        num_bins = check_type("num_bins", dna["num_bins"], int)
        if dna["ranges"] is not None:
            ends = arrays.flat("minimum"), arrays.flat("maximum")
            name = check_type("ranges_name", header.get("ranges_name"), str, NoneType)
            ranges = ActivationRanges(*ends, neurons, dna["ranges"]["margin"], name)
            if ranges.digest != dna["ranges"]["digest"]:
                raise ValueError("its ranges are not what their digest says")
        parts = arrays.parts("counts")
        for layer, planes in parts.items():  # all, before memory is taken for what is in them
            check_planes(planes, (neurons[layer], num_bins), check_type("num_values", dna["num_values"][layer], int))
        counts = torch.empty(neurons.total, num_bins, dtype=torch.int64)
        for layer, planes in parts.items():
            from_planes(planes, counts[neurons.slices[layer]].numpy())
        return super()._decode(header, arrays, counts=counts, ranges=ranges, **fields)

    def counts_within(self, ranges: ActivationRanges | None, rows: slice = slice(None)) -> Tensor:
        """The counts of some neurons, on the grid of wider ranges if these are self-ranging."""
        if ranges is None or not self.self_ranging or ranges.digest == self.known_ranges.digest:
            return self.counts[rows]
        counts = self.counts[rows].clone()
        regrid_(counts, self.grid.take(rows), self._grid(ranges, self.num_bins).take(rows))
        return counts

    def _grid(self, ranges: ActivationRanges, num_bins: int) -> Grid:
        where = self.counts.device
        return dyadic_grid(ranges.minimum.to(where), ranges.maximum.to(where), num_bins)

    def bin_edges(self) -> Tensor:
        """Where bins end, in activations, float64, shape ``(N, num_bins + 1)``; ValueError if ranges are unknown."""
        where = self.counts.device
        number = torch.arange(self.num_bins + 1, dtype=torch.float64, device=where)
        if self.self_ranging:
            return (self.grid.start[:, None] + number) * self.grid.width[:, None]
        low, high = (bound.to(where)[:, None] for bound in self.known_ranges.bounds())
        return low + (high - low) * number / self.num_bins

    def __repr__(self) -> str:
        ranges = "unknown" if self.ranges is None else self.ranges.label
        return (
            f"HistogramDNA({images_in_words(self.num_images)}, {self.extractor!r}, {self.num_bins} bins,"
            f" {self.neurons!r}, ranges {ranges})"
        )


def in_same_bins(a: HistogramDNA, b: HistogramDNA) -> tuple[HistogramDNA, HistogramDNA]:
    """Two comparable DNAs in the same bins: as they are, or self-ranging ones on the grid of both."""
    if not a.self_ranging:
        return a, b
    united = a.known_ranges.union(b.known_ranges)
    one, other = (replace(dna, ranges=united, counts=dna.counts_within(united)) for dna in (a, b))
    return one, other


def grouped(a: HistogramDNA, b: HistogramDNA, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Histograms over where A or B holds something, in bins wide enough to draw.

    Args:
        a: A histogram DNA of known ranges.
        b: Another one, in the same bins.
        groups: How many bins to draw at most.

    Returns:
        The shares of A and of B, ``(N, 2, groups)``; how many groups hold anything, from the first one on, ``(N,)``;
        the activations where the first of these begins and the last one ends, ``(N, 2)``.

    """
    place = torch.arange(a.num_bins)
    filled = (a.counts + b.counts) > 0
    first = torch.where(filled, place, a.num_bins).amin(1)
    span = torch.where(filled, place, -1).amax(1) - first + 1
    size = -(-span // groups)  # bins in a group
    used = -(-span // size)
    group = ((place - first[:, None]) // size[:, None]).clamp(0, groups - 1)
    empty = torch.zeros(len(group), groups, dtype=torch.int64)
    sums = torch.stack([empty.scatter_add(1, group, dna.counts) for dna in (a, b)], 1)
    start, second = a.bin_edges()[:, :2].T
    ends = start[:, None] + (second - start)[:, None] * torch.stack([first, first + used * size], 1)
    return sums / sums.sum(2, keepdim=True), used, ends
