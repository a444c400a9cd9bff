"""Are a few images of a set unlike another set's own? The second question of a comparison, and that of a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.verdict import Off, which_are_off
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.functional.outliers import (
    FewOff,
    few_are_off,
    fewest_images,
    gaussians_of_means,
    left_out_scores,
    outlier_scores,
    split_means,
)
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.images.properties import without_properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.jobs.sides import Sides

LEAST = 10  # images of the reference
_PRICE = 3  # factor of p of the second question; with 2, no fewer images could be shown among equal numbers


@dataclass(frozen=True, eq=False)
class OddImages:
    """Outlier scores of the images of a set against a reference, and a test of whether a few are off.

    Attributes:
        names: Names of the images, the furthest first.
        numbers: Their indices in their source; in a stream, running numbers.
        scores: Their outlier scores, float64, ``(B,)``.
        typical: Scores of the reference's own images, each left out of the reference, ``(n,)``.
        whole: P-value of the test that the sets do not differ as a whole; None if that was not asked.

    """

    names: list[str]
    numbers: list[int]
    scores: Tensor
    typical: Tensor
    whole: float | None = None

    @cached_property
    def few_off(self) -> FewOff:
        """Test of whether some images are unlike the reference's own, not corrected, and about how many are."""
        return few_are_off(self.scores, self.typical)

    @property
    def p_value(self) -> float:
        """P-value of this test, which alone pays for both questions if the whole was tested, too.

        It is three times as large, or that of the whole if this is smaller: once the sets are shown to differ, only one
        question is left. In equal sets either finds something in at most 1.33 times as many draws as the first alone.
        """
        p = self.few_off.p_value
        return p if self.whole is None else max(p, min(self.whole, _PRICE * p))

    @property
    def level(self) -> float:
        """P-value of the test, not corrected, up to which images are said to be off."""
        return SIGNIFICANT if self.whole is None or self.whole <= SIGNIFICANT else SIGNIFICANT / _PRICE

    @property
    def off(self) -> list[str]:
        """Names of about as many images as are off, the furthest first; none if the test finds none."""
        few = self.few_off
        return [] if few.p_value > self.level else self.names[: max(1, round(few.share * len(self.names)))]

    @property
    def fewest(self) -> int | None:
        """Number of images that are enough to be found if they are much further away than all others; None if none."""
        return fewest_images(len(self.names), len(self.typical), self.level)

    @property
    def _figures(self) -> Off:
        """Figures that a sentence on these images says."""
        few = self.few_off
        return Off(self.off, len(self.names), few.low, few.high, self.p_value, self.fewest)

    def sentence(self, reference: str, of: str = "") -> str:
        """Return the result of the test: how many are off, and the first of them; or how many it can't find."""
        return which_are_off(self._figures, reference, of)

    def to_dict(self) -> dict[str, Any]:
        """Return the result of the test in plain types: p is corrected."""
        return self.few_off._asdict() | {"p_value": self.p_value, "fewest": self.fewest, "images": self.off}


def can_be_odd(sides: Sides, k: int) -> bool:
    """True if :func:`odd_images` may score the images of side ``k`` against the first, so far as that is known."""
    reference, images = sides.images[0], sides.images[k]
    if isinstance(reference, DNA) or isinstance(images, DNA) or sides.keys[0] == sides.keys[k]:
        return False
    return "means" in sides.jobs[k].statistics and (reference.count is None or reference.count >= LEAST)


def means_by_layer(measured: Measured) -> dict[str, Tensor]:
    """Return the spatial means ``(images, n)`` that were kept of each layer for outlier scores; empty if none were."""
    if "means" not in measured.rows:
        return {}
    neurons = without_properties(measured.first.neurons) or measured.first.neurons
    return split_means(measured.rows["means"], neurons)


def odd_images(a: Measured, b: Measured, images: Images | DNA, whole: float | None = None) -> OddImages | None:
    """Score the images of B against A from their spatial means; None if these were not measured, or A has too few."""
    of_a, of_b = means_by_layer(a), means_by_layer(b)
    if not of_a or not of_b or len(a.numbers) < LEAST:
        return None
    scores, typical = outlier_scores(of_b, gaussians_of_means(of_a)), left_out_scores(of_a)
    order = scores.argsort(descending=True, stable=True)
    names = _names(images, b)
    chosen = [[values[i] for i in order.tolist()] for values in (names, b.numbers)]
    return OddImages(chosen[0], chosen[1], scores[order], typical, whole)


def _names(images: Images | DNA, measured: Measured) -> Sequence[str]:
    """Return the names of the images below their source."""
    if isinstance(images, ImageSource):
        names = images.relative_names
        return [names[number] for number in measured.numbers]
    return measured.names
