"""Values that the page of two sets shows."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.visible import images_in_words, in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.paths import public
from torchmetrics_dna.images.properties import LAYER, RECORDS, neuron_name, property_in_words
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.singles.look import Gallery

# Number of groups of bins, at most, in a small histogram.
GROUPS = 32
# Largest height in a histogram.
_FULL = 255


def sides_in_words(comparison: Comparison) -> dict[str, str]:
    """Return name and number of images of ``"a"`` and ``"b"``."""
    sides = {}
    for side, name in zip("ab", comparison.names, strict=True):
        count = images_in_words(comparison.num_images[side], comparison.noun)
        # The page shows the letter of a set before these words, so a set that is named "A" has no other name.
        sides[side] = count if name == side.upper() else f"{name} ({count})"
    return sides


def flagged_images(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the name of each image of B that is flagged as an outlier, and the reason."""
    if comparison.outliers is None:
        return []
    reasons = comparison.outliers.reasons(comparison.names[0]).values()
    return list(zip(comparison.outliers.flagged_names, reasons, strict=True))


def property_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return rows of all properties of images, or numbers of bands, clearest difference first; empty without any.

    Each has ``name``; ``about``, what a value means; the means ``a`` and ``b`` in words; ``q``; whether it is ``clear``
    (None without a test); and ``heights`` of its histograms in A and in B, at most 255; none of bands.
    """
    properties = comparison.properties
    if properties is None:
        return []
    means_a, means_b = properties.means
    heights = _heights(properties)
    p_value = comparison.p_value_of_properties
    rows = []
    for record in properties.top_neurons(properties.neurons.total):
        name = neuron_name(record["layer"], record["neuron"])
        place = properties.neurons.index(record["layer"], record["neuron"])
        q = record["q"]
        is_clear = None
        if q is not None and p_value is not None:
            is_clear = q <= SIGNIFICANT and p_value <= SIGNIFICANT
        rows.append(
            {
                "name": name,
                "about": RECORDS[name].meaning if name in RECORDS else "",
                "a": property_in_words(name, float(means_a[place])),
                "b": property_in_words(name, float(means_b[place])),
                "q": q,
                "clear": is_clear,
                "heights": heights[place],
            }
        )
    return rows


def _heights(properties: Comparison) -> list[list[list[int]]]:
    """Return heights of the histograms of each property in A and in B, at most 255; empty lists for bands."""
    if LAYER not in properties.neurons:
        return [[] for _ in range(properties.neurons.total)]
    shares, num_used, _ = grouped(*properties.aligned(), GROUPS)
    heights = (_FULL * shares / shares.amax((1, 2), keepdim=True)).round().int()
    return [of_both[:, :count].tolist() for of_both, count in zip(heights, num_used.tolist(), strict=True)]


def settings_of(comparison: Comparison, gallery: Gallery | None) -> dict[str, str]:
    """Return all that the figures depend on, in words, by name."""
    dna = comparison.aligned()[0]
    ranges = dna.known_ranges
    averaging = comparison["dna-emd"].averaging
    settings = {} if gallery is None else dict(gallery.settings)
    if sys.argv[0].endswith(("torchmetrics-dna", str(Path("torchmetrics_dna", "__main__.py")))):
        settings["command"] = public(shlex.join(["torchmetrics-dna", *sys.argv[1:]]))
    interval = comparison.interval
    if interval:
        settings[f"folds of {comparison.noun}s"] = str(interval.num_folds)
    settings["extractor"] = comparison.extractor
    settings["weights of the network"] = dna.weights_digest or "unknown"
    settings[f"preparation of {comparison.noun}s"] = in_words(dna.preparation)
    settings["neurons"] = f"{comparison.neurons.total:,} in {len(comparison.neurons)} layers"
    settings["bins per neuron"] = f"{dna.num_bins:,}"
    if dna.self_ranging:
        settings["activation ranges"] = "self-ranging"
    else:
        settings["activation ranges"] = f"{ranges.label} ({ranges.digest}, margin {ranges.margin})"
    settings["average"] = f"{averaging.over('neurons')}, {in_words(averaging.settings)}"
    settings["created"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "timm", "numpy", "pillow"))
    settings["versions"] = f"torchmetrics-dna {__version__}, {packages}, Python {platform.python_version()}"
    return settings
