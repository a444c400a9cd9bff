"""DNARealism: how close each image is to a reference."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.dna.origin import identity_of
from torchmetrics_dna.images import check_images
from torchmetrics_dna.metrics.sharing import ExtractorMetric
from torchmetrics_dna.metrics.state import check_agreement, digest_of
from torchmetrics_dna.tally.resolve import resolve
from torchmetrics_dna.tally.scores import Scorer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.tally.resolve import Feature


class DNARealism(ExtractorMetric):
    r"""dna-emd of each image alone to a reference: the lower, the closer to the reference's images.

    .. math::
        \text{realism}_i = \sum_n W^n \sum_{k=0}^{B-1} |F_{ref}^n[k] - F_i^n[k]|

    as in sections 5.1 and 5.4 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_, with the cumulative shares F of
    :class:`DNAEMD`. The unit is bins.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images, shape ``(B, 3, H, W)``; uint8, or with ``normalize=True``
      floating point in [0, 1]
    - ``indices`` (:class:`~torch.Tensor`, optional): where each image stands in the data set, shape ``(B,)``

    As output of ``forward`` (for its batch) and ``compute`` (for all images) the metric returns

    - ``dna_realism`` (:class:`~torch.Tensor`): float64, one score per image. In the order of their indices, each image
      once, so that what a distributed sampler repeats does not count; without indices as they came, rank by rank.

    Args:
        feature: What describes the images, see :class:`DNAExtractor`; by default what the reference was made with.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        reference: A :class:`HistogramDNA`, or the path of one as :func:`load_dna` takes it.
        layers: Which layers to watch; by default those of the reference.
        num_bins: Fewer bins than the reference has; see :meth:`HistogramDNA.rebin`.
        ranges: The reference's activation ranges, or the path of a file of them, if it does not know them.
        neuron_weights: The :math:`W^n`: :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If the reference is no histogram DNA.
        ValueError: If an argument has a wrong value, or what is given does not fit the reference.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNARealism, make_dna
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric = DNARealism(reference=make_dna(bright, layers=["block_0", "head"]))
        >>> metric.update(torch.cat([bright[:1], dark]))
        >>> bright_one, *dark_ones = metric.compute()
        >>> all(bright_one < dark_one for dark_one in dark_ones)
        True

    """

    def __init__(
        self,
        feature: Feature | None = None,
        normalize: bool = False,
        *,
        reference: HistogramDNA | str | os.PathLike[str],
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        (given,) = given_dna(reference, HistogramDNA, ranges)
        rebinned = given if num_bins is None else given.rebin(num_bins)
        resolved = resolve(feature, layers, ranges=ranges, dnas=[rebinned])
        self._use_extractor(resolved.extractor, normalize)
        self.reference: HistogramDNA = resolved.dnas[0]  # type: ignore[assignment]
        known = self.neurons, self.extractor.name, self.extractor.weights_digest
        self.neuron_weights = resolve_weights(neuron_weights, *known)
        self._scorer = Scorer(self.reference, self.extractor, self.neuron_weights)
        # what scores depend on is in the names of the states: torchmetrics shares those of equal names and values
        digest = hashlib.sha256(json.dumps(self._configuration, sort_keys=True).encode()).hexdigest()[:12]
        self._scores, self._indices = f"scores_{digest}", f"indices_{digest}"
        self.add_state(self._scores, [], dist_reduce_fx="cat")
        self.add_state(self._indices, [], dist_reduce_fx="cat")

    @property
    def _configuration(self) -> dict[str, Any]:
        return identity_of(self.extractor) | {
            "references": self.reference.digest,
            "neuron weights (digest)": digest_of(self.neuron_weights),
            "values of `normalize`": self.normalize,
        }

    def update(self, imgs: Tensor, indices: Tensor | Sequence[int] | None = None) -> None:
        """Score images.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            indices: Where each image stands in the data set, shape ``(B,)``, 0 or more; always or never.

        Raises:
            ValueError: If images or indices are something else, or activations are not finite. Nothing is added then.

        """
        check_images(imgs, self.normalize)
        numbers = self._numbers(indices, len(imgs))
        scores = self._scorer(self.extractor.in_parts(imgs))
        getattr(self, self._scores).append(scores)
        getattr(self, self._indices).append(numbers.to(scores.device))

    def forward(self, imgs: Tensor, indices: Tensor | Sequence[int] | None = None) -> Tensor:
        """Score images, and give the scores of these; of all processes' batches with ``dist_sync_on_step``."""
        self.update(imgs, indices)
        whole: dict[str, list[Tensor]] = {name: getattr(self, name) for name in self._defaults}
        try:
            for name, parts in whole.items():
                setattr(self, name, parts[-1:])
            with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step):
                scores = self._in_order()
        finally:
            for name, parts in whole.items():
                setattr(self, name, parts)
        self._forward_cache = scores  # type: ignore[assignment]
        return scores

    def compute(self) -> Tensor:
        """The scores of all images, float64, shape ``(images,)``.

        Raises:
            RuntimeError: If there are no images.

        """
        self.extractor.release()
        return self._in_order()

    def _in_order(self) -> Tensor:
        """The scores of the state, each image once."""
        scores, indices = self._joined(self._scores), self._joined(self._indices)
        if not len(scores):
            raise RuntimeError("At least one image is required to compute DNARealism, but got 0")
        if (indices < 0).any():
            return scores
        order = indices.argsort(stable=True)
        ordered = indices[order]
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return scores[order[first]]

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Plot one value or several; see torchmetrics."""
        figure, axes = self._plot(val, ax)
        return figure, axes

    def _numbers(self, indices: Tensor | Sequence[int] | None, count: int) -> Tensor:
        """Indices as int64; -1 where none are given."""
        earlier = getattr(self, self._indices)
        if earlier and len(earlier[-1]) and bool(earlier[-1][0] < 0) != (indices is None):
            raise ValueError("Argument `indices` expected in every call or in none")
        if indices is None:
            return torch.full((count,), -1)
        numbers = torch.as_tensor(indices)
        if numbers.shape != (count,) or numbers.is_floating_point() or (numbers < 0).any():
            raise ValueError(
                f"Argument `indices` expected to be {count} integers of 0 or more, one for each image, but got"
                f" {numbers.dtype} of shape {tuple(numbers.shape)}"
            )
        return numbers.long()

    def _joined(self, state: str) -> Tensor:
        parts: list[Tensor] = getattr(self, state)
        return torch.cat([self._tensor(state, []), *(part.to(self.device) for part in parts)])

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        group = process_group or self.process_group
        check_agreement(self._configuration, self.device, group)
        # also from a process that has none, which torchmetrics would leave out
        gathered = {name: dist_sync_fn(self._joined(name), group=group) for name in self._defaults}
        for name, parts in gathered.items():
            setattr(self, name, list(parts))

    def state_dict(  # type: ignore[override]  # as torchmetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """As in torchmetrics, but with lists for tensors, since torch.distributed loads tensors in one length only."""
        saved: dict[str, Any] = super().state_dict(destination, prefix, keep_vars)
        saved.update({prefix + name: self._joined(name).tolist() for name in self._defaults if prefix + name in saved})
        return saved

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self._defaults:
            if prefix + name in state_dict:
                state_dict[prefix + name] = [self._tensor(name, state_dict[prefix + name])]
                self._computed, self._update_count = None, max(1, self._update_count)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _tensor(self, state: str, values: list[float]) -> Tensor:
        dtype = torch.float64 if state == self._scores else torch.int64
        return torch.tensor(values, dtype=dtype, device=self.device)
