"""What the page of a comparison shows, as plain values."""

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


def sides_in_words(comparison: Comparison) -> dict[str, str]:
    """Return name and number of images of ``"a"`` and ``"b"``."""
    counts = {side: images_in_words(count, comparison.noun) for side, count in comparison.num_images.items()}
    return {
        side: counts[side] if name == side.upper() else f"{name} ({counts[side]})"
        for side, name in zip("ab", comparison.names, strict=True)
    }


def property_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return rows of all properties of images, or numbers of bands, clearest difference first; empty without any.

    Each has ``name``, ``about`` what a value means, means ``a`` and ``b`` in words, ``q``, whether it is ``clear``
    (None without a test), and ``heights`` of its histograms in A and in B, at most 255; none of bands.
    """
    properties = comparison.properties
    if properties is None:
        return []
    a, b = properties.means
    drawn: list[list[list[int]]] = [[] for _ in range(properties.neurons.total)]
    if LAYER in properties.neurons:
        shares, used, _ = grouped(*properties.aligned(), GROUPS)
        heights = (255 * shares / shares.amax((1, 2), keepdim=True)).round().int()
        drawn = [of[:, :count].tolist() for of, count in zip(heights, used.tolist(), strict=True)]
    p = comparison.p_value_of_properties
    rows = []
    for row in properties.top_neurons(properties.neurons.total):
        name = neuron_name(row["layer"], row["neuron"])
        place = properties.neurons.index(row["layer"], row["neuron"])
        values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
        clear = None if row["q"] is None or p is None else row["q"] <= SIGNIFICANT >= p
        about = RECORDS[name].meaning if name in RECORDS else ""
        rows.append({"name": name, "about": about, **values, "q": row["q"], "clear": clear, "heights": drawn[place]})
    return rows


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
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "timm", "numpy", "pillow"))
    return {
        **settings,
        "extractor": comparison.extractor,
        "weights of the network": dna.weights_digest or "unknown",
        f"preparation of {comparison.noun}s": in_words(dna.preparation),
        "neurons": f"{comparison.neurons.total:,} in {len(comparison.neurons)} layers",
        "bins of a histogram": str(dna.num_bins),
        "ranges of activations": (
            "of their own" if dna.self_ranging else f"{ranges.label} ({ranges.digest}, margin {ranges.margin})"
        ),
        "average": f"{averaging.over('neurons')}, {in_words(averaging.settings)}",
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "made by": f"torchmetrics-dna {__version__}, {versions}, Python {platform.python_version()}",
    }
