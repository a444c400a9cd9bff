"""Command that monitors a stream of images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_figure, check_sources, talk
from torchmetrics_dna.cli.output import FormatOption, ResultFile, format_for, writing_lines

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.monitor import Window


@o.measures_images("fps")
def monitor(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help=o.SIDE)],
    images: o.Images,
    window: Annotated[int, o.option("Images in a window.")] = 200,
    learn: Annotated[int, o.statistic_option("Windows from which to learn what is usual.", rare=True)] = 10,
    in_order: Annotated[
        bool,
        o.option("Take images of a folder or file as they stand there: their order is that of time.", "--in-order"),
    ] = False,
    level: Annotated[float, o.statistic_option("Chance of a false alarm, however long the stream.", rare=True)] = 0.05,
    plot: Annotated[Path | None, o.output_option("Draw all windows, at the end.")] = None,
    fail_if_changed: Annotated[
        bool, o.output_option("Stop with code 1 as soon as the stream has changed.", "--fail-if-changed")
    ] = False,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Watch a stream of images: a line for each window, and whether the stream has changed."""
    from torchmetrics_dna.comparisons.monitor import monitor as monitor_images

    check_sources(reference, images)
    form = format_for(form, output, streamed=True)
    if PROCESSES > 1:
        raise ValueError("A stream is monitored by one process, but torchrun has started several; leave it out")
    options["order"] = "source" if in_order else "random"
    if plot is not None:
        check_figure(plot)
    results = monitor_images(reference, images, window=window, learn=learn, level=level, **options)
    windows: list[Window] = []
    with writing_lines(form, output) as write_line:
        for result in results:
            if result.seed is not None and not windows:
                talk.print(
                    f"Windows are drawn in random order (seed {result.seed}), so that no change over time shows; give"
                    f" --in-order if the order of {images} is that of time.",
                    soft_wrap=True,
                )
            windows.append(result)
            write_line(result.to_dict(), str(result))
            if fail_if_changed and result.changed:
                break
    if not windows:
        raise ValueError(f"There are fewer than {window} images in {images!r}, so no window is full; give --window")
    if windows[-1].evidence is None:
        talk.print(
            f"Whether it has changed is told from window {learn + 1} on, after {learn * window:,} images; to hear it"
            " sooner, give --window or --learn.",
            soft_wrap=True,
        )
    if plot is not None:
        from torchmetrics_dna.plots import plot_monitor

        plot_monitor(windows).savefig(plot)
        talk.print(f"The windows are in {plot}")
    if fail_if_changed and windows[-1].changed:
        final = windows[-1]
        by = f"the time of {final.last}" if final.seed is None else f"window {final.number}"
        talk.print(f"Failed: the stream has changed by {by}.", soft_wrap=True)
        raise typer.Exit(1)
