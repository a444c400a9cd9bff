"""The html page of a comparison."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from torchmetrics_dna.files.visible import images_in_words, number, p_figure, visible
from torchmetrics_dna.images.properties import neuron_in_words, neuron_name
from torchmetrics_dna.reporting.drawing import (
    SmallHistograms,
    colour_bar,
    ends_of,
    heat_bar,
    heat_picture,
    jpeg,
    neuron_map,
    place_of,
    png,
    small_histograms,
    spikes,
    step_path,
)
from torchmetrics_dna.reporting.findings import clearly, property_rows, settings_of, sides_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.images.cells import Crop
    from torchmetrics_dna.singles.look import Picture, Pictures

_TOP = 12  # neurons whose histograms are shown at once
_CARDS = 3  # that are not folded
_TICKS = 5  # of an axis
_NAMED = 100  # images that could not be read
_HERE = "torchmetrics_dna.reporting"


def as_html(comparison: Comparison, pictures: Pictures | None = None) -> str:
    """Render a comparison as one html page; without pictures, it shows no images."""
    a, b = comparison.aligned()
    histograms, spike_texts = small_histograms(a, b), spikes(a, b)
    emd = comparison["dna-emd"].values
    # within each layer, neurons that differ most come first
    order = torch.cat([rows.start + emd[rows].argsort(descending=True) for rows in comparison.neurons.slices.values()])
    script = _text("page.js")
    headline, figures = comparison.headline_and_figures
    explanation = comparison.explain()
    cards = [] if pictures is None else pictures.cards
    # a named cause explains the difference, so what crops show need not differ
    first = [] if explanation.causes else [i for i, card in enumerate(cards) if card.look_different][:_CARDS]
    return (
        _environment()
        .get_template("page.html")
        .render(
            comparison=comparison,
            names=dict(zip("ab", comparison.names, strict=True)),
            sides=sides_in_words(comparison),
            headline=headline.replace(" %", "\N{NO-BREAK SPACE}%"),
            figures=figures,
            measured_words=explanation.property_sentences,
            properties=property_rows(comparison),
            may_differ=explanation.differs is not False,
            explained=explanation.causes is not None,
            pictures=pictures,
            first=[cards[i] for i in first],
            folded=[card for i, card in enumerate(cards) if i not in first],
            odd={} if pictures is None or not pictures.odd else _unlike(pictures.odd, pictures.crop),
            unlike={} if pictures is None else {s: _unlike(p, pictures.crop) for s, p in pictures.unlike.items()},
            sure=comparison["dna-emd"].evidence is not None,
            tested=clearly(comparison),
            axis=_axis(comparison),
            map=_map(comparison, order),
            colour_bar=colour_bar(),
            data=_data(comparison, order, histograms) | {"spike": [spike_texts[i] for i in order.tolist()]},
            top=_top(comparison, histograms, spike_texts),
            heat_bar=heat_bar(),
            settings=settings_of(comparison, pictures),
            unreadable=comparison.unreadable[:_NAMED],
            style=Markup("\n".join(map(_text, ("page.css", "cards.css")))),
            script=Markup(script),
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _environment() -> Environment:
    """Return the Jinja environment of the page's templates; all values are escaped and made visible."""
    env = Environment(
        loader=PackageLoader(_HERE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # Markup is our own
    )
    env.filters |= {"number": number, "p": p_figure, "images": images_in_words}
    env.filters |= {"called": lambda neuron: neuron_in_words(*neuron), "parts": re.compile("[^/_.-]*[/_.-]?").findall}
    env.filters |= {"path": step_path, "jpeg": jpeg, "png": png}
    return env


def _text(name: str) -> str:
    return files(_HERE).joinpath(name).read_text(encoding="utf-8")


def _unlike(pictures: Sequence[Picture], crop: Crop) -> dict[str, Any]:
    """Return the images of a side that are least like the other, with their maps on one scale and where these peak."""
    heats = [picture.heat for picture in pictures if picture.heat is not None]
    ends = ends_of(torch.stack(heats)) if heats else None
    maps: list[tuple[Image.Image | None, str]] = [(None, "")] * len(pictures)
    if ends is not None:
        pairs = zip(pictures, heats, strict=True)
        maps = [(heat_picture(picture.picture, heat, ends, crop), place_of(heat)) for picture, heat in pairs]
    return {"ends": ends, "images": list(zip(pictures, maps, strict=True))}


def _axis(comparison: Comparison) -> dict[str, Any]:
    """Return round ticks from 0, and the end of the axis, for the distance of each layer."""
    layers = comparison.of_grain("neuron", "layer")[0].layers.values()
    largest = max((figure.interval.high if figure.interval else figure.value) for figure in layers) or 1.0
    power = 10 ** math.floor(math.log10(largest))
    step = next(step for step in (0.2 * power, 0.5 * power, power, 2 * power, 5 * power) if largest / step <= _TICKS)
    return {"ticks": [step * i for i in range(int(largest / step) + 1)], "largest": 1.04 * largest}


def _map(comparison: Comparison, order: Tensor) -> dict[str, Any]:
    """Return a picture for each layer, and its first neuron's position in the map."""
    emd = comparison["dna-emd"].values
    # the maximum would be set by a few outliers and leave the other neurons one colour
    largest, columns = float(emd.quantile(0.99)) or float(emd.max()), _columns(comparison)
    layers = [
        {
            "name": layer,
            "first": rows.start,
            "count": rows.stop - rows.start,
            "picture": neuron_map(emd[order[rows]], largest, columns),
            "least": float(emd[rows].min()),
            "most": float(emd[rows].max()),
        }
        for layer, rows in comparison.neurons.slices.items()
    ]
    return {"largest": largest, "layers": layers}


def _columns(comparison: Comparison) -> int:
    """Return the number of neurons in a row of the map, larger for large networks."""
    return 64 if comparison.neurons.total <= 6000 else 128


def _data(comparison: Comparison, order: Tensor, histograms: SmallHistograms) -> dict[str, Any]:
    """Return the data of each neuron for the script, in the order of the map."""
    slices = comparison.neurons.slices.items()
    names = [visible(neuron_name(*comparison.neurons.locate(i))) for i in order.tolist()]
    low, high = histograms.ends[order].T
    emd = comparison["dna-emd"]
    test = emd.evidence.test if emd.evidence else None
    return {
        "columns": _columns(comparison),
        "layers": [[visible(layer), rows.start, rows.stop - rows.start] for layer, rows in slices],
        "number": [int(name) if name.isdecimal() else name for name in names],
        "emd": _short(emd.values[order]),
        "shift": _short(comparison.mean_shift[order]),
        "q": [] if test is None else [p_figure(q) for q in test.q[order].tolist()],
        "low": _short(low),
        "high": _short(high),
        "used": histograms.used[order].tolist(),
        "levels": base64.b64encode(histograms.levels[order].numpy().tobytes()).decode(),
    }


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _top(comparison: Comparison, histograms: SmallHistograms, spike_texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the neurons that differ most clearly, with figures and their histograms."""
    top = comparison.top_neurons(_TOP)
    for neuron in top:
        i = comparison.neurons.index(neuron["layer"], neuron["neuron"])
        neuron["called"] = neuron_in_words(neuron["layer"], neuron["neuron"])
        neuron["spike"] = spike_texts[i]
        neuron["low"], neuron["high"] = histograms.ends[i].tolist()
        neuron["heights"] = histograms.levels[i, :, : int(histograms.used[i])].tolist()
    return top
