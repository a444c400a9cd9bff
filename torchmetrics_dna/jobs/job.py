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
from torchmetrics_dna.images.loader import load_batches, refusal
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
    """Measured states of a part of an image set."""

    states: dict[str, State]  # states by name of the statistic
    unreadable: list[str] = field(default_factory=list)  # one line for each image that was left out
    num_images: int = 0  # number of images that were read
    first: str = ""  # name of the first of these images; empty if there is none
    last: str = ""  # name of the last one
    numbers: list[int] = field(default_factory=list)  # indices in the source, or numbers in a stream; if rows are kept
    names: list[str] = field(default_factory=list)  # names of the images with numbers
    notes: dict[str, list[Tensor]] = field(default_factory=dict)  # folds and thumbnails of batches, if folds are kept


class Share(NamedTuple):
    """Images that one process or part read of a set, with values of each."""

    num_images: int
    unreadable: list[str]  # one line for each image that was left out
    numbers: Sequence[int]  # numbers of the images, as in Split
    names: Sequence[str]
    rows: Mapping[str, Tensor]  # other values of each image, by name


class Activated(NamedTuple):
    """Activations of a batch of images."""

    places: list[int]  # indices of the readable images; in a stream, numbers of their entries
    activations: dict[str, Tensor]  # {layer: (B, n, *positions)}
    left_out: list[str]  # one line for each image
    names: list[str]  # names of the readable images
    notes: Mapping[str, Tensor]  # folds and thumbnails of them, (B, ...), by name
    ends: bool  # True if these are the last images of a part

    def take(self, chosen: slice | list[int]) -> Activated:
        """Return some of the images."""
        rows = range(len(self.places))[chosen] if isinstance(chosen, slice) else chosen
        places = [self.places[i] for i in rows]
        names = [self.names[i] for i in rows]
        activations, notes = (
            {name: values[chosen] for name, values in of.items()} for of in (self.activations, self.notes)
        )
        return self._replace(places=places, names=names, activations=activations, notes=notes)


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
                split = split or self.empty()
                end = len(part.places) if size is None else min(len(part.places), begin + size - split.num_images)
                self._add_(split, images, part, slice(begin, end))
                begin = end
                if split.num_images == size:
                    yield split
                    split = None
            if size is None or part.left_out:
                split = split or self.empty()
                split.unreadable += part.left_out
            del part
            if splits is not None and ends:
                assert split is not None
                yield split
                split = None  # freed before the next one is allocated: counts may be large
        if splits is None and (size is None or split is not None):
            yield split or self.empty()

    def run_by(
        self, images: Images, classes_of: Callable[[Activated], Sequence[str | None]], classes: Sequence[str]
    ) -> dict[str, Split]:
        """Measure all classes in one pass, all in memory; images whose class is None are left out."""
        splits = {name: self.empty() for name in classes}
        for part in self.activate(images):
            labels = classes_of(part)
            for label in filter(None, dict.fromkeys(labels)):
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
        values = {name: statistic.value(split.states[name], origin) for name, statistic in self.statistics.items()}
        return {name: value.to("cpu") if isinstance(value, DNA) else value for name, value in values.items()}

    def dnas_and_share(self, split: Split) -> tuple[dict[str, Any], Share]:
        """Return the DNAs of a split, and what else was read of it: values of single images, folds and thumbnails."""
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
        by_layer = dict(zip(means.neurons, torch.split(rows[MEANS], list(means.neurons.values()), 1), strict=True))
        return dnas | {kind: replace(dnas[kind], sample=ImageSample.of(by_layer, rows.get(LAYER)))}

    @property
    def keeps_rows(self) -> bool:
        """True if the job keeps values of single images."""
        notes = self.num_folds is not None or bool(self.notes)
        return notes or any(statistic.by_image for statistic in self.statistics.values())

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
        group_of = grouping(whole or images, self.groups) if self.num_folds is not None else None
        num_by_content = self.num_folds if self.folds is None and group_of is None else None
        extractor = self.extractor
        progress = self.reading.progress
        notes_of = image_notes if extractor.example is None else input_notes
        takes = [*self.notes]
        if self.num_folds is not None:
            takes.append(partial(notes_of, num_folds=num_by_content))
        done = 0
        total = count_images(images, splits)
        is_first = True
        run = partial(extractor, resized=extractor.input_size is not None)
        most = extractor.images_at_once if extractor.device.type == "cpu" else self.reading.batch_size
        for batch in load_batches(
            images,
            extractor.input_size,
            extractor.crop,
            extractor.resize,
            reading=self.reading,
            channels=extractor.image_channels,
            properties=extractor.has_properties,
            notes=partial(_all_notes, takes) if takes else None,
            parts=splits,
            window=size,
            pin_memory=extractor.device.type == "cuda",
        ):
            pixels = mapped(methodcaller("to", extractor.device, non_blocking=True), batch.images)
            more = [] if batch.properties is None else [batch.properties.to(extractor.device, non_blocking=True)]
            numbers, left_out = batch.numbers, batch.unreadable
            if numbers and is_first:  # the first batch may hold none that can be read
                extractor.take_fingerprint(extractor.input_form(pixels))
                is_first = False
            for part in cut(len(numbers), most):
                raise_if_peer_failed()
                inputs = [mapped(itemgetter(part), pixels), *(values[part] for values in more)]
                places = numbers[part]
                names = batch.names[part]
                notes = {name: values[part] for name, values in batch.notes.items()}
                numbers_of_source = _numbers(images, places)
                if self.num_folds is not None and self.folds is not None:
                    notes["folds"] = torch.tensor([self.folds[number] for number in numbers_of_source])
                elif self.num_folds is not None and group_of is not None:
                    groups = [*map(group_of, numbers_of_source, names)]
                    notes["folds"] = group_folds(groups, self.num_folds)
                ends = batch.ends and part.stop == len(numbers)
                ran = Activated(places, run(*inputs) if numbers else {}, left_out, names, notes, ends)
                if extractor.example is not None and numbers:
                    of_host = mapped(itemgetter(part), batch.images)
                    ran = _finite(ran, of_host, extractor.example.noun, self.reading.skip_unreadable)
                yield ran
                del ran
                left_out = []
            done += len(numbers) + len(batch.unreadable)
            if progress:
                progress(images.label, done, total)
        if progress and total is None and done:
            progress(images.label, done, done)

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
        if self.keeps_rows:  # unbounded lists for a long stream otherwise
            split.numbers += _numbers(images, places)
            split.names += names


