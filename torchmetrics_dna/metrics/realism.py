"""DNARealism: how close each image is to a reference, or how much closer than to the pool it comes from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist
from torchmetrics.utilities.distributed import gather_all_tensors

from torchmetrics_dna.binning.layouts import sent
from torchmetrics_dna.binning.single_rows import positions_of
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.dna.origin import identity_of
from torchmetrics_dna.metrics.sharing import ExtractorMetric
from torchmetrics_dna.metrics.state import check_agreement, digest_of
from torchmetrics_dna.statistics.nonfinite import check_scores
from torchmetrics_dna.statistics.resolve import resolve
from torchmetrics_dna.statistics.scores import POOL, Scorer, check_indices, each_once

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature


class DNARealism(ExtractorMetric):
    r"""How close each image is to a reference: dna-emd, or with a contrast the difference of two. Lower is closer.

    .. math::
        d_i(ref) = \sum_n W^n \sum_{k=0}^{B-1} |F_{ref}^n[k] - F_i^n[k]|, \qquad
        \text{realism}_i = d_i(ref) \;\text{ or }\; d_i(ref) - d_i(contrast)

    The first is as in sections 5.1 and 5.4 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_, with the cumulative
    shares F of :class:`DNAEMD`. The unit is bins. An image that is plain or low in contrast is close to every set, so
    the distance alone ranks it high. With a contrast the question is whether it is more like the reference than like
    the pool it comes from: scores below 0 say so. A contrast says nothing where pool and reference are of one kind.

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
        contrast: What else to compare images with: a DNA or a path, as for the reference; or ``"pool"``, all images
            that are scored, of all processes, each once. A pool is known when all images were seen, so until then the
            histograms of each image are kept: with the default extractor 0.4 MB an image, and with ``num_bins=100``
            0.2 MB. None for the distance to the reference alone.
        layers: Which layers to watch; by default those of the reference.
        num_bins: Fewer bins than the reference and the contrast have; see :meth:`HistogramDNA.rebin`.
        ranges: The reference's activation ranges, or the path of a file of them, if it does not know them.
        neuron_weights: The :math:`W^n`: :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If the reference or the contrast is no histogram DNA.
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
        >>> metric = DNARealism(reference=metric.reference, contrast="pool")
        >>> metric.update(torch.cat([bright[:1], dark]))
        >>> (metric.compute() < 0).tolist()  # more like the reference than like all that is scored
        [True, False, False]

    """

    plot_lower_bound: float | None = None  # a contrast goes below 0

    def __init__(
        self,
        feature: Feature | None = None,
        normalize: bool = False,
        *,
        reference: HistogramDNA | str | os.PathLike[str],
        contrast: HistogramDNA | str | os.PathLike[str] | None = None,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._pools = isinstance(contrast, str) and contrast == POOL
        given = given_dna(reference, HistogramDNA, ranges)
        given += given_dna(None if self._pools else contrast, HistogramDNA, ranges, "contrast")
        rebinned = given if num_bins is None else [dna.rebin(num_bins) for dna in given]
        resolved = resolve(feature, layers, ranges=ranges, dnas=rebinned)
        self._use_extractor(resolved.extractor, normalize)
        dnas: list[HistogramDNA] = list(resolved.dnas)  # type: ignore[arg-type]
        self.reference, self.contrast = dnas[0], POOL if self._pools else dnas[1] if len(dnas) > 1 else None
        known = self.neurons, self.extractor.name, self.extractor.weights_digest
        self.neuron_weights = resolve_weights(neuron_weights, *known)
        self._scorer = Scorer(dnas, self.extractor, self.neuron_weights, wait=False)
        self._add_states()

    def _add_states(self) -> None:
        # what scores depend on is in the names of the states: torchmetrics shares those of equal names and values
        digest = hashlib.sha256(json.dumps(self._configuration, sort_keys=True).encode()).hexdigest()[:12]
        self._scores, self._indices = f"scores_{digest}", f"indices_{digest}"
        self.add_state(self._scores, [], dist_reduce_fx="cat")
        self.add_state(self._indices, [], dist_reduce_fx="cat")
        self._rows, self._positions = f"histograms_{digest}", f"positions_{digest}"
        if self._pools:
            # scores are distances to the reference as long as there are rows, and contrasted when there are none
            self.add_state(self._rows, [], dist_reduce_fx="cat")
            self.add_state(self._positions, torch.zeros(len(self.neurons), dtype=torch.int64), dist_reduce_fx="max")
        self._read_positions: tuple[Tensor, list[int]] | None = None

    @property
    def _configuration(self) -> dict[str, Any]:
        return identity_of(self.extractor) | {
            "references": self.reference.digest,
            "contrasts": self.contrast.digest if isinstance(self.contrast, HistogramDNA) else str(self.contrast),
            "neuron weights (digest)": digest_of(self.neuron_weights),
            "values of `normalize`": self.normalize,
        }

    def update(self, imgs: Tensor, indices: Tensor | Sequence[int] | None = None) -> None:
        """Score images.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            indices: Where each image stands in the data set, shape ``(B,)``, 0 or more; always or never. A tensor on a
                device is waited for, so give them on the CPU, where data loaders make them.

        Raises:
            ValueError: If images or indices are something else, activations are not finite, or with a pool of other
                shapes than those before. Nothing is added then.

        """
        self._check(imgs)
        numbers = self._numbers(indices, len(imgs))
        parts = self._activations(imgs)
        if self._pools:
            scores = self._keep(parts)
        else:
            scores = self._scorer(parts)
            scores = scores[0] if self.contrast is None else scores[0] - scores[1]
        getattr(self, self._scores).append(scores)
        getattr(self, self._indices).append(numbers)  # on the CPU until they are read: sending them would wait

    def forward(self, imgs: Tensor, indices: Tensor | Sequence[int] | None = None) -> Tensor:
        """Score images, and give the scores of these; of all processes' batches with ``dist_sync_on_step``."""
        self.update(imgs, indices)
        whole: dict[str, list[Tensor]] = {name: getattr(self, name) for name in self._lists}
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

    @property
    def _lists(self) -> list[str]:
        """The states that are lists: an entry for each batch, which grows no more once it is there."""
        return [name for name in self._defaults if name != self._positions]

    def _in_order(self) -> Tensor:
        """The scores of the state, each image once."""
        if self._pools and getattr(self, self._rows):
            scores = self._contrasted(self._joined(self._indices))
        else:
            scores = self._joined(self._scores)
        if not len(scores):
            raise RuntimeError("At least one image is required to compute DNARealism, but got 0")
        check_scores(scores)
        return scores[each_once(self._joined(self._indices))]

    def _keep(self, parts: Parts) -> Tensor:
        """The distances of a batch to the reference; its histograms are kept."""
        if sum(map(len, getattr(self, self._rows))) != sum(map(len, getattr(self, self._scores))):
            raise RuntimeError(
                "The scores of this state were contrasted with their pool when it was synced, and no image can join it"
                " now; call `reset` first"
            )
        before, now = self._known_positions(), positions_of(parts[0])
        if before not in (None, now):
            raise ValueError(
                f"With contrast='pool', all images expected to give {before} activations for a neuron of"
                f" each layer, as the first ones do, but got {now}; resize them to one size"
            )
        scores, rows, _ = self._scorer.keep(parts)
        if before is None:
            state = sent(torch.tensor(now), self.device)
            setattr(self, self._positions, state)
            self._read_positions = state, now
        getattr(self, self._rows).append(rows)
        return scores[0]

    def _known_positions(self) -> list[int] | None:
        """Activations of each image for a neuron of each layer; None before the first. A state is read only once."""
        if not getattr(self, self._rows):
            return None
        state = getattr(self, self._positions)
        if self._read_positions is None or self._read_positions[0] is not state:
            self._read_positions = state, state.tolist()
        return self._read_positions[1]

    def _contrasted(self, indices: Tensor, first: int = 0, group: Any = None, shared: bool = False) -> Tensor:
        """This process's scores, contrasted with the pool.

        Args:
            indices: Of the images of all processes that share the pool, rank by rank.
            first: Where those of this process begin.
            group: The processes.
            shared: Whether there are others.

        """
        scores = self._joined(self._scores)
        once = torch.zeros(len(indices), dtype=torch.bool, device=self.device)
        once[each_once(indices)] = True
        parts = [rows.to(self.device) for rows in getattr(self, self._rows)]
        counts = self._scorer.empty_counts().to(self.device)
        layout = self._scorer.layout(getattr(self, self._positions).tolist())
        sizes = [len(rows) for rows in parts]
        for rows, here in zip(parts, torch.split(once[first : first + len(scores)], sizes), strict=True):
            layout.add_counts_(counts, rows if here.all() else rows[here])
        if shared:
            dist.all_reduce(counts, group=group)
        pool = [self._scorer.distances_to(counts, rows, layout) for rows in parts]
        return scores - torch.cat([scores[:0], *pool])

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Plot one value or several; see torchmetrics."""
        figure, axes = self._plot(val, ax)
        return figure, axes

    def _numbers(self, indices: Tensor | Sequence[int] | None, count: int) -> Tensor:
        """Indices as int64; -1 where none are given."""
        earlier = getattr(self, self._indices)
        if earlier and len(earlier[-1]) and bool(earlier[-1][0] < 0) != (indices is None):
            raise ValueError("Argument `indices` expected in every call or in none")
        return torch.full((count,), -1) if indices is None else check_indices(indices, count)

    def _joined(self, state: str) -> Tensor:
        """A state as one tensor; histograms one after another."""
        found = getattr(self, state)
        if isinstance(found, Tensor):
            return found
        parts = [part.to(self.device) for part in found]
        if state == self._rows:
            none = torch.zeros(0, dtype=self._scorer.layout(getattr(self, self._positions).tolist()).dtype)
            return torch.cat([none.to(self.device), *(part.flatten() for part in parts)])
        return torch.cat([self._tensor(state, []), *parts])

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        group = process_group or self.process_group
        check_agreement(self._configuration, self.device, group)
        if self._pools and dist_sync_fn is gather_all_tensors:
            # what is reduced is the pool, so that histograms of images stay where they are
            every = gather_all_tensors(self._joined(self._indices), group=group)
            before = every[: dist.get_rank(group)]
            scores = self._contrasted(torch.cat(every), sum(map(len, before)), group, shared=True)
            setattr(self, self._scores, [scores])
            setattr(self, self._rows, [])
        # also from a process that has none, which torchmetrics would leave out
        gathered = {name: dist_sync_fn(self._joined(name), group=group) for name in (self._scores, self._indices)}
        if self._pools:
            positions = dist_sync_fn(getattr(self, self._positions), group=group)
            setattr(self, self._positions, torch.stack(list(positions)).amax(0))
            if dist_sync_fn is not gather_all_tensors:
                rows = dist_sync_fn(self._joined(self._rows).int(), group=group)  # gloo knows no int16
                sizes = map(len, gathered[self._scores])
                gathered[self._rows] = [some.view(size, -1) for some, size in zip(rows, sizes, strict=True) if size]
        for name, parts in gathered.items():
            setattr(self, name, list(parts))

    def _copy_state_dict(self) -> dict[str, Any]:
        # batches that are there do not change, so what waits for `unsync` needs no copies of them
        return {name: list(found) if isinstance(found, list) else found for name, found in self.metric_state.items()}

    def state_dict(  # type: ignore[override]  # as torchmetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """As in torchmetrics, but with lists for tensors, since torch.distributed loads tensors in one length only."""
        saved: dict[str, Any] = super().state_dict(destination, prefix, keep_vars)
        for name in self._defaults:
            if prefix + name in saved:
                joined = self._joined(name)
                # a list of a million numbers would take ten times their room
                saved[prefix + name] = joined.cpu().numpy().tobytes() if name == self._rows else joined.tolist()
        return saved

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = {name: state_dict[prefix + name] for name in self._defaults if prefix + name in state_dict}
        for name, found in saved.items():
            if name == self._rows:
                dtype = self._scorer.layout(saved[self._positions]).dtype
                rows = torch.frombuffer(bytearray(found), dtype=dtype).to(self.device) if found else None
                loaded: Any = [] if rows is None else [rows.view(len(saved[self._scores]), -1)]
            else:
                loaded = self._tensor(name, found)
            state_dict[prefix + name] = [loaded] if name in (self._scores, self._indices) else loaded
            self._computed, self._update_count = None, max(1, self._update_count)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _tensor(self, state: str, values: list[float]) -> Tensor:
        dtype = torch.float64 if state == self._scores else torch.int64
        return torch.tensor(values, dtype=dtype, device=self.device)
