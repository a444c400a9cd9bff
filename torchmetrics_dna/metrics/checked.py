"""Base class that changes how torchmetrics handles states: they are checked, reduced in place, and restored.

No other module uses private parts of torchmetrics.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna.extractors.compiled import outside_graphs

Value = Tensor | dict[str, Tensor]
# Attributes that describe the states, and are restored together with them.
_STATE_ATTRIBUTES = ("_update_count", "_computed", "_is_synced", "_cache", "_apart")
_Method = TypeVar("_Method", bound="Callable[..., Any]")


def all_or_nothing(method: _Method) -> _Method:
    """Decorate a method so that the previous states are restored if it fails or is interrupted.

    The method must replace states by new ones. Changes of their elements are not undone.
    """

    @wraps(method)
    def call(self: CheckedMetric, *args: Any, **kwargs: Any) -> Any:
        before = {name: getattr(self, name) for name in (*self._defaults, *_STATE_ATTRIBUTES)}
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__.update(before)
            raise

    return cast("_Method", outside_graphs(call))


def _text_of(rows: list[Tensor]) -> str:
    """Return rows as text, for a state dict."""
    file = io.BytesIO()
    torch.save(rows, file)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _rows_of(saved: str | bytes) -> list[Tensor]:
    """Return the rows that :func:`_text_of` saved."""
    # Version 0.3.0 saved bytes.
    content = saved if isinstance(saved, bytes) else base64.b64decode(saved)
    rows: list[Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return rows


def _messages_of_all(
    message: dict[str, Any], device: torch.device, gather: Callable[..., Any], group: Any
) -> list[dict[str, Any]]:
    """Send a message of JSON types to all processes, and return the messages of all processes in order of ranks."""
    text = json.dumps(message).encode()
    sent = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(device)
    received = gather(sent, group=group)
    return [json.loads(bytes(tensor.tolist())) for tensor in received]


def _name_scalars(axes: Any, names: Sequence[str]) -> None:
    """Label scalars that torchmetrics has drawn: write their names at the horizontal axis, and remove the legend."""
    axes.get_xaxis().set_visible(True)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()


class CheckedMetric(Metric):
    """Metric whose states are reduced in place, restored after errors, and checked before they are merged.

    A subclass adds the states, and defines the methods that are declared below.
    """

    # Checks that the states can be read. It raises ValueError if they are, for example, of several networks. The
    # argument is True if the network may be run.
    _check_own: Callable[[bool], None]
    # Checks that the states of another metric have the form and the settings of this metric, or raises ValueError.
    _check_fit: Callable[[dict[str, Any]], Any]
    # Checks that other states can be added, or raises ValueError. It returns the states that are not added, but shared
    # by both metrics. The second argument is True for the states of a window of updates.
    _check_merge: Callable[[dict[str, Any], bool], Mapping[str, Any]]
    # Returns JSON-serializable values that must be equal in all processes.
    _to_agree_on: Callable[[], dict[str, Any]]
    # Reduces the states of all processes, or raises RuntimeError if the values of `_to_agree_on` differ.
    _reduce_sides: Callable[[Sequence[dict[str, Any]], Any, Any], None]
    # Returns the value of the states of one batch.
    _value_of_batch: Callable[[], Value]
    # Adds the states of earlier batches to those of the current batch.
    _add_earlier: Callable[[dict[str, Any]], None]
    # States of earlier batches, to which `update` moves them in `forward`; None outside of `forward`.
    _apart: dict[str, Any] | None = None
    # Returns the states that `reset` keeps.
    _kept_at_reset: Callable[[], Mapping[str, Any]]
    # Moves everything except the states to a device, and returns True if the states must be moved, too.
    _move_network: Callable[[torch.device], bool]
    # Returns a state, by its name, on its device.
    _on_its_device: Callable[[str, Any], Any]

    # States

    def _add_large_state(self, name: str, state: Any, reduction: Any) -> None:
        """Add a state. To save memory, its default is an expanded view of a single number."""
        self.add_state(name, state, dist_reduce_fx=reduction)
        if isinstance(state, Tensor):
            self._defaults[name] = state[:1].clone().expand(state.shape)

    @all_or_nothing
    def forward(self, *args: Any, **kwargs: Any) -> Value:
        """Add images like ``update``, and return the value of this batch alone.

        For a distance between real and fake images, the batch is compared with all images so far of the other set.

        Returns:
            A value like that of ``compute``. It is NaN if there are too few images for a distance.

        Raises:
            ValueError: As for ``update``. No image is added then.

        """
        if self._is_synced:
            raise TorchMetricsUserError(
                "The Metric shouldn't be synced when performing ``forward``. HINT: Did you forget to call ``unsync`` ?."
            )
        earlier: dict[str, Any] = {}
        self._apart = earlier
        self.update(*args, **kwargs)
        self._apart = None
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step, runs=False):
            value = self._value_of_batch()
        self._add_earlier(earlier)
        self._computed = None
        # Wrappers in torchmetrics read this attribute.
        self._forward_cache = cast("Any", value)
        return value

    @all_or_nothing
    def reset(self) -> None:
        """Clear all images. With ``reset_real_features=False``, real images are kept.

        Real images are cleared, too, if an update was interrupted while it added them.
        """
        kept_states = self._kept_at_reset()
        for name, default in self._defaults.items():
            # torchmetrics would clear lists in place, but a wrapper or a copy may also use them.
            if isinstance(default, list):
                setattr(self, name, [])
        super().reset()
        self.__dict__.update(kept_states)

    def plot(
        self,
        val: Tensor | Sequence[Tensor] | dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None,
        ax: Any = None,
    ) -> tuple[Any, Any]:
        """Plot one value or several values.

        If a value is a dict of scalars, such as one per layer, their names are written at the horizontal axis. If a
        metric keeps folds of images, a line marks the mean distance of two samples of one distribution of this size.

        Args:
            val: A value of ``forward`` or ``compute``, or a list of them; by default ``compute`` is called.
            ax: Matplotlib axes to draw in; by default new ones.

        Returns:
            Figure and axes.

        Raises:
            ModuleNotFoundError: If matplotlib is missing.

        """
        value = self.compute() if val is None else val
        figure, axes = self._plot(value, ax)
        if isinstance(value, dict) and all(part.numel() == 1 for part in value.values()):
            _name_scalars(axes, list(value))
            if ax is None:
                # Names at the axis take more room than numbers.
                figure.set_layout_engine("constrained")
        self._finish(axes)
        return figure, axes

    def _finish(self, axes: Any) -> None:
        """Add details to the axes of a plot, such as a label. A subclass may override this method."""

    def _whole(self) -> AbstractContextManager[None]:
        """Return a context in which the states are reduced over all processes."""
        syncs = self._to_sync and not self._is_synced
        return self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=syncs, should_unsync=syncs)

    @contextmanager
    def sync_context(self, *args: Any, should_unsync: bool = True, runs: bool = True, **kwargs: Any) -> Iterator[None]:
        """Sync like torchmetrics, and check that all images were counted with the same weights.

        The local states are restored at the end, also after an error. The network is run for the check if ``runs`` is
        True.
        """
        self.sync(*args, **kwargs)
        cache = self._cache
        try:
            # If there was a sync, it has run the network already.
            self._check_own(runs and not self._is_synced)
            yield
        finally:
            # After an interrupt, this may run late, when the traceback is collected, and then during another sync.
            is_same_sync = self._is_synced and self._cache is cache
            self.unsync(should_unsync=is_same_sync and should_unsync)

    def _copy_state_dict(self) -> dict[str, Any]:
        """Return the states themselves. No copy is necessary, because a sync replaces states and changes none."""
        return self.metric_state

    @all_or_nothing
    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        """Reduce the states of all processes.

        Raises:
            RuntimeError: If the metrics of the processes differ, or the states of one process can't be read.

        """
        group = process_group or self.process_group
        message = {"error": ""}
        try:
            message |= self._to_agree_on()
        except ValueError as err:
            # The other processes wait for this one, so the error is sent to them.
            message["error"] = str(err)
        messages = _messages_of_all(message, self.device, dist_sync_fn, group)
        for rank, message_of_rank in enumerate(messages):
            if message_of_rank["error"]:
                raise RuntimeError(f"{message_of_rank['error']} (process {rank})")
        custom_gather = None if dist_sync_fn is gather_all_tensors else dist_sync_fn
        self._reduce_sides(messages, group, custom_gather)
        # This is set together with the states, so that after an interrupt of `sync` both are new or both are old.
        self._is_synced = True

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        """Add the states of an update in a window of updates, and check them, which torchmetrics would not do."""
        self._merge(incoming_state, in_window=True)

    @all_or_nothing
    def _merge(self, incoming: dict[str, Any], in_window: bool = False) -> None:
        """Add other states. If images have an order, their images come last.

        Raises:
            ValueError: If a state is missing, or has other weights or settings.

        """
        common = self._check_merge(incoming, in_window)
        own_states = self.metric_state
        # torchmetrics puts the images of the argument before the images of the metric. So the other states become the
        # states of the metric, and its own states become the argument.
        for name in own_states:
            setattr(self, name, self._on_its_device(name, incoming[name]))
        super()._reduce_states(own_states)
        self.__dict__.update(common)
        self._computed = None
        self._update_count += 1

    def state_dict(  # type: ignore[override]  # as torchmetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return the states like torchmetrics, but lists of rows as text.

        Distributed checkpoints can load only tensors of equal length. Before torch 2.6, ``torch.load`` with
        ``weights_only=True`` accepts no bytes. Both accept text.
        """
        states: dict[str, Any] = super().state_dict(destination, prefix, keep_vars)
        for name in self._defaults:
            if isinstance(states.get(prefix + name), list):
                states[prefix + name] = _text_of(states[prefix + name])
        return states

    @all_or_nothing
    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load copies of all states of a state dict, or none.

        torchmetrics would load the states of any metric without a check, and later updates would change the tensors of
        the dict.
        """
        _, _, missing_keys, _, error_msgs = args
        saved = {name: state_dict.pop(prefix + name) for name in self._defaults if prefix + name in state_dict}
        super()._load_from_state_dict(state_dict, prefix, *args)
        missing = self._missing_states(saved)
        missing_keys += [prefix + name for name in missing]
        if missing or not saved:
            return
        states = self._copies_of(saved)
        try:
            self._check_fit(states)
        except ValueError as err:
            error_msgs.append(f"The state {prefix!r} is of another metric: {err}")
            return
        for name, state in states.items():
            setattr(self, name, self._on_its_device(name, state))
        self._computed = None
        self._update_count = max(1, self._update_count)

    def _missing_states(self, saved: Mapping[str, Any]) -> list[str]:
        """Return the names of the states that a state dict lacks.

        A state dict has all states, or only those that are persistent, which may be none.
        """
        missing = []
        for name in self._defaults:
            is_expected = bool(saved) or self._persistent[name]
            if is_expected and name not in saved:
                missing.append(name)
        return missing

    def _copies_of(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of the states of a state dict, in which lists of rows are saved as text."""
        states: dict[str, Any] = {}
        for name, state in saved.items():
            is_list = isinstance(self._defaults[name], list)
            states[name] = _rows_of(state) if is_list else state.clone()
        return states

    # Functions that torchmetrics wraps

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``update`` like torchmetrics, and keep it out of the graph of a compiled loop."""
        return outside_graphs(super()._wrap_update(update))

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``compute`` like torchmetrics, but restore the states after an error.

        With several processes, a cached value is never returned.
        """
        wrapped = super()._wrap_compute(compute)

        @wraps(compute)
        def call(self: CheckedMetric, *args: Any, **kwargs: Any) -> Any:
            # If another process has received images since the last call, it computes again. Its sync waits for this
            # process, so this process must compute again, too.
            if self._to_sync and not self._is_synced and self.distributed_available_fn():
                self._computed = None
            return wrapped(*args, **kwargs)

        return wraps(compute)(partial(all_or_nothing(call), self))

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = "") -> Self:
        """Move the metric to another device.

        A change of precision is ignored, because counts and digests depend on the dtypes of states and network. To a
        device without float64, only the network is moved. Its activations are then counted on the CPU.
        """
        device = fn(torch.zeros(0, device=self.device)).device
        if not self._move_network(device):
            return self
        super()._apply(lambda tensor: tensor.to(device), exclude_state=[*self._defaults, *exclude_state])
        for name, state in self.metric_state.items():
            setattr(self, name, self._on_its_device(name, state))
        return self
