"""Arguments shared by several commands."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from torchmetrics_dna.files.visible import plain_name, unknown_metrics

METRICS = ("dna-emd", "dna-fd", "fd", "kid", "mind", "cmmd", "precision", "recall", "density", "coverage")
PROTOCOLS = ("fid", "kid", "is", "sfid", "precision", "recall", "fd-dinov2", "fd-dinov2-edm2", "cmmd")


class Crop(Enum):
    """Crop of images before they are resized."""

    NONE = "none"
    CENTER = "center"


class Partner(Enum):
    """Correspondence of the images of two sides."""

    ORDER = "order"
    NAME = "name"

    @property
    def pairs(self) -> bool | str:
        """Argument ``pairs`` of Python functions."""
        return self is Partner.ORDER or self.value


def option(text: str, *names: str, group: str | None = None, rare: bool = False, **settings: Any) -> Any:
    """Make an option with this help text, in a group; a rare one is shown by ``--help-all`` alone."""
    return typer.Option(*names, help=text, rich_help_panel=group, hidden=rare, **settings)


image_option, network_option, statistic_option, output_option, machine_option = (
    partial(option, group=group) for group in ("Images", "Network", "Statistics", "Output", "Machine")
)


def known_metrics(metrics: str | None) -> str | None:
    """Return the metrics if all are distances; ValueError, naming the distances there are, if not."""
    return _known(metrics, METRICS)


def known_or_published(metrics: str | None) -> str | None:
    """Return the metrics if all are distances or published metrics; ValueError if not."""
    return _known(metrics, tuple(dict.fromkeys((*METRICS, *PROTOCOLS))))


def _known(metrics: str | None, allowed: tuple[str, ...]) -> str | None:
    plain = set(map(plain_name, (*allowed, "dna-frechet")))
    unknown = [name for name in names(metrics) or () if plain_name(name) not in plain]
    if unknown:  # told here, since the registry of distances takes seconds to load
        raise ValueError(unknown_metrics(unknown, allowed))
    return metrics


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
Output = Annotated[Path, output_option("The file to write.", "-o", "--output")]
Written = Annotated[str, output_option("The file to write, also at an address.", "-o", "--output")]
Feature = Annotated[
    str | None,
    network_option(
        "Extractor: a preset, or a timm model's name. [default: efficientnet_lite0, or that of a given DNA]",
    ),
]
Layers = Annotated[str | None, network_option("Layers, separated by commas. [default: the extractor's]")]
NumBins = Annotated[
    int | None,
    network_option("Bins of each neuron's histogram. [default: 1000, or those of a given DNA]", rare=True),
]
Ranges = Annotated[
    str | None, network_option("File of activation ranges, or auto. [default: packaged, else auto]", rare=True)
]
Properties = Annotated[
    bool | None,
    network_option("Watch sharpness, noise, size and other properties of images, too.", "--properties"),
]
WeightsPath = Annotated[Path | None, network_option("Local file of the extractor's weights.", rare=True)]
CropOption = Annotated[
    Crop | None, image_option("Cut out of images before they are resized. [default: none]", rare=True)
]
Column = Annotated[
    str | None,
    image_option(
        "Where images are in datasets' rows, .parquet, .npz and samples of a .tar. [default: it is found]",
        rare=True,
    ),
]
Fps = Annotated[float | None, image_option("Frames of a video to take for each second. [default: all]", rare=True)]
SkipUnreadable = Annotated[
    bool, image_option("Leave out, and name at the end, images that can't be read.", "--skip-unreadable")
]
BatchSize = Annotated[int, machine_option("Images in a batch.")]
NumWorkers = Annotated[
    int | None,
    machine_option("Processes that decode images. [default: one for each core that may be used, up to 8]", rare=True),
]
Device = Annotated[
    str | None, machine_option("Such as cpu or cuda:1. [default: CUDA if there is one]", callback=known_device)
]
On = Annotated[
    str | None,
    machine_option(
        "Measure on other machines: ray, or ray://HOST:PORT; ?actors=8&gpus=1 may follow.",
        rare=True,
    ),
]
Metrics = Annotated[
    str | None,
    statistic_option(
        f"Any of {', '.join(METRICS)}, with commas. [default: dna-emd,dna-fd, or what DNAs allow]",
        callback=known_metrics,
    ),
]
AllMetrics = Annotated[
    str | None,
    statistic_option(
        f"Any of {', '.join(METRICS)}, with commas. Without --feature and --layers, {', '.join(PROTOCOLS)} are as"
        " published, by networks of their own. [default: dna-emd,dna-fd, or what DNAs allow]",
        callback=known_or_published,
    ),
]
NeuronWeightsFile = Annotated[
    str | None,
    statistic_option("File of neuron weights, which NeuronWeights.save writes.", rare=True),
]
ChangesFile = Annotated[
    str | None,
    statistic_option(
        "Dictionary of changes, from the command changes. [default: packaged, if there is one]",
        rare=True,
    ),
]
Groups = Annotated[
    str | None,
    statistic_option(
        "Which images belong together: folder, or prefix:REGEX of their names. [default: equal ones]",
    ),
]
Pairs = Annotated[
    Partner | None,
    statistic_option("Images of A and B correspond, by their order or their names."),
]
Confidence = Annotated[float, statistic_option("Level of the confidence intervals.", rare=True)]


def names(layers: str | None) -> list[str] | None:
    """Split a comma-separated list."""
    return None if layers is None else [name.strip() for name in layers.split(",")]
