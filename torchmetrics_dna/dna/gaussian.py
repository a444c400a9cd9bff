"""GaussianDNA and LayerGaussianDNA: mean and variance of each neuron, or mean and covariance of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.moments import mean_and_variance
from torchmetrics_dna.dna.base import DNA
from torchmetrics_dna.dna.codec import ByLayer, Encoded, array_name, split_arrays
from torchmetrics_dna.dna.image_sample import ImageSample
from torchmetrics_dna.functional.frechet import dna_frechet
from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance
from torchmetrics_dna.neurons.ranges import LARGEST

if TYPE_CHECKING:
    from torchmetrics_dna.neurons.index import Neurons

Statistics = Literal["means", "activations"]


@dataclass(frozen=True, eq=False, repr=False)
class GaussianDNA(DNA):
    """Mean and variance, over images, of each neuron's spatial mean (section 3.1 of the paper).

    Args:
        mean: Means, shape ``(N,)``; kept as float64.
        var: Unbiased variances, shape ``(N,)``; kept as float64; 0 for a single image.
        neurons: The N neurons, in order.
        num_images: Number of images.
        extractor: Name of the extractor.
        statistics: ``"means"`` if the mean and the variance are those of spatial means over images. ``"activations"``
            if they are those of all activations.
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
    distance_name: ClassVar[str] = "dna-fd"
    least_images: ClassVar[int] = 2

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

    @classmethod
    def from_moments(
        cls, moments: Tensor, neurons: Neurons, num_images: int, extractor: str, **common: Any
    ) -> GaussianDNA:
        """Build a DNA from the moments of spatial means over images, see ``image_moments`` in ``binning.moments``.

        Args:
            moments: Sums over images of the four moments, ``(4, N)``. Or sums and sums of squares of the spatial means,
                ``(2, N)``, which are less exact.
            neurons: The N neurons, in order.
            num_images: Number of images.
            extractor: Name of the extractor.
            common: Further arguments of the DNA.

        """
        return cls(*mean_and_variance(moments, num_images), neurons, num_images, extractor, **common)

    @override
    def _take(self, positions: Tensor, neurons: Neurons) -> GaussianDNA:
        index = positions.to(self.mean.device)
        return replace(self, mean=self.mean[index], var=self.var[index], neurons=neurons)

    @override
    def _distances(self, other: GaussianDNA) -> Tensor:
        device = self.mean.device
        return dna_frechet(self.mean, self.var, other.mean.to(device), other.var.to(device), reduction="none")

    @override
    def _absorb(self, other: GaussianDNA) -> dict[str, Any]:
        if self.statistics == "activations":
            raise ValueError("Gaussians of activations can't be merged; merge the histograms that they are from")
        moved = other.to(self.mean.device)
        counts = (self.num_images, other.num_images)
        mean, shift = _merged_mean(self.mean, moved.mean, *counts)
        var = _merged_spread(self.var, moved.var, shift.square(), *counts)
        return {"mean": mean, "var": var, "num_images": sum(counts)}

    @property
    @override
    def _own_settings(self) -> dict[str, Any]:
        return {"statistics": self.statistics}

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        described["statistics"] = self.statistics
        arrays |= split_arrays("mean", self.neurons, self.mean)
        arrays |= split_arrays("var", self.neurons, self.var)
        return described, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        mean = arrays.flat("mean")
        var = arrays.flat("var")
        return super()._decode(header, arrays, mean=mean, var=var, statistics=header["dna"]["statistics"], **fields)


