"""Metrics of the features of single images, which are kept: MIND and CMMD."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.features import Features, given_features
from torchmetrics_dna.dna.origin import check_made_by, extractor_of
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.functional.mean_discrepancy import cmmd
from torchmetrics_dna.functional.monge import NUM_PROJECTIONS, SEED, check_projections, mind
from torchmetrics_dna.metrics.sided import NAMES, SidedMetric, Value
from torchmetrics_dna.statistics import FeatureStatistic
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.statistics.resolve import Feature


class FeatureMetric(SidedMetric):
    """A distance between the features of real and fake images: spatial means of one layer, image by image."""

    _statistic: FeatureStatistic

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
        given = given_features(reference)
        if given is not None and layer not in (None, given.layer):
            raise ValueError(f"Argument `layer` is {layer!r}, but `reference` is of {given.layer!r}; leave `layer` out")
        layer = layer if given is None else given.layer
        if given is not None and feature is None:
            feature = extractor_of(given)
        chosen = None if layer is None or isinstance(feature, DNAExtractor) else [layer]
        super().__init__(resolve(feature, chosen, histograms=False), reset_real_features, normalize, **kwargs)
        self.layer = list(self.neurons)[-1] if layer is None else layer
        if self.layer not in self.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers of the extractor are: {', '.join(self.neurons)}")
        if given is not None:
            check_made_by(given, self.extractor)
        self.reference = given
        options = {"reset_real_features": reset_real_features}
        self._accumulate_by(
            FeatureStatistic(self.extractor, self.layer), ("fake",) if given else ("real", "fake"), options
        )

    def features(self, real: bool) -> Tensor:
        """The features of one side as accumulated so far, over all processes: float32, ``(images, n)``.

        Processes' images are in turn, as a distributed sampler deals them out.
        """
        with self._whole():
            return self._rows(real).clone()

    def to_features(self, real: bool) -> Features:
        """The same as a value, to save and to give as ``reference``."""
        layer = self.neurons.take(self.neurons.positions([self.layer]))
        known = self.extractor.name, self.extractor.weights_digest, self.extractor.preparation
        return Features(self.features(real), layer, *known)

    @property
    def _is_given(self) -> bool:
        return self.reference is not None

    @property
    def _mergeable(self) -> dict[str, Any]:
        return super()._mergeable | {"references": "none" if self.reference is None else self.reference.digest}

    @abstractmethod
    def _distance(self, real: Tensor, fake: Tensor) -> Value:
        """Of the features of both sides."""

    def _rows(self, real: bool) -> Tensor:
        if real and self.reference is not None:
            return self.reference.values.to(self.device)
        return self._statistic.value(self._side(NAMES[real])).to(self.device)

    @override
    def _value(self) -> Value:
        return self._distance(self._rows(True), self._rows(False))

    @override
    def _value_or_nan(self) -> Value:
        if all(self._statistic.any_in(self._side(side)) for side in self._sides):
            return self._value()
        return torch.tensor(torch.nan, dtype=torch.float64, device=self.device)

    @override
    def _gatherable(self, state: str) -> Tensor:
        found = getattr(self, state)
        if isinstance(found, Tensor):
            return super()._gatherable(state)
        return self._statistic.value({state.partition("_")[2]: found}).to(self.device)

    def _copy_state_dict(self) -> dict[str, Any]:
        # batches that are there do not change, so what waits for `unsync` needs no copies of them
        return {name: list(found) if isinstance(found, list) else found for name, found in self.metric_state.items()}

    def state_dict(  # type: ignore[override]  # as torchmetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """As in torchmetrics, but with bytes for features, since torch.distributed loads tensors in one length only."""
        saved: dict[str, Any] = super().state_dict(destination, prefix, keep_vars)
        for name, found in self.metric_state.items():
            if prefix + name in saved and isinstance(found, list):
                saved[prefix + name] = self._gatherable(name).cpu().numpy().tobytes()
        return saved

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for side in NAMES.values():
            found = state_dict.get(f"{prefix}{side}_features")
            if found is not None:
                rows = torch.frombuffer(bytearray(found), dtype=torch.float32) if found else torch.zeros(0)
                state_dict[f"{prefix}{side}_features"] = [rows.view(-1, self.neurons[self.layer])] if found else []
        super()._load_from_state_dict(state_dict, prefix, *args)


class MIND(FeatureMetric):
    r"""Monge Inception Distance (MIND) between real and generated images, by :func:`~torchmetrics_dna.functional.mind`.

    .. math::
        \text{MIND} = \frac{3 n}{M} \sum_{m=1}^M W_2^2\left(\theta_m^T x_{real}, \theta_m^T x_{fake}\right)

    for random directions :math:`\theta_m` and the features x of images, spatial means of the n neurons of a layer
    (`Berthet et al., 2026 <https://arxiv.org/abs/2605.06797>`_). Published numbers are of FID's network, as
    ``feature="inception"`` is, but for how images are resized and scaled.

    The features of all images are kept, ``4 n`` bytes an image: 50,000 images of 2,048 neurons take 410 MB a side, and
    four times that while the distance is computed. Processes that sync hold those of all, for a moment three times.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images, shape ``(B, 3, H, W)``; uint8, or with ``normalize=True``
      floating point in [0, 1]
    - ``real`` (:class:`bool`): whether they are real or fake

    As output of ``forward`` and ``compute`` the metric returns

    - ``mind`` (:class:`~torch.Tensor`): float64 scalar, in squared activations

    Args:
        feature: What describes the images: a name or module as :class:`DNAExtractor` takes it, or a
            :class:`DNAExtractor`, which other metrics may share.
        reset_real_features: Whether ``reset`` forgets the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Which layer, or view of one, such as ``"last_norm:class"``; by default the last of the extractor.
        reference: The real side, if it is known before: from :meth:`to_features`, or the path of a file that its
            ``save`` wrote. Extractor and layer are taken from it where they are not given.
        num_projections: How many directions, M.
        seed: Of the directions, and of the subsample of a larger side. The rest of that side is left out, so the value
            then depends on the order of its images; those of processes are in turn, as a distributed sampler deals them
            out.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import MIND
        >>> metric = MIND(layer="block_1")
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)

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
        check_projections(num_projections, seed)
        super().__init__(feature, reset_real_features, normalize, layer=layer, reference=reference, **kwargs)
        self.num_projections, self.seed = num_projections, seed

    @property
    def _agreed(self) -> dict[str, Any]:
        return super()._agreed | {"numbers of projections": self.num_projections, "seeds": self.seed}

    @override
    def _distance(self, real: Tensor, fake: Tensor) -> Tensor:
        return mind(real, fake, num_projections=self.num_projections, seed=self.seed)


