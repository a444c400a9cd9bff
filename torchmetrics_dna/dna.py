"""The DNA of an image or of a set of images, as frozen values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from torchmetrics_dna.binning.self_ranging import Grid, dyadic_grid, regrid_
from torchmetrics_dna.functional import dna_emd, dna_frechet
from torchmetrics_dna.functional.emd import dna_emd_on_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from torchmetrics_dna.neurons import Neurons
    from torchmetrics_dna.ranges import ActivationRanges

_D = TypeVar("_D", "HistogramDNA", "GaussianDNA")


class TooFewImagesError(RuntimeError):
    """A side holds too few images for the distance that was asked for."""


class _FrozenDNA:
    """What makes a DNA a value: copies are the DNA itself."""

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that it holds."""
        sha = hashlib.sha256()
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                sha.update(value.cpu().contiguous().view(torch.uint8).numpy().data)
            else:
                sha.update(repr(getattr(value, "digest", value)).encode())
        return sha.hexdigest()[:16]

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


@dataclass(frozen=True, eq=False, repr=False)
class HistogramDNA(_FrozenDNA):
    """One histogram per neuron, Eq. (2) of the paper.

    Args:
        counts: Shape ``(N, num_bins)``, int64.
        neurons: The N neurons, in order.
        ranges: Their activation ranges, whose bounds the histograms span.
        num_images: How many images were counted.
        extractor: Name of the extractor.

    Raises:
        ValueError: If shapes or types do not fit.

    Example:
        >>> from torchmetrics_dna import ActivationRanges, Neurons
        >>> neurons = Neurons({"conv": 1, "head": 1})
        >>> ranges = ActivationRanges(torch.zeros(2), torch.ones(2), neurons)
        >>> dna = HistogramDNA(torch.tensor([[1, 3], [4, 0]]), neurons, ranges, num_images=1, extractor="tiny")
        >>> dna.merge(dna).select(layers=["head"]).counts
        tensor([[8, 0]])

    """

    counts: Tensor
    neurons: Neurons
    ranges: ActivationRanges
    num_images: int
    extractor: str

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or len(self.counts) != self.neurons.total or self.counts.dtype != torch.int64:
            raise ValueError(
                f"Argument `counts` expected to be int64 of shape ({self.neurons.total}, num_bins),"
                f" but got {self.counts.dtype} of shape {tuple(self.counts.shape)}"
            )
        if self.ranges.neurons != self.neurons:
            raise ValueError(f"Argument `ranges` expected to be of {self.neurons!r}, but got {self.ranges!r}")

    @property
    def num_bins(self) -> int:
        """Bins of each histogram."""
        return self.counts.shape[1]

    def merge(self, *others: HistogramDNA) -> HistogramDNA:
        """The DNA of all images together; exact, in any order.

        Raises:
            ValueError: If extractor, neurons, bins or bounds differ.

        """
        check_comparable(self, *others)
        ranges, num_images = self.ranges, self.num_images + sum(other.num_images for other in others)
        filled = [dna for dna in (self, *others) if dna.num_images] or [self]
        if ranges.margin == "auto":
            united = filled[0].ranges.union(*(dna.ranges for dna in filled[1:]))
            ranges = replace(united, name=ranges.name)
        counts = torch.zeros_like(self.counts)
        for dna in filled:
            counts += dna._counts_within(ranges).to(counts.device)
        return replace(self, counts=counts, ranges=ranges, num_images=num_images)

    @property
    def grid(self) -> Grid:
        """The bins of a self-ranging histogram (margin rule ``"auto"``), on the device of the counts."""
        where = self.counts.device
        return dyadic_grid(self.ranges.minimum.to(where), self.ranges.maximum.to(where), self.num_bins)

    def to(self, device: torch.device | str) -> HistogramDNA:
        """The same DNA with its counts on a device."""
        return replace(self, counts=self.counts.to(device))

    def to_gaussian(self) -> GaussianDNA:
        """Mean and variance of all activations of each neuron, each activation taken for the middle of its bin.

        So the mean is off by half a bin at most, and by far less where a neuron fills many bins; values beyond the
        bounds count as if they lay in the end bins.
        """
        middles = self._bin_middles()
        shares = self.counts.double() / self.counts.sum(1, keepdim=True).clamp(min=1)
        mean = (shares * middles).sum(1)
        var = (shares * (middles - mean[:, None]).square()).sum(1)
        return GaussianDNA(mean, var, self.neurons, self.num_images, self.extractor, "activations")

    def _counts_within(self, ranges: ActivationRanges) -> Tensor:
        """The counts, on the grid of wider ranges if these are self-ranging."""
        if ranges.margin != "auto" or ranges.digest == self.ranges.digest:
            return self.counts
        wider = replace(self, ranges=ranges)
        counts = self.counts.clone()
        regrid_(counts, self.grid, wider.grid)
        return counts

    def _bin_middles(self) -> Tensor:
        where = self.counts.device
        number = torch.arange(self.num_bins, dtype=torch.float64, device=where) + 0.5
        if self.ranges.margin == "auto":
            return (self.grid.start[:, None] + number) * self.grid.width[:, None]
        low, high = (bound.to(where)[:, None] for bound in self.ranges.bounds())
        return low + (high - low) * number / self.num_bins

    def select(
        self, layers: Sequence[str] | None = None, neurons: Sequence[int] | Tensor | None = None
    ) -> HistogramDNA:
        """The DNA of some layers or flat neuron indices."""
        positions = self.neurons.positions(layers, neurons)
        return replace(
            self,
            counts=self.counts[positions.to(self.counts.device)],
            neurons=self.neurons.take(positions),
            ranges=self.ranges.select(neurons=positions),
        )

    def distances(self, other: HistogramDNA) -> Tensor:
        """Earth Mover's Distance of each neuron, in bins, shape ``(N,)``, float64.

        Between self-ranging DNAs, a bin is the one that this DNA's range, with its margin, has under fixed bounds.

        Raises:
            ValueError: If extractor, neurons, bins or bounds differ.
            RuntimeError: If one of the two holds no image.

        """
        check_comparable(self, other)
        if min(self.num_images, other.num_images) < 1:
            raise TooFewImagesError(
                "At least one image is required for both sides to compute dna-emd,"
                f" but got {self.num_images} and {other.num_images}"
            )
        if self.ranges.margin != "auto":
            return dna_emd(self.counts, other.counts.to(self.counts.device), reduction="none")
        united = self.ranges.union(other.ranges)
        mine, theirs = (dna._counts_within(united).to(self.counts.device) for dna in (self, other))
        low, high = (bound.to(self.counts.device) for bound in self.ranges.bounds())
        return dna_emd_on_grid(mine, theirs, replace(self, ranges=united).grid, low, high)

    def by_layer(self) -> dict[str, Tensor]:
        """Counts of each layer, ``{layer: (n, num_bins)}``; views."""
        return self.neurons.split(self.counts)

    def allclose(self, other: HistogramDNA) -> bool:
        """Whether both hold the same counts of the same images and neurons; counts are exact, so nothing is 'close'."""
        return (
            _what(self) == _what(other)
            and self.num_images == other.num_images
            and torch.equal(self.counts, other.counts.to(self.counts.device))
        )

    def __repr__(self) -> str:
        return (
            f"HistogramDNA({self.num_images} images, {self.extractor!r}, {self.num_bins} bins,"
            f" {self.neurons!r}, ranges {self.ranges.label})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class GaussianDNA(_FrozenDNA):
    """Mean and variance, over images, of each neuron's spatial mean (section 3.1 of the paper).

    Args:
        mean: Shape ``(N,)``; kept as float64.
        var: Unbiased variance, shape ``(N,)``; kept as float64; 0 for one image.
        neurons: The N neurons, in order.
        num_images: How many images they are from.
        extractor: Name of the extractor.
        statistics: ``"means"``: of spatial means, over images. ``"activations"``: of all activations alike.

    Raises:
        ValueError: If shapes do not fit or a variance is negative.

    Example:
        >>> from torchmetrics_dna import Neurons
        >>> one = GaussianDNA(torch.tensor([1.0]), torch.tensor([0.0]), Neurons({"head": 1}), 1, "tiny")
        >>> other = GaussianDNA(torch.tensor([3.0]), torch.tensor([0.0]), Neurons({"head": 1}), 1, "tiny")
        >>> both = one.merge(other)
        >>> both.mean.item(), both.var.item()
        (2.0, 2.0)

    """

    mean: Tensor
    var: Tensor
    neurons: Neurons
    num_images: int
    extractor: str
    statistics: Literal["means", "activations"] = "means"

    def __post_init__(self) -> None:
        for field in ("mean", "var"):
            value = getattr(self, field).double()
            if value.shape != (self.neurons.total,):
                raise ValueError(
                    f"Argument `{field}` expected to have shape ({self.neurons.total},), but got {tuple(value.shape)}"
                )
            object.__setattr__(self, field, value)
        if not (self.var >= 0).all():
            raise ValueError("Argument `var` expected to be 0 or more, but got a negative or NaN variance")

    @classmethod
    def from_moments(cls, moments: Tensor, neurons: Neurons, num_images: int, extractor: str) -> GaussianDNA:
        """From sums and sums of squares, shape ``(2, N)``, as ``activation_moments`` gives them."""
        mean = moments[0] / max(1, num_images)
        squares = moments[1] - num_images * mean.square()
        # rounding can take the variance of a constant neuron below 0
        return cls(mean, squares.clamp(min=0) / max(1, num_images - 1), neurons, num_images, extractor)

    def merge(self, *others: GaussianDNA) -> GaussianDNA:
        """The DNA of all images together, to rounding (Chan et al., 1979).

        Raises:
            ValueError: If extractor or neurons differ, or the DNAs are of activations.

        """
        check_comparable(self, *others)
        if self.statistics == "activations":
            raise ValueError("Gaussians of activations can't be merged; merge the histograms that they are from")
        mean, squares, count = self.mean, self.var * (self.num_images - 1), self.num_images
        for other in others:
            shift = other.mean.to(mean.device) - mean
            total = count + other.num_images
            squares = squares + other.var.to(mean.device) * (other.num_images - 1)
            squares = squares + shift.square() * (count * other.num_images / total)
            mean = mean + shift * (other.num_images / total)
            count = total
        return replace(self, mean=mean, var=squares / max(1, count - 1), num_images=count)

    def select(self, layers: Sequence[str] | None = None, neurons: Sequence[int] | Tensor | None = None) -> GaussianDNA:
        """The DNA of some layers or flat neuron indices."""
        positions = self.neurons.positions(layers, neurons)
        where = positions.to(self.mean.device)
        return replace(self, mean=self.mean[where], var=self.var[where], neurons=self.neurons.take(positions))

    def distances(self, other: GaussianDNA) -> Tensor:
        """Fréchet distance of each neuron, in squared activations, shape ``(N,)``, float64.

        Raises:
            ValueError: If extractor or neurons differ.
            RuntimeError: If one of the two is of fewer than two images, since it has no variance then.

        """
        check_comparable(self, other)
        if min(self.num_images, other.num_images) < 2:
            raise TooFewImagesError(
                "More than one image is required for both sides to compute dna-fd,"
                f" but got {self.num_images} and {other.num_images}"
            )
        where = self.mean.device
        return dna_frechet(self.mean, self.var, other.mean.to(where), other.var.to(where), reduction="none")

    def to(self, device: torch.device | str) -> GaussianDNA:
        """The same DNA on a device."""
        return replace(self, mean=self.mean.to(device), var=self.var.to(device))

    def by_layer(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and variance of each layer, ``{layer: (mean, var)}``; views."""
        means, variances = self.neurons.split(self.mean), self.neurons.split(self.var)
        return {layer: (means[layer], variances[layer]) for layer in self.neurons}

    def allclose(self, other: GaussianDNA, rtol: float = 1e-9, atol: float = 1e-12) -> bool:
        """Whether both are of as many images and the same neurons, with equal moments to a tolerance."""
        return (
            _what(self) == _what(other)
            and self.num_images == other.num_images
            and torch.allclose(self.mean, other.mean.to(self.mean.device), rtol, atol)
            and torch.allclose(self.var, other.var.to(self.var.device), rtol, atol)
        )

    def __repr__(self) -> str:
        return f"GaussianDNA({self.num_images} images, {self.extractor!r}, {self.neurons!r})"


def check_comparable(first: _D, *others: _D) -> None:
    """ValueError, naming both, unless all DNAs are of one kind, extractor, neurons, bins and bounds."""
    for other in others:
        mine, theirs = _what(first), _what(other)
        for what, value in mine.items():
            if theirs.get(what) != value:
                raise ValueError(
                    f"These DNAs can't be merged or compared, their {what} differ: {value} and {theirs.get(what)}"
                )


def _what(dna: HistogramDNA | GaussianDNA) -> dict[str, object]:
    what: dict[str, object] = {
        "kinds": type(dna).__name__,
        "extractors": repr(dna.extractor),
        "neurons": dna.neurons,
    }
    if isinstance(dna, HistogramDNA):
        what["numbers of bins"] = dna.num_bins
        what["activation ranges (digest)"] = "auto" if dna.ranges.margin == "auto" else dna.ranges.digest
    else:
        what["statistics"] = dna.statistics
    return what
