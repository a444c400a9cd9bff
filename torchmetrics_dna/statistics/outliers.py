"""Outlier scores of single images, and of positions in images, relative to Gaussians of a reference."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    from torchmetrics_dna.dna.image_sample import ImageSample
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.statistics.base import Origin, State

# Target stride of the layer for local scores: pixels of the network's input from one position to the next.
_STRIDE = 8
# Height and width of the input for networks that have no input size of their own.
_SIZE = (224, 224)


def check_size(num_images: int, is_unknown: bool = False) -> None:
    """Check that a reference has enough images for outlier scores.

    Args:
        num_images: Number of images of the reference.
        is_unknown: True if the reference does not store this number.

    Raises:
        ValueError: If the number of images is unknown.
        TooFewImagesError: If there are fewer than three images.

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
    """Return the Gaussian of each layer that outlier scores use.

    Raises:
        ValueError: If the number of images of the reference is unknown.
        TooFewImagesError: If the reference has fewer than three images.

    """
    check_size(reference.num_images, reference.has_unknown_size)
    by_layer = reference.by_layer()
    return {
        layer: LayerGaussian.of(*by_layer[layer], reference.num_images)
        for layer in layers_for_outliers(reference.neurons)
    }


def outlier_reference(reference: LayerGaussianDNA) -> OutlierReference:
    """Return the reference of outlier scores, with the Gaussians and the sample of single images of a DNA.

    Raises:
        ValueError: If the DNA has no sample, or image properties of another version, or an unknown number of images.
        TooFewImagesError: If the DNA has fewer than three images.

    """
    gaussians = gaussians_of(reference)
    sample = _checked_sample(reference, gaussians.keys())
    by_layer = reference.by_layer()
    own_distances = {}
    for layer in gaussians:
        mean, cov = by_layer[layer]
        own_distances[layer] = left_out_distances(sample.means[layer], (mean, cov, reference.num_images))
    return OutlierReference(gaussians, own_distances, sample.properties)


def _checked_sample(reference: LayerGaussianDNA, layers: Collection[str]) -> ImageSample:
    """Return the sample of single images of a DNA.

    Raises:
        ValueError: If it can't be used with these layers.

    """
    sample = reference.sample
    if sample is None or any(layer not in sample.means for layer in layers):
        raise ValueError(
            f"{argument('reference')} expected to have a sample of single images, with which outlier scores are"
            f" computed, but {reference!r} has none; make it anew with {written('kind', 'layer-gaussian')}"
        )
    if sample.properties is not None and sample.version != VERSION:
        raise ValueError(
            f"{argument('reference')} has image properties by version {sample.version} of their definitions, but this"
            f" release measures by version {VERSION}; make it anew with {written('kind', 'layer-gaussian')}"
        )
    return sample


class OutlierScorer(ImageScorer):
    """Function that computes the outlier score of single images, see :class:`OutlierReference`.

    If the reference has image properties, activations must have a layer of image properties, too. Layers of more than
    512 neurons are not used if there are smaller layers.

    Args:
        reference: The reference, from :func:`outlier_reference`.
        extractor: Extractor of the activations.
        wait: Whether to sync with the device to raise errors. If not, all scores of a batch on a device are NaN if an
            activation is not finite.

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
        # Without a sync, no error is raised, so NaN marks the scores as invalid.
        if not self._wait and device.type != "cpu":
            scores = torch.where(activations.finite.all(), scores, torch.nan)
        return scores[None]

    @override
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Split the squared Mahalanobis distances of a batch among positions.

        The means of the maps of all layers add up to the distance of an image. The distance of image properties is not
        included.
        """
        Activations(activations).check()
        gaussians = self.reference.gaussians
        maps = {}
        for layer, gaussian in gaussians.items():
            values = activations[layer]
            maps[layer] = gaussian.to(values.device).map(values) / len(gaussians)
        return maps


class OutlierCountStatistic(Statistic):
    """Number of images whose outlier score exceeds the limit of the reference, and number of all images.

    A state has both numbers as ``counts``, int64, ``(2,)``. It also has ``refused``, see :mod:`.nonfinite`. Processes
    are reduced by a sum.

    Args:
        scorer: Scorer with the reference.
        more: Further settings that two states must share before they can be merged.

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
        """Return the number of images beyond the limit, and of all images.

        Raises:
            ValueError: If images were refused.

        """
        check_refused(state["refused"].tolist(), self.neurons)
        num_beyond, num_images = state["counts"].tolist()
        return num_beyond, num_images


class LocalMomentStatistic(CrossMomentStatistic):
    """Mean and covariance of a layer's averages over 3 x 3 positions, taken over all positions of all images.

    The value is a :class:`LayerGaussianDNA` of positions instead of images. :func:`local_layer` chooses the layer.
    """

    kind = "local-gaussian"

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        (layer,) = self.neurons
        parts_of_positions = []
        for part in activations.parts:
            # From (B, n, H, W) to one row for each position, (B * H * W, n).
            rows = neighbourhoods(part[layer]).movedim(1, 3).flatten(0, 2)
            parts_of_positions.append({layer: rows})
        super().add_(state, Activations(*parts_of_positions))


class LocalScorer(ImageScorer):
    """Function that scores single images by their most unusual position.

    The score is the largest Mahalanobis distance of a position of the image from the positions of the reference.

    Args:
        reference: The value of a :class:`LocalMomentStatistic`.
        extractor: Extractor of the activations.

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
        """Compute the distance of each position. The largest distance of an image is its score."""
        values = activations[self._layer]
        Activations({self._layer: values}).check()
        return {self._layer: self._gaussian.to(values.device).local_map(neighbourhoods(values))}


def local_layer(extractor: DNAExtractor) -> str | None:
    """Return the layer for local scores: of layers with at most 512 neurons, the one with a stride closest to 8 pixels.

    Return None if no such layer has two axes of positions, or if the inputs are not images.
    """
    if extractor.example is not None:
        return None
    height, width = extractor.input_size or _SIZE
    image = torch.zeros(1, extractor.allowed_channels[0], height, width, dtype=torch.uint8, device=extractor.device)
    try:
        activations = extractor(image)
    except ValueError:
        # A user's network may accept only floats.
        activations = extractor(image.float())
    # Ratio of each layer's stride to 8 pixels, as the absolute value of its logarithm.
    deviations: dict[str, float] = {}
    for layer, values in activations.items():
        if values.ndim == 4 and values.shape[1] <= LARGEST:
            stride = height / values.shape[2]
            deviations[layer] = abs(log(stride / _STRIDE))
    if not deviations:
        return None
    return min(deviations, key=deviations.__getitem__)
