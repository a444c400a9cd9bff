"""Tables of a comparison: its layers, and the neurons that differ most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.dna.names import number_and_name
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.reporting.words import clearly

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.files.tables import Cell


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
            number_and_name(neuron["layer"], neuron["neuron"], comparison.neuron_names),
            *(neuron[key] for key in keys.values()),
            *(p_figure(neuron[key]) for key in tests.values()),
        ]
        for neuron in comparison.top_neurons(most)
    ]
    title = f"Neurons that differ most clearly ({tested})" if tested else "Neurons that differ most"
    return Table(["layer", "neuron", *keys, *tests], rows, title)
