"""Outlier scores of single images relative to a reference, from activations of a network and properties of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.functional.flagging import PropertyTails, standardized_properties, tail_of
from torchmetrics_dna.functional.outliers import LayerGaussian, gaussians_of_means, left_out_distances, outlier_distance

# Smallest mean excess of the values in a tail. Without it, the mean excess of equal values would be 0.
_SMALLEST = 1e-9
# Name under which the Gaussian of image properties is computed.
_PROPERTIES = "properties"


def surprisal(values: Tensor, own: Tensor) -> Tensor:
    r"""Compute the surprisal of values: minus the logarithm of the share of the reference's own values as large.

    The share falls from :math:`n / (n + 1)` at the smallest of n own values to :math:`1 / (n + 1)` at the largest. It
    is linear between two neighbouring values.

    In the tail, the share follows a distribution instead, so that values above all own values differ in surprisal. The
    tail has :math:`k = \max(5, n / 20)` values. Let u be the (k + 1)-th largest own value, and e the mean excess of the
    k larger values over u. For a value v above u, the share is :math:`k / n \, (1 + (v - u) / (k e))^{-k}`.

    Args:
        values: Values of images, ``(B,)``.
        own: Values of at least two of the reference's own images, ``(n,)``.

    Returns:
        Surprisals, float64, ``(B,)``.

    Example:
        >>> surprisal(torch.tensor([0.0, 10.0, 30.0]), torch.arange(20.0)).round(decimals=2)
        tensor([0.0500, 0.7400, 5.0200], dtype=torch.float64)

    """
    values = values.double()
    ordered = own.double().sort().values
    count = len(ordered)
    tail = tail_of(count)
    limit = ordered[-tail - 1]
    excess = (ordered[-tail:] - limit).mean().clamp(min=_SMALLEST)
    share_in_tail = tail / count * (1 + (values - limit).clamp(min=0) / (tail * excess)) ** -tail
    share = _interpolated_share(values, ordered).clamp(min=tail / count)
    return -torch.where(values > limit, share_in_tail, share).log()


def _interpolated_share(values: Tensor, ordered: Tensor) -> Tensor:
    """Return the share of a reference's own values that are as large as each value, linear between own values.

    Args:
        values: Values of images, float64, ``(B,)``.
        ordered: The reference's own values in ascending order, float64, ``(n,)``.

    """
    count = len(ordered)
    shares = torch.arange(count, 0, -1, dtype=torch.float64, device=ordered.device) / (count + 1)
    above = torch.searchsorted(ordered, values, right=True).clamp(1, count - 1)
    below = above - 1
    gap = (ordered[above] - ordered[below]).clamp(min=torch.finfo(torch.float64).tiny)
    fraction = ((values - ordered[below]) / gap).clamp(0, 1)
    share = torch.lerp(shares[below], shares[above], fraction)
    return torch.where(values < ordered[0], 1.0, share)


class Unusualness(NamedTuple):
    """Distances of images from a reference, and tail probabilities of their properties.

    Attributes:
        layers: Squared Mahalanobis distance for each layer, divided by the number of neurons, ``(B,)``.
        properties: The same distance for image properties, ``(B,)``, or None without properties.
        tails: Tail probability in each direction that is a fault, ``(B, directions)``, or None without properties.

    """

    layers: dict[str, Tensor]
    properties: Tensor | None = None
    tails: Tensor | None = None


class OutlierReference:
    r"""Reference of outlier scores: the Gaussian of each layer, and the values of the reference's own images.

    The score of an image is the sum of three surprisals, see :func:`surprisal`:

    - The surprisal of the Mahalanobis distance of its spatial means, averaged over layers.
    - The surprisal of the Mahalanobis distance of its transformed image properties.
    - The surprisal of its smallest tail probability in a direction that is a fault, such as dark or blurred.

    Without properties, the score is the first surprisal.

    Args:
        gaussians: Gaussian of each layer of the reference.
        own_distances: Squared distance of each of the reference's own images to all others, by layer, ``(n,)``, see
            :func:`~torchmetrics_dna.functional.outliers.left_out_distances`.
        own_properties: Image properties of the same images, ``(n, properties)``, or None without properties.

    Attributes:
        own: Distances and tail probabilities of the reference's own images, each compared with all others.
        own_scores: Scores of the reference's own images, float64, ``(n,)``.

    """

    def __init__(
        self,
        gaussians: Mapping[str, LayerGaussian],
        own_distances: Mapping[str, Tensor],
        own_properties: Tensor | None = None,
    ) -> None:
        self.gaussians = dict(gaussians)
        if own_properties is None:
            self.own = Unusualness(dict(own_distances))
        else:
            standardized, self._unit = standardized_properties(own_properties)
            self._of_properties = gaussians_of_means({_PROPERTIES: standardized})[_PROPERTIES]
            self._tails = PropertyTails(own_properties)
            property_distances = left_out_distances(standardized)
            self.own = Unusualness(dict(own_distances), property_distances, self._tails.own_p_values)
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
            properties: Image properties, ``(B, properties)``; required if the reference has properties.

        """
        layers = {layer: gaussian.distances(means[layer].double()) for layer, gaussian in self.gaussians.items()}
        if not self.has_properties:
            return Unusualness(layers)
        if properties is None:
            raise ValueError("Argument `properties` expected to be those of the images, but got None")
        standardized, _ = standardized_properties(properties, self._unit)
        return Unusualness(layers, self._of_properties.distances(standardized), self._tails.p_values(properties))

    def surprisals(self, images: Unusualness) -> Tensor:
        """Return the surprisals of images, float64.

        The shape is ``(B, 3)`` for network, properties and tails, or ``(B, 1)`` without properties.
        """
        pairs = zip(_values(images), self._own_values, strict=True)
        return torch.stack([surprisal(values, own_values) for values, own_values in pairs], 1)

    def scores(self, means: Mapping[str, Tensor], properties: Tensor | None = None) -> Tensor:
        """Return the scores of images, float64, ``(B,)``. For the arguments, see :meth:`compare`."""
        return self.surprisals(self.compare(means, properties)).sum(1)

    def to(self, device: torch.device) -> OutlierReference:
        """Return the reference on another device, or itself if it is there already."""
        if self.own_scores.device == device:
            return self
        # The constructor would compute all attributes again.
        moved = object.__new__(OutlierReference)
        for name, value in vars(self).items():
            setattr(moved, name, _moved(value, device))
        return moved


