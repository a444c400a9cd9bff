"""Options shared by all commands that measure images, passed on to the Python functions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import progress
from torchmetrics_dna.extractors.network import Network
from torchmetrics_dna.images.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    "skip_unreadable": (o.SkipUnreadable, False),
    "batch_size": (o.BatchSize, 32),
    "num_workers": (o.NumWorkers, None),
    "device": (o.Device, None),
    "on": (o.On, None),
}
_OF_SOME = {"num_bins", "ranges", "crop", "properties", "fps", "on"}  # options that not all of these commands have
_NETWORK = ("feature", "weights_path", "crop", "properties", "device")
_READING = ("batch_size", "num_workers", "column", "fps", "skip_unreadable")


def measures_images(*more: str) -> Callable[[Command], Command]:
    """Replace ``**options`` of a command by the shared options, packed as Python functions take them.

    Args:
        more: Names of the options that this command has beside those that all have.

    """
    allowed = (_OPTIONS.keys() - _OF_SOME) | set(more)

    def with_options(command: Command) -> Command:
        @wraps(command)
        def run(
            layers: str | None, device: str | None, crop: o.Crop | None = None, on: str | None = None, **options: Any
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
            if "on" in allowed:
                options["on"] = on
            command(layers=o.names(layers), feature=Network(**network), reading=Reading(**reading), **options)

        own_signature = signature(command, eval_str=True)
        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
            if name in allowed
        ]
        run.__signature__ = own_signature.replace(parameters=[*list(own_signature.parameters.values())[:-1], *shared])  # type: ignore[attr-defined]
        return run

    return with_options


@contextmanager
def showing_progress(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Show the progress of reading in this block; yields the options of a command with the callback for it."""
    with progress() as report:
        yield options | {"reading": replace(options["reading"], progress=report)}
