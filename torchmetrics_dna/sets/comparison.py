"""Comparison: what differs between two sets that were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.dna import GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES, Distance, Grain
from torchmetrics_dna.dna.jackknife import Interval, jackknife, noise_floor
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.files.visible import number
from torchmetrics_dna.functional.reduction import mean_over_neurons, weigh_and_reduce

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.sets.measure import Measured


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How far two image sets A and B are apart, and where; None stands for what was not asked for.

    Attributes:
        neurons: The neurons, in the order of the tensors below.
        found: The distances by name: of each neuron, shape ``(N,)``, of each layer, or of the sets, shape ``(1,)``.
        num_images: Images of ``a`` and of ``b``.
        extractor: Name of the extractor.
        num_bins: Bins of the histograms, or None.
        ranges: Name or digest of the activation ranges, or None.
        neuron_weights: The weights of Eq. (5), or None for the plain mean.
        unreadable: One line for each image that was left out.
        measured: The DNAs of A and of B that were compared.
        interval: Confidence interval of dna-emd, if asked for.
        noise_floor: dna-emd between random halves of one set (A, or B where A is a file): what no difference looks like
            at half its number of images; if asked for.
        noise_floor_side: Which set that is, ``"a"`` or ``"b"``.
        spread: Standard deviation of a distance of the sets over subsets of images, by name; 0 where there is but one.

    """

    neurons: Neurons
    found: dict[str, Tensor]
    num_images: dict[str, int]
    extractor: str
    num_bins: int | None = None
    ranges: str | None = None
    neuron_weights: Tensor | None = None
    unreadable: list[str] = field(default_factory=list)
    measured: tuple[Measured, Measured] | None = None
    interval: Interval | None = None
    noise_floor: float | None = None
    noise_floor_side: str | None = None
    spread: dict[str, float] = field(default_factory=dict)

    def value(self, distance: str, layer: str | None = None) -> float | None:
        """One distance, over all neurons or layers, or of one layer; None if it was not asked for or has no layers."""
        values, record = self.found.get(distance), DISTANCES[distance]
        if values is None or (layer is not None and record.grain == "set"):
            return None
        if record.grain != "neuron":
            return float(values.mean() if layer is None else values[list(self.neurons).index(layer)])
        where = slice(None) if layer is None else self.neurons.slices[layer]
        return float(mean_over_neurons(weigh_and_reduce(values, self.neuron_weights, "none")[where]))

    def records(self, *grains: Grain) -> list[Distance]:
        """What distances were found: of neurons, of layers, of the set, or all."""
        return [DISTANCES[name] for name in self.found if not grains or DISTANCES[name].grain in grains]

    def about(self, record: Distance) -> str:
        """The unit of a distance, and what its value is of."""
        unit = f"bins of {self.num_bins}" if record.unit == "bins" else record.unit
        mean = "mean" if self.neuron_weights is None else "weighted sum"
        of = {
            "neuron": f"{mean} over neurons",
            "layer": "mean over layers",
            "set": f"of layer {list(self.neurons)[-1]}",
        }[record.grain]
        spread = self.spread.get(record.name)
        return ", ".join(filter(None, (unit, of, f"± {number(spread)} over subsets" if spread else "")))

    @property
    def neuron_emd(self) -> Tensor | None:
        """Earth Mover's Distance of each neuron, in bins, shape ``(N,)``; None without histograms."""
        return self.found.get("dna-emd")

    @property
    def neuron_frechet(self) -> Tensor | None:
        """Fréchet distance of each neuron, in squared activations; None without Gaussians of two images a side."""
        return self.found.get("dna-fd")

    @property
    def layer_frechet(self) -> Tensor | None:
        """Multivariate Fréchet distance (fd) of each layer, in squared activations."""
        return self.found.get("fd")

    @property
    def dna_emd(self) -> float | None:
        """Earth Mover's Distance over all neurons (dna-emd), in bins."""
        return self.value("dna-emd")

    @property
    def dna_frechet(self) -> float | None:
        """1-D Fréchet distance over all neurons (dna-fd), in squared activations."""
        return self.value("dna-fd")

    @property
    def fd(self) -> float | None:
        """Fréchet distance (fd), the mean over layers, in squared activations."""
        return self.value("fd")

    @property
    def kid(self) -> float | None:
        """Kernel distance (KID) of the last layer's spatial means, without unit: the mean over subsets of images."""
        return self.value("kid")

    @property
    def kid_std(self) -> float | None:
        """Standard deviation of kid over subsets of images; 0 where there is but one."""
        return self.spread.get("kid")

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """The distances of each layer, by key."""
        records = [record for record in DISTANCES.values() if record.grain != "set"]
        return {layer: {record.key: self.value(record.name, layer) for record in records} for layer in self.neurons}

    @property
    def mean_shift(self) -> Tensor:
        """Mean activation of each neuron in B less that in A, shape ``(N,)``; from histograms good to half a bin."""
        a, b = (_gaussian(side) for side in self._sides())
        return b.mean - a.mean

    def histograms(self, layer: str, neuron: int) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of one neuron's activations, of A and of B, each ``(num_bins,)``, and the bins' edges.

        Raises:
            ValueError: If there is no such neuron, or no histograms were compared.

        """
        where = [self.neurons.index(layer, neuron)]
        one, other = self.aligned(where)
        shares = [dna.counts[0].double() / dna.counts.sum() for dna in (one, other)]
        return shares[0], shares[1], one.bin_edges()[0]

    def aligned(self, neurons: Sequence[int] | None = None) -> tuple[HistogramDNA, HistogramDNA]:
        """The histogram DNAs of A and of B, in the same bins; of some neurons by flat index, or of all.

        Raises:
            ValueError: If no histograms were compared.

        """
        a, b = (side.dnas.get("histogram") for side in self._sides())
        if not isinstance(a, HistogramDNA) or not isinstance(b, HistogramDNA):
            raise ValueError("No histograms were compared; compare DNAs of kind 'histogram'")
        if neurons is not None:
            a, b = a.select(neurons=neurons), b.select(neurons=neurons)
        if not a.self_ranging:
            return a, b
        united = a.known_ranges.union(b.known_ranges)
        one, other = (replace(dna, ranges=united, counts=dna.counts_within(united)) for dna in (a, b))
        return one, other

    def _sides(self) -> tuple[Measured, Measured]:
        if self.measured is None:
            raise ValueError("This comparison does not hold the DNAs that were compared")
        return self.measured

    def top_neurons(self, k: int = 10) -> list[dict[str, Any]]:
        """The k neurons that differ most, by dna-emd where there is one, each with its layer, number and distances."""
        records = [record for record in DISTANCES.values() if record.grain == "neuron"]
        if not (found := self.records("neuron")):
            return []
        by = self.found[found[0].name]
        return [
            {
                **dict(zip(("layer", "neuron"), self.neurons.locate(i), strict=True)),
                **{r.key: float(self.found[r.name][i]) if r.name in self.found else None for r in records},
            }
            for i in by.topk(min(k, len(by))).indices.tolist()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the per-neuron tensors, in plain types, ready for json."""
        return {
            **{record.key: self.value(name) for name, record in DISTANCES.items()},
            **{f"{r.key}_std": self.spread.get(name) for name, r in DISTANCES.items() if r.grain == "set"},
            "layers": self.layers,
            "top_neurons": self.top_neurons(),
            "interval": self.interval and asdict(self.interval),
            "noise_floor": self.noise_floor,
            "num_images": self.num_images,
            "extractor": self.extractor,
            "num_bins": self.num_bins,
            "ranges": self.ranges,
            "unreadable": self.unreadable,
        }

    def __repr__(self) -> str:
        figures = "".join(f"{DISTANCES[name].key}={self.value(name)}, " for name in self.found)
        return f"Comparison({figures}num_images={self.num_images}, extractor={self.extractor!r})"


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


