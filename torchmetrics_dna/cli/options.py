"""Arguments shared by several commands."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Crop(Enum):
    """Crop of images before they are resized."""

    NONE = "none"
    CENTER = "center"


def option(text: str, *names: str, **settings: Any) -> Any:
    """Make an option with this help text."""
    return typer.Option(*names, help=text, **settings)


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
Output = Annotated[Path, option("The file to write.", "-o", "--output")]
Written = Annotated[str, option("The file to write, also at an address.", "-o", "--output")]
Feature = Annotated[
    str | None,
    option("Extractor: a preset, or a timm model's name. [default: efficientnet_lite0, or that of a given DNA]"),
]
Layers = Annotated[str | None, option("Layers, separated by commas. [default: the extractor's]")]
NumBins = Annotated[int | None, option("Bins of each neuron's histogram. [default: 1000, or those of a given DNA]")]
Ranges = Annotated[str | None, option("File of activation ranges, or auto. [default: packaged, else auto]")]
Properties = Annotated[
    bool | None, option("Watch sharpness, noise, size and other properties of images, too.", "--properties")
]
Projections = Annotated[
    int | None,
    option("Watch projections of each layer's neurons on so many random directions, too, such as 64.", "--projections"),
]
WeightsPath = Annotated[Path | None, option("Local file of the extractor's weights.")]
CropOption = Annotated[Crop | None, option("Cut out of images before they are resized. [default: none]")]
Column = Annotated[
    str | None,
    option("Where images are in datasets' rows, .parquet, .npz and samples of a .tar. [default: it is found]"),
]
Fps = Annotated[float | None, option("Frames of a video to take for each second. [default: all]")]
ExifOrientation = Annotated[bool, option("Turn images as their EXIF tag says.", "--exif-orientation")]
SkipUnreadable = Annotated[
    bool, option("Leave out, and name at the end, images that can't be read.", "--skip-unreadable")
]
BatchSize = Annotated[int, option("Images in a batch.")]
NumWorkers = Annotated[
    int | None, option("Processes that decode images. [default: one for each core that may be used, up to 8]")
]
Device = Annotated[str | None, option("Such as cpu or cuda:1. [default: CUDA if there is one]", callback=known_device)]
On = Annotated[
    str | None, option("Measure on other machines: ray, or ray://HOST:PORT; ?actors=8&gpus=1 may follow.", "--on")
]
Metrics = Annotated[
    str | None,
    option(
        "Any of dna-emd, dna-fd, fd, kid, mind, cmmd, precision, recall, density, coverage, with commas."
        " [default: dna-emd,dna-fd, or what DNAs allow]"
    ),
]
NeuronWeightsFile = Annotated[
    str | None, option("File of neuron weights, from weights select or weights learn.", "--neurons")
]
NeuronNamesFile = Annotated[
    Path | None, option('What to call neurons: a json file of {layer: {"number": "text"}}.', "--neuron-names")
]
ChangesFile = Annotated[
    str | None,
    option("Dictionary of changes, from the command changes. [default: packaged, if there is one]", "--changes"),
]
Groups = Annotated[
    str | None,
    option("Which images belong together: folder, or prefix:REGEX of their names. [default: equal ones]", "--group-by"),
]
Confidence = Annotated[float, option("Level of the confidence intervals.")]
Json = Annotated[bool, option("Print json.", "--json")]


def names(layers: str | None) -> list[str] | None:
    """Split a comma-separated list."""
    return None if layers is None else [name.strip() for name in layers.split(",")]


def one_form(**requested: bool) -> str | None:
    """Return the requested output format; ValueError if more than one is."""
    chosen = [name for name, wanted in requested.items() if wanted]
    if len(chosen) > 1:
        raise ValueError(f"Expected one of {' and '.join(f'--{name}' for name in chosen)}; leave the others out")
    return chosen[0] if chosen else None
