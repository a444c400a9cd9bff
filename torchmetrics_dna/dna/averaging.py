"""Averaging: how the distances of neurons become one number."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmetrics_dna.dna.base import DNA
from torchmetrics_dna.dna.identity import Identity, check_same, description_of
from torchmetrics_dna.dna.neuron_weights import NeuronWeights
from torchmetrics_dna.functional.reduction import check_weights
from torchmetrics_dna.options import argument, written

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False)
class Averaging:
    """Average of the distances of neurons or of layers. Each result has an average, which is saved with it.

    An average that is not a weighted sum, such as a trimmed mean, needs a new field, which :meth:`terms` and the
    properties use. If the average is not linear, :attr:`why_noisy` must return a reason, since the
    average can't be debiased. Tests stay valid, since they test single neurons with their weights. The null mean stays
    valid, since it is measured.

    Attributes:
        weights: Weights of Eq. (5), shape ``(N,)``, float64; None for the plain mean.

    """

    weights: Tensor | None = None

    def terms(self, distances: Tensor) -> Tensor:
        """Return the distances, shape ``(..., N)``, scaled so that their mean is the average."""
        if self.weights is None:
            return distances
        return distances * self.weights.to(distances.device) * distances.shape[-1]

    @property
    def is_plain(self) -> bool:
        """True for the plain mean."""
        return self.weights is None

    @property
    def why_noisy(self) -> str:
        """Reason why there is no interval and no debiased value; empty if there is none."""
        if self.weights is None or not (self.weights < 0).any():
            return ""
        least = f"weights below 0 (the least is {float(self.weights.min()):g})"
        return f"{least} have no interval and no debiased value, since noise can move their sum either way"

    @property
    def adjective(self) -> str:
        """Adjective for the name of a distance with this average, ``"weighted "``, or empty for the plain mean."""
        return "" if self.is_plain else "weighted "

    def over(self, terms: str) -> str:
        """Return a description of the average, such as "mean over neurons" for the terms "neurons"."""
        if self.is_plain:
            return f"mean over {terms}"
        return f"weighted sum over {terms}"

    @property
    def settings(self) -> dict[str, str]:
        """Settings that must be equal in the metrics of all processes, by name."""
        digest = "none"
        if self.weights is not None:
            text = repr(self.weights.tolist())
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return {"neuron weights (digest)": digest}


# The plain mean.
PLAIN = Averaging()


def averaging_of(
    network: DNA | DNAExtractor, *, neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None
) -> Averaging:
    """Return the average of the distances of neurons.

    Args:
        network: The network, or a DNA that was made with the network.
        neuron_weights: Weights of the neurons, or the path of a file of them; None for the plain mean.

    Raises:
        ValueError: If the weights do not fit the network, or if all weights are 0.

    """
    if neuron_weights is None:
        return PLAIN
    if isinstance(neuron_weights, (str, os.PathLike)):
        neuron_weights = NeuronWeights.load(neuron_weights)
    if isinstance(neuron_weights, NeuronWeights):
        _check_made_for(network, neuron_weights)
        neuron_weights = neuron_weights.weights
    weights = check_weights(neuron_weights, network.neurons.total)
    # If all weights were 0, any two sets would have a distance of 0.
    if not weights.any():
        raise ValueError(f"{argument('neuron_weights')} expected to have a weight other than 0, but all are 0")
    return Averaging(weights)


def _check_made_for(network: DNA | DNAExtractor, neuron_weights: NeuronWeights) -> None:
    """Raise ValueError unless the weights are for the neurons of this network."""
    name = network.extractor if isinstance(network, DNA) else network.name
    layers = list(network.neurons)
    weighted_layers = list(neuron_weights.neurons)
    remedy = ""
    if set(weighted_layers) < set(layers):
        remedy = f"; they require {written('layers')} {','.join(weighted_layers)}"
        if "properties" in layers and "properties" not in weighted_layers:
            remedy += f", without {written('properties')}"
    check_same(
        f"{neuron_weights!r} can't be used here",
        _identity_of_neurons(neuron_weights.extractor, neuron_weights.weights_digest, neuron_weights.neurons),
        _identity_of_neurons(name, network.weights_digest, network.neurons),
        remedy=remedy,
    )


def _identity_of_neurons(extractor: str, weights_digest: str | None, neurons: Neurons) -> Identity:
    """Return the identity of the neurons of an extractor.

    The names of layers are compared before the digest of the neurons, since an error with names is easier to
    understand.
    """
    identity = Identity.of(extractor, weights_digest, layers=list(neurons))
    return identity.with_settings({"neurons": description_of(neurons)})
