"""From a DNA back to the extractor that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.identity import check_same, identity
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.extractors.projections import STEP
from torchmetrics_dna.images import RESIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.features import Features


def extractor_of(dna: DNA | Features, layers: Sequence[str] | None = None, **settings: Any) -> DNAExtractor:
    """Build the extractor that made a DNA, with its layers and its preparation of images as far as they are known.

    Args:
        dna: The DNA.
        layers: Which layers; by default its own.
        settings: More keyword arguments of :class:`DNAExtractor`.

    Raises:
        ValueError: If no preset or timm model has its name, or an argument is wrong.

    """
    known = {
        key: value
        for key, value in (dna.preparation or {}).items()
        if key != "properties" and value is not None and (key != "resize" or value in RESIZES)
    }
    layers = layers or list(dna.neurons)
    if not any(STEP in layer.split(":") for layer in layers):
        known = {key: value for key, value in known.items() if not key.startswith("projection")}
    # of images as they are, and of official files, which do not say to which size
    if "input_size" not in known:
        known.pop("resize", None)
    else:
        known["input_size"] = tuple(known["input_size"])
    try:
        return DNAExtractor(dna.extractor, layers=layers, **(known | settings))
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; give it as `feature`: {err}"
        ) from err


def check_made_by(dna: DNA | Features, extractor: DNAExtractor) -> None:
    """Check that an extractor gives what a DNA was made of.

    Raises:
        ValueError: If name, weights or preparation of images differ; what a DNA does not know fits.

    """
    check_same(
        "The given DNA and `feature` don't fit",
        identity(dna.extractor, dna.weights_digest, dna.preparation),
        identity_of(extractor),
        remedy="; leave `feature` and its options out to take the DNA's",
    )


def identity_of(extractor: DNAExtractor, **more: Any) -> dict[str, Any]:
    """The identity of what an extractor makes, which also knows from which submodules; see :func:`identity`."""
    more["extractors (digest)"] = extractor.digest
    return identity(extractor.name, extractor.weights_digest, extractor.preparation, extractor.neurons, **more)
