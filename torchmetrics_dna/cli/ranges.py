"""Commands that measure activation ranges, and what changes of images do to neurons."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES, check_output, check_sources, print_unreadable, talk
from torchmetrics_dna.cli.measuring import measures_images, showing_progress
from torchmetrics_dna.files.visible import images_in_words


class Rule(Enum):
    """Rule that derives histogram bounds from activation ranges."""

    WIDEN = "widen"
    SCALE = "scale"


_SOURCES = "Folders, and files of images as for compare; also .json of earlier ranges."


@measures_images("properties", "crop")
def ranges(
    sources: Annotated[list[str], typer.Argument(metavar="IMAGES", help=_SOURCES)],
    output: o.Written,
    margin: Annotated[Rule, o.option("Rule by which bounds follow; scale is the official one.")] = Rule.WIDEN,
    **options: Any,
) -> None:
    """Measure the activation ranges of image sets together, and write them to a .json file."""
    check_sources(*sources)
    check_output(output, ".json")
    from torchmetrics_dna.images.addresses import writing
    from torchmetrics_dna.jobs.measure_ranges import measure_ranges
    from torchmetrics_dna.jobs.processes import rank
    from torchmetrics_dna.neurons.ranges import ActivationRanges

    inputs = [ActivationRanges.load(name) if name.endswith(".json") else name for name in sources]
    with showing_progress(options) as packed:
        measured = measure_ranges(inputs, margin=margin.value, distributed=PROCESSES > 1, **packed)
    if rank() == 0:
        with writing(output) as path:
            measured.ranges.save(path)
    talk.print(f"{output}: {measured.ranges!r}, {images_in_words(measured.num_images)}")
    print_unreadable(measured.unreadable)


@measures_images()
def changes(images: o.Images, output: o.Output, **options: Any) -> None:
    """Measure what blur, noise, compression and others do to each neuron, and write it to a .npz file."""
    check_sources(images)
    check_output(output, ".npz")
    from torchmetrics_dna.jobs.make_changes import make_changes
    from torchmetrics_dna.jobs.processes import rank

    with showing_progress(options) as packed:
        dictionary = make_changes(images, distributed=PROCESSES > 1, **packed)
    if rank() == 0:
        dictionary.save(output)
    talk.print(f"{output}: {dictionary!r}")
