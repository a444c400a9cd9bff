"""A state in disjoint folds of images, from which a jackknife interval follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.jackknife import LEAST_FOLDS
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.tally import DNATally, Field

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.images.pixels import RGBImage
    from torchmetrics_dna.tally import Side

_PRIME = 2_147_483_647
_PIXELS = 2**18  # about as many of a large image are asked, so that it takes a millisecond


class FoldedTally(DNATally["HistogramDNA"]):
    """As many sides of another tally as there are folds.

    Args:
        tally: How the images of a fold add up.
        num_folds: How many folds; the state grows with them.

    Raises:
        ValueError: If there are too few folds.

    """

    def __init__(self, tally: DNATally[HistogramDNA], num_folds: int) -> None:
        if not isinstance(num_folds, int) or num_folds < LEAST_FOLDS:
            raise ValueError(
                f"Argument `num_folds` expected to be an integer of at least {LEAST_FOLDS}, but got {num_folds!r}"
            )
        self.origin, self.neurons = tally.origin, tally.neurons
        self.configuration = tally.configuration | {"kinds": f"{tally.kind} in {num_folds} folds"}
        self.tally = tally
        self.num_folds = num_folds

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {f"{name}_{k}": field for k in range(self.num_folds) for name, field in self.tally.fields.items()}

    @override
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        self.add_folded_(side, parts, torch.arange(num_images) % self.num_folds)

    def add_folded_(self, side: Side, parts: Parts, folds: Tensor) -> None:
        """Add a batch in place, each image to its fold; ``folds`` has shape ``(B,)``, from 0 to ``num_folds - 1``."""
        present = folds.unique().tolist()  # type: ignore[no-untyped-call]
        if len(present) > 1 and next(iter(side.values())).device.type == "cpu":
            check_finite(parts)  # before anything is added to the first fold
        for k in present:
            some = _images_of(parts, folds == k) if len(present) > 1 else parts
            self.tally.add_(self._fold(side, k), some, int((folds == k).sum()))

    @override
    def merge_(self, side: Side, other: Side) -> None:
        for k in range(self.num_folds):
            self.tally.merge_(self._fold(side, k), self._fold(other, k))

    @override
    def all_reduce_(self, side: Side, group: Any = None) -> None:
        for k in range(self.num_folds):
            self.tally.all_reduce_(self._fold(side, k), group)

    @override
    def to_dna(self, side: Side) -> HistogramDNA:
        return merged(self.to_folds(side))

    def to_folds(self, side: Side) -> list[HistogramDNA]:
        """The DNA of each fold; may be views of the side."""
        return [self.tally.to_dna(self._fold(side, k)) for k in range(self.num_folds)]

    def _fold(self, side: Side, k: int) -> Side:
        return {name: side[f"{name}_{k}"] for name in self.tally.fields}


def _images_of(parts: Parts, chosen: Tensor) -> Parts:
    """Some images of a batch, ``chosen`` of shape ``(B,)``; views where they lie side by side."""
    sizes = [len(next(iter(part.values()))) for part in parts]
    found = []
    for part, here in zip(parts, torch.split(chosen, sizes), strict=True):
        places = here.nonzero().flatten().tolist()
        if places:
            first, end = places[0], places[-1] + 1
            some = slice(first, end) if end - first == len(places) else places
            found.append({layer: values[some] for layer, values in part.items()})
    return found


class FoldedImages(ImageSource):
    """Images of a source; once one is read, in whichever process, ``folds`` says which fold it belongs to."""

    def __init__(self, source: ImageSource, num_folds: int) -> None:
        super().__init__(source.names, source._fetch, source.label, source.exif_orientation)
        self.folds = torch.zeros(len(source), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._num_folds = num_folds

    @override
    def decode(self, index: int) -> RGBImage:
        image = super().decode(index)
        step = _step(image.size)
        some = image[::step, ::step].transpose(2, 0, 1).copy()  # whose own step is 1
        self.folds[index] = content_folds(torch.from_numpy(some)[None], self._num_folds)[0]
        return image


def _step(size: int) -> int:
    """From which row and column to the next, for an image of so many numbers."""
    return max(1, math.isqrt(size // _PIXELS))


def content_folds(imgs: Tensor, num_folds: int) -> Tensor:
    """The fold of each image by its pixels, shape ``(B,)``: the same in any batch, order and process.

    All that keeps folds apart asks this, so that an image is in one fold for a metric and for :func:`compare`.

    Args:
        imgs: As they were before they are resized, ``(B, 3, H, W)``, uint8, or floating point in [0, 1].
        num_folds: How many folds.

    """
    step = _step(imgs[0].numel()) if len(imgs) else 1
    imgs = imgs[..., ::step, ::step]
    pixels = imgs if imgs.dtype == torch.uint8 else imgs.float().mul(255).round()
    factors = torch.arange(1, pixels[0].numel() + 1, device=imgs.device) * 48_271 % _PRIME if len(imgs) else pixels
    # one image at a time, for its integers take eight times its room
    sums = [(image.flatten().long() * factors).sum() % _PRIME for image in pixels]
    mixed = torch.stack(sums) * 69_621 % _PRIME if sums else torch.zeros(0, dtype=torch.int64)
    return (mixed // 1_000 % num_folds).cpu()
