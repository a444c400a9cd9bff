"""Command that ranks single images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_figure,
    check_output,
    check_sources,
    print_unreadable,
    talk,
)
from torchmetrics_dna.cli.output import Format, FormatOption, Printout, ResultFile, format_for, write

if TYPE_CHECKING:
    from torchmetrics_dna.singles.ranking import Ranking


@o.measures_images("fps", "neuron_weights")
def rank(
    images: o.Images,
    reference: Annotated[
        str | None, o.option("Required: a DNA file, or images; one image ranks the others by likeness to it.")
    ] = None,
    score: Annotated[
        str | None,
        o.option(
            "outlier: images that are off; local: images with a place that is off; contrast: images of the reference's"
            " kind; or distance."
        ),
    ] = None,
    contrast: Annotated[
        str | None, o.option("What else to compare with: pool (all IMAGES), a DNA file, or other images.")
    ] = None,
    nearest: Annotated[
        str | None, o.option("Images, or a saved index: show each image's nearest among them, to find copies.")
    ] = None,
    save_index: Annotated[Path | None, o.option("Save the index of --nearest (.features.npz).", rare=True)] = None,
    top: Annotated[int | None, o.option("Show so many of the best ones only.", min=1)] = None,
    worst: Annotated[int | None, o.option("Show so many of the worst ones only.", min=1)] = None,
    plot: Annotated[Path | None, o.output_option("Draw a contact sheet, below images of the reference.")] = None,
    maps: Annotated[bool, o.output_option("Show in the contact sheet where images are off.", "--maps")] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Rank images by how far each of them is from a reference's own images, or by how close it is to the reference."""
    if reference is None:
        raise ValueError("Option --reference is missing; give the images, or the DNA file, that IMAGES should be like")
    check_sources(images, reference)
    form = format_for(form, output)
    if top is not None and worst is not None:
        raise ValueError("Expected --top or --worst, but got both; leave one out")
    if score not in (None, "outlier", "local", "contrast", "distance"):
        raise ValueError(f"Option --score expected to be outlier, local, contrast or distance, but got {score!r}")
    if plot is not None:
        check_figure(plot)
    elif maps:
        raise ValueError("Option --maps goes with --plot, the contact sheet that shows them; give both")
    if save_index is not None:
        if nearest is None:
            raise ValueError("Option --save-index goes with --nearest, which says of which images; give both")
        check_output(save_index, ".npz")
    from torchmetrics_dna.images.sources import open_indexed
    from torchmetrics_dna.singles.rank import rank as rank_images

    options |= {"score": score, "contrast": contrast, "nearest": nearest, "distributed": PROCESSES > 1}
    with o.showing_progress(options) as shown:
        source = images if plot is None else open_indexed(images, "A contact sheet", shown["reading"])
        ranking = rank_images(source, reference, **shown)
    write(_output_of(ranking, reference, contrast, ranking.rows(top, worst)), form, output)
    if ranking.verdict and form in (Format.CSV, Format.LATEX):
        talk.print(ranking.verdict)
    for notice in ranking.notices:
        talk.print(notice)
    print_unreadable(ranking.unreadable)
    _write(ranking, save_index, plot, maps, worst if ranking.worst_first else top)


def _write(ranking: Ranking, save_index: Path | None, plot: Path | None, maps: bool, most: int | None) -> None:
    """Write the requested files, in the first process."""
    from torchmetrics_dna.jobs.processes import rank as process_rank

    if process_rank() != 0:
        return
    if save_index is not None and ranking.index is not None:
        ranking.index.save(save_index)
        talk.print(f"{save_index}: {ranking.index!r}")
    if plot is not None:
        ranking.plot(maps=maps, most=most).savefig(plot)
        talk.print(f"The contact sheet is in {plot}")


def _output_of(ranking: Ranking, reference: str, contrast: str | None, records: list[dict[str, Any]]) -> Printout:
    from torchmetrics_dna.images.paths import public

    table = ranking.table(records)
    others, of = public(contrast or "the pool of all"), public(reference)
    title = table.title.replace("the contrast", others).replace("the reference", of)
    sentences = [] if ranking.verdict is None else [ranking.verdict]
    tables = [replace(table, title=title)]
    if (copies := ranking.copies_table) is not None:
        tables.insert(0, copies)
    return Printout(lambda: ranking.to_dict() | {"images": records}, lambda: records, sentences, tables)
