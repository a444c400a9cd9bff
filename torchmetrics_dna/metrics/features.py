"""Distances between real and fake images. The features are the spatial means of one layer: MIND, CMMD and PRDC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.checks import brief
from torchmetrics_dna.dna.distances import DISTANCES, Distance
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.files.visible import unknown_metrics
from torchmetrics_dna.functional.features import NEAREST, NUM_PROJECTIONS, SEED, check_integer, mind, prdc
from torchmetrics_dna.metrics.base import ImageMetric
from torchmetrics_dna.metrics.checked import Value, all_or_nothing
from torchmetrics_dna.options import names_in
from torchmetrics_dna.statistics import FeatureStatistic
from torchmetrics_dna.statistics.setup import Feature, check_made_by, extractor_of, set_up


class FeatureMetric(ImageMetric):
    """Distance between the features of real and fake images, or several distances, by their keys.

    Args:
        distances: The distances.
        feature: As for :class:`MIND`, and so are the others.

    """

    reference: Features | None
    _statistic: FeatureStatistic

    def __init__(
        self,
        distances: Sequence[Distance],
        feature: Feature | None,
        reset_real_features: bool,
        normalize: bool,
        layer: str | None,
        reference: Features | str | os.PathLike[str] | None = None,
        /,
        **kwargs: Any,
    ) -> None:
        features = _given_features(reference, layer)
        if features is not None:
            layer = features.layer
            if feature is None:
                feature = extractor_of(features)
        layers = None if layer is None or isinstance(feature, DNAExtractor) else [layer]
        extractor = set_up(feature, layers, histograms=False).extractor
        chosen = list(extractor.neurons)[-1] if layer is None else layer
        if chosen not in extractor.neurons:
            raise ValueError(
                f"Unknown layer {layer!r}; the layers of the extractor are: {', '.join(extractor.neurons)}"
            )
        if features is not None:
            check_made_by(features, extractor)
        sides = ("real", "fake") if features is None else ("fake",)
        statistic = FeatureStatistic(extractor, chosen)
        super().__init__(statistic, sides, normalize, reset_real_features, features, **kwargs)
        self.layer = chosen
        self.distances = tuple(distances)
        self._settings["distances"] = ", ".join(distance.name for distance in distances)

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """True if higher values are better."""
        return self.distances[0].higher_is_better

    @all_or_nothing
    def features(self, real: bool) -> Tensor:
        """Return the features of one side so far, over all processes: float32, ``(images, n)``.

        Images of processes are interleaved, as by a distributed sampler.
        """
        with self._whole():
            return self._rows(real).clone()

    @all_or_nothing
    def to_features(self, real: bool) -> Features:
        """Return the features of one side as a value, to save or to pass as ``reference``."""
        if real and self.reference is not None:
            return self.reference
        layer = self.neurons.take(self.neurons.positions([self.layer]))
        with self._whole():
            return Features(self._rows(real), layer, **self._origin("real" if real else "fake"))

    def _rows(self, real: bool) -> Tensor:
        if real and self.reference is not None:
            return self.reference.values.to(self.device)
        rows: Tensor = self._value_of("real" if real else "fake").to(self.device)
        return rows

    @override
    def _value(self) -> Value:
        real, fake = self._rows(True), self._rows(False)
        # Distances share intermediate results here.
        cache: dict[Any, Any] = {}
        figures = []
        for distance in self.distances:
            figure, *_ = distance.of_features(real, fake, cache)
            figures.append(figure)
        return self._by_key(figures)

    @override
    def _nan(self) -> Value:
        return self._by_key([torch.nan] * len(self.distances))

    def _by_key(self, figures: Sequence[float]) -> Value:
        values = torch.tensor(figures, dtype=torch.float64, device=self.device)
        if len(values) == 1:
            return values[0]
        keys = [distance.key for distance in self.distances]
        return dict(zip(keys, values, strict=True))


def _given_features(reference: Features | str | os.PathLike[str] | None, layer: str | None) -> Features | None:
    """Return the features of the argument ``reference``; an error if they are not of one layer, that of ``layer``."""
    features = Features.load(reference) if isinstance(reference, (str, os.PathLike)) else reference
    if features is None:
        return None
    if not isinstance(features, Features):
        raise TypeError(f"Argument `reference` expected to be Features, a path or None, but got {brief(features)}")
    if len(features.neurons) != 1:
        raise ValueError(f"Argument `reference` expected to be features of one layer, but got {features!r}; select one")
    if layer not in (None, features.layer):
        raise ValueError(f"Argument `layer` is {layer!r}, but `reference` is of {features.layer!r}; leave `layer` out")
    return features


class MIND(FeatureMetric):
    r"""Monge Inception Distance (MIND) between real and generated images, by :func:`~torchmetrics_dna.functional.mind`.

    .. math::
        \text{MIND} = \frac{3 n}{M} \sum_{m=1}^M W_2^2\left(\theta_m^T x_{real}, \theta_m^T x_{fake}\right)

    for random directions :math:`\theta_m` and the features x of images, spatial means of the n neurons of a layer
    (`Berthet et al., 2026 <https://arxiv.org/abs/2605.06797>`_). Published numbers are of FID's network, as
    ``feature="inception"`` is, but for how images are resized and scaled.

    The features of all images are kept, ``4 n`` bytes an image: 50,000 images of 2,048 neurons take 410 MB a side, and
    four times that while the distance is computed. A sync gathers those of all processes, with a peak of three copies.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``mind`` (:class:`~torch.Tensor`): float64 scalar, in squared activations

    Args:
        feature: Name or module of the network, as for :class:`DNAExtractor`, or a :class:`DNAExtractor`, which other
            metrics may share.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of one such as ``"last_norm:class"``; by default the extractor's last.
        reference: The real side, if it is known in advance: from :meth:`to_features`, or the path of a file that its
            ``save`` wrote. Extractor and layer are taken from it unless given.
        num_projections: Number of directions, M.
        seed: Seed of the directions, and of the subsample of a larger side. The rest of that side is left out, so the
            value then depends on the order of its images; those of processes are interleaved, as by a distributed
            sampler.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna.metrics import MIND
        >>> metric = MIND(layer="block_1")
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
        layer: str | None = None,
        reference: Features | str | os.PathLike[str] | None = None,
        num_projections: int = NUM_PROJECTIONS,
        seed: int = SEED,
        **kwargs: Any,
    ) -> None:
        check_integer("num_projections", num_projections, least=1)
        check_integer("seed", seed, least=0)
        distance = replace(DISTANCES["mind"], between=partial(mind, num_projections=num_projections, seed=seed))
        super().__init__([distance], feature, reset_real_features, normalize, layer, reference, **kwargs)
        self.num_projections = num_projections
        self.seed = seed
        self._settings |= {"numbers of projections": num_projections, "seeds": seed}


