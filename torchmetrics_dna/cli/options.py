"""Options shared by several commands; those that measure images take what the Python functions take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from enum import StrEnum
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from torchmetrics_dna.cli.console import progress
from torchmetrics_dna.dna.distances import find_distances
from torchmetrics_dna.images.reading import Reading
from torchmetrics_dna.jobs.arguments import Arguments, Network
from torchmetrics_dna.options import names_in, option_name, typed_option

Crop = StrEnum("Crop", ["none", "center"])
# Ways in which images of two sets correspond.
Partner = StrEnum("Partner", ["order", "name"])


def option(text: str, *names: str, group: str | None = None, **settings: Any) -> Any:
    """Make an option with this help text, in the panel of a group."""
    return typer.Option(*names, help=text, rich_help_panel=group, **settings)


statistic_option, output_option = (partial(option, group=group) for group in ("Statistics", "Output"))


def as_names(text: str | None) -> list[str] | None:
    """Split a list of names."""
    return None if text is None else names_in(text)


def as_metrics(text: str | None) -> list[str] | None:
    """Return the names of metrics.

    Raises:
        ValueError: If one is neither a distance nor a published metric.

    """
    metrics = as_names(text)
    if metrics is not None:
        find_distances(metrics, with_published=True)
    return metrics


def as_num_folds(count: int) -> int | None:
    """Return the number of folds; None for 0."""
    return None if count == 0 else count


def as_crop(crop: Crop | None) -> str | None:
    """Return the value of a crop."""
    return None if crop is None else crop.value


def as_pairs(partner: Partner | None) -> bool | str | None:
    """Return the value of the argument ``pairs``: True for pairs by order."""
    if partner is None:
        return None
    return True if partner is Partner.order else partner.value


def as_device(device: str | None) -> str | None:
    """Return the device if it exists.

    Raises:
        ValueError: If it does not exist, with the available devices.

    """
    if device in (None, "cpu"):
        return device
    import torch

    available = ["cpu"]
    if torch.cuda.is_available():
        available += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    try:
        torch.empty(0, device=device)
    except Exception as err:  # each backend raises types of its own
        raise ValueError(f"There is no device {device!r} here; there is: {', '.join(available)}") from err
    return device


FORMATS = "Formats: torchmetrics-dna --help-sources."
SideA = Annotated[str, typer.Argument(metavar="A", help=f"Reference: images or a DNA file. {FORMATS}")]
SideB = Annotated[str, typer.Argument(metavar="B", help="Images or a DNA file to compare with A.")]
MoreSides = Annotated[
    list[str] | None,
    typer.Argument(metavar="C", help="More sets. Each of B, C and so on is compared with A.", show_default=False),
]
Images = Annotated[str, typer.Argument(metavar="IMAGES", help=f"Images in a folder, file or address. {FORMATS}")]
Written = Annotated[str, output_option("Path or address of the file to write.", "-o", "--output")]

# Fields whose metadata has the help of an option.
FIELDS = {field.name: field for kind in (Network, Reading, Arguments) for field in fields(kind) if field.metadata}
USUAL = {name: field.default for name, field in FIELDS.items()}
_GROUPS = ("Statistics", "Images", "Network", "Machine")
# Types of options that are no words, numbers or flags.
_TYPES: dict[str, Any] = {"crop": Crop, "pairs": Partner, "weights_path": Path}
# Options of all commands that measure images.
_OF_ALL = ("feature", "weights_path", "properties", "layers", "column", "exif_orientation", "scale", "skip_unreadable")
# Options that change no result.
_OF_MACHINES = ("device", "batch_size", "num_workers", "on")


def measures_images(*more: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace ``**options`` of a command by shared options, which it gets as keyword arguments of Python functions.

    Args:
        more: Names of the options that this command has in addition to those of all commands.

    """
    taken = [name for name in FIELDS if name in (*_OF_ALL, *_OF_MACHINES[:-1], *more)]
    # Help lists options in this order, so those of a group follow each other.
    in_groups = sorted(taken, key=lambda name: _GROUPS.index(FIELDS[name].metadata["group"]))
    shared = [_parameter(name) for name in in_groups]

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        *own, _ = signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def run(**options: Any) -> None:
            if options.get("on") is not None:
                options["device"] = _device_on_workers(options["device"])
            for name, convert in _CONVERTERS.items():
                if name in options:
                    options[name] = convert(options[name])
            feature = _pop_fields(options, Network)
            reading = Reading(**_pop_fields(options, Reading))
            command(feature=feature, reading=reading, **options)

        run.__signature__ = signature(command).replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return run

    return with_options


def _device_on_workers(device: str | None) -> str:
    """Return the device of a network that is pickled for workers. ValueError if ``--device`` was given as well."""
    if device is not None:
        raise ValueError(
            f"Option --device is {device!r}, but --on chooses the device of its workers:"
            " '?gpus=0' for the CPU, '?gpus=1' for CUDA"
        )
    return "cpu"


def _pop_fields(options: dict[str, Any], arguments: type[Network | Reading]) -> dict[str, Any]:
    """Remove the options that are fields of a class, and return them."""
    names = [field.name for field in fields(arguments) if field.name in options]
    return {name: options.pop(name) for name in names}


def _parameter(name: str) -> Parameter:
    """Return a field as a keyword argument that typer reads."""
    field = FIELDS[name]
    type_name = str(field.type).partition(" ")[0]
    option_type: Any = _TYPES.get(name)
    if option_type is None:
        option_type = {"int": int, "float": float, "bool": bool}.get(type_name, str)
    if field.default is None:
        option_type = option_type | None
    spellings = []
    # Without a spelling of its own, a flag would get a --no- form, too.
    if field.default is False:
        spellings.append(option_name(name))
    shown = option(field.metadata["help"], *spellings, group=field.metadata["group"])
    return Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[option_type, shown])


def typed(options: dict[str, Any], command: Callable[..., None] | None = None) -> list[str]:
    """Return the shared options that decide what is measured, and are not the default, as words that are typed.

    Args:
        options: What a command got.
        command: Another command, for which only those options that it has are returned.

    """
    taken = FIELDS if command is None else signature(command).parameters
    values = options | vars(options["reading"]) | options["feature"]
    words: list[str] = []
    for name in FIELDS:
        value = values[name]
        if value == USUAL[name] or name in _OF_MACHINES or name not in taken:
            continue
        words += typed_option(name, value)
    return words


# Functions from what was typed to what Python functions take.
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "layers": as_names,
    "metrics": as_metrics,
    "device": as_device,
    "num_folds": as_num_folds,
    "crop": as_crop,
    "pairs": as_pairs,
}


@contextmanager
def showing_progress(options: dict[str, Any], skips_unreadable: bool = False) -> Iterator[dict[str, Any]]:
    """Show the progress of reading in this block, and yield the options of a command with the callback for it.

    Args:
        options: The options of the command.
        skips_unreadable: Whether unreadable images are left out by default. The command prints them at the end.

    """
    reading = options["reading"]
    if skips_unreadable:
        reading = reading.skipping()
    with progress() as report:
        yield options | {"reading": replace(reading, progress=report)}
