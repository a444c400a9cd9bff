"""What the metrics share that may keep classes of images apart: a distance for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from torchmetrics_dna.dna.base import TooFewImagesError
from torchmetrics_dna.functional.reduction import weigh_and_reduce
from torchmetrics_dna.metrics.base import _D
from torchmetrics_dna.metrics.folded import FoldedMetric
from torchmetrics_dna.metrics.sided import NAMES
from torchmetrics_dna.statistics.classes import ClassedStatistic, class_names, class_numbers

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from torch import Tensor

    from torchmetrics_dna.metrics.sided import Value
    from torchmetrics_dna.statistics import DNAStatistic, State


class ClassedMetric(FoldedMetric[_D]):
    """A distance that can be told for each class."""

    reductions = ("mean", "layer", "none", "class")
    classes: tuple[str, ...] | None

    def _accumulate_classes(
        self,
        statistic: DNAStatistic[_D],
        of_fold: DNAStatistic[Any],
        num_folds: int | None,
        debias: bool,
        classes: int | Sequence[str] | None,
    ) -> None:
        """Register the states; as :meth:`_accumulate_folds`, or for each of some classes."""
        self.classes = None if classes is None else class_names(classes)
        if self.reduction == "class" and self.classes is None:
            raise ValueError("Argument `reduction` is 'class', but there are no classes; give the metric `classes`")
        if self.classes is None:
            self._accumulate_folds(statistic, of_fold, num_folds, debias)
            return
        for name, given in (("num_folds", num_folds), ("debias", debias), ("reference", self.reference)):
            if given:
                raise ValueError(f"Argument `classes` does not go with `{name}`; leave one of the two out")
        self._accumulate_folds(ClassedStatistic(statistic, self.classes), of_fold, None, False)

    @override
    def update(
        self,
        imgs: Tensor,
        real: bool,
        groups: Sequence[Hashable] | None = None,
        classes: Tensor | Sequence[int | str] | None = None,
    ) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            real: Whether they are real images.
            groups: A group for each image, such as the name of its clip: images of one group share a fold. By default
                images of equal pixels do.
            classes: The class of each image, its number or name, if the metric keeps classes apart. A tensor on a
                device is waited for, so give classes on the CPU, where data loaders make them.

        Raises:
            ValueError: If images, ``real``, ``groups`` or ``classes`` are something else, or activations are not
                finite. Nothing is added then.

        """
        if (classes is None) != (self.classes is None):
            have, lack = ("the metric", "`update`") if classes is None else ("`update`", "the metric")
            raise ValueError(f"Argument `classes` was given to {have}, but not to {lack}; give it to both")
        if classes is None or self.classes is None:
            super().update(imgs, real, groups)
            return
        if groups is not None:
            raise ValueError("Argument `groups` goes with folds of images, which a metric with `classes` has not")
        self._add_images(imgs, real, classes=class_numbers(classes, self.classes, len(imgs)))

    @override
    def forward(
        self,
        imgs: Tensor,
        real: bool,
        groups: Sequence[Hashable] | None = None,
        classes: Tensor | Sequence[int | str] | None = None,
    ) -> Value:
        return self._forward_with(imgs, real, groups=groups, classes=classes)

    def to_dnas(self, real: bool) -> dict[str, _D]:
        """The DNA of each class of one side as accumulated so far, over all processes, by its name.

        Raises:
            ValueError: If the metric keeps no classes apart.

        """
        statistic = self._classed()
        with self._whole():
            return statistic.to_dnas({name: state.clone() for name, state in self._side(NAMES[real]).items()})

    @override
    def _add(
        self,
        side: State,
        imgs: Tensor,
        groups: Sequence[Hashable] | None = None,
        classes: Tensor | None = None,
    ) -> None:
        if classes is None:
            super()._add(side, imgs, groups)
        else:
            self._classed().add_classed_(side, self._activations(imgs), classes)

    def _classed(self) -> ClassedStatistic[_D]:
        if not isinstance(self._statistic, ClassedStatistic):
            raise ValueError("No classes of images are kept apart; give the metric `classes`")
        return self._statistic

    @override
    def _value(self) -> Value:
        if self.reduction != "class":
            return super()._value()
        found: dict[str, Tensor] = {}
        real, fake = (self._classed().to_dnas(self._side(name)) for name in ("real", "fake"))
        for name in real:
            if min(real[name].num_images, fake[name].num_images) >= self.distance.least:
                distances = self.distance.of_dnas(self._of_class(real[name]), self._of_class(fake[name]))
                found[name] = self._mean(weigh_and_reduce(distances, self._weights, "none"))
        if not found:
            raise TooFewImagesError(f"No class has {self.distance.least} images on both sides; give more images")
        return found

    def _of_class(self, dna: Any) -> _D:
        """The DNA that the distance takes, of what was counted."""
        found: _D = dna
        return found

    @override
    def _value_or_nan(self) -> Value:
        if self.reduction != "class":
            return super()._value_or_nan()
        try:
            return self._value()
        except TooFewImagesError:
            return {}
