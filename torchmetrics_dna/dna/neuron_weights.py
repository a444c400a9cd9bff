"""NeuronWeights: weights of neurons in a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.checks import brief
from torchmetrics_dna.dna.codec import ByLayer, Encoded, Stored, split_arrays
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.functional.reduction import check_weights

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False, repr=False)
class NeuronWeights(Stored):
    r"""Weights :math:`W^n` of Eq. (5), with the neurons and the extractor that they are for.

    Args:
        weights: Weights, shape ``(N,)``; kept as float64. Weights of ``1/N`` give the plain mean.
        neurons: The N neurons, in order.
        extractor: Name of the extractor.
        weights_digest: Digest of the weights of the extractor itself; None if unknown.
        name: Purpose of the weights, for display.

    Raises:
        ValueError: If shapes do not fit, or a weight is not finite.

    Example:
        >>> from torchmetrics_dna.neurons import Neurons
        >>> neurons = Neurons({"conv": 2, "head": 2})
        >>> weights = NeuronWeights.of_neurons([3, 0], neurons, "tiny", name="edges")
        >>> weights, weights.weights.tolist()
        (NeuronWeights('edges', 2 of 4 neurons, 'tiny'), [0.5, 0.0, 0.0, 0.5])

    """

    kind: ClassVar[str] = "neuron-weights"

    weights: Tensor
    neurons: Neurons
    extractor: str
    weights_digest: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.extractor, str):
            raise TypeError(f"Argument `extractor` expected to be the name of one, but got {brief(self.extractor)}")
        object.__setattr__(self, "weights", check_weights(self.weights, self.neurons.total))

    @classmethod
    def of_neurons(
        cls,
        chosen: Tensor | Sequence[int],
        neurons: Neurons,
        extractor: str,
        weights_digest: str | None = None,
        name: str = "",
    ) -> NeuronWeights:
        """Give selected neurons equal weights, and all other neurons a weight of 0.

        Args:
            chosen: Flat indices of the selected neurons, such as those of :func:`select_neurons`.
            neurons: The N neurons, in order.
            extractor: Name of the extractor.
            weights_digest: Digest of the weights of the extractor; None if unknown.
            name: Purpose of the weights, for display.

        """
        if isinstance(chosen, int):
            raise TypeError(f"Argument `chosen` expected to be a tensor or a list, but got {chosen}")
        weights = torch.zeros(neurons.total, dtype=torch.float64)
        weights[torch.as_tensor(chosen, device="cpu")] = 1 / len(chosen)
        return cls(weights, neurons, extractor, weights_digest, name)

    @classmethod
    def like(cls, weights: Tensor, dna: DNA, name: str = "") -> NeuronWeights:
        """Build weights for the neurons of a DNA."""
        return cls(weights.cpu(), dna.neurons, dna.extractor, dna.weights_digest, name)

    @override
    def _encode(self) -> Encoded:
        described, _, _ = super()._encode()
        arrays = split_arrays("weight", self.neurons, self.weights)
        return described, arrays, {"notes": self.name}

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        name = check_type("notes", header.get("notes", ""), str)
        return super()._decode(header, arrays, weights=arrays.flat("weight"), name=name, **fields)

    def __repr__(self) -> str:
        num_used = int((self.weights != 0).sum())
        return f"NeuronWeights({self.name!r}, {num_used} of {self.neurons.total} neurons, {self.extractor!r})"
