"""Outlier distances of single images and of positions in them (Mahalanobis distances), and a test for few outliers."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from torchmetrics_dna.functional.permutation import NUM_RELABELINGS, SIGNIFICANT

# Largest number of neurons of a layer for outlier distances. Larger layers are only used if all layers are larger.
LARGEST = 512
# Share of the reference's own images above the limit beyond which images are counted.
_TAIL = 0.1
# Standard deviation of a normal distribution divided by its median absolute deviation.
_NORMAL = 1.4826
# Relative difference below which two sums count as equal.
_TIE = 1e-9
# Variance that is added to all directions, relative to the mean squared activation. Without it, rounding and neurons
# that never vary would get large weights.
_FLOOR = 1e-8


class LayerGaussian(NamedTuple):
    """Gaussian of a layer's spatial means, float64. Its covariance is shrunk so that it can be inverted.

    Attributes:
        mean: Mean of each neuron, shape ``(n,)``.
        precision: Inverse of the shrunk covariance, shape ``(n, n)``.

    """

    mean: Tensor
    precision: Tensor

    @classmethod
    def of(cls, mean: Tensor, cov: Tensor, num_images: int) -> LayerGaussian:
        """Return the Gaussian of images with this mean and covariance, which is shrunk by :func:`shrinkage`."""
        mean = mean.double()
        cov = cov.double()
        spread = cov.trace() / len(cov)
        intensity = shrinkage(cov.trace(), cov.square().sum(), len(cov), num_images)
        eigenvalues, vectors = torch.linalg.eigh(cov)
        shrunk = _shrunk(eigenvalues.clamp(min=0), intensity, spread, _floor(mean))
        return cls(mean, (vectors / shrunk) @ vectors.T)

    def to(self, device: torch.device) -> LayerGaussian:
        """Return the Gaussian on another device, or itself if it is there."""
        if self.mean.device == device:
            return self
        return LayerGaussian(self.mean.to(device), self.precision.to(device))

    def distances(self, means: Tensor) -> Tensor:
        """Compute the squared Mahalanobis distance of each image, divided by the number of neurons.

        Args:
            means: Spatial means of images, ``(B, n)``.

        Returns:
            Distances, shape ``(B,)``.

        """
        distances = torch.empty(len(means), dtype=torch.float64, device=means.device)
        # Compute one image at a time, so that rounding does not depend on the batch.
        for i, offset in enumerate(means - self.mean):
            distances[i] = offset @ (self.precision @ offset)
        return distances / len(self.mean)

    def map(self, activations: Tensor) -> Tensor:
        """Split the distance of each image into the contributions of its positions.

        The mean of the contributions is the distance of :meth:`distances`. The contribution of a position is large if
        its activations differ from the reference's mean in the same direction as the whole image. It is negative if
        they differ in the opposite direction.

        Args:
            activations: Activations of images, ``(B, n, *positions)``.

        Returns:
            Contributions, float64, ``(B, *positions)``.

        """
        values = activations.double()
        flat = values.flatten(2) if values.ndim > 2 else values[..., None]
        offsets = flat - self.mean[:, None]
        directions = offsets.mean(2) @ self.precision / len(self.mean)
        contributions = (directions[:, None] @ offsets)[:, 0]
        return contributions.view(len(values), *values.shape[2:])

    def local_map(self, neighbourhoods: Tensor) -> Tensor:
        """Compute the Mahalanobis distance of each position, divided by the root of the number of neurons.

        Args:
            neighbourhoods: Activations of images around each position, ``(B, n, h, w)``, see :func:`neighbourhoods`.

        Returns:
            Distances, shape ``(B, h, w)``.

        """
        offsets = neighbourhoods.flatten(2) - self.mean[:, None]
        squares = torch.stack([(image * (self.precision @ image)).sum(0) for image in offsets])
        distances = (squares.clamp(min=0) / len(self.mean)).sqrt()
        return distances.view(len(offsets), *neighbourhoods.shape[2:])


def neighbourhoods(activations: Tensor) -> Tensor:
    """Average activations over the 3 x 3 positions around each position, or fewer at the edges.

    Args:
        activations: Activations of images, ``(B, n, h, w)``.

    Returns:
        Averages, float64, of the same shape.

    """
    return avg_pool2d(activations.double(), 3, 1, 1, count_include_pad=False)


def shrinkage(trace: Tensor, trace_of_square: Tensor, neurons: int, num_images: int) -> Tensor:
    """Compute the intensity of oracle approximating shrinkage (Chen et al., 2010).

    A covariance is shrunk towards a multiple of the identity. The intensity is the weight of the identity.

    Args:
        trace: Trace of the covariance.
        trace_of_square: Trace of its square.
        neurons: Number of neurons.
        num_images: Number of images of which the covariance was computed.

    """
    mean_square = trace_of_square / neurons**2
    square_of_mean = (trace / neurons) ** 2
    difference = (num_images + 1) * (mean_square - square_of_mean / neurons)
    weight = (mean_square + square_of_mean) / difference
    return torch.where(difference > 0, weight, 1.0).clamp(max=1)


def left_out_distances(means: Tensor, moments: tuple[Tensor, Tensor, int] | None = None) -> Tensor:
    """Compute the squared distance of each image to the Gaussian of all other images, divided by the number of neurons.

    One eigendecomposition is enough for exact results, because leaving an image out changes the covariance by a term of
    rank one.

    Args:
        means: Spatial means of images of a set, ``(images, n)``.
        moments: Mean, unbiased covariance and number of images of the set, which has at least 3 images. By default,
            ``means`` has all images of the set.

    Returns:
        Distances, float64, shape ``(images,)``.

    """
    means = means.double()
    if moments is None:
        moments = (means.mean(0), _covariance(means), len(means))
    centre, cov, count = moments
    num_neurons = means.shape[1]
    offsets = means - centre
    eigenvalues, vectors = torch.linalg.eigh(cov)
    eigenvalues = eigenvalues.clamp(min=0)
    # Squared coordinates in the basis of the eigenvectors, shape (images, n).
    squared_coordinates = (offsets @ vectors).square()
    # The covariance without an image is scale * cov - weight * offset @ offset.T.
    scale = (count - 1) / (count - 2)
    weight = count / ((count - 1) * (count - 2))
    traces, traces_of_squares = _left_out_traces(cov, eigenvalues, squared_coordinates, scale, weight)
    intensities = shrinkage(traces, traces_of_squares, num_neurons, count - 1)
    means_of_others = centre - offsets / (count - 1)
    floors = _floor(means_of_others)
    mean_variances = (traces / num_neurons).clamp(min=0)
    # Compute distances by the shrunk covariance without the term of rank one.
    variances = _shrunk(scale * eigenvalues, intensities[:, None], mean_variances[:, None], floors[:, None])
    distances = (squared_coordinates / variances).sum(1)
    # The formula of Sherman and Morrison adds the effect of this term. Rounding may make the denominator negative.
    denominators = (1 - (1 - intensities) * weight * distances).clamp(min=torch.finfo(torch.float64).eps)
    # The offset of an image from the mean of the others is larger by this factor than its offset from the common mean.
    factor = count / (count - 1)
    left_out: Tensor = distances / denominators * factor**2 / num_neurons
    return left_out


def _covariance(means: Tensor) -> Tensor:
    """Return the unbiased covariance of spatial means ``(images, n)``, ``(n, n)``."""
    # For a single neuron, torch returns a scalar instead of a matrix.
    return means.T.cov().view(means.shape[1], -1)


def _left_out_traces(
    cov: Tensor, eigenvalues: Tensor, squared_coordinates: Tensor, scale: float, weight: float
) -> tuple[Tensor, Tensor]:
    """Compute the traces of the covariances ``scale * cov - weight * offset @ offset.T`` and of their squares.

    Args:
        cov: Covariance of all images.
        eigenvalues: Eigenvalues of this covariance.
        squared_coordinates: Squared coordinates of the offset of each image, in the basis of the eigenvectors.
        scale: Factor of the covariance.
        weight: Factor of the outer product of the offset.

    Returns:
        Trace of each covariance, and trace of its square, ``(images,)`` each.

    """
    squared_norms = squared_coordinates.sum(1)
    traces = scale * cov.trace() - weight * squared_norms
    mixed_terms = 2 * scale * weight * (squared_coordinates @ eigenvalues)
    traces_of_squares = scale**2 * cov.square().sum() - mixed_terms + (weight * squared_norms) ** 2
    return traces, traces_of_squares


def outlier_distance(by_layer: Mapping[str, Tensor]) -> Tensor:
    """Combine the squared distances of all layers into one distance: the root of their mean."""
    return torch.stack(list(by_layer.values())).mean(0).sqrt()


def split_means(means: Tensor, neurons: Mapping[str, int]) -> dict[str, Tensor]:
    """Split spatial means of images by layer.

    Args:
        means: Concatenated spatial means of the :func:`layers_for_outliers`, ``(images, n)``.
        neurons: Number of neurons of each layer of the extractor.

    Returns:
        Spatial means of each layer.

    """
    layers = layers_for_outliers(neurons)
    widths = [neurons[layer] for layer in layers]
    return dict(zip(layers, torch.split(means, widths, 1), strict=True))


def gaussians_of_means(means: Mapping[str, Tensor]) -> dict[str, LayerGaussian]:
    """Compute the Gaussian of each layer from the spatial means of images, ``{layer: (images, n)}``."""
    gaussians = {}
    for layer, layer_means in means.items():
        values = layer_means.double()
        gaussians[layer] = LayerGaussian.of(values.mean(0), _covariance(values), len(values))
    return gaussians


def outlier_scores(means: Mapping[str, Tensor], gaussians: Mapping[str, LayerGaussian]) -> Tensor:
    """Compute the outlier distance of images from their spatial means, ``{layer: (B, n)}``; float64, ``(B,)``."""
    distances = {layer: gaussian.distances(means[layer].double()) for layer, gaussian in gaussians.items()}
    return outlier_distance(distances)


def left_out_by_layer(means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute the squared distance of each image to all other images, by layer; for at least 3 images."""
    return {layer: left_out_distances(layer_means) for layer, layer_means in means.items()}


