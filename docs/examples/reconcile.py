"""Why is a published value another than yours? Compute it with one choice at a time, as codes take them differently.

    python docs/examples/reconcile.py samples/ photos/ --claimed 12.34 [--metric fid]

The value is computed by the protocol first, and then with other resizes, crops, JPEG and precisions. A choice explains
the claimed value if both agree to its last digit, so give all digits.
"""

from __future__ import annotations

import argparse
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from torchmetrics_dna import published_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Step = Callable[[Image.Image, int], Any]  # of a picture and the side of the network's input

BATCH = 32


def unchanged(picture: Image.Image, _side: int) -> Image.Image:
    return picture


def jpeg(quality: int, picture: Image.Image, _side: int) -> Image.Image:
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def square(picture: Image.Image, _side: int) -> Image.Image:
    shorter = min(picture.size)
    left, top = (picture.width - shorter) // 2, (picture.height - shorter) // 2
    return picture.crop((left, top, left + shorter, top + shorter))


def by_pillow(method: Image.Resampling, picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), method)


def by_torch(mode: str, antialias: bool, picture: Image.Image, side: int) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    return interpolate(pixels, (side, side), mode=mode, antialias=antialias)[0].clamp(0, 1)


def bgr(picture: Image.Image, _side: int) -> Image.Image:
    return Image.fromarray(np.array(picture)[..., ::-1].copy())


# what becomes of a picture; JPEG says how images were saved, which is nothing of the reference
CHOICES: dict[str, Step] = {
    "as the protocol says": unchanged,
    **{f"images are saved as JPEG of quality {quality}": partial(jpeg, quality) for quality in (95, 90, 75)},
    "images are cut to their central square": square,
    **{
        f"images are resized by Pillow, {method.name.lower()}": partial(by_pillow, method)
        for method in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
    },
    "images are resized by torch, bilinear": partial(by_torch, "bilinear", False),
    "images are resized by torch, bilinear with antialiasing": partial(by_torch, "bilinear", True),
    "channels come in the order BGR": bgr,
    "the network runs in bfloat16": unchanged,
}


def pictures(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]


def batches(images: Iterable[Image.Image], step: Step, side: int) -> Iterator[torch.Tensor]:
    """Yield images in batches of one size, floats in [0, 1]."""
    batch: list[torch.Tensor] = []
    for image in images:
        prepared = step(image, side)
        if isinstance(prepared, Image.Image):
            prepared = torch.from_numpy(np.array(prepared)).permute(2, 0, 1).float() / 255
        if batch and (len(batch) == BATCH or batch[0].shape != prepared.shape):
            yield torch.stack(batch)
            batch = []
        batch.append(prepared)
    yield torch.stack(batch)


def value_of(metric: str, name: str, images: list[Image.Image], reference: list[Image.Image]) -> float:
    collection = published_metrics(metric, normalize=True)
    (one,) = collection.values()
    side, step = one.extractor.input_size[0], CHOICES[name]
    if "bfloat16" in name:
        one.extractor.dtype = torch.bfloat16
    for real, shown in ((True, reference), (False, images)):
        for batch in batches(shown, unchanged if real and "JPEG" in name else step, side):
            collection.update(batch, real=real)
    return float(next(iter(collection.compute().values())))


def explains(value: float, claimed: str) -> bool:
    """True if a value agrees with the claimed one to its last digit; kernels of several machines round differently."""
    half_a_digit = 0.5 * 10 ** -len(claimed.partition(".")[2])
    return abs(value - float(claimed)) <= half_a_digit + 2e-6 * abs(float(claimed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--claimed", required=True)
    parser.add_argument("--metric", default="fid")
    arguments = parser.parse_args()
    sides = pictures(arguments.images), pictures(arguments.reference)
    explanations = []
    for name in CHOICES:
        value = value_of(arguments.metric, name, *sides)
        agrees = explains(value, arguments.claimed)
        print(f"{value:.7g} {'*' if agrees else ' '} {name}", flush=True)
        explanations += [name] * agrees
    print(f"{arguments.claimed}: {' or '.join(explanations) or 'no single choice explains it'}")


if __name__ == "__main__":
    main()
