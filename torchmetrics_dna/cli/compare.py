"""Commands that compare image sets."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from inspect import signature
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
from torchmetrics_dna.cli.gates import Gate, check_gates, check_limits, end_by, gate_of_reading, gates_of
from torchmetrics_dna.cli.output import FormatOption, ResultFile, format_for, write
from torchmetrics_dna.cli.rank import rank
from torchmetrics_dna.dna.distances import find_distances
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.kinds import unquoted
from torchmetrics_dna.options import argument
from torchmetrics_dna.reporting.document import TEXT, Format

if TYPE_CHECKING:
    from rich.table import Table

    from torchmetrics_dna.comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.compare import Opened
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.comparisons.versions import Versions
    from torchmetrics_dna.demo import Demo
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.arguments import Arguments

# Number of degraded copies of each photograph. torchmetrics_dna.demo, which makes them, takes seconds to import, so the
# number is repeated here to print it at once.
_DEMO_SETS = 9


@o.measures_images(*o.FIELDS)
def compare(
    a: o.SideA,
    b: o.SideB,
    more: o.MoreSides = None,
    by: Annotated[
        str | None,
        o.statistic_option(
            "Compare class by class. Classes are folder names (folder), rows of a .csv of images and classes, or a"
            " column of Parquet files (column:NAME).",
        ),
    ] = None,
    every: Annotated[
        bool, o.statistic_option("Compare all sets with each other, which gives a matrix of distances.", "--all")
    ] = False,
    held_out: Annotated[
        str | None,
        o.statistic_option(
            "One of the sets B, C, ... that holds real images which no model was trained on. The distances of the other"
            " sets are reported relative to its distance.",
            metavar="B",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        o.output_option(
            "Draw a figure to this file: the layers of two sets, the distances of several sets, or the matrix of --all."
        ),
    ] = None,
    fail_above: Annotated[
        float | None, o.output_option("Exit with code 1 if the first distance is above this value.")
    ] = None,
    fail_unless_below: Annotated[
        float | None, o.output_option("Exit with code 1 unless the first distance is significantly below this value.")
    ] = None,
    fail_if_different: Annotated[
        bool, o.output_option("Exit with code 1 if the sets differ significantly.", "--fail-if-different")
    ] = False,
    fail_if_outliers: Annotated[
        bool,
        o.output_option(
            "Exit with code 1 if an image of B is flagged as an outlier relative to A.", "--fail-if-outliers"
        ),
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Compare two sets of images, or one set with several others."""
    paths = _paths_to_compare(a, [b, *(more or ())], held_out)
    result_format = format_for(form, output)
    _check_options_of_sets(len(paths), by, plot)
    level = 1 - options["confidence"]
    limits = {
        "fail_above": fail_above,
        "fail_unless_below": fail_unless_below,
        "fail_if_different": level if fail_if_different else None,
        "fail_if_outliers": level if fail_if_outliers else None,
    }
    check_limits(limits, options["metrics"], {"by": by, **options})
    # For two sets, a comparison shows more than a matrix.
    if every and len(paths) > 1:
        _compare_all([a, *paths], options, {"by": by, "held_out": held_out, **limits}, plot, result_format, output)
        return
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.reporting.build import document_of, gallery_of

    with o.showing_progress(options) as options_with_progress:
        arguments = Arguments(distributed=PROCESSES > 1, **options_with_progress)
        opened = _open(a, paths, arguments, by, held_out)
        check_gates(opened, limits)
        if plot is not None and opened.is_one:
            _check_drawn(opened)
        result: Any = opened.compared()
        gallery = gallery_of(opened, result) if result_format.is_page else None
    are_two_sets = opened.is_one and by is None
    gates: list[Gate] = []
    try:
        gates += gates_of(_comparisons_by_name(opened, result), level, limits)
        if gates:
            gates += gate_of_reading(result.unreadable, options["reading"])
    finally:
        # If a gate can't decide, the result is still written before the error ends the command.
        write(document_of(result, gallery, gates=gates), result_format, output)
        _print_remarks(result, are_two_sets=are_two_sets, by_class=by is not None)
        _draw(result, plot)
        if are_two_sets and result_format is TEXT:
            _suggest_commands(result, a, b, options, opened.networks[0].images)
    end_by(gates)


