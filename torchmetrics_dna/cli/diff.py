"""Command that compares two versions of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_sources,
    out,
    print_json,
    print_markdown,
    print_unreadable,
    progress,
    talk,
)
from torchmetrics_dna.cli.measuring import measures_images, with_progress
from torchmetrics_dna.files.visible import images_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.versions import Versions

_MOST = 5  # names that are listed


@measures_images()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The version before; images that have an index.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The version now.")],
    changes: o.ChangesFile = None,
    num_folds: Annotated[int, o.statistic_option("Folds of images for tests; 0 for none.", "--folds")] = 20,
    fail_if_different: Annotated[
        bool,
        o.output_option("Exit with code 1 if an image was added, removed or edited.", "--fail-if-different"),
    ] = False,
    as_markdown: Annotated[bool, o.output_option("Print Markdown, such as for a pull request.", "--markdown")] = False,
    as_json: o.Json = False,
    **options: Any,
) -> None:
    """Say which images came and went between two versions of a data set, and how these differ from those kept."""
    from torchmetrics_dna.comparisons import diff as compare_versions

    check_sources(old, new)
    form = o.one_form(markdown=as_markdown, json=as_json)
    if PROCESSES > 1:
        raise ValueError("Versions are compared by one process, but torchrun has started several; leave it out")
    with progress() as report:
        versions = compare_versions(old, new, changes=changes, num_folds=num_folds, **with_progress(options, report))
    if form == "json":
        print_json(versions.to_dict())
    elif form == "markdown":
        rows = [[label, len(names), _few(names)] for label, names in _parts(versions).items()]
        print_markdown(["images", "number", "such as"], rows, " ".join(versions.sentences))
    else:
        for sentence in versions.sentences:
            out.print(sentence, soft_wrap=True)
        for label, names in _parts(versions).items():
            if names:
                out.print(f"  {label}: {_few(names)}", soft_wrap=True)
    print_unreadable(versions.unreadable)
    if fail_if_different and (versions.added or versions.removed or versions.edited):
        added = images_in_words(len(versions.added))
        talk.print(f"Failed: {added} added, {len(versions.removed):,} removed, {len(versions.edited):,} edited.")
        raise typer.Exit(1)


def _parts(versions: Versions) -> dict[str, Sequence[str]]:
    return {
        "added": versions.added,
        "removed": versions.removed,
        "renamed": [f"{old} -> {new}" for old, new in versions.renamed],
        "edited": versions.edited,
    }


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST:,} more" if len(names) > _MOST else "")
