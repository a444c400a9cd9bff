"""Metrics whose states are statistics: register, move, load, merge and reduce them over processes."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist
from torchmetrics import Metric
from torchmetrics.utilities.data import apply_to_collection
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna.dna.identity import check_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torchmetrics_dna.statistics import State, Statistic


_V = TypeVar("_V")


class StatisticMetric(Metric):
    """A metric whose states are the sides of one statistic.

    The states are the statistic's tensors for each side, named ``real_counts`` and the like, and ``configuration``: a
    fingerprint of all that must be equal for states to be merged or reduced (its first half) or to be shared in a
    compute group (all of it).
    """

    configuration: Tensor
    normalize: bool
    _statistic: Statistic

    def _accumulate_by(self, statistic: Statistic, sides: Sequence[str], options: dict[str, Any]) -> None:
        """Register the states; ``options`` are what else keeps metrics from sharing states."""
        self._statistic = statistic
        self._sides = tuple(sides)
        for side in sides:
            for name, state in statistic.empty("cpu").items():
                # `add_state` and `reset` copy the default: one row, not a second state
                default = state[:1].clone() if isinstance(state, Tensor) else state
                self.add_state(f"{side}_{name}", default)
                if isinstance(default, Tensor):
                    setattr(self, f"{side}_{name}", state)
                    self._defaults[f"{side}_{name}"] = default.expand(state.shape)
        self.add_state("configuration", torch.cat([fingerprint(self._mergeable), fingerprint(options)]))

    @property
    def _mergeable(self) -> dict[str, Any]:
        """What must be equal for states to be merged."""
        return self._statistic.configuration | {"values of `normalize`": self.normalize}

    @property
    def _agreed(self) -> dict[str, Any]:
        """What must be equal for all processes to get one value."""
        return self._mergeable

    def _side(self, side: str) -> State:
        return {name: getattr(self, f"{side}_{name}") for name in self._statistic.fields}

    def _set_side(self, side: str, tensors: State) -> None:
        for name, tensor in tensors.items():
            setattr(self, f"{side}_{name}", tensor)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric, or a dict of its states, to this one.

        Raises:
            ValueError: If it is neither, or of another extractor, layers, bins, bounds, reference or ``normalize``.

        """
        if isinstance(incoming_state, StatisticMetric):
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
        StatisticMetric._reduce_states(self, incoming_state)
        self._computed = None
        self._update_count += 1

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        """Add a state; torchmetrics' ``Running`` calls it for each update of its window."""
        for side in self._sides:
            self._statistic.merge_(
                self._side(side), {name: incoming_state[f"{side}_{name}"] for name in self._statistic.fields}
            )

    def _can_merge(self, configuration: Tensor) -> bool:
        half = len(self.configuration) // 2
        return torch.equal(configuration[:half].to(self.configuration.device), self.configuration[:half])

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """The state over all processes."""
        if not self._to_sync or self._is_synced:
            yield
            return
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            yield

    def _forward(self, side: str, update: Callable[[], None], value: Callable[[], _V]) -> _V:
        """Add a batch to a side by ``update``, and give the ``value`` of a state whose side is that batch alone."""
        if self._is_synced:
            raise TorchMetricsUserError(
                "The Metric shouldn't be synced when performing ``forward``. HINT: Did you forget to call ``unsync`` ?."
            )
        before, count = self._side(side), self._update_count
        self._set_side(side, self._statistic.empty(self.device))
        try:
            update()
            with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step):
                found = value()
        except BaseException:
            self._set_side(side, before)
            self._update_count = count
            raise
        # into the batch's tensors: those before may be shared with other metrics of a compute group
        self._statistic.put_before_(self._side(side), before)
        self._computed = None
        self._forward_cache = found  # type: ignore[assignment]
        return found

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        group = process_group or self.process_group
        if dist_sync_fn is not gather_all_tensors:
            self._sync_gathered(dist_sync_fn, group)
            return
        check_agreement(self._agreed, self.device, group)
        # `sync` has put a copy of the states aside. That copy is reduced in place, and the states themselves, which a
        # compute group may share, wait in its place for `unsync`: one copy in all, however many processes.
        cache = cast("dict[str, Any]", self._cache)
        for side in self._sides:
            waiting = self._side(side)
            reduced = {name: cache[f"{side}_{name}"] for name in waiting}
            self._statistic.reduce_(reduced, group)
            self._set_side(side, reduced)
            cache |= {f"{side}_{name}": tensor for name, tensor in waiting.items()}

    def _sync_gathered(self, dist_sync_fn: Callable[..., Any], group: Any) -> None:
        """Sync by a function of the user's, which gives a list of all processes' tensors."""
        gathered = {name: dist_sync_fn(self._gatherable(name), group=group) for name in self._defaults}
        if not all(self._can_merge(configuration) for configuration in gathered["configuration"]):
            raise RuntimeError("Processes hold metrics that can't be reduced together")
        for side in self._sides:
            of_ranks = zip(*(gathered[f"{side}_{name}"] for name in self._statistic.fields), strict=True)
            shares = [dict(zip(self._statistic.fields, tensors, strict=True)) for tensors in of_ranks]
            self._set_side(side, self._statistic.joined(shares, self.device))

    def _gatherable(self, state: str) -> Tensor:
        """A state as one tensor."""
        found: Tensor = getattr(self, state)
        return found

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_update(update)

        def careful(*args: Any, **kwargs: Any) -> None:
            # torchmetrics counts the call and drops the cached value before it knows whether the input is good
            before = self._update_count, self._computed
            try:
                wrapped(*args, **kwargs)
            except BaseException:
                self._update_count, self._computed = before
                raise

        return careful

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> StatisticMetric:
        values = self._computed, self._forward_cache
        super()._apply(fn, exclude_state=[*self._defaults, *exclude_state])
        # states, defaults and values follow devices, but keep their precision: counts must stay integers
        for name in self._defaults:
            setattr(self, name, self._here(getattr(self, name)))
        if self._cache is not None:
            self._cache = self._here(self._cache)
        self._computed, self._forward_cache = self._here(values)
        return self

    def _here(self, value: Any) -> Any:
        """All tensors of a collection on the metric's device."""
        return apply_to_collection(value, Tensor, lambda tensor: tensor.to(self.device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        error_msgs = args[-1]
        configuration = state_dict.get(f"{prefix}configuration")
        if configuration is not None and not self._can_merge(configuration):
            error_msgs.append(
                f"The state {prefix!r} is of a metric with another extractor, layers, bins, bounds or `normalize`"
            )
            for name in self._defaults:
                state_dict.pop(prefix + name, None)
        loaded = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in loaded:
            # a copy, or counting would go on in the checkpoint
            setattr(self, name, self._here(apply_to_collection(getattr(self, name), Tensor, _copied)))
        if loaded:
            self._computed = None
            self._update_count = max(1, self._update_count)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def fingerprint(configuration: Mapping[str, Any]) -> Tensor:
    """32 bytes of a configuration as a state that torchmetrics can compare, int64."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).digest()
    return torch.tensor(list(digest), dtype=torch.int64)


def digest_of(weights: Tensor | None) -> str:
    """16 hexadecimal digits that change with any weight, or 'none'."""
    return "none" if weights is None else hashlib.sha256(repr(weights.tolist()).encode()).hexdigest()[:16]


def check_agreement(configuration: Mapping[str, Any], device: torch.device, group: Any) -> None:
    """RuntimeError on every process, naming what differs, unless all processes hold the same configuration.

    Args:
        configuration: What must be equal.
        device: What the group communicates on.
        group: The processes; None for all.

    """
    mine = fingerprint(configuration).to(device)
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, mine, group=group)
    if all(torch.equal(other, mine) for other in every):
        return
    told: list[Any] = [None] * len(every)
    dist.all_gather_object(told, dict(configuration), group=group)
    check_same("Processes hold metrics that can't be reduced together", *told, error=RuntimeError)
