"""The command that measures activation ranges."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import check_output, print_unreadable, progress, talk
from torchmetrics_dna.cli.measuring import measures_images, take_reading
from torchmetrics_dna.files.visible import images_in_words


class Rule(Enum):
    """How bounds follow from ranges."""

    WIDEN = "widen"
    SCALE = "scale"


_SOURCES = "Folders, and files of images as for compare; also .json of earlier ranges."


@measures_images(without=("num_bins", "ranges"), anywhere=True)
def ranges(
    sources: Annotated[list[str], typer.Argument(metavar="IMAGES", help=_SOURCES)],
    output: o.Written,
    margin: Annotated[Rule, o.option("Rule by which bounds follow; scale is the official one.")] = Rule.WIDEN,
    **options: Any,
) -> None:
    """Measure the activation ranges of image sets together, and write them to a .json file."""
    check_output(output, ".json")
    from torchmetrics_dna.images.addresses import writing
    from torchmetrics_dna.jobs.loading import Loading
    from torchmetrics_dna.jobs.measure_ranges import measure_ranges
    from torchmetrics_dna.jobs.processes import rank
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import device_for, resolve

    given = [ActivationRanges.load(name) if name.endswith(".json") else name for name in sources]
    reading = take_reading(options)
    options["device"] = device_for(options["feature"], options["device"])
    extractor = resolve(histograms=False, **options).extractor
    with progress() as report:
        found = measure_ranges(given, extractor, margin.value, Loading(progress=report, **reading))
    if rank() == 0:
        with writing(output) as path:
            found.ranges.save(path)
    talk.print(f"{output}: {found.ranges!r}, {images_in_words(found.num_images)}")
    print_unreadable(found.unreadable)
