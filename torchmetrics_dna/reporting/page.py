"""The page of a report, from numbers."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from markupsafe import Markup

from torchmetrics_dna.dna.names import in_words, number_and_name
from torchmetrics_dna.files.visible import p_figure, visible
from torchmetrics_dna.reporting.drawing import (
    SmallHistograms,
    as_base64,
    colour_bar,
    neuron_map,
    small_histograms,
    spikes,
    step_path,
    thumbnail,
)
from torchmetrics_dna.reporting.templates import environment, styles
from torchmetrics_dna.reporting.words import clearly, describe_settings

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.reporting.findings import Findings
    from torchmetrics_dna.reporting.scored import Scored

_TOP = 12  # neurons whose histograms are shown at once
_PICTURES = 8  # at either end
_NAMED = 100  # images that could not be read
_HERE = "torchmetrics_dna.reporting"


def as_html(findings: Findings) -> str:
    """The page of a report."""
    found = findings.found
    a, b = found.aligned()
    histograms, full = small_histograms(a, b), spikes(a, b)
    emd = found["dna-emd"].values
    # by layer, those that differ most come first
    order = torch.cat([rows.start + emd[rows].argsort(descending=True) for rows in found.neurons.slices.values()])
    script = files(_HERE).joinpath("page.js").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("page.html")
        .render(
            told=findings,
            found=found,
            names=dict(zip("ab", findings.names, strict=True)),
            sure=found["dna-emd"].evidence is not None,
            tested=clearly(found),
            largest_layer=max(figure.value for figure in found["dna-emd"].layers.values()),
            map=_map(found, order),
            colour_bar=colour_bar(),
            data=_data(found, order, histograms) | {"spike": [full[i] for i in order.tolist()]},
            top=_top(found, histograms, full),
            sides=[_side(side, some) for side, some in findings.scored.items()],
            unreadable=found.unreadable[:_NAMED],
            settings=describe_settings(found, a, findings.settings),
            style=styles("page.css", "cards.css"),
            script=Markup(script),
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _map(found: Comparison, order: Tensor) -> dict[str, Any]:
    """A picture for each layer, and where it begins among all neurons."""
    emd = found["dna-emd"].values
    # a few neurons that differ by far more would leave the others one colour
    largest, columns = float(emd.quantile(0.99)) or float(emd.max()), _columns(found)
    layers = [
        {
            "name": layer,
            "first": rows.start,
            "count": rows.stop - rows.start,
            "picture": neuron_map(emd[order[rows]], largest, columns),
            "least": float(emd[rows].min()),
            "most": float(emd[rows].max()),
        }
        for layer, rows in found.neurons.slices.items()
    ]
    return {"largest": largest, "columns": columns, "layers": layers}


def _columns(found: Comparison) -> int:
    """Neurons in a row of the map; more of them where the map would be long."""
    return 64 if found.neurons.total <= 6000 else 128


def _data(found: Comparison, order: Tensor, histograms: SmallHistograms) -> dict[str, Any]:
    """What the script knows of each neuron, in the order of the map."""
    neurons = found.neurons
    every = [(layer, number) for layer in neurons for number in neurons.numbers(layer)]
    named = [(number, number_and_name(layer, number, found.neuron_names)) for layer, number in every]
    numbers = [number if name == str(number) else visible(name) for number, name in named]
    low, high = histograms.ends[order].T
    emd = found["dna-emd"]
    evidence = emd.evidence
    test = evidence.test if evidence else None
    return {
        "columns": _columns(found),
        "layers": [
            [visible(layer), rows.start, rows.stop - rows.start] for layer, rows in found.neurons.slices.items()
        ],
        "number": [numbers[i] for i in order.tolist()],
        "emd": _short(emd.values[order]),
        "shift": _short(found.mean_shift[order]),
        "q": [] if test is None else [p_figure(q) for q in test.q[order].tolist()],
        "low": _short(low),
        "high": _short(high),
        "used": histograms.used[order].tolist(),
        "levels": as_base64(histograms.levels[order]),
    }


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _top(found: Comparison, histograms: SmallHistograms, full: list[str]) -> list[dict[str, Any]]:
    """The neurons that differ most clearly, each with its figures and the outlines of its histograms."""
    top = found.top_neurons(_TOP)
    for neuron in top:
        i = found.neurons.index(neuron["layer"], neuron["neuron"])
        which = neuron["layer"], neuron["neuron"], found.neuron_names
        neuron["called"], neuron["name"] = in_words(*which), number_and_name(*which)
        neuron["spike"] = full[i]
        neuron["low"], neuron["high"] = histograms.ends[i].tolist()
        neuron["paths"] = [
            step_path(levels, int(histograms.used[i]), 240, 90) for levels in histograms.levels[i].tolist()
        ]
    return top


def _side(side: str, scored: Scored) -> dict[str, Any]:
    """The images of a side that are most and least like the other."""
    folder = f"{Path(scored.images.label)}/"
    most, least = (
        [
            {
                "name": scored.names[place].removeprefix(folder),
                "score": float(scored.scores[place]),
                "picture": thumbnail(scored.images[scored.numbers[place]]),
            }
            for place in places
        ]
        for places in scored.ends(_PICTURES)
    )
    return {
        "letter": side.upper(),
        "other": "B" if side == "a" else "A",
        "count": len(scored.names),
        "whole": len(scored.images),
        "median": float(scored.scores.median()),
        "groups": {"Most like": most, "Least like": least},
    }