@dataclass(frozen=True, eq=False, repr=False)
class LayerGaussianDNA(DNA):
    """Mean and covariance, over images, of the spatial means of each layer's neurons. These are the statistics of fd.

    Args:
        mean: Means, shape ``(N,)``; kept as float64.
        cov: Unbiased covariance of each layer, ``{layer: (n, n)}``; kept as float64; 0 for a single image.
        neurons: The N neurons, in order.
        num_images: Number of images; 0 if unknown.
        extractor: Name of the extractor.
        sample: Values of single images of the set, for the outlier scores of :class:`DNARealism`; None without values.
        weights_digest, preparation, notes, folds: As for :class:`~torchmetrics_dna.dna.base.DNA`.

    Raises:
        ValueError: If shapes do not fit, a number is not finite, or a covariance is not symmetric.

    Example:
        >>> from torchmetrics_dna.neurons import Neurons
        >>> neurons = Neurons({"head": 2})
        >>> one = LayerGaussianDNA(torch.tensor([1.0, 0.0]), {"head": torch.zeros(2, 2)}, neurons, 1, "tiny")
        >>> other = LayerGaussianDNA(torch.tensor([3.0, 4.0]), {"head": torch.zeros(2, 2)}, neurons, 1, "tiny")
        >>> (one + other).cov["head"]
        tensor([[2., 4.],
                [4., 8.]], dtype=torch.float64)

    """

    kind: ClassVar[str] = "layer-gaussian"
    distance_name: ClassVar[str] = "fd"
    least_images: ClassVar[int] = 2

    mean: Tensor
    cov: Mapping[str, Tensor]
    neurons: Neurons
    num_images: int
    extractor: str
    sample: ImageSample | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shapes()
        mean = self.mean.double()
        check_moments(mean, "mean")
        covs = {layer: _symmetric(self.cov[layer].double(), layer) for layer in self.neurons}
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "cov", covs)

    def _check_shapes(self) -> None:
        """Raise ValueError unless each neuron has a mean, and each layer a covariance."""
        shape_of_mean = tuple(self.mean.shape)
        shapes = {layer: tuple(cov.shape) for layer, cov in self.cov.items()}
        expected_shapes = {layer: (n, n) for layer, n in self.neurons.items()}
        if shape_of_mean != (self.neurons.total,) or shapes != expected_shapes:
            raise ValueError(
                f"Arguments `mean` and `cov` expected to have shapes ({self.neurons.total},) and (n, n) for each layer"
                f" of {self.neurons!r}, but got {shape_of_mean} and {shapes}"
            )

    @property
    @override
    def has_unknown_size(self) -> bool:
        # The covariances of no images are 0, but those of published statistics are not.
        return not self.num_images and any(bool(cov.any()) for cov in self.cov.values())

    def to_gaussian(self) -> GaussianDNA:
        """Return the mean and the variance of each neuron."""
        var = torch.cat([cov.diagonal() for cov in self.cov.values()]).clamp(min=0)
        folds = tuple(fold for fold in self.folds if isinstance(fold, GaussianDNA))
        return GaussianDNA(self.mean, var, self.neurons, self.num_images, folds=folds, notes=self.notes, **self.origin)

    @override
    def _take(self, positions: Tensor, neurons: Neurons) -> LayerGaussianDNA:
        positions = positions.to(self.mean.device)
        cov = {}
        for layer, selected in neurons.split(positions).items():
            local = selected - self.neurons.slices[layer].start
            cov[layer] = self.cov[layer][local][:, local]
        sample = None if self.sample is None else self.sample.select(neurons)
        return replace(self, mean=self.mean[positions], cov=cov, neurons=neurons, sample=sample)

    @override
    def _distances(self, other: LayerGaussianDNA) -> Tensor:
        layers = self.by_layer()
        other_layers = other.to(self.mean.device).by_layer()
        distances = []
        for layer, (mean, cov) in layers.items():
            other_mean, other_cov = other_layers[layer]
            distances.append(layer_frechet_distance(mean, cov, other_mean, other_cov))
        return torch.stack(distances)

    def by_layer(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return views of the mean and covariance of each layer, ``{layer: (mean, cov)}``."""
        means = self.neurons.split(self.mean)
        return {layer: (means[layer], self.cov[layer]) for layer in self.neurons}

    @override
    def _absorb(self, other: LayerGaussianDNA) -> dict[str, Any]:
        if self.has_unknown_size or other.has_unknown_size:
            raise ValueError("These DNAs can't be merged: one does not say of how many images it is")
        moved = other.to(self.mean.device)
        counts = (self.num_images, other.num_images)
        mean, shift = _merged_mean(self.mean, moved.mean, *counts)
        cov = {}
        for layer, shift_of_layer in self.neurons.split(shift).items():
            squares = torch.outer(shift_of_layer, shift_of_layer)
            cov[layer] = _merged_spread(self.cov[layer], moved.cov[layer], squares, *counts)
        sample = None
        if self.sample is not None and other.sample is not None:
            sample = self.sample.merge(other.sample)
        return {"mean": mean, "cov": cov, "num_images": sum(counts), "sample": sample}

    @override
    def _encode(self) -> Encoded:
        described, arrays, remarks = super()._encode()
        arrays |= split_arrays("mean", self.neurons, self.mean)
        for layer, cov in self.cov.items():
            arrays[array_name("cov", layer)] = cov.cpu().numpy()[np.triu_indices(len(cov))]
        if self.sample is not None:
            described_sample, arrays_of_sample = self.sample.encode()
            described |= described_sample
            arrays |= arrays_of_sample
        return described, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        cov = {}
        for layer, triangle in arrays.field_of_layers("cov").items():
            n = arrays.neurons[layer]
            if triangle.shape != (n * (n + 1) // 2,) or triangle.dtype != np.float64:
                raise ValueError(f"cov of layer {layer!r} is {triangle.dtype} of shape {triangle.shape}")
            full = np.empty((n, n))
            # The transposed view writes the lower triangle.
            full[np.triu_indices(n)] = triangle
            full.T[np.triu_indices(n)] = triangle
            cov[layer] = torch.from_numpy(full)
        described = header["dna"].get("sample")
        sample = None if described is None else ImageSample.decode(described, arrays)
        return super()._decode(header, arrays, mean=arrays.flat("mean"), cov=cov, sample=sample, **fields)


def check_moments(values: Tensor, field: str) -> None:
    """Raise ValueError if a value is not finite, or its square would overflow."""
    # Tensors on the meta device have no values.
    if values.is_meta:
        return
    if not values.isfinite().all():
        raise ValueError(f"Argument `{field}` expected to be finite, but got NaN or infinity")
    if not values.numel():
        return
    largest = float(values.abs().max())
    if largest > LARGEST:
        raise ValueError(f"Argument `{field}` expected to be at most {LARGEST}, but got {largest}")


def _merged_mean(mean_a: Tensor, mean_b: Tensor, count_a: int, count_b: int) -> tuple[Tensor, Tensor]:
    """Merge the means of A and B. Return the mean of both, and the difference of the means, B minus A."""
    shift = mean_b - mean_a
    # If both sets are empty, do not divide by 0.
    share_b = count_b / max(1, count_a + count_b)
    return mean_a + shift * share_b, shift


def _merged_spread(spread_a: Tensor, spread_b: Tensor, squares: Tensor, count_a: int, count_b: int) -> Tensor:
    """Merge unbiased variances or covariances of A and B (Chan et al., 1979).

    Args:
        spread_a: Variances or covariance of A.
        spread_b: Variances or covariance of B.
        squares: Squares of the difference of the means, or its outer product with itself.
        count_a: Number of images of A.
        count_b: Number of images of B.

    """
    total = count_a + count_b
    scatter = spread_a * (count_a - 1) + spread_b * (count_b - 1) + squares * (count_a * count_b / max(1, total))
    return scatter / max(1, total - 1)


def _symmetric(cov: Tensor, layer: str) -> Tensor:
    """Return an exactly symmetric covariance of a layer, given one that is symmetric up to rounding.

    Raises:
        ValueError: If the covariance is not finite, or not symmetric up to rounding.

    """
    # A tensor on the meta device has no values.
    if cov.is_meta:
        return cov
    tolerance = 1e-6 * float(cov.abs().max())
    if not cov.isfinite().all() or not torch.allclose(cov, cov.T, rtol=1e-6, atol=tolerance):
        raise ValueError(f"Argument `cov` expected to be symmetric and finite, but layer {layer!r} is not")
    check_moments(cov, "cov")
    return (cov + cov.T) / 2
