"""Commands that rank the single images of a set, and that monitor a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_figure, check_output, check_sources, print_unreadable, talk
from torchmetrics_dna.cli.gates import end_by, gate_of_ranking, gate_of_reading
from torchmetrics_dna.cli.output import FormatOption, ResultFile, format_for, write, writing_lines

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.monitor import Order, Window
    from torchmetrics_dna.singles.ranking import Ranking


@o.measures_images("fps", "neuron_weights")
def rank(
    images: o.Images,
    reference: Annotated[
        str | None,
        o.option("Images or a DNA file to compare with. Default: the other images of IMAGES."),
    ] = None,
    score: Annotated[
        str | None,
        o.option(
            "Score of each image. outlier: how unusual the image is, by network and properties. local: how unusual its"
            " most unusual region is. contrast: how much closer it is to the reference than to a pool. distance: its"
            " dna-emd from the reference. Default: outlier if the reference supports it."
        ),
    ] = None,
    contrast: Annotated[
        str | None, o.option("Pool for the score contrast: pool (all IMAGES), a DNA file, or other images.")
    ] = None,
    nearest: Annotated[
        str | None,
        o.option(
            "Images, or a saved index. For each ranked image, find the closest of these. This detects near-duplicates."
        ),
    ] = None,
    save_index: Annotated[Path | None, o.option("Save the index of --nearest to this file (.features.npz).")] = None,
    top: Annotated[int | None, o.option("Show only this number of the best images.", min=1)] = None,
    worst: Annotated[int | None, o.option("Show only this number of the worst images.", min=1)] = None,
    plot: Annotated[
        Path | None,
        o.output_option("Draw a contact sheet to this file. It shows images of the reference above the ranked images."),
    ] = None,
    maps: Annotated[
        bool, o.output_option("Show in the contact sheet which regions of the images are unusual.", "--maps")
    ] = False,
    fail_if_outliers: Annotated[
        bool, o.output_option("Exit with code 1 if an image is flagged as an outlier.", "--fail-if-outliers")
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Order images by how unusual they are, and flag outliers."""
    _check_score(score, contrast, has_reference=reference is not None or nearest is not None)
    sources = [images, reference] if reference else [images]
    check_sources(*sources)
    result_format = format_for(form, output)
    _check_number(top, worst)
    if fail_if_outliers and score not in (None, "outlier"):
        raise ValueError(f"Option --fail-if-outliers is for outlier scores, but got --score {score}")
    _check_contact_sheet(plot, maps)
    _check_index(save_index, nearest, reference)
    from torchmetrics_dna.images import open_source
    from torchmetrics_dna.images.paths import public
    from torchmetrics_dna.images.sets import indexed
    from torchmetrics_dna.reporting.build import document_of
    from torchmetrics_dna.singles.rank import rank as rank_images

    options |= {"score": score, "contrast": contrast, "nearest": nearest, "distributed": PROCESSES > 1}
    with o.showing_progress(options, skips_unreadable=True) as options_with_progress:
        source: Any = images
        if plot is not None:
            source = indexed(open_source(images, options_with_progress["reading"]), "A contact sheet")
        ranking = rank_images(source, reference, **options_with_progress)
    document = document_of(
        ranking,
        top=top,
        worst=worst,
        reference=public(reference or images),
        contrast=public(contrast or "the pool of all"),
    )
    write(document, result_format, output)
    # Formats that people read contain the verdict already.
    _print_remarks(ranking, with_verdict=not result_format.words)
    num_drawn = worst if ranking.worst_first else top
    _write_files(ranking, save_index, plot, maps, num_drawn)
    if fail_if_outliers:
        end_by([gate_of_ranking(ranking, images), *gate_of_reading(ranking.unreadable, options["reading"])])


def _check_score(score: str | None, contrast: str | None, *, has_reference: bool) -> None:
    """Check the options of the score.

    Args:
        score: Score of each image; None for the default.
        contrast: Pool for the score contrast; None if it was not given.
        has_reference: Whether there are other images with which IMAGES are compared.

    Raises:
        ValueError: If there is no such score, or if the options compare with other images, but there are none.

    """
    if score not in (None, "outlier", "local", "contrast", "distance"):
        raise ValueError(f"Option --score expected to be outlier, local, contrast or distance, but got {score!r}")
    takes_reference = contrast is not None or score not in (None, "outlier")
    if takes_reference and not has_reference:
        raise ValueError("Option --reference is missing: --score and --contrast compare IMAGES with it")


def _print_remarks(ranking: Ranking, *, with_verdict: bool) -> None:
    """Print on stderr the notices of a ranking and the unreadable images, and first the verdict if it is requested."""
    if with_verdict and ranking.verdict:
        talk.print(*ranking.verdict.splitlines(), sep="\n")
    for notice in ranking.notices:
        talk.print(notice)
    print_unreadable(ranking.unreadable)


def _check_number(top: int | None, worst: int | None) -> None:
    """Raise ValueError if both the best and the worst images are requested."""
    if top is not None and worst is not None:
        raise ValueError("Expected --top or --worst, but got both")


