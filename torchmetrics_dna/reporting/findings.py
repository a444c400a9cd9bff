"""A comparison in sentences and tables."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import images_in_words, in_words, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.paths import public
from torchmetrics_dna.images.properties import neuron_name, property_in_words
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.files.tables import Cell
    from torchmetrics_dna.singles.look import Gallery

GROUPS = 32  # of bins, at most, in a small histogram


def sides_in_words(comparison: Comparison) -> dict[str, str]:
    """Return name and number of images of ``"a"`` and ``"b"``."""
    counts = {side: images_in_words(count) for side, count in comparison.num_images.items()}
    return {
        side: counts[side] if name == side.upper() else f"{name} ({counts[side]})"
        for side, name in zip("ab", comparison.names, strict=True)
    }


def clearly(comparison: Comparison) -> str:
    """Say how many neurons differ significantly; an empty string without a test."""
    evidence = next((result.evidence for result in comparison.of_grain("neuron") if result.evidence), None)
    if evidence is None or evidence.test is None:
        return ""
    count = int((evidence.test.neurons <= SIGNIFICANT).sum())
    return f"{count:,} of {comparison.neurons.total:,} significantly, p ≤ {SIGNIFICANT}"


def property_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return rows of all properties of images, clearest difference first; empty if they were not measured.

    Each has ``name``, means ``a`` and ``b`` in words, ``q``, whether it is ``clear`` (None without a test), and
    ``heights`` of its histograms in A and in B, at most 255.
    """
    properties = comparison.properties
    if properties is None:
        return []
    a, b = properties.means
    shares, used, _ = grouped(*properties.aligned(), GROUPS)
    heights = (255 * shares / shares.amax((1, 2), keepdim=True)).round().int()
    p = comparison.p_value_of_properties
    rows = []
    for row in properties.top_neurons(properties.neurons.total):
        name, place = neuron_name(row["layer"], row["neuron"]), properties.neurons.index(row["layer"], row["neuron"])
        values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
        clear = None if row["q"] is None or p is None else row["q"] <= SIGNIFICANT >= p
        drawn = heights[place, :, : int(used[place])].tolist()
        rows.append({"name": name, **values, "q": row["q"], "clear": clear, "heights": drawn})
    return rows


def settings_of(comparison: Comparison, gallery: Gallery | None = None) -> dict[str, str]:
    """Return all that the figures depend on, in words, by name."""
    dna = comparison.aligned()[0]
    ranges = dna.known_ranges
    settings = {} if gallery is None else dict(gallery.settings)
    if Path(sys.argv[0]).name in ("torchmetrics-dna", "__main__.py"):
        settings["command"] = public(shlex.join(["torchmetrics-dna", *sys.argv[1:]]))
    if interval := comparison.interval:
        settings["folds of images"] = str(interval.num_folds)
    weights = "none, the plain mean"
    if comparison.neuron_weights is not None:
        weights = f"{int(comparison.neuron_weights.count_nonzero())} neurons other than 0"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "timm", "numpy", "pillow"))
    return {
        **settings,
        "extractor": comparison.extractor,
        "weights of the network": dna.weights_digest or "unknown",
        "preparation of images": in_words(
            dna.preparation and {step: setting for step, setting in dna.preparation.items() if setting is not None}
        ),
        "neurons": f"{comparison.neurons.total:,} in {len(comparison.neurons)} layers",
        "bins of a histogram": str(dna.num_bins),
        "ranges of activations": (
            "of their own" if dna.self_ranging else f"{ranges.label} ({ranges.digest}, margin {ranges.margin})"
        ),
        "weights of neurons": weights,
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "made by": f"torchmetrics-dna {__version__}, {versions}, Python {platform.python_version()}",
    }


def words_and_tables(comparison: Comparison) -> tuple[list[str], list[Table]]:
    """Return what a comparison says in sentences and in tables, for a terminal, Markdown and LaTeX."""
    sentences = comparison.verdict_lines(comparison.explain().property_sentences)
    tables = [comparison.table]
    if not comparison.same_images:
        tables += [_layers_table(comparison)] if comparison.of_grain("neuron", "layer") else []
        differ = comparison.explain().differs is not False
        tables += [_neurons_table(comparison)] if differ and _shown(comparison) else []
    return sentences, tables


def _layers_table(comparison: Comparison) -> Table:
    """Return the distances of each layer, with the interval and the test of the first that has them."""
    results = comparison.of_grain("neuron", "layer")
    tested = next((result for result in results if result.evidence), None)
    columns: dict[str, Sequence[Cell]] = {"layer": [*comparison.neurons], "neurons": [*comparison.neurons.values()]}
    for result in results:
        figures = result.layers.values()
        columns[result.distance.name] = [figure.value for figure in figures]
        if result is tested:
            columns["without noise"] = [figure.debiased_shown for figure in figures]
            columns["interval"] = [figure.ends for figure in figures]
            columns["p"] = [p_figure(figure.p_value) for figure in figures]
    return Table(list(columns), list(zip(*columns.values(), strict=True)), "By layer")


def _shown(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the neurons that differ most clearly; of a test, those alone that differ significantly."""
    return [neuron for neuron in comparison.top_neurons() if (neuron["p_value"] or 0) <= SIGNIFICANT]


def _neurons_table(comparison: Comparison) -> Table:
    """Return the neurons that differ most clearly; by size if there is no test."""
    tested, neurons = clearly(comparison), _shown(comparison)
    columns: dict[str, Sequence[Cell]] = {key: [neuron[key] for neuron in neurons] for key in ("layer", "name")}
    for result in comparison.of_grain("neuron"):
        columns[result.distance.name] = [neuron[result.distance.key] for neuron in neurons]
    columns["mean shift"] = [neuron["shift"] for neuron in neurons]
    for name, key in {"p": "p_value", "q": "q"}.items() if tested else ():
        columns[name] = [p_figure(neuron[key]) for neuron in neurons]
    header = ["neuron" if name == "name" else name for name in columns]
    title = f"Neurons that differ most clearly ({tested})" if tested else "Neurons that differ most"
    return Table(header, list(zip(*columns.values(), strict=True)), title)