def with_interval(found: Comparison, confidence: float) -> Comparison:
    """The comparison, with how sure it is, and without the folds that say so: they are ten times the rest."""
    a, b = found._sides()
    folds = [side.folds or side.dnas["histogram"] for side in (a, b)]
    return replace(
        found,
        interval=jackknife(folds[0], folds[1], found.neuron_weights, confidence),  # type: ignore[arg-type]
        noise_floor=noise_floor(a.folds or b.folds, found.neuron_weights),
        noise_floor_side="a" if a.folds else "b",
        measured=(replace(a, folds=[]), replace(b, folds=[])),
    )


def _gaussian(side: Measured) -> GaussianDNA:
    """Mean and variance of one side, of all activations where there are histograms."""
    histogram, layers = side.dnas.get("histogram"), side.dnas.get("layer-gaussian")
    if isinstance(histogram, HistogramDNA):
        return histogram.to_gaussian()
    found = layers.to_gaussian() if isinstance(layers, LayerGaussianDNA) else side.dnas["gaussian"]
    assert isinstance(found, GaussianDNA)
    return found


def compare_measured(
    a: Measured,
    b: Measured,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    distances: Sequence[Distance] = tuple(DISTANCES.values()),
) -> Comparison:
    """As :func:`compare`, for two sets that were measured before; of the distances, those that they have in common.

    Raises:
        ValueError: If they do not fit together.
        RuntimeError: If a side has but one image, unless dna-emd, which takes no more, is among the distances.

    """
    found: dict[str, Tensor] = {}
    spread: dict[str, float] = {}
    images = min(a.any.num_images, b.any.num_images)
    for record in distances:
        one, other = (_given_for(record, side) for side in (a, b))
        # one image has no variance, and that is no reason to withhold another distance
        if one is None or other is None or (images < record.least and found):
            continue
        if record.grain == "set":
            value, spread[record.name] = record.between(one, other)
            found[record.name] = torch.tensor([value], dtype=torch.float64)
        else:
            found[record.name] = record.of_dnas(one, other)
    dna, histogram = a.any, a.dnas.get("histogram")
    weights = resolve_weights(neuron_weights, dna.neurons, dna.extractor, dna.weights_digest)
    return Comparison(
        dna.neurons,
        found,
        {"a": a.any.num_images, "b": b.any.num_images},
        dna.extractor,
        histogram.num_bins if isinstance(histogram, HistogramDNA) else None,
        histogram.ranges.label if isinstance(histogram, HistogramDNA) and histogram.ranges else None,
        weights,
        a.unreadable + b.unreadable,
        (a, b),
        spread=spread,
    )


def _given_for(record: Distance, measured: Measured) -> Any:
    """What a distance takes, if it was measured: a DNA, or features; variances are the diagonals of covariances."""
    if not record.kinds:
        return measured.features
    layers = measured.dnas.get("layer-gaussian")
    if record.kinds[0] == "gaussian" and isinstance(layers, LayerGaussianDNA):
        return measured.dnas.get("gaussian", layers.to_gaussian())
    return measured.dnas.get(record.kinds[0])