def _paths_to_compare(a: str, paths: Sequence[str], held_out: str | None) -> list[str]:
    """Return the paths of all sets that are compared with the reference ``a``, and check that the sets exist.

    Raises:
        ValueError: If the held-out set is the reference.
        FileNotFoundError: If a set does not exist.

    """
    if held_out == a:
        raise ValueError(f"Option --held-out is {held_out!r}, the reference itself")
    all_paths = list(paths)
    if held_out is not None and held_out not in all_paths:
        all_paths.append(held_out)
    check_sources(a, *all_paths)
    remedy = unquoted(all_paths)
    if remedy:
        talk.print(f"Each of {len(all_paths)} files is a set of its own; {remedy}", soft_wrap=True)
    return all_paths


def _check_options_of_sets(num_paths: int, by: str | None, plot: Path | None) -> None:
    """Raise ValueError if --by or --plot can't be used for so many sets, or with each other."""
    if by is not None and num_paths > 1:
        raise ValueError(f"Option --by is for two sets, but got {1 + num_paths}")
    if plot is None:
        return
    if by is not None:
        raise ValueError("Option --plot is for whole sets, but got --by")
    check_figure(plot)


def _open(a: str, paths: Sequence[str], arguments: Arguments, by: str | None, held_out: str | None) -> Opened:
    """Open the reference ``a`` and the sets of ``paths``. A held-out set is compared as one of several sets."""
    from torchmetrics_dna.comparisons.compare import open_sets
    from torchmetrics_dna.comparisons.several_sets import by_name

    if len(paths) == 1 and held_out is None:
        return open_sets(a, paths[0], arguments, by=by)
    sets = by_name(paths)
    name_of_held_out: str | None = None
    if held_out is not None:
        names_of_sets = list(sets)
        name_of_held_out = names_of_sets[paths.index(held_out)]
    return open_sets(a, sets, arguments, by=by, held_out=name_of_held_out)


def _comparisons_by_name(opened: Opened, result: Any) -> dict[str, Comparison]:
    """Return the comparisons that gates check, by name of the set or class. The held-out set is not checked."""
    if opened.is_one and not opened.classes:
        return {opened.names[1]: result}
    return {name: comparison for name, comparison in result.items() if name != opened.held_out}


def _check_drawn(opened: Opened) -> None:
    """Raise ValueError if no distance of two sets can be drawn."""
    distances = [distance for sides in opened.networks for distance in sides.plan.distances]
    # A figure has one value per layer, so it needs a distance of all layers.
    can_be_drawn = [distance.granularity != "set" and not distance.layer for distance in distances]
    if not any(can_be_drawn):
        listed = ", ".join(distance.name for distance in distances)
        raise ValueError(f"Option --plot draws distances of neurons or layers, such as dna-emd, but got {listed} alone")


def _print_remarks(result: Any, *, are_two_sets: bool, by_class: bool) -> None:
    """Print on stderr the notices about two sets, the classes that only one set has, and the unreadable images."""
    if are_two_sets:
        for notice in result.notices:
            talk.print(f"{notice}.")
    if by_class:
        _print_classes_of_one_set(result)
    print_unreadable(result.unreadable)


def _print_classes_of_one_set(result: ClassComparisons) -> None:
    """Print the classes that only one set has, if any."""
    for side, names in zip(result.total.names, result.alone, strict=True):
        if names:
            shown_names = [*names[:5], "..."] if len(names) > 5 else names
            talk.print(f"Classes that only {side} has ({len(names)}): {', '.join(shown_names)}.")


def _draw(result: Any, plot: Path | None) -> None:
    """Draw the result to a file, if one was requested. Only the first process draws."""
    from torchmetrics_dna.jobs.processes import rank as process_rank

    if plot is not None and process_rank() == 0:
        result.plot().savefig(plot)
        talk.print(f"The figure is in {plot}")


