"""Citation: how the numbers of a result were computed, in sentences for a methods section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchmetrics_dna.files.visible import images_in_words, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna.distance import Origin, Result

_MOST_NAMED = 8  # sets


@dataclass(frozen=True)
class Citation:
    """Sets and distances of a result, as sentences for a methods section."""

    reference: tuple[str, int]  # name and number of images of A
    sets: Mapping[str, int]  # numbers of images of the sets that were compared with A, by name
    results: Sequence[Result]  # of each distance
    bins: str = ""  # and ranges of histograms, in words
    manner: str = ""  # of the comparison, such as "as pairs"

    def __str__(self) -> str:
        """Return a sentence on sets and software, one for each network, and one on intervals and tests."""
        by_network: dict[str, list[Result]] = {}
        for result in self.results:
            by_network.setdefault(_network(result.origin), []).append(result)
        networks = [f"{self._metrics(results)} of {network}." for network, results in by_network.items()]
        return " ".join(filter(None, [self._sets(), *networks, self._evidence()]))

    def _sets(self) -> str:
        name, count = self.reference
        versions = next((result.origin.versions for result in self.results if result.origin is not None), {})
        own, *others = [f"{package} {version}" for package, version in versions.items()] or ["torchmetrics-dna"]
        software = f"{own} ({', '.join(others)})" if others else own
        manner = f", {self.manner}," if self.manner else ""
        return f"{self._others()} compared with {_images(count)} of {name}{manner} by {software}."

    def _others(self) -> str:
        if len(self.sets) == 1:
            ((name, count),) = self.sets.items()
            return f"{_images(count)} of {name} {'was' if count == 1 else 'were'}"
        counts = sorted(set(self.sets.values()))
        each = f"{_images(counts[0])} each" if len(counts) == 1 else f"{counts[0]:,} to {_images(counts[-1])} each"
        names = f"{', '.join(self.sets)}; " if len(self.sets) <= _MOST_NAMED else ""
        return f"{len(self.sets)} sets ({names}{each}) were"

    def _metrics(self, results: Sequence[Result]) -> str:
        by_part: dict[str, list[str]] = {}
        for result in results:
            by_part.setdefault(self._part(result), []).append(result.distance.name)
        parts = [f"{_joined(names)} ({part})" for part, names in by_part.items()]
        return f"{_joined(parts)} {'is' if len(results) == 1 else 'are'}"

    def _part(self, result: Result) -> str:
        """Return the part of the network, and the bins, that a distance takes."""
        grain, neurons = result.distance.grain, result.neurons
        if grain == "set" or result.distance.protocol is not None:
            return f"layer {result.distance.layer or list(neurons)[-1]}"
        layers = f"layer {next(iter(neurons))}" if len(neurons) == 1 else f"{len(neurons)} layers"
        mean = "mean" if result.weights is None else "weighted sum"
        if grain == "layer":
            return layers if len(neurons) == 1 else f"{mean} over {layers}"
        bins = f", {self.bins}" if self.bins and result.distance.unit == "bins" else ""
        return f"{mean} over {neurons.total:,} neurons of {layers}{bins}"

    def _evidence(self) -> str:
        """Return the sentence on intervals and tests; empty without any."""
        intervals = [result.interval for result in self.results if result.interval is not None]
        tested = any(result.p_value is not None for result in self.results)
        if not intervals:
            return ""
        of_test = " and p-values from permutations" if tested else ""
        level, folds = intervals[0].level, f"{intervals[0].num_folds} folds of images"
        return f"Intervals ({level}) are from the jackknife{of_test}, over {folds}."


def _network(origin: Origin | None) -> str:
    if origin is None:
        return "an unknown network"
    return f"{origin.extractor} (weights {origin.weights_digest or 'unknown'}), of images {_prepared(origin)}"


def _prepared(origin: Origin) -> str:
    """Return the preparation of images in words."""
    preparation = origin.preparation or {}
    size, crop, dtype = (preparation.get(name) for name in ("input_size", "crop", "dtype"))
    cropped = f"cropped to the {crop} and " if crop not in (None, "none") else ""
    resized = (
        f"{cropped}resized to {in_words(size).replace(' ', ' x ')} ({preparation.get('resize')})"
        if size
        else "as they are"
    )
    return resized + (f", in {dtype}" if dtype else "")


def _images(count: int) -> str:
    return images_in_words(count) if count else "an unknown number of images"


def _joined(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
