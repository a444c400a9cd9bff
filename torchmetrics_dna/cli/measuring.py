"""The options of all commands that measure images, which go as they are to the functions that do it."""

from __future__ import annotations

from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import PROCESSES

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
    "projections": (o.Projections, None),
    "column": (o.Column, None),
    "fps": (o.Fps, None),
    "exif_orientation": (o.ExifOrientation, False),
    "skip_unreadable": (o.SkipUnreadable, False),
    "batch_size": (o.BatchSize, 32),
    "num_workers": (o.NumWorkers, None),
    "device": (o.Device, None),
}
_READING = (
    "exif_orientation",
    "column",
    "fps",
    "skip_unreadable",
    "batch_size",
    "num_workers",
    "distributed",
    "engine",
)


def measures_images(*, without: Sequence[str] = (), anywhere: bool = False) -> Callable[[Command], Command]:
    """Give a command these options in place of its ``**options``, where it finds them as :func:`compare` takes them.

    Args:
        without: Options that it does not have.
        anywhere: Whether it can measure on other machines, and has the option for it.

    """

    def with_options(command: Command) -> Command:
        @wraps(command)
        def run(
            layers: str | None, crop: o.Crop | None, device: str | None, engine: str | None = None, **given: Any
        ) -> None:
            if engine is not None and device is not None:
                raise ValueError(
                    f"Option --device is {device!r}, but workers take the device that --on gives them; leave it out, or"
                    " give '?gpus=0' for the CPU, '?gpus=1' for CUDA"
                )
            # the network is pickled for workers, so it stays on the CPU
            given["device"] = device if engine is None else "cpu"
            if anywhere:
                given["engine"] = engine
            command(layers=o.names(layers), crop=crop and crop.value, distributed=PROCESSES > 1, **given)

        own = signature(command, eval_str=True)
        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
            if name not in without
        ]
        if anywhere:
            shared.append(Parameter("engine", Parameter.KEYWORD_ONLY, default=None, annotation=o.On))
        run.__signature__ = own.replace(parameters=[*list(own.parameters.values())[:-1], *shared])  # type: ignore[attr-defined]
        return run

    return with_options


def take_reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options what says how images are read; those of :func:`resolve` remain."""
    return {name: options.pop(name) for name in _READING if name in options}
