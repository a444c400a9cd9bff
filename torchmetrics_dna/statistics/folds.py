"""Folds: a state with disjoint folds of images beside the total, for tests and intervals."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.histogram import finite_layers
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.images.inputs import mapped, tensors_of
from torchmetrics_dna.images.likeness import thumbnail
from torchmetrics_dna.statistics import DNAStatistic, Field

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.images.pixels import Pixels
    from torchmetrics_dna.statistics import State

_MOST_BINS = 100  # of a fold's histograms: enough for tests, and twenty folds take only twice the memory of the total
_PRIME = 2_147_483_647
_PIXELS = 2**18  # sampled from a large image, so that hashing takes about a millisecond
_D = TypeVar("_D", bound=DNA)


class FoldedStatistic(DNAStatistic[_D], Generic[_D]):
    """Statistic of all images, with ``of_fold`` for each fold beside it, whose histograms have fewer bins.

    The states of folds are concatenated in flat tensors, named with the prefix ``folds_``.

    Raises:
        ValueError: If there are too few folds.

    """

    def __init__(self, statistic: DNAStatistic[_D], of_fold: DNAStatistic[Any], num_folds: int) -> None:
        check_num_folds(num_folds)
        super().__init__(statistic.extractor)
        self.statistic, self.of_fold, self.num_folds = statistic, of_fold, num_folds

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return self.statistic.configuration | {"kinds": f"{self.statistic.kind} in {self.num_folds} folds"}

    @property
    @override
    def fields(self) -> dict[str, Field]:
        fields = dict(self.statistic.fields)
        for name, field in self.of_fold.fields.items():
            reduction = self._merged_folds if callable(field.reduction) else field.reduction
            fields[f"folds_{name}"] = field._replace(size=self.num_folds * field.size, reduction=reduction)
        return fields

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        self.add_keyed_(state, parts, torch.arange(num_images) % self.num_folds)

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        on_device = next(iter(state.values())).device.type != "cpu"
        finite = finite_layers(parts) if on_device else None
        self.statistic.add_(state, parts, len(keys), finite)  # raises for non-finite values before anything is added
        self.of_fold.add_each_(self._by_fold(state), parts, keys, finite)

    def _merged_folds(self, stacked: Tensor) -> Tensor:
        by_fold = stacked.view(len(stacked), self.num_folds, -1)
        return torch.cat([self.of_fold.merged(by_fold[:, k]) for k in range(self.num_folds)])

    @property
    def shared_by(self) -> Literal["sum", "max"] | None:  # type: ignore[override]
        """Reduction of :meth:`shared`."""
        return self.statistic.shared_by

    @override
    def shared(self, state: State) -> Tensor:
        return torch.cat([self.statistic.shared(state), *map(self.of_fold.shared, self._folds(state))])

    @override
    def align_(self, state: State, shared: Tensor, is_first: bool) -> None:
        of_total = len(self.statistic.shared(state))
        self.statistic.align_(state, shared[:of_total], is_first)
        for fold, of_fold in zip(self._folds(state), shared[of_total:].view(self.num_folds, -1), strict=True):
            self.of_fold.align_(fold, of_fold, is_first)

    @override
    def value(self, state: State) -> _D:
        return replace(self.statistic.value(state), folds=tuple(map(self.of_fold.value, self._folds(state))))

    def _folds(self, state: State) -> list[State]:
        """Return the states of folds, as views."""
        return [{name: rows[k] for name, rows in self._by_fold(state).items()} for k in range(self.num_folds)]

    def _by_fold(self, state: State) -> State:
        """Return the states of all folds, a row for each, as views."""
        return {name: state[f"folds_{name}"].view(self.num_folds, -1) for name in self.of_fold.fields}


def bins_of_folds(num_bins: int) -> int:
    """Return the number of bins of folds: enough for tests, and a divisor of ``num_bins``, so that bins nest."""
    divisors = [bins for bins in range(_MOST_BINS // 4, _MOST_BINS + 1) if num_bins % bins == 0]
    return num_bins if num_bins <= _MOST_BINS or not divisors else divisors[-1]


def check_num_folds(num_folds: int) -> None:
    """Raise ValueError unless there are enough folds."""
    if not isinstance(num_folds, int) or num_folds < LEAST_FOLDS:
        raise ValueError(
            f"Argument `num_folds` expected to be an integer of at least {LEAST_FOLDS}, but got {num_folds!r}"
            + "; give None for no folds" * (num_folds == 0)
        )


def input_notes(inputs: Any, num_folds: int | None) -> dict[str, Tensor]:
    """Return the ``"folds"`` by content, if any, of one input that is no image, without the batch axis."""
    if num_folds is None:
        return {}
    return {"folds": content_folds(mapped(lambda tensor: tensor[None], inputs), num_folds, of_images=False)[0]}


def image_notes(image: Pixels, num_folds: int | None) -> dict[str, Tensor]:
    """Return notes on an image ``(H, W, C)``, not resized.

    They are its ``"thumbnails"`` if it is grey or RGB, and its ``"folds"`` by content if these are so many.
    """
    notes = {"thumbnails": thumbnail(image)} if image.shape[2] in (1, 3) else {}
    if num_folds is not None:
        step = _step(image.size)
        pixels = image[::step, ::step].transpose(2, 0, 1).copy()  # contiguous
        notes["folds"] = content_folds(torch.from_numpy(pixels)[None], num_folds)[0]
    return notes


def group_folds(groups: Sequence[Hashable], num_folds: int) -> Tensor:
    """Return the fold of each image by a digest of its group, ``(B,)``, independent of batch, order and process."""
    # a tensor's text has its device
    names = [group.tolist() if isinstance(group, Tensor) else group for group in groups]
    digests = [hashlib.sha256(str(name).encode(errors="surrogatepass")).digest() for name in names]
    return torch.tensor([int.from_bytes(digest[:6], "big") % num_folds for digest in digests], dtype=torch.int64)


def _step(size: int) -> int:
    """Return the stride of sampled rows and columns for an image of ``size`` numbers."""
    return max(1, math.isqrt(size // _PIXELS))


def content_folds(imgs: Any, num_folds: int, of_images: bool = True) -> Tensor:
    """Return the fold of each image by a hash of its pixels, shape ``(B,)``, independent of batch, order and process.

    Metrics and :func:`compare` share this function, so that an image has the same fold in both. Images are the original
    ones, not resized, ``(B, C, H, W)``, uint8, or floating point in [0, 1]. Of other inputs, the bits are hashed.
    """
    tensors = tensors_of(imgs)
    if not len(tensors[0]):
        return torch.zeros(0, dtype=torch.int64)
    mixed: Any = 0
    for tensor in tensors:
        mixed = (mixed * 16_807 + _hashed(_levels(tensor) if of_images else [_bits(tensor)])) % _PRIME
    folds: Tensor = (mixed // 1_000 % num_folds).cpu()
    return folds


def _hashed(parts: Sequence[Tensor]) -> Tensor:
    """Return a hash of each row of some tensors of one shape."""
    factors = torch.arange(1, parts[0][0].numel() + 1, device=parts[0].device) * 48_271 % _PRIME
    # one image at a time, since int64 takes eight times the memory of uint8
    sums = [
        torch.stack([(part[i].flatten().long() * factors).sum() for part in parts]).sum() % _PRIME
        for i in range(len(parts[0]))
    ]
    return torch.stack(sums) * 69_621 % _PRIME


def _levels(imgs: Tensor) -> list[Tensor]:
    """Return some pixels of images as levels of 8 bits, and what levels of 16 bits have more."""
    step = _step(imgs[0].numel())
    imgs = imgs[..., ::step, ::step]
    if imgs.dtype == torch.uint8:
        return [imgs]
    levels = imgs.float().mul(255).round()
    # images of 16 bits may differ by less than a level of 8
    is_deep = imgs.dtype in (torch.float32, torch.float64)
    return [levels, (imgs * 65535).round() - 257 * levels] if is_deep else [levels]


def _bits(values: Tensor) -> Tensor:
    """Return the bytes of each row, or some of many."""
    rows = values.detach().reshape(len(values), -1)
    return rows[:, :: 1 + rows.shape[1] // _PIXELS].contiguous().view(torch.uint8)
