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
from torchmetrics_dna.dna.identity import EXTRACTOR_DIGEST, Identity, check_same
from torchmetrics_dna.extractors.sharing import NO_FEATURE_SHARE
from torchmetrics_dna.images.inputs import Inputs, count_of
from torchmetrics_dna.images.tensors import lacks_float64
from torchmetrics_dna.metrics.checked import CheckedMetric, Value
from torchmetrics_dna.metrics.identity_state import as_state, from_state, incomplete, is_incomplete, length_of_state
from torchmetrics_dna.statistics.base import copied
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics import Metric

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import State, Statistic

# Parts of a batch are added together until their activations have this size, relative to the state. Adding passes
# through the whole state, even if it adds few activations.
_ADDED_SIZE = 4
# The side of a metric that does not distinguish real and fake images.
SEEN = "seen"
_NOT_MERGED = "Can't merge the states of these metrics"


class ImageMetric(CheckedMetric):
    """Base class of all metrics: accumulates activations in states of a statistic, one for each side.

    Sides are ``"real"`` and ``"fake"``, only ``"fake"`` if the real side is a ``reference``, or ``"seen"``.
    States are the statistic's tensors for each side, named ``real_counts`` and the like, and ``real_identity``, which
    holds an :class:`Identity`.

    A subclass defines :meth:`_value`, :meth:`_nan` if that may be without a value, and ``update`` if it takes more or
    less than images and their side. Its ``_settings`` are all that a result depends on besides the states. They must be
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
        # Positional-only arguments leave their names to `kwargs`, so that torchmetrics reports unknown ones.
        /,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_bool("normalize", normalize)
        check_bool("reset_real_features", reset_real_features)
        if normalize and statistic.extractor.example is not None:
            raise ValueError("Argument `normalize` is for images, but the extractor's `inputs` are 'any'")
        self.normalize = normalize
        self.reset_real_features = reset_real_features
        self.reference = reference
        self._statistic = statistic
        self._sides = tuple(sides)
        # True from a `reset` that kept real images to the next `update` with real images.
        self._has_kept_real = False
        # Version of the weights for which the identity was computed last, and that identity.
        self._cached_identity: tuple[Any, Identity] | None = None
        self._settings: dict[str, Any] = {"metrics": type(self).__name__}
        # Settings that two states must share before they can be merged. Weights and preparation are compared
        # separately.
        self._state_settings = statistic.settings | {"values of `normalize`": normalize}
        if "real" in sides:
            self._state_settings["values of `reset_real_features`"] = reset_real_features
        if SEEN not in sides:
            self._state_settings["references"] = "none" if reference is None else reference.digest
        self._reference_identity = Identity.of_settings({})
        if reference is not None:
            # The settings of the reference have been compared when the metric was set up.
            self._reference_identity = Identity(reference.weights_digest, None, {}, reference.fingerprint)
        self._add_states()
        # As a submodule, the network moves with the metric.
        self._modules["extractor"] = statistic.extractor

    def _add_states(self) -> None:
        """Add the states of all sides."""
        # Only modules of the user's have fingerprints, with an entry for each layer.
        fingerprint_layers = [] if self.extractor.is_named else list(self.extractor.neurons)
        identity_length = length_of_state(self._current_identity(), fingerprint_layers)
        for side in self._sides:
            for name, state in self._statistic.empty("cpu").items():
                self._add_large_state(f"{side}_{name}", state, self._statistic.fields[name].reduction)
            no_identity = torch.zeros(identity_length, dtype=torch.uint8)
            self.add_state(f"{side}_identity", no_identity, dist_reduce_fx="max")

    @property
    def extractor(self) -> DNAExtractor:
        """The extractor."""
        return self._statistic.extractor

    @property
    def feature_network(self) -> str:
        """Attribute that torchmetrics' FeatureShare reads. It raises RuntimeError, as its cache becomes outdated."""
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

        A batch in one part is added to the state itself, since a copy would take as long as the addition. The side is
        marked as incomplete meanwhile. A batch in several parts is added to a copy, which then replaces the state.

        Args:
            side: Name of the side.
            imgs: Images, or other inputs, that were checked.
            keys: The fold or index of each image, shape ``(B,)``, int64, on the CPU, if the statistic takes any.

        """
        identity = self._identity_for(side, imgs)
        if side == "real":
            self._warn_of_kept_images()
        self._set_earlier_state_apart(side)
        state = self._state(side)
        identity_state = getattr(self, f"{side}_identity")
        if identity == from_state(identity_state):
            new_identity_state = identity_state
        else:
            new_identity_state = as_state(identity, len(identity_state))
        state_size = sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor))
        with torch.inference_mode():
            groups = _grouped(self._parts_of(imgs), _ADDED_SIZE * state_size)
            activations = next(groups, None)
            is_one_group = activations is not None and len(activations) == count_of(imgs)
            if is_one_group:
                setattr(self, f"{side}_identity", incomplete(identity_state))
            else:
                state = copied(state)
            begin = 0
            while activations is not None:
                end = begin + len(activations)
                try:
                    self._statistic.add_(state, activations, None if keys is None else keys[begin:end])
                except ValueError:
                    # An activation is not finite, and the statistic has added nothing.
                    setattr(self, f"{side}_identity", identity_state)
                    raise
                begin = end
                # Free these activations before the next ones are computed.
                del activations
                activations = next(groups, None)
            self._set_state(side, state | {"identity": new_identity_state})

    def _warn_of_kept_images(self) -> None:
        """Warn once if real images are added to those that ``reset`` kept."""
        if self._has_kept_real:
            self._has_kept_real = False
            warn(
                "The real images of before `reset` were kept, since `reset_real_features` is False, and more are added"
                " to them now; add real images once, or set `reset_real_features=True`"
            )

    def _set_earlier_state_apart(self, side: str) -> None:
        """In ``forward``, move the state to ``_apart`` and begin an empty one, for the value of the batch alone."""
        if self._apart is not None and side not in self._apart:
            self._apart[side] = self._state(side)
            self._set_state(side, self._statistic.empty(self.device))

    def _parts_of(self, imgs: Inputs) -> Iterator[dict[str, Tensor]]:
        """Compute activations, part by part, where they are accumulated, without a device sync."""

        def moved(part: dict[str, Tensor]) -> dict[str, Tensor]:
            # The network may run on a device without float64. Its activations are accumulated on the CPU.
            first_layer = next(iter(part.values()))
            if not lacks_float64(first_layer.device):
                return part
            return {layer: values.to(self.device) for layer, values in part.items()}

        # A generator would keep each part while the next one is computed. `map` does not.
        return map(moved, self.extractor.in_parts(imgs, wait=False))

    # Weights that images are counted with

    def _current_identity(self) -> Identity:
        """Return the identity of images that were counted now.

        The device is waited for only if weights may have changed.
        """
        extractor = self.extractor
        version = extractor.weights_version, repr(extractor.preparation)
        if self._cached_identity is None or self._cached_identity[0] != version:
            settings = self._state_settings | {EXTRACTOR_DIGEST: extractor.digest}
            current = Identity(extractor.weights_digest, extractor.preparation, settings)
            self._cached_identity = version, current
        return self._cached_identity[1]

    def _identity(self, side: str) -> Identity | None:
        """Return the identity of the images of a side; None without images."""
        return from_state(getattr(self, f"{side}_identity"))

    def _identities(self) -> list[Identity]:
        """Return the identities of all sides that have images."""
        identities = [self._identity(side) for side in self._sides]
        return [identity for identity in identities if identity is not None]

    def _identity_state(self, side: str, identities: Sequence[Identity]) -> dict[str, Tensor]:
        """Return the state of the first of several identities that are equal within rounding; none without images."""
        if not identities:
            return {}
        length = len(getattr(self, f"{side}_identity"))
        return {"identity": as_state(identities[0], length)}

    def _identity_for(self, side: str, imgs: Inputs) -> Identity:
        """Return the identity of new images of a side.

        ValueError if the weights are others than those of earlier images of this side, or of the reference, or with the
        first images, if the network computes something else than for the reference.
        """
        current = self._current_identity()
        earlier = self._identity(side)
        if earlier is not None:
            current = current._replace(fingerprint=earlier.fingerprint)
        elif not self.extractor.is_named:
            current = current._replace(fingerprint=self._take_fingerprint(imgs))
        if current != earlier:
            self._check_weights(side, earlier, current)
        return current

    def _take_fingerprint(self, imgs: Inputs) -> Any:
        """Return the fingerprint of the network, comparable with that of the reference if there is one."""
        # The reference's fingerprint may be of inputs in the form of an earlier version.
        reference_fingerprint = self._reference_identity.fingerprint
        if reference_fingerprint:
            return self.extractor.take_fingerprint(reference_fingerprint["input"])
        return self.extractor.take_fingerprint(self.extractor.input_form(imgs))

    def _check_weights(self, side: str, earlier: Identity | None, current: Identity) -> None:
        """Raise ValueError if earlier images of a side, or the reference, were counted with other weights."""
        keeps_images = side == "real" and not self.reset_real_features
        remedy = "; make a new metric" if keeps_images else "; call `reset` first"
        if earlier is not None:
            check_same(f"Images of the {side} side were counted with other weights", earlier, current, remedy=remedy)
        check_same("The reference was made with other weights", self._reference_identity, current)

    def _origin(self, side: str) -> dict[str, Any]:
        """Return what images of a side were counted with, as the fields of a DNA."""
        identity = self._identity(side) or self._current_identity()
        return {
            "extractor": self.extractor.name,
            "weights_digest": identity.weights_digest,
            "preparation": identity.preparation,
            "fingerprint": identity.fingerprint,
        }

    @override
    def _check_own(self, runs: bool) -> None:
        """Raise ValueError if the sides are of unlike networks, or, if it ``runs``, the network has changed since."""
        remedy = "; call `reset`, and count all images with the same weights"
        identities = self._identities()
        check_same("The sides can't be compared", self._reference_identity, *identities, remedy=remedy)
        if not runs or not identities or not self._has_current_weights(identities[0]):
            return
        fingerprint = identities[0].fingerprint
        if fingerprint:
            current_fingerprint = self.extractor.take_fingerprint(fingerprint["input"])
            current = Identity(None, None, {}, current_fingerprint)
            check_same("The network changed after images were counted", current, *identities, remedy=remedy)

    def _has_current_weights(self, identity: Identity) -> bool:
        """Return True if images were counted with the weights that the network has now.

        The weights of a network that was trained since have another version, so their digest is not computed.
        """
        cached = self._cached_identity
        if cached is not None and cached[0][0] != self.extractor.weights_version:
            return False
        return identity._replace(fingerprint=None) == self._current_identity()

    # States

    def _value_of(self, side: str, state: State | None = None) -> Any:
        """Return the statistic's value of a side, or of a copy of its state."""
        if state is None:
            state = self._state(side)
        return self._statistic.value(state, self._origin(side))

    def _state(self, side: str) -> State:
        return {name: getattr(self, f"{side}_{name}") for name in self._statistic.fields}

    def _set_state(self, side: str, state: State) -> None:
        # One call sets all tensors, so that an interrupt leaves all or none of them set.
        self.__dict__.update({f"{side}_{name}": tensor for name, tensor in state.items()})

    @override
    def _add_earlier(self, earlier: dict[str, State]) -> None:
        # The states of the batch change, since other members of a compute group may hold the earlier ones.
        with torch.inference_mode():
            for side, state in earlier.items():
                self._statistic.merge_(self._state(side), state)

    @override
    def _kept_at_reset(self) -> dict[str, Any]:
        """Return the real side's states with ``reset_real_features=False``, unless they are incomplete."""
        if self.reset_real_features or "real" not in self._sides:
            return {}
        identity_state: Any = self.metric_state["real_identity"]
        if is_incomplete(identity_state):
            return {}
        if self._identity("real") is not None:
            self._has_kept_real = True
        return {name: state for name, state in self.metric_state.items() if name.startswith("real_")}

    @override
    def _to_agree_on(self) -> dict[str, Any]:
        self._check_own(runs=True)
        identities: dict[str, Any] = {side: self._identity(side) for side in self._sides}
        return identities | {"settings": self._state_settings | self._settings}

    @override
    def _reduce_sides(self, everyone: Sequence[dict[str, Any]], group: Any, gather: Any) -> None:
        """Reduce by one all-reduce a side, or two where histograms or moments must first be brought to a common form.

        Rows of images are gathered, and a custom ``dist_sync_fn`` gathers all.
        """
        message = "Processes hold metrics that can't be reduced together"
        settings = [Identity.of_settings(rank["settings"]) for rank in everyone]
        check_same(message, *settings, error=RuntimeError)
        identities: dict[str, list[Identity]] = {}
        for side in self._sides:
            identities[side] = [Identity(*rank[side]) for rank in everyone if rank[side]]
            check_same(message, *identities[side], error=RuntimeError)
        states = {side: self._state(side) for side in self._sides}
        for state in states.values():
            self._statistic.reduce_(state, group, gather)
        for side, state in states.items():
            self._set_state(side, state | self._identity_state(side, identities[side]))

    @override
    def _check_merge(self, states: dict[str, Any], in_window: bool) -> dict[str, Any]:
        if in_window and not self.reset_real_features and "real" in self._sides:
            raise ValueError(
                "A window of updates can't go with `reset_real_features=False`, since each would hold the real images"
                " again; give `reset_real_features=True`, or the real side as `reference`"
            )
        incoming = self._check_fit(states)
        merged: dict[str, Any] = {}
        for side in self._sides:
            both = (self._identity(side), incoming[side])
            identities = [identity for identity in both if identity is not None]
            check_same(_NOT_MERGED, *identities)
            # The two may be equal only within rounding. torchmetrics would take the maximum of each byte, which is
            # neither of them.
            for name, state in self._identity_state(side, identities).items():
                merged[f"{side}_{name}"] = state
        return merged

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric, or a dict of its states, to this one.

        Raises:
            ValueError: If it is neither, or of other weights, layers, bins, bounds, reference or settings.

        """
        if isinstance(incoming_state, ImageMetric):
            own = Identity.of_settings(self._state_settings)
            incoming = Identity.of_settings(incoming_state._state_settings)
            check_same(_NOT_MERGED, own, incoming)
            incoming_state = incoming_state.metric_state
        if not isinstance(incoming_state, dict):
            raise ValueError(f"Expected incoming state to be a dict or an instance of {type(self).__name__}")
        self._merge(incoming_state)

    @override
    def _check_fit(self, states: dict[str, Any]) -> dict[str, Identity | None]:
        """Return the identities of states of another metric; ValueError if they are not like those of this one."""
        self._check_dtypes(states)
        incoming: dict[str, Identity | None] = {}
        for side in self._sides:
            identity_state = states.get(f"{side}_identity")
            incoming[side] = None if identity_state is None else from_state(identity_state)
        identities = [identity for identity in incoming.values() if identity is not None]
        check_same(_NOT_MERGED, Identity.of_settings(self._state_settings), *identities)
        for name, own in self.metric_state.items():
            state = states.get(name)
            if state is None or (isinstance(own, Tensor) and own.shape != state.shape):
                raise ValueError(f"Expected state variable {name} to be present in incoming state, in the same shape")
        return incoming

    def _check_dtypes(self, states: dict[str, Any]) -> None:
        """Raise ValueError if states of another metric have other dtypes than those of this one."""
        for name, own in self.metric_state.items():
            field = name.partition("_")[2]
            dtype = own.dtype if isinstance(own, Tensor) else self._statistic.fields[field].dtype
            state = states.get(name, [])
            tensors = state if isinstance(state, list) else [state]
            for tensor in tensors:
                if tensor.dtype != dtype:
                    raise ValueError(
                        f"Expected state variable {name} to be {dtype}, but got {tensor.dtype}; give the state as it"
                        " was saved, without a change of precision"
                    )

    @override
    def _move_network(self, device: torch.device) -> bool:
        """Move network and reference; without float64 only the network, whose activations are counted on the CPU."""
        if lacks_float64(device):
            self.extractor.to(device)
            return False
        if isinstance(self.reference, DNA):
            self.reference = self.reference.to(device)
        return True

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the metric may hold a copy of the network, whose weights have other versions.
        return super().__getstate__() | {"_cached_identity": None}

    @override
    def _on_its_device(self, name: str, state: Any) -> Any:
        """Return a state on the metric's device; what updates compare on the host stays there."""
        field = self._statistic.fields.get(name.partition("_")[2])
        device = "cpu" if field is None or field.on_host else self.device
        return apply_to_collection(state, Tensor, lambda tensor: tensor.to(device))


def _grouped(parts: Iterator[dict[str, Tensor]], num_bytes: int) -> Iterator[Activations]:
    """Yield parts of a batch together, so many that their activations have this size; none is kept for longer."""
    group: list[dict[str, Tensor]] = []
    group_size = 0
    for part in parts:
        group.append(part)
        group_size += sum(values.nbytes for values in part.values())
        # Otherwise the part is kept while the next one is computed.
        del part
        if group_size >= num_bytes:
            yield Activations(*group)
            group = []
            group_size = 0
    if group:
        yield Activations(*group)