class CMMD(FeatureMetric):
    r"""CMMD between real and generated images, by :func:`~torchmetrics_dna.functional.cmmd`.

    .. math::
        \text{CMMD} = 1000\, \text{MMD}^2_\sigma\left(\frac{x_{real}}{|x_{real}|}, \frac{x_{fake}}{|x_{fake}|}\right),
        \qquad \sigma = 10

    the squared maximum mean discrepancy, by the biased estimator and a Gaussian kernel, of the features x of images,
    spatial means of a layer (`Jayasumana et al., CVPR 2024 <https://arxiv.org/abs/2401.09603>`_). Published numbers are
    of ``feature="clip_vit_large_336", layer="projected"``, of squares cut out of images first.

    The features of all images are kept, ``4 n`` bytes an image: 30,000 images of 768 neurons take 92 MB a side, and
    four times that while the distance is computed. Processes that sync hold those of all, for a moment three times.
    The time grows with the product of the numbers of images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images, shape ``(B, 3, H, W)``; uint8, or with ``normalize=True``
      floating point in [0, 1]
    - ``real`` (:class:`bool`): whether they are real or fake

    As output of ``forward`` and ``compute`` the metric returns

    - ``cmmd`` (:class:`~torch.Tensor`): float64 scalar, without unit

    Args:
        feature: What describes the images: a name or module as :class:`DNAExtractor` takes it, or a
            :class:`DNAExtractor`, which other metrics may share.
        reset_real_features: Whether ``reset`` forgets the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Which layer, or view of one; by default the last of the extractor.
        reference: The real side, if it is known before: from :meth:`to_features`, or the path of a file that its
            ``save`` wrote. Extractor and layer are taken from it where they are not given.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import CMMD
        >>> metric = CMMD(layer="block_1")
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)

    """

    @override
    def _distance(self, real: Tensor, fake: Tensor) -> Tensor:
        return cmmd(real, fake)
