"""Options shared by several commands. Most of them are arguments of the Python functions."""

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
    """Make an option of a command.

    Args:
        text: Help text.
        names: Spellings of the option, such as ``"--output"``. By default, the spelling follows from the parameter.
        group: Title of the panel in the help.
        settings: Other settings of :func:`typer.Option`.

    """
    return typer.Option(*names, help=text, rich_help_panel=group, **settings)


statistic_option = partial(option, group="Statistics")
output_option = partial(option, group="Output")


def as_names(text: str | None) -> list[str] | None:
    """Split a text of names that are separated by commas."""
    return None if text is None else names_in(text)


def as_metrics(text: str | None) -> list[str] | None:
    """Split a text of metrics that are separated by commas.

    Raises:
        ValueError: If a name is neither that of a distance nor that of a published metric.

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
    """Check that a device exists, and return its name.

    Raises:
        ValueError: If the device does not exist. The message lists the available devices.

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
    except Exception as err:
        # Each backend raises its own types of errors.
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

# Fields that are options. The metadata of such a field has the help text of its option.
FIELDS = {field.name: field for kind in (Network, Reading, Arguments) for field in fields(kind) if field.metadata}
USUAL = {name: field.default for name, field in FIELDS.items()}
_GROUPS = ("Statistics", "Images", "Network", "Machine")
# Types of options that are not texts, numbers or flags.
_TYPES: dict[str, Any] = {"crop": Crop, "pairs": Partner, "weights_path": Path}
# Options of all commands that measure images.
_OF_ALL = ("feature", "weights_path", "properties", "layers", "column", "exif_orientation", "scale", "skip_unreadable")
# Options that do not change results.
_OF_MACHINES = ("device", "batch_size", "num_workers", "on")


def measures_images(*more: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace ``**options`` in the signature of a command by shared options.

    The command gets the options as keyword arguments of Python functions: the network as ``feature``, the options for
    reading images as ``reading``, and all others by name.

    Args:
        more: Names of the options that this command has in addition to those of all commands.

    """
    names_of_command = {*_OF_ALL, *_OF_MACHINES, *more}
    if "on" not in more:
        names_of_command.remove("on")
    names = [name for name in FIELDS if name in names_of_command]
    # The help lists options in this order, so that those of a group follow each other.
    names.sort(key=lambda name: _GROUPS.index(FIELDS[name].metadata["group"]))
    shared = [_parameter(name) for name in names]

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        # The last parameter is `**options`.
        *own, _ = signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def run(**options: Any) -> None:
            _convert(options)
            feature = _pop_fields(options, Network)
            reading = Reading(**_pop_fields(options, Reading))
            command(feature=feature, reading=reading, **options)

        run.__signature__ = signature(command).replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return run

    return with_options


def _convert(options: dict[str, Any]) -> None:
    """Convert values from the command line to arguments of Python functions, in place."""
    if options.get("on") is not None:
        options["device"] = _device_on_workers(options["device"])
    for name, convert in _CONVERTERS.items():
        if name in options:
            options[name] = convert(options[name])


def _device_on_workers(device: str | None) -> str:
    """Return the device on which a network is pickled for workers.

    Raises:
        ValueError: If ``--device`` was passed, too.

    """
    if device is not None:
        raise ValueError(
            f"Option --device is {device!r}, but --on chooses the device of its workers:"
            " '?gpus=0' for the CPU, '?gpus=1' for CUDA"
        )
    return "cpu"


def _pop_fields(options: dict[str, Any], arguments: type[Network | Reading]) -> dict[str, Any]:
    """Remove the options that are fields of a class from ``options``, and return them."""
    names = [field.name for field in fields(arguments) if field.name in options]
    return {name: options.pop(name) for name in names}


def _parameter(name: str) -> Parameter:
    """Return the keyword-only parameter that typer reads as the option of a field."""
    field = FIELDS[name]
    option_type = _type_of_option(name)
    if field.default is None:
        option_type = option_type | None
    spellings = []
    # Without an explicit spelling, typer would add a --no- form to a flag.
    if field.default is False:
        spellings.append(option_name(name))
    typer_option = option(field.metadata["help"], *spellings, group=field.metadata["group"])
    annotation: Any = Annotated[option_type, typer_option]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)


def _type_of_option(name: str) -> Any:
    """Return the type of values of the option of a field. Fields of other types than numbers and flags are texts."""
    if name in _TYPES:
        return _TYPES[name]
    # The type of a field is written as a text, such as "int | None".
    type_name = str(FIELDS[name].type).partition(" ")[0]
    return {"int": int, "float": float, "bool": bool}.get(type_name, str)


def typed(options: dict[str, Any], command: Callable[..., None] | None = None) -> list[str]:
    """Return shared options as words of a command line.

    Options that have their default value, or that do not change results, are left out.

    Args:
        options: Options that a command got.
        command: Another command. If it is given, options that it does not have are left out.

    """
    accepted_names = FIELDS if command is None else signature(command).parameters
    values = options | vars(options["reading"]) | options["feature"]
    words: list[str] = []
    for name in FIELDS:
        changes_results = name not in _OF_MACHINES
        is_default = values[name] == USUAL[name]
        if name in accepted_names and changes_results and not is_default:
            words += typed_option(name, values[name])
    return words


# Functions that convert values from the command line to arguments of Python functions.
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
    """Show the progress of reading images while the block runs.

    Args:
        options: The options of the command.
        skips_unreadable: Whether unreadable images are left out by default. The command prints them at the end.

    Yields:
        The options, with the callback that reports the progress.

    """
    reading = options["reading"]
    if skips_unreadable:
        reading = reading.skipping()
    with progress() as report:
        yield options | {"reading": replace(reading, progress=report)}
