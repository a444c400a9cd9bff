"""Outlier scores of single images, and of places in them, against Gaussians of a reference."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.dna.base import TooFewImagesError
from torchmetrics_dna.functional.outlier_score import OutlierReference
from torchmetrics_dna.functional.outliers import (
    LARGEST,
    LayerGaussian,
    layers_for_outliers,
    left_out_distances,
    neighbourhoods,
    share_limit,
)
from torchmetrics_dna.images.properties import LAYER, VERSION
from torchmetrics_dna.options import argument, written
from torchmetrics_dna.statistics.base import Field, Statistic
from torchmetrics_dna.statistics.moments import CrossMomentStatistic
from torchmetrics_dna.statistics.nonfinite import check_refused, note_refused_
from torchmetrics_dna.statistics.scores import ImageScorer

if TYPE_CHECKING:
    from torchmetrics_dna.dna import LayerGaussianDNA
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.statistics.base import Origin, State

# Pixels of the network's input between positions of the layer for local scores.
_STRIDE = 8
# Size of inputs for networks without a size of their own.
_SIZE = (224, 224)


def check_size(num_images: int, is_unknown: bool = False) -> None:
    """Raise an error unless a reference has enough images for outlier scores.

    Raises:
        ValueError: If it is unknown how many it has.
        TooFewImagesError: If there are fewer than three.

    """
    if is_unknown:
        raise ValueError(
            f"{argument('reference')} expected to say of how many images it is, but it does not; make it anew with"
            f" {written('kind', 'layer-gaussian')}"
        )
    if num_images < 3:
        raise TooFewImagesError(
            f"More than two images are required in the reference to compute outlier scores, but got {num_images}"
        )


def gaussians_of(reference: LayerGaussianDNA) -> dict[str, LayerGaussian]:
    """Return the Gaussians of a reference's layers for outlier scores; errors as of :func:`check_size`."""
    check_size(reference.num_images, reference.has_unknown_size)
    by_layer = reference.by_layer()
    return {
        layer: LayerGaussian.of(*by_layer[layer], reference.num_images)
        for layer in layers_for_outliers(reference.neurons)
    }


def outlier_reference(reference: LayerGaussianDNA) -> OutlierReference:
    """Return the reference of outlier scores: its Gaussians and the sample of its single images.

    Raises:
        ValueError: If the reference has no sample, or properties by other definitions; also errors of
            :func:`check_size`.

    """
    gaussians = gaussians_of(reference)
    sample = reference.sample
    if sample is None or not gaussians.keys() <= sample.means.keys():
        raise ValueError(
            f"{argument('reference')} expected to have a sample of single images, with which outlier scores are"
            f" computed, but {reference!r} has none; make it anew with {written('kind', 'layer-gaussian')}"
        )
    if sample.properties is not None and sample.version != VERSION:
        raise ValueError(
            f"{argument('reference')} has image properties by version {sample.version} of their definitions, but this"
            f" release measures by version {VERSION}; make it anew with {written('kind', 'layer-gaussian')}"
        )
    by_layer = reference.by_layer()
    own_distances = {}
    for layer in gaussians:
        mean, cov = by_layer[layer]
        own_distances[layer] = left_out_distances(sample.means[layer], (mean, cov, reference.num_images))
    return OutlierReference(gaussians, own_distances, sample.properties)


class OutlierScorer(ImageScorer):
    """Function that computes the outlier score of single images, see :class:`OutlierReference`.

    If the reference has image properties, activations need a layer of them, too. Layers of more than 512 neurons are
    left out if there are smaller ones.

    Args:
        reference: The reference, from :func:`outlier_reference`.
        extractor: Extractor of the activations.
        wait: Whether to sync with the device for errors. If not, scores are NaN where activations are not finite.

    """

    def __init__(self, reference: OutlierReference, extractor: DNAExtractor, wait: bool = True) -> None:
        super().__init__(extractor)
        self.reference = reference
        self._wait = wait

    @override
    def __call__(self, activations: Activations) -> Tensor:
        device = activations.device
        self.reference = self.reference.to(device)
        activations.check(self._wait)
        layers = list(self.reference.gaussians)
        if self.reference.has_properties:
            layers.append(LAYER)
        activations_of_layers = activations.only(layers)
        means = {layer: activations_of_layers.means(layer) for layer in layers}
        properties = means.pop(LAYER, None)
        scores = self.reference.scores(means, properties)
        # If errors are not waited for, scores of activations that are not finite must not be used.
        if not self._wait and device.type != "cpu":
            scores = torch.where(activations.finite.all(), scores, torch.nan)
        return scores[None]

    @override
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Split squared network distances among positions; the means of the layers' maps add up to them."""
        Activations(activations).check()
        gaussians = self.reference.gaussians
        maps = {}
        for layer, gaussian in gaussians.items():
            values = activations[layer]
            maps[layer] = gaussian.to(values.device).map(values) / len(gaussians)
        return maps


