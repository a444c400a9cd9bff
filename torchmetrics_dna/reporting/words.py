"""What the page says in words."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

from torchmetrics_dna.dna.jackknife import LEAST_FOLDS
from torchmetrics_dna.files.visible import in_words, number
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.sets.comparison import Comparison


def verdict(found: Comparison) -> str:
    """Whether and how far the two sets differ, in one sentence."""
    interval = found.interval
    if interval is None:
        return (
            f"A and B are {number(found.dna_emd)} bins apart; there is no interval and no noise floor, which take"
            f" images in {LEAST_FOLDS} folds on a side, and on both unless one is a DNA; give more images."
        )
    told = "B differs from A" if interval.low > 0 else "B can't be told from A"
    return (
        f"{told}: dna-emd is {number(found.dna_emd)} bins, against a noise floor of {number(found.noise_floor)} between"
        f" random halves of {halved_side(found)}; without noise it is {number(interval.value)}"
        f" ({interval.confidence:.0%} interval {number(interval.low)} to {number(interval.high)})."
    )


def halved_side(found: Comparison) -> str:
    """Of which set the noise floor is."""
    return "A" if found.noise_floor_side == "a" else "B"


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
