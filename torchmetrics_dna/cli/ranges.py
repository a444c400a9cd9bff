"""The command that measures activation ranges."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import check_output, images, print_unreadable, progress, talk


class Rule(Enum):
    """How bounds follow from ranges."""

    WIDEN = "widen"
    SCALE = "scale"


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...", help="Folders, .zip, .txt with one path a line, image files; also .json of earlier ranges."
    ),
]
Margin = Annotated[Rule, o.option("Rule by which bounds follow; scale is the official one.")]


def ranges(
    sources: Sources,
    output: o.Output,
    margin: Margin = Rule.WIDEN,
    feature: o.Feature = None,
    layers: o.Layers = None,
    weights_path: o.WeightsPath = None,
    crop: o.CropOption = None,
    exif_orientation: o.ExifOrientation = False,
    skip_unreadable: o.SkipUnreadable = False,
    batch_size: o.BatchSize = 32,
    num_workers: o.NumWorkers = None,
    device: o.Device = None,
) -> None:
    """Measure the activation ranges of image sets together, and write them to a .json file."""
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.sets.loading import Loading
    from torchmetrics_dna.sets.measure_ranges import measure_ranges
    from torchmetrics_dna.sets.processes import rank, world_size
    from torchmetrics_dna.tally.resolve import resolve

    check_output(output, ".json")
    given = [ActivationRanges.load(name) if name.endswith(".json") else name for name in sources]
    settings = o.extractor_settings(weights_path, crop)
    extractor = resolve(feature, o.names(layers), histograms=False, device=device, **settings).extractor
    with progress() as report:
        loading = Loading(batch_size, num_workers, exif_orientation, skip_unreadable, report, world_size() > 1)
        found = measure_ranges(given, extractor, margin.value, loading)
    if rank() == 0:
        found.ranges.save(output)
    talk.print(f"{output}: {found.ranges!r}, {images(found.num_images)}")
    print_unreadable(found.unreadable)