def left_out_scores(means: Mapping[str, Tensor]) -> Tensor:
    """Compute the outlier distance of each image to all other images, for at least 3 images.

    Args:
        means: Spatial means of each layer, ``{layer: (images, n)}``.

    """
    return outlier_distance(left_out_by_layer(means))


def layers_for_outliers(neurons: Mapping[str, int]) -> list[str]:
    """Return the layers with up to 512 neurons; if there are none, all layers."""
    small_layers = [layer for layer, count in neurons.items() if count <= LARGEST]
    return small_layers or list(neurons)


def _shrunk(eigenvalues: Tensor, intensity: Tensor, spread: Tensor, floor: Tensor) -> Tensor:
    """Return the eigenvalues of a shrunk covariance.

    Args:
        eigenvalues: Eigenvalues of the covariance.
        intensity: Intensity of the shrinkage, from 0 to 1.
        spread: Mean of the eigenvalues.
        floor: Variance to add to all directions.

    """
    return eigenvalues + intensity * (spread - eigenvalues) + floor


def _floor(mean: Tensor) -> Tensor:
    """Return the variance that is added to all directions, for neurons with these means."""
    return mean.square().mean(-1) * _FLOOR + torch.finfo(torch.float32).tiny


class OutlierTest(NamedTuple):
    """Result of the test for a small number of outliers, relative to the images of a reference.

    Attributes:
        p_value: P-value of the null hypothesis that no image is an outlier; never 0.
        share: Estimated share of outliers among the images.
        low: Lower end of an interval for the share: the estimate less two standard errors.
        high: Upper end of the interval: the estimate plus two standard errors.
        fewest: Smallest number of outliers that can be significant (p <= 0.05), or None if no number can. Their scores
            are assumed to be much higher than all others.

    """

    p_value: float
    share: float
    low: float
    high: float
    fewest: int | None


