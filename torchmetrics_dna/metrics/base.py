"""Base class of all metrics: sides of images, each with a state of one statistic."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from contextlib import contextmanager
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist
from torchmetrics import Metric
from torchmetrics.utilities.data import apply_to_collection
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.identity import check_same
from torchmetrics_dna.extractors.sharing import share_in_collections
from torchmetrics_dna.images.tensors import check_images, lacks_float64
from torchmetrics_dna.statistics.folds import FoldedStatistic
from torchmetrics_dna.statistics.nonfinite import RefusedImagesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import State, Statistic

share_in_collections()
Value = Tensor | dict[str, Tensor]
SEEN = "seen"  # the side of a metric without real and fake images
_LABELS = ("identity", "sampled")  # states beside those of the statistic
_UNKNOWN = "0" * 16  # in place of a digest, where no image was counted
_LEAST = torch.iinfo(torch.int64).min
_ANOTHER = "a metric with another extractor, layers, bins, bounds or `normalize`"
_NOT_TOGETHER = "Processes hold metrics that can't be reduced together"


class ImageMetric(Metric):
    """Base class of all metrics: accumulates activations in states of a statistic, one for each side.

    Sides are ``"real"`` and ``"fake"``, only ``"fake"`` if the real side is a ``reference``, or ``"seen"``.
    States are the statistic's tensors for each side, named ``real_counts`` and the like, and two more:

    - ``real_identity``, on the CPU, the digests of the values that must be equal to merge or reduce states, of those
      that must be equal to share them in a compute group, too, and of weights and extractor as they were when images
      of this side were counted;
    - ``real_sampled``, the extremes of a number that changes with the weights of a module on a device.

    A subclass defines :meth:`_value`, and ``update`` if it takes more or less than images and their side.
    """

    higher_is_better: bool | None = False
    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float | None = 0.0
    feature_network: str = "extractor"

    def __init__(
        self,
        extractor: DNAExtractor,
        statistic: Statistic,
        sides: Sequence[str],
        normalize: bool,
        reset_real_features: bool = True,
        reference: DNA | Features | None = None,
        /,  # so that torchmetrics names what no metric takes
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
                self.add_state(f"{side}_{name}", default, dist_reduce_fx=statistic.fields[name].reduction)
                if isinstance(default, Tensor):
                    setattr(self, f"{side}_{name}", state)
                    self._defaults[f"{side}_{name}"] = default.expand(state.shape)
        self._mergeable = self._values_to_merge()
        self._digests = [_digest_of_settings(each) for each in (self._mergeable, {"keeps": reset_real_features})]
        self._hashed: tuple[Any, tuple[str, str]] | None = None  # version of the weights, digests
        self._preparations: dict[str, Any] = {}  # of the images that were counted, by digest of the extractor
        for side in sides:
            self.add_state(f"{side}_identity", _as_bytes(*self._digests, _UNKNOWN, _UNKNOWN))
            self._defaults[f"{side}_identity"] = self._get(side, "identity")  # which is replaced, never changed
            self.add_state(f"{side}_sampled", torch.full((2,), _LEAST), dist_reduce_fx="max")
        self._modules["extractor"] = extractor  # where torch moves it

    @property
    def extractor(self) -> DNAExtractor:
        """The extractor. It shares its passes itself, so it stays where FeatureShare puts a cache in its place."""
        return self._statistic.extractor

    @property
    def neurons(self) -> Neurons:
        """The neurons, in the order of per-neuron values and weights."""
        return self._statistic.neurons

    def _values_to_merge(self) -> dict[str, Any]:
        """Return the values that must be equal for states to be merged, beside the weights."""
        of_weights = ("weights (digest)", "extractors (digest)", "image preparations (dtype)")
        values = {name: value for name, value in self._statistic.configuration.items() if name not in of_weights}
        values["values of `normalize`"] = self.normalize
        if SEEN not in self._sides:
            values["references"] = "none" if self.reference is None else self.reference.digest
        return values

    @property
    def _settings(self) -> dict[str, Any]:
        """Values beside the states that the result depends on, which must be equal in all processes."""
        return {"metrics": type(self).__name__, "values of `reset_real_features`": self.reset_real_features}

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
            RuntimeError: If there are too few images, or the metrics of the processes differ.
            ValueError: If sides were counted with different weights; or, once, if images on a device were left out
                since activations were not finite: the next call goes on without them.

        """
        with self._reading():
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
        before, count, identity = self._state(side), self._update_count, self._get(side, "identity")
        self._set_state(side, self._statistic.empty(self.device))
        try:
            self.update(*args, **kwargs)
            with (
                self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step),
                self._reading(),
            ):
                value = self._value_or_nan()
            # into the batch's tensors: those before may be shared with other metrics of a compute group
            self._statistic.put_before_(self._state(side), before)
        except BaseException:
            self._set_state(side, before | {"identity": identity})
            self._update_count = count
            raise
        self._computed = None
        self._forward_cache = value  # type: ignore[assignment]
        return value

    def reset(self) -> None:
        """Clear all images, or with ``reset_real_features=False`` all but the real ones."""
        keeps = not self.reset_real_features and "real" in self._sides
        real_state = {name: self._get("real", name) for name in (*self._names, *_LABELS)} if keeps else {}
        for name, default in self._defaults.items():
            if isinstance(default, list):
                setattr(self, name, [])  # torchmetrics clears lists in place, but a wrapper or a copy may hold them
        super().reset()
        self._set_state("real", real_state)
        self._preparations = self._preparations if keeps else {}

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
            if keeps_rows or isinstance(self._statistic, FoldedStatistic):
                raise RuntimeError(
                    f"A CUDA graph can't capture `update` of this {type(self).__name__}, in which the host takes part:"
                    " it keeps rows or folds of images; call `update` outside of the graph"
                )
        check_images(imgs, self.normalize, self.extractor.allowed_channels, values=False)

    def _add(self, side: str, imgs: Tensor, keys: Tensor | None = None) -> None:
        """Add images to a side, without a device sync; on the CPU ValueError, and nothing added, if not finite.

        Args:
            side: Name of the side.
            imgs: Shape ``(B, 3, H, W)``.
            keys: The fold or index of each image, shape ``(B,)``, int64, on the CPU, if the statistic takes any.

        """
        identity = self._identity_of_update(side)
        parts = self.extractor.in_parts(imgs, wait=False)
        if lacks_float64(imgs.device):  # the network runs on the device, accumulation on the CPU
            parts = [{layer: values.to(self.device) for layer, values in part.items()} for part in parts]
        if keys is None:
            self._statistic.add_(self._state(side), parts, len(imgs))
        else:
            self._statistic.add_keyed_(self._state(side), parts, keys)
        setattr(self, f"{side}_identity", identity)
        if self.device.type != "cpu" and not self.extractor.is_named:
            sample = _sample_of(self.extractor.network, self.device)
            sampled = self._get(side, "sampled")
            sampled.copy_(torch.maximum(sampled, torch.cat([-sample, sample])))

    # Weights that images are counted with

    def _identity_of_update(self, side: str) -> Tensor:
        """Return the identity of a side after an update with the current weights.

        Digests are computed anew, which waits for the device, only if the weights may have changed.

        Raises:
            ValueError: If the weights are others than those of earlier images of this side, or of the reference.

        """
        extractor = self.extractor
        version = extractor.weights_version, repr(extractor.preparation)
        if self._hashed is None or self._hashed[0] != version:
            self._hashed = version, (extractor.weights_digest, extractor.digest)
        weights, digest = self._hashed[1]
        now = {"weights (digest)": weights, "extractors (digest)": digest}
        keeps = side == "real" and not self.reset_real_features
        remedy = "make a new metric" if keeps else "call `reset` first"
        check_same(
            f"Images of the {side} side were counted with other weights", self._origin(side), now, remedy=f"; {remedy}"
        )
        check_same("The reference was made with other weights", self._origin_of_reference, now)
        self._preparations[digest] = extractor.preparation
        return _as_bytes(*self._digests, weights, digest)

    def _origin(self, side: str) -> dict[str, str]:
        """Return the digests of weights and extractor that images of a side were counted with; empty without images."""
        *_, weights, digest = _as_digests(self._get(side, "identity"))
        return {} if weights == _UNKNOWN else {"weights (digest)": weights, "extractors (digest)": digest}

    @property
    def _origin_of_reference(self) -> dict[str, str]:
        weights = None if self.reference is None else self.reference.weights_digest
        return {} if weights is None else {"weights (digest)": weights}

    def _counted_with(self, side: str) -> dict[str, Any]:
        """Return weights digest and preparation that images of a side were counted with, as fields of a DNA."""
        origin, current = self._origin(side), self._statistic.origin
        if not origin:
            return {name: current[name] for name in ("weights_digest", "preparation")}
        preparation = self._preparations.get(origin["extractors (digest)"], current["preparation"])
        return {"weights_digest": origin["weights (digest)"], "preparation": preparation}

    def _check_weights(self) -> None:
        """Raise ValueError if the sides were not counted with the same weights."""
        origins = [self._origin(side) for side in self._sides]
        remedy = "; call `reset`, and count all images with the same weights"
        check_same("The sides can't be compared", self._origin_of_reference, *origins, remedy=remedy)
        if self.device.type != "cpu" and not self.extractor.is_named:
            low, high = torch.stack([self._get(side, "sampled") for side in self._sides]).amax(0).tolist()
            if low > _LEAST and -low != high:
                raise ValueError(f"The weights changed while images were counted, by a write to `.data`{remedy}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Check weights before the states are read, and tell once that images were refused."""
        self._check_weights()
        try:
            yield
        except RefusedImagesError:
            local: Any = self._cache or self.metric_state  # the latter are reduced ones within a sync
            with torch.inference_mode():
                for side in self._sides:
                    self._statistic.forget_refused_({name: local[f"{side}_{name}"] for name in self._names})
            raise

    # States

    def _get(self, side: str, name: str) -> Any:
        return getattr(self, f"{side}_{name}")

    def _state(self, side: str) -> State:
        return {name: self._get(side, name) for name in self._names}

    def _set_state(self, side: str, state: State) -> None:
        for name, tensor in state.items():
            setattr(self, f"{side}_{name}", tensor)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Hold the states reduced over all processes inside this context."""
        should_sync = self._to_sync and not self._is_synced
        with (
            self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=should_sync, should_unsync=should_sync),
            self._reading(),
        ):
            yield

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric, or a dict of its states, to this one.

        Raises:
            ValueError: If it is neither, or of other weights, layers, bins, bounds, reference or ``normalize``.

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
        self._merge(incoming_state)
        self._computed = None
        self._update_count += 1

    def _merge(self, states: dict[str, Any]) -> None:
        message = "Can't merge the states of these metrics"
        identities = {}
        for side in self._sides:
            theirs = states[f"{side}_identity"].cpu()
            if _as_digests(theirs)[0] != self._digests[0]:
                raise ValueError(f"Can't merge the state of {_ANOTHER}")
            *_, weights, digest = _as_digests(theirs)
            if weights != _UNKNOWN:
                check_same(message, self._origin(side), {"weights (digest)": weights, "extractors (digest)": digest})
                identities[side] = _as_bytes(*self._digests, weights, digest)
        for side in self._sides:
            self._statistic.merge_(self._state(side), {name: states[f"{side}_{name}"] for name in self._names})
            sampled = self._get(side, "sampled")
            sampled.copy_(torch.maximum(sampled, states[f"{side}_sampled"].to(sampled.device)))
        for side, identity in identities.items():
            setattr(self, f"{side}_identity", identity)

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Reduce the states over all processes, until ``unsync`` restores the local ones; arguments as in torchmetrics.

        Processes compare their settings and weights by an all-gather of 8 numbers. Then a copy of the states is
        reduced, by one all-reduce a side, or two where histograms must first be brought to a common grid or moments to
        a common mean; rows of images are gathered. Or a custom ``dist_sync_fn`` gathers all. After an error the local
        states are unchanged.

        Raises:
            TorchMetricsUserError: If the metric is synced already.
            RuntimeError: If the metrics of the processes differ, or one of them can't be read.

        """
        if self._is_synced and should_sync:
            raise TorchMetricsUserError("The Metric has already been synced.")
        is_distributed = distributed_available or self.distributed_available_fn
        if not should_sync or not is_distributed():
            return
        group = process_group or self.process_group
        states = (
            self._reduced(group) if dist_sync_fn in (None, gather_all_tensors) else self._gathered(dist_sync_fn, group)
        )
        self._cache = self.metric_state
        for side, state in states.items():
            self._set_state(side, state)
        self._is_synced = True

    def _reduced(self, group: Any) -> dict[str, State]:
        """Return the states of all processes, by side, once all have the same settings and weights."""
        own: dict[str, Any] = {side: self._origin(side) for side in self._sides}
        own |= {"settings": self._mergeable | self._settings, "error": ""}
        try:
            self._check_weights()
        except ValueError as err:  # of this process, but the others wait for it
            own["error"] = str(err)
        everyone = _of_all_processes(own, self.device, group)
        for rank, each in enumerate(everyone):
            if each["error"]:
                raise RuntimeError(f"{each['error']}" + f" (process {rank})" * (len(everyone) > 1))
        for name in ("settings", *self._sides):
            check_same(_NOT_TOGETHER, *(each[name] for each in everyone), error=RuntimeError)
        states = {}
        for side in self._sides:
            state: Any = {n: list(v) if isinstance(v, list) else v for n, v in self._state(side).items()}
            self._statistic.reduce_(state, group)
            origin = next((each[side] for each in everyone if each[side]), None)
            identity = self._get(side, "identity") if origin is None else _as_bytes(*self._digests, *origin.values())
            states[side] = state | {"identity": identity}
        return states

    def _gathered(self, dist_sync_fn: Callable[..., Any], group: Any) -> dict[str, State]:
        """Return the joined states of all processes, by side, by a custom function that gathers a tensor."""

        def of_all(tensor: Tensor) -> list[Tensor]:
            return dist_sync_fn(tensor.to(self.device), group=group)  # type: ignore[no-any-return]

        identities = {side: [each.cpu() for each in of_all(self._get(side, "identity"))] for side in self._sides}
        states = {}
        for side, of_ranks in identities.items():
            digests = [_as_digests(each) for each in of_ranks]
            origins = {tuple(each[2:]) for each in digests if each[2] != _UNKNOWN}
            if any(each[0] != self._digests[0] for each in digests) or len(origins) > 1:
                raise RuntimeError(_NOT_TOGETHER)
            packed = self._statistic.packed(self._state(side))
            gathered = {name: of_all(tensor) for name, tensor in packed.items()}
            ranks = [dict(zip(gathered, tensors, strict=True)) for tensors in zip(*gathered.values(), strict=True)]
            states[side] = self._statistic.joined([self._statistic.unpacked(rank) for rank in ranks], self.device)
            states[side]["identity"] = _as_bytes(*self._digests, *next(iter(origins), (_UNKNOWN, _UNKNOWN)))
        return states

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
            for name, value in _saved(self._statistic, self._state(side)).items():
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

        return _outside_graphs(keep_if_it_fails)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        return _outside_graphs(super()._wrap_compute(compute))

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        if not self.reset_real_features and "real" in self._sides:
            raise ValueError(
                "A window of updates can't go with `reset_real_features=False`, since each would hold the real images"
                " again; give `reset_real_features=True`, or the real side as `reference`"
            )
        self._merge(incoming_state)

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> ImageMetric:
        """Move to another device; the types of states and network stay, since counts and digests depend on them."""
        if lacks_float64(fn(torch.zeros(0, device=self.device)).device):
            return self
        values = self._computed, self._forward_cache
        super()._apply(fn, exclude_state=[*self._defaults, *exclude_state])  # the extractor takes only the device, too
        for name in self._defaults.keys() - {f"{side}_identity" for side in self._sides}:
            setattr(self, name, self._here(getattr(self, name)))
        if self._cache is not None:
            self._cache = {
                name: value if name.endswith("_identity") else self._here(value) for name, value in self._cache.items()
            }
        self._computed, self._forward_cache = self._here(values)
        if isinstance(self.reference, DNA):
            self.reference = self.reference.to(self.device)
        return self

    def _here(self, value: Any) -> Any:
        """Move all tensors of a collection to the metric's device, keeping their dtypes."""
        return apply_to_collection(value, Tensor, lambda tensor: tensor.to(self.device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        _, _, missing_keys, _, error_msgs = args
        names = [name for name in self._defaults if prefix + name in state_dict]
        lacking = [name for name in self._defaults if name not in names and (names or self._persistent[name])]
        missing_keys += [prefix + name for name in lacking]
        identities = [state_dict[prefix + name] for name in names if name.endswith("_identity")]
        if any(_as_digests(identity)[0] != self._digests[0] for identity in identities):
            error_msgs.append(f"The state {prefix!r} is of {_ANOTHER}")
            lacking = names
        if lacking:  # a part of a state is none
            for name in names:
                del state_dict[prefix + name]
            names = []
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not names:
            return
        for side in self._sides:
            self._set_state(side, self._here(_loaded(self._statistic, self._state(side))))
            self._set_state(side, {"identity": self._get(side, "identity").detach().clone().cpu()})
            self._set_state(side, {"sampled": self._get(side, "sampled").detach().clone().to(self.device)})
        self._computed = None
        self._update_count = max(1, self._update_count)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hashed = None  # addresses of another process


def _outside_graphs(call: Callable[..., Any]) -> Callable[..., Any]:
    """Break the graph of a compiled loop around a call, since it uses locks and weak references."""
    disabled: Callable[..., Any] | None = None

    @wraps(call)
    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if "torch._dynamo" not in sys.modules:  # torch would load its compiler, which takes a second
            return call(*args, **kwargs)
        if disabled is None:
            disabled = torch.compiler.disable(call)  # type: ignore[no-untyped-call]
        return disabled(*args, **kwargs)

    return checked


def _saved(statistic: Statistic, state: State) -> dict[str, Any]:
    """Return the entries of a state that a checkpoint stores as bytes: its lists of rows."""
    lists = [name for name, value in state.items() if isinstance(value, list)]
    packed = statistic.packed(state) if lists else {}
    return {name: packed[name].cpu().numpy().tobytes() for name in lists}


def _loaded(statistic: Statistic, values: Mapping[str, Any]) -> State:
    """Return a copy of the state in a checkpoint: tensors, and bytes from :func:`_saved`, by name."""
    empty = statistic.packed(statistic.empty("cpu"))
    tensors: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach().clone()
        elif value:
            tensors[name] = torch.frombuffer(bytearray(value), dtype=empty[name].dtype).view(-1, *empty[name].shape[1:])
        else:
            tensors[name] = empty[name]
    return statistic.unpacked(tensors)


def _digest_of_settings(settings: Mapping[str, Any]) -> str:
    """Return a digest of settings, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _as_bytes(*digests: str) -> Tensor:
    """Return digests as a state that torchmetrics can compare: 8 numbers of a byte each, int64, on the CPU."""
    return torch.tensor(list(bytes.fromhex("".join(digests))), dtype=torch.int64)


def _as_digests(numbers: Tensor) -> list[str]:
    """Return the digests in a state from :func:`_as_bytes`."""
    digits = bytes(numbers.tolist()).hex()
    return [digits[start : start + 16] for start in range(0, len(digits), 16)]


def _sample_of(network: nn.Module, device: torch.device) -> Tensor:
    """Return a number that depends on a value of each tensor of a network, int64, ``(1,)``, on the device."""
    tensors = [each for each in chain(network.parameters(), network.buffers()) if each.device == device]
    local = [each.to_local() if hasattr(each, "to_local") else each for each in tensors]  # of what FSDP shards
    real = [each for each in local if each.numel() and each.layout is torch.strided and not each.is_complex()]
    values = [each.detach().as_strided((1,), (1,)).double() for each in real]
    bits = torch.cat([*values, torch.zeros(1, dtype=torch.float64, device=device)]).view(torch.int64)
    factors = torch.arange(1, 2 * len(bits), 2, device=device)  # odd, so that no bit is lost
    return (bits * factors).sum(0, keepdim=True) >> 2  # so that its negative is a number, too


def digest_of(weights: Tensor | None) -> str:
    """Return a digest of the weights, 16 hexadecimal digits, or 'none' without weights."""
    return "none" if weights is None else hashlib.sha256(repr(weights.tolist()).encode()).hexdigest()[:16]


def _of_all_processes(own: Mapping[str, Any], device: torch.device, group: Any) -> list[Mapping[str, Any]]:
    """Return the values of all processes, or only one's if all are equal; one all-gather of digests tells that."""
    digest = _as_bytes(_digest_of_settings(own)).to(device)
    digests = [torch.empty_like(digest) for _ in range(dist.get_world_size(group))]
    dist.all_gather(digests, digest, group=group)
    if all(torch.equal(each, digest) for each in digests):
        return [own]
    everyone: list[Any] = [None] * len(digests)
    dist.all_gather_object(everyone, dict(own), group=group)
    return everyone
