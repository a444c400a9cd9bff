"""Base class of the distances between the DNAs of real and fake images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna import DNA, HistogramDNA, TooFewImagesError, check_comparable
from torchmetrics_dna.dna.base import check_enough
from torchmetrics_dna.dna.distances import flat_figures
from torchmetrics_dna.dna.evidence import Evidence, check_confidence, has_negative
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.dna.result import Result
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS
from torchmetrics_dna.images.inputs import count_of
from torchmetrics_dna.metrics.base import ImageMetric, Value, digest_of, exclusive
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.statistics.folds import content_folds, group_folds

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Sequence

    from torchmetrics_dna.comparisons.explanation import Explanation
    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.functional.permutation import PermutationTest
    from torchmetrics_dna.images.inputs import Inputs
    from torchmetrics_dna.statistics import DNAStatistic
    from torchmetrics_dna.statistics.resolve import Resolved

MetricReduction = Literal["mean", "layer", "none"]
_D = TypeVar("_D", bound=DNA)


class DNAMetric(ImageMetric, Generic[_D]):
    """Base class of the distances between the DNAs of real and fake images.

    A subclass sets the distance, the reductions that it has, and the statistic of a side, whose value is a DNA for the
    distance, and which may keep folds of images. Weights are of neurons, or of layers if the distance is.
    """

    distance: Distance
    reductions: ClassVar[tuple[str, ...]] = ("mean", "layer", "none")
    plot_legend_name: str = "Layer"
    _to_keep_folds = "give num_folds=20"  # a remedy
    reference: _D | None
    _statistic: DNAStatistic[Any]

    def __init__(
        self,
        resolved: Resolved,
        statistic: DNAStatistic[Any],
        reset_real_features: bool,
        normalize: bool,
        reduction: MetricReduction,
        weights: NeuronWeights | Tensor | str | os.PathLike[str] | None,
        debias: bool = False,
        pairs: bool = False,
        /,
        **kwargs: Any,
    ) -> None:
        reference: Any = resolved.dnas[0] if resolved.dnas else None
        sides = ("real", "fake") if reference is None else ("fake",)
        super().__init__(resolved.extractor, statistic, sides, normalize, reset_real_features, reference, **kwargs)
        if reduction not in self.reductions:
            *others, last = map(repr, self.reductions)
            raise ValueError(
                f"Argument `reduction` expected to be {', '.join(others)} or {last}, but got {reduction!r}"
            )
        for name, value in (("debias", debias), ("pairs", pairs)):
            if not isinstance(value, bool):
                raise ValueError(f"Argument `{name}` expected to be a bool")
        if pairs and statistic.num_folds is None:
            raise ValueError(f"Argument `pairs` goes with `num_folds` or `debias`; {self._to_keep_folds}")
        self.reduction, self.debias, self.pairs = reduction, debias, pairs
        if reference is not None:
            check_comparable(reference, self._dna("fake"))
        if self.distance.grain == "neuron":
            self._terms = self.neurons
            weights = resolve_weights(weights, self.neurons, self.extractor.name, self.extractor.weights_digest)
            if debias and has_negative(weights):
                raise ValueError(
                    "Argument `debias` takes `neuron_weights` of 0 or more, since noise can move a sum of others either"
                    f" way, but the least is {float(weights.min()):g}; clip them, or leave `debias` out"
                )
        else:
            self._terms = Neurons(dict.fromkeys(self.neurons, 1))
        self._weights: Tensor | None = weights  # type: ignore[assignment]

    @property
    @override
    def _settings(self) -> dict[str, Any]:
        names = ("reduction", "debias", "pairs")
        return super()._settings | {
            "distances": self.distance.name,
            "neuron weights (digest)": digest_of(self._weights),
            **{f"values of `{name}`": getattr(self, name) for name in names},
        }

    @override
    def update(self, imgs: Inputs, real: bool, groups: Sequence[Hashable] | None = None) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1]. For an extractor
                with ``inputs="any"``: what its module takes.
            real: Whether they are real images.
            groups: Group of each image, such as the name of its clip; images of one group share a fold. By default
                images of equal pixels do. With ``pairs``, the pair of each image.

        Raises:
            ValueError: If images, ``real`` or ``groups`` are something else, or activations are not finite. Nothing is
                added then.

        """
        side = self._side_of(real)
        self._check(imgs)
        if groups is not None and self._statistic.num_folds is None:
            raise ValueError(f"Argument `groups` goes with folds of images; {self._to_keep_folds}")
        if self.pairs and groups is None:
            raise ValueError("Argument `groups` expected to have the pair of each image, since `pairs` is True")
        self._add(side, imgs, _folds(self._statistic, imgs, groups))

    @exclusive
    def to_dna(self, real: bool) -> _D:
        """Return the DNA of one side so far, over all processes."""
        if real and self.reference is not None:
            return self.reference
        with self._whole():
            dna: _D = self._dna("real" if real else "fake", snapshot=True)
        return dna

    @exclusive
    def explain(self) -> Explanation:
        """Describe in words what differs between the sides, over all processes; ``str()`` of it is a text for a log.

        It names properties of images, if measured (``DNAExtractor(properties=True)``). With ``num_folds`` it names
        nothing if the test finds no difference. What caused a difference is found by :func:`compare`, which has images.

        Raises:
            RuntimeError: If a side has too few images.

        """
        from torchmetrics_dna.comparisons.explanation import explain  # which no other method needs

        with self._whole():
            real, fake = self._dna("real"), self._dna("fake")
            check_enough(real, fake, type(self).__name__, 1)
            return explain(real, fake, self._test(), ("real", "fake"))

    @exclusive
    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """Return the distance for a logger, over all processes, independent of the reduction.

        Args:
            prefix: Prefix of each name.

        Returns:
            A number for each name, over all neurons as ``dna/dna_emd``, of a layer as ``dna/block_0/dna_emd``. With
            ``num_folds`` also debiased values, as ``dna/dna_emd_debiased`` and ``dna/block_0/dna_emd_debiased``.

        Raises:
            RuntimeError: If a side has too few images.

        """
        with self._whole():
            result, key = self._result(with_evidence=True), self.distance.key
            named = [(None, result.overall), *result.layers.items()]
            figures: dict[Any, dict[str, float | None]] = {
                name: {key: figure.value, f"{key}_debiased": figure.debiased} for name, figure in named
            }
            return flat_figures(prefix, figures.pop(None), figures)

    @exclusive
    def evidence(self, confidence: float = 0.95) -> Evidence:
        """Return the evidence for the distance, over all processes: debiased values, an interval, and a test.

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
    def _value(self) -> Value:
        if self.debias:
            return self._debiased()
        return self._reduce(self._result())

    @override
    def _value_or_nan(self) -> Value:
        try:
            return self._value()
        except TooFewImagesError:
            nans = torch.full((self._terms.total,), torch.nan, dtype=torch.float64, device=self.device)
            return self._reduce(Result(self.distance, nans, self.neurons, self._weights))

    def _dna(self, side: str, snapshot: bool = False) -> Any:
        """Return the DNA of a side; a view of its state if possible, or a copy for a snapshot."""
        if side not in self._sides:
            return self.reference
        state = self._state(side)
        dna = self._statistic.value({k: v.clone() for k, v in state.items()} if snapshot else state)
        origin = self._origin(side)
        if any(getattr(dna, name) != value for name, value in origin.items()):
            dna = replace(dna, folds=tuple(replace(fold, **origin) for fold in dna.folds), **origin)
        return self._as_taken(dna)

    def _as_taken(self, dna: DNA) -> Any:
        """Convert a DNA to the kind that the distance needs."""
        return dna.to_gaussian() if isinstance(dna, HistogramDNA) and "gaussian" in self.distance.kinds else dna

    def _result(self, confidence: float = 0.95, with_evidence: bool = False) -> Result:
        """Return the distance between the sides; RuntimeError if one has too few images."""
        real, fake = self._dna("real"), self._dna("fake")
        return self.distance.result(
            real, fake, self._weights, confidence=confidence, with_evidence=with_evidence, paired=self.pairs
        )

    def _reduce(self, result: Result) -> Value:
        if self.reduction == "layer":
            return result.layer_means
        return result.weighted if self.reduction == "none" else result.mean

    def _debiased(self) -> Value:
        evidence = self._evidence()
        if self.reduction == "layer":
            return dict(zip(self.neurons, evidence.layers.to(self.device), strict=True))
        if self.reduction == "none":
            return evidence.neurons.to(self.device)
        return torch.tensor(evidence.debiased, dtype=torch.float64, device=self.device)

    def _test(self) -> PermutationTest | None:
        """Test if the sides differ; None without folds, or if too few have images."""
        if self._statistic.num_folds is None:
            return None
        weights = torch.full((self._terms.total,), 1 / self._terms.total) if self._weights is None else self._weights
        sides = self._dna("real"), self._dna("fake")
        result = self.distance.result(*sides, weights, paired=self.pairs)  # of properties of images, too
        return None if result.evidence is None else result.evidence.test

    def _evidence(self, confidence: float = 0.95) -> Evidence:
        if self._statistic.num_folds is None:
            raise ValueError(f"No folds of images were kept apart; {self._to_keep_folds}")
        evidence = self._result(confidence, with_evidence=True).evidence
        if evidence is None:
            folds = [sum(fold.num_images > 0 for fold in self._dna(side).folds) for side in ("real", "fake")]
            raise TooFewImagesError(
                f"At least {LEAST_FOLDS} folds with images are required, but got {folds[0]} and {folds[1]}; give more"
                " images"
            )
        return evidence


def folds_for(num_folds: int | None, debias: bool) -> int | None:
    """Return the number of folds, by default 20 to debias."""
    return NUM_FOLDS if num_folds is None and debias else num_folds


def _folds(statistic: DNAStatistic[Any], imgs: Inputs, groups: Sequence[Hashable] | None) -> Tensor | None:
    """Return the fold of each image, shape ``(B,)``, on the CPU; None without folds."""
    if statistic.num_folds is None:
        return None
    if groups is None:
        # folds need a device sync: before the network runs, so that the sync does not wait for it
        return content_folds(imgs, statistic.num_folds, of_images=statistic.extractor.example is None)
    if len(groups) != count_of(imgs):
        raise ValueError(f"Argument `groups` expected to have {count_of(imgs)} names, but got {len(groups)}")
    return group_folds(groups, statistic.num_folds)
