"""What the metrics share that may keep folds of images apart: how sure their distances are."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.base import TooFewImagesError
from torchmetrics_dna.dna.evidence import Evidence, check_confidence, weigh_evidence
from torchmetrics_dna.extractors.without_properties import network_of
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS
from torchmetrics_dna.metrics.base import _D, DNAMetric
from torchmetrics_dna.statistics.classes import ClassedStatistic
from torchmetrics_dna.statistics.folds import FoldedStatistic, content_folds, group_folds

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from torchmetrics_dna.functional.permutation import PermutationTest
    from torchmetrics_dna.metrics.sided import Value
    from torchmetrics_dna.statistics import DNAStatistic, State


class FoldedMetric(DNAMetric[_D]):
    """A distance that can say how sure it is."""

    debias: bool

    def _accumulate_folds(
        self, statistic: DNAStatistic[_D], of_fold: DNAStatistic[Any], num_folds: int | None, debias: bool
    ) -> None:
        """Register the states.

        Args:
            statistic: How the images of a side add up.
            of_fold: How those of a fold do.
            num_folds: How many folds; None for none, or with ``debias`` for 20.
            debias: Whether the metric's value is the debiased distance.

        """
        if not isinstance(debias, bool):
            raise ValueError("Argument `debias` expected to be a bool")
        self.debias = debias
        if num_folds is None and debias:
            num_folds = NUM_FOLDS
        self._accumulate(statistic if num_folds is None else FoldedStatistic(statistic, of_fold, num_folds))

    def evidence(self, confidence: float = 0.95) -> Evidence:
        """Say how sure the distance is, over all processes: debiased values, an interval, and a test.

        Args:
            confidence: Level of the interval.

        Raises:
            ValueError: If ``num_folds`` was not given.
            RuntimeError: If images are in fewer than 5 folds.

        """
        check_confidence(confidence)
        with self._whole():
            return self._evidence(confidence)

    @override
    def update(self, imgs: Tensor, real: bool, groups: Sequence[Hashable] | None = None) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            real: Whether they are real images.
            groups: A group for each image, such as the name of its clip: images of one group share a fold. By default
                images of equal pixels do.

        Raises:
            ValueError: If images, ``real`` or ``groups`` are something else, or activations are not finite. Nothing is
                added then.

        """
        if groups is not None and not isinstance(self._statistic, FoldedStatistic):
            raise ValueError("Argument `groups` goes with folds of images; give the metric `num_folds`, such as 20")
        if groups is not None and len(groups) != len(imgs):
            raise ValueError(f"Argument `groups` expected to have {len(imgs)} names, but got {len(groups)}")
        self._add_images(imgs, real, groups=groups)

    @override
    def forward(self, imgs: Tensor, real: bool, groups: Sequence[Hashable] | None = None) -> Value:
        return self._forward_with(imgs, real, groups=groups)

    @property
    @override
    def _replays(self) -> bool:
        return super()._replays and not isinstance(self._statistic, (FoldedStatistic, ClassedStatistic))

    @override
    def _add(self, side: State, imgs: Tensor, groups: Sequence[Hashable] | None = None) -> None:
        if isinstance(self._statistic, FoldedStatistic):
            count = self._statistic.num_folds
            # the host waits for folds by content, which it needs: before the network, so that it waits for no more
            folds = content_folds(imgs, count) if groups is None else group_folds(groups, count)
            self._statistic.add_folded_(side, self._activations(imgs), folds)
        else:
            super()._add(side, imgs)

    @override
    def _value(self) -> Value:
        if not self.debias:
            return super()._value()
        evidence = self._evidence()
        if self.reduction == "layer":
            return dict(zip(self.neurons, evidence.layers.to(self.device), strict=True))
        if self.reduction == "none":
            return evidence.neurons.to(self.device)
        return torch.tensor(evidence.debiased, dtype=torch.float64, device=self.device)

    @override
    def _figures(self) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
        whole, layers = super()._figures()
        if isinstance(self._statistic, FoldedStatistic):
            with suppress(TooFewImagesError):  # for folds
                evidence, key = self._evidence(), f"{self.distance.key}_debiased"
                whole[key] = evidence.debiased
                for figures, value in zip(layers.values(), evidence.layers.tolist(), strict=True):
                    figures[key] = value
        return whole, layers

    @override
    def _test(self) -> PermutationTest | None:
        try:
            return self._evidence(of_all=True).test if isinstance(self._statistic, FoldedStatistic) else None
        except TooFewImagesError:  # for folds, which is no reason to say nothing
            return None

    def _evidence(self, confidence: float = 0.95, of_all: bool = False) -> Evidence:
        if not isinstance(self._statistic, FoldedStatistic):
            raise ValueError("No folds of images were kept apart; give argument `num_folds`, such as num_folds=20")
        sides = self._pair()
        values = self.distance.of_dnas(*sides)
        assert self.distance.unions is not None
        unions = self.distance.unions(*sides)
        weights, network = self.neuron_weights, network_of(self.neurons)
        if weights is None and network is not None and not of_all:  # as the mean, which leaves out properties of images
            weights = torch.zeros(len(values), dtype=torch.float64)
            weights[self.neurons.find(network)] = 1 / network.total
        found = weigh_evidence(values, unions, self.distance.power, weights, confidence)
        if found is None:
            raise TooFewImagesError(
                f"At least {LEAST_FOLDS} folds with images are required, but got {len(unions.sizes_a)} and"
                f" {len(unions.sizes_b)}; give more images"
            )
        return found
