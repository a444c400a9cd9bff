"""Outlier distances of single images and places in them, by Mahalanobis distances, and a test for a few outliers."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from torchmetrics_dna.functional.permutation import NUM_RELABELINGS, SIGNIFICANT

# Largest number of neurons of a layer. Larger layers are left out if there are smaller ones.
LARGEST = 512
# Share of the reference's own images beyond the score above which images are counted.
_TAIL = 0.1
# Standard deviation of a normal distribution divided by its median absolute deviation.
_NORMAL = 1.4826
# Relative difference below which sums are tied.
_TIE = 1e-9
# Share of the mean squared activation that is added, so that rounding and dead neurons have no weight.
_FLOOR = 1e-8


class LayerGaussian(NamedTuple):
    """Gaussian of a layer's spatial means, with a covariance that is shrunk to be invertible; float64.

    Attributes:
        mean: Mean of each neuron.
        precision: Inverse of the shrunk covariance.

    """

    mean: Tensor  # (n,)
    precision: Tensor  # (n, n)

    @classmethod
    def of(cls, mean: Tensor, cov: Tensor, num_images: int) -> LayerGaussian:
        """Shrink a covariance by :func:`shrinkage` and invert it."""
        mean = mean.double()
        cov = cov.double()
        spread = cov.trace() / len(cov)
        intensity = shrinkage(cov.trace(), cov.square().sum(), len(cov), num_images)
        eigenvalues, vectors = torch.linalg.eigh(cov)
        shrunk = _shrunk(eigenvalues.clamp(min=0), intensity, spread, _floor(mean))
        return cls(mean, (vectors / shrunk) @ vectors.T)

    def to(self, device: torch.device) -> LayerGaussian:
        """Return the Gaussian on another device; itself if it is there."""
        if self.mean.device == device:
            return self
        return LayerGaussian(self.mean.to(device), self.precision.to(device))

    def distances(self, means: Tensor) -> Tensor:
        """Compute squared Mahalanobis distances per neuron of spatial means ``(B, n)``, shape ``(B,)``."""
        distances = torch.empty(len(means), dtype=torch.float64, device=means.device)
        # One by one, so that a distance does not depend on the batch.
        for i, offset in enumerate(means - self.mean):
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
        distances = (squares.clamp(min=0) / len(self.mean)).sqrt()
        return distances.view(len(offsets), *neighbourhoods.shape[2:])


def neighbourhoods(activations: Tensor) -> Tensor:
    """Average over 3 x 3 positions around each, fewer at the edges: ``(B, n, h, w)``, float64."""
    return avg_pool2d(activations.double(), 3, 1, 1, count_include_pad=False)


def shrinkage(trace: Tensor, trace_of_square: Tensor, neurons: int, num_images: int) -> Tensor:
    """Compute the weight of the identity in a covariance, by oracle approximating shrinkage (Chen et al., 2010).

    It depends on the covariance, by its trace and that of its square, and on the number of images alone, so the moments
    of a set are enough.
    """
    mean_square = trace_of_square / neurons**2
    square_of_mean = (trace / neurons) ** 2
    difference = (num_images + 1) * (mean_square - square_of_mean / neurons)
    weight = (mean_square + square_of_mean) / difference
    return torch.where(difference > 0, weight, 1.0).clamp(max=1)


def left_out_distances(means: Tensor, moments: tuple[Tensor, Tensor, int] | None = None) -> Tensor:
    """Compute the squared distance per neuron of each image to the Gaussian of all others, ``(images,)``.

    Exact, and from one eigendecomposition: leaving an image out changes mean and covariance by terms of rank one.

    Args:
        means: Spatial means of images of a set, ``(images, n)``.
        moments: Mean, unbiased covariance and number of images of the set, 3 or more; by default, the images are the
            whole set.

    """
    means = means.double()
    if moments is None:
        moments = means.mean(0), means.T.cov().view(means.shape[1], -1), len(means)
    centre, cov, count = moments
    neurons = means.shape[1]
    offsets = means - centre
    eigenvalues, vectors = torch.linalg.eigh(cov)
    eigenvalues = eigenvalues.clamp(min=0)
    projected = (offsets @ vectors).square()  # (images, n)
    norms = projected.sum(1)
    # The covariance without an image is scale * cov - cut * offset @ offset.T.
    scale = (count - 1) / (count - 2)
    cut = count / ((count - 1) * (count - 2))
    traces = scale * cov.trace() - cut * norms
    traces_of_squares = scale**2 * cov.square().sum() - 2 * scale * cut * (projected @ eigenvalues) + (cut * norms) ** 2
    intensity = shrinkage(traces, traces_of_squares, neurons, count - 1)[:, None]
    means_of_others = centre - offsets / (count - 1)
    floors = _floor(means_of_others)[:, None]
    spreads = (traces / neurons).clamp(min=0)[:, None]
    diagonal = _shrunk(scale * eigenvalues, intensity, spreads, floors)
    squared_norm = (projected / diagonal).sum(1)
    # By the formula of Sherman and Morrison, the term of rank one leaves this part, which rounding may make negative.
    part_left = (1 - (1 - intensity[:, 0]) * cut * squared_norm).clamp(min=torch.finfo(torch.float64).eps)
    distances: Tensor = squared_norm / part_left * (count / (count - 1)) ** 2 / neurons
    return distances


def outlier_distance(by_layer: Mapping[str, Tensor]) -> Tensor:
    """Join the squared distances per neuron of all layers to one distance: the root of their mean."""
    return torch.stack(list(by_layer.values())).mean(0).sqrt()


def split_means(means: Tensor, neurons: Mapping[str, int]) -> dict[str, Tensor]:
    """Split concatenated spatial means of the layers for outlier scores, ``(images, n)``, by layer."""
    layers = layers_for_outliers(neurons)
    widths = [neurons[layer] for layer in layers]
    return dict(zip(layers, torch.split(means, widths, 1), strict=True))


def gaussians_of_means(means: Mapping[str, Tensor]) -> dict[str, LayerGaussian]:
    """Build the Gaussian of each layer from spatial means of images, ``{layer: (images, n)}``."""
    gaussians = {}
    for layer, of_layer in means.items():
        values = of_layer.double()
        # For a single neuron, torch returns a scalar.
        cov = values.T.cov().view(values.shape[1], -1)
        gaussians[layer] = LayerGaussian.of(values.mean(0), cov, len(values))
    return gaussians


def outlier_scores(means: Mapping[str, Tensor], gaussians: Mapping[str, LayerGaussian]) -> Tensor:
    """Compute the outlier distance of images from their spatial means, ``{layer: (B, n)}``: float64, ``(B,)``."""
    distances = {layer: gaussian.distances(means[layer].double()) for layer, gaussian in gaussians.items()}
    return outlier_distance(distances)


def left_out_by_layer(means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute the squared distance of each of 3 images or more to all others, by layer."""
    return {layer: left_out_distances(of_layer) for layer, of_layer in means.items()}


