"""Results of the command ``compare``: of two sets, of several, and of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from torchmetrics_dna.cli.console import listing, numbers
from torchmetrics_dna.cli.output import Printout, terminal_tables
from torchmetrics_dna.files.visible import number, p_in_words

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons


def output_of(compared: Comparison | Comparisons | ClassComparisons, cite: bool = False) -> Printout:
    """Return what the command writes of a result of :func:`compare`, with a citation if so asked."""
    from torchmetrics_dna.comparisons.comparison import Comparison

    citation = compared.cite() if cite else ""
    if isinstance(compared, Comparison):
        return _of_two(compared, citation)
    return Printout(compared.to_dict, compared.rows, [compared.verdict], [compared.table], citation=citation)


def _of_two(result: Comparison, citation: str) -> Printout:
    from torchmetrics_dna.reporting.words import layers_table, neurons_table

    sentences = [result.verdict, *result.explain().property_sentences] if result.verdict else []
    tables = [layers_table(result)] if result.of_grain("neuron", "layer") else []
    tables += [neurons_table(result)] if result.of_grain("neuron") else []
    tables = [] if result.same_images else tables
    text = [*sentences, *[""][: len(sentences)], _summary(result), *terminal_tables(tables)]
    return Printout(result.to_dict, result.rows, sentences, [result.table, *tables], text, citation=citation)


def _summary(result: Comparison) -> RichTable:
    """Return the main figures of a comparison as a table."""
    from torchmetrics_dna.functional.permutation import SIGNIFICANT

    figures: list[tuple[str, float | str | None, str]] = []
    for name, distance in result.items():
        figures.append((name, distance.value, result.about(distance)))
        if evidence := distance.evidence:
            interval, p = evidence.interval, distance.p_value
            if interval is not None:
                sure = f"{interval.level} interval {interval.ends}"
                figures.append(("  without noise", distance.overall.debiased_shown, sure))
            if p is not None:
                about = f"95 % of equal sets below {number(evidence.null_high)}; {p_in_words(p)}"
                if (
                    p <= SIGNIFICANT
                    and distance.value <= (evidence.null_high or 0)
                    and distance.distance.grain == "neuron"
                ):
                    about += " for the clearest layer or neuron"  # which the mean over all neurons need not show
                figures.append(("  by chance", evidence.null, about))
    values = numbers([value for _, value, _ in figures])
    rows: list[tuple[str, str | Text, str]] = [
        (name, Text(value, "" if name.startswith(" ") else "bold"), what)
        for (name, _, what), value in zip(figures, values, strict=True)
    ]
    where = f"in {' and '.join(result.names)}" + ", as pairs" * result.paired
    rows.append(("images", " and ".join(str(n or "unknown") for n in result.num_images.values()), where))
    ranges = f", ranges {result.ranges}" if result.ranges else ""
    rows.append(("extractor", result.extractor, f"{result.neurons.total:,} neurons{ranges}"))
    return listing(rows)
