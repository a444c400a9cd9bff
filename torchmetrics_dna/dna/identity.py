"""Identity: the network, preparation and settings that must be equal in values that are merged or compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.extractors.build import untagged
from torchmetrics_dna.extractors.fingerprint import furthest_layer
from torchmetrics_dna.extractors.watch import names_differ
from torchmetrics_dna.images.noun import IDENTITY
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from torchmetrics_dna.neurons.index import Neurons

# Names of properties in errors and in files of jobs.
_WEIGHTS = "weights (digest)"
EXTRACTOR_DIGEST = "extractors (digest)"
# Reason for different digests of weights whose names differ.
_RENAMED = "of tensors with other names, as by weight norm, pruning, or their removal: do either before all images"


class Identity(NamedTuple):
    """Network, preparation of images, and settings that images were counted with.

    Each DNA, each side of a metric, each job in parts, and each file about neurons has an identity. :func:`check_same`
    compares identities. A value of None is unknown, and so is a setting that an identity does not have.

    In JSON, an identity is the list of its fields.

    Attributes:
        weights_digest: Digest of the weights of the network.
        preparation: Preparation of images: resize, input size, crop and so on. In it, None is a known value.
        settings: All other properties, such as the neurons and the number of bins, in types of JSON. The keys are the
            names of the properties in errors.
        fingerprint: Fingerprint of a network that is a module of the user's.

    """

    weights_digest: str | None
    preparation: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    fingerprint: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        extractor: str,
        weights_digest: str | None = None,
        preparation: Mapping[str, Any] | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        *,
        neurons: Neurons | None = None,
        kind: str | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | None = None,
        **more: Any,
    ) -> Identity:
        """Build the identity of an extractor, and of the values that are counted with it.

        Args:
            extractor: Name of the extractor.
            weights_digest: Digest of its weights.
            preparation: Preparation of images.
            fingerprint: Fingerprint of the network.
            neurons: The neurons.
            kind: Representation of the images, such as ``"histogram"``.
            num_bins: Number of bins.
            ranges: Activation ranges, or a text in their place.
            more: Further settings.

        """
        # Self-ranging histograms have different ranges, but are comparable.
        if isinstance(ranges, ActivationRanges):
            ranges = "auto" if ranges.margin == "auto" else ranges.digest
        settings = {
            "kinds": kind,
            "extractors": untagged(extractor),
            "neurons": None if neurons is None else description_of(neurons),
            "numbers of bins": num_bins,
            "activation ranges (digest)": ranges,
            **more,
        }
        known_settings = {name: value for name, value in settings.items() if value is not None}
        return cls(weights_digest or None, preparation, known_settings, fingerprint)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Identity:
        """Build the identity of settings alone, of an unknown network."""
        return cls(None, None, settings)

    def with_settings(self, settings: Mapping[str, Any]) -> Identity:
        """Return an identity with further settings."""
        return self._replace(settings={**self.settings, **settings})

    @property
    def properties(self) -> dict[str, Any]:
        """All known values except for the fingerprint, by the names that errors use, in the order of comparison."""
        properties = dict(self.settings)
        # The digest of the extractor changes with each other property, so it is compared last.
        extractor_digest = properties.pop(EXTRACTOR_DIGEST, None)
        properties[_WEIGHTS] = self.weights_digest
        if self.preparation is not None:
            for name, value in self.preparation.items():
                properties[f"preparations ({name})"] = "none" if value is None else value
        properties[EXTRACTOR_DIGEST] = extractor_digest
        return {name: value for name, value in properties.items() if value is not None}


def description_of(neurons: Neurons) -> str:
    """Return a text that two indices of neurons share only if they are equal."""
    return f"{neurons!r}, digest {neurons.digest}"


def check_same(message: str, *identities: Identity, remedy: str = "", error: type[Exception] = ValueError) -> None:
    """Raise an error that names the first property in which identities differ, and its values.

    A property that is unknown to one identity matches any value. Fingerprints are compared last, within rounding.

    Args:
        message: Beginning of the error's text.
        identities: The identities.
        remedy: End of the error's text.
        error: Type of the error.

    """
    known = [identity.properties for identity in identities]
    names = {name: None for properties in known for name in properties}
    for name in names:
        values = _distinct([properties.get(name) for properties in known])
        if len(values) < 2:
            continue
        reason = ""
        if name == _WEIGHTS and names_differ(*values):
            reason = f" ({_RENAMED})"
        raise error(f"{message}, their {name} differ: {' and '.join(map(repr, values))}{reason}{remedy}")
    fingerprints = _distinct([identity.fingerprint for identity in identities])
    difference = _difference_of_fingerprints(fingerprints)
    if difference is not None:
        raise error(
            f"{message}, their networks have equal weights, but compute other activations of one fixed input"
            f" ({difference}): look for another activation function, hook, adapter or attribute{remedy}"
        )


def check_model_named(extractor: str) -> None:
    """Raise ValueError if the model that computed embeddings is not named. A file must name it."""
    if extractor == IDENTITY:
        raise ValueError(
            f"A file tells what made its embeddings: give the feature {IDENTITY}:MODEL, such as {IDENTITY}:clip-vit-b32"
        )


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return the different values among some that may be equal or unknown."""
    distinct: list[Any] = []
    for value in values:
        if value is not None and value not in distinct:
            distinct.append(value)
    return distinct


def _difference_of_fingerprints(fingerprints: Sequence[Mapping[str, Any]]) -> str | None:
    """Describe the first difference beyond rounding between two fingerprints; None if there is none."""
    for i, fingerprint in enumerate(fingerprints):
        for other in fingerprints[:i]:
            largest_difference = furthest_layer(other, fingerprint)
            if largest_difference is None:
                continue
            layer, difference = largest_difference
            if not layer:
                return "one of them fails on it"
            return f"layer {layer!r} differs by {difference:.2g} of its size"
    return None