def left_out_scores(means: Mapping[str, Tensor]) -> Tensor:
    """Compute the outlier distance of each of 3 images or more to all others, from ``{layer: (images, n)}``."""
    return outlier_distance(left_out_by_layer(means))


def layers_for_outliers(neurons: Mapping[str, int]) -> list[str]:
    """Return the layers of up to 512 neurons, or all if there are none."""
    small_layers = [layer for layer, count in neurons.items() if count <= LARGEST]
    return small_layers or list(neurons)


def _shrunk(eigenvalues: Tensor, intensity: Tensor, spread: Tensor, floor: Tensor) -> Tensor:
    """Return eigenvalues moved towards their mean, ``spread``, by a part, ``intensity``, plus the floor."""
    return eigenvalues + intensity * (spread - eigenvalues) + floor


def _floor(mean: Tensor) -> Tensor:
    """Return the variance that is added to all directions."""
    return mean.square().mean(-1) * _FLOOR + torch.finfo(torch.float32).tiny


class OutlierTest(NamedTuple):
    """Result of the test of whether some images are unlike the reference's own, and about how many are.

    Attributes:
        p_value: P-value of the test whether any image is an outlier; never 0.
        share: Estimate of the share of the images that are.
        low: Lower end of the range of that share, two standard errors.
        high: Upper end.
        fewest: Smallest number of images for which p is at most 0.05 if they are much farther away than all others;
            None if there is no such number.

    """

    p_value: float
    share: float
    low: float
    high: float
    fewest: int | None


def outlier_test(scores: Tensor, typical: Tensor) -> OutlierTest:
    r"""Test whether some images have higher outlier scores than a reference's own images, and estimate their share.

    The statistic is the sum, over the images, of the squares of :math:`z = (x - m) / (1.4826\, d)`, where x is the
    logarithm of a score, m the median of all images of both sides, d the median absolute deviation from it, and z below
    0 counts as 0: a few large scores weigh much, however many others there are. P is the share of 1,000 relabelings of
    the images, the observed labels included, with a sum at least as large.

    The share (Storey, 2002) is the excess of images above the score that a tenth of the reference's own exceed. It
    leaves out images that are not that far off.

    Args:
        scores: Scores of the images, shape ``(B,)``, 0 or more.
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.

    Returns:
        The p-value, and the share with its range, which two standard errors of both sides' counts give.

    Raises:
        ValueError: If a side is empty, has another shape, or a score is negative or not finite.

    Example:
        >>> typical = 1 + torch.rand(100, generator=torch.Generator().manual_seed(0)) / 4
        >>> scores = torch.cat([typical[:55], torch.full((5,), 3.0)])
        >>> outlier_test(scores, typical).p_value, outlier_test(scores[:55], typical).p_value > 0.05
        (0.004, True)

    """
    for name, side in (("scores", scores), ("typical", typical)):
        if side.ndim != 1 or not len(side):
            raise ValueError(f"Argument `{name}` expected to have shape (images,), but got {tuple(side.shape)}")
        if not ((side >= 0) & side.isfinite()).all():
            raise ValueError(f"Argument `{name}` expected to be 0 or more, but got {side.min()} to {side.max()}")
    scores = scores.detach().cpu().double()
    typical = typical.detach().cpu().double()
    share, low, high = _share(scores, typical)
    return OutlierTest(_p_value(scores, typical), share, low, high, fewest_images(len(scores), len(typical)))


