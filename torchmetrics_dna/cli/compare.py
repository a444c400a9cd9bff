"""Commands that compare image sets."""

from __future__ import annotations

import shlex
from inspect import signature
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_figure,
    check_sources,
    out,
    print_unreadable,
    progress,
    rich_table,
    talk,
)
from torchmetrics_dna.cli.gates import Gate, check_gates, end_by, gates_of
from torchmetrics_dna.cli.output import (
    Format,
    FormatOption,
    Printout,
    ResultFile,
    format_for,
    write,
)
from torchmetrics_dna.dna.distances import find_distances
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import images_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.sides import Sides

_PAGE = (".html", ".htm")
_WIDE = 10  # sets; a full matrix of more is too wide for a terminal
_DEMO_SETS = 9  # degraded copies; counted without torch, so that the first line comes at once


@o.measures_images(*o.OF_SOME)
def compare(
    a: o.SideA,
    b: o.SideB,
    more: o.MoreSides = None,
    by: Annotated[
        str | None,
        o.statistic_option(
            "Compare class by class: folder, a .csv of images and classes, or column:NAME of Parquet.",
        ),
    ] = None,
    every: Annotated[
        bool, o.statistic_option("Compare all sets with each other, not only with A: a matrix.", "--all")
    ] = False,
    held_out: Annotated[
        str | None,
        o.statistic_option(
            "Set of real images that no model saw, one of B, C, ...: how many times as far are the others?", metavar="B"
        ),
    ] = None,
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
    fail_if_odd: Annotated[
        bool, o.output_option("Exit with code 1 if a few images of B are shown to be unlike A.", "--fail-if-odd")
    ] = False,
    form: FormatOption = None,
    output: Annotated[
        Path | None,
        o.output_option("Write to this file: .txt, .json, .csv, .md or .tex; .html for a page.", "-o", "--output"),
    ] = None,
    **options: Any,
) -> None:
    """Compare two image sets, or DNAs of them; or the first with each of several."""
    if held_out is not None and held_out not in (b, *(more or ())):
        more = [*(more or ()), held_out]
    check_sources(a, b, *(more or ()))
    page = output if form is None and output is not None and output.suffix.lower() in _PAGE else None
    form = format_for(form, output, also=_PAGE)
    if by is not None and more:
        raise ValueError("Option --by is for two sets; leave it out, or compare each pair by itself")
    if page is not None and (more or by is not None or every or held_out is not None):
        raise ValueError(
            "A page is of two sets as a whole; leave out others, --by, --held-out and --all, or give another ending"
        )
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
    if fail_if_odd:
        unfit_with = {"by": by, "pairs": options["pairs"], "groups": options["groups"]}
        if unfit := [name for name, value in unfit_with.items() if value is not None]:
            raise ValueError(f"Option --fail-if-odd is for independent images of whole sets; leave out --{unfit[0]}")
    limits = {"fail_above": fail_above, "fail_unless_below": fail_unless_below}
    gate_options: dict[str, Any] = limits | {"fail_if_different": fail_if_different, "fail_if_odd": fail_if_odd}
    level = 1 - options["confidence"]
    if every:
        own = ["by"] * (by is not None) + ["held_out"] * (held_out is not None)
        own += [name for name, limit in limits.items() if limit is not None]
        own += ["fail_if_different"] * fail_if_different + ["fail_if_odd"] * fail_if_odd
        _compare_all([a, b, *(more or ())], options, own, plot, form, output)
        return
    from torchmetrics_dna.comparisons.compare import compare_with_arguments
    from torchmetrics_dna.comparisons.comparisons import by_name
    from torchmetrics_dna.images import ImageStream
    from torchmetrics_dna.jobs.arguments import Arguments

    sets: Any = by_name([b, *more]) if more else b
    if held_out is not None and more:
        held_out = [*sets][[b, *more].index(held_out)]

    sides_of_all: list[Images | DNA] = []

    def check(opened: Sequence[Sides], names: Sequence[str]) -> None:
        sides_of_all.extend(opened[0].images)
        check_gates(opened, [name if name != held_out else "" for name in names], level, **gate_options)
        records = [record for sides in opened for record in sides.distances]
        if plot is not None and not more and all(record.grain == "set" or record.layer for record in records):
            listed = ", ".join(record.name for record in records)
            raise ValueError(
                f"Option --plot draws distances of neurons or layers, but got {listed} alone; add one, such as dna-emd"
            )

    compared: Any
    with o.showing_progress(options) as shown:
        arguments = Arguments(distributed=PROCESSES > 1, **shown)
        if page is None:
            compared = compare_with_arguments(a, sets, arguments, by=by, held_out=held_out, check=check)
        else:
            from torchmetrics_dna.reporting.build import report_with_arguments
            from torchmetrics_dna.reporting.findings import words_and_tables

            compared = report_with_arguments(a, b, page, arguments, check=check)
    by_set = compared if more or by else {compared.names[1]: compared}
    if held_out is not None:
        by_set = {name: comparison for name, comparison in by_set.items() if name != compared.held_out}
    gates: list[Gate] | ValueError
    try:
        gates = gates_of(by_set, level, **gate_options)
    except ValueError as err:  # the result is written first
        gates = err
    if page is None:
        write(output_of(compared, () if isinstance(gates, ValueError) else gates), form, output)
    else:
        for sentence in words_and_tables(compared)[0]:
            out.print(sentence)
        talk.print(f"The page is in {page}", soft_wrap=True)
    _comment(compared)
    _draw(compared, plot)
    if not more and by is None and page is None and form is Format.TEXT:
        _say_what_next(compared, a, b, options, not any(isinstance(side, ImageStream) for side in sides_of_all))
    if isinstance(gates, ValueError):
        raise gates
    end_by(gates)


