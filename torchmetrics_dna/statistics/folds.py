"""Folds: a state that also keeps disjoint folds of images apart, from which tests and intervals follow."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.images.duplicates import thumbnail
from torchmetrics_dna.statistics import DNAStatistic, Field
from torchmetrics_dna.statistics.grouped import Grouped

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.images.pixels import RGBImage
    from torchmetrics_dna.statistics import State

_MOST_BINS = 100  # of a fold's histograms: tests read no finer, and twenty folds take twice what the whole takes
_PRIME = 2_147_483_647
_PIXELS = 2**18  # about as many of a large image are asked, so that it takes a millisecond
_D = TypeVar("_D", bound=DNA)


class FoldedStatistic(DNAStatistic[_D], Generic[_D]):
    """A statistic of all images, and beside it one of each fold.

    Args:
        statistic: How all images add up.
        of_fold: How those of a fold add up; of a histogram, in fewer bins.
        num_folds: How many folds.

    Raises:
        ValueError: If there are too few folds.

    """

    def __init__(self, statistic: DNAStatistic[_D], of_fold: DNAStatistic[Any], num_folds: int) -> None:
        check_num_folds(num_folds)
        super().__init__(statistic.extractor)
        self.statistic, self.num_folds = statistic, num_folds
        self._folds = Grouped(of_fold, num_folds, "folds_")

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return self.statistic.configuration | {"kinds": f"{self.statistic.kind} in {self.num_folds} folds"}

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return self.statistic.fields | self._folds.fields

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        self.add_keyed_(state, parts, torch.arange(num_images) % self.num_folds)

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        """Add a batch in place, each image to its fold; ``keys`` has shape ``(B,)``, from 0 to ``num_folds - 1``."""
        self.statistic.add_(state, parts, len(keys))  # which refuses what is not finite before anything is added
        self._folds.add_(state, parts, keys)

    @override
    def merge_(self, state: State, other: State) -> None:
        self.statistic.merge_(state, other)
        self._folds.merge_(state, other)

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        self.statistic.reduce_(state, group)
        self._folds.reduce_(state, group)

    @override
    def value(self, state: State) -> _D:
        return replace(self.statistic.value(state), folds=tuple(self._folds.values(state)))


def bins_of_folds(num_bins: int) -> int:
    """Bins of folds' histograms: as few as tests need, and a divisor of the whole's, so that bins nest."""
    divisors = [bins for bins in range(_MOST_BINS // 4, _MOST_BINS + 1) if num_bins % bins == 0]
    return num_bins if num_bins <= _MOST_BINS or not divisors else divisors[-1]


def check_num_folds(num_folds: int) -> None:
    """ValueError unless there are enough folds."""
    if not isinstance(num_folds, int) or num_folds < LEAST_FOLDS:
        raise ValueError(
            f"Argument `num_folds` expected to be an integer of at least {LEAST_FOLDS}, but got {num_folds!r}"
        )


class ImageNotes:
    """Notes on each image, taken before it is resized: ``"thumbnails"``, and by its pixels its ``"folds"``.

    Args:
        num_folds: How many folds; None to leave folds to the names of groups, see :func:`group_folds`.

    """

    def __init__(self, num_folds: int | None) -> None:
        self._num_folds = num_folds

    def __call__(self, image: RGBImage) -> dict[str, Tensor]:
        """Take the notes of an image ``(H, W, 3)``, uint8 or in [0, 1]."""
        notes = {"thumbnails": thumbnail(image)}
        if self._num_folds is not None:
            step = _step(image.size)
            pixels = image[::step, ::step].transpose(2, 0, 1).copy()  # whose own step is 1
            notes["folds"] = content_folds(torch.from_numpy(pixels)[None], self._num_folds)[0]
        return notes


def group_folds(groups: Sequence[Hashable], num_folds: int) -> Tensor:
    """The fold of each image by the name of its group, shape ``(B,)``: the same in any batch, order and process."""
    digests = [hashlib.sha256(str(group).encode(errors="surrogatepass")).digest() for group in groups]
    return torch.tensor([int.from_bytes(digest[:6], "big") % num_folds for digest in digests], dtype=torch.int64)


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
