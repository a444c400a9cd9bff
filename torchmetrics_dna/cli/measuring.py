"""Options shared by all commands that measure images, passed on to the Python functions."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.extractors.network import Network
from torchmetrics_dna.images.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.images.reading import Progress

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
_NETWORK = ("feature", "weights_path", "crop", "properties", "projections", "device")
_READING = ("batch_size", "num_workers", "column", "fps", "exif_orientation", "skip_unreadable")


def measures_images(*, without: Sequence[str] = (), anywhere: bool = False) -> Callable[[Command], Command]:
    """Replace ``**options`` of a command by the shared options, packed as Python functions take them.

    Args:
        without: Options that the command does not have.
        anywhere: Whether to add the option ``--on``, to measure on other machines.

    """

    def with_options(command: Command) -> Command:
        @wraps(command)
        def run(
            layers: str | None, crop: o.Crop | None, device: str | None, on: str | None = None, **options: Any
        ) -> None:
            if on is not None and device is not None:
                raise ValueError(
                    f"Option --device is {device!r}, but workers take the device that --on gives them; leave it out, or"
                    " give '?gpus=0' for the CPU, '?gpus=1' for CUDA"
                )
            # the network is pickled for workers, so it stays on the CPU
            options |= {"crop": crop and crop.value, "device": device if on is None else "cpu"}
            network, reading = (
                {name: options.pop(name) for name in names if name in options} for names in (_NETWORK, _READING)
            )
            if anywhere:
                options["on"] = on
            command(layers=o.names(layers), feature=Network(**network), reading=Reading(**reading), **options)

        own_signature = signature(command, eval_str=True)
        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
            if name not in without
        ]
        if anywhere:
            shared.append(Parameter("on", Parameter.KEYWORD_ONLY, default=None, annotation=o.On))
        run.__signature__ = own_signature.replace(parameters=[*list(own_signature.parameters.values())[:-1], *shared])  # type: ignore[attr-defined]
        return run

    return with_options


def with_progress(options: dict[str, Any], report: Progress) -> dict[str, Any]:
    """Return the options of a command with a callback for the progress of reading."""
    return options | {"reading": replace(options["reading"], progress=report)}
