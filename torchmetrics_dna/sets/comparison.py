"""Comparison: what differs between two sets that were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.jackknife import Interval, jackknife, noise_floor
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.functional.reduction import mean_over_neurons, weigh_and_reduce
from torchmetrics_dna.sets.distances import KINDS, Distance
from torchmetrics_dna.sets.kid import kernel_distance

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
        neuron_emd: Earth Mover's Distance of each neuron, in bins, shape ``(N,)``; None without histograms.
        neuron_frechet: Fréchet distance of each neuron, in squared activations; None without Gaussians or
            with only one image on a side.
        layer_frechet: Multivariate Fréchet distance (fd) of each layer, in squared activations; None without
            Gaussians of layers.
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
        kid: Kernel distance (KID) of the last layer's spatial means, without unit; the mean over subsets of images.
        kid_std: Its standard deviation over subsets; 0 where there is but one.

    """

    neurons: Neurons
    neuron_emd: Tensor | None
    neuron_frechet: Tensor | None
    layer_frechet: Tensor | None
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
    kid: float | None = None
    kid_std: float | None = None

    @property
    def dna_emd(self) -> float | None:
        """Earth Mover's Distance over all neurons (dna-emd), in bins."""
        return self._figure(self.neuron_emd)

    @property
    def dna_frechet(self) -> float | None:
        """1-D Fréchet distance over all neurons (dna-fd), in squared activations."""
        return self._figure(self.neuron_frechet)

    @property
    def fd(self) -> float | None:
        """Fréchet distance (fd), the mean over layers, in squared activations."""
        return None if self.layer_frechet is None else float(self.layer_frechet.mean())

    @property
    def layers(self) -> dict[str, dict[str, float | None]]:
        """The distances of each layer."""
        return {
            layer: {
                "dna_emd": self._figure(self.neuron_emd, where),
                "dna_frechet": self._figure(self.neuron_frechet, where),
                "fd": None if self.layer_frechet is None else float(self.layer_frechet[i]),
            }
            for i, (layer, where) in enumerate(self.neurons.slices.items())
        }

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
        by = self.neuron_emd if self.neuron_emd is not None else self.neuron_frechet
        if by is None:
            return []
        top = by.topk(min(k, len(by))).indices.tolist()
        return [
            {
                **dict(zip(("layer", "neuron"), self.neurons.locate(i), strict=True)),
                "dna_emd": None if self.neuron_emd is None else float(self.neuron_emd[i]),
                "dna_frechet": None if self.neuron_frechet is None else float(self.neuron_frechet[i]),
            }
            for i in top
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the per-neuron tensors, in plain types, ready for json."""
        return {
            "dna_emd": self.dna_emd,
            "dna_frechet": self.dna_frechet,
            "fd": self.fd,
            "kid": self.kid,
            "kid_std": self.kid_std,
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

    def _figure(self, distances: Tensor | None, where: slice = slice(None)) -> float | None:
        if distances is None:
            return None
        return float(mean_over_neurons(weigh_and_reduce(distances, self.neuron_weights, "none")[where]))

    def __repr__(self) -> str:
        figures = {name: getattr(self, name) for name in ("dna_emd", "dna_frechet", "fd", "kid")}
        found = "".join(f"{name}={value}, " for name, value in figures.items() if value is not None)
        return f"Comparison({found}num_images={self.num_images}, extractor={self.extractor!r})"


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
    metrics: Sequence[Distance] = tuple(KINDS),
) -> Comparison:
    """As :func:`compare`, for two sets that were measured before; of the metrics, those that they have in common.

    Raises:
        ValueError: If they do not fit together.
        RuntimeError: If a side has but one image, unless dna-emd, which takes no more, is among the metrics.

    """
    found: dict[str, Tensor] = {}
    few = min(a.any.num_images, b.any.num_images) < 2
    for metric in (metric for metric in metrics if metric != "kid"):
        one, other = (_of_kind(side, KINDS[metric][0]) for side in (a, b))
        # one image has no variance, and that is no reason to withhold the other distance
        if one is not None and other is not None and not (few and "dna-emd" in found):
            found[metric] = one.distances(other)
    kid: tuple[float, float] | tuple[None, None] = (None, None)
    if "kid" in metrics and a.features is not None and b.features is not None and not (few and found):
        kid = kernel_distance(a.features, b.features)
    dna, histogram = a.any, a.dnas.get("histogram")
    weights = resolve_weights(neuron_weights, dna.neurons, dna.extractor, dna.weights)
    return Comparison(
        dna.neurons,
        found.get("dna-emd"),
        found.get("dna-fd"),
        found.get("fd"),
        {"a": a.any.num_images, "b": b.any.num_images},
        dna.extractor,
        histogram.num_bins if isinstance(histogram, HistogramDNA) else None,
        histogram.ranges.label if isinstance(histogram, HistogramDNA) and histogram.ranges else None,
        weights,
        a.unreadable + b.unreadable,
        (a, b),
        kid=kid[0],
        kid_std=kid[1],
    )


def _of_kind(measured: Measured, kind: str) -> DNA | None:
    """The DNA of a kind; variances are the diagonals of covariances."""
    layers = measured.dnas.get("layer-gaussian")
    if kind == "gaussian" and isinstance(layers, LayerGaussianDNA):
        return measured.dnas.get(kind, layers.to_gaussian())
    return measured.dnas.get(kind)
