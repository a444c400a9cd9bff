"""Averaging: how the distances of neurons become one number."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmetrics_dna.dna.base import DNA
from torchmetrics_dna.dna.identity import check_same, identity
from torchmetrics_dna.dna.neuron_weights import NeuronWeights
from torchmetrics_dna.functional.reduction import check_weights

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor


@dataclass(frozen=True, eq=False)
class Averaging:
    """Average of the distances of neurons, or of layers: a part of each result, also of those in files.

    What is no weighted sum, such as a trimmed mean, is one more field, which :meth:`terms` and all below read. What
    is not linear has to say so in :attr:`why_noisy`: neither the closed form nor the jackknife then takes noise off.
    Tests are of single neurons, by their weights, and so hold; and what chance gives is measured, not computed.

    Attributes:
        weights: Weights of Eq. (5), shape ``(N,)``, float64; None for the plain mean.

    """

    weights: Tensor | None = None

    def terms(self, distances: Tensor) -> Tensor:
        """Return terms, shape ``(..., N)`` as the distances, whose mean is the number; in proportion to these."""
        if self.weights is None:
            return distances
        return distances * self.weights.to(distances.device) * distances.shape[-1]

    @property
    def is_plain(self) -> bool:
        """True for the plain mean."""
        return self.weights is None

    @property
    def why_noisy(self) -> str:
        """Why there is no interval and no debiased value; empty if there are."""
        if self.weights is None or not (self.weights < 0).any():
            return ""
        least = f"weights below 0 (the least is {float(self.weights.min()):g})"
        return f"{least} have no interval and no debiased value, since noise can move their sum either way"

    @property
    def adjective(self) -> str:
        """Word for such a distance, before its name; empty for the plain mean."""
        return "" if self.weights is None else "weighted "

    def over(self, terms: str) -> str:
        """Say what it is, over terms that are called so: "mean over neurons"."""
        return f"{'mean' if self.weights is None else 'weighted sum'} over {terms}"

    @property
    def settings(self) -> dict[str, str]:
        """All of it by name, in short, to compare metrics by."""
        weights = None if self.weights is None else repr(self.weights.tolist()).encode()
        digest = "none" if weights is None else hashlib.sha256(weights).hexdigest()[:16]
        return {"neuron weights (digest)": digest}


PLAIN = Averaging()  # the plain mean


def averaging_of(
    network: DNA | DNAExtractor, *, neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None
) -> Averaging:
    """Return how the neurons of a network, or of a DNA, become one number; ValueError if an argument does not fit."""
    if neuron_weights is None:
        return PLAIN
    if isinstance(neuron_weights, (str, os.PathLike)):
        neuron_weights = NeuronWeights.load(neuron_weights)
    if isinstance(neuron_weights, NeuronWeights):
        name = network.extractor if isinstance(network, DNA) else network.name
        weighted = neuron_weights.neurons
        of_weights, of_network = (
            {"layers": [*neurons], "neurons": f"{neurons!r}, digest {neurons.digest}"}
            for neurons in (weighted, network.neurons)
        )
        remedy = ""
        if {*weighted} < {*network.neurons}:
            remedy = f"; they go with `layers` {','.join(weighted)}"
            if "properties" in {*network.neurons} - {*weighted}:
                remedy += ", without `properties`"
        check_same(
            f"{neuron_weights!r} can't be used here",
            identity(**neuron_weights.origin) | of_weights,
            identity(name, network.weights_digest) | of_network,
            remedy=remedy,
        )
        neuron_weights = neuron_weights.weights
    resolved = check_weights(neuron_weights, network.neurons.total)
    # With weights of 0 alone, any two sets would be equal.
    if not resolved.any():
        raise ValueError("Argument `neuron_weights` expected to have a weight other than 0, but all are 0")
    return Averaging(resolved)