def output_of(compared: Comparison | Comparisons | ClassComparisons, gates: Sequence[Gate] = ()) -> Printout:
    """Return what the command writes of a result of :func:`compare`."""
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.reporting.findings import words_and_tables

    sentences, tables = [compared.verdict], [compared.table]
    if isinstance(compared, Comparisons) and (evidence := compared.evidence_table) is not None:
        tables.append(evidence)
    if isinstance(compared, Comparison):
        sentences, tables = words_and_tables(compared)
    document = {"gates": [gate._asdict() for gate in gates]}
    return Printout(lambda: compared.to_dict() | document, compared.rows, sentences, tables)


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
    sets: list[str], options: dict[str, Any], own: list[str], plot: Path | None, form: Format, output: Path | None
) -> None:
    """Compare all sets with each other; ``own`` are given options that a matrix does not take."""
    require("scipy", "plot")
    if options["metrics"]:
        find_distances(options["metrics"])  # before what takes seconds to load
    from torchmetrics_dna.comparisons import matrix

    takes = signature(matrix).parameters
    others = [*own, *(name for name in options if name not in takes and options[name] not in (None, o.USUAL[name]))]
    if others:
        name = others[0].replace("_", "-")
        raise ValueError(f"Option --{name} is for sets against one reference; leave it out, or leave out --all")
    with o.showing_progress({name: options[name] for name in options if name in takes}) as shown:
        distances = matrix(sets, distributed=PROCESSES > 1, **shown)
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


@o.measures_images("num_folds")
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The version before; images that have an index.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The version now.")],
    fail_if_changed: Annotated[
        bool,
        o.output_option("Exit with code 1 if an image was added, removed or edited.", "--fail-if-changed"),
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """List the images added, removed and edited between two versions of a data set, and say how they differ."""
    from torchmetrics_dna.comparisons import diff as compare_versions

    check_sources(old, new)
    form = format_for(form, output)
    if PROCESSES > 1:
        raise ValueError("Versions are compared by one process, but torchrun has started several; leave it out")
    with o.showing_progress(options) as shown:
        versions = compare_versions(old, new, **shown)
    columns = "change", "image", "before"
    tables = [versions.table]
    gates = []
    if fail_if_changed:
        numbers = [len(names) for names in (versions.added, versions.removed, versions.edited)]
        result = "Failed" if any(numbers) else "Passed"
        line = f"{result}: {images_in_words(numbers[0])} added, {numbers[1]:,} removed, {numbers[2]:,} edited."
        gates.append(Gate("--fail-if-changed", 0, not any(numbers), [line]))
    document = {"gates": [gate._asdict() for gate in gates]}
    printout = Printout(
        lambda: versions.to_dict() | document, versions.rows, versions.sentences, tables, columns=columns
    )
    write(printout, form, output)
    print_unreadable(versions.unreadable)
    end_by(gates)


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


def _say_what_next(result: Comparison, a: str, b: str, options: dict[str, Any], has_index: bool) -> None:
    """Print on stderr the commands that show more of a difference, by the same network; a page of what has an index."""
    from torchmetrics_dna.dna.load import is_dna_path
    from torchmetrics_dna.functional.permutation import SIGNIFICANT

    if "dna-emd" not in result or not result["dna-emd"].value or is_dna_path(b):
        return
    of_dna = is_dna_path(a)  # of histograms, which do not say how far its images are apart
    page = shlex.join(["torchmetrics-dna", "compare", a, b, "-o", "page.html", *o.typed(options)])
    of_ranking = o.typed(options, {*o.OF_SOME} - {"fps", "crop"})  # a ranking takes no crop
    ranking = (
        "" if "--crop" in of_ranking else shlex.join(["torchmetrics-dna", "rank", b, "--reference", a, *of_ranking])
    )
    in_ranking, in_page = f"{'most like A' if of_dna else 'off'}: {ranking}", f"in pictures: {page}"
    lines: list[str] = []
    if (result.p_value or 0) <= SIGNIFICANT:
        lines = [f"What differs, {in_page}"] * has_index + [f"Which images of B are {in_ranking}"] * bool(ranking)
    elif result.odd is not None and result.odd.off:
        lines = [f"Those images, {in_page}"] * has_index
    elif not of_dna and result.odd is None and ranking:
        lines = [f"A few odd images hardly show in a comparison. Whether B has any: {ranking}"]
    for line in ["", *lines] if lines else ():
        talk.print(line, soft_wrap=True)
