"""Identities: the properties that must be equal for states, DNAs and their parts to be merged, compared or shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extractors.build import untagged
from torchmetrics_dna.extractors.fingerprint import furthest_layer
from torchmetrics_dna.extractors.watch import names_differ
from torchmetrics_dna.images.noun import IDENTITY
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from torchmetrics_dna.neurons.index import Neurons

FINGERPRINT = "fingerprints"
WEIGHTS = "weights (digest)"
_RENAMED = "of tensors with other names, as by weight norm, pruning, or their removal: do either before all images"


def check_model_named(extractor: str) -> None:
    """Raise ValueError for embeddings without the name of the model that made them, which a file tells."""
    if extractor == IDENTITY:
        raise ValueError(
            f"A file tells what made its embeddings: give the feature {IDENTITY}:MODEL, such as {IDENTITY}:clip-vit-b32"
        )


def identity(
    extractor: str,
    weights_digest: str | None = None,
    preparation: Mapping[str, Any] | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    neurons: Neurons | None = None,
    kind: str | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return all known properties, in JSON-serializable types; None means unknown, except within a preparation.

    ``ranges`` may be a text; ``more`` are further properties that must be equal.
    """
    if isinstance(ranges, ActivationRanges):
        ranges = "auto" if ranges.margin == "auto" else ranges.digest
    properties = {
        "kinds": kind,
        "extractors": untagged(extractor),
        "neurons": None if neurons is None else f"{neurons!r}, digest {neurons.digest}",
        "numbers of bins": num_bins,
        "activation ranges (digest)": ranges,
        WEIGHTS: weights_digest or None,
        **{f"preparations ({key})": "none" if v is None else v for key, v in (preparation or {}).items()},
        FINGERPRINT: fingerprint,
        **more,
    }
    return {name: value for name, value in properties.items() if value is not None}


def check_same(
    message: str, *identities: Mapping[str, Any], remedy: str = "", error: type[Exception] = ValueError
) -> None:
    """Raise an error that names the values of the first difference, if any; its text begins with ``message``.

    A property unknown to an identity matches any value. Fingerprints are equal within rounding, and come last.
    """
    for name in {name: None for each in identities for name in each if name != FINGERPRINT}:
        distinct = _distinct(name, identities)
        if len(distinct) > 1:
            why = f" ({_RENAMED})" if name == WEIGHTS and names_differ(*distinct) else ""
            raise error(f"{message}, their {name} differ: {' and '.join(map(repr, distinct))}{why}{remedy}")
    fingerprints = _distinct(FINGERPRINT, identities)
    for i, fingerprint in enumerate(fingerprints):
        for other in fingerprints[:i]:
            furthest = furthest_layer(other, fingerprint)
            if furthest is not None:
                layer, difference = furthest
                how = f"layer {layer!r} differs by {difference:.2g} of its size" if layer else "one of them fails on it"
                raise error(
                    f"{message}, their networks have equal weights, but compute other activations of one fixed input"
                    f" ({how}): look for another activation function, hook, adapter or attribute{remedy}"
                )


def _distinct(name: str, identities: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the different values of a property, of those identities that know it."""
    values = list[Any]()
    for identity in identities:
        value = identity.get(name)
        if value is not None and value not in values:
            values.append(value)
    return values
