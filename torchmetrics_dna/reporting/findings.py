"""Content of a report, and as Markdown and json; sentences and tables of a comparison."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.dna.explanation import name_of, scale_for
from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.tables import Table, escaped_markdown
from torchmetrics_dna.files.visible import images_in_words, in_words, number, p_figure, strict_json
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.properties import property_in_words
from torchmetrics_dna.reporting.cards import describe_card
from torchmetrics_dna.reporting.drawing import GROUPS, step_path
from torchmetrics_dna.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.explanation import Explanation, Scale
    from torchmetrics_dna.files.tables import Cell
    from torchmetrics_dna.singles.cards import Cards
    from torchmetrics_dna.statistics.scores import Scorer


class Place(NamedTuple):
    """Place of a distance on the scale of known changes.

    Attributes:
        scale: The scale.
        value: The distance, in bins.
        low: Lower end of its interval.
        high: Upper end.
        shown: The distance in words.
        is_debiased: True if it is corrected for sampling noise.

    """

    scale: Scale
    value: float
    low: float
    high: float
    shown: str
    is_debiased: bool

    @property
    def largest(self) -> float:
        """Largest value of the scale, or of the interval."""
        return max(self.high, *(mark.most for mark in self.scale.marks))

    @property
    def note(self) -> str:
        """Sentences on what the scale shows."""
        draws = f"means and ranges of {self.scale.num_draws} draws of {self.scale.images}"
        note = f"Known changes of photographs on the same scale: {draws}. Only p says whether a difference is real."
        if not self.is_debiased:
            note += " dna-emd is shown without the correction, which takes too much from sets that share images."
        return note

    @property
    def sentence(self) -> str:
        """The distance beside all known changes."""
        marks = [
            f"{mark.name} {number(mark.mean, 3)} ({number(mark.least, 3)} to {number(mark.most, 3)})"
            for mark in self.scale.marks
        ]
        return f"dna-emd {self.shown}; on the same scale, of {self.scale.images}: {', '.join(marks)}."


@dataclass(frozen=True)
class Findings:
    """Content of a report on two image sets.

    Attributes:
        comparison: The comparison, with histograms of known ranges.
        cards: Cards of the neurons with most evidence, and the sampled images; None if neither side has images.
        scorers: By side, ``"a"``, ``"b"`` or both, the scorer of its sample.
        settings: Settings to list beside those of the comparison.
        partners: Index in B of the partner of each image of A; None unless images correspond.

    """

    comparison: Comparison
    cards: Cards | None
    scorers: Mapping[str, Scorer]
    settings: Mapping[str, str]
    partners: Sequence[int] | None = None

    @cached_property
    def explanation(self) -> Explanation:
        """Explanation of the differences in words."""
        return self.comparison.explain()

    @property
    def may_differ(self) -> bool:
        """True unless the test shows no difference, where single images and neurons have nothing to show."""
        return self.explanation.differs is not False

    @cached_property
    def place_on_scale(self) -> Place | None:
        """This comparison's dna-emd on the scale of known changes; None if that was not measured in the same way."""
        result = self.comparison["dna-emd"]
        scale = scale_for(self.comparison.aligned()[0]) if result.weights is None else None
        if scale is None:
            return None
        if self.comparison.shares_images and not self.comparison.paired:  # correction assumes independent sides
            return Place(scale, result.value, result.value, result.value, f"{number(result.value, 3)} bins", False)
        interval = result.interval
        if interval is None:
            return None
        shown = result.overall.debiased_shown
        text = shown if isinstance(shown, str) else f"{number(interval.value, 3)} bins"
        return Place(scale, interval.value, interval.low, interval.high, text, True)

    @property
    def sentences(self) -> list[str]:
        """Sentences after the verdict: properties of images that differ."""
        return self.explanation.property_sentences

    @property
    def sides(self) -> dict[str, str]:
        """Name and number of images of ``"a"`` and ``"b"``."""
        names, counts = self.comparison.names, self.comparison.num_images
        return {
            side: images_in_words(counts[side]) if name == side.upper() else f"{name} ({images_in_words(counts[side])})"
            for side, name in zip("ab", names, strict=True)
        }

    @property
    def all_settings(self) -> dict[str, str]:
        """All settings that the figures depend on, by name."""
        return describe_settings(self.comparison, self.settings)

    @property
    def summary(self) -> str:
        """One paragraph, for a paper or a pull request."""
        sides = ", ".join(f"{side.upper()}: {text}" for side, text in self.sides.items())
        return " ".join(
            [
                f"{sides}.",
                self.comparison.verdict,
                *self.explanation.property_sentences,
                f"({made_with(self.comparison)}.)",
            ]
        )

    @cached_property
    def properties(self) -> list[dict[str, Any]]:
        """Rows of all properties of images, clearest difference first; empty if they were not measured."""
        comparison = self.comparison.properties
        if comparison is None:
            return []
        a, b = comparison.means
        shares, used, _ = grouped(*comparison.aligned(), GROUPS)
        heights = (255 * shares / shares.amax((1, 2), keepdim=True)).round().int().tolist()
        p = self.comparison.p_value_of_properties
        rows = []
        for row in comparison.top_neurons(comparison.neurons.total):
            name, place = name_of(row["layer"], row["neuron"]), comparison.neurons.index(row["layer"], row["neuron"])
            values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
            clear = None if row["q"] is None or p is None else row["q"] <= SIGNIFICANT >= p
            paths = [step_path(side, int(used[place]), 160, 24) for side in heights[place]]
            rows.append({"name": name, **values, "q": row["q"], "clear": clear, "paths": paths})
        return rows


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


def as_markdown(findings: Findings) -> str:
    """Render a report as Markdown: the words and tables of the page, without pictures."""
    comparison, sides = findings.comparison, map(escaped_markdown, findings.sides.values())
    headline, figures = map(escaped_markdown, comparison.headline_and_figures)
    place = findings.place_on_scale
    differing = [[row["name"], row["a"], row["b"], p_figure(row["q"])] for row in findings.properties if row["clear"]]
    parts = [
        f"# {headline}",
        "A: {}  \nB: {}".format(*sides),
        *filter(None, [figures, place and escaped_markdown(place.sentence)]),
        *(f"Note: {escaped_markdown(notice)}." for notice in comparison.notices),
        *(["## What differs", Table(["property of images", "A", "B", "q"], differing).markdown()] if differing else []),
        "## Where in the network",
        layers_table(comparison).markdown(),
        "## Over all layers",
        comparison.table.markdown(),
        "## Which neurons",
        neurons_table(comparison).markdown(),
        "## What was done",
        Table(["setting", "value"], list(findings.all_settings.items())).markdown(),
        *(f"Left out: {escaped_markdown(line)}" for line in comparison.unreadable),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """Render a report as json: that of ``compare`` with the summary, cards and settings."""
    comparison, cards = findings.comparison, findings.cards
    place = findings.place_on_scale
    record = {
        "summary": findings.summary,
        "sentences": findings.sentences,
        "names": dict(zip("ab", comparison.names, strict=True)),
        **comparison.to_dict(),
        "scale": [mark._asdict() for mark in place.scale.marks] if place else [],
        "cards": [describe_card(card) for card in cards.cards] if cards else [],
        "settings": findings.all_settings,
    }
    return strict_json(record, indent=2, ensure_ascii=False) + "\n"
