"""The options of all commands that measure images, which go as they are to the functions that do it."""

from __future__ import annotations

from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torchmetrics_dna.cli.options as o

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[..., None]

_OPTIONS = {
    "feature": (o.Feature, None),
    "layers": (o.Layers, None),
    "num_bins": (o.NumBins, None),
    "ranges": (o.Ranges, None),
    "weights_path": (o.WeightsPath, None),
    "crop": (o.CropOption, None),
    "properties": (o.Properties, None),
    "column": (o.Column, None),
    "fps": (o.Fps, None),
    "exif_orientation": (o.ExifOrientation, False),
    "skip_unreadable": (o.SkipUnreadable, False),
    "batch_size": (o.BatchSize, 32),
    "num_workers": (o.NumWorkers, None),
    "device": (o.Device, None),
}
_READING = ("exif_orientation", "column", "fps", "skip_unreadable", "batch_size", "num_workers", "distributed")


def measures_images(*, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command these options in place of its ``**options``, where it finds them as :func:`compare` takes them."""

    def with_options(command: Command) -> Command:
        @wraps(command)
        def run(layers: str | None, crop: o.Crop | None, **given: Any) -> None:
            from torchmetrics_dna.sets.processes import world_size

            command(layers=o.names(layers), crop=crop and crop.value, distributed=world_size() > 1, **given)

        own = signature(command, eval_str=True)
        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
            if name not in without
        ]
        run.__signature__ = own.replace(parameters=[*list(own.parameters.values())[:-1], *shared])  # type: ignore[attr-defined]
        return run

    return with_options


def take_reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options what says how images are read; those of :func:`resolve` remain."""
    return {name: options.pop(name) for name in _READING}
