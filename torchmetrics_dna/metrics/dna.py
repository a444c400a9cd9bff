"""Distances between the DNAs of real and fake images: DNAEMD, DNAFrechet and LayerFrechetDistance."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.checks import check_bool, check_one_of
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA, TooFewImagesError, check_comparable
from torchmetrics_dna.dna.averaging import PLAIN, Averaging, averaging_of
from torchmetrics_dna.dna.base import check_enough
from torchmetrics_dna.dna.distances import DISTANCES, Distance, flat_figures
from torchmetrics_dna.dna.evidence import Evidence, check_confidence
from torchmetrics_dna.dna.gaussian import Statistics
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.dna.result import Result
from torchmetrics_dna.dna.shared import shared_neurons
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS
from torchmetrics_dna.functional.reduction import check_weights
from torchmetrics_dna.images.inputs import Inputs, count_of
from torchmetrics_dna.metrics.base import ImageMetric
from torchmetrics_dna.metrics.checked import Value, all_or_nothing
from torchmetrics_dna.statistics.folds import content_folds, group_folds
from torchmetrics_dna.statistics.setup import Feature, Setup, set_up

if TYPE_CHECKING:
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics import DNAStatistic
    from torchmetrics_dna.words.explanation import Explanation

MetricReduction = Literal["mean", "layer", "none"]
_D = TypeVar("_D", bound=DNA)


class DNAMetric(ImageMetric, Generic[_D]):
    """Base class of distances between the DNAs of real and fake images.

    Args:
        distance: The distance.
        setup: Extractor, and the reference if there is one.
        statistic: Statistic of a side. Its value is a DNA to which the distance can be applied. It may keep folds of
            images.
        reset_real_features: As for :class:`DNAEMD`.
        normalize: As for :class:`DNAEMD`.
        reduction: As for :class:`DNAEMD`.
        averaging: Weights of the neurons, or of the layers if the distance is between layers.
        debias: As for :class:`DNAEMD`.
        pairs: As for :class:`DNAEMD`.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    """

    plot_legend_name: str = "Layer"
    # torchmetrics would label 0 as optimal, but two samples of one distribution do not reach 0.
    plot_lower_bound: float | None = None
    # Remedy in the error of a metric that keeps no folds.
    _fold_remedy = "create it with num_folds=20"
    reference: _D | None
    _statistic: DNAStatistic[Any]

    def __init__(
        self,
        distance: Distance,
        setup: Setup,
        statistic: DNAStatistic[Any],
        reset_real_features: bool,
        normalize: bool,
        reduction: MetricReduction = "mean",
        averaging: Averaging = PLAIN,
        debias: bool = False,
        pairs: bool = False,
        # The arguments are positional-only, so that an option that a metric lacks can't be passed through its `kwargs`.
        /,
        **kwargs: Any,
    ) -> None:
        reference: Any = setup.dnas[0] if setup.dnas else None
        sides = ("real", "fake") if reference is None else ("fake",)
        super().__init__(statistic, sides, normalize, reset_real_features, reference, **kwargs)
        if pairs and statistic.num_folds is None:
            raise ValueError(f"Argument `pairs` requires `num_folds` or `debias`; {self._fold_remedy}")
        check_one_of("reduction", reduction, MetricReduction)
        check_bool("debias", debias)
        check_bool("pairs", pairs)
        self.distance = distance
        self.reduction = reduction
        self.debias = debias
        self.pairs = pairs
        if reference is not None:
            check_comparable(reference, self._dna("fake"))
        if debias and averaging.why_noisy:
            raise ValueError(f"Argument `debias` can't be used here: {averaging.why_noisy}")
        self._num_terms = self.neurons.total if distance.granularity == "neuron" else len(self.neurons)
        self._averaging = averaging
        self._settings |= {
            "distances": distance.name,
            **averaging.settings,
            "values of `reduction`": reduction,
            "values of `debias`": debias,
            "values of `pairs`": pairs,
        }

    @override
    def update(self, imgs: Inputs, real: bool, groups: Sequence[Hashable] | None = None) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1]. For an extractor
                with ``inputs="any"``, the inputs that its module accepts.
            real: Whether the images are real.
            groups: Group of each image, such as the name of its video. Images of one group share a fold. By default,
                a group consists of images with equal pixels. With ``pairs``, the group is the pair of the image.

        Raises:
            ValueError: If images, ``real`` or ``groups`` have a wrong type or shape, or activations are not finite. No
                image is added then.

        """
        side = self._side_of(real)
        self._check(imgs)
        self._check_groups(groups, count_of(imgs))
        folds = self._folds_of(imgs, groups)
        self._add(side, imgs, folds)

    def _check_groups(self, groups: Sequence[Hashable] | None, num_images: int) -> None:
        """Raise ValueError if the argument ``groups`` does not fit the metric or the images."""
        if groups is not None and self._statistic.num_folds is None:
            raise ValueError(f"Argument `groups` requires folds of images; {self._fold_remedy}")
        if self.pairs and groups is None:
            raise ValueError("Argument `groups` expected to have the pair of each image, since `pairs` is True")
        if groups is not None and len(groups) != num_images:
            raise ValueError(f"Argument `groups` expected to have {num_images} names, but got {len(groups)}")

    def _folds_of(self, imgs: Inputs, groups: Sequence[Hashable] | None) -> Tensor | None:
        """Return the fold of each image; None if the metric keeps no folds.

        Folds by content need a device sync. They are computed before the network runs, so that the sync need not wait
        for the network.
        """
        num_folds = self._statistic.num_folds
        if num_folds is None:
            return None
        if groups is not None:
            return group_folds(groups, num_folds)
        return content_folds(imgs, num_folds, of_images=self.extractor.example is None)

    @all_or_nothing
    def to_dna(self, real: bool) -> _D:
        """Return the DNA of all real or fake images so far, over all processes."""
        check_bool("real", real)
        if real and self.reference is not None:
            return self.reference
        with self._whole():
            dna: _D = self._dna("real" if real else "fake", snapshot=True)
        return dna

    @all_or_nothing
    def explain(self) -> Explanation:
        """Describe in words what differs between real and fake images, over all processes.

        ``str()`` of the result is a text for a log. If the extractor measures image properties
        (``DNAExtractor(properties=True)``), the text describes how they differ. With ``num_folds``, the text describes
        differences only if the test finds any. The search for a candidate change that explains the difference needs the
        images, so only :func:`compare` includes it.

        Raises:
            RuntimeError: If there are too few real or fake images.

        """
        # The import takes time, and no other method needs this module.
        from torchmetrics_dna.words.differences import explain

        with self._whole():
            real = self._dna("real")
            fake = self._dna("fake")
            check_enough(real, fake, type(self).__name__, 1)
            if self._statistic.num_folds is None:
                return explain(real, fake, None, ("real", "fake"))
            averaging = self._averaging_of_test(real, fake)
            result = self.distance.result(real, fake, averaging, paired=self.pairs)
            evidence = result.evidence
            if evidence is None:
                return explain(real, fake, None, ("real", "fake"), why_untested=_too_few_folds(real, fake))
            return explain(real, fake, evidence.test, ("real", "fake"))

    def _averaging_of_test(self, real: DNA, fake: DNA) -> Averaging:
        """Return the weights of neurons or layers for the test in :meth:`explain`.

        By default, all neurons that both DNAs have get equal weights, including the neurons of image properties.
        """
        if not self._averaging.is_plain:
            return self._averaging
        if self.distance.granularity == "neuron":
            tested = torch.zeros(self._num_terms)
            tested[self.neurons.positions(neurons=shared_neurons(real, fake))] = 1
        else:
            tested = torch.ones(self._num_terms)
        return Averaging(tested / tested.sum())

    @all_or_nothing
    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """Return the distances for a logger, over all processes. They do not depend on ``reduction``.

        Args:
            prefix: Prefix of each name.

        Returns:
            Numbers by name. ``dna/dna_emd``, for example, is the distance over all neurons, and ``dna/block_0/dna_emd``
            is that of one layer. With ``num_folds``, there are also debiased distances, such as
            ``dna/dna_emd_debiased`` and ``dna/block_0/dna_emd_debiased``.

        Raises:
            RuntimeError: If there are too few real or fake images.

        """
        key = self.distance.key
        with self._whole():
            result = self._result(with_evidence=True)
            overall = {key: result.overall.value, f"{key}_debiased": result.overall.debiased}
            by_layer: dict[str, dict[str, float | None]] = {}
            for layer, figure in result.layers.items():
                by_layer[layer] = {key: figure.value, f"{key}_debiased": figure.debiased}
            return flat_figures(prefix, overall, by_layer)

    @all_or_nothing
    def evidence(self, confidence: float = 0.95) -> Evidence:
        """Return debiased distances, a confidence interval and a significance test, over all processes.

        Args:
            confidence: Confidence level of the interval.

        Raises:
            ValueError: If the metric keeps no folds, because ``num_folds`` was not passed.
            RuntimeError: If the real or the fake images fill fewer than 5 folds.

        """
        check_confidence(confidence)
        with self._whole():
            return self._evidence(confidence)

    @override
    def _finish(self, axes: Any) -> None:
        null_mean = self._null_mean()
        label = self.distance.label
        if self.debias:
            label += ", debiased"
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        if null_mean is not None:
            _mark_null_mean(axes, null_mean)

    def _null_mean(self) -> float | None:
        """Return the mean distance of two samples of one distribution of this size; None if it can't be estimated."""
        if self.debias:
            return 0.0
        if self.reduction != "mean" or self._statistic.num_folds is None:
            return None
        # If a side was reset after the plotted value was computed, it has too few images.
        with suppress(RuntimeError), self._whole():
            return self._result(with_evidence=True).null_mean
        return None

    @override
    def _value(self) -> Value:
        if not self.debias:
            return self._reduce(self._result())
        evidence = self._evidence()
        if self.reduction == "layer":
            return dict(zip(self.neurons, evidence.layers.to(self.device), strict=True))
        if self.reduction == "none":
            return evidence.neurons.to(self.device)
        return torch.tensor(evidence.debiased, dtype=torch.float64, device=self.device)

    @override
    def _nan(self) -> Value:
        nans = torch.full((self._num_terms,), torch.nan, dtype=torch.float64, device=self.device)
        return self._reduce(Result(self.distance, nans, self.neurons, self._averaging))

    def _dna(self, side: str, snapshot: bool = False) -> Any:
        """Return the DNA of a side.

        The DNA may share memory with the state of the side. It is a copy if ``snapshot`` is True.
        """
        if side not in self._sides:
            return self.reference
        state = self._state(side)
        if snapshot:
            state = {name: tensor.clone() for name, tensor in state.items()}
        dna = self._value_of(side, state)
        # DNAFrechet with statistics="activations" counts in histograms.
        if isinstance(dna, HistogramDNA) and "gaussian" in self.distance.kinds:
            return dna.to_gaussian()
        return dna

    def _result(self, confidence: float = 0.95, with_evidence: bool = False) -> Result:
        """Return the distance between the sides.

        Raises:
            RuntimeError: If a side has too few images.

        """
        real = self._dna("real")
        fake = self._dna("fake")
        return self.distance.result(
            real, fake, self._averaging, confidence=confidence, with_evidence=with_evidence, paired=self.pairs
        )

    def _reduce(self, result: Result) -> Value:
        """Return the value that the argument ``reduction`` selects."""
        if self.reduction == "layer":
            return result.layer_means
        if self.reduction == "none":
            return result.weighted
        return result.mean

    def _evidence(self, confidence: float = 0.95) -> Evidence:
        """Return the evidence for the distance.

        Raises:
            ValueError: If the metric keeps no folds.
            TooFewImagesError: If the real or the fake images fill too few folds.

        """
        self._check_keeps_folds()
        evidence = self._result(confidence, with_evidence=True).evidence
        if evidence is None:
            num_real = _num_folds_with_images(self._dna("real"))
            num_fake = _num_folds_with_images(self._dna("fake"))
            raise TooFewImagesError(
                f"At least {LEAST_FOLDS} folds with images are required, but got {num_real} and {num_fake}"
            )
        return evidence

    def _check_keeps_folds(self) -> None:
        """Raise ValueError if the metric keeps no folds of images."""
        if self._statistic.num_folds is not None:
            return
        if self.reference is not None and self.reference.folds:
            count = len(self.reference.folds)
            raise ValueError(
                f"The reference has {count} folds of images, but this metric keeps none; create it with"
                f" num_folds={count}"
            )
        raise ValueError(f"This metric keeps no folds of images; {self._fold_remedy}")