def outlier_test(scores: Tensor, typical: Tensor) -> OutlierTest:
    r"""Test if some images have higher outlier scores than the images of a reference, and estimate their share.

    The statistic is the sum of :math:`\max(z, 0)^2` over the images, with :math:`z = (x - m) / (1.4826\, d)`. Here, x
    is the logarithm of a score, m is the median of x over the images of both sets, and d is the median absolute
    deviation from m. A few large scores thus have a large weight among many others. The p-value is the share of 1,000
    permutations of the images with a sum at least as large as observed. One of them is the observed order.

    The share of outliers (Storey, 2002) is estimated from the number of images above a limit. A tenth of the
    reference's own images are above this limit. Outliers below the limit are not counted.

    Args:
        scores: Scores of the images, shape ``(B,)``, 0 or more.
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.

    Returns:
        The p-value, and the share with an interval of two standard errors.

    Raises:
        ValueError: If a set is empty or has another shape, or a score is negative or not finite.

    Example:
        >>> typical = 1 + torch.rand(100, generator=torch.Generator().manual_seed(0)) / 4
        >>> scores = torch.cat([typical[:55], torch.full((5,), 3.0)])
        >>> outlier_test(scores, typical).p_value, outlier_test(scores[:55], typical).p_value > 0.05
        (0.004, True)

    """
    _check_scores("scores", scores)
    _check_scores("typical", typical)
    scores = scores.detach().cpu().double()
    typical = typical.detach().cpu().double()
    share, low, high = _share(scores, typical)
    return OutlierTest(
        p_value=_p_value(scores, typical),
        share=share,
        low=low,
        high=high,
        fewest=fewest_images(len(scores), len(typical)),
    )


