"""Base class of all metrics: sets of images, called sides, each with a state of one statistic."""

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

# Size of the activations that are added to a state together, relative to the size of the state. Parts of a batch are
# grouped up to this size, because each addition reads and writes the whole state.
_ADDED_SIZE = 4
# Name of the only side of a metric that does not distinguish real and fake images.
SEEN = "seen"
_NOT_MERGED = "Can't merge the states of these metrics"


class ImageMetric(CheckedMetric):
    """Base class of all metrics: accumulates activations in states of a statistic, one state for each side.

    A side is a set of images. The sides are ``"real"`` and ``"fake"``. With a ``reference`` for the real images, the
    only side is ``"fake"``. A metric that does not distinguish real and fake images has the side ``"seen"``.

    The tensors of the statistic are states with names such as ``real_counts``. Another state of each side, such as
    ``real_identity``, contains an :class:`Identity`: the weights and settings with which its images were counted.

    A subclass defines :meth:`_value`. It defines :meth:`_nan` if there may be too few images for a value. It defines
    ``update`` if the arguments are not images and their side. It adds to ``_settings`` all settings of the value that
    are not in the states. They must be equal in all processes.
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
        # True after a `reset` that kept real images, until the next `update` with real images.
        self._has_kept_real = False
        # The version of the weights and the preparation when the identity was last computed, and this identity.
        self._cached_identity: tuple[tuple[Any, str], Identity] | None = None
        self._settings: dict[str, Any] = {"metrics": type(self).__name__}
        # Settings that two states must share before they can be merged. Weights and preparation of images are compared
        # separately.
        self._state_settings = statistic.settings | {"values of `normalize`": normalize}
        if "real" in sides:
            self._state_settings["values of `reset_real_features`"] = reset_real_features
        if SEEN not in sides:
            self._state_settings["references"] = "none" if reference is None else reference.digest
        self._reference_identity = _identity_of_reference(reference)
        self._add_states()
        # As a submodule, the network moves with the metric.
        self._modules["extractor"] = statistic.extractor

    def _add_states(self) -> None:
        """Add the states of all sides."""
        # Only networks that a user passes as a module have fingerprints, with an entry for each layer.
        fingerprint_layers = [] if self.extractor.is_named else list(self.extractor.neurons)
        identity_length = length_of_state(self._current_identity(), fingerprint_layers)
        for side in self._sides:
            for name, state in self._statistic.empty("cpu").items():
                self._add_large_state(f"{side}_{name}", state, self._statistic.fields[name].reduction)
            no_identity = torch.zeros(identity_length, dtype=torch.uint8)
            self.add_state(f"{side}_identity", no_identity, dist_reduce_fx="max")

    @property
    def extractor(self) -> DNAExtractor:
        """The extractor of the activations."""
        return self._statistic.extractor

    @property
    def feature_network(self) -> str:
        """Attribute that torchmetrics' FeatureShare reads.

        Raises:
            RuntimeError: Always, because the cache of FeatureShare is not updated when the weights change.

        """
        raise RuntimeError(NO_FEATURE_SHARE)

    @property
    def neurons(self) -> Neurons:
        """The neurons, in the order of all tensors with one value or weight per neuron."""
        return self._statistic.neurons

    def _value(self) -> Value:
        """Return the value of the states; TooFewImagesError if a side has too few images."""
        raise NotImplementedError

    def _nan(self) -> Value:
        """Return NaN in the form of the value. ``forward`` returns it if there are too few images."""
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
                with ``inputs="any"``, the inputs that its module accepts.
            real: Whether the images are real.

        Raises:
            ValueError: If images or ``real`` have a wrong type or shape, or activations are not finite. No image is
                added then.

        """
        side = self._side_of(real)
        self._check(imgs)
        self._add(side, imgs)

    def compute(self) -> Value:
        """Compute the value over all images. The documentation of the class describes the value.

        Raises:
            RuntimeError: If there are too few images, or if the metrics of the processes have different settings.
            ValueError: If the sides were counted with different weights, or if activations on a device were not finite.

        """
        return self._value()

    # Adding images

    def _side_of(self, real: bool) -> str:
        """Return the name of the side.

        Raises:
            ValueError: If ``real`` is not a bool, or if a reference is the real side.

        """
        check_bool("real", real)
        if real and self.reference is not None:
            raise ValueError("The real side is the given `reference`, so images can only be added with `real=False`")
        return "real" if real else "fake"

    def _check(self, imgs: Inputs) -> None:
        """Check images before they are added.

        Wrong values of images are not detected here. They make activations NaN, which is detected later.

        Raises:
            ValueError: If the images have a wrong dtype or shape.
            RuntimeError: If a CUDA graph is captured, and this metric works on the host. A replay would skip this work.

        """
        if is_captured():
            keeps_rows = any(field.reduction == "cat" for field in self._statistic.fields.values())
            keeps_folds = getattr(self._statistic, "num_folds", None) is not None
            if keeps_rows or keeps_folds:
                raise RuntimeError(
                    f"A CUDA graph can't capture `update` of this {type(self).__name__}, in which the host takes part:"
                    " it keeps rows or folds of images; call `update` outside of the graph"
                )
        self.extractor.check(imgs, self.normalize, values=False)

    def _add(self, side: str, imgs: Inputs, keys: Tensor | None = None) -> None:
        """Add images to a side, without a device sync.

        Args:
            side: Name of the side.
            imgs: Images, or other inputs, that have been checked.
            keys: Fold or index of each image, shape ``(B,)``, int64, on the CPU; None if the statistic has neither.

        Raises:
            ValueError: If an activation on the CPU is not finite. No image is added then.

        """
        identity = self._identity_for(side, imgs)
        if side == "real":
            self._warn_of_kept_images()
        self._set_earlier_state_apart(side)
        new_identity_state = _updated_identity_state(getattr(self, f"{side}_identity"), identity)
        with torch.inference_mode():
            state = self._state_with(side, imgs, keys)
            self._set_state(side, state | {"identity": new_identity_state})

    def _state_with(self, side: str, imgs: Inputs, keys: Tensor | None) -> State:
        """Return the state of a side with more images; the arguments are those of :meth:`_add`.

        If the activations of the batch form a single group, they are added to the state itself, since a copy would take
        as long as the addition. Several groups are added to a copy of the state.
        """
        state = self._state(side)
        state_size = sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor))
        begin = 0
        for activations in _grouped(self._parts_of(imgs), _ADDED_SIZE * state_size):
            end = begin + len(activations)
            keys_of_group = None if keys is None else keys[begin:end]
            is_whole_batch = len(activations) == count_of(imgs)
            if is_whole_batch:
                self._add_in_place(side, state, activations, keys_of_group)
            else:
                if begin == 0:
                    state = copied(state)
                self._statistic.add_(state, activations, keys_of_group)
            begin = end
            # Free these activations before the next ones are computed.
            del activations
        return state

    def _add_in_place(self, side: str, state: State, activations: Activations, keys: Tensor | None) -> None:
        """Add activations to the tensors of a side themselves, and leave the side marked as incomplete.

        The caller removes the mark when it sets the identity of the side.

        Raises:
            ValueError: If an activation on the CPU is not finite. The side is unchanged then.

        """
        identity_state = getattr(self, f"{side}_identity")
        setattr(self, f"{side}_identity", incomplete(identity_state))
        try:
            self._statistic.add_(state, activations, keys)
        except ValueError:
            # An activation is not finite, and the statistic has not changed the state.
            setattr(self, f"{side}_identity", identity_state)
            raise

    def _warn_of_kept_images(self) -> None:
        """Warn once if real images are added to real images that ``reset`` has kept."""
        if self._has_kept_real:
            self._has_kept_real = False
            warn(
                "The real images of before `reset` were kept, since `reset_real_features` is False, and more are added"
                " to them now; add real images once, or set `reset_real_features=True`"
            )

    def _set_earlier_state_apart(self, side: str) -> None:
        """In ``forward``, move the state of a side to ``_apart``, and replace it by an empty state.

        The value of the state is then that of the batch alone.
        """
        if self._apart is not None and side not in self._apart:
            self._apart[side] = self._state(side)
            self._set_state(side, self._statistic.empty(self.device))

    def _parts_of(self, imgs: Inputs) -> Iterator[dict[str, Tensor]]:
        """Compute activations part by part, without a device sync, and move them to the device of the states."""

        def moved(part: dict[str, Tensor]) -> dict[str, Tensor]:
            # If the device of the network lacks float64, the states are on the CPU.
            first_layer = next(iter(part.values()))
            if not lacks_float64(first_layer.device):
                return part
            return {layer: values.to(self.device) for layer, values in part.items()}

        # Unlike a generator, `map` does not keep a part while the next part is computed.
        return map(moved, self.extractor.in_parts(imgs, wait=False))

    # Identities: the weights and settings with which images are counted

    def _current_identity(self) -> Identity:
        """Return the identity of images that are counted with the current weights.

        A device sync is necessary only if the weights may have changed.
        """
        extractor = self.extractor
        version = extractor.weights_version, repr(extractor.preparation)
        if self._cached_identity is not None:
            cached_version, cached_identity = self._cached_identity
            if cached_version == version:
                return cached_identity
        settings = self._state_settings | {EXTRACTOR_DIGEST: extractor.digest}
        current = Identity(extractor.weights_digest, extractor.preparation, settings)
        self._cached_identity = version, current
        return current

    def _identity(self, side: str) -> Identity | None:
        """Return the identity of the images of a side; None without images."""
        return from_state(getattr(self, f"{side}_identity"))

    def _identities(self) -> list[Identity]:
        """Return the identities of all sides that have images."""
        identities = [self._identity(side) for side in self._sides]
        return [identity for identity in identities if identity is not None]

    def _identity_state(self, side: str, identities: Sequence[Identity]) -> dict[str, Tensor]:
        """Return the state of the first of several identities, which are equal within rounding.

        Without identities, return an empty dict.
        """
        if not identities:
            return {}
        length = len(getattr(self, f"{side}_identity"))
        return {"identity": as_state(identities[0], length)}

    def _identity_for(self, side: str, imgs: Inputs) -> Identity:
        """Return the identity of new images of a side.

        The fingerprint of the network is taken with the first images.

        Raises:
            ValueError: If the weights differ from those of earlier images of this side, or of the reference. Also if
                the fingerprint differs from that of the reference.

        """
        without_fingerprint = self._current_identity()
        earlier = self._identity(side)
        current = without_fingerprint._replace(fingerprint=self._fingerprint_for(earlier, imgs))
        if current != earlier:
            self._check_weights(side, earlier, current)
        return current

    def _fingerprint_for(self, earlier: Identity | None, imgs: Inputs) -> Any:
        """Return the fingerprint of the network for new images of a side; None for a named network.

        Args:
            earlier: Identity of earlier images of the side, whose fingerprint is used again; None without images.
            imgs: The new images.

        """
        if earlier is not None:
            return earlier.fingerprint
        if self.extractor.is_named:
            return None
        # The fingerprint is compared with that of the reference. An earlier version may have taken the reference's
        # fingerprint with another input, so the same input is used.
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
        """Return extractor, weights and preparation of the images of a side, as fields of a DNA."""
        identity = self._identity(side) or self._current_identity()
        return {
            "extractor": self.extractor.name,
            "weights_digest": identity.weights_digest,
            "preparation": identity.preparation,
            "fingerprint": identity.fingerprint,
        }

    @override
    def _check_own(self, runs: bool) -> None:
        """Check that all sides were counted with the same network.

        Args:
            runs: Whether the network may be run, to detect that it has changed since the images were counted.

        Raises:
            ValueError: If the sides were counted with different networks, or if the network has changed.

        """
        remedy = "; call `reset`, and count all images with the same weights"
        identities = self._identities()
        check_same("The sides can't be compared", self._reference_identity, *identities, remedy=remedy)
        # After training, the digest of the weights has changed, too. Then the network need not be run.
        if runs and identities and self._has_current_weights(identities[0]):
            fingerprint = identities[0].fingerprint
            if fingerprint:
                current_fingerprint = self.extractor.take_fingerprint(fingerprint["input"])
                current = Identity(None, None, {}, current_fingerprint)
                check_same("The network changed after images were counted", current, *identities, remedy=remedy)

    def _has_current_weights(self, identity: Identity) -> bool:
        """Return True if images were counted with the current weights of the network.

        If the network has been trained since, its weights have another version. Then no digest is computed.
        """
        if self._cached_identity is not None:
            (cached_weights_version, _), _ = self._cached_identity
            if cached_weights_version != self.extractor.weights_version:
                return False
        return identity._replace(fingerprint=None) == self._current_identity()

    # States

    def _value_of(self, side: str, state: State | None = None) -> Any:
        """Return the statistic's value of a side. A copy of the state of the side may be passed in its place."""
        if state is None:
            state = self._state(side)
        return self._statistic.value(state, self._origin(side))

    def _state(self, side: str) -> State:
        """Return the statistic's tensors of a side."""
        return {name: getattr(self, f"{side}_{name}") for name in self._statistic.fields}

    def _set_state(self, side: str, state: State) -> None:
        """Replace tensors of a side."""
        # One call sets all tensors, so that an interrupt can't leave only some of them set.
        self.__dict__.update({f"{side}_{name}": tensor for name, tensor in state.items()})

    @override
    def _add_earlier(self, earlier: dict[str, State]) -> None:
        # Other metrics of a compute group may share the earlier states, so the states of the batch are changed.
        with torch.inference_mode():
            for side, state in earlier.items():
                self._statistic.merge_(self._state(side), state)

    @override
    def _kept_at_reset(self) -> dict[str, Any]:
        """Return the states that ``reset`` keeps: those of the real side, if ``reset_real_features`` is False.

        Incomplete states are never kept.
        """
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
        """Return the identity of each side and all settings, which must be equal in all processes."""
        self._check_own(runs=True)
        identities: dict[str, Any] = {side: self._identity(side) for side in self._sides}
        return identities | {"settings": self._state_settings | self._settings}

    @override
    def _reduce_sides(self, everyone: Sequence[dict[str, Any]], group: Any, gather: Any) -> None:
        """Reduce the states of each side over all processes, by one or two all-reduces.

        A second all-reduce is necessary if the states must first be aligned to a common grid or shift. Rows of images
        are gathered. A custom ``dist_sync_fn`` gathers all states.

        Args:
            everyone: The values of :meth:`_to_agree_on` in each process, in the order of ranks.
            group: The group of processes.
            gather: Custom ``dist_sync_fn``; None for all-reduces.

        Raises:
            RuntimeError: If the settings or the identities of the processes differ.

        """
        why_not_reduced = "Processes hold metrics that can't be reduced together"
        settings = [Identity.of_settings(message["settings"]) for message in everyone]
        check_same(why_not_reduced, *settings, error=RuntimeError)
        identities: dict[str, list[Identity]] = {}
        for side in self._sides:
            identities[side] = [Identity(*message[side]) for message in everyone if message[side]]
            check_same(why_not_reduced, *identities[side], error=RuntimeError)
        states = {side: self._state(side) for side in self._sides}
        for state in states.values():
            self._statistic.reduce_(state, group, gather)
        for side, state in states.items():
            self._set_state(side, state | self._identity_state(side, identities[side]))

    @override
    def _check_merge(self, states: dict[str, Any], in_window: bool) -> dict[str, Any]:
        """Check that other states can be added, and return the identity state of each side by its name.

        Raises:
            ValueError: If the states do not fit, or are those of a window of updates that keeps real images.

        """
        if in_window and not self.reset_real_features and "real" in self._sides:
            raise ValueError(
                "A window of updates can't keep real images (`reset_real_features=False`), since each would hold them"
                " again; pass `reset_real_features=True`, or the real side as `reference`"
            )
        incoming = self._check_fit(states)
        merged: dict[str, Any] = {}
        for side in self._sides:
            own_and_incoming = (self._identity(side), incoming[side])
            identities = [identity for identity in own_and_incoming if identity is not None]
            check_same(_NOT_MERGED, *identities)
            # The identities may differ by rounding. torchmetrics would compute the maximum of each byte, which is
            # neither of them.
            for name, identity_state in self._identity_state(side, identities).items():
                merged[f"{side}_{name}"] = identity_state
        return merged

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the states of another metric to this one.

        Args:
            incoming_state: The other metric, or a dict of its states.

        Raises:
            ValueError: If ``incoming_state`` is neither, or if its weights, layers, bins, bounds, reference or settings
                differ.

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
        """Return the identity of each side in the states of another metric.

        Raises:
            ValueError: If the states do not fit.

        """
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
        """Raise ValueError if the dtypes of the states of another metric differ from those of this one."""
        for name, own in self.metric_state.items():
            field = name.partition("_")[2]
            dtype = own.dtype if isinstance(own, Tensor) else self._statistic.fields[field].dtype
            state = states.get(name, [])
            tensors = state if isinstance(state, list) else [state]
            for tensor in tensors:
                if tensor.dtype != dtype:
                    raise ValueError(
                        f"Expected state variable {name} to be {dtype}, but got {tensor.dtype}; pass the state as it"
                        " was saved, without a change of precision"
                    )

    @override
    def _move_network(self, device: torch.device) -> bool:
        """Move network and reference to a device, and return True if the states must be moved, too.

        To a device without float64, only the network is moved. Its activations are then counted on the CPU.
        """
        if lacks_float64(device):
            self.extractor.to(device)
            return False
        if isinstance(self.reference, DNA):
            self.reference = self.reference.to(device)
        return True

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the metric may have a copy of the network, and the versions of its weights are different.
        return super().__getstate__() | {"_cached_identity": None}

    @override
    def _on_its_device(self, name: str, state: Any) -> Any:
        """Return a state on the metric's device. States that updates read on the host stay on the CPU."""
        field = self._statistic.fields.get(name.partition("_")[2])
        device = "cpu" if field is None or field.on_host else self.device
        return apply_to_collection(state, Tensor, lambda tensor: tensor.to(device))


def _identity_of_reference(reference: DNA | Features | None) -> Identity:
    """Return the identity with which the sides are compared; empty without a reference."""
    if reference is None:
        return Identity.of_settings({})
    # No settings are necessary here: `set_up` has compared them with those of the reference.
    return Identity(reference.weights_digest, None, {}, reference.fingerprint)


def _updated_identity_state(state: Tensor, identity: Identity) -> Tensor:
    """Return the state of an identity; the earlier state itself if the identity has not changed."""
    if identity == from_state(state):
        return state
    return as_state(identity, len(state))


def _grouped(parts: Iterator[dict[str, Tensor]], num_bytes: int) -> Iterator[Activations]:
    """Group consecutive parts of a batch, so that the activations of a group have at least this size.

    A group is not kept while the next one is computed.
    """
    group: list[dict[str, Tensor]] = []
    group_size = 0
    for part in parts:
        group.append(part)
        group_size += sum(values.nbytes for values in part.values())
        # Without this, the variable would keep the part in memory while the next part is computed.
        del part
        if group_size >= num_bytes:
            yield Activations(*group)
            group = []
            group_size = 0
    if group:
        yield Activations(*group)
