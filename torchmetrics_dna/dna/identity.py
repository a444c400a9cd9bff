"""Identities: the properties that must be equal for states, DNAs and their parts to be merged, compared or shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.extractors.build import untagged
from torchmetrics_dna.extractors.fingerprint import furthest_layer
from torchmetrics_dna.images.resize import RESIZES
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.neurons.index import Neurons

FINGERPRINT = "fingerprints"
_ARGUMENTS = ("resize", "input_size", "crop", "mean", "std", "dtype", "channels")  # of DNAExtractor, in a preparation


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
        "weights (digest)": weights_digest or None,
        **{f"image preparations ({key})": "none" if v is None else v for key, v in (preparation or {}).items()},
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
        values = [each[name] for each in identities if each.get(name) is not None]
        distinct = [value for i, value in enumerate(values) if value not in values[:i]]
        if len(distinct) > 1:
            raise error(f"{message}, their {name} differ: {' and '.join(map(repr, distinct))}{remedy}")
    fingerprints = [each[FINGERPRINT] for each in identities if each.get(FINGERPRINT) is not None]
    for i, fingerprint in enumerate(fingerprints):
        for other in fingerprints[:i]:
            if (furthest := furthest_layer(other, fingerprint)) is not None:
                layer, difference = furthest
                raise error(
                    f"{message}, their networks have equal weights, but compute other activations of one fixed input"
                    f" (layer {layer!r} differs by {difference:.2g} of its size): look for another activation function,"
                    f" hook, adapter or attribute{remedy}"
                )


def extractor_of(dna: DNA | Features, layers: Sequence[str] | None = None, **settings: Any) -> DNAExtractor:
    """Build the extractor that made a DNA, with its layers and its preparation of images as far as they are known.

    Args:
        dna: The DNA.
        layers: Names of the layers; by default those of the DNA.
        settings: Further keyword arguments of :class:`DNAExtractor`.

    Raises:
        ValueError: If no preset or timm model has the name of the extractor, or an argument is invalid.

    """
    arguments = {
        key: value
        for key, value in (dna.preparation or {}).items()
        if key in _ARGUMENTS and value is not None and (key != "resize" or value in RESIZES)
    }
    # without a size, images were not resized, or an official file does not record the size
    if "input_size" not in arguments:
        arguments.pop("resize", None)
    else:
        arguments["input_size"] = tuple(arguments["input_size"])
    try:
        return DNAExtractor(dna.extractor, layers=layers or list(dna.neurons), **(arguments | settings))
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; give it as `feature`: {err}"
        ) from err


def check_made_by(dna: DNA | Features, extractor: DNAExtractor) -> None:
    """Raise ValueError if a DNA has another extractor, weights or preparation of images; what is unknown matches."""
    check_same(
        "The given DNA and `feature` don't fit",
        identity(**dna.origin),
        identity(
            extractor.name,
            extractor.weights_digest,
            extractor.preparation,
            dna.fingerprint and extractor.take_fingerprint(dna.fingerprint["input"]),
        ),
        remedy="; leave `feature` and its options out to take the DNA's",
    )