def _compare_all(
    paths: list[str],
    options: dict[str, Any],
    other_options: dict[str, Any],
    plot: Path | None,
    form: Format,
    output: Path | None,
) -> None:
    """Compare all sets with each other.

    Args:
        paths: Paths of the sets.
        options: The shared options.
        other_options: Options of ``compare`` that a matrix does not have.
        plot: File of the figure.
        form: Format of the result.
        output: File of the result.

    Raises:
        ValueError: If an option is given that a matrix does not have.

    """
    require("scipy", "plot")
    if options["metrics"]:
        # Report unknown names at once: the import of the next modules takes seconds.
        find_distances(options["metrics"])
    from torchmetrics_dna.comparisons import matrix
    from torchmetrics_dna.reporting.build import document_of

    options_of_matrix = _options_of_matrix(options, other_options, signature(matrix).parameters)
    with o.showing_progress(options_of_matrix, skips_unreadable=True) as options_with_progress:
        distances = matrix(paths, distributed=PROCESSES > 1, **options_with_progress)
    write(document_of(distances), form, output)
    print_unreadable(distances.unreadable)
    _draw(distances, plot)


def _options_of_matrix(
    options: dict[str, Any], other_options: dict[str, Any], accepted_names: Collection[str]
) -> dict[str, Any]:
    """Return the shared options that a matrix accepts.

    Args:
        options: The shared options.
        other_options: Options of ``compare`` that a matrix does not have.
        accepted_names: Names of the options that a matrix accepts.

    Raises:
        ValueError: If an option is given that a matrix does not have.

    """
    options_of_matrix: dict[str, Any] = {}
    unsupported = dict(other_options)
    for name, value in options.items():
        if name in accepted_names:
            options_of_matrix[name] = value
        elif value != o.USUAL[name]:
            unsupported[name] = value
    for name, value in unsupported.items():
        is_given = value is not None and value is not False
        if is_given:
            raise ValueError(f"{argument(name)} is for sets against one reference, but got --all")
    return options_of_matrix


