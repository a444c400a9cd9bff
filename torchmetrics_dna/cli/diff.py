"""Command that compares two versions of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_sources, print_unreadable, talk
from torchmetrics_dna.cli.measuring import measures_images, showing_progress
from torchmetrics_dna.cli.output import FormatOption, Printout, ResultFile, format_for, write
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import images_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.comparisons.versions import Versions

CHANGES = ("added", "removed", "renamed", "edited")
_MOST = 5  # names that are listed


@measures_images("properties")
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The version before; images that have an index.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The version now.")],
    num_folds: Annotated[int, o.statistic_option("Folds of images for tests; 0 for none.")] = 20,
    fail_if_different: Annotated[
        bool,
        o.output_option("Exit with code 1 if an image was added, removed or edited.", "--fail-if-different"),
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
    with showing_progress(options) as packed:
        versions = compare_versions(old, new, num_folds=num_folds or None, **packed)
    write(_output_of(versions), form, output)
    print_unreadable(versions.unreadable)
    if fail_if_different and (versions.added or versions.removed or versions.edited):
        added = images_in_words(len(versions.added))
        talk.print(f"Failed: {added} added, {len(versions.removed):,} removed, {len(versions.edited):,} edited.")
        raise typer.Exit(1)


def _output_of(versions: Versions) -> Printout:
    records = versions.rows()
    names = {change: [_name(record) for record in records if record["change"] == change] for change in CHANGES}
    table = Table(["images", "number", "such as"], [[change, len(n), _few(n)] for change, n in names.items()])
    text = [*versions.sentences, *(f"  {change}: {_few(n)}" for change, n in names.items() if n)]
    return Printout(versions.to_dict, versions.rows, versions.sentences, [table], text, ("change", "image", "before"))


def _name(record: Mapping[str, Any]) -> str:
    return f"{record['before']} -> {record['image']}" if record["before"] else str(record["image"])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST:,} more" if len(names) > _MOST else "")
