"""Identities: the properties that must be equal for states, DNAs and their parts to be merged, compared or shared."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extractors.build import untagged
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.neurons.index import Neurons


def identity(
    extractor: str,
    weights_digest: str | None = None,
    preparation: Mapping[str, Any] | None = None,
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
        "weights (digest)": weights_digest or None,
        **{f"image preparations ({key})": "none" if v is None else v for key, v in (preparation or {}).items()},
        **more,
    }
    return {name: value for name, value in properties.items() if value is not None}


def differences(*identities: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the properties that differ, with their values; a property unknown to an identity matches any value."""
    differing = {}
    for name in dict.fromkeys(chain.from_iterable(identities)):
        candidates = [each[name] for each in identities if each.get(name) is not None]
        values = [value for i, value in enumerate(candidates) if value not in candidates[:i]]
        if len(values) > 1:
            differing[name] = values
    return differing


def check_same(
    message: str, *identities: Mapping[str, Any], remedy: str = "", error: type[Exception] = ValueError
) -> None:
    """Raise an error that names the values of the first difference, if any; its text begins with ``message``."""
    for name, values in differences(*identities).items():
        raise error(f"{message}, their {name} differ: {' and '.join(map(repr, values))}{remedy}")
