"""Values that the html page of two sets shows."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.visible import images_in_words, in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.paths import public
from torchmetrics_dna.images.properties import LAYER, RECORDS, neuron_name, property_in_words
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.singles.look import Gallery

# Largest number of groups into which the bins of a small histogram are merged.
GROUPS = 32
# Largest height in a histogram.
_FULL_HEIGHT = 255


class PropertyRow(NamedTuple):
    """Row of a table of image properties, or of numbers of bands.

    Attributes:
        name: Name of the property.
        meaning: Meaning of a value; empty for bands.
        a: Mean in A, in words.
        b: Mean in B, in words.
        q: False discovery rate; None without a test.
        is_clear: Whether the property differs significantly; None without a test.
        heights: Heights of the histograms in A and in B, up to 255; empty for bands.

    """

    name: str
    meaning: str
    a: str
    b: str
    q: float | None
    is_clear: bool | None
    heights: list[list[int]]


def sides_in_words(comparison: Comparison) -> dict[str, str]:
    """Return the name and the number of images of each set, by its letter ``"a"`` or ``"b"``."""
    sides = {}
    for side, name in zip("ab", comparison.names, strict=True):
        count = images_in_words(comparison.num_images[side], comparison.noun)
        # The page shows the letter of the set before these words. A name that is only this letter is not repeated.
        sides[side] = count if name == side.upper() else f"{name} ({count})"
    return sides


def flagged_images(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the name and the reason of each image of B that is flagged as an outlier."""
    if comparison.outliers is None:
        return []
    reasons = comparison.outliers.reasons(comparison.names[0]).values()
    return list(zip(comparison.outliers.flagged_names, reasons, strict=True))


def property_rows(comparison: Comparison) -> list[PropertyRow]:
    """Return one row per image property, or per number of a band. The clearest difference comes first.

    The list is empty if no properties were measured.
    """
    properties = comparison.properties
    if properties is None:
        return []
    means_a, means_b = properties.means
    heights = _heights(properties)
    p_value = comparison.p_value_of_properties
    rows = []
    for neuron in properties.top_neurons(properties.neurons.total):
        name = neuron_name(neuron["layer"], neuron["neuron"])
        place = properties.neurons.index(neuron["layer"], neuron["neuron"])
        row = PropertyRow(
            name=name,
            meaning=RECORDS[name].meaning if name in RECORDS else "",
            a=property_in_words(name, float(means_a[place])),
            b=property_in_words(name, float(means_b[place])),
            q=neuron["q"],
            is_clear=_is_clear(neuron["q"], p_value),
            heights=heights[place],
        )
        rows.append(row)
    return rows


def _is_clear(q: float | None, p_value: float | None) -> bool | None:
    """Return whether a property differs significantly; None without a test.

    Args:
        q: False discovery rate of the property; None without a test.
        p_value: P-value of the test of all properties together; None without a test.

    """
    if q is None or p_value is None:
        return None
    return q <= SIGNIFICANT and p_value <= SIGNIFICANT


def _heights(properties: Comparison) -> list[list[list[int]]]:
    """Return the heights of the histograms of each property in A and in B, up to 255; empty lists for bands."""
    if LAYER not in properties.neurons:
        return [[] for _ in range(properties.neurons.total)]
    shares, num_used, _ = grouped(*properties.aligned(), GROUPS)
    largest = shares.amax((1, 2), keepdim=True)
    heights = (_FULL_HEIGHT * shares / largest).round().int()
    return [
        heights_of_property[:, :count].tolist()
        for heights_of_property, count in zip(heights, num_used.tolist(), strict=True)
    ]


def settings_of(comparison: Comparison, gallery: Gallery | None) -> dict[str, str]:
    """Return the settings on which the figures depend, in words, by name."""
    settings = {} if gallery is None else dict(gallery.settings)
    if _is_command_line():
        settings["command"] = public(shlex.join(["torchmetrics-dna", *sys.argv[1:]]))
    interval = comparison.interval
    if interval:
        settings[f"folds of {comparison.noun}s"] = str(interval.num_folds)
    dna = comparison.aligned()[0]
    settings["extractor"] = comparison.extractor
    settings["weights of the network"] = dna.weights_digest or "unknown"
    settings[f"preparation of {comparison.noun}s"] = in_words(dna.preparation)
    settings["neurons"] = f"{comparison.neurons.total:,} in {len(comparison.neurons)} layers"
    settings["bins per neuron"] = f"{dna.num_bins:,}"
    settings["activation ranges"] = _ranges_in_words(dna)
    averaging = comparison["dna-emd"].averaging
    settings["average"] = f"{averaging.over('neurons')}, {in_words(averaging.settings)}"
    settings["created"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "timm", "numpy", "pillow"))
    settings["versions"] = f"torchmetrics-dna {__version__}, {packages}, Python {platform.python_version()}"
    return settings


def _is_command_line() -> bool:
    """True if this process is the command line of this package."""
    module = str(Path("torchmetrics_dna", "__main__.py"))
    return sys.argv[0].endswith(("torchmetrics-dna", module))


def _ranges_in_words(dna: HistogramDNA) -> str:
    """Return the activation ranges of a DNA, in words."""
    if dna.self_ranging:
        return "self-ranging"
    ranges = dna.known_ranges
    return f"{ranges.label} ({ranges.digest}, margin {ranges.margin})"
