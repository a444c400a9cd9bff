"""Base class of all metrics: sides of images, each with a state of one statistic."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import apply_to_collection
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.dna import DNA, TooFewImagesError
from torchmetrics_dna.dna.identity import FINGERPRINT, check_same
from torchmetrics_dna.extractors.guard import new_lock
from torchmetrics_dna.extractors.sharing import NO_FEATURE_SHARE
from torchmetrics_dna.images.inputs import count_of
from torchmetrics_dna.images.tensors import lacks_float64
from torchmetrics_dna.metrics.counted_with import CountedWith, incomplete, is_incomplete
from torchmetrics_dna.statistics.base import copied, put_back_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images.inputs import Inputs
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import State, Statistic

Value = Tensor | dict[str, Tensor]
_HELD = 4  # activations that are added together, relative to a state: adding goes through all of it, however few
SEEN = "seen"  # the side of a metric without real and fake images
_NOT_MERGED = "Can't merge the states of these metrics"
_BESIDE_STATES = ("_update_count", "_computed", "_is_synced", "_cache")  # what torchmetrics keeps of them
_Method = TypeVar("_Method", bound="Callable[..., Any]")


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


def exclusive(method: _Method) -> _Method:
    """Let one thread at a time use a metric; if the method is interrupted or fails, states are those before.

    That takes no copies: it is for methods that replace states, rather than write into those that were there.
    """

    @wraps(method)
    def call(self: ImageMetric, *args: Any, **kwargs: Any) -> Any:
        with self._own.lock:
            before = {name: getattr(self, name) for name in (*self._defaults, *_BESIDE_STATES)}
            try:
                return method(self, *args, **kwargs)
            except BaseException:
                for name, value in before.items():
                    setattr(self, name, value)
                raise

    return cast("_Method", _outside_graphs(call))


class _Own:
    """Attributes that a metric has to itself, so that copies of it begin anew."""

    def __init__(self) -> None:
        self.lock = new_lock()  # for threads that use one metric
        self.latest: tuple[Any, CountedWith] | None = None  # by the version of the weights, which has addresses

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class ImageMetric(Metric):
    """Base class of all metrics: accumulates activations in states of a statistic, one for each side.

    Sides are ``"real"`` and ``"fake"``, only ``"fake"`` if the real side is a ``reference``, or ``"seen"``.
    States are the statistic's tensors for each side, named ``real_counts`` and the like, and ``real_identity``, which
    is a :class:`CountedWith`.

    A subclass defines :meth:`_value`, :meth:`_nan` if that may be without a value, and ``update`` if it takes more or
    less than images and their side. Its ``_settings`` are what a result depends on beside the states, which must be
    equal in all processes.
    """

    higher_is_better: bool | None = False
    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float | None = 0.0

    def __init__(
        self,
        statistic: Statistic,
        sides: Sequence[str],
        normalize: bool,
        reset_real_features: bool = True,
        reference: DNA | Features | None = None,
        /,  # so that torchmetrics names what no metric takes
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._own = _Own()
        for name, value in (("reset_real_features", reset_real_features), ("normalize", normalize)):
            if not isinstance(value, bool):
                raise ValueError(f"Argument `{name}` expected to be a bool")
        extractor = statistic.extractor
        if normalize and extractor.example is not None:
            raise ValueError("Argument `normalize` is for images, but the extractor's `inputs` are 'any'; leave it out")
        self.normalize, self.reset_real_features, self.reference = normalize, reset_real_features, reference
        self._statistic, self._sides = statistic, tuple(sides)
        self._settings: dict[str, Any] = {"metrics": type(self).__name__}
        # of states, beside weights and preparation
        self._settings_of_states = statistic.settings | {"values of `normalize`": normalize}
        if "real" in sides:
            self._settings_of_states["values of `reset_real_features`"] = reset_real_features
        if SEEN not in sides:
            self._settings_of_states["references"] = "none" if reference is None else reference.digest
        self._of_reference: dict[str, Any] = {}
        if reference is not None:
            self._of_reference = {"weights (digest)": reference.weights_digest, FINGERPRINT: reference.fingerprint}
        length = self._now().length_of_state([] if extractor.is_named else list(extractor.neurons))
        for side in sides:
            for name, state in statistic.empty("cpu").items():
                self.add_state(f"{side}_{name}", state, dist_reduce_fx=statistic.fields[name].reduction)
                if isinstance(state, Tensor):  # a view of one number, so that a default takes no memory
                    self._defaults[f"{side}_{name}"] = state[:1].clone().expand(state.shape)
            self.add_state(f"{side}_identity", torch.zeros(length, dtype=torch.uint8), dist_reduce_fx="max")
        self._modules["extractor"] = extractor  # so that `to` moves the network

    @property
    def extractor(self) -> DNAExtractor:
        """The extractor."""
        return self._statistic.extractor

    @property
    def feature_network(self) -> str:
        """Attribute that torchmetrics' FeatureShare asks for: RuntimeError, since its cache goes stale."""
        raise RuntimeError(NO_FEATURE_SHARE)

    @property
    def neurons(self) -> Neurons:
        """The neurons, in the order of per-neuron values and weights."""
        return self._statistic.neurons

    def _value(self) -> Value:
        """Return the value of the states; TooFewImagesError if a side has too few images."""
        raise NotImplementedError

    def _nan(self) -> Value:
        """Return NaN in the form of the value, for ``forward`` where images are too few."""
        raise NotImplementedError

    def _value_of_batch(self) -> Value:
        """Return the value that ``forward`` returns."""
        try:
            return self._value()
        except TooFewImagesError:
            return self._nan()

    def update(self, imgs: Inputs, real: bool) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1]. For an extractor
                with ``inputs="any"``: what its module takes.
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
            ValueError: If sides were counted with different weights, or activations of images on a device were not
                finite.

        """
        return self._value()

    @exclusive
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
        arguments = self._update_signature.bind(*args, **kwargs).arguments
        side = self._side_of(arguments["real"]) if "real" in arguments else SEEN
        earlier = self._state(side)
        self._set_state(side, self._statistic.empty(self.device))
        self.update(*args, **kwargs)
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step, runs=False):
            value = self._value_of_batch()
        with torch.inference_mode():
            # into the batch's tensors: those before may be shared with other metrics of a compute group
            self._statistic.merge_(self._state(side), earlier)
        self._computed = None
        self._forward_cache = value  # type: ignore[assignment]
        return value

    @exclusive
    def reset(self) -> None:
        """Clear all images, or with ``reset_real_features=False`` all but the real ones, unless they are incomplete."""
        identity = self.metric_state.get("real_identity")
        keeps = not self.reset_real_features and isinstance(identity, Tensor) and not is_incomplete(identity)
        before = self.metric_state if keeps else {}
        for name, default in self._defaults.items():
            if isinstance(default, list):
                setattr(self, name, [])  # torchmetrics clears lists in place, but a wrapper or a copy may hold them
        super().reset()
        for name, state in before.items():
            if name.startswith("real_"):
                setattr(self, name, state)

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

    def _check(self, imgs: Inputs) -> None:
        """Check images, but not their values; values out of range make activations NaN.

        Raises:
            ValueError: If their dtype or shape is wrong; ``normalize`` decides on the dtype.
            RuntimeError: If a CUDA graph captures work of the host, which a replay would skip.

        """
        started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if started and torch.cuda.is_current_stream_capturing():
            keeps_rows = any(field.reduction == "cat" for field in self._statistic.fields.values())
            if keeps_rows or getattr(self._statistic, "num_folds", None) is not None:
                raise RuntimeError(
                    f"A CUDA graph can't capture `update` of this {type(self).__name__}, in which the host takes part:"
                    " it keeps rows or folds of images; call `update` outside of the graph"
                )
        self.extractor.check(imgs, self.normalize, values=False)

    def _add(self, side: str, imgs: Inputs, keys: Tensor | None = None) -> None:
        """Add images to a side, without a device sync; on the CPU ValueError, and nothing added, if not finite.

        Adding writes into the state, and a copy of it would take as long. So if something else than a value that is not
        finite ends it, the side is marked as incomplete, unless there was more than one part, which needs a copy.

        Args:
            side: Name of the side.
            imgs: Images, or other inputs, that were checked.
            keys: The fold or index of each image, shape ``(B,)``, int64, on the CPU, if the statistic takes any.

        """
        counted_with, state, num_images = self._counting_with(side, imgs), self._state(side), count_of(imgs)
        name = f"{side}_identity"
        identity = getattr(self, name)
        num_bytes = sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor))
        with torch.inference_mode():
            groups = _grouped(self._parts_of(imgs), _HELD * num_bytes)
            begin, group = 0, next(groups)
            before = None if sum(map(_images_in, group)) == num_images else copied(state)
            try:
                setattr(self, name, incomplete(identity))
                while group:
                    end = begin + sum(map(_images_in, group))
                    self._statistic.add_(state, Activations(*group), None if keys is None else keys[begin:end])
                    group.clear()  # before the next ones are computed
                    begin, group = end, next(groups, [])
                same = counted_with == CountedWith.of_state(identity)
                setattr(self, name, identity if same else counted_with.as_state(len(identity)))
            except BaseException as err:
                if before is not None:
                    put_back_(state, before)
                if before is not None or isinstance(err, ValueError):
                    setattr(self, name, identity)
                raise

    def _parts_of(self, imgs: Inputs) -> Iterator[dict[str, Tensor]]:
        """Compute activations, part by part, where they are accumulated, without a device sync."""

        def moved(part: dict[str, Tensor]) -> dict[str, Tensor]:
            runs_elsewhere = lacks_float64(next(iter(part.values())).device)  # the network; accumulation on the CPU
            return {layer: values.to(self.device) for layer, values in part.items()} if runs_elsewhere else part

        return map(moved, self.extractor.in_parts(imgs, wait=False))  # a generator would hold the part before

    # Weights that images are counted with

    def _now(self) -> CountedWith:
        """Return what images would be counted with now; the device is waited for only if weights may have changed."""
        extractor = self.extractor
        version = extractor.weights_version, repr(extractor.preparation)
        if self._own.latest is None or self._own.latest[0] != version:
            settings = self._settings_of_states | {"extractors (digest)": extractor.digest}
            self._own.latest = version, CountedWith(extractor.weights_digest, extractor.preparation, settings)
        return self._own.latest[1]

    def _counted_with(self, side: str) -> CountedWith | None:
        """Return what images of a side were counted with; None without images."""
        return CountedWith.of_state(getattr(self, f"{side}_identity"))

    def _set_counted_with(self, side: str, counted_with: CountedWith) -> None:
        name = f"{side}_identity"
        setattr(self, name, counted_with.as_state(len(self._defaults[name])))

    def _counting_with(self, side: str, imgs: Inputs) -> CountedWith:
        """Return what images of a side are counted with now.

        Raises:
            ValueError: If the weights are others than those of earlier images of this side, or of the reference, or
                with the first images, if the network computes something else than for the reference.

        """
        now, before = self._now(), self._counted_with(side)
        if before is not None:
            now = now._replace(fingerprint=before.fingerprint)
        elif not self.extractor.is_named:
            now = now._replace(fingerprint=self.extractor.take_fingerprint(self.extractor.input_form(imgs)))
        if now != before:
            keeps = side == "real" and not self.reset_real_features
            remedy = "; make a new metric" if keeps else "; call `reset` first"
            message = f"Images of the {side} side were counted with other weights"
            check_same(message, {} if before is None else before.identity, now.identity, remedy=remedy)
            check_same("The reference was made with other weights", self._of_reference, now.identity)
        return now

    def _origin(self, side: str) -> dict[str, Any]:
        """Return weights digest, preparation and fingerprint that images of a side were counted with."""
        return (self._counted_with(side) or self._now()).origin

    def _check_weights(self, runs: bool) -> None:
        """Raise ValueError if the sides were not counted with the same weights, or if the network has changed since.

        Args:
            runs: Whether to run a module of the user's on the input of the fingerprints.

        """
        remedy = "; call `reset`, and count all images with the same weights"
        sides = [*filter(None, map(self._counted_with, self._sides))]
        identities = [self._of_reference, *(side.identity for side in sides)]
        check_same("The sides can't be compared", *identities, remedy=remedy)
        for side in sides:
            # a network that has learned on since is another, but the sides are still of one
            if runs and side.fingerprint and side._replace(fingerprint=None) == self._now():
                now = {FINGERPRINT: self.extractor.take_fingerprint(side.fingerprint["input"])}
                check_same("The network changed after images were counted", now, side.identity, remedy=remedy)
                break  # the others are like this one

    # States

    def _state(self, side: str) -> State:
        return {name: getattr(self, f"{side}_{name}") for name in self._statistic.fields}

    def _set_state(self, side: str, state: State) -> None:
        for name, tensor in state.items():
            setattr(self, f"{side}_{name}", tensor)

    def _whole(self) -> AbstractContextManager[None]:
        """Hold the states reduced over all processes inside this context."""
        syncs = self._to_sync and not self._is_synced
        return self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=syncs, should_unsync=syncs)

    @contextmanager
    def sync_context(self, *args: Any, should_unsync: bool = True, runs: bool = True, **kwargs: Any) -> Iterator[None]:
        """Sync like torchmetrics, check weights and fingerprints, and restore the local states, also after an error."""
        self.sync(*args, **kwargs)
        cache = self._cache
        try:
            self._check_weights(runs and not self._is_synced)  # a sync has run it
            yield
        finally:  # which may be run when the traceback of an interrupt is collected, in the midst of another sync
            self.unsync(should_unsync=self._is_synced and self._cache is cache and should_unsync)

    def _copy_state_dict(self) -> dict[str, Any]:
        """Return the states themselves: a sync replaces them, and changes none."""
        return self.metric_state

    @exclusive
    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        """Reduce the states of all processes, once these know that they fit together.

        That is one all-reduce a side, or two where histograms must first be brought to a common grid or moments to a
        common mean; rows of images are gathered. A custom ``dist_sync_fn`` gathers all.

        Raises:
            RuntimeError: If the metrics of the processes differ, or one of them can't be read.

        """
        group = process_group or self.process_group
        own: dict[str, Any] = {"settings": self._settings_of_states | self._settings, "error": ""}
        try:
            own |= {side: self._counted_with(side) for side in self._sides}
            self._check_weights(runs=True)
        except ValueError as err:  # of this process, but the others wait for it
            own["error"] = str(err)
        text = torch.frombuffer(bytearray(json.dumps(own).encode()), dtype=torch.uint8).to(self.device)
        everyone = [json.loads(bytes(each.tolist())) for each in dist_sync_fn(text, group=group)]
        for rank, each in enumerate(everyone):
            if each["error"]:
                raise RuntimeError(f"{each['error']} (process {rank})")
        message = "Processes hold metrics that can't be reduced together"
        check_same(message, *(each["settings"] for each in everyone), error=RuntimeError)
        counted_with = {side: [CountedWith(*each[side]) for each in everyone if each[side]] for side in self._sides}
        for of_ranks in counted_with.values():
            check_same(message, *(each.identity for each in of_ranks), error=RuntimeError)
        states = {side: self._state(side) for side in self._sides}
        for state in states.values():
            self._statistic.reduce_(state, group, None if dist_sync_fn is gather_all_tensors else dist_sync_fn)
        for side, state in states.items():
            self._set_state(side, state)
            for each in counted_with[side][:1]:
                self._set_counted_with(side, each)
        self._is_synced = True  # with the states, so that an interrupt of `sync` leaves all or nothing

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric, or a dict of its states, to this one.

        Raises:
            ValueError: If it is neither, or of other weights, layers, bins, bounds, reference or settings.

        """
        if isinstance(incoming_state, ImageMetric):
            check_same(_NOT_MERGED, self._settings_of_states, incoming_state._settings_of_states)
            incoming_state = incoming_state.metric_state
        if not isinstance(incoming_state, dict):
            raise ValueError(f"Expected incoming state to be a dict or an instance of {type(self).__name__}")
        self._merge(incoming_state)

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        """Add the states of an update in a window of updates."""
        if not self.reset_real_features and "real" in self._sides:
            raise ValueError(
                "A window of updates can't go with `reset_real_features=False`, since each would hold the real images"
                " again; give `reset_real_features=True`, or the real side as `reference`"
            )
        self._merge(incoming_state)

    @exclusive
    def _merge(self, incoming: dict[str, Any]) -> None:
        """Add other states, whose images come last; ValueError if one is missing, or of other weights or settings."""
        theirs = self._check_fit(incoming)
        counted_with = {side: [*filter(None, (self._counted_with(side), theirs[side]))] for side in self._sides}
        for of_side in counted_with.values():
            check_same(_NOT_MERGED, *(each.identity for each in of_side))
        own = self.metric_state
        for name in own:
            setattr(self, name, self._on_its_device(name, incoming[name]))
        super()._reduce_states(own)
        for side, of_side in counted_with.items():
            for each in of_side[:1]:  # of two that are equal within rounding, the largest byte by byte is neither
                self._set_counted_with(side, each)
        self._computed = None
        self._update_count += 1

    def _check_fit(self, states: dict[str, Any]) -> dict[str, CountedWith | None]:
        """Return what states of another metric were counted with; ValueError if they are not like those of this one."""
        for name, default in self._defaults.items():
            field, state = name.partition("_")[2], states.get(name, [])
            dtype = default.dtype if isinstance(default, Tensor) else self._statistic.fields[field].dtype
            for part in state if isinstance(state, list) else [state]:
                if part.dtype != dtype:
                    raise ValueError(
                        f"Expected state variable {name} to be {dtype}, but got {part.dtype}; give the state as it was"
                        " saved, without a change of precision"
                    )
        identities = {name: states.get(f"{name}_identity") for name in self._sides}
        theirs = {name: None if state is None else CountedWith.of_state(state) for name, state in identities.items()}
        check_same(_NOT_MERGED, self._settings_of_states, *(each.identity for each in theirs.values() if each))
        for name, default in self._defaults.items():
            state = states.get(name)
            if state is None or (isinstance(default, Tensor) and default.shape != state.shape):
                raise ValueError(f"Expected state variable {name} to be present in incoming state, in the same shape")
        return theirs

    def state_dict(  # type: ignore[override]  # as torchmetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return states like torchmetrics, but rows as bytes: torch.distributed loads tensors of equal length."""
        states: dict[str, Any] = super().state_dict(destination, prefix, keep_vars)
        for name in self._defaults:
            if isinstance(states.get(prefix + name), list):
                torch.save(states[prefix + name], file := io.BytesIO())
                states[prefix + name] = file.getvalue()
        return states

    @exclusive
    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load copies of all states, or none: torchmetrics loads those of any metric, and counts on in the dict's."""
        _, _, missing_keys, _, error_msgs = args
        states = {name: state_dict.pop(prefix + name) for name in self._defaults if prefix + name in state_dict}
        super()._load_from_state_dict(state_dict, prefix, *args)
        missing = [name for name in self._defaults if name not in states and (states or self._persistent[name])]
        missing_keys += [prefix + name for name in missing]
        if missing or not states:
            return
        for name, state in states.items():
            is_list = isinstance(self._defaults[name], list)
            states[name] = torch.load(io.BytesIO(state), weights_only=True) if is_list else state.clone()
        try:
            self._check_fit(states)
        except ValueError as err:
            error_msgs.append(f"The state {prefix!r} is of another metric: {err}")
            return
        for name, state in states.items():
            setattr(self, name, self._on_its_device(name, state))
        self._computed = None
        self._update_count = max(1, self._update_count)

    # Hooks of torchmetrics

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        """Let one thread at a time update."""
        wrapped = super()._wrap_update(update)

        @wraps(update)
        def call(*args: Any, **kwargs: Any) -> None:
            with self._own.lock:
                wrapped(*args, **kwargs)

        return _outside_graphs(call)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Let one thread at a time compute, all or nothing, and without a value from before what others have seen."""
        wrapped = super()._wrap_compute(compute)

        @wraps(compute)
        def call(self: ImageMetric, *args: Any, **kwargs: Any) -> Any:
            if self._to_sync and not self._is_synced and self.distributed_available_fn():
                self._computed = None  # another process may have seen images since, and waits for this one
            return wrapped(*args, **kwargs)

        return wraps(compute)(partial(exclusive(call), self))

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> ImageMetric:
        """Move to another device; the types of states and network stay, since counts and digests depend on them.

        To a device without float64 only the network moves; its activations come to the CPU, where they are counted.
        """
        device = fn(torch.zeros(0, device=self.device)).device
        if lacks_float64(device):
            self.extractor.to(device)
            return self
        super()._apply(lambda tensor: tensor.to(device), exclude_state=[*self._defaults, *exclude_state])
        for name, state in self.metric_state.items():
            setattr(self, name, self._on_its_device(name, state))
        if isinstance(self.reference, DNA):
            self.reference = self.reference.to(device)
        return self

    def _on_its_device(self, name: str, state: Any) -> Any:
        """Return a state on the metric's device; what updates compare on the host stays there."""
        field = self._statistic.fields.get(name.partition("_")[2])
        device = "cpu" if field is None or field.on_host else self.device
        return apply_to_collection(state, Tensor, lambda tensor: tensor.to(device))


def _grouped(parts: Iterator[dict[str, Tensor]], num_bytes: int) -> Iterator[list[dict[str, Tensor]]]:
    """Yield parts of a batch together, so many that their activations have this size; each list is the caller's."""
    group: list[dict[str, Tensor]] = []
    for part in parts:
        group.append(part)
        del part  # or it is kept while the next one is computed
        if sum(values.nbytes for activations in group for values in activations.values()) >= num_bytes:
            yield group
            group = []
    if group:
        yield group


def _images_in(part: Mapping[str, Tensor]) -> int:
    return len(next(iter(part.values())))
