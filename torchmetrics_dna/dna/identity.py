"""What must be equal for states, DNAs and parts of DNAs to be merged, compared or shared."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

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
    """Everything that is known, in json's types; None stands for what is not known, except within a preparation.

    ``ranges`` may be given as words; ``more`` is what else must be equal.
    """
    if isinstance(ranges, ActivationRanges):
        ranges = "auto" if ranges.margin == "auto" else ranges.digest
    found = {
        "kinds": kind,
        "extractors": extractor,
        "neurons": None if neurons is None else f"{neurons!r}, digest {neurons.digest}",
        "numbers of bins": num_bins,
        "activation ranges (digest)": ranges,
        "weights (digest)": weights_digest or None,
        **{f"image preparations ({key})": "none" if v is None else v for key, v in (preparation or {}).items()},
        **more,
    }
    return {what: value for what, value in found.items() if value is not None}


def differences(*identities: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values that are not equal in all identities; what an identity does not know fits any value."""
    found = {}
    for what in dict.fromkeys(chain.from_iterable(identities)):
        known = [each[what] for each in identities if each.get(what) is not None]
        values = [value for i, value in enumerate(known) if value not in known[:i]]
        if len(values) > 1:
            found[what] = values
    return found


def check_same(
    told: str, *identities: Mapping[str, Any], remedy: str = "", error: type[Exception] = ValueError
) -> None:
    """Raise an error that names the values of the first difference, if there is one; it begins with ``told``."""
    for what, values in differences(*identities).items():
        raise error(f"{told}, their {what} differ: {' and '.join(map(repr, values))}{remedy}")
