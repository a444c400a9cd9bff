"""Command that finds out by which choices a value was computed."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_sources, print_unreadable
from torchmetrics_dna.cli.measuring import measures_images, showing_progress
from torchmetrics_dna.cli.output import FormatOption, Printout, ResultFile, format_for, write


class Metric(Enum):
    """Metrics that are fd of one layer."""

    FID = "fid"
    SFID = "sfid"
    FD_DINOV2 = "fd-dinov2"
    FD_DINOV2_EDM2 = "fd-dinov2-edm2"
    FD = "fd"


@measures_images()
def reconcile(
    images: o.Images,
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="Its statistics, an .npz of mu and sigma; or its images.")
    ],
    claimed: Annotated[str, o.statistic_option("The claimed value, with all its digits.")],
    metric: Annotated[Metric, o.statistic_option("What the value is; fd is of one of --layers.")] = Metric.FID,
    another_sample: Annotated[
        bool,
        o.statistic_option(
            "The value is of other images by the same generator, so it may differ by a standard error.",
            "--another-sample",
        ),
    ] = False,
    other: Annotated[
        list[str] | None,
        o.statistic_option(
            "Other statistics that may have been meant; say it once a file.", metavar="<str>", show_default=False
        ),
    ] = None,
    form: FormatOption = None,
    output: ResultFile = None,
    **options: Any,
) -> None:
    """Find out why a published FID differs from yours: try other resizes, crops, JPEG, precision and more."""
    from torchmetrics_dna.comparisons.claims import reconcile as find_choices

    others = other or []
    check_sources(images, reference, *others)
    form = format_for(form, output)
    if PROCESSES > 1:
        raise ValueError("Values are reconciled by one process, but torchrun has started several; leave it out")
    options |= {"others": others, "same_images": not another_sample}
    with showing_progress(options) as packed:
        result = find_choices(images, reference, claimed, metric.value, **packed)
    write(Printout(result.to_dict, result.rows, [result.verdict], [result.table]), form, output)
    print_unreadable(result.unreadable)
