"""Compare two sets that were measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.comparisons.comparison import SHARED, Comparison
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.distance import Distance, Result
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.extractors.without_properties import network_of
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.duplicates import MOST, near_duplicates
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.jobs.measure import Measured

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.layer_unions import Plan
    from torchmetrics_dna.dna.unions import Unions


def compare_measured(
    a: Measured,
    b: Measured,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    distances: Sequence[Distance] = tuple(DISTANCES.values()),
    confidence: float = 0.95,
    plan: Plan | None = None,
) -> Comparison:
    """As :func:`compare`, for two sets that were measured before; of the distances, those that they have in common.

    Where both have folds, it says how sure the distances are; the folds themselves are left behind. Properties of
    images that were watched beside a network are compared by themselves, unless neuron weights are given.

    Raises:
        ValueError: If they do not fit together.
        RuntimeError: If a side has but one image, unless dna-emd, which takes no more, is among the distances.

    """
    network = network_of(a.any.neurons) if neuron_weights is None else None
    if network is None:
        return _compare(a, b, neuron_weights, distances, confidence, plan)
    one, other = (Measured({kind: dna.select([LAYER]) for kind, dna in side.dnas.items()}, []) for side in (a, b))
    same, a = a is b, a.select(list(network))
    b = a if same else b.select(list(network))
    found = _compare(a, b, None, distances, confidence, plan)
    by_neuron = [record for record in distances if record.grain == "neuron"]
    return replace(found, properties=_compare(one, other, None, by_neuron, confidence, None)) if by_neuron else found


def _compare(
    a: Measured,
    b: Measured,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None,
    distances: Sequence[Distance],
    confidence: float,
    plan: Plan | None,
) -> Comparison:
    dna, results, cache = a.any, dict[str, Result](), dict[Any, Any]()
    weights = resolve_weights(neuron_weights, dna.neurons, dna.extractor, dna.weights_digest)
    images = min(2 if side.any.has_unknown_size else side.any.num_images for side in (a, b))
    lacking: list[str] = []
    for record in distances:
        inputs = [side.input_of(record) for side in (a, b)]
        if any(one is None for one in inputs):
            continue
        if images < record.least and results:  # too few images for a distance are no reason to withhold another
            lacking.append(record.name)
            continue
        results[record.name] = record.result(
            inputs[0],
            inputs[1],
            weights if record.grain == "neuron" else None,
            confidence=confidence,
            unions=_unions_by_image(record, inputs, a, b, plan),
            cache=cache,
        )
    sides = a.without_folds(), b.without_folds()
    copies = _copies(a, b)
    notices = _notices(a, b, copies)
    notices += dict.fromkeys(limit for result in results.values() for limit in result.limits)
    if lacking:
        notices.append(f"More images are needed on each side for {', '.join(lacking)}")
    return Comparison(
        dna.neurons,
        results,
        {"a": a.any.num_images, "b": b.any.num_images},
        dna.extractor,
        *_bins_of(a.dnas.get("histogram")),
        weights,
        a.unreadable + b.unreadable,
        (sides[0], sides[0]) if a is b else sides,
        notices,
        copies=copies,
    )


def _bins_of(dna: DNA | None) -> tuple[int | None, str | None]:
    """Number of bins, and name or digest of the ranges, of a histogram DNA."""
    if not isinstance(dna, HistogramDNA):
        return None, None
    return dna.num_bins, dna.ranges.label if dna.ranges else None


def _copies(a: Measured, b: Measured) -> int:
    """How many images of B look nearly like images of A."""
    return 0 if a.thumbnails is None or b.thumbnails is None else near_duplicates(b.thumbnails, a.thumbnails) or 0


def _notices(a: Measured, b: Measured, copies: int) -> list[str]:
    """What thumbnails tell of images that look nearly alike."""
    told = []
    histograms = [side.dnas.get("histogram") for side in (a, b)]
    if any(isinstance(dna, HistogramDNA) and dna.ranges is None for dna in histograms):
        told.append(
            "The activation ranges of official histograms are unknown, so shifts of neurons and named changes are left"
            " out; give them when loading: load_dna(path, ranges=...)"
        )
    large = [name for name, side in (("A", a), ("B", b)) if side.thumbnails is not None and len(side.thumbnails) > MOST]
    if large:
        have = "has" if len(large) == 1 else "have"
        told.append(
            f"{' and '.join(large)} {have} more than {MOST:,} images, too many to look for nearly equal ones; if some"
            " belong together (frames of a clip, crops of a picture), group them, or p-values are too small"
        )
    for name, side in (("A", a), ("B", b)):
        if side.thumbnails is not None and side.folds is not None:
            near = near_duplicates(side.thumbnails, side.thumbnails, torch.cat([side.folds, side.folds]))
            if near:
                told.append(
                    f"{_that_look(near, name)} nearly like others of another fold; if these belong"
                    " together (frames of a clip, crops of a picture), group them, or p-values are too small"
                )
    if copies and b.thumbnails is not None:
        told.append(
            f"{_that_look(copies, 'B')} nearly like images of A; a generator that copies its training images is close"
            " by every distance; `rank` with `nearest` shows which"
        )
        if copies > SHARED * len(b.thumbnails):
            told.append(
                "A and B are no independent samples, since they share images; values without noise and their intervals"
                " are too small"
            )
    return told


def _that_look(count: int, name: str) -> str:
    return f"{images_in_words(count)} of {name} {'looks' if count == 1 else 'look'}"


def _unions_by_image(
    record: Distance, inputs: Sequence[Any], a: Measured, b: Measured, plan: Plan | None
) -> Unions | None:
    """The folds of both sides for a distance whose evidence is from features of images; None without such."""
    if record.unions is None:
        return None
    if record.by_image:
        known = plan is not None and a.folds is not None and b.folds is not None
        return record.unions(a.features, b.features, (a.folds, b.folds), plan) if known else None
    return None if record.kinds else record.unions(*inputs, (a.folds, b.folds))
