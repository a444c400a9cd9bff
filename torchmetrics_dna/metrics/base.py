"""Base class of all metrics: sides of images, each with a state of one statistic."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import apply_to_collection
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.identity import check_same
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.extractors.sharing import share_in_collections
from torchmetrics_dna.images.tensors import check_images, lacks_float64
from torchmetrics_dna.metrics.state import check_agreement, fingerprint, loaded, outside_graphs, saved
from torchmetrics_dna.statistics.folds import FoldedStatistic
from torchmetrics_dna.statistics.grouped import ClassedStatistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import State, Statistic

share_in_collections()
Value = Tensor | dict[str, Tensor]
SEEN = "seen"  # the side of a metric without real and fake images


class ImageMetric(Metric):
    """Base class of all metrics: accumulates activations in states of a statistic, one for each side.

    Sides are ``"real"`` and ``"fake"``, only ``"fake"`` if the real side is a ``reference``, or ``"seen"``.
    States are the statistic's tensors for each side, named ``real_counts`` and the like, and ``configuration``: a
    fingerprint of the values that must be equal to merge or reduce states (its first half) or to share them in a
    compute group (all of it).

    A subclass defines :meth:`_value`, and ``update`` if it takes more or less than images and their side. The private
    members of torchmetrics' ``Metric`` that are overridden or used here are listed, with reasons, in
    ``tests/metrics/test_hooks.py``.
    """

    higher_is_better: bool | None = False
    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float | None = 0.0
    feature_network: str = "extractor"
    extractor: DNAExtractor
    configuration: Tensor

    def __init__(
        self,
        extractor: DNAExtractor,
        statistic: Statistic,
        sides: Sequence[str],
        normalize: bool,
        reset_real_features: bool = True,
        reference: DNA | Features | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("reset_real_features", reset_real_features), ("normalize", normalize)):
            if not isinstance(value, bool):
                raise ValueError(f"Argument `{name}` expected to be a bool")
        self.normalize, self.reset_real_features, self.reference = normalize, reset_real_features, reference
        self._statistic, self._sides, self._names = statistic, tuple(sides), tuple(statistic.fields)
        for side in sides:
            for name, state in statistic.empty("cpu").items():
                # `add_state` and `reset` copy the default: one row, not a second state
                default = state[:1].clone() if isinstance(state, Tensor) else state
                self.add_state(f"{side}_{name}", default)
                if isinstance(default, Tensor):
                    setattr(self, f"{side}_{name}", state)
                    self._defaults[f"{side}_{name}"] = default.expand(state.shape)
        options = {} if SEEN in sides else {"reset_real_features": reset_real_features}
        self.add_state("configuration", torch.cat([fingerprint(self._mergeable), fingerprint(options)]))
        self.extractor = extractor

    @property
    def neurons(self) -> Neurons:
        """The neurons, in the order of per-neuron values and weights."""
        return self._statistic.neurons

    @property
    def _mergeable(self) -> dict[str, Any]:
        """Values that must be equal for states to be merged."""
        values = self._statistic.configuration | {"values of `normalize`": self.normalize}
        if SEEN not in self._sides:
            values["references"] = "none" if self.reference is None else self.reference.digest
        return values

    @property
    def _settings(self) -> dict[str, Any]:
        """Values beside the states that the result depends on, which must be equal in all processes."""
        return {}

    def _value(self) -> Value:
        """Return the value of the states; RuntimeError if a side has too few images."""
        raise NotImplementedError

    def _value_or_nan(self) -> Value:
        """Return the value, with NaN in place of an error if a side has too few images."""
        return self._value()

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            real: Whether they are real images.

        Raises:
            ValueError: If images or ``real`` are something else, or activations are not finite. Nothing is added then.

        """
        side = self._side_of(real)
        self._check(imgs)
        self._add(side, imgs)

    def compute(self) -> Value:
        """Compute the value over all images; see the class.

        Raises:
            RuntimeError: If there are too few images.

        """
        return self._value()

    def forward(self, *args: Any, **kwargs: Any) -> Value:
        """Add images like ``update``, and return the value of this batch alone.

        A batch of one side is compared with the other side as accumulated so far.

        Returns:
            As ``compute``; NaN if the batch or the other side has too few images for a distance.

        Raises:
            ValueError: As ``update``; nothing is added then.

        """
        if self._is_synced:
            raise TorchMetricsUserError(
                "The Metric shouldn't be synced when performing ``forward``. HINT: Did you forget to call ``unsync`` ?."
            )
        arguments = inspect.signature(self.update).bind(*args, **kwargs).arguments
        side = self._side_of(arguments["real"]) if "real" in arguments else SEEN
        before, count = self._state(side), self._update_count
        self._set_state(side, self._statistic.empty(self.device))
        try:
            self.update(*args, **kwargs)
            with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step):
                value = self._value_or_nan()
            # into the batch's tensors: those before may be shared with other metrics of a compute group
            self._statistic.put_before_(self._state(side), before)
        except BaseException:
            self._set_state(side, before)
            self._update_count = count
            raise
        self._computed = None
        self._forward_cache = value  # type: ignore[assignment]
        return value

    def reset(self) -> None:
        """Clear all images, or with ``reset_real_features=False`` all but the real ones."""
        real_state = self._state("real") if not self.reset_real_features and "real" in self._sides else {}
        for name, default in self._defaults.items():
            if isinstance(default, list):
                setattr(self, name, [])  # torchmetrics clears lists in place, but a wrapper or a copy may hold them
        super().reset()
        self._set_state("real", real_state)

    def plot(
        self,
        val: Tensor | Sequence[Tensor] | dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None,
        ax: Any = None,
    ) -> tuple[Any, Any]:
        """Plot one value or several.

        Args:
            val: A value of ``forward`` or ``compute``, or a list of them; by default ``compute`` is called.
            ax: Matplotlib axes to draw in; by default new ones.

        Returns:
            Figure and axes.

        Raises:
            ModuleNotFoundError: If matplotlib is missing.

        """
        figure, axes = self._plot(val, ax)
        return figure, axes

    # Adding images

    def _side_of(self, real: bool) -> str:
        """Return the name of the side; ValueError if ``real`` is no bool, or the real side is a reference."""
        if not isinstance(real, bool):
            raise ValueError(f"Argument `real` expected to be a bool, but got {real!r}")
        if real and self.reference is not None:
            raise ValueError("The real side is the given `reference`, so images can only be added with `real=False`")
        return "real" if real else "fake"

    def _check(self, imgs: Tensor) -> None:
        """Check images, but not their values; values out of range make activations NaN.

        Raises:
            ValueError: If their dtype or shape is wrong; ``normalize`` decides on the dtype.
            RuntimeError: If a CUDA graph captures work of the host, which a replay would skip.

        """
        started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if started and torch.cuda.is_current_stream_capturing():
            keeps_rows = any(isinstance(default, list) for default in self._defaults.values())
            if keeps_rows or isinstance(self._statistic, (FoldedStatistic, ClassedStatistic)):
                raise RuntimeError(
                    f"A CUDA graph can't capture `update` of this {type(self).__name__}, in which the host takes part:"
                    " it keeps rows, folds or classes of images; call `update` outside of the graph"
                )
        check_images(imgs, self.normalize, self.extractor.allowed_channels, values=False)

    def _add(self, side: str, imgs: Tensor, keys: Tensor | None = None) -> None:
        """Add images to a side, without a device sync; on the CPU ValueError, and nothing added, if not finite.

        Args:
            side: Name of the side.
            imgs: Shape ``(B, 3, H, W)``.
            keys: The fold, class or index of each image, shape ``(B,)``, int64, on the CPU, if the statistic takes any.

        """
        parts = self.extractor.in_parts(imgs, wait=False)
        if lacks_float64(imgs.device):  # the network runs on the device, accumulation on the CPU
            parts = [{layer: values.to(self.device) for layer, values in part.items()} for part in parts]
        if keys is None:
            self._statistic.add_(self._state(side), parts, len(imgs))
        else:
            self._statistic.add_keyed_(self._state(side), parts, keys)

    # States

    def _state(self, side: str) -> State:
        return {name: getattr(self, f"{side}_{name}") for name in self._names}

    def _set_state(self, side: str, state: State) -> None:
        for name, tensor in state.items():
            setattr(self, f"{side}_{name}", tensor)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Hold the states reduced over all processes inside this context."""
        should_sync = self._to_sync and not self._is_synced
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=should_sync, should_unsync=should_sync):
            yield

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric, or a dict of its states, to this one.

        Raises:
            ValueError: If it is neither, or of another extractor, layers, bins, bounds, reference or ``normalize``.

        """
        if isinstance(incoming_state, ImageMetric):
            check_same("Can't merge the states of these metrics", self._mergeable, incoming_state._mergeable)
            incoming_state = incoming_state.metric_state
        if not isinstance(incoming_state, dict):
            raise ValueError(
                f"Expected incoming state to be a dict or an instance of {type(self).__name__},"
                f" but got {type(incoming_state)}"
            )
        missing = [name for name in self._defaults if name not in incoming_state]
        if missing:
            raise ValueError(f"Expected state variable {missing[0]} to be present in incoming state")
        if not self._can_merge(incoming_state["configuration"]):
            raise ValueError(
                "Can't merge the state of a metric with another extractor, layers, bins, bounds or `normalize`"
            )
        self._merge(incoming_state)
        self._computed = None
        self._update_count += 1

    def _can_merge(self, configuration: Tensor) -> bool:
        half = len(self.configuration) // 2
        return torch.equal(configuration[:half].to(self.configuration.device), self.configuration[:half])

    def _merge(self, states: dict[str, Any]) -> None:
        for side in self._sides:
            self._statistic.merge_(self._state(side), {name: states[f"{side}_{name}"] for name in self._names})

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Reduce the states over all processes, until ``unsync`` restores the local ones; arguments as in torchmetrics.

        A single copy of the states is reduced in place, for any number of processes, or gathered by ``dist_sync_fn``.
        After an error the local states are unchanged.

        Raises:
            TorchMetricsUserError: If the metric is synced already.
            RuntimeError: If the metrics of the processes differ.

        """
        if self._is_synced and should_sync:
            raise TorchMetricsUserError("The Metric has already been synced.")
        is_distributed = distributed_available or self.distributed_available_fn
        if not should_sync or not is_distributed():
            return
        group = process_group or self.process_group
        if dist_sync_fn in (None, gather_all_tensors):
            check_agreement(self._mergeable | self._settings, self.device, group)
            states = {side: self._reduced(side, group) for side in self._sides}
        else:
            configurations = dist_sync_fn(self.configuration, group=group)
            if not all(self._can_merge(configuration) for configuration in configurations):
                raise RuntimeError("Processes hold metrics that can't be reduced together")
            states = {side: self._gathered(side, dist_sync_fn, group) for side in self._sides}
        self._cache = self.metric_state
        for side, state in states.items():
            self._set_state(side, state)
        self._is_synced = True

    def _reduced(self, side: str, group: Any) -> State:
        """Return a copy of a state, reduced over processes; lists are copied shallowly, since rows never change."""
        copy: Any = {
            name: list(value) if isinstance(value, list) else value.clone() for name, value in self._state(side).items()
        }
        self._statistic.reduce_(copy, group)
        return copy  # type: ignore[no-any-return]

    def _gathered(self, side: str, dist_sync_fn: Callable[..., Any], group: Any) -> State:
        """Return the joined state of all processes, by a custom function that gathers a tensor."""
        packed = self._statistic.packed(self._state(side))
        gathered = {name: dist_sync_fn(tensor.to(self.device), group=group) for name, tensor in packed.items()}
        ranks = [dict(zip(gathered, tensors, strict=True)) for tensors in zip(*gathered.values(), strict=True)]
        return self._statistic.joined([self._statistic.unpacked(rank) for rank in ranks], self.device)

    @contextmanager
    def sync_context(self, *args: Any, should_unsync: bool = True, **kwargs: Any) -> Iterator[None]:
        """Sync like :meth:`sync`, and restore the local states at the end, also after an error."""
        self.sync(*args, **kwargs)
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced and should_unsync)

    def state_dict(  # type: ignore[override]  # as torchmetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return states like torchmetrics, but rows as bytes, since torch.distributed loads tensors of equal length."""
        states: dict[str, Any] = super().state_dict(destination, prefix, keep_vars)
        for side in self._sides:
            for name, value in saved(self._statistic, self._state(side)).items():
                if f"{prefix}{side}_{name}" in states:
                    states[f"{prefix}{side}_{name}"] = value
        return states

    # Hooks of torchmetrics

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = torch.inference_mode()(super()._wrap_update(update))

        @wraps(update)
        def keep_if_it_fails(*args: Any, **kwargs: Any) -> None:
            # torchmetrics counts the call and drops the cached value before the input is checked
            before = self._update_count, self._computed
            try:
                wrapped(*args, **kwargs)
            except BaseException:
                self._update_count, self._computed = before
                raise

        return outside_graphs(keep_if_it_fails)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        return outside_graphs(super()._wrap_compute(compute))

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        if not self.reset_real_features and "real" in self._sides:
            raise ValueError(
                "A window of updates can't go with `reset_real_features=False`, since each would hold the real images"
                " again; give `reset_real_features=True`, or the real side as `reference`"
            )
        self._merge(incoming_state)

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> ImageMetric:
        if lacks_float64(fn(torch.zeros(0)).device):
            return self
        values = self._computed, self._forward_cache
        super()._apply(fn, exclude_state=[*self._defaults, *exclude_state])
        for name in self._defaults:
            setattr(self, name, self._here(getattr(self, name)))
        self._cache = self._here(self._cache)
        self._computed, self._forward_cache = self._here(values)
        if isinstance(self.reference, DNA):
            self.reference = self.reference.to(self.device)
        return self

    def _here(self, value: Any) -> Any:
        """Move all tensors of a collection to the metric's device, keeping their dtypes."""
        return apply_to_collection(value, Tensor, lambda tensor: tensor.to(self.device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        *_, error_msgs = args
        names = [name for name in self._defaults if prefix + name in state_dict]
        if "configuration" in names and not self._can_merge(state_dict[f"{prefix}configuration"]):
            error_msgs.append(
                f"The state {prefix!r} is of a metric with another extractor, layers, bins, bounds or `normalize`"
            )
            for name in names:
                del state_dict[prefix + name]
            names = []
        super()._load_from_state_dict(state_dict, prefix, *args)
        for side in self._sides:
            if all(f"{side}_{name}" in names for name in self._names):
                self._set_state(side, self._here(loaded(self._statistic, self._state(side))))
        if names:
            self.configuration = self._here(self.configuration)
            self._computed = None
            self._update_count = max(1, self._update_count)

    def __setattr__(self, name: str, value: Any) -> None:
        # torchmetrics' FeatureShare would put another metric's network here; the extractor shares its passes itself
        if name == self.feature_network and not isinstance(value, DNAExtractor):
            return
        super().__setattr__(name, value)
