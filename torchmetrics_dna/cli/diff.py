"""The command that compares two versions of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, out, print_json, print_markdown, print_unreadable, progress, talk
from torchmetrics_dna.cli.measuring import arguments, measures_images
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
    num_folds: Annotated[int, o.option("Folds of images for tests; 0 for none.", "--folds")] = 20,
    fail_if_different: Annotated[
        bool, o.option("Exit with code 1 if an image was added, removed or edited.", "--fail-if-different")
    ] = False,
    as_markdown: Annotated[bool, o.option("Print Markdown, such as for a pull request.", "--markdown")] = False,
    as_json: o.Json = False,
    **options: Any,
) -> None:
    """Say which images came and went between two versions of a data set, and how these differ from those kept."""
    from torchmetrics_dna.comparisons.versions import compare_versions

    form = o.one_form(markdown=as_markdown, json=as_json)
    if PROCESSES > 1:
        raise ValueError("Versions are compared by one process, but torchrun has started several; leave it out")
    with progress() as report:
        found = compare_versions(old, new, changes=changes, num_folds=num_folds, **arguments(options, report))
    if form == "json":
        print_json(found.to_dict())
    elif form == "markdown":
        rows = [[what, len(names), _few(names)] for what, names in _parts(found).items()]
        print_markdown(["images", "number", "such as"], rows, " ".join(found.sentences))
    else:
        for sentence in found.sentences:
            out.print(sentence, soft_wrap=True)
        for what, names in _parts(found).items():
            if names:
                out.print(f"  {what}: {_few(names)}", soft_wrap=True)
    print_unreadable(found.unreadable)
    if fail_if_different and (found.added or found.removed or found.edited):
        added = images_in_words(len(found.added))
        talk.print(f"Failed: {added} added, {len(found.removed):,} removed, {len(found.edited):,} edited.")
        raise typer.Exit(1)


def _parts(found: Versions) -> dict[str, Sequence[str]]:
    return {
        "added": found.added,
        "removed": found.removed,
        "renamed": [f"{old} -> {new}" for old, new in found.renamed],
        "edited": found.edited,
    }


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST:,} more" if len(names) > _MOST else "")
