"""Options shared by several commands; those that measure images take what the Python functions take."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields, replace
from enum import Enum
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_dna.cli.console import progress
from torchmetrics_dna.dna.distances import all_published, find_distances, of_any_network
from torchmetrics_dna.images.reading import Reading
from torchmetrics_dna.jobs.arguments import Arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator


class Crop(Enum):
    """Crop of images before they are resized."""

    NONE = "none"
    CENTER = "center"


class Partner(Enum):
    """Correspondence of the images of two sides."""

    ORDER = "order"
    NAME = "name"


def option(text: str, *names: str, group: str | None = None, rare: bool = False, **settings: Any) -> Any:
    """Make an option with this help text, in a group; a rare one is shown by ``--help-all`` alone."""
    return typer.Option(*names, help=text, rich_help_panel=group, hidden=rare, **settings)


image_option, network_option, statistic_option, output_option, machine_option = (
    partial(option, group=group) for group in ("Images", "Network", "Statistics", "Output", "Machine")
)


def names(text: str | None) -> list[str] | None:
    """Split a comma-separated list."""
    return None if text is None else [name.strip() for name in text.split(",")]


def known_metrics(metrics: str | None) -> list[str] | None:
    """Return the metrics if all are distances or published metrics; ValueError if not."""
    listed = names(metrics)
    if listed is not None:
        find_distances(listed, with_published=True)
    return listed


def known_device(device: str | None) -> str | None:
    """Return the device if it exists; ValueError, naming the available devices, if not."""
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


_IMAGES = (
    "Folder, .zip, .txt with one path a line, image file, .npz, .npy, .tar, .parquet or video; many by a quoted"
    " pattern, such as 'x/*.tar'; also at an address."
)
SIDE = _IMAGES[:-1] + "; or a DNA file, ours, official or hub:OWNER/REPO/path."
SideA = Annotated[str, typer.Argument(metavar="A", help=SIDE)]
SideB = Annotated[str, typer.Argument(metavar="B", help=SIDE)]
MoreSides = Annotated[
    list[str] | None,
    typer.Argument(metavar="C", help="More sets; A is compared with each of B, C and so on.", show_default=False),
]
Images = Annotated[str, typer.Argument(metavar="IMAGES", help=_IMAGES)]
Written = Annotated[str, output_option("The file to write, also at an address.", "-o", "--output")]

# by the names of Python's arguments
_SHARED: dict[str, Any] = {
    "feature": Annotated[
        str | None,
        network_option(
            "Extractor: a preset, or a timm model's name. [default: efficientnet_lite0, or that of a given DNA]"
        ),
    ],
    "layers": Annotated[
        str | None, network_option("Layers, separated by commas. [default: the extractor's]", callback=names)
    ],
    "num_bins": Annotated[
        int | None,
        network_option("Bins of each neuron's histogram. [default: 1000, or those of a given DNA]", rare=True),
    ],
    "ranges": Annotated[
        str | None, network_option("File of activation ranges, or auto. [default: packaged, else auto]", rare=True)
    ],
    "weights_path": Annotated[Path | None, network_option("Local file of the extractor's weights.", rare=True)],
    "crop": Annotated[
        Crop | None, image_option("Cut out of images before they are resized. [default: none]", rare=True)
    ],
    "properties": Annotated[
        bool | None,
        network_option(
            "Watch sharpness, noise, size and other properties of images, too. [default: compare does for two sets]",
            "--properties/--no-properties",
            rare=True,
        ),
    ],
    "column": Annotated[
        str | None,
        image_option(
            "Where images are in datasets' rows, .parquet, .npz and samples of a .tar. [default: it is found]",
            rare=True,
        ),
    ],
    "fps": Annotated[
        float | None, image_option("Frames of a video to take for each second. [default: all]", rare=True)
    ],
    "skip_unreadable": Annotated[
        bool,
        image_option("Leave out, and name at the end, images that can't be read.", "--skip-unreadable", rare=True),
    ],
    "batch_size": Annotated[int, machine_option("Images in a batch.", rare=True)],
    "num_workers": Annotated[
        int | None,
        machine_option(
            "Processes that decode images. [default: one for each core that may be used, up to 8]", rare=True
        ),
    ],
    "device": Annotated[
        str | None, machine_option("Such as cpu or cuda:1. [default: CUDA if there is one]", callback=known_device)
    ],
    "on": Annotated[
        str | None,
        machine_option("Measure on other machines: ray, or ray://HOST:PORT; ?cpus=8&gpus=1 may follow.", rare=True),
    ],
    "metrics": Annotated[
        str | None,
        statistic_option(
            f"Any of {', '.join(of_any_network())}, with commas. Without --feature and --layers,"
            f" {', '.join(all_published())} are as published, by networks of their own. [default: dna-emd,dna-fd, or"
            " what DNAs allow]",
            callback=known_metrics,
        ),
    ],
    "neuron_weights": Annotated[
        str | None, statistic_option("File of neuron weights, which NeuronWeights.save writes.", rare=True)
    ],
    "num_folds": Annotated[
        int, statistic_option("Folds of images for intervals and tests; 0 for neither.", callback=lambda n: n or None)
    ],
    "groups": Annotated[
        str | None,
        statistic_option("Which images belong together: folder, or prefix:REGEX of their names. [default: equal ones]"),
    ],
    "pairs": Annotated[
        Partner | None, statistic_option("Images of A and B correspond, by their order or their names.")
    ],
    "confidence": Annotated[float, statistic_option("Level of the confidence intervals.", rare=True)],
    "causes": Annotated[
        bool,
        statistic_option("Search what change of A's images, such as blur, brings them to B.", "--causes/--no-causes"),
    ],
}
# options that not all commands have which measure images
OF_SOME = (
    *("num_bins", "ranges", "crop", "fps", "on"),
    *("metrics", "neuron_weights", "num_folds", "groups", "pairs", "confidence", "causes"),
)
_OF_MACHINES = ("batch_size", "num_workers", "device", "on")  # which change no result
_OF_EXTRACTORS = ("feature", "weights_path", "crop", "properties", "device")
_OF_ALL = _SHARED.keys() - {*OF_SOME}
USUAL = dict.fromkeys(_OF_EXTRACTORS) | {f.name: f.default for kind in (Arguments, Reading) for f in fields(kind)}


def measures_images(*more: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace ``**options`` of a command by shared options, which it gets as keyword arguments of Python functions.

    Args:
        more: Names of the options that this command has beside those that all have.

    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(command, eval_str=True).parameters.values())[:-1]

        @wraps(command)
        def run(**options: Any) -> None:
            if options.get("on") is not None:
                if options["device"] is not None:
                    raise ValueError(
                        f"Option --device is {options['device']!r}, but workers take the device that --on gives them;"
                        " leave it out, or give '?gpus=0' for the CPU, '?gpus=1' for CUDA"
                    )
                options["device"] = "cpu"  # the network is pickled for workers
            options |= {name: _plain(options[name]) for name in ("crop", "pairs") if name in options}
            network, reading = (
                {name: options.pop(name) for name in names if name in options}
                for names in (_OF_EXTRACTORS, [field.name for field in fields(Reading)])
            )
            command(feature=network, reading=Reading(**reading), **options)

        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=USUAL[name], annotation=annotation)
            for name, annotation in _SHARED.items()
            if name in _OF_ALL | {*more}
        ]
        run.__signature__ = signature(command).replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return run

    return with_options


def typed(options: dict[str, Any], left_out: Container[str] = ()) -> list[str]:
    """Return the shared options that say what is measured, and are not the default, as they are typed."""
    values = options | vars(options["reading"]) | options["feature"]
    words: list[str] = []
    for name in _SHARED:
        value, option = values[name], f"--{name.replace('_', '-')}"
        if value == USUAL[name] or name in _OF_MACHINES or name in left_out:
            continue
        if isinstance(value, bool):
            words += [option, Partner.ORDER.value] if name == "pairs" else [option if value else f"--no-{option[2:]}"]
        else:
            words += [option, "0" if value is None else ",".join(value) if isinstance(value, list) else str(value)]
    return words


def _plain(choice: Enum | None) -> bool | str | None:
    """Return a choice as Python functions take it."""
    return None if choice is None else choice is Partner.ORDER or str(choice.value)


@contextmanager
def showing_progress(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Show the progress of reading in this block; yields the options of a command with the callback for it."""
    with progress() as report:
        yield options | {"reading": replace(options["reading"], progress=report)}
