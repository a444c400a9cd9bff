"""Outlier distances of single images, and of places in them: Mahalanobis distances of means of activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 512  # neurons of a layer; larger ones are left out if there are smaller ones
_FLOOR = 1e-8  # of the mean squared activation: rounding and dead neurons have no weight


class LayerGaussian(NamedTuple):
    """Gaussian of a layer's spatial means, with a covariance that is shrunk to be invertible; float64."""

    mean: Tensor  # (n,)
    precision: Tensor  # inverse of the shrunk covariance, (n, n)

    @classmethod
    def of(cls, mean: Tensor, cov: Tensor, num_images: int) -> LayerGaussian:
        """Shrink a covariance by :func:`shrinkage` and invert it."""
        mean, cov = mean.double(), cov.double()
        spread = cov.trace() / len(cov)
        intensity = shrinkage(cov.trace(), cov.square().sum(), len(cov), num_images)
        eigenvalues, vectors = torch.linalg.eigh(cov)
        shrunk = _shrunk(eigenvalues.clamp(min=0), intensity, spread, _floor(mean))
        return cls(mean, (vectors / shrunk) @ vectors.T)

    def to(self, device: torch.device) -> LayerGaussian:
        """Return the Gaussian on another device; itself if it is there."""
        return self if self.mean.device == device else LayerGaussian(self.mean.to(device), self.precision.to(device))

    def distances(self, means: Tensor) -> Tensor:
        """Compute squared Mahalanobis distances per neuron of spatial means ``(B, n)``, shape ``(B,)``."""
        distances = torch.empty(len(means), dtype=torch.float64, device=means.device)
        for i, offset in enumerate(means - self.mean):  # one by one, so that a distance does not depend on the batch
            distances[i] = offset @ (self.precision @ offset)
        return distances / len(self.mean)

    def map(self, activations: Tensor) -> Tensor:
        """Split the distances of images ``(B, n, *positions)`` among positions: their mean is the distance.

        An image's distance is linear in each position, given its mean over positions: a position's share is large where
        its activations differ from the reference's mean as the whole image does, and negative where they differ in the
        opposite way. The result has shape ``(B, *positions)``, float64.
        """
        values = activations.double()
        flat = values.flatten(2) if values.ndim > 2 else values[..., None]
        offsets = flat - self.mean[:, None]
        directions = offsets.mean(2) @ self.precision / len(self.mean)
        shares = (directions[:, None] @ offsets)[:, 0]
        return shares.view(len(values), *values.shape[2:])

    def local_map(self, neighbourhoods: Tensor) -> Tensor:
        """Compute the distance of each place of images ``(B, n, h, w)``, the root of the square per neuron."""
        offsets = neighbourhoods.flatten(2) - self.mean[:, None]
        squares = torch.stack([(image * (self.precision @ image)).sum(0) for image in offsets])
        return (squares.clamp(min=0) / len(self.mean)).sqrt().view(len(offsets), *neighbourhoods.shape[2:])


def neighbourhoods(activations: Tensor) -> Tensor:
    """Average over 3 x 3 positions around each, fewer at the edges: ``(B, n, h, w)``, float64."""
    return avg_pool2d(activations.double(), 3, 1, 1, count_include_pad=False)


def shrinkage(trace: Tensor, trace_of_square: Tensor, neurons: int, num_images: int) -> Tensor:
    """Compute the weight of the identity in a covariance, by oracle approximating shrinkage (Chen et al., 2010).

    It depends on the covariance, by its trace and that of its square, and on the number of images alone, so the moments
    of a set are enough.
    """
    mean_square, square_of_mean = trace_of_square / neurons**2, (trace / neurons) ** 2
    difference = (num_images + 1) * (mean_square - square_of_mean / neurons)
    weight = (mean_square + square_of_mean) / difference
    return torch.where(difference > 0, weight, 1.0).clamp(max=1)


