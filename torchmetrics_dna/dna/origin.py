"""Rebuild or check the extractor of a DNA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.identity import check_same, identity
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.images.resize import RESIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.features import Features

_ARGUMENTS = ("resize", "input_size", "crop", "mean", "std", "dtype", "channels")  # of DNAExtractor, in a preparation


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
    layers = layers or list(dna.neurons)
    # without a size, images were not resized, or an official file does not record the size
    if "input_size" not in arguments:
        arguments.pop("resize", None)
    else:
        arguments["input_size"] = tuple(arguments["input_size"])
    try:
        return DNAExtractor(dna.extractor, layers=layers, **(arguments | settings))
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; give it as `feature`: {err}"
        ) from err


def check_made_by(dna: DNA | Features, extractor: DNAExtractor) -> None:
    """Check that a DNA was made by an extractor.

    Raises:
        ValueError: If name, weights or preparation of images differ; properties unknown to the DNA match.

    """
    check_same(
        "The given DNA and `feature` don't fit",
        identity(dna.extractor, dna.weights_digest, dna.preparation),
        identity_of(extractor),
        remedy="; leave `feature` and its options out to take the DNA's",
    )


def identity_of(extractor: DNAExtractor, **more: Any) -> dict[str, Any]:
    """Return the :func:`identity` of what an extractor makes, which includes a digest of its submodules."""
    more["extractors (digest)"] = extractor.digest
    return identity(extractor.name, extractor.weights_digest, extractor.preparation, extractor.neurons, **more)
