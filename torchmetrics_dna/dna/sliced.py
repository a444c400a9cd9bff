"""SlicedDNA: histograms of each layer's spatial means along random directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self, override

from torchmetrics_dna.dna.base import DNA, check_comparable, check_enough
from torchmetrics_dna.dna.histogram import HistogramDNA, in_same_bins
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.monge import NUM_PROJECTIONS, SEED, mind_of_histograms
from torchmetrics_dna.neurons.index import Neurons

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torchmetrics_dna.dna.codec import Encoded, Joined

_DIRECTIONS = {"count": NUM_PROJECTIONS, "seed": SEED}  # as published
_OF_HISTOGRAMS = ("num_bins", "num_values", "ranges")


@dataclass(frozen=True, eq=False, repr=False)
class SlicedDNA(DNA):
    """How the spatial means of images lie along 1,000 random directions in the space of each layer's neurons.

    The directions are those of :func:`~torchmetrics_dna.functional.mind`. Along each, a histogram that finds its own
    ends counts images: it takes ``8 num_bins`` bytes, however many images there are, and merges exactly.

    Args:
        projections: The histograms, of 1,000 directions in the place of each layer's neurons; its extractor,
            preparation and notes are not read.
        neurons: The neurons that were projected.
        num_images: How many images were counted.
        extractor: Name of the extractor.
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: How images were prepared for the extractor, as far as known.
        notes: Whatever a user wants to say about it.

    Raises:
        ValueError: If the histograms are of other layers, directions or numbers of images, or have bounds that were
            given; or if there are folds.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna import make_dna
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
        >>> make_dna(images, kind="sliced", layers=["head"], num_bins=100)
        SlicedDNA(3 images, 'efficientnet_lite0', 100 bins, Neurons(1280 in 1 layer: head 1280))

    """

    kind: ClassVar[str] = "sliced"

    projections: HistogramDNA
    neurons: Neurons
    num_images: int
    extractor: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds:
            raise ValueError("A sliced DNA expected to have no folds, since no test takes them; leave `folds` out")
        expected, found = directions_in(self.neurons), self.projections
        if found.neurons != expected or found.num_images != self.num_images or not found.self_ranging:
            raise ValueError(
                f"Argument `projections` expected to be self-ranging histograms of {self.num_images} images and"
                f" {expected!r}, but got {found!r}"
            )

    @property
    def num_bins(self) -> int:
        """Bins of each histogram."""
        return self.projections.num_bins

    @override
    def distances(self, other: SlicedDNA) -> Tensor:
        """Monge Inception Distance (dna-mind) of each layer, in squared activations, shape ``(layers,)``, float64.

        Raises:
            ValueError: If extractor, neurons or bins differ.
            RuntimeError: If one of the two holds no image.

        """
        check_comparable(self, other)
        check_enough(self, other, "dna-mind", least=1)
        a, b = in_same_bins(self.projections, other.projections.to(self.projections.counts.device))
        width = a.grid.width
        return torch.stack(
            [
                mind_of_histograms(a.counts[rows], b.counts[rows], width[rows], self.neurons[layer])
                for layer, rows in a.neurons.slices.items()
            ]
        )

    def allclose(self, other: DNA) -> bool:
        """Whether both hold the same counts of the same images and neurons."""
        return isinstance(other, SlicedDNA) and self.matches(other) and self.projections.allclose(other.projections)

    @override
    def _moved(self, device: torch.device | str) -> SlicedDNA:
        return replace(self, projections=self.projections.to(device))

    @override
    def _take(self, positions: Tensor, neurons: Neurons) -> SlicedDNA:
        for layer in neurons:
            if neurons.numbers(layer) != self.neurons.numbers(layer):
                raise ValueError(
                    f"A sliced DNA is of all neurons of a layer together, but {neurons[layer]} of the"
                    f" {self.neurons[layer]} of layer {layer!r} were asked for; select layers"
                )
        return replace(self, projections=self.projections.restrict(directions_in(neurons)), neurons=neurons)

    @override
    def _absorb(self, other: SlicedDNA) -> dict[str, Any]:
        changed = self.projections._absorb(other.projections)
        return {
            "projections": replace(self.projections, **changed),
            "num_images": self.num_images + other.num_images,
        }

    @override
    def _copy(self) -> SlicedDNA:
        return replace(self, projections=self.projections._copy())

    @override
    def _identity(self, **more: Any) -> dict[str, Any]:
        return super()._identity(num_bins=self.num_bins, **more)

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        of_histograms, counted, _ = self.projections._encode()
        described |= {"directions": _DIRECTIONS, **{name: of_histograms[name] for name in _OF_HISTOGRAMS}}
        return described, arrays | counted, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
        if header["dna"]["directions"] != _DIRECTIONS:
            raise ValueError(f"its directions are {header['dna']['directions']}, expected {_DIRECTIONS}")
        if set(header["dna"]["num_values"].values()) != {header["dna"]["num_images"]}:
            raise ValueError("not every direction counts every image once")
        projections = HistogramDNA._decode(header, arrays.of_neurons(directions_in(arrays.neurons)))
        return super()._decode(header, arrays, projections=projections, **fields)

    def __repr__(self) -> str:
        return (
            f"SlicedDNA({images_in_words(self.num_images)}, {self.extractor!r}, {self.num_bins} bins, {self.neurons!r})"
        )


def directions_in(layers: Iterable[str]) -> Neurons:
    """The directions of each layer, in the place of its neurons."""
    return Neurons(dict.fromkeys(layers, NUM_PROJECTIONS))
