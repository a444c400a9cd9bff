"""Distances between the features of real and fake images: MIND, CMMD and PRDC.

The features of an image are the spatial means of one layer.
"""

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
    """Base class of distances between the features of real and fake images.

    The value is a scalar, or a dict of scalars by key if there are several distances.

    Args:
        distances: The distances.
        feature: As for :class:`MIND`.
        reset_real_features: As for :class:`MIND`.
        normalize: As for :class:`MIND`.
        layer: As for :class:`MIND`.
        reference: As for :class:`MIND`.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

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
        reference_features = _given_features(reference, layer)
        if layer is None and reference_features is not None:
            layer = reference_features.layer
        extractor = _extractor_for(feature, layer, reference_features)
        if layer is None:
            # By default, the layer is the extractor's last one.
            layer = list(extractor.neurons)[-1]
        sides = ("real", "fake") if reference_features is None else ("fake",)
        statistic = FeatureStatistic(extractor, layer)
        super().__init__(statistic, sides, normalize, reset_real_features, reference_features, **kwargs)
        self.layer = layer
        self.distances = tuple(distances)
        self._settings["distances"] = ", ".join(distance.name for distance in distances)

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """True if higher values are better."""
        return self.distances[0].higher_is_better

    @all_or_nothing
    def features(self, real: bool) -> Tensor:
        """Return the features of all real or fake images so far, over all processes: float32, ``(images, n)``.

        The images of the processes are interleaved, like the images of a distributed sampler.
        """
        with self._whole():
            return self._rows(real).clone()

    @all_or_nothing
    def to_features(self, real: bool) -> Features:
        """Return the features of all real or fake images as an object, to save it or to pass it as ``reference``."""
        if real and self.reference is not None:
            return self.reference
        layer = self.neurons.take(self.neurons.positions([self.layer]))
        with self._whole():
            return Features(self._rows(real), layer, **self._origin("real" if real else "fake"))

    def _rows(self, real: bool) -> Tensor:
        """Return the features of one side, ``(images, n)``, on the metric's device."""
        if real and self.reference is not None:
            return self.reference.values.to(self.device)
        rows: Tensor = self._value_of("real" if real else "fake").to(self.device)
        return rows

    @override
    def _value(self) -> Value:
        real = self._rows(True)
        fake = self._rows(False)
        # Distances store intermediate results here, so that other distances can use them.
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
        """Return values by the keys of the distances; a scalar if there is only one distance."""
        values = torch.tensor(figures, dtype=torch.float64, device=self.device)
        if len(values) == 1:
            return values[0]
        keys = [distance.key for distance in self.distances]
        return dict(zip(keys, values, strict=True))


def _given_features(reference: Features | str | os.PathLike[str] | None, layer: str | None) -> Features | None:
    """Return the features of the argument ``reference``, or None.

    Raises:
        TypeError: If the reference has another type.
        ValueError: If the reference has features of several layers, or of another layer than ``layer``.

    """
    features = Features.load(reference) if isinstance(reference, (str, os.PathLike)) else reference
    if features is None:
        return None
    if not isinstance(features, Features):
        raise TypeError(f"Argument `reference` expected to be Features, a path or None, but got {brief(features)}")
    if len(features.neurons) != 1:
        raise ValueError(f"Argument `reference` expected to be features of one layer, but got {features!r}; select one")
    if layer not in (None, features.layer):
        raise ValueError(f"Argument `layer` is {layer!r}, but `reference` is of {features.layer!r}; omit `layer`")
    return features


def _extractor_for(feature: Feature | None, layer: str | None, reference: Features | None) -> DNAExtractor:
    """Return the extractor of a feature, by default that of the reference.

    Raises:
        ValueError: If the arguments do not fit.

    """
    if feature is None and reference is not None:
        feature = extractor_of(reference)
    # An extractor already has its layers.
    layers = None if layer is None or isinstance(feature, DNAExtractor) else [layer]
    extractor = set_up(feature, layers, histograms=False).extractor
    if layer is not None and layer not in extractor.neurons:
        raise ValueError(f"Unknown layer {layer!r}; the layers of the extractor are: {', '.join(extractor.neurons)}")
    if reference is not None:
        check_made_by(reference, extractor)
    return extractor