class CMMD(FeatureMetric):
    r"""CMMD between real and generated images, by :func:`~torchmetrics_dna.functional.cmmd`.

    .. math::
        \text{CMMD} = 1000\, \text{MMD}^2_\sigma\left(\frac{x_{real}}{|x_{real}|}, \frac{x_{fake}}{|x_{fake}|}\right),
        \qquad \sigma = 10

    the squared maximum mean discrepancy, by the biased estimator and a Gaussian kernel, of the features x of images,
    spatial means of a layer (`Jayasumana et al., CVPR 2024 <https://arxiv.org/abs/2401.09603>`_). Published numbers are
    of ``feature="clip_vit_large_336", layer="projected"``, of squares cut out of images first.

    The features of all images are kept, ``4 n`` bytes an image: 30,000 images of 768 neurons take 92 MB a side, and
    four times that while the distance is computed. A sync gathers those of all processes, with a peak of three copies.
    The time grows with the product of the numbers of images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``cmmd`` (:class:`~torch.Tensor`): float64 scalar, without unit

    Args:
        feature: As for :class:`MIND`, and so is ``reference``.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of one; by default the last of the extractor.
        reference: The real side, if it is known in advance, or the path of a file of it.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna.metrics import CMMD
        >>> metric = CMMD(layer="block_1")
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
        layer: str | None = None,
        reference: Features | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        distances = [DISTANCES["cmmd"]]
        super().__init__(distances, feature, reset_real_features, normalize, layer, reference, **kwargs)


class PRDC(FeatureMetric):
    """Precision, recall, and clipped density and coverage of generated among real images, by :func:`functional.prdc`.

    They separate fidelity of generated images (precision, density) from their diversity (recall, coverage), by the k
    nearest neighbours of features, spatial means of one layer (`Kynkäänniemi et al., 2019
    <https://arxiv.org/abs/1904.06991>`_, `Salvy et al., ICLR 2026 <https://arxiv.org/abs/2507.01761>`_). Compare values
    of equal numbers of images only. The features of all images are kept, ``4 n`` bytes an image, as in :class:`MIND`;
    the time grows with the product of the numbers of images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``prdc`` (:class:`dict`): a float64 scalar for each of ``metrics``, by name; higher is better

    Args:
        feature: As for :class:`MIND`, and so is ``reference``.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of one; by default the last of the extractor.
        reference: The real side, if it is known in advance, or the path of a file of it.
        nearest_k: Number of nearest neighbours, k.
        metrics: Names of values of :func:`functional.prdc`, such as ``["density", "coverage"]``; one gives a scalar.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna.metrics import PRDC
        >>> metric = PRDC(layer="block_1", nearest_k=2)
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images // 2, real=False)
        >>> metric.compute()["clipped_coverage"]
        tensor(0., dtype=torch.float64)
        >>> figure, axes = metric.plot()

    """

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layer: str | None = None,
        reference: Features | str | os.PathLike[str] | None = None,
        nearest_k: int = NEAREST,
        metrics: str | Sequence[str] = ("precision", "recall", "clipped_density", "clipped_coverage"),
        **kwargs: Any,
    ) -> None:
        check_integer("nearest_k", nearest_k, least=1)
        names = names_in(metrics) if isinstance(metrics, str) else metrics
        between = partial(prdc, nearest_k=nearest_k)
        distances = [replace(distance, between=between) for distance in _prdc_distances(names)]
        super().__init__(distances, feature, reset_real_features, normalize, layer, reference, **kwargs)
        self.nearest_k = nearest_k
        self._settings["nearest neighbours"] = nearest_k


def _prdc_distances(names: Sequence[str]) -> list[Distance]:
    """Return the distances of these names; ValueError unless all are values of :func:`functional.prdc`."""
    function = DISTANCES["density"].between
    allowed = {name: distance for name, distance in DISTANCES.items() if distance.between == function}
    distances: dict[str, Distance] = {}
    unknown = []
    for name in names:
        distance = DISTANCES.find(name)
        if distance is None or distance not in allowed.values():
            unknown.append(name)
        else:
            distances[name] = distance
    if unknown or not distances:
        raise ValueError(unknown_metrics(unknown, allowed))
    return list(distances.values())
