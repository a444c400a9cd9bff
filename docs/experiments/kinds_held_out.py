"""Five kinds of pictures that chose nothing, measured once: what few_off.py draws from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import data
import numpy as np
import torch
from outliers import blurred, compressed
from sklearn.datasets import load_digits

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.images.resize import resize_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna import DNAExtractor

    Picture = NDArray[np.uint8]

NUMBERS = {"fluent": 600, "emojione": 500, "wallpapers": 450, "digits": 500, "textures": 450}
AT_HAND = {"digits": 40, "photographs": 40}
FAULTS = {
    "fluent, blurred": ("fluent", blurred(1).spoil, 100),
    "digits, blurred": ("digits", blurred(1).spoil, 100),
    "textures, JPEG": ("textures", compressed, 60),
}


def packages(quick: bool) -> list[data.Package | str]:
    """Where these kinds come from."""
    if quick:
        return ["scikit-learn's digits", "scikit-image's photographs"]
    return [data.FLUENT, data.EMOJIONE, *data.WALLPAPERS, data.TEXTURES, "scikit-learn's digits"]


@dataclass(frozen=True)
class Kind:
    """Spatial means of pictures, float64 ``(images, N)``, and the group that each belongs to."""

    means: Tensor
    groups: NDArray[np.str_]


@cache
def pictures(name: str, number: int) -> tuple[list[Picture], list[str]]:
    """So many pictures of a kind, drawn at random, and their groups: makers' categories, sources, folders or digits."""
    if name == "wallpapers":
        every, groups = data.wallpapers()
    elif name == "textures":
        every, groups = data.textures()
    elif name == "digits":
        every, groups = data.at_hand(1797, "digits"), [str(digit) for digit in load_digits().target]
    elif name == "photographs":
        every, groups = data.at_hand(number), ["photographs"] * number
    else:
        paths, groups = data.drawn_by("emojione" if name == "emojione" else "fluent")
        order = np.random.default_rng(0).permutation(len(paths))[:number]
        return [data.picture(paths[i], 64) for i in order], [groups[i] for i in order]
    order = np.random.default_rng(0).permutation(len(every))[:number]
    return [every[i] for i in order], [groups[i] for i in order]


def means_of(images: list[NDArray[np.uint8]], extractor: DNAExtractor) -> Tensor:
    """Mean activation of each neuron for each image, shape ``(images, N)``."""
    parts = []
    for first in range(0, len(images), 32):
        resized = np.stack([resize_image(image, (224, 224)) for image in images[first : first + 32]])
        activations = extractor(torch.from_numpy(resized))
        of_batch = Activations(activations)
        parts.append(torch.cat([of_batch.means(layer) for layer in of_batch.layers], 1))
    return torch.cat(parts)


def kept(
    folder: Path | None, name: str, images: Callable[[], list[NDArray[np.uint8]]], extractor: DNAExtractor
) -> Tensor:
    """Mean activations from the folder, or measured and put there."""
    path = None if folder is None else folder / f"{name}.pt"
    if path is not None and path.exists():
        stored: Tensor = torch.load(path)
        return stored
    means = means_of(images(), extractor)
    if path is not None:
        torch.save(means, path)
    return means


def measured(folder: Path | None, extractor: DNAExtractor, quick: bool = False) -> dict[str, Kind]:
    """All kinds, and the first of some with a fault; what was measured before is read from the folder."""
    numbers = AT_HAND if quick else NUMBERS
    kinds = {}
    for name, number in numbers.items():
        means = kept(folder, name, lambda name=name, number=number: pictures(name, number)[0], extractor)
        kinds[name] = Kind(means.double(), np.array(pictures(name, number)[1]))
    for fault, (name, spoil, number) in FAULTS.items():
        if name in numbers:
            images = partial(spoilt, name, spoil, numbers[name], number)
            kinds[fault] = Kind(kept(folder, fault, images, extractor).double(), kinds[name].groups[:number])
    return kinds


def spoilt(name: str, spoil: Callable[..., Picture], number: int, most: int) -> list[Picture]:
    """The first pictures of a kind, with a fault."""
    some: Sequence[Picture] = pictures(name, number)[0][:most]
    return [spoil(picture, i, some, some) for i, picture in enumerate(some)]