def percentiles(scores: Tensor, own_scores: Tensor) -> Tensor:
    """Compute the percentage of the reference's own images that have a smaller score.

    Args:
        scores: Scores of images, ``(B,)``.
        own_scores: Scores of the reference's own images, ``(n,)``.

    Returns:
        Percentages, float64, ``(B,)``.

    Example:
        >>> percentiles(torch.tensor([2.0, 9.0]), torch.tensor([1.0, 3.0, 4.0, 5.0]))
        tensor([ 25., 100.], dtype=torch.float64)

    """
    below = torch.searchsorted(own_scores.double().sort().values, scores.double())
    return 100 * below.double() / len(own_scores)


def _values(images: Unusualness) -> list[Tensor]:
    """Return the values whose surprisals add up to the score. Larger values are more unusual."""
    values = [_log(outlier_distance(images.layers))]
    if images.properties is not None and images.tails is not None:
        values += [_log(images.properties), -images.tails.amin(1).log()]
    return values


def _log(distances: Tensor) -> Tensor:
    """Return the logarithm of distances, float64; finite for 0."""
    return distances.double().clamp(min=torch.finfo(torch.float64).tiny).log()


def _moved(value: Any, device: torch.device) -> Any:
    """Return an attribute of the reference on a device, with all tensors in it."""
    if isinstance(value, (Tensor, LayerGaussian, PropertyTails)):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    if isinstance(value, Unusualness):
        return Unusualness(*(_moved(item, device) for item in value))
    return value
