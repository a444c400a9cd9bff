"""Compare one reference with several sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.compare import compare_sides
from torchmetrics_dna.comparisons.comparisons import Comparisons, called, short_names
from torchmetrics_dna.dna.distances import check_distances
from torchmetrics_dna.functional.permutation import NUM_FOLDS
from torchmetrics_dna.jobs.sides import Asked

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import torch
    from torch import Tensor
    from typing_extensions import Unpack

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.changes import ChangeDictionary
    from torchmetrics_dna.dna.names import GivenNames
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.groups import Groups
    from torchmetrics_dna.jobs.loading import SetOptions
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature


def compare_many(
    reference: Source | DNA,
    sets: Mapping[str, Source | DNA] | Sequence[Source | DNA],
    feature: Feature | None = None,
    *,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    neuron_names: GivenNames | None = None,
    changes: ChangeDictionary | str | os.PathLike[str] | None = None,
    confidence: float = 0.95,
    num_folds: int = NUM_FOLDS,
    groups: Groups | tuple[Groups, ...] | None = None,
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> Comparisons:
    """Compare one reference with several sets, such as checkpoints; each is measured once.

    Args:
        reference: Images, or a DNA or the path of one, as for :func:`compare`.
        sets: Likewise, by name; or without names: then their paths are their names, without the folders that all are
            in.
        feature: As for :func:`compare`, and so are all that follow.
        metrics: The first of them says which set is nearest: dna-emd, if it is among them.
        layers: Which layers.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges.
        neuron_weights: Weights of Eq. (5).
        neuron_names: What to call neurons.
        changes: What named changes of images do to the neurons.
        confidence: Level of the confidence intervals.
        num_folds: Folds of images that are kept apart, for intervals and tests; 0 for none.
        groups: Which images belong together; a tuple of sequences has one for the reference and one for each set.
        device: Where the network runs.
        options: As for :func:`make_dna`.

    Raises:
        ValueError: As for :func:`compare`; if there are no sets, or two of one name.
        RuntimeError: As for :func:`compare`.

    Example:
        >>> import numpy as np
        >>> grey = {level: np.full((6, 40, 50, 3), level, np.uint8) for level in (0, 40, 200)}
        >>> found = compare_many(grey[0], {"dark": grey[40], "light": grey[200]}, layers=["block_0"])
        >>> found.best, [row["set"] for row in found.rows()]
        ('dark', ['dark', 'light'])

    """
    named = dict(sets) if isinstance(sets, Mapping) else by_name(sets)
    if not named:
        raise ValueError("Argument `sets` expected to have one set at least, but got none")
    check_distances(metrics, "compare_many")
    asked = Asked(
        feature, metrics, layers, num_bins, ranges, neuron_weights, neuron_names, changes, confidence, num_folds,
        groups, device,
    )  # fmt: skip
    found = compare_sides("compare_many", (reference, *named.values()), asked, options)
    of = called(reference, "the reference")
    return Comparisons(of, {name: replace(one, names=(of, name)) for name, one in zip(named, found, strict=True)})


def by_name(sets: Sequence[Any]) -> dict[str, Any]:
    """Sets by what they are called: their paths, short; ValueError if two are called alike."""
    labels = [called(one, f"set {i}") for i, one in enumerate(sets, 1)]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"Argument `sets` expected to be different sets, but got {twice!r} twice; leave one out")
    return dict(zip(short_names(labels), sets, strict=True))
