"""Commands that compare image sets."""

from __future__ import annotations

import shlex
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_figure,
    check_sources,
    listing,
    numbers,
    out,
    print_unreadable,
    progress,
    rich_table,
    talk,
)
from torchmetrics_dna.cli.gates import check_gates
from torchmetrics_dna.cli.measuring import measures_images, showing_progress
from torchmetrics_dna.cli.output import (
    Format,
    FormatOption,
    Printout,
    ResultFile,
    format_for,
    terminal_tables,
    write,
)
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import number, p_figure

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons

_OF_A_MATRIX = ("feature", "layers", "metrics", "num_bins", "ranges", "neuron_weights", "reading")
_USUAL = {"num_folds": 20, "confidence": 0.95}
_WIDE = 10  # sets; a full matrix of more is too wide for a terminal
_DEMO_SETS = 9  # degraded copies; counted without torch, so that the first line comes at once


@measures_images("num_bins", "ranges", "properties", "crop", "fps", "on")
def compare(
    a: o.SideA,
    b: o.SideB,
    more: o.MoreSides = None,
    metrics: o.AllMetrics = None,
    neuron_weights: o.NeuronWeightsFile = None,
    num_folds: Annotated[int, o.statistic_option("Folds of images for intervals and tests; 0 for neither.")] = 20,
    groups: o.Groups = None,
    pairs: o.Pairs = None,
    confidence: o.Confidence = 0.95,
    changes: o.ChangesFile = None,
    by: Annotated[
        str | None,
        o.statistic_option(
            "Compare class by class: folder, a .csv of images and classes, or column:NAME of Parquet.",
        ),
    ] = None,
    every: Annotated[
        bool, o.statistic_option("Compare all sets with each other, not only with A: a matrix.", "--all")
    ] = False,
    plot: Annotated[
        Path | None,
        o.output_option("Draw the layers of two sets, several sets over what their names count, or all with all."),
    ] = None,
    fail_above: Annotated[float | None, o.output_option("Exit with code 1 if a distance is above this.")] = None,
    fail_unless_below: Annotated[
        float | None, o.output_option("Exit with code 1 unless the images show a distance below this.", rare=True)
    ] = None,
    fail_if_different: Annotated[
        bool, o.output_option("Exit with code 1 if the test finds a difference.", "--fail-if-different")
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Compare two image sets, or DNAs of them; or the first with each of several."""
    options |= {
        "metrics": o.names(metrics),
        "neuron_weights": neuron_weights,
        "changes": changes,
        "confidence": confidence,
        "num_folds": num_folds or None,
        "groups": groups,
        "pairs": pairs and pairs.pairs,
    }
    check_sources(a, b, *(more or ()))
    form = format_for(form, output)
    if by is not None and more:
        raise ValueError("Option --by is for two sets; leave it out, or compare each pair by itself")
    if plot is not None:
        if by is not None:
            raise ValueError("Option --plot is for whole sets; leave it out, or leave out --by")
        check_figure(plot)
    for name, limit, least in (("--fail-above", fail_above, -inf), ("--fail-unless-below", fail_unless_below, 0)):
        if limit is not None:
            if not least < limit < inf:
                expected = "a number" if least < 0 else "a number above 0"
                raise ValueError(f"Option {name} expected to be {expected}, but got {limit:g}")
            from torchmetrics_dna.dna.distances import check_distances

            check_distances(options["metrics"], f"Option {name}")
    if every:
        gates = {
            "fail_above": fail_above,
            "fail_unless_below": fail_unless_below,
            "fail_if_different": fail_if_different,
        }
        _compare_all([a, b, *(more or ())], options | {"by": by} | gates, plot, form, output)
        return
    from torchmetrics_dna.comparisons.compare import compare as compare_sets
    from torchmetrics_dna.comparisons.comparisons import by_name

    sides: Any = by_name([b, *more]) if more else b
    with showing_progress(options) as packed:
        compared: Any = compare_sets(a, sides, by=by, distributed=PROCESSES > 1, **packed)
    write(output_of(compared), form, output)
    _comment(compared)
    _draw(compared, plot)
    if not more and by is None and form is Format.TEXT:
        _say_what_next(compared, a, b)
    by_set = compared if more or by else {compared.names[1]: compared}
    limits = {"fail_above": fail_above, "fail_unless_below": fail_unless_below}
    check_gates(by_set, 1 - confidence, **limits, fail_if_different=fail_if_different)


def output_of(compared: Comparison | Comparisons | ClassComparisons) -> Printout:
    """Return what the command writes of a result of :func:`compare`."""
    from torchmetrics_dna.comparisons.comparison import Comparison

    if isinstance(compared, Comparison):
        return _of_two(compared)
    return Printout(compared.to_dict, compared.rows, [compared.verdict], [compared.table])


def _of_two(result: Comparison) -> Printout:
    from torchmetrics_dna.reporting.findings import layers_table, neurons_table

    sentences = [result.verdict, *result.explain().property_sentences] if result.verdict else []
    tables = [layers_table(result)] if result.of_grain("neuron", "layer") else []
    tables += [neurons_table(result)] if result.of_grain("neuron") else []
    tables = [] if result.same_images else tables
    text = [*sentences, *[""][: len(sentences)], _summary(result), *terminal_tables(tables)]
    return Printout(result.to_dict, result.rows, sentences, [result.table, *tables], text)


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
                about = f"95 % of equal sets below {number(evidence.null_high)}; {p_figure(p, 'p')}"
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


def _comment(compared: Any) -> None:
    """Print on stderr what the result does not say."""
    for notice in getattr(compared, "notices", ()):
        talk.print(f"{notice}.")
    alone = getattr(compared, "alone", ())
    for side, names in zip(compared.total.names if alone else (), alone, strict=True):
        if names:
            talk.print(f"Only {side} has {len(names)} more: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.")
    print_unreadable(compared.unreadable)


def _draw(compared: Any, plot: Path | None) -> None:
    """Draw the result, in the first process."""
    from torchmetrics_dna.jobs.processes import rank

    if plot is not None and rank() == 0:
        compared.plot().savefig(plot)
        talk.print(f"The figure is in {plot}")


def _compare_all(
    sets: list[str], options: dict[str, Any], plot: Path | None, form: Format, output: Path | None
) -> None:
    """Compare all sets with each other."""
    from torchmetrics_dna.comparisons import matrix

    require("scipy", "plot")
    arguments = {name: options.pop(name) for name in _OF_A_MATRIX}
    are_set = [name for name, value in options.items() if value is not None and value is not False]  # 0 is set, too
    if others := [name for name in are_set if options[name] != _USUAL.get(name)]:
        name = others[0].replace("_", "-")
        raise ValueError(f"Option --{name} is for sets against one reference; leave it out, or leave out --all")
    o.known_metrics(",".join(arguments["metrics"]) if arguments["metrics"] else None)
    with showing_progress(arguments) as packed:
        distances = matrix(sets, distributed=PROCESSES > 1, **packed)
    table = distances.table
    columns, cells = (_near if len(table.rows) > _WIDE else _numbered)(table)
    text = [distances.verdict, "", rich_table(columns, cells, table.title), *table.notes]
    write(Printout(distances.to_dict, distances.rows, [distances.verdict], [table], text), form, output)
    print_unreadable(distances.unreadable)
    _draw(distances, plot)


def _numbered(table: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the full matrix, its columns numbered like its rows."""
    cells = [
        [f"{i} {name}", images, *(None if j == i else value for j, value in enumerate(values, 1))]
        for i, (name, images, *values) in enumerate(table.rows, 1)
    ]
    return ["set", "images", *map(str, range(1, len(cells) + 1))], cells


def _near(table: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the nearest and the furthest set of each."""
    names, cells = table.header[2:], []
    for i, (name, images, *values) in enumerate(table.rows):
        others = [(value, j) for j, value in enumerate(values) if j != i]
        (near, nearest), (far, furthest) = min(others), max(others)
        mean = sum(value for value, _ in others) / len(others)
        cells.append([name, images, names[nearest], near, names[furthest], far, mean])
    return ["set", "images", "nearest", "distance", "furthest", "distance", "mean of all"], cells


def demo(
    output: Annotated[Path, o.option("Where the figure goes.", "-o", "--output")] = Path("demo.png"),
    num_images: Annotated[int, o.option("Photographs to compare with their degraded copies.")] = 8,
) -> None:
    """Compare photographs with degraded copies of rising strength, and plot how the distances rise."""
    require("skimage", "demo")
    check_figure(output)
    talk.print(
        f"Comparing {num_images} photographs with {_DEMO_SETS} degraded copies{', about 15 s' * (num_images == 8)}"
    )
    from torchmetrics_dna.demo import plot_demo, run_demo

    with progress() as report:
        result = run_demo(num_images, report)
    distances = "dna-emd", "dna-fd"
    rows: list[list[str | float | None]] = [
        [comparison.names[1], *(comparison[distance].value for distance in distances)]
        for comparisons in result.comparisons.values()
        for comparison in comparisons
    ]
    shown = rich_table(["copies", *distances], rows, f"{num_images} photographs against their degraded copies")
    for row in shown.rows[len(result.strengths) - 1 :: len(result.strengths)]:
        row.end_section = True
    out.print(shown)
    for comparisons in result.comparisons.values():
        out.print(comparisons[len(comparisons) // 2].verdict)
    plot_demo(result).savefig(output)
    talk.print(f"The figure is in {output}")
    talk.print("Now with images of your own: torchmetrics-dna compare photos/ generated/")


def _say_what_next(result: Comparison, a: str, b: str) -> None:
    """Print on stderr the commands that show more of a difference."""
    from torchmetrics_dna.dna.load import is_dna_path
    from torchmetrics_dna.functional.permutation import SIGNIFICANT

    if "dna-emd" not in result or not result["dna-emd"].value or (result.p_value or 0) > SIGNIFICANT or is_dna_path(b):
        return
    which = "most like A" if is_dna_path(a) else "off"  # a DNA of histograms does not say how far its images are apart
    a, b = map(shlex.quote, (a, b))
    talk.print()
    talk.print(f"What differs, in pictures: torchmetrics-dna report {a} {b} -o report.html", soft_wrap=True)
    talk.print(f"Which images of B are {which}: torchmetrics-dna rank {b} --reference {a}", soft_wrap=True)
