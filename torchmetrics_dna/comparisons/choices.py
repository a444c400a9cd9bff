"""Choices by which published values of one metric differ, though all are called the same."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.images.preparations import SCALINGS, Preparation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images.preparations import Channels


@dataclass(frozen=True)
class Recipe(Preparation):
    """Recipe of a value: the preparation of images, the run of the network, and what becomes of its features."""

    by_batch: bool = False  # True if batch norms take mean and variance of each batch, as in training mode
    dtype: str | None = None  # precision of the network, "float16" or "bfloat16"; None for that of its weights
    images: int | None = None  # number of images that are taken, the first ones; None for all
    half: bool = False  # True if features are kept in float16
    ddof: int = 1  # subtracted from the number of images, where covariances are divided by it
    single: bool = False  # True if covariances and their root are computed in float32
    reference: int = 0  # index of the reference
    root: bool = False  # True if the square root of the value is printed

    def with_choices(self, *choices: Choice) -> Recipe:
        """Return the recipe with these choices."""
        changes: dict[str, Any] = {choice.field: choice.value for choice in choices}
        return replace(self, **changes)

    @property
    def preparation(self) -> Preparation:
        """Preparation of the images."""
        return Preparation(**{each.name: getattr(self, each.name) for each in fields(Preparation)})

    @property
    def network(self) -> tuple[str | None, bool]:
        """Setting of the network, of which each takes a pass of its own: ``dtype`` and ``by_batch``."""
        return self.dtype, self.by_batch


class Choice(NamedTuple):
    """A field of a recipe with another value; ``words`` are the clause that follows "if"."""

    words: str
    field: str
    value: str | int | bool | None


_OF_FLOATS = [
    Choice("floats are rounded to bytes before they are measured", "saved", "rounded"),
    Choice("floats are cut to bytes, not rounded, before they are measured", "saved", "cut"),
]
_CHOICES = [
    *(
        Choice(f"images are saved as JPEG of quality {quality} first", "saved", f"jpeg_{quality}")
        for quality in (95, 90, 75)
    ),
    Choice("images are cut to their central square first", "crop", "center"),
    Choice("images are not cropped", "crop", "none"),
    *(
        Choice(f"images are resized by {method}", "resize", name)
        for name, method in {
            "tensorflow": "TensorFlow 1, bilinear without antialiasing",
            "torch_bilinear": "torch, bilinear without antialiasing",
            "torch_bilinear_corners": "torch, bilinear with aligned corners",
            "torch_bilinear_antialias": "torch, bilinear with antialiasing",
            "torch_bicubic": "torch, bicubic without antialiasing",
            "torch": "torch, bicubic with antialiasing",
            "torch_nearest": "torch, nearest neighbour",
            "bytes_bilinear": "bilinear without antialiasing, rounded to bytes, as OpenCV does",
            "clean": "Pillow, bicubic in floats, as clean-fid does",
            "pillow": "Pillow, bicubic in bytes",
            "pillow_bilinear": "Pillow, bilinear in bytes",
            "pillow_lanczos": "Pillow, Lanczos in bytes",
            "pillow_nearest": "Pillow, nearest neighbour",
        }.items()
    ),
    Choice("channels come in the order BGR", "channels", "BGR"),
    Choice("pixels x in [0, 1] are scaled to 2 x - 1", "scaling", "half"),
    Choice("pixels are scaled by ImageNet's mean and deviation", "scaling", "imagenet"),
    Choice("pixels stay in [0, 1], unscaled", "scaling", "none"),
    Choice("the network runs in float16", "dtype", "float16"),
    Choice("the network runs in bfloat16", "dtype", "bfloat16"),
    Choice("features are kept in float16", "half", True),
    Choice("covariances are divided by n, not by n - 1", "ddof", 0),
    Choice("covariances and their root are computed in float32", "single", True),
    Choice("the square root of the distance is printed", "root", True),
]
_BY_BATCH = "the network is in training mode, with batches of {} images"
_USUAL_NUMBERS = (100, 200, 500, 1000, 2000, 2048, 5000, 10_000, 20_000, 30_000, 50_000)
_LEAST_SHARE = 20  # of images; fewer than one in so many are not tried


def choices_for(
    plain: Recipe,
    num_images: int,
    *,
    of_floats: bool,
    scaling: tuple[Channels | None, Channels | None],
    batch_size: int | None,
    others: Sequence[str] = (),
) -> list[Choice]:
    """List the choices that may change a value.

    Images may be ``of_floats``, which can be saved in several ways; ``scaling`` is the network's mean and standard
    deviation, ``batch_size`` is None without batch norms, and ``others`` are the names of other references.
    """
    numbers = {number for number in _USUAL_NUMBERS if num_images / _LEAST_SHARE <= number < num_images}
    numbers |= {num_images // 2} if num_images >= 4 else set()
    choices = [*(_OF_FLOATS if of_floats else ()), *_CHOICES]
    choices = [choice for choice in choices if choice.field != "scaling" or SCALINGS[str(choice.value)] != scaling]
    choices += [] if batch_size is None else [Choice(_BY_BATCH.format(batch_size), "by_batch", True)]
    choices += [Choice(f"only the first {n:,} images are taken", "images", n) for n in sorted(numbers, reverse=True)]
    choices += [Choice(f"the reference is {name}", "reference", i) for i, name in enumerate(others, 1)]
    return [choice for choice in choices if getattr(plain, choice.field) != choice.value]