def _check_contact_sheet(plot: Path | None, maps: bool) -> None:
    """Check the options of the contact sheet.

    Raises:
        ValueError: If the file has another suffix, or if maps are requested without a contact sheet.

    """
    if plot is not None:
        check_figure(plot)
    elif maps:
        raise ValueError("Option --maps needs --plot, the contact sheet that shows the maps")


def _check_index(save_index: Path | None, nearest: str | None, reference: str | None) -> None:
    """Check the options of the index of the closest images.

    Raises:
        ValueError: If the file has another suffix, or if there are no images for the index.

    """
    if save_index is None:
        return
    # If there is neither --nearest nor a reference, the index holds the ranked images themselves.
    if nearest is None and reference is not None:
        raise ValueError("Option --save-index needs --nearest, the images of the index")
    check_output(save_index, ".npz")


def _write_files(
    ranking: Ranking, save_index: Path | None, plot: Path | None, maps: bool, num_drawn: int | None
) -> None:
    """Write the index and the contact sheet, if they were requested. Only the first process writes.

    Args:
        ranking: The ranking.
        save_index: File of the index.
        plot: File of the contact sheet.
        maps: Whether the contact sheet shows which regions are unusual.
        num_drawn: Largest number of ranked images in the contact sheet; None for the default.

    """
    from torchmetrics_dna.jobs.processes import rank as process_rank

    if process_rank() != 0:
        return
    if save_index is not None and ranking.index is not None:
        ranking.index.save(save_index)
        talk.print(f"{save_index}: {ranking.index!r}")
    if plot is not None:
        ranking.plot(maps=maps, most=num_drawn).savefig(plot)
        talk.print(f"The contact sheet is in {plot}")


@o.measures_images("fps")
def monitor(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help=f"Images or a DNA file. {o.FORMATS}")],
    images: o.Images,
    window: Annotated[int, o.option("Number of images per window.")] = 200,
    learn: Annotated[int, o.statistic_option("Number of warm-up windows, with which later windows are compared.")] = 10,
    in_order: Annotated[
        bool,
        o.option(
            "Keep the order of a folder or file instead of a random order. Use this if the order is that of time.",
            "--in-order",
        ),
    ] = False,
    level: Annotated[
        float, o.statistic_option("Bound on the probability of a false alarm, for a stream of any length.")
    ] = 0.05,
    plot: Annotated[Path | None, o.output_option("Draw all windows to this file at the end.")] = None,
    fail_if_changed: Annotated[
        bool, o.output_option("Exit with code 1 as soon as a change is detected.", "--fail-if-changed")
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Detect a change of a stream of images relative to a reference.

    The command prints one line per window of images.
    """
    from torchmetrics_dna.comparisons.monitor import monitor as monitor_images
    from torchmetrics_dna.images.noun import noun_of

    check_sources(reference, images)
    result_format = format_for(form, output, streamed=True)
    if PROCESSES > 1:
        raise ValueError("Only one process can monitor a stream, but torchrun has started several")
    if plot is not None:
        check_figure(plot)
    order: Order = "source" if in_order else "random"
    tested_windows = monitor_images(reference, images, window=window, learn=learn, level=level, order=order, **options)
    windows: list[Window] = []
    with writing_lines(result_format, output) as write_line:
        for tested_window in tested_windows:
            is_first = not windows
            if is_first and tested_window.seed is not None:
                _print_random_order(tested_window.seed, images)
            windows.append(tested_window)
            write_line(tested_window.to_dict(), str(tested_window))
            if fail_if_changed and tested_window.changed:
                break
    noun = noun_of(options["feature"])
    if not windows:
        raise ValueError(
            f"There are fewer than {window} {noun}s in {images!r}, so no window is full; pass a smaller --window"
        )
    final = windows[-1]
    is_warm_up = final.evidence is None
    if is_warm_up:
        talk.print(
            f"The test starts with window {learn + 1}, after {learn * window:,} {noun}s. To start it earlier, decrease"
            " --window or --learn.",
            soft_wrap=True,
        )
    if plot is not None:
        _draw_windows(windows, plot)
    if fail_if_changed and final.changed:
        _print_change(final)
        raise typer.Exit(1)


def _draw_windows(windows: Sequence[Window], plot: Path) -> None:
    """Draw all windows of a monitored stream to a file."""
    from torchmetrics_dna.plots import plot_monitor

    plot_monitor(windows).savefig(plot)
    talk.print(f"The windows are in {plot}")


def _print_change(window: Window) -> None:
    """Print that a change was detected in a window."""
    # In a random order, the name of the last image would not tell when the change happened.
    place = f"at {window.last}" if window.seed is None else f"in window {window.number}"
    talk.print(f"Failed: a change was detected {place}.", soft_wrap=True)


def _print_random_order(seed: int, images: str) -> None:
    """Print that the windows of these images are drawn in random order, and what that means for the result."""
    talk.print(
        f"Windows are drawn in random order (seed {seed}), so changes over time do not show. Use --in-order if the"
        f" order of {images} is that of time.",
        soft_wrap=True,
    )
