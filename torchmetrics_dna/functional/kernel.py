"""Kernel distance (KID) between the features of two image sets."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from torchmetrics_dna.functional.features import check_features

SUBSETS, SUBSET_SIZE = 100, 1000  # defaults of torchmetrics


def kernel_distance(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Compute KID between two sets of features by torchmetrics, with a fixed seed.

    Args:
        a: Features of A, shape ``(images, n)``.
        b: Features of B, shape ``(images, n)``; the number of images may differ.

    Returns:
        Mean and standard deviation over 100 random subsets of 1000 images, or of the size of the smaller set. For sets
        of one size up to that, the only subset is all images, with deviation 0.

    Raises:
        ValueError: If shapes do not match, or a value is not finite.
        RuntimeError: If a set has fewer than two images.

    Example:
        >>> features = torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
        >>> mean, deviation = kernel_distance(features, features + 1)
        >>> mean > 1, deviation
        (True, 0.0)

    """
    size = min(SUBSET_SIZE, len(a), len(b))
    if size < 2:
        raise RuntimeError(
            f"More than one image is required for both sides to compute kid, but got {len(a)} and {len(b)}"
        )
    check_features(a, b, "kid")
    from torchmetrics.image.kid import KernelInceptionDistance  # a slow import

    subsets = 1 if size == len(a) == len(b) else SUBSETS
    # features are gathered already, so there is nothing to sync
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all", UserWarning)
        torch.default_generator.manual_seed(0)
        metric = KernelInceptionDistance(nn.Identity(), subsets, size, sync_on_compute=False)
        metric.update(a.double(), real=True)
        metric.update(b.double(), real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)