def score_limit(typical: Tensor, share: float = 0.05) -> float:
    """Return the score that at most this share of images of the reference's own kind exceed.

    Each of n scores and the score of a new image is the largest one with the same probability. So the limit is the k-th
    smallest of the n scores, with k = (n + 1) * (1 - share), rounded up.

    Args:
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.
        share: A share from ``1 / (n + 1)``, below 1.

    Raises:
        ValueError: If there are no scores, one is not finite, or the share is none, or too small for so few images.

    Example:
        >>> score_limit(torch.arange(1.0, 100.0), share=0.1)
        90.0

    """
    check_typical(typical)
    if not 0 < share < 1:
        raise ValueError(f"Argument `share` expected to be above 0 and below 1, but got {share}")
    place = ceil((len(typical) + 1) * (1 - share) - _TIE)
    if place > len(typical):
        raise ValueError(
            f"Argument `share` expected to be at least {1 / (len(typical) + 1):.2g} with {len(typical)} images in the"
            f" reference, but got {share:g}; give more images as the reference"
        )
    return float(typical.sort().values[place - 1])


def check_typical(typical: Tensor) -> None:
    """Raise ValueError unless these are scores: one axis, and finite."""
    is_row = isinstance(typical, Tensor) and typical.ndim == 1 and len(typical) > 0
    if not is_row or not typical.isfinite().all():
        got = f"shape {tuple(typical.shape)}" if isinstance(typical, Tensor) else repr(typical)
        raise ValueError(f"Argument `typical` expected to be finite scores of shape (images,), but got {got}")


def _p_value(scores: Tensor, typical: Tensor) -> float:
    """Return the p-value of :func:`outlier_test`."""
    tiny = torch.finfo(torch.float64).tiny
    logs = torch.cat([scores, typical]).clamp(min=tiny).log()
    offsets = logs - logs.quantile(0.5)
    # Equal scores have no deviation.
    deviation = offsets.abs().quantile(0.5).clamp(min=_TIE)
    squares = (offsets / (_NORMAL * deviation)).clamp(min=0).square()
    observed = squares[: len(scores)].sum()
    # Sorted values give the same p-value for any order of the images.
    ordered = squares.sort().values
    generator = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(NUM_RELABELINGS - 1):
        order = torch.randperm(len(logs), generator=generator)
        sums.append(ordered[order[: len(scores)]].sum())
    num_as_large = int((torch.stack(sums) >= observed * (1 - _TIE)).sum())
    return (1 + num_as_large) / NUM_RELABELINGS


def _share(scores: Tensor, typical: Tensor) -> tuple[float, float, float]:
    """Return Storey's estimate of the share, and its range."""
    num_beyond = int((scores > share_limit(typical)).sum())
    return share_beyond(num_beyond, len(scores), len(typical))


def share_limit(typical: Tensor) -> float:
    """Return the score beyond which images are counted to estimate the share of outliers.

    Args:
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.

    Example:
        >>> share_limit(torch.arange(11.0))
        9.0

    """
    return float(typical.double().quantile(1 - _TAIL))


def share_beyond(num_beyond: int, num_images: int, num_typical: int) -> tuple[float, float, float]:
    """Estimate the share of outliers (Storey, 2002) from how many images are beyond :func:`share_limit`.

    Args:
        num_beyond: Number of images beyond the limit.
        num_images: Number of all images.
        num_typical: Number of the reference's own images.

    Returns:
        The share, and the lower and upper end of its interval: two standard errors, from the counts of both sets.

    Example:
        >>> share, low, high = share_beyond(28, 100, 1000)
        >>> f"{share:.2f}, from {low:.2f} to {high:.2f}"
        '0.20, from 0.10 to 0.30'

    """
    beyond = num_beyond / num_images
    share = min(1.0, max(0.0, (beyond - _TAIL) / (1 - _TAIL)))
    # The limit is an estimate, too. Its error changes how many of the images that are not outliers are above it.
    variance = beyond * (1 - beyond) / num_images + (1 - share) ** 2 * _TAIL * (1 - _TAIL) / num_typical
    error = 2 * variance**0.5 / (1 - _TAIL)
    return share, max(0.0, share - error), min(1.0, share + error)


def fewest_images(num_images: int, num_typical: int, level: float = SIGNIFICANT) -> int | None:
    """Return how many of the highest scores, if all are of the images, are unlikely by chance; None if no number is.

    Example:
        >>> fewest_images(100, 100), fewest_images(100, 400)
        (5, 2)

    """
    p = 1.0
    for others in range(num_images):
        p *= (num_images - others) / (num_images + num_typical - others)
        if p <= level:
            return others + 1
    return None
