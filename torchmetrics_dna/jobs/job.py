"""Jobs: map image sets to statistics, in the only loop over activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter, methodcaller
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.dna import DNA, LayerGaussianDNA
from torchmetrics_dna.dna.image_sample import ImageSample
from torchmetrics_dna.extractors.cpu import cut
from torchmetrics_dna.images import Images, ImageSource, Reading
from torchmetrics_dna.images.inputs import mapped, tensors_of
from torchmetrics_dna.images.loader import Batch, load_batches, refusal
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.images.sets import unreadable
from torchmetrics_dna.jobs.groups import Groups, grouping
from torchmetrics_dna.jobs.processes import raise_if_peer_failed
from torchmetrics_dna.statistics.folds import group_folds, image_notes, input_notes
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.statistics import State, Statistic

# Name of the statistic of spatial means of single images, in the layers of outlier scores.
MEANS = "means"


@dataclass(eq=False)
class Split:
    """Measured states of a part of an image set.

    Attributes:
        states: States by name of the statistic.
        unreadable: One line for each image that was left out.
        num_images: Number of images that were read.
        first: Name of the first of these images; empty if there is none.
        last: Name of the last of these images.
        numbers: Index of each image in its source, or its number in a stream, if values of single images are kept.
        names: Names of the images with numbers.
        notes: Values of single images, such as folds and thumbnails, of each batch.

    """

    states: dict[str, State]
    unreadable: list[str] = field(default_factory=list)
    num_images: int = 0
    first: str = ""
    last: str = ""
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: dict[str, list[Tensor]] = field(default_factory=dict)


class Share(NamedTuple):
    """Images that one process or part read of a set, with values of each.

    Attributes:
        num_images: Number of the images.
        unreadable: One line for each image that was left out.
        numbers: Numbers of the images, as in :class:`Split`.
        names: Names of the images.
        rows: Other values of each image, by name.

    """

    num_images: int
    unreadable: list[str]
    numbers: Sequence[int]
    names: Sequence[str]
    rows: Mapping[str, Tensor]


class Activated(NamedTuple):
    """Activations of a batch of images.

    Attributes:
        places: Indices of the readable images; in a stream, numbers of their entries.
        activations: Activations by layer, ``(B, n, *positions)``.
        left_out: One line for each image that was left out.
        names: Names of the readable images.
        notes: Values of single images, such as folds and thumbnails, by name, ``(B, ...)``.
        ends: True if these are the last images of a part.

    """

    places: list[int]
    activations: dict[str, Tensor]
    left_out: list[str]
    names: list[str]
    notes: Mapping[str, Tensor]
    ends: bool

    def take(self, chosen: slice | list[int]) -> Activated:
        """Return some of the images."""
        rows = range(len(self.places))[chosen] if isinstance(chosen, slice) else chosen
        return self._replace(
            places=[self.places[i] for i in rows],
            activations={layer: values[chosen] for layer, values in self.activations.items()},
            names=[self.names[i] for i in rows],
            notes={name: values[chosen] for name, values in self.notes.items()},
        )


@dataclass(frozen=True, eq=False)
class Job:
    """Maps splits of an image set to statistics.

    A split is a range of images, or of shards of a stream. A whole set is one split; so are a part of a resumable job,
    a class, and a window of a stream.

    Args:
        extractor: The network, on its device.
        statistics: The statistics to accumulate, by name.
        reading: Options for reading the images.
        num_folds: Number of folds of images that the statistics keep; None for none.
        groups: Images that share a fold, see :func:`group_names`; by default those of equal pixels.
        folds: Fold of each image, by its number in the source; None for folds by groups.
        notes: Functions of an image's pixels that return more values of it, by name.

    """

    extractor: DNAExtractor
    statistics: Mapping[str, Statistic]
    reading: Reading
    num_folds: int | None = None
    groups: Groups | None = None
    folds: Sequence[int] | None = None
    notes: Sequence[Callable[[Any], dict[str, Tensor]]] = ()

    def run(
        self,
        images: Images,
        splits: Sequence[range] | None = None,
        *,
        size: int | None = None,
        whole: Images | None = None,
    ) -> Iterator[Split]:
        """Yield the measured splits one by one. Release each before taking the next, or two are in memory.

        Args:
            images: The images.
            splits: Range of images, or of shards of a stream, of each split; None for all in one.
            size: Number of images of each split instead; the last split may have fewer.
            whole: The source that the images are a share of, for groups that are given by index.

        Raises:
            ValueError: If images have no such groups, one can't be read, or activations are not finite.

        """
        split: Split | None = None
        for part in self.activate(images, splits, size, whole):
            begin = 0
            ends = part.ends
            while begin < len(part.places):
                if split is None:
                    split = self.empty()
                end = len(part.places)
                if size is not None:
                    end = min(end, begin + size - split.num_images)
                self._add_(split, images, part, slice(begin, end))
                begin = end
                if split.num_images == size:
                    yield split
                    split = None
            if size is None or part.left_out:
                if split is None:
                    split = self.empty()
                split.unreadable += part.left_out
            del part
            if splits is not None and ends:
                assert split is not None
                yield split
                # Counts may be large, so they are freed before those of the next split are allocated.
                split = None
        if splits is None and size is None and split is None:
            split = self.empty()
        if splits is None and split is not None:
            yield split

    def run_by(
        self, images: Images, classes_of: Callable[[Activated], Sequence[str | None]], classes: Sequence[str]
    ) -> dict[str, Split]:
        """Measure all classes in one pass, all in memory; images whose class is None are left out."""
        splits = {name: self.empty() for name in classes}
        for part in self.activate(images):
            labels = classes_of(part)
            # A dictionary keeps each label once, in order.
            for label in dict.fromkeys(labels):
                if not label:
                    continue
                chosen = [i for i, image_label in enumerate(labels) if image_label == label]
                self._add_(splits[label], images, part, chosen)
            splits[classes[0]].unreadable += part.left_out
            del part
        return splits

    def empty(self) -> Split:
        """Return a split of no images."""
        return Split({name: statistic.empty(self.extractor.device) for name, statistic in self.statistics.items()})

    def values(self, split: Split) -> dict[str, Any]:
        """Return the value of each statistic; DNAs are on the CPU, and may be views of the split."""
        origin = self.extractor.origin
        if self.reading.scale is not None:
            origin["preparation"] |= {"scale": self.reading.scale}
        values: dict[str, Any] = {}
        for name, statistic in self.statistics.items():
            value = statistic.value(split.states[name], origin)
            values[name] = value.to("cpu") if isinstance(value, DNA) else value
        return values

    def dnas_and_share(self, split: Split) -> tuple[dict[str, Any], Share]:
        """Return the DNAs of a split, and its other results: values of single images, folds and thumbnails."""
        values = self.values(split)
        rows = {name: values.pop(name) for name, statistic in self.statistics.items() if statistic.by_image}
        rows |= {name: torch.cat(batches) for name, batches in split.notes.items()}
        values = self.with_sample(values, rows)
        return values, Share(split.num_images, split.unreadable, split.numbers, split.names, rows)

    def with_sample(self, dnas: dict[str, Any], rows: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the DNAs with a sample of single images in that of layers, if the job keeps the means of images."""
        kind = LayerGaussianDNA.kind
        means = self.statistics.get(MEANS)
        if kind not in dnas or not isinstance(means, SpatialMeans) or not len(rows[MEANS]):
            return dnas
        means_of_layers = torch.split(rows[MEANS], list(means.neurons.values()), 1)
        by_layer = dict(zip(means.neurons, means_of_layers, strict=True))
        return dnas | {kind: replace(dnas[kind], sample=ImageSample.of(by_layer, rows.get(LAYER)))}

    @property
    def keeps_rows(self) -> bool:
        """True if the job keeps values of single images."""
        if self.num_folds is not None or self.notes:
            return True
        return any(statistic.by_image for statistic in self.statistics.values())

    def activate(
        self,
        images: Images,
        splits: Sequence[range] | None = None,
        size: int | None = None,
        whole: Images | None = None,
    ) -> Iterator[Activated]:
        """Yield the activations of images, batch by batch; arguments are those of :meth:`run`.

        On the CPU, batches are as large as the network runs at once. Delete the activations before the next iteration,
        so that two are never in memory.
        """
        if splits is not None and not splits:
            return
        extractor = self.extractor
        progress = self.reading.progress
        group_of: Callable[[int, str], object] | None = None
        if self.num_folds is not None:
            group_of = grouping(whole or images, self.groups)
        notes = self._functions_of_notes(has_groups=group_of is not None)
        num_done = 0
        total = count_images(images, splits)
        needs_fingerprint = True
        for batch in load_batches(
            images,
            extractor.input_size,
            extractor.crop,
            extractor.resize,
            reading=self.reading,
            channels=extractor.image_channels,
            properties=extractor.has_properties,
            notes=partial(_all_notes, notes) if notes else None,
            parts=splits,
            window=size,
            pin_memory=extractor.device.type == "cuda",
        ):
            pixels = mapped(methodcaller("to", extractor.device, non_blocking=True), batch.images)
            properties: list[Tensor] = []
            if batch.properties is not None:
                properties.append(batch.properties.to(extractor.device, non_blocking=True))
            # The first batch may hold no image that can be read.
            if batch.numbers and needs_fingerprint:
                extractor.take_fingerprint(extractor.input_form(pixels))
                needs_fingerprint = False
            yield from self._activate_batch(batch, pixels, properties, group_of, images)
            num_done += len(batch.numbers) + len(batch.unreadable)
            if progress:
                progress(images.label, num_done, total)
        if progress and total is None and num_done:
            progress(images.label, num_done, num_done)

    def _activate_batch(
        self,
        batch: Batch,
        pixels: Any,
        properties: Sequence[Tensor],
        group_of: Callable[[int, str], object] | None,
        images: Images,
    ) -> Iterator[Activated]:
        """Yield the activations of a batch, in parts that the network runs at once.

        Args:
            batch: The batch, on the CPU.
            pixels: Images or inputs of the batch, on the device of the extractor.
            properties: Image properties of the batch, on the device of the extractor; empty if there are none.
            group_of: Function that returns the group of an image, of its number and name; None without folds.
            images: All images.

        """
        extractor = self.extractor
        run = partial(extractor, resized=extractor.input_size is not None)
        images_at_once = extractor.images_at_once if extractor.device.type == "cpu" else self.reading.batch_size
        # The first part reports the images of the batch that can't be read.
        unreadable = batch.unreadable
        for part in cut(len(batch.numbers), images_at_once):
            raise_if_peer_failed()
            places = batch.numbers[part]
            names = batch.names[part]
            notes = {name: values[part] for name, values in batch.notes.items()}
            if self.num_folds is not None:
                notes |= self._given_folds(_numbers(images, places), names, group_of, self.num_folds)
            activations: dict[str, Tensor] = {}
            if batch.numbers:
                inputs = [mapped(itemgetter(part), pixels), *(values[part] for values in properties)]
                activations = run(*inputs)
            is_last_part = part.stop == len(batch.numbers)
            activated = Activated(places, activations, unreadable, names, notes, batch.ends and is_last_part)
            del activations
            if extractor.example is not None and batch.numbers:
                inputs_on_host = mapped(itemgetter(part), batch.images)
                noun = extractor.example.noun
                activated = _only_finite(activated, inputs_on_host, noun, self.reading.skip_unreadable)
            yield activated
            del activated
            unreadable = []

    def _functions_of_notes(self, *, has_groups: bool) -> list[Callable[[Any], dict[str, Tensor]]]:
        """Return the functions that note values of an image; with folds, also those that tests need."""
        functions = list(self.notes)
        if self.num_folds is None:
            return functions
        # Without given folds and groups, the fold of an image depends on its pixels.
        folds_by_content = self.num_folds if self.folds is None and not has_groups else None
        if self.extractor.example is None:
            functions.append(partial(image_notes, num_folds=folds_by_content))
        else:
            functions.append(partial(input_notes, num_folds=folds_by_content))
        return functions

    def _given_folds(
        self,
        numbers: Sequence[int],
        names: Sequence[str],
        group_of: Callable[[int, str], object] | None,
        num_folds: int,
    ) -> dict[str, Tensor]:
        """Return the folds of images, ``(B,)``, as a note, if folds or groups are given; else nothing."""
        if self.folds is not None:
            return {"folds": torch.tensor([self.folds[number] for number in numbers])}
        if group_of is not None:
            groups = [group_of(number, name) for number, name in zip(numbers, names, strict=True)]
            return {"folds": group_folds(groups, num_folds)}
        return {}

    def _add_(self, split: Split, images: Images, part: Activated, chosen: slice | list[int]) -> None:
        """Add the chosen images of a part in place."""
        part = part.take(chosen)
        activations = Activations(part.activations)
        places = part.places
        names = part.names
        notes = part.notes
        for name, statistic in self.statistics.items():
            statistic.add_(split.states[name], activations, notes.get("folds"))
        split.num_images += len(places)
        split.first = split.first or names[0]
        split.last = names[-1]
        for name, values in notes.items():
            split.notes.setdefault(name, []).append(values)
        # Without this condition, the lists of a long stream would grow without bound.
        if self.keeps_rows:
            split.numbers += _numbers(images, places)
            split.names += names