class DNAEMD(DNAMetric[HistogramDNA]):
    r"""Earth Mover's Distance between the Visual DNAs (dna-emd) of real and generated images.

    .. math::
        \text{DNA-EMD} = \sum_n W^n \sum_{k=0}^{B-1} |F_{real}^n[k] - F_{fake}^n[k]|, \qquad W^n = \frac{1}{|N|}

    where :math:`F^n[k]` is the share of the activations of neuron n in bins up to k, over all positions of all images
    (Eq. 3 to 5 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_). The unit is bins. The distance of equal DNAs is 0,
    and the largest possible distance is ``num_bins - 1``.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images
    - ``groups`` (a sequence, optional): the group of each image; images of one group share a fold

    As output of ``forward`` and ``compute`` the metric returns

    - ``dna_emd`` (:class:`~torch.Tensor`): float64 scalar, in bins; see ``reduction`` for other forms

    Args:
        feature: Name or module of the network, as for :class:`DNAExtractor`. Or a :class:`DNAExtractor`, which several
            metrics can share.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        num_bins: Number of bins of each neuron's histogram; by default 1000.
        ranges: Activation ranges: an :class:`ActivationRanges`, the path of a file, or ``"auto"`` for histograms that
            determine their own ranges. The default is the ranges that are packaged with the extractor, or else
            ``"auto"``.
        reference: DNA of the real images, if they were measured earlier, from ``to_dna`` or :func:`make_dna`. Or the
            path of a DNA file that :func:`load_dna` accepts. Only fake images are added then. By default, extractor,
            layers, bins and ranges are those of the DNA.
        neuron_weights: The :math:`W^n`: :class:`NeuronWeights`, the path of their file, or a tensor of shape ``(N,)``
            in the order of ``neurons``.
        reduction: ``"mean"`` returns the sum above. ``"layer"`` returns a dict with one scalar per layer. ``"none"``
            returns one value per neuron, shape ``(N,)``. Without weights, the value of a layer is the mean over its
            neurons, and the value of a neuron is its distance.
        num_folds: Number of folds of images for the interval and the test of :meth:`evidence`: at least 5, such as 20,
            or 0 for no folds. The default is the number of folds of the reference, or else 0. Folds do not change the
            distance. With 20 folds, the state is three times as large.
        debias: Whether to correct the distance for the sampling noise of finite sets. This needs folds, by default 20,
            and images in at least 5 of them in each set. The value is 0 if the distance is within sampling noise.
        pairs: Whether images of both sets correspond, such as originals and their compressed versions. ``update`` then
            requires ``groups``, with the same value for both images of a pair. Evidence and debiased distances are
            those of pairs. For few pairs, keep many folds, such as 100.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` or ``ranges`` has a wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAEMD
        >>> metric = DNAEMD(layers=["block_0", "head"])
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images // 2, real=False)
        >>> metric.compute() > 1
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        reference: HistogramDNA | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        reduction: MetricReduction = "mean",
        num_folds: int | None = None,
        debias: bool = False,
        pairs: bool = False,
        **kwargs: Any,
    ) -> None:
        dnas = given_dna(reference, HistogramDNA, ranges)
        setup = set_up(feature, layers, num_bins, ranges, dnas)
        statistic = setup.statistic("histogram", _folds_for(num_folds, debias, setup))
        averaging = averaging_of(setup.extractor, neuron_weights=neuron_weights)
        super().__init__(
            DISTANCES["dna-emd"],
            setup,
            statistic,
            reset_real_features,
            normalize,
            reduction,
            averaging,
            debias,
            pairs,
            **kwargs,
        )
        self.num_bins = setup.num_bins
        self.neuron_weights = averaging.weights


class DNAFrechet(DNAMetric[GaussianDNA]):
    r"""Fréchet distance between the Visual DNAs (dna-fd) of real and generated images, neuron by neuron.

    .. math::
        \text{DNA-FD} = \sum_n W^n \left( (\mu_{real}^n - \mu_{fake}^n)^2
        + (\sigma_{real}^n - \sigma_{fake}^n)^2 \right), \qquad W^n = \frac{1}{|N|}

    where :math:`\mu^n` is the mean over images of the spatial mean of neuron n, and :math:`\sigma^n` is its unbiased
    standard deviation (section 3.1 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_). The unit is the squared unit
    of the activations.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images
    - ``groups`` (a sequence, optional): the group of each image; images of one group share a fold

    As output of ``forward`` and ``compute`` the metric returns

    - ``dna_fd`` (:class:`~torch.Tensor`): float64 scalar; see ``reduction`` for other forms

    Args:
        feature: As for :class:`DNAEMD`.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        statistics: Values whose mean and standard deviation are compared. ``"means"`` uses the spatial means, one per
            image, as the reference implementation does. ``"activations"`` uses all activations, as the text of the
            paper describes. They are computed from the histograms that :class:`DNAEMD` counts. In a collection, both
            metrics share one state.
        num_bins: Number of bins of these histograms; only for ``statistics="activations"``.
        ranges: Activation ranges of these histograms, as for :class:`DNAEMD`; only for ``statistics="activations"``.
        reference: As for :class:`DNAEMD`. By default, extractor and layers are those of the reference.
        neuron_weights: The :math:`W^n`, as for :class:`DNAEMD`.
        reduction: As for :class:`DNAEMD`.
        num_folds: As for :class:`DNAEMD`; only for ``statistics="means"``.
        debias: As for :class:`DNAEMD`; only for ``statistics="means"``.
        pairs: As for :class:`DNAEMD`; only for ``statistics="means"``.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` has a wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAFrechet
        >>> metric = DNAFrechet(layers=["block_0", "head"])
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images // 2, real=False)
        >>> metric.compute() > 0
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        statistics: Statistics = "means",
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        reference: GaussianDNA | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        reduction: MetricReduction = "mean",
        num_folds: int | None = None,
        debias: bool = False,
        pairs: bool = False,
        **kwargs: Any,
    ) -> None:
        check_one_of("statistics", statistics, Statistics)
        from_histograms = statistics == "activations"
        if not from_histograms and (num_bins is not None or ranges is not None):
            raise ValueError("Arguments `num_bins` and `ranges` require statistics='activations'")
        if from_histograms and (num_folds or debias or pairs):
            raise ValueError("Arguments `num_folds`, `debias` and `pairs` require statistics='means'")
        dnas = given_dna(reference, GaussianDNA)
        setup = set_up(feature, layers, num_bins, ranges, dnas, histograms=from_histograms)
        if from_histograms:
            statistic = setup.statistic("histogram")
        else:
            statistic = setup.statistic("gaussian", _folds_for(num_folds, debias, setup))
        averaging = averaging_of(setup.extractor, neuron_weights=neuron_weights)
        super().__init__(
            DISTANCES["dna-fd"],
            setup,
            statistic,
            reset_real_features,
            normalize,
            reduction,
            averaging,
            debias,
            pairs,
            **kwargs,
        )
        self.statistics = statistics
        self.neuron_weights = averaging.weights
        if from_histograms:
            self._fold_remedy = "DNAEMD, or DNAFrechet with statistics='means', can keep them"


class LayerFrechetDistance(DNAMetric[LayerGaussianDNA]):
    r"""Fréchet distance (fd) between real and generated images, over all neurons of a layer together, as in FID.

    .. math::
        \text{FD} = \sum_l W^l \left( |\mu_{real}^l - \mu_{fake}^l|^2 + \mathrm{tr}\left(\Sigma_{real}^l
        + \Sigma_{fake}^l - 2 (\Sigma_{real}^l \Sigma_{fake}^l)^{1/2}\right) \right), \qquad W^l = \frac{1}{|L|}

    where :math:`\mu^l` is the mean over images of the spatial means of the neurons of layer l, and :math:`\Sigma^l` is
    their unbiased covariance. `Visual DNA <https://arxiv.org/abs/2304.10036>`_ is compared with this distance in its
    paper. For the last layer of an Inception network alone, it is FID. The unit is the squared unit of the activations.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``fd`` (:class:`~torch.Tensor`): float64 scalar; see ``reduction`` for other forms

    Args:
        feature: As for :class:`DNAEMD`.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        reference: As for :class:`DNAEMD`, or the path of a file of statistics for FID. By default, extractor and layers
            are those of the reference. For a file of statistics, the default is ``inception_fid``.
        layer_weights: The :math:`W^l`: a dict with the weight of each layer, or a tensor of shape ``(layers,)``.
        reduction: ``"mean"`` returns the sum above. ``"layer"`` returns a dict with one scalar per layer. ``"none"``
            returns one value per layer, shape ``(layers,)``. Without weights, the value of a layer is its distance.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` has a wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import LayerFrechetDistance
        >>> metric = LayerFrechetDistance(layers=["block_0", "block_1"], layer_weights={"block_0": 0.9, "block_1": 0.1})
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images // 2, real=False)
        >>> metric.compute() > 0
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    _fold_remedy = "DNAEMD and DNAFrechet can keep them"
    # This metric keeps no folds, so its method `update` has no argument `groups`.
    update = ImageMetric.update  # type: ignore[assignment]

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        reference: LayerGaussianDNA | str | os.PathLike[str] | None = None,
        layer_weights: Mapping[str, float] | Tensor | None = None,
        reduction: MetricReduction = "mean",
        **kwargs: Any,
    ) -> None:
        setup = set_up(feature, layers, dnas=given_dna(reference, LayerGaussianDNA), histograms=False)
        weights = None
        if layer_weights is not None:
            weights = _checked_layer_weights(layer_weights, list(setup.extractor.neurons))
        statistic = setup.statistic("layer-gaussian")
        averaging = Averaging(weights)
        super().__init__(
            DISTANCES["fd"], setup, statistic, reset_real_features, normalize, reduction, averaging, **kwargs
        )
        self.layer_weights = weights


def _mark_null_mean(axes: Any, null_mean: float) -> None:
    """Draw a labelled line at the mean distance of two samples of one distribution."""
    axes.axhline(null_mean, color="black", linestyle="--", linewidth=1)
    axes.annotate(
        "null mean",
        (0.02, null_mean),
        xytext=(0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=9,
        # The box hides grid lines behind the text.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )


def _checked_layer_weights(layer_weights: Mapping[str, float] | Tensor, layers: Sequence[str]) -> Tensor:
    """Return the weights of layers as a tensor in the order of the layers.

    Raises:
        ValueError: If a layer is missing or unknown, a weight is not allowed, or all weights are 0.

    """
    if isinstance(layer_weights, Mapping):
        unchecked_weights = _in_order_of_layers(layer_weights, layers)
    else:
        unchecked_weights = layer_weights
    weights = check_weights(unchecked_weights, len(layers), noun="layer")
    if not weights.any():
        raise ValueError("Argument `layer_weights` expected to have a weight other than 0, but all are 0")
    return weights


def _in_order_of_layers(layer_weights: Mapping[str, float], layers: Sequence[str]) -> Tensor:
    """Return the weights of a dict as a tensor in the order of the layers.

    Raises:
        ValueError: If a layer is missing or unknown.

    """
    if set(layer_weights) != set(layers):
        raise ValueError(
            f"Argument `layer_weights` expected to have the layers {', '.join(layers)}, but got"
            f" {', '.join(map(str, layer_weights)) or 'none'}"
        )
    return torch.tensor([layer_weights[layer] for layer in layers], dtype=torch.float64)


def _folds_for(num_folds: int | None, debias: bool, setup: Setup) -> int | None:
    """Return the number of folds to keep; None to keep none.

    The default is 20 folds to debias, else the number of folds of the reference.
    """
    if num_folds == 0 and not debias:
        return None
    if num_folds is not None:
        return num_folds
    if debias:
        return NUM_FOLDS
    folds_of_reference = sum(len(dna.folds) for dna in setup.dnas)
    return folds_of_reference if folds_of_reference >= LEAST_FOLDS else None


def _num_folds_with_images(dna: DNA) -> int:
    """Return the number of folds that have at least one image."""
    return sum(fold.num_images > 0 for fold in dna.folds)


def _too_few_folds(real: DNA, fake: DNA) -> str:
    """Return a text that says which set has too few folds with images for a test."""
    # Compare folds instead of images: a set of many images fills few folds if it has few groups.
    if _num_folds_with_images(fake) < _num_folds_with_images(real):
        set_with_images = f"fake has {images_in_words(fake.num_images)}"
    else:
        set_with_images = f"real has {images_in_words(real.num_images)}"
    return f"{set_with_images}, in fewer than {LEAST_FOLDS} folds"