def _all_notes(takes: Sequence[Callable[[Any], dict[str, Tensor]]], image: Any) -> dict[str, Tensor]:
    """Return the values that several functions note of an image."""
    return {name: values for take in takes for name, values in take(image).items()}


def _finite(part: Activated, inputs: Any, noun: str, skip: bool | None) -> Activated:
    """Leave out inputs whose values and activations are not all finite; a device sync where values are not.

    ValueError that names them, unless such are skipped.
    """
    finite = [values.reshape(len(values), -1).isfinite().all(1) for values in tensors_of(inputs)]
    rows = (~torch.stack(finite).all(0)).nonzero()[:, 0].tolist()
    bad = [i for i in rows if not all(bool(values[i].isfinite().all()) for values in part.activations.values())]
    lines = [unreadable(part.names[i], ValueError("it has values that are NaN or infinite"), noun) for i in bad]
    if bad and not skip:
        raise ValueError(refusal(lines))
    good = part.take([i for i in range(len(part.places)) if i not in bad]) if bad else part
    return good._replace(left_out=part.left_out + lines)


def _numbers(images: Images, places: Sequence[int]) -> list[int]:
    """Return indices of images in their original source, or running numbers in a stream."""
    return [images.numbers[i] for i in places] if isinstance(images, ImageSource) else list(places)


def count_images(images: Images, parts: Sequence[range] | None) -> int | None:
    """Return the number of images in these parts; None for a stream of unknown length."""
    if isinstance(images, ImageSource):
        return len(images) if parts is None else sum(map(len, parts))
    return images.count if parts is None or sum(map(len, parts)) == len(images.shards) else None


def check_any_read(num_images: int, unreadable: Sequence[str], label: str, noun: str) -> None:
    """Raise ValueError if all images, or other inputs, were left out, or there were none."""
    if unreadable and num_images == 1:
        raise ValueError(f"The only {noun} could not be read: {unreadable[0]}")
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} {noun}s could be read; the first: {unreadable[0]}")
    if not num_images:
        raise ValueError(f"There are no {noun}s in {label!r}; if it is an iterator, it may have been read before")
