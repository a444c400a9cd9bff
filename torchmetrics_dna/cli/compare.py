"""Commands that compare image sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.compare_classes import print_classes
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_figure,
    check_sources,
    listing,
    numbers,
    out,
    print_json,
    print_unreadable,
    progress,
    table,
    talk,
)
from torchmetrics_dna.cli.gates import check_gates
from torchmetrics_dna.cli.measuring import measures_images, with_progress
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.demo import Demo
    from torchmetrics_dna.dna.distance import Result


@measures_images(anywhere=True)
def compare(
    a: o.SideA,
    b: o.SideB,
    more: o.MoreSides = None,
    metrics: o.Metrics = None,
    neuron_weights: o.NeuronWeightsFile = None,
    neuron_names: o.NeuronNamesFile = None,
    num_folds: Annotated[
        int, o.statistic_option("Folds of images for intervals and tests; 0 for neither.", "--folds")
    ] = 20,
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
    curve: Annotated[
        Path | None, o.output_option("Draw the distances of several sets over what their names count.")
    ] = None,
    fail_above: Annotated[float | None, o.output_option("Exit with code 1 if a distance is above this.")] = None,
    fail_unless_below: Annotated[
        float | None, o.output_option("Exit with code 1 unless the images show a distance below this.", rare=True)
    ] = None,
    fail_if_different: Annotated[
        bool, o.output_option("Exit with code 1 if the test finds a difference.", "--fail-if-different")
    ] = False,
    as_csv: Annotated[
        bool, o.output_option("Print several sets or classes as comma-separated values.", "--csv")
    ] = False,
    as_markdown: Annotated[
        bool, o.output_option("Print several sets or classes as a Markdown table.", "--markdown")
    ] = False,
    as_json: o.Json = False,
    **options: Any,
) -> None:
    """Compare two image sets, or DNAs of them; or the first with each of several."""
    options |= {
        "metrics": o.names(metrics),
        "neuron_weights": neuron_weights,
        "neuron_names": neuron_names,
        "changes": changes,
        "confidence": confidence,
        "num_folds": num_folds,
        "groups": groups,
        "pairs": pairs and pairs.pairs,
    }
    check_sources(a, b, *(more or ()))
    form = o.one_form(csv=as_csv, markdown=as_markdown, json=as_json)
    _check(bool(more), by, form, curve)
    if fail_unless_below is not None and not fail_unless_below > 0:
        raise ValueError(f"Option --fail-unless-below expected to be above 0, but got {fail_unless_below:g}")
    for name, limit in (("--fail-above", fail_above), ("--fail-unless-below", fail_unless_below)):
        if limit is not None:
            from torchmetrics_dna.dna.distances import check_distances

            check_distances(options["metrics"], f"Option {name}")
    with progress() as report:
        compared = _compare(a, [b, *(more or ())], by, distributed=PROCESSES > 1, **with_progress(options, report))
    _print(compared, form, curve, (a, b))
    by_set = compared if more or by else {"B": compared}
    limits = {"fail_above": fail_above, "fail_unless_below": fail_unless_below}
    check_gates(by_set, 1 - confidence, **limits, fail_if_different=fail_if_different)


def _check(many: bool, by: str | None, form: str | None, curve: Path | None) -> None:
    """Raise ValueError if an option does not fit the number of sets, or the comparison of classes."""
    if by is not None and many:
        raise ValueError("Option --by is for two sets; leave it out, or compare each pair by itself")
    for name, is_given, applies, what in (
        (f"--{form}", form in ("csv", "markdown"), many or by, "several sets or for classes"),
        ("--curve", curve is not None, many, "several sets"),
    ):
        if is_given and not applies:
            raise ValueError(f"Option {name} is for {what}; leave it out")
    if curve is not None:
        check_figure(curve)


def _compare(reference: str, sets: list[str], by: str | None, **options: Any) -> Any:
    from torchmetrics_dna.comparisons.compare import compare as compare_sets
    from torchmetrics_dna.comparisons.comparisons import by_name

    return compare_sets(reference, by_name(sets) if len(sets) > 1 else sets[0], by=by, **options)


def _print(compared: Any, form: str | None, curve: Path | None, sides: tuple[str, str]) -> None:
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons

    if isinstance(compared, Comparison):
        _print_comparison(compared, form == "json")
    elif isinstance(compared, Comparisons):
        _print_comparisons(compared, form, curve)
    else:
        print_classes(compared, form)
    print_unreadable(compared.unreadable)
    if isinstance(compared, Comparison) and form is None:
        _say_what_next(compared, *sides)


def _print_comparisons(comparisons: Comparisons, form: str | None, curve: Path | None) -> None:
    from torchmetrics_dna.cli.compare_many import print_comparisons
    from torchmetrics_dna.jobs.processes import rank

    print_comparisons(comparisons, form)
    if curve is not None and rank() == 0:
        from torchmetrics_dna.plots import plot_curve

        plot_curve(comparisons).savefig(curve)
        talk.print(f"The curve is in {curve}")


def demo(
    output: Annotated[Path, o.option("Where the figure goes.", "-o", "--output")] = Path("demo.png"),
    num_images: Annotated[int, o.option("Photographs to compare with their degraded copies.")] = 32,
) -> None:
    """Compare photographs with degraded copies of rising strength, and plot how the distances rise."""
    require("skimage", "demo")
    check_figure(output)
    from torchmetrics_dna.demo import run_demo
    from torchmetrics_dna.plots import plot_demo

    with progress() as report:
        result = run_demo(num_images, report)
    _print_demo(result)
    plot_demo(result).savefig(output)
    talk.print(f"The figure is in {output}")


def _print_comparison(result: Comparison, as_json: bool) -> None:
    if as_json:
        print_json(result.to_dict())
        return
    if "dna-emd" in result:
        from torchmetrics_dna.reporting.words import verdict

        out.print(verdict(result))
        for sentence in result.explain().sentences:
            out.print(sentence)
        out.print()
    out.print(_summary(result))
    if of_layers := result.of_grain("neuron", "layer"):
        out.print("", _layers(result, of_layers))
    if result.of_grain("neuron"):
        out.print("", _top_neurons(result))
    for notice in result.notices:
        talk.print(f"{notice}.")


def _say_what_next(result: Comparison, a: str, b: str) -> None:
    """Print on stderr the commands that show more of a difference."""
    from torchmetrics_dna.dna.load import is_dna_path
    from torchmetrics_dna.functional.permutation import SIGNIFICANT

    if "dna-emd" not in result or not result["dna-emd"].value or (result.p_value or 0) > SIGNIFICANT or is_dna_path(b):
        return
    a, b = map(shlex.quote, (a, b))
    talk.print()
    talk.print(f"What differs, in pictures: torchmetrics-dna report {a} {b} -o report.html", soft_wrap=True)
    talk.print(f"Which images of B are off: torchmetrics-dna rank {b} --reference {a}", soft_wrap=True)


def _summary(result: Comparison) -> Table:
    """Return the main figures of a comparison as a table."""
    from torchmetrics_dna.files.visible import p_in_words

    figures: list[tuple[str, float | str | None, str]] = []
    for name, distance in result.items():
        figures.append((name, distance.value, result.about(distance)))
        if evidence := distance.evidence:
            interval, p = evidence.interval, distance.p_value
            if interval is not None:
                sure = f"{interval.confidence:.0%} interval {interval.ends}"
                figures.append(("  without noise", distance.overall.debiased_shown, sure))
            if p is not None:
                about = f"95% of equal sets below {number(evidence.null_high)}; {p_in_words(p)}"
                figures.append(("  by chance", evidence.null, about))
    values = numbers([value for _, value, _ in figures])
    rows: list[tuple[str, str | Text, str]] = [
        (name, Text(value, "" if name.startswith(" ") else "bold"), what)
        for (name, _, what), value in zip(figures, values, strict=True)
    ]
    where = "in A and B" + ", as pairs" * result.paired
    rows.append(("images", " and ".join(str(n or "unknown") for n in result.num_images.values()), where))
    ranges = f", ranges {result.ranges}" if result.ranges else ""
    rows.append(("extractor", result.extractor, f"{result.neurons.total:,} neurons{ranges}"))
    return listing(rows)


def _layers(result: Comparison, distances: Sequence[Result]) -> Table:
    """Return a table of the distances of each layer, plain and debiased, with p-values."""
    from torchmetrics_dna.files.visible import p_figure

    columns: dict[str, list[float | str | None]] = {}
    for distance in distances:
        figures = distance.layers.values()
        columns[distance.distance.name] = [figure.value for figure in figures]
        if distance.evidence and "p" not in columns:
            columns["without noise"] = [figure.debiased_shown for figure in figures]
            columns["p"] = [p_figure(figure.p_value) for figure in figures]
    rows = [[*row] for row in zip(result.neurons, result.neurons.values(), *columns.values(), strict=True)]
    return table(["layer", "neurons", *columns], rows, "By layer")


def _top_neurons(result: Comparison) -> Table:
    """Return a table of the neurons that differ most clearly; by size if there is no test."""
    from torchmetrics_dna.dna.names import number_and_name as named
    from torchmetrics_dna.files.visible import p_figure
    from torchmetrics_dna.reporting.words import clearly

    top, tested = result.top_neurons(), clearly(result)
    keys = {each.distance.name: each.distance.key for each in result.of_grain("neuron")} | {"mean shift": "shift"}
    more = {"p": "p_value", "q": "q"} if tested else {}
    rows = [
        [
            n["layer"],
            named(n["layer"], n["neuron"], result.neuron_names),
            *(n[key] for key in keys.values()),
            *(p_figure(n[key]) for key in more.values()),
        ]
        for n in top
    ]
    title = f"Neurons that differ most clearly ({tested})" if tested else "Neurons that differ most"
    return table(["layer", "neuron", *keys, *more], rows, title)


def _print_demo(result: Demo) -> None:
    distances = "dna-emd", "dna-fd"
    rows: list[list[str | float | None]] = [
        [name, result.amount(name, strength), strength, *(comparison[distance].value for distance in distances)]
        for name, comparisons in result.comparisons.items()
        for strength, comparison in zip(result.strengths, comparisons, strict=True)
    ]
    title = f"{result.num_images} photographs against their degraded copies"
    shown = table(["degradation", "amount", "strength", *distances], rows, title)
    for row in shown.rows[len(result.strengths) - 1 :: len(result.strengths)]:
        row.end_section = True
    out.print(shown)
