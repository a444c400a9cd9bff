"""What the page says in words."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

from torchmetrics_dna.dna.evidence import LEAST_FOLDS
from torchmetrics_dna.files.visible import in_words, number
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.sets.comparison import Comparison

SIGNIFICANT = 0.05
LEAST_P = 0.001  # of a thousand relabelings


def verdict(found: Comparison) -> str:
    """Whether and how far the two sets differ, in one or two sentences.

    Args:
        found: A comparison of histograms.

    """
    interval, p = found.interval, found.p_value
    plain = f"dna-emd is {number(found.dna_emd)} bins"
    if interval is None:
        return (
            f"A and B are {number(found.dna_emd)} bins apart. Whether that is more than noise can't be said: it takes"
            f" images in {LEAST_FOLDS} folds of a side; give more images."
        )
    left = (
        f"without what noise adds it is {number(interval.value)} ({interval.confidence:.0%} interval"
        f" {number(interval.low)} to {number(interval.high)})"
    )
    if p is None:
        return (
            f"{plain}; {left}. There is no test of whether that is more than noise, for a side has no folds; give"
            " images, or a DNA that was made with folds."
        )
    chance = f"; equal sets of this size would be {number(found.null)} bins apart"
    if p > SIGNIFICANT:
        return f"No difference between A and B can be shown ({p_in_words(p)}): {plain}{chance}."
    by_layer = {layer: found.p_value_of("dna-emd", layer) or 0 for layer in found.neurons}
    clear = [layer for layer, of_layer in by_layer.items() if of_layer <= SIGNIFICANT]
    where = "in all layers" if len(clear) == len(by_layer) else f"in {', '.join(clear)}"
    return f"B differs from A ({p_in_words(p)}), {where}: {plain}, {left}{chance}."


def p_in_words(p: float) -> str:
    """A p-value, as it is written in a text."""
    return f"p = {p:.2g}" if p > LEAST_P else f"p ≤ {LEAST_P:g}"


def describe_settings(found: Comparison, dna: HistogramDNA, given: Mapping[str, str]) -> dict[str, str]:
    """All that the figures depend on, for the record.

    Args:
        found: The comparison.
        dna: One of the two that were compared.
        given: More to say.

    """
    ranges = dna.known_ranges
    bounds = "of their own" if dna.self_ranging else f"{ranges.label} ({ranges.digest}, margin {ranges.margin})"
    weights = "none, the plain mean"
    if found.neuron_weights is not None:
        weights = f"{int(found.neuron_weights.count_nonzero())} neurons other than 0"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "timm", "numpy", "pillow"))
    return {
        **given,
        "extractor": found.extractor,
        "weights of the network": dna.weights_digest or "unknown",
        "preparation of images": in_words(dna.preparation),
        "neurons": f"{found.neurons.total:,} in {len(found.neurons)} layers",
        "bins of a histogram": str(dna.num_bins),
        "ranges of activations": bounds,
        "weights of neurons": weights,
        "made": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "made by": f"torchmetrics-dna {__version__}, {versions}, Python {platform.python_version()}",
        "made on": platform.platform(),
    }