@o.measures_images("num_folds")
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Images of the old version. A stream is not accepted.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help=f"Images of the new version. {o.FORMATS}")],
    fail_if_changed: Annotated[
        bool,
        o.output_option("Exit with code 1 if an image was added, removed or edited.", "--fail-if-changed"),
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """List which images of a data set changed between two versions.

    The added and removed images are compared with those in both versions.
    """
    from torchmetrics_dna.comparisons import diff as compare_versions

    check_sources(old, new)
    result_format = format_for(form, output)
    if PROCESSES > 1:
        raise ValueError("Only one process can compare versions, but torchrun has started several")
    with o.showing_progress(options, skips_unreadable=True) as options_with_progress:
        versions = compare_versions(old, new, **options_with_progress)
    gates: list[Gate] = []
    if fail_if_changed:
        gates = [_gate_of_versions(versions), *gate_of_reading(versions.unreadable, options["reading"])]
    from torchmetrics_dna.reporting.build import document_of

    write(document_of(versions, gates=gates), result_format, output)
    print_unreadable(versions.unreadable)
    end_by(gates)


def _gate_of_versions(versions: Versions) -> Gate:
    """Return a gate that fails if an image was added, removed or edited."""
    num_added = len(versions.added)
    num_removed = len(versions.removed)
    num_edited = len(versions.edited)
    has_changed = bool(num_added or num_removed or num_edited)
    outcome = "Failed" if has_changed else "Passed"
    added = images_in_words(num_added, versions.noun)
    line = f"{outcome}: {added} added, {num_removed:,} removed, {num_edited:,} edited."
    return Gate("--fail-if-changed", 0, not has_changed, [line])


def demo(
    output: Annotated[Path, o.option("File of the figure.", "-o", "--output")] = Path("demo.png"),
    num_images: Annotated[int, o.option("Number of photographs to compare with their degraded copies.")] = 8,
) -> None:
    """Compare photographs with degraded copies, and plot the distances."""
    require("skimage", "demo")
    check_figure(output)
    talk.print(
        f"Comparing {num_images} photographs with {_DEMO_SETS} degraded copies of each, and with other photographs"
    )
    from torchmetrics_dna.demo import plot_demo, run_demo

    with progress() as report:
        result = run_demo(num_images, report)
    out.print(_table_of_demo(result, num_images))
    for description, comparison in result.others.items():
        out.print("", description, *comparison.verdict_lines, sep="\n")
    plot_demo(result).savefig(output)
    talk.print(f"The figure is in {output}")
    talk.print("To compare your own images: torchmetrics-dna compare photos/ generated/")


def _table_of_demo(result: Demo, num_images: int) -> Table:
    """Return a table with the distances of photographs from their copies, one row for each change and strength."""
    distances = ("dna-emd", "dna-fd")
    rows: list[list[str | float | None]] = []
    for comparisons in result.comparisons.values():
        for comparison in comparisons:
            values = [comparison[distance].value for distance in distances]
            rows.append([comparison.names[1], *values])
    table = rich_table(["copies", *distances], rows, f"{num_images} photographs against their degraded copies")
    # A line separates the changes: each has one row per strength.
    num_strengths = len(result.strengths)
    for row in table.rows[num_strengths - 1 :: num_strengths]:
        row.end_section = True
    return table


def _suggest_commands(
    result: Comparison, a: str, b: str, options: dict[str, Any], images: Sequence[Images | DNA]
) -> None:
    """Print on stderr which commands show more of a difference. They use the same network.

    Args:
        result: The comparison.
        a: Path of A.
        b: Path of B.
        options: Options of the ``compare`` command.
        images: The opened sets A and B. A page can show their images unless a set is a stream.

    """
    from torchmetrics_dna.dna import DNA

    has_difference = "dna-emd" in result and bool(result["dna-emd"].value)
    # A page and a ranking need the images of B.
    if not has_difference or isinstance(images[1], DNA):
        return
    # All images of B look like images of A, but they were compared as independent images.
    are_pairs = result.copies == result.num_images["b"]
    further_options = ["--pairs", "name"] if are_pairs else ["-o", "page.html"]
    command_to_compare = shlex.join(["torchmetrics-dna", "compare", a, b, *further_options, *o.typed(options)])
    if are_pairs:
        suggestions = [f"To compare the {result.noun}s as pairs: {command_to_compare}"]
    else:
        command_to_rank = _command_to_rank(result, a, b, options)
        suggestions = _suggestions(result, images, command_to_compare, command_to_rank)
    if suggestions:
        talk.print("")
    for suggestion in suggestions:
        talk.print(suggestion, soft_wrap=True)


def _suggestions(
    result: Comparison, images: Sequence[Images | DNA], command_to_compare: str, command_to_rank: str
) -> list[str]:
    """Return the lines that suggest commands after a comparison of independent images.

    Args:
        result: The comparison.
        images: The opened sets A and B.
        command_to_compare: Command that writes a page.
        command_to_rank: Command that ranks the images of B; empty if there is none.

    """
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.images import ImageStream

    noun = result.noun
    place = "in pictures" if noun == "image" else "on a page"
    # A page can't show the images of a stream.
    has_page = not any(isinstance(side, ImageStream) for side in images)
    # The histograms of a DNA do not show how far its images are apart, so there are no outlier scores.
    is_dna = isinstance(images[0], DNA)
    suggestions: list[str] = []
    # Without a test, it is unknown whether the sets differ.
    may_differ = result.differs is not False
    if may_differ:
        if has_page:
            suggestions.append(f"To see the differences {place}: {command_to_compare}")
        if command_to_rank and is_dna:
            suggestions.append(f"To order the {noun}s of B by their distance from A: {command_to_rank}")
        elif command_to_rank:
            suggestions.append(f"To find outliers in B: {command_to_rank}")
        return suggestions
    if result.outliers is None:
        if command_to_rank and not is_dna:
            suggestions.append(
                f"A comparison hardly detects a small number of outliers. To find them in B: {command_to_rank}"
            )
    elif result.outliers.flagged_names and has_page:
        suggestions.append(f"To see these {noun}s {place}: {command_to_compare}")
    return suggestions


def _command_to_rank(result: Comparison, a: str, b: str, options: dict[str, Any]) -> str:
    """Return the command that ranks the images of B by A; empty if ``rank`` does not support the options."""
    # `rank` supports neither crops nor pairs.
    if options["feature"]["crop"] or result.paired:
        return ""
    # Outlier scores do not support neuron weights.
    options_of_rank = o.typed(options | {"neuron_weights": None}, rank)
    return shlex.join(["torchmetrics-dna", "rank", b, "--reference", a, *options_of_rank])