def _check_scores(name: str, scores: Tensor) -> None:
    """Raise ValueError unless an argument holds the scores of at least one image, finite and 0 or more."""
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"Argument `{name}` expected to have shape (images,), but got {tuple(scores.shape)}")
    if not ((scores >= 0) & scores.isfinite()).all():
        raise ValueError(f"Argument `{name}` expected to be 0 or more, but got {scores.min()} to {scores.max()}")


def score_limit(typical: Tensor, share: float = 0.05) -> float:
    """Return the score that at most this share of new images from the reference's distribution exceed.

    A new image has each rank among n + 1 scores with the same probability. So the limit is the k-th smallest of the n
    scores, with k = (n + 1) * (1 - share), rounded up.

    Args:
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.
        share: Share of new images, at least ``1 / (n + 1)`` and below 1.

    Raises:
        ValueError: If there are no scores, a score is not finite, the share is not between 0 and 1, or the share is too
            small for this number of images.

    Example:
        >>> score_limit(torch.arange(1.0, 100.0), share=0.1)
        90.0

    """
    check_typical(typical)
    if not 0 < share < 1:
        raise ValueError(f"Argument `share` expected to be above 0 and below 1, but got {share}")
    rank = ceil((len(typical) + 1) * (1 - share) - _TIE)
    if rank > len(typical):
        raise ValueError(
            f"Argument `share` expected to be at least {1 / (len(typical) + 1):.2g} with {len(typical)} images in the"
            f" reference, but got {share:g}; pass more images as the reference"
        )
    return float(typical.sort().values[rank - 1])


def check_typical(typical: Tensor) -> None:
    """Raise ValueError unless the argument ``typical`` holds finite scores, shape ``(images,)``."""
    is_row = isinstance(typical, Tensor) and typical.ndim == 1 and len(typical) > 0
    if not is_row or not typical.isfinite().all():
        got = f"shape {tuple(typical.shape)}" if isinstance(typical, Tensor) else repr(typical)
        raise ValueError(f"Argument `typical` expected to be finite scores of shape (images,), but got {got}")


def _p_value(scores: Tensor, typical: Tensor) -> float:
    """Return the p-value of :func:`outlier_test`."""
    tiny = torch.finfo(torch.float64).tiny
    logs = torch.cat([scores, typical]).clamp(min=tiny).log()
    offsets = logs - logs.quantile(0.5)
    # If most scores are equal, their deviation is 0.
    deviation = offsets.abs().quantile(0.5).clamp(min=_TIE)
    squares = (offsets / (_NORMAL * deviation)).clamp(min=0).square()
    observed = squares[: len(scores)].sum()
    # Sort the values, so that the p-value does not depend on the order of the images.
    ordered = squares.sort().values
    generator = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(NUM_RELABELINGS - 1):
        order = torch.randperm(len(logs), generator=generator)
        sums.append(ordered[order[: len(scores)]].sum())
    num_as_large = int((torch.stack(sums) >= observed * (1 - _TIE)).sum())
    return (1 + num_as_large) / NUM_RELABELINGS


def _share(scores: Tensor, typical: Tensor) -> tuple[float, float, float]:
    """Return the estimated share of outliers, and the lower and upper end of its interval."""
    num_beyond = int((scores > share_limit(typical)).sum())
    return share_beyond(num_beyond, len(scores), len(typical))


def share_limit(typical: Tensor) -> float:
    """Return the score above which images are counted to estimate the share of outliers.

    Args:
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.

    Example:
        >>> share_limit(torch.arange(11.0))
        9.0

    """
    return float(typical.double().quantile(1 - _TAIL))


def share_beyond(num_beyond: int, num_images: int, num_typical: int) -> tuple[float, float, float]:
    """Estimate the share of outliers (Storey, 2002) from the number of images above :func:`share_limit`.

    Args:
        num_beyond: Number of images above the limit.
        num_images: Number of all images.
        num_typical: Number of the reference's own images.

    Returns:
        The share, and the lower and upper end of its interval of two standard errors. The standard error includes the
        sampling noise of both sets.

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
    """Return the smallest number of outliers that can be significant.

    The outliers are assumed to have the highest scores of both sets. Without outliers, the k highest scores all belong
    to the images with a probability that falls with k. The result is the smallest k for which it is at most ``level``.

    Args:
        num_images: Number of images.
        num_typical: Number of the reference's own images.
        level: Level of significance.

    Returns:
        The number of outliers, or None if even ``num_images`` are not enough.

    Example:
        >>> fewest_images(100, 100), fewest_images(100, 400)
        (5, 2)

    """
    p = 1.0
    for k in range(1, num_images + 1):
        # Probability that the k-th highest score belongs to the images, if all higher scores do.
        p *= (num_images - k + 1) / (num_images + num_typical - k + 1)
        if p <= level:
            return k
    return None
