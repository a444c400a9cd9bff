"""Record of a distance between two sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.base import check_comparable, check_enough
from torchmetrics_dna.dna.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.dna.unions import Unions
    from torchmetrics_dna.images.cells import Crop

Kind = Literal["histogram", "gaussian", "layer-gaussian"]
Grain = Literal["neuron", "layer", "set"]


class Protocol(NamedTuple):
    """Network and images of a published metric."""

    feature: str  # name of the preset, which brings resize, mean and standard deviation
    layer: str
    crop: Crop = "none"  # of images before they are resized


@dataclass(frozen=True)
class Distance:
    """Record of a distance.

    Args:
        name: Display name.
        key: Name in json, tables and Python.
        unit: Unit of the values.
        sentence: One-line explanation for readers of a report.
        grain: Granularity of the values: per neuron, per layer, or one for the set.
        kinds: Kind of DNA that it needs, then kinds that contain that one; empty if it needs features of single images.
        least: Minimum number of images per side.
        between: Function of two DNAs of the first kind that returns distances, float64, shape ``(N,)`` or
            ``(layers,)``; or of features of images, ``(images, n)`` each, that returns the value, with its standard
            deviation over subsets of images if it is a mean over these, or values by key.
        unions: Function of the two sides that returns their :class:`Unions`, for the test and the interval; for
            features, it also takes the fold of each image, and with ``by_image`` a plan. None for no evidence.
        power: Power of the distance whose finite-sample bias is proportional to 1/images.
        subsets: True if the distance is a mean over subsets of images.
        by_image: True if ``unions`` takes features of all layers instead of the arguments of ``between``.
        pairwise: Function of several sides that returns the distances of all pairs, a row each; None to call
            ``between`` for each pair.
        higher_is_better: True for scores where higher is better; they are not symmetric and never order sets.
        protocol: Network and layer of a published metric; None for a distance of any network.

    """

    name: str
    key: str
    unit: str
    sentence: str
    grain: Grain
    kinds: tuple[Kind, ...]
    least: int
    between: Callable[[Any, Any], Any]
    unions: Callable[..., Unions] | None = None
    power: int = 1
    subsets: bool = False
    by_image: bool = False
    pairwise: Callable[[Sequence[Any]], Tensor] | None = None
    higher_is_better: bool = False
    protocol: Protocol | None = None

    @property
    def layer(self) -> str | None:
        """The layer of a published metric; None for a distance of any layers."""
        return None if self.protocol is None else self.protocol.layer

    @property
    def label(self) -> str:
        """Name, with the unit in brackets if there is one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def result(
        self,
        a: Any,
        b: Any,
        weights: Tensor | None = None,
        *,
        confidence: float = 0.95,
        with_evidence: bool = True,
        unions: Unions | None = None,
        paired: bool = False,
        cache: dict[Any, Any] | None = None,
    ) -> Result:
        """Compute the distance between two sets and its evidence.

        Args:
            a: DNA of the first of :attr:`kinds`, or features of images.
            b: DNA or features of the other set.
            weights: Weights of Eq. (5), shape ``(N,)``, or one for each layer; None for the plain mean.
            confidence: Level of the confidence intervals.
            with_evidence: Compute evidence, where there are folds of images.
            unions: Folds of both sides, if ``a`` and ``b`` do not contain them.
            paired: Whether fold k of one side and fold k of the other hold the same pairs of images.
            cache: Values of :attr:`between` that several distances of the same two sides share.

        Raises:
            ValueError: If the sides are not comparable.
            RuntimeError: If a side has too few images.

        """
        spread = None
        if self.grain == "set":
            value, spread = self.of_features(a.values, b.values, cache)
            values = torch.tensor([value], dtype=torch.float64)
        else:
            check_comparable(a, b)
            check_enough(a, b, self.name, self.least)
            values = self.between(a, b)
        result = Result(self, values, a.neurons, weights, spread=spread)
        if not with_evidence or self.unions is None:
            return result
        if unions is None and self.kinds and not self.by_image:
            unions = self.unions(a, b)
        if unions is None:
            return result
        return result.tested(unions.as_pairs() if paired else unions, confidence)

    def of_features(self, a: Tensor, b: Tensor, cache: dict[Any, Any] | None = None) -> tuple[float, float | None]:
        """Compute a distance of features ``(images, n)``, and its deviation over subsets; ``cache`` as in `result`."""
        cache = {} if cache is None else cache
        if self.between not in cache:
            cache[self.between] = self.between(a, b)
        figure = cache[self.between]
        if isinstance(figure, dict):
            figure = figure[self.key]
        return figure if isinstance(figure, tuple) else (float(figure), None)
