"""Identity of a value: network, preparation and settings, which must be equal if values are merged or compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
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
# Explanation of an error about weights, if the names of their tensors differ.
_RENAMED = "of tensors with other names, as by weight norm, pruning, or their removal: do either before all images"


class Identity(NamedTuple):
    """Network, image preprocessing and settings by which a value was computed.

    Each DNA, each set of a metric, each job in parts, and each file about neurons has an identity. :func:`check_same`
    compares identities. None means that a value is unknown. A setting that is missing is unknown, too.

    In JSON, an identity is the list of its fields.

    Attributes:
        weights_digest: Digest of the weights of the network.
        preparation: Image preprocessing: resize, input size, crop and so on. In this mapping, None is a known value.
        settings: All other properties, such as the neurons and the number of bins, in types of JSON. The keys are the
            names of the properties in errors.
        fingerprint: Fingerprint of the network, if it is a module of the user's.

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
        """Build the identity of an extractor, or of a value that is computed with the extractor.

        Args:
            extractor: Name of the extractor.
            weights_digest: Digest of its weights.
            preparation: Image preprocessing.
            fingerprint: Fingerprint of the network.
            neurons: The neurons.
            kind: Representation of DNA, such as ``"histogram"``.
            num_bins: Number of bins.
            ranges: Activation ranges, or a text that identifies them.
            more: Further settings.

        """
        # Self-ranging histograms are comparable although their ranges differ.
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
        """Build an identity that has settings, but no known network."""
        return cls(None, None, settings)

    def with_settings(self, settings: Mapping[str, Any]) -> Identity:
        """Return an identity with further settings."""
        return self._replace(settings={**self.settings, **settings})

    @property
    def properties(self) -> dict[str, Any]:
        """All known values except for the fingerprint, by their names in errors, in the order of comparison."""
        properties = dict(self.settings)
        # The digest of the extractor changes with any other property, so an error about that property is clearer.
        extractor_digest = properties.pop(EXTRACTOR_DIGEST, None)
        properties[_WEIGHTS] = self.weights_digest
        if self.preparation is not None:
            for name, value in self.preparation.items():
                properties[f"preparations ({name})"] = "none" if value is None else value
        properties[EXTRACTOR_DIGEST] = extractor_digest
        return {name: value for name, value in properties.items() if value is not None}


def description_of(neurons: Neurons) -> str:
    """Return a text that differs for any two indices of neurons that differ."""
    return f"{neurons!r}, digest {neurons.digest}"


def check_same(message: str, *identities: Identity, remedy: str = "", error: type[Exception] = ValueError) -> None:
    """Raise an error if identities differ. The error names the first property that differs, and its values.

    A property that is unknown in one identity matches any value. Fingerprints are compared last, within rounding.

    Args:
        message: Beginning of the error's text.
        identities: The identities.
        remedy: End of the error's text.
        error: Type of the error.

    """
    properties_of_identities = [identity.properties for identity in identities]
    # A dictionary keeps each name once, in the order of comparison.
    names = dict.fromkeys(chain(*properties_of_identities))
    for name in names:
        values = _distinct([properties.get(name) for properties in properties_of_identities])
        if len(values) > 1:
            raise error(f"{message}, {_difference(name, values)}{remedy}")
    fingerprints = _distinct([identity.fingerprint for identity in identities])
    difference = _difference_of_fingerprints(fingerprints)
    if difference is not None:
        raise error(
            f"{message}, their networks have equal weights, but compute other activations of one fixed input"
            f" ({difference}): look for another activation function, hook, adapter or attribute{remedy}"
        )


def check_model_named(extractor: str) -> None:
    """Raise ValueError if the model that computed embeddings is not named, since a file must name the model."""
    if extractor == IDENTITY:
        raise ValueError(
            f"A file tells what made its embeddings: pass the feature {IDENTITY}:MODEL, such as {IDENTITY}:clip-vit-b32"
        )


def _difference(name: str, values: Sequence[Any]) -> str:
    """Describe a property that differs, with its values."""
    description = f"their {name} differ: {' and '.join(map(repr, values))}"
    if name == _WEIGHTS and names_differ(*values):
        description += f" ({_RENAMED})"
    return description


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return each known value once."""
    distinct: list[Any] = []
    for value in values:
        if value is not None and value not in distinct:
            distinct.append(value)
    return distinct


def _difference_of_fingerprints(fingerprints: Sequence[Mapping[str, Any]]) -> str | None:
    """Describe the first difference between two fingerprints that exceeds rounding; None if there is none."""
    for i, fingerprint in enumerate(fingerprints):
        for earlier_fingerprint in fingerprints[:i]:
            largest_difference = furthest_layer(earlier_fingerprint, fingerprint)
            if largest_difference is None:
                continue
            layer, difference = largest_difference
            if not layer:
                return "one of them fails on it"
            return f"layer {layer!r} differs by {difference:.2g} of its size"
    return None
