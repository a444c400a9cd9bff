"""Sentences and tables of a comparison."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

from torchmetrics_dna.dna.names import name_of
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import in_words, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.files.tables import Cell


def made_with(comparison: Comparison) -> str:
    """Say in a few words how the figures were made: version, extractor, bins and folds."""
    interval = comparison.interval
    parts = [
        f"torchmetrics-dna {__version__}",
        comparison.extractor,
        f"{comparison.neurons.total:,} neurons in {len(comparison.neurons)} layers",
        f"{comparison.num_bins:,} bins" if comparison.num_bins else "",
        f"{interval.num_folds} folds{' of pairs' * comparison.paired}" if interval else "",
    ]
    return ", ".join(filter(None, parts))


def clearly(comparison: Comparison) -> str:
    """Say how many neurons differ significantly; an empty string without a test."""
    evidence = next((result.evidence for result in comparison.of_grain("neuron") if result.evidence), None)
    if evidence is None or evidence.test is None:
        return ""
    count = int((evidence.test.neurons <= SIGNIFICANT).sum())
    return f"{count:,} of {comparison.neurons.total:,} significantly, p ≤ {SIGNIFICANT}"


def describe_settings(comparison: Comparison, more: Mapping[str, str]) -> dict[str, str]:
    """Return all settings that the figures depend on, by name, with ``more`` before them."""
    dna = comparison.aligned()[0]
    ranges = dna.known_ranges
    bounds = "of their own" if dna.self_ranging else f"{ranges.label} ({ranges.digest}, margin {ranges.margin})"
    weights = "none, the plain mean"
    if comparison.neuron_weights is not None:
        weights = f"{int(comparison.neuron_weights.count_nonzero())} neurons other than 0"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "timm", "numpy", "pillow"))
    return {
        **more,
        "extractor": comparison.extractor,
        "weights of the network": dna.weights_digest or "unknown",
        "preparation of images": in_words(
            dna.preparation and {step: setting for step, setting in dna.preparation.items() if setting is not None}
        ),
        "neurons": f"{comparison.neurons.total:,} in {len(comparison.neurons)} layers",
        "bins of a histogram": str(dna.num_bins),
        "ranges of activations": bounds,
        "weights of neurons": weights,
        "made": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "made by": f"torchmetrics-dna {__version__}, {versions}, Python {platform.python_version()}",
    }


def layers_table(comparison: Comparison) -> Table:
    """Return a table of the distances of each layer, with the interval and the test of the first that has them."""
    results = comparison.of_grain("neuron", "layer")
    tested = next((result for result in results if result.evidence), None)
    columns: dict[str, list[Cell]] = {"layer": [*comparison.neurons], "neurons": [*comparison.neurons.values()]}
    for result in results:
        figures = result.layers.values()
        columns[result.distance.name] = [figure.value for figure in figures]
        if result is tested:
            columns["without noise"] = [figure.debiased_shown for figure in figures]
            columns["interval"] = [figure.ends for figure in figures]
            columns["p"] = [p_figure(figure.p_value) for figure in figures]
    return Table(list(columns), list(zip(*columns.values(), strict=True)), "By layer")


def neurons_table(comparison: Comparison, most: int = 10) -> Table:
    """Return a table of the neurons that differ most clearly; by size if there is no test."""
    tested = clearly(comparison)
    keys = {result.distance.name: result.distance.key for result in comparison.of_grain("neuron")}
    keys |= {"mean shift": "shift"}
    tests = {"p": "p_value", "q": "q"} if tested else {}
    rows: list[list[Cell]] = [
        [
            neuron["layer"],
            name_of(neuron["layer"], neuron["neuron"]),
            *(neuron[key] for key in keys.values()),
            *(p_figure(neuron[key]) for key in tests.values()),
        ]
        for neuron in comparison.top_neurons(most)
    ]
    title = f"Neurons that differ most clearly ({tested})" if tested else "Neurons that differ most"
    return Table(["layer", "neuron", *keys, *tests], rows, title)