class MIND(FeatureMetric):
    r"""Monge Inception Distance (MIND) between real and generated images, by :func:`~torchmetrics_dna.functional.mind`.

    .. math::
        \text{MIND} = \frac{3 n}{M} \sum_{m=1}^M W_2^2\left(\theta_m^T x_{real}, \theta_m^T x_{fake}\right)

    where :math:`\theta_m` are random directions, and x are the features of images: the spatial means of the n neurons
    of a layer (`Berthet et al., 2026 <https://arxiv.org/abs/2605.06797>`_). Published values use FID's network, which
    is ``feature="inception"``, but images are resized and scaled differently.

    The features of all images are kept and take ``4 n`` bytes per image. For 2,048 neurons, 50,000 images take 410 MB
    per set, and four times as much while the distance is computed. A sync gathers the features of all processes, and
    needs memory for three copies of them.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``mind`` (:class:`~torch.Tensor`): float64 scalar, in squared activations

    Args:
        feature: Name or module of the network, as for :class:`DNAExtractor`. Or a :class:`DNAExtractor`, which several
            metrics can share.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of a layer such as ``"last_norm:class"``; by default the extractor's last
            layer.
        reference: Features of the real images, if they were measured earlier, from :meth:`to_features`. Or the path of
            a file with such features. By default, extractor and layer are those of the reference.
        num_projections: Number of directions, M.
        seed: Seed of the directions. If one set has more images, a subsample of this set is drawn with the same seed.
            The value then depends on the order of the images in this set. The images of several processes are
            interleaved, like the images of a distributed sampler.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` has a wrong type.
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

    where MMD is the maximum mean discrepancy with a Gaussian kernel, by the biased estimator, and x are the features of
    images: the spatial means of a layer (`Jayasumana et al., CVPR 2024 <https://arxiv.org/abs/2401.09603>`_). Published
    values use ``feature="clip_vit_large_336", layer="projected"``, and images that are first cropped to squares.

    The features of all images are kept and take ``4 n`` bytes per image for n neurons. For 768 neurons, 30,000 images
    take 92 MB per set, and four times as much while the distance is computed. A sync gathers the features of all
    processes, and needs memory for three copies of them. The time is proportional to the product of the numbers of
    images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``cmmd`` (:class:`~torch.Tensor`): float64 scalar, without unit

    Args:
        feature: As for :class:`MIND`.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of a layer; by default the extractor's last layer.
        reference: As for :class:`MIND`.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` has a wrong type.
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
    """Precision, recall, clipped density and clipped coverage of generated images, by :func:`functional.prdc`.

    Precision and density measure the fidelity of generated images. Recall and coverage measure their diversity. The
    values are computed from the k nearest neighbours of each image. Neighbours are images with close features, which
    are the spatial means of one layer (`Kynkäänniemi et al., 2019 <https://arxiv.org/abs/1904.06991>`_, `Salvy et al.,
    ICLR 2026 <https://arxiv.org/abs/2507.01761>`_). Compare only values of equal numbers of images.

    The features of all images are kept and take ``4 n`` bytes per image, as for :class:`MIND`. The time is proportional
    to the product of the numbers of images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``prdc`` (:class:`dict`): a float64 scalar for each of ``metrics``, by name; higher is better

    Args:
        feature: As for :class:`MIND`.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of a layer; by default the extractor's last layer.
        reference: As for :class:`MIND`.
        nearest_k: Number of nearest neighbours, k.
        metrics: Names of values of :func:`functional.prdc`, such as ``["density", "coverage"]``. With a single name,
            the metric returns a scalar.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` has a wrong type.
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
    """Return the distances with these names, each once.

    Raises:
        ValueError: If there are no names, or if one is not the name of a value of :func:`functional.prdc`.

    """
    # One function computes all values of prdc, so the other values are found by the function of the density.
    function_of_prdc = DISTANCES["density"].between
    allowed = {name: distance for name, distance in DISTANCES.items() if distance.between == function_of_prdc}
    # A dictionary keeps each distance once, in order.
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