def _all_notes(takes: Sequence[Callable[[Any], dict[str, Tensor]]], image: Any) -> dict[str, Tensor]:
    """Return the values that several functions note of an image."""
    return {name: values for take in takes for name, values in take(image).items()}


def _only_finite(part: Activated, inputs: Any, noun: str, skip: bool | None) -> Activated:
    """Leave out inputs whose values and activations are not all finite. Only such values sync a device.

    Raises:
        ValueError: If there are such inputs, with their names, unless they are skipped.

    """
    finite = [values.reshape(len(values), -1).isfinite().all(1) for values in tensors_of(inputs)]
    rows = (~torch.stack(finite).all(0)).nonzero()[:, 0].tolist()
    # Inputs with gaps are fine for a network that ignores them.
    bad = [i for i in rows if not all(bool(values[i].isfinite().all()) for values in part.activations.values())]
    if not bad:
        return part
    lines = [unreadable(part.names[i], ValueError("it has values that are NaN or infinite"), noun) for i in bad]
    if not skip:
        raise ValueError(refusal(lines))
    good = part.take([i for i in range(len(part.places)) if i not in bad])
    return good._replace(left_out=part.left_out + lines)


def _numbers(images: Images, places: Sequence[int]) -> list[int]:
    """Return indices of images in their original source, or running numbers in a stream."""
    if isinstance(images, ImageSource):
        return [images.numbers[i] for i in places]
    return list(places)


def count_images(images: Images, parts: Sequence[range] | None) -> int | None:
    """Return the number of images in these parts; None for a stream of unknown length."""
    if isinstance(images, ImageSource):
        return len(images) if parts is None else sum(map(len, parts))
    has_all_shards = parts is None or sum(map(len, parts)) == len(images.shards)
    return images.count if has_all_shards else None


def check_any_read(num_images: int, unreadable: Sequence[str], label: str, noun: str) -> None:
    """Raise ValueError if all images, or other inputs, were left out, or there were none."""
    if unreadable and num_images == 1:
        raise ValueError(f"The only {noun} could not be read: {unreadable[0]}")
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} {noun}s could be read; the first: {unreadable[0]}")
    if not num_images:
        raise ValueError(f"There are no {noun}s in {label!r}; if it is an iterator, it may have been read before")
