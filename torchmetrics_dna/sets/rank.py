"""Rank single images by their distance to a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.images import open_source
from torchmetrics_dna.sets.compare import open_side
from torchmetrics_dna.sets.loading import Loading, activate, check_any_read
from torchmetrics_dna.sets.measure import measure
from torchmetrics_dna.sets.processes import gather, in_step
from torchmetrics_dna.tally.resolve import device_for, resolve
from torchmetrics_dna.tally.scores import Scorer

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.loading import SetOptions
    from torchmetrics_dna.tally.resolve import Feature


@dataclass(frozen=True, eq=False, repr=False)
class Ranking:
    """Images from the closest to the reference to the furthest.

    Attributes:
        names: What each image is called.
        scores: dna-emd of each image to the reference, in bins, float64, ascending.
        numbers: Where each image stands in the source.
        images: The source that was ranked.
        reference: What the images were compared with.
        unreadable: One line for each image that was left out.

    """

    names: list[str]
    scores: Tensor
    numbers: list[int]
    images: ImageSource
    reference: HistogramDNA
    unreadable: list[str]

    def rows(self, top: int | None = None) -> list[dict[str, Any]]:
        """Rank, name and score of each image, or of the closest ones only, in plain types."""
        ranked = zip(self.names[:top], self.scores[:top].tolist(), strict=True)
        return [{"rank": i, "image": name, "score": score} for i, (name, score) in enumerate(ranked, 1)]

    def precision_recall(self, relevant: Sequence[bool]) -> tuple[Tensor, Tensor, float]:
        """Measure how well the ranking finds relevant images.

        Args:
            relevant: Whether each image is relevant, in the order of the source.

        Returns:
            Precision and recall at each number of images taken, closest first, and the area under the curve (average
            precision), by torchmetrics.

        Raises:
            ValueError: Unless there is one entry for each image of the source.

        """
        from torchmetrics.functional import classification  # which takes seconds to import

        if len(relevant) != len(self.images):
            raise ValueError(f"Expected one entry for each of {len(self.images)} images, but got {len(relevant)}")
        truth = torch.tensor([int(relevant[number]) for number in self.numbers])
        span = (self.scores[-1] - self.scores[0]).clamp(min=torch.finfo(torch.float64).tiny)
        closeness = (self.scores[-1] - self.scores) / span  # in [0, 1], which torchmetrics leaves as it is
        precision, recall, _ = classification.binary_precision_recall_curve(closeness, truth)
        return precision, recall, float(classification.binary_average_precision(closeness, truth))

    def __repr__(self) -> str:
        ends = f", {float(self.scores[0]):.4g} to {float(self.scores[-1]):.4g} bins"
        return f"Ranking({len(self.names)} images{ends})"


def rank(
    images: Source,
    reference: Source | DNA,
    feature: Feature | None = None,
    *,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> Ranking:
    """Rank images by how close each of them is to a reference (sections 5.1 and 5.4 of the paper).

    Args:
        images: See :func:`make_dna`.
        reference: A histogram DNA, or the path of one as :func:`load_dna` takes it; or images, even a single one.
        feature: What describes the images; by default what the reference was made with.
        layers: Which layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram, if the reference is images.
        ranges: Activation ranges, the path of a file of them, or ``"auto"``; for a reference that does not have them.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        options: As for :func:`make_dna`.

    Raises:
        TypeError: If the reference is a DNA without histograms.
        ValueError: If an argument is wrong, there are no images, one can't be read, or an argument
            does not fit the reference.

    Example:
        >>> import numpy as np
        >>> grey = [np.full((40, 50, 3), level, np.uint8) for level in (250, 10, 120)]
        >>> rank(grey, np.zeros((40, 50, 3), np.uint8), layers=["block_0"]).names
        ['image 1', 'image 2', 'image 0']

    """
    loading, settings = Loading.of("rank", options)
    with in_step(loading.distributed):
        source = open_source(images, loading.exif_orientation)
        side = open_side(reference, layers, ranges, loading.exif_orientation)
        if isinstance(side, DNA) and not isinstance(side, HistogramDNA):
            raise TypeError(f"Argument `reference` expected to be a HistogramDNA or images, but got {side!r}")
        dnas = [side] if isinstance(side, HistogramDNA) else []
        way = resolve(feature, layers, num_bins, ranges, dnas, device=device_for(feature, device), **settings)
        extractor = way.extractor
        weights = resolve_weights(neuron_weights, extractor.neurons, extractor.name, extractor.weights_digest)
        dna: Any = way.dnas[0] if way.dnas else None
        if dna is None:
            dna = measure(cast("ImageSource", side), extractor, ["histogram"], way.num_bins, way.ranges, loading).any
        found, unreadable = _score(source, extractor, Scorer(dna, extractor, weights), loading)
        check_any_read(len(source), unreadable)
        order = sorted(found, key=lambda number: (found[number], number))
        scores = torch.tensor([found[number] for number in order], dtype=torch.float64)
        return Ranking([source.names[i] for i in order], scores, order, source, dna, unreadable)


def _score(
    images: ImageSource, extractor: DNAExtractor, scorer: Scorer, loading: Loading
) -> tuple[dict[int, float], list[str]]:
    """Score each image, by its number, and list those that were left out; of all processes if they share the work."""
    numbers = loading.share(len(images))
    found: dict[int, float] = {}
    unreadable: list[str] = []
    for places, activations, left_out in activate(images.take(numbers), extractor, loading):
        if places:
            scores = scorer([activations]).tolist()
            found.update(zip((numbers[place] for place in places), scores, strict=True))
        del activations
        unreadable += left_out
    if not loading.distributed:
        return found, unreadable
    every = gather((found, unreadable))
    return {n: s for part, _ in every for n, s in part.items()}, [line for _, part in every for line in part]