def left_out_distances(means: Tensor) -> Tensor:
    """Compute the squared distance per neuron of each of 3 images or more to the Gaussian of all others, ``(images,)``.

    Exact, and from one eigendecomposition: leaving an image out changes mean and covariance by terms of rank one.
    """
    means = means.double()
    count, neurons = means.shape
    centre = means.mean(0)
    offsets = means - centre
    cov = offsets.T @ offsets / (count - 1)
    eigenvalues, vectors = torch.linalg.eigh(cov)
    eigenvalues = eigenvalues.clamp(min=0)
    projected = (offsets @ vectors).square()  # (images, n)
    norms = projected.sum(1)
    # the covariance without an image is scale * cov - cut * offset offset'
    scale, cut = (count - 1) / (count - 2), count / ((count - 1) * (count - 2))
    traces = scale * cov.trace() - cut * norms
    squares = scale**2 * cov.square().sum() - 2 * scale * cut * (projected @ eigenvalues) + (cut * norms) ** 2
    intensity = shrinkage(traces, squares, neurons, count - 1)[:, None]
    floors = _floor(centre - offsets / (count - 1))[:, None]
    diagonal = _shrunk(scale * eigenvalues, intensity, (traces / neurons).clamp(min=0)[:, None], floors)
    norm = (projected / diagonal).sum(1)
    # Sherman and Morrison's formula for the term of rank one, which is at most the whole
    left = (1 - (1 - intensity[:, 0]) * cut * norm).clamp(min=torch.finfo(torch.float64).eps)
    distances: Tensor = norm / left * (count / (count - 1)) ** 2 / neurons
    return distances


def outlier_distance(by_layer: Mapping[str, Tensor]) -> Tensor:
    """Join the squared distances per neuron of all layers to one distance: the root of their mean."""
    return torch.stack(list(by_layer.values())).mean(0).sqrt()


def split_means(means: Tensor, neurons: Mapping[str, int]) -> dict[str, Tensor]:
    """Split spatial means of the layers for outlier scores, which are beside each other, by layer."""
    layers = layers_for_outliers(neurons)
    return dict(zip(layers, torch.split(means, [neurons[layer] for layer in layers], 1), strict=True))


def gaussians_of_means(means: Mapping[str, Tensor]) -> dict[str, LayerGaussian]:
    """Build the Gaussian of each layer from spatial means of images, ``{layer: (images, n)}``."""
    gaussians = {}
    for layer, of_layer in means.items():
        values = of_layer.double()
        cov = values.T.cov().view(values.shape[1], -1)  # of a single neuron, torch gives a scalar
        gaussians[layer] = LayerGaussian.of(values.mean(0), cov, len(values))
    return gaussians


def outlier_scores(means: Mapping[str, Tensor], gaussians: Mapping[str, LayerGaussian]) -> Tensor:
    """Compute the outlier distance of images from their spatial means, ``{layer: (B, n)}``: float64, ``(B,)``."""
    return outlier_distance({layer: gaussian.distances(means[layer].double()) for layer, gaussian in gaussians.items()})


def left_out_scores(means: Mapping[str, Tensor]) -> Tensor:
    """Compute the outlier distance of each of 3 images or more to all others, from ``{layer: (images, n)}``."""
    return outlier_distance({layer: left_out_distances(of_layer) for layer, of_layer in means.items()})


def layers_for_outliers(neurons: Mapping[str, int]) -> list[str]:
    """Return the layers of up to 512 neurons, or all if there are none."""
    return [layer for layer, count in neurons.items() if count <= LARGEST] or list(neurons)


def _shrunk(eigenvalues: Tensor, intensity: Tensor, spread: Tensor, floor: Tensor) -> Tensor:
    return eigenvalues + intensity * (spread - eigenvalues) + floor


def _floor(mean: Tensor) -> Tensor:
    """Return the variance that is added to all directions."""
    return mean.square().mean(-1) * _FLOOR + torch.finfo(torch.float32).tiny