class OutlierCountStatistic(Statistic):
    """Number of images whose outlier score is beyond the limit of the reference, and number of all images.

    A state has ``counts``, int64, ``(2,)``, and ``refused``, see :mod:`.nonfinite`. Both add up over processes.

    Args:
        scorer: Scorer with the reference.
        more: Further values that must be equal for two states to be merged.

    """

    kind = "outlier counts"

    def __init__(self, scorer: OutlierScorer, **more: object) -> None:
        super().__init__(scorer.extractor, **more)
        self.scorer = scorer
        self._limit = share_limit(scorer.reference.own_scores.cpu())

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"counts": Field(2, torch.int64), "refused": Field(len(self.neurons), torch.int64)}

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        (scores,) = self.scorer(activations)
        note_refused_(state["refused"], activations.only(self.neurons))
        num_beyond, num_images = state["counts"]
        num_beyond += (scores > self._limit).sum()
        num_images += len(scores)

    @override
    def value(self, state: State, origin: Origin) -> tuple[int, int]:
        """Return how many images are beyond the limit, and how many there are; ValueError if images were refused."""
        check_refused(state["refused"].tolist(), self.neurons)
        num_beyond, num_images = state["counts"].tolist()
        return num_beyond, num_images


class LocalMomentStatistic(CrossMomentStatistic):
    """Mean and covariance, over all places of all images, of a layer's means over 3 x 3 positions.

    Its value is a :class:`LayerGaussianDNA` whose images are places. :func:`local_layer` chooses a layer.
    """

    kind = "local-gaussian"

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        (layer,) = self.neurons
        parts = []
        for part in activations.parts:
            # From (B, n, H, W) to one row for each place, (B * H * W, n).
            places = neighbourhoods(part[layer]).movedim(1, 3).flatten(0, 2)
            parts.append({layer: places})
        super().add_(state, Activations(*parts))


class LocalScorer(ImageScorer):
    """Function that computes the largest distance of a place of single images from the places of a reference.

    The reference is the value of a :class:`LocalMomentStatistic`.
    """

    def __init__(self, reference: LayerGaussianDNA, extractor: DNAExtractor) -> None:
        super().__init__(extractor)
        ((self._layer, moments),) = reference.by_layer().items()
        self._gaussian = LayerGaussian.of(*moments, reference.num_images)

    @override
    def __call__(self, activations: Activations) -> Tensor:
        maxima = []
        for part in activations.parts:
            distances = self.maps(part)[self._layer]
            maxima.append(distances.flatten(1).amax(1))
        return torch.cat(maxima)[None]

    @override
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the distance of each place; an image's score is the largest."""
        values = activations[self._layer]
        Activations({self._layer: values}).check()
        return {self._layer: self._gaussian.to(values.device).local_map(neighbourhoods(values))}


def local_layer(extractor: DNAExtractor) -> str | None:
    """Return the layer of up to 512 neurons whose positions are closest to 8 pixels apart; None if none has a grid."""
    if extractor.example is not None:
        return None
    size = extractor.input_size or _SIZE
    image = torch.zeros(1, extractor.allowed_channels[0], *size, dtype=torch.uint8, device=extractor.device)
    try:
        activations = extractor(image)
    except ValueError:
        # A user's network may accept only floats.
        activations = extractor(image.float())
    heights: dict[str, int] = {}
    for layer, values in activations.items():
        if values.ndim == 4 and values.shape[1] <= LARGEST:
            heights[layer] = values.shape[2]
    if not heights:
        return None

    def deviation(layer: str) -> float:
        """Ratio of the distance of positions to 8 pixels, as the absolute value of its logarithm."""
        stride = size[0] / heights[layer]
        return abs(log(stride / _STRIDE))

    return min(heights, key=deviation)
