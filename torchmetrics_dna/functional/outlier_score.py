"""The outlier score of single images: how unusual each is among a reference's own images, by network and properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.functional.flagging import PropertyTails, standardized_properties, tail_of
from torchmetrics_dna.functional.outliers import LayerGaussian, gaussians_of_means, left_out_distances, outlier_distance

# Smallest mean excess of a tail, in logarithms. For equal values, the mean excess would be 0.
_SMALLEST = 1e-9
_PROPERTIES = "properties"


def surprisal(values: Tensor, own: Tensor) -> Tensor:
    r"""Compute minus the logarithm of the share of a reference's own values that are as large as each value.

    The share of n sorted values is linear between them, from :math:`n / (n + 1)` to :math:`1 / (n + 1)`. Beyond the
    (k + 1)-th largest of them, u, with :math:`k = \max(5, n / 20)` and the mean excess e of the k values beyond it, the
    share continues as :math:`k / n \, (1 + (v - u) / (k e))^{-k}`, so that values beyond all of the reference's own
    keep their order.

    Args:
        values: Values of images, float64, ``(B,)``.
        own: Values of the reference's own images, at least two, float64, ``(n,)``.

    Example:
        >>> surprisal(torch.tensor([0.0, 10.0, 30.0]), torch.arange(20.0)).round(decimals=2)
        tensor([0.0500, 0.7400, 5.0200], dtype=torch.float64)

    """
    values = values.double()
    ordered = own.double().sort().values
    count = len(ordered)
    shares = torch.arange(count, 0, -1, dtype=torch.float64, device=ordered.device) / (count + 1)
    above = torch.searchsorted(ordered, values, right=True).clamp(1, count - 1)
    below = above - 1
    gap = (ordered[above] - ordered[below]).clamp(min=torch.finfo(torch.float64).tiny)
    place = ((values - ordered[below]) / gap).clamp(0, 1)
    share = torch.lerp(shares[below], shares[above], place)
    share = torch.where(values < ordered[0], 1.0, share)
    tail = tail_of(count)
    limit = ordered[-tail - 1]
    excess = (ordered[-tail:] - limit).mean().clamp(min=_SMALLEST)
    beyond = tail / count * (1 + (values - limit).clamp(min=0) / (tail * excess)) ** -tail
    return -torch.where(values > limit, beyond, share.clamp(min=tail / count)).log()


class Unusualness(NamedTuple):
    """Distances of images from a reference, by network and properties, and their tail probabilities."""

    layers: dict[str, Tensor]  # squared Mahalanobis distance per neuron of each layer, (B,)
    properties: Tensor | None = None  # squared distance of image properties, (B,)
    tails: Tensor | None = None  # tail probability in each direction of a fault, (B, directions)


class OutlierReference:
    r"""Reference of outlier scores: the Gaussians of its layers, and values of its own single images.

    The score is the sum of three surprisals, see :func:`surprisal`: of the squared Mahalanobis distance of the image's
    spatial means, the mean over layers; of that of its transformed image properties; and of the smallest tail
    probability of a property in a direction that is a fault, such as dark or blurred. Without properties, the score is
    the first surprisal alone.

    Args:
        gaussians: Gaussian of each layer of the reference.
        own_distances: Squared distance of each of the reference's images to the others, by layer, ``(n,)``, see
            :func:`~torchmetrics_dna.functional.outliers.left_out_distances`.
        own_properties: Image properties of these images, ``(n, properties)``; None without properties.

    Attributes:
        own: How unusual each of the reference's own images is among the others.
        own_scores: Their scores, float64, ``(n,)``.

    """

    def __init__(
        self,
        gaussians: Mapping[str, LayerGaussian],
        own_distances: Mapping[str, Tensor],
        own_properties: Tensor | None = None,
    ) -> None:
        self.gaussians = dict(gaussians)
        self.own = Unusualness(dict(own_distances))
        if own_properties is not None:
            standardized, self._unit = standardized_properties(own_properties)
            self._of_properties = gaussians_of_means({_PROPERTIES: standardized})[_PROPERTIES]
            self._tails = PropertyTails(own_properties)
            self.own = self.own._replace(properties=left_out_distances(standardized), tails=self._tails.own_p_values)
        self._own_values = _values(self.own)
        self.own_scores = self.surprisals(self.own).sum(1)

    @property
    def has_properties(self) -> bool:
        """True if image properties are part of the score."""
        return self.own.properties is not None

    def compare(self, means: Mapping[str, Tensor], properties: Tensor | None = None) -> Unusualness:
        """Compare images with the reference.

        Args:
            means: Spatial means of each layer of the reference, ``{layer: (B, n)}``.
            properties: Image properties, ``(B, properties)``; needed if the reference has them.

        """
        layers = {layer: own.distances(means[layer].double()) for layer, own in self.gaussians.items()}
        if not self.has_properties:
            return Unusualness(layers)
        if properties is None:
            raise ValueError("Argument `properties` expected to be those of the images, but got None")
        standardized, _ = standardized_properties(properties, self._unit)
        return Unusualness(layers, self._of_properties.distances(standardized), self._tails.p_values(properties))

    def surprisals(self, images: Unusualness) -> Tensor:
        """Return the surprisals of images, float64, ``(B, 3)``: network, properties and tails; else ``(B, 1)``."""
        pairs = zip(_values(images), self._own_values, strict=True)
        return torch.stack([surprisal(values, own) for values, own in pairs], 1)

    def scores(self, means: Mapping[str, Tensor], properties: Tensor | None = None) -> Tensor:
        """Return the score of images, float64, ``(B,)``; arguments as for :meth:`compare`."""
        return self.surprisals(self.compare(means, properties)).sum(1)

    def to(self, device: torch.device) -> OutlierReference:
        """Return the reference on another device; itself if it is there."""
        if self.own_scores.device == device:
            return self
        moved = object.__new__(OutlierReference)
        for name, value in vars(self).items():
            setattr(moved, name, _moved(value, device))
        return moved


def percentiles(scores: Tensor, own_scores: Tensor) -> Tensor:
    """Compute which per cent of the reference's own images have a smaller score, float64, ``(B,)``.

    Example:
        >>> percentiles(torch.tensor([2.0, 9.0]), torch.tensor([1.0, 3.0, 4.0, 5.0]))
        tensor([ 25., 100.], dtype=torch.float64)

    """
    below = torch.searchsorted(own_scores.double().sort().values, scores.double())
    return 100 * below.double() / len(own_scores)


def _values(images: Unusualness) -> list[Tensor]:
    """Return values whose surprisals add up to the score: larger ones are more unusual."""
    values = [_log(outlier_distance(images.layers))]
    if images.properties is not None and images.tails is not None:
        values += [_log(images.properties), -images.tails.amin(1).log()]
    return values


def _log(distances: Tensor) -> Tensor:
    return distances.double().clamp(min=torch.finfo(torch.float64).tiny).log()


def _moved(value: Any, device: torch.device) -> Any:
    """Return tensors, and what holds them, on a device."""
    if isinstance(value, (Tensor, LayerGaussian, PropertyTails)):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    if isinstance(value, Unusualness):
        return Unusualness(*(_moved(item, device) for item in value))
    return value
