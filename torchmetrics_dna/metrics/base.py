"""Base class of all metrics: sides of images, each with a state of one statistic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import apply_to_collection
from typing_extensions import override

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.binning.counting import is_captured
from torchmetrics_dna.checks import check_bool
from torchmetrics_dna.dna import DNA, TooFewImagesError
from torchmetrics_dna.dna.identity import FINGERPRINT, check_same
from torchmetrics_dna.extractors.sharing import NO_FEATURE_SHARE
from torchmetrics_dna.images.inputs import Inputs, count_of
from torchmetrics_dna.images.tensors import lacks_float64
from torchmetrics_dna.metrics.checked import CheckedMetric, Value
from torchmetrics_dna.metrics.counted_with import CountedWith, incomplete, is_incomplete
from torchmetrics_dna.statistics.base import copied
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics import Metric

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import State, Statistic

_HELD = 4  # activations that are added together, relative to a state: adding goes through all of it, however few
SEEN = "seen"  # the side of a metric without real and fake images
_NOT_MERGED = "Can't merge the states of these metrics"


class ImageMetric(CheckedMetric):
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
        check_bool("normalize", normalize)
        check_bool("reset_real_features", reset_real_features)
        self._latest: tuple[Any, CountedWith] | None = None  # by the version of the weights, which has addresses
        # True from a `reset` that kept real images to the next `update` with real images.
        self._has_kept_real = False
        extractor = statistic.extractor
        if normalize and extractor.example is not None:
            raise ValueError("Argument `normalize` is for images, but the extractor's `inputs` are 'any'")
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
                self._add_large_state(f"{side}_{name}", state, statistic.fields[name].reduction)
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

    @override
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

    # Adding images

    def _side_of(self, real: bool) -> str:
        """Return the name of the side; ValueError if ``real`` is no bool, or the real side is a reference."""
        check_bool("real", real)
        if real and self.reference is not None:
            raise ValueError("The real side is the given `reference`, so images can only be added with `real=False`")
        return "real" if real else "fake"

    def _check(self, imgs: Inputs) -> None:
        """Raise ValueError for a wrong dtype or shape of images, but not for values, which make activations NaN.

        RuntimeError if a CUDA graph captures work of the host, which a replay would skip.
        """
        if is_captured():
            keeps_rows = any(field.reduction == "cat" for field in self._statistic.fields.values())
            if keeps_rows or getattr(self._statistic, "num_folds", None) is not None:
                raise RuntimeError(
                    f"A CUDA graph can't capture `update` of this {type(self).__name__}, in which the host takes part:"
                    " it keeps rows or folds of images; call `update` outside of the graph"
                )
        self.extractor.check(imgs, self.normalize, values=False)

    def _add(self, side: str, imgs: Inputs, keys: Tensor | None = None) -> None:
        """Add images to a side, without a device sync; on the CPU ValueError, and nothing added, if not finite.

        One part is added to the state itself, since a copy would take as long; the side is marked as incomplete until
        it is. Several are added to a copy, which then takes its place.

        Args:
            side: Name of the side.
            imgs: Images, or other inputs, that were checked.
            keys: The fold or index of each image, shape ``(B,)``, int64, on the CPU, if the statistic takes any.

        """
        counted_with, num_images = self._counting_with(side, imgs), count_of(imgs)
        if side == "real" and self._has_kept_real:
            self._has_kept_real = False
            warn(
                "The real images of before `reset` were kept, since `reset_real_features` is False, and more are added"
                " to them now; add real images once, or set `reset_real_features=True`"
            )
        if self._apart is not None and side not in self._apart:  # the value of this batch alone follows
            self._apart[side] = self._state(side)
            self._set_state(side, self._statistic.empty(self.device))
        state = self._state(side)
        name = f"{side}_identity"
        identity = getattr(self, name)
        num_bytes = sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor))
        with torch.inference_mode():
            groups = _grouped(self._parts_of(imgs), _HELD * num_bytes)
            begin, activations = 0, next(groups, None)
            is_whole = activations is not None and len(activations) == num_images
            added_to = state if is_whole else copied(state)
            same = counted_with == CountedWith.of_state(identity)
            after = identity if same else counted_with.as_state(len(identity))
            if is_whole:
                setattr(self, name, incomplete(identity))
            while activations is not None:
                end = begin + len(activations)
                try:
                    self._statistic.add_(added_to, activations, None if keys is None else keys[begin:end])
                except ValueError:  # of an activation that is not finite
                    setattr(self, name, identity)
                    raise
                del activations  # before the next ones are computed
                begin, activations = end, next(groups, None)
            self._set_state(side, added_to | {"identity": after})

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
        if self._latest is None or self._latest[0] != version:
            settings = self._settings_of_states | {"extractors (digest)": extractor.digest}
            self._latest = version, CountedWith(extractor.weights_digest, extractor.preparation, settings)
        return self._latest[1]

    def _counted_with(self, side: str) -> CountedWith | None:
        """Return what images of a side were counted with; None without images."""
        return CountedWith.of_state(getattr(self, f"{side}_identity"))

    def _identity_of(self, side: str, counted_with: Sequence[CountedWith]) -> dict[str, Tensor]:
        """Return the state of the first of several that are equal within rounding; none without images."""
        return {"identity": counted_with[0].as_state(len(getattr(self, f"{side}_identity")))} if counted_with else {}

    def _counting_with(self, side: str, imgs: Inputs) -> CountedWith:
        """Return what images of a side are counted with now.

        ValueError if the weights are others than those of earlier images of this side, or of the reference, or with the
        first images, if the network computes something else than for the reference.
        """
        now, before = self._now(), self._counted_with(side)
        if before is not None:
            now = now._replace(fingerprint=before.fingerprint)
        elif not self.extractor.is_named:
            of_reference = self._of_reference.get(FINGERPRINT)  # perhaps of an earlier version's form
            form = of_reference["input"] if of_reference else self.extractor.input_form(imgs)
            now = now._replace(fingerprint=self.extractor.take_fingerprint(form))
        if now != before:
            keeps = side == "real" and not self.reset_real_features
            remedy = "; make a new metric" if keeps else "; call `reset` first"
            message = f"Images of the {side} side were counted with other weights"
            check_same(message, {} if before is None else before.identity, now.identity, remedy=remedy)
            check_same("The reference was made with other weights", self._of_reference, now.identity)
        return now

    def _origin(self, side: str) -> dict[str, Any]:
        """Return what images of a side were counted with, as the fields of a DNA."""
        return {"extractor": self.extractor.name} | (self._counted_with(side) or self._now()).origin

    @override
    def _check_own(self, runs: bool) -> None:
        """Raise ValueError if the sides are of unlike networks, or, if it ``runs``, the network has changed since."""
        remedy = "; call `reset`, and count all images with the same weights"
        sides = [*filter(None, map(self._counted_with, self._sides))]
        identities = [self._of_reference, *(side.identity for side in sides)]
        check_same("The sides can't be compared", *identities, remedy=remedy)
        fingerprint = sides[0].fingerprint if sides and runs else None
        # a network that has learned on since is another, whose digest is not needed, and the sides are still of one
        is_of_now = self._latest is None or self._latest[0][0] == self.extractor.weights_version
        if fingerprint and is_of_now and sides[0]._replace(fingerprint=None) == self._now():
            now = {FINGERPRINT: self.extractor.take_fingerprint(fingerprint["input"])}
            message = "The network changed after images were counted"
            check_same(message, now, *(side.identity for side in sides), remedy=remedy)

    # States

    def _value_of(self, side: str, state: State | None = None) -> Any:
        """Return the statistic's value of a side, or of a copy of its state."""
        return self._statistic.value(self._state(side) if state is None else state, self._origin(side))

    def _state(self, side: str) -> State:
        return {name: getattr(self, f"{side}_{name}") for name in self._statistic.fields}

    def _set_state(self, side: str, state: State) -> None:
        self.__dict__.update({f"{side}_{name}": tensor for name, tensor in state.items()})  # all at once

    @override
    def _add_earlier(self, earlier: dict[str, State]) -> None:
        with torch.inference_mode():
            for side, state in earlier.items():  # into the batch's, since others of a compute group may hold these
                self._statistic.merge_(self._state(side), state)

    @override
    def _kept_at_reset(self) -> dict[str, Any]:
        """Return the real side's states with ``reset_real_features=False``, unless they are incomplete."""
        if self.reset_real_features or "real" not in self._sides:
            return {}
        identity: Any = self.metric_state["real_identity"]
        if is_incomplete(identity):
            return {}
        if self._counted_with("real") is not None:
            self._has_kept_real = True
        return {name: state for name, state in self.metric_state.items() if name.startswith("real_")}

    @override
    def _to_agree_on(self) -> dict[str, Any]:
        self._check_own(runs=True)
        own: dict[str, Any] = {side: self._counted_with(side) for side in self._sides}
        return own | {"settings": self._settings_of_states | self._settings}

    @override
    def _reduce_sides(self, everyone: Sequence[dict[str, Any]], group: Any, gather: Any) -> None:
        """Reduce by one all-reduce a side, or two where histograms or moments must first be brought to a common form.

        Rows of images are gathered, and a custom ``dist_sync_fn`` gathers all.
        """
        message = "Processes hold metrics that can't be reduced together"
        check_same(message, *(each["settings"] for each in everyone), error=RuntimeError)
        counted_with = {side: [CountedWith(*each[side]) for each in everyone if each[side]] for side in self._sides}
        for of_ranks in counted_with.values():
            check_same(message, *(each.identity for each in of_ranks), error=RuntimeError)
        states = {side: self._state(side) for side in self._sides}
        for state in states.values():
            self._statistic.reduce_(state, group, gather)
        for side, state in states.items():
            self._set_state(side, state | self._identity_of(side, counted_with[side]))

    @override
    def _check_merge(self, states: dict[str, Any], in_window: bool) -> dict[str, Any]:
        if in_window and not self.reset_real_features and "real" in self._sides:
            raise ValueError(
                "A window of updates can't go with `reset_real_features=False`, since each would hold the real images"
                " again; give `reset_real_features=True`, or the real side as `reference`"
            )
        theirs, common = self._check_fit(states), dict[str, Any]()
        for side in self._sides:
            counted_with = [*filter(None, (self._counted_with(side), theirs[side]))]
            check_same(_NOT_MERGED, *(each.identity for each in counted_with))
            # of two that are equal within rounding, the largest byte by byte is neither
            common |= {f"{side}_{name}": state for name, state in self._identity_of(side, counted_with).items()}
        return common

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

    @override
    def _check_fit(self, states: dict[str, Any]) -> dict[str, CountedWith | None]:
        """Return what states of another metric were counted with; ValueError if they are not like those of this one."""
        for name, own in self.metric_state.items():
            field, state = name.partition("_")[2], states.get(name, [])
            dtype = own.dtype if isinstance(own, Tensor) else self._statistic.fields[field].dtype
            for part in state if isinstance(state, list) else [state]:
                if part.dtype != dtype:
                    raise ValueError(
                        f"Expected state variable {name} to be {dtype}, but got {part.dtype}; give the state as it was"
                        " saved, without a change of precision"
                    )
        identities = {name: states.get(f"{name}_identity") for name in self._sides}
        theirs = {name: None if state is None else CountedWith.of_state(state) for name, state in identities.items()}
        check_same(_NOT_MERGED, self._settings_of_states, *(each.identity for each in theirs.values() if each))
        for name, own in self.metric_state.items():
            state = states.get(name)
            if state is None or (isinstance(own, Tensor) and own.shape != state.shape):
                raise ValueError(f"Expected state variable {name} to be present in incoming state, in the same shape")
        return theirs

    @override
    def _moved_beside(self, device: torch.device) -> bool:
        """Move network and reference; without float64 only the network, whose activations are counted on the CPU."""
        if lacks_float64(device):
            self.extractor.to(device)
            return False
        if isinstance(self.reference, DNA):
            self.reference = self.reference.to(device)
        return True

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_latest": None}  # a copy may be of a copy of the network

    @override
    def _on_its_device(self, name: str, state: Any) -> Any:
        """Return a state on the metric's device; what updates compare on the host stays there."""
        field = self._statistic.fields.get(name.partition("_")[2])
        device = "cpu" if field is None or field.on_host else self.device
        return apply_to_collection(state, Tensor, lambda tensor: tensor.to(device))


def _grouped(parts: Iterator[dict[str, Tensor]], num_bytes: int) -> Iterator[Activations]:
    """Yield parts of a batch together, so many that their activations have this size; none is kept for longer."""
    group: list[dict[str, Tensor]] = []
    for part in parts:
        group.append(part)
        del part  # or it is kept while the next one is computed
        if sum(values.nbytes for activations in group for values in activations.values()) >= num_bytes:
            yield Activations(*group)
            group = []
    if group:
        yield Activations(*group)
