"""Results of the command ``compare``: of two sets, of several, and of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from torchmetrics_dna.cli.console import listing, numbers
from torchmetrics_dna.cli.output import Printout, terminal_tables
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import number, p_figure, p_in_words

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.files.tables import Cell


def output_of(compared: Comparison | Comparisons | ClassComparisons) -> Printout:
    """Return what the command writes of a result of :func:`compare`."""
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons

    if isinstance(compared, Comparison):
        return _of_two(compared)
    is_by_set = isinstance(compared, Comparisons)
    table = _sets_table(compared) if is_by_set else _classes_table(compared)  # type: ignore[arg-type]
    return Printout(compared.to_dict, compared.rows, [compared.verdict], [table])


def _of_two(result: Comparison) -> Printout:
    from torchmetrics_dna.reporting.tables import distances_table, layers_table, neurons_table

    sentences = [result.verdict, *result.explain().property_sentences] if result.verdict else []
    tables = [layers_table(result)] if result.of_grain("neuron", "layer") else []
    tables += [neurons_table(result)] if result.of_grain("neuron") else []
    tables = [] if result.same_images else tables
    text = [*sentences, *[""][: len(sentences)], _summary(result), *terminal_tables(tables)]
    return Printout(result.to_dict, result.rows, sentences, [distances_table(result), *tables], text)


def _summary(result: Comparison) -> RichTable:
    """Return the main figures of a comparison as a table."""
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


def _sets_table(comparisons: Comparisons) -> Table:
    """Return a table of the sets, with a mark on the best."""
    key = DISTANCES[comparisons.distance].key
    names = {DISTANCES[name].key: name for comparison in comparisons.values() for name in comparison}
    records = comparisons.rows()
    has_folds = any(record[f"{key}_debiased"] is not None for record in records)
    has_test = any(record["p_value"] is not None for record in records)
    header = ["set", "images", *names.values(), *["without noise", "interval"] * has_folds]
    header += ["p (Holm)", "p (best nearer)"] * has_test
    rows: list[list[Cell]] = []
    for record in records:
        figure = comparisons[record["set"]][comparisons.distance].overall
        row = [f"{record['set']}{' (best)' if record['best'] else ''}", record["num_images"]]
        row += [record[name] for name in names] + [figure.debiased_shown, figure.ends] * has_folds
        rows.append(row + [p_figure(record["p_holm"]), p_figure(record["p_best_is_nearer"])] * has_test)
    return Table(header, rows, f"{len(rows)} sets against {comparisons.reference}")


def _classes_table(comparisons: ClassComparisons) -> Table:
    """Return a table of the classes, furthest first, and of all together."""
    names = {result.distance.key: name for name, result in comparisons.total.items()}
    distance, p = comparisons.distance, comparisons.total[comparisons.distance].p_value
    records = [*comparisons.rows(), comparisons.row("all together", comparisons.total, p, None)]
    results = [*(comparisons[name] for name in comparisons.order), comparisons.total]
    tests = {
        key: name
        for key, name in {"p_holm": "p (Holm)", "q_value": "q"}.items()
        if any(record[key] is not None for record in records)
    }
    has_folds = any(result[distance].interval for result in results)
    header = ["class", "images of A", "of B", *names.values(), *["without noise"] * has_folds, *tests.values()]
    rows: list[list[Any]] = [
        [record["class"], record["images_a"], record["images_b"], *(record[key] for key in names)]
        + [result[distance].overall.debiased_shown] * has_folds
        + [p_figure(record[key]) for key in tests]
        for record, result in zip(records, results, strict=True)
    ]
    return Table(header, rows, f"{len(comparisons)} classes")
