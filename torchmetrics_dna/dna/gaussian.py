"""GaussianDNA: mean and variance of each neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import Self, override

from torchmetrics_dna.dna.base import DNA, check_comparable, check_enough
from torchmetrics_dna.dna.codec import Encoded, Joined, split_arrays
from torchmetrics_dna.functional.frechet import dna_frechet
from torchmetrics_dna.neurons.ranges import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchmetrics_dna.neurons.index import Neurons

Statistics = Literal["means", "activations"]


@dataclass(frozen=True, eq=False, repr=False)
class GaussianDNA(DNA):
    """Mean and variance, over images, of each neuron's spatial mean (section 3.1 of the paper).

    Args:
        mean: Means, shape ``(N,)``; kept as float64.
        var: Unbiased variance, shape ``(N,)``; kept as float64; 0 for one image.
        neurons: The N neurons, in order.
        num_images: Number of images.
        extractor: Name of the extractor.
        statistics: ``"means"`` for moments of spatial means over images, ``"activations"`` for all activations.
        weights_digest, preparation, notes, folds: As for :class:`~torchmetrics_dna.dna.base.DNA`.

    Raises:
        ValueError: If shapes do not fit, a number is not finite, or a variance is negative.

    Example:
        >>> from torchmetrics_dna.neurons import Neurons
        >>> one = GaussianDNA(torch.tensor([1.0]), torch.tensor([0.0]), Neurons({"head": 1}), 1, "tiny")
        >>> other = GaussianDNA(torch.tensor([3.0]), torch.tensor([0.0]), Neurons({"head": 1}), 1, "tiny")
        >>> both = one + other
        >>> both.mean.item(), both.var.item()
        (2.0, 2.0)

    """

    kind: ClassVar[str] = "gaussian"

    mean: Tensor
    var: Tensor
    neurons: Neurons
    num_images: int
    extractor: str
    statistics: Statistics = "means"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("mean", "var"):
            value = getattr(self, field).double()
            if value.shape != (self.neurons.total,):
                raise ValueError(
                    f"Argument `{field}` expected to have shape ({self.neurons.total},), but got {tuple(value.shape)}"
                )
            check_moments(value, field)
            object.__setattr__(self, field, value)
        if not (self.var >= 0).all():
            raise ValueError(f"Argument `var` expected to be 0 or more, but got {float(self.var.min())}")
        if self.statistics not in get_args(Statistics):
            raise ValueError(
                f"Argument `statistics` expected to be one of {get_args(Statistics)}, but got {self.statistics!r}"
            )

    @classmethod
    def from_moments(
        cls, moments: Tensor, neurons: Neurons, num_images: int, extractor: str, **common: Any
    ) -> GaussianDNA:
        """Build from sums and sums of squares of spatial means over images, shape ``(2, N)``."""
        mean = moments[0] / max(1, num_images)
        squares = moments[1] - num_images * mean.square()
        # rounding can take the variance of a constant neuron below 0
        var = squares.clamp(min=0) / max(1, num_images - 1)
        return cls(mean, var, neurons, num_images, extractor, **common)

    @override
    def _take(self, positions: Tensor, neurons: Neurons) -> GaussianDNA:
        index = positions.to(self.mean.device)
        return replace(self, mean=self.mean[index], var=self.var[index], neurons=neurons)

    @override
    def distances(self, other: GaussianDNA) -> Tensor:
        """Compute the Fréchet distance of each neuron, in squared activations, shape ``(N,)``, float64.

        Raises:
            ValueError: If extractor or neurons differ.
            RuntimeError: If either has fewer than two images, and thus no variance.

        """
        check_comparable(self, other)
        check_enough(self, other, "dna-fd")
        device = self.mean.device
        return dna_frechet(self.mean, self.var, other.mean.to(device), other.var.to(device), reduction="none")

    @override
    def _moved(self, device: torch.device | str) -> GaussianDNA:
        return replace(self, mean=self.mean.to(device), var=self.var.to(device))

    @override
    def _absorb(self, other: GaussianDNA) -> dict[str, Any]:
        if self.statistics == "activations":
            raise ValueError("Gaussians of activations can't be merged; merge the histograms that they are from")
        theirs = other.to(self.mean.device)
        mean, var = merge_moments(
            (self.mean, self.var, self.num_images), (theirs.mean, theirs.var, other.num_images), torch.square
        )
        return {"mean": mean, "var": var, "num_images": self.num_images + other.num_images}

    @override
    def _identity(self, **more: Any) -> dict[str, Any]:
        return super()._identity(statistics=self.statistics, **more)

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        described["statistics"] = self.statistics
        for field, values in (("mean", self.mean), ("var", self.var)):
            arrays |= split_arrays(field, self.neurons, values)
        return described, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
        fields |= {field: arrays.flat(field) for field in ("mean", "var")}
        return super()._decode(header, arrays, statistics=header["dna"]["statistics"], **fields)


def check_moments(values: Tensor, field: str) -> None:
    """Raise ValueError if a value is not finite, or its square would overflow."""
    if values.is_meta:  # has no values
        return
    if not values.isfinite().all():
        raise ValueError(f"Argument `{field}` expected to be finite, but got NaN or infinity")
    if values.numel() and (largest := float(values.abs().max())) > LARGEST:
        raise ValueError(f"Argument `{field}` expected to be at most {LARGEST}, but got {largest}")


def merge_moments(
    a: tuple[Tensor, Tensor, int], b: tuple[Tensor, Tensor, int], square: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Merge the means, unbiased (co)variances and numbers of images of two sets (Chan et al., 1979).

    ``square`` is applied to the shift of the means: elementwise for variances, the outer product for covariances.
    """
    (mean_a, var_a, count_a), (mean_b, var_b, count_b) = a, b
    total = count_a + count_b
    shift = mean_b - mean_a
    scatter = var_a * (count_a - 1) + var_b * (count_b - 1) + square(shift) * (count_a * count_b / max(1, total))
    return mean_a + shift * (count_b / max(1, total)), scatter / max(1, total - 1)
