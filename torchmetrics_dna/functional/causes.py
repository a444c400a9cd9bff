"""How far two small sets are apart without noise, and whether a change of one takes half of that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

_CLEAR = 2  # standard errors


class Folds(NamedTuple):
    """Cumulative histograms of the folds of a set, and their sums."""

    shares: Tensor  # float64, (folds, N, bins)
    images: Tensor  # of each fold
    total: Tensor  # sum of shares times images, (N, bins)
    squares: Tensor  # sum of squared shares times images, also over bins, (N,)

    @classmethod
    def of(cls, counts: Tensor, images: Tensor) -> Folds:
        """Take histograms of folds, ``(folds, N, bins)``, and the number of images of each, ``(folds,)``."""
        counts = counts.double()
        return cls._of((counts / counts.sum(2, keepdim=True)).cumsum(2)[..., :-1], images.to(counts))

    @classmethod
    def _of(cls, shares: Tensor, images: Tensor) -> Folds:
        return cls(shares, images, torch.einsum("fnk,f->nk", shares, images), shares.square().sum(2).T @ images)

    def less(self, other: Folds) -> Folds:
        """Return the differences of folds that hold the same pairs."""
        return self._of(self.shares - other.shares, self.images)

    def mean_and_noise(self, without: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the mean over images, ``(N, bins)``, and its unbiased variance, summed over bins, ``(N,)``.

        Args:
            without: Fold to leave out.

        """
        images, total, squares, count = self.images.sum(), self.total, self.squares, len(self.images)
        if without is not None:
            size, shares = self.images[without], self.shares[without]
            images, total, count = images - size, total - size * shares, count - 1
            squares = squares - size * shares.square().sum(1)
        mean = total / images
        return mean, (squares / images - mean.square().sum(1)) / (count - 1)


@dataclass(frozen=True, eq=False)
class Apart:
    """Distance of two sets: from the folds of both, or from those of the differences of pairs.

    Example:
        >>> one = torch.tensor([1, 1])
        >>> a, b = torch.tensor([[[3, 1, 0]], [[1, 3, 0]]]), torch.tensor([[[0, 1, 3]], [[0, 3, 1]]])
        >>> Apart((Folds.of(a, one), Folds.of(b, one))).bins <= 1
        True

    """

    sides: tuple[Folds, ...]
    weights: Tensor | None = None  # of Eq. (5), (N,), none below 0; None for the plain mean

    @property
    def bins(self) -> float:
        """dna-emd without noise: times the root of the share of :attr:`square` in what it is with noise."""
        square, emd, with_noise = self._figures
        return emd * (max(0.0, square) / with_noise) ** 0.5 if with_noise else 0.0

    @property
    def square(self) -> float:
        """Squared difference of the cumulative histograms, summed over bins, its mean over neurons, without noise.

        It is unbiased, so it is negative about half of the time where nothing differs.
        """
        return self._figures[0]

    @cached_property
    def left_out(self) -> list[Tensor]:
        """The same without each fold of A, and without each of B; of pairs, without each fold of both."""
        return [
            torch.tensor([self._distance(side, fold)[0] for fold in range(len(folds.images))], dtype=torch.float64)
            for side, folds in enumerate(self.sides)
        ]

    @cached_property
    def _figures(self) -> tuple[float, float, float]:
        return self._distance()

    def _distance(self, side: int = -1, fold: int = 0) -> tuple[float, float, float]:
        """Return the squared distance without noise, and dna-emd and the squared distance with it."""
        parts = [folds.mean_and_noise(fold if k == side else None) for k, folds in enumerate(self.sides)]
        difference = parts[0][0] if len(parts) == 1 else parts[0][0] - parts[1][0]
        with_noise = difference.square().sum(1)
        square = with_noise - torch.stack([noise for _, noise in parts]).sum(0)

        def mean(values: Tensor) -> float:
            return float(values.mean() if self.weights is None else values @ self.weights.to(values))

        return mean(square), mean(difference.abs().sum(1)), mean(with_noise)


def takes_half(before: Apart, after: Apart) -> bool:
    """True if a change of A clearly brings it nearer to B, to at most half of the squared distance before.

    Squares of effects that have nothing to do with each other add up; so that B shows other images, which no change
    takes away, leaves as much room for a change as if it did not.

    That it comes nearer is tested by a jackknife of the folds, which are the same before and after, so that what images
    show, which changes little, cancels.
    """
    gains = [far - near for far, near in zip(before.left_out, after.left_out, strict=True)]
    variance = sum(float((gain - gain.mean()).square().sum()) * (len(gain) - 1) / len(gain) for gain in gains)
    is_clear = before.square - after.square > _CLEAR * variance**0.5
    return is_clear and before.square > 0 and after.square <= before.square / 2
