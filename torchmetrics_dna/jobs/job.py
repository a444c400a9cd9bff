"""Jobs: map image sets to statistics, in the only loop over activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
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
    from torchmetrics_dna.images.loader import Batch
    from torchmetrics_dna.statistics import State, Statistic

# Name of the statistic that keeps the spatial means of each image in the layers that outlier scores use.
MEANS = "means"


@dataclass(eq=False)
class Split:
    """Measured states of a part of an image set.

    Attributes:
        states: State of each statistic, by name.
        unreadable: One line for each image that could not be read.
        num_images: Number of images that were read.
        first: Name of the first image that was read; empty if there is none.
        last: Name of the last image that was read; empty if there is none.
        numbers: Index of each image in its source, or its number in a stream. Empty if the job keeps no values of
            single images.
        names: Name of each image in ``numbers``.
        notes: Values of single images, such as folds and thumbnails, by name. The tensors of a list are those of
            consecutive batches.

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
    """Images that were read in one part of a job, or by one process, with their values.

    Attributes:
        num_images: Number of images that were read.
        unreadable: One line for each image that could not be read.
        numbers: Numbers of the images, as in :class:`Split`.
        names: Names of the images.
        rows: Other values of the images, by name. Each tensor has one row per image.

    """

    num_images: int
    unreadable: list[str]
    numbers: Sequence[int]
    names: Sequence[str]
    rows: Mapping[str, Tensor]


class Activated(NamedTuple):
    """Activations of a batch of images, or of a part of a batch.

    Attributes:
        places: Index of each readable image in the source. In a stream, the number of its entry.
        activations: Activations by layer, ``(B, n, *positions)``.
        left_out: One line for each image that could not be read.
        names: Names of the readable images.
        notes: Values of single images, such as folds and thumbnails, by name, ``(B, ...)``.
        ends: True if these are the last images of a split.

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
    """Measurement of statistics of an image set, split by split.

    A split is a range of images, or of shards of a stream. It can be a whole set, a part of a resumable job, a class,
    or a window of a stream.

    Args:
        extractor: The network, on its device.
        statistics: The statistics to accumulate, by name.
        reading: Options for reading the images.
        num_folds: Number of folds of images that the statistics keep, or None to keep no folds.
        groups: Groups of images that share a fold, see :func:`group_names`. By default, images with equal pixels share
            a fold.
        folds: Fold of each image, by the number of the image in its source. If None, the groups decide the folds.
        notes: Functions that receive the pixels of an image, and return values to keep for this image, by name.

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
        """Yield the measured splits one by one.

        Delete each split before the next iteration, so that two splits are never in memory.

        Args:
            images: The images.
            splits: Range of images, or of shards of a stream, of each split. If this and ``size`` are None, all images
                are one split.
            size: Number of images per split, instead of ``splits``. The last split may have fewer.
            whole: The whole source, if ``images`` is a share of it. A sequence of groups has one item for each image of
                the whole source.

        Raises:
            ValueError: If the groups do not fit the images, an image can't be read, or activations are not finite.

        """
        if size is not None:
            yield from self._run_windows(images, size, whole)
            return
        split: Split | None = None
        for part in self.activate(images, splits, whole=whole):
            if split is None:
                split = self.empty()
            if part.places:
                self._add_(split, images, part, slice(None))
            split.unreadable += part.left_out
            is_complete = splits is not None and part.ends
            # Free the activations before the next part is activated, and while the caller has the split.
            del part
            if is_complete:
                yield split
                # Counts may be large. Free those of this split before those of the next one are allocated.
                split = None
        if splits is None:
            if split is None:
                split = self.empty()
            yield split

    def _run_windows(self, images: Images, size: int, whole: Images | None) -> Iterator[Split]:
        """Yield a split for every ``size`` images. The last split may have fewer images."""
        split: Split | None = None
        for part in self.activate(images, size=size, whole=whole):
            # A part may complete one window and begin the next one.
            begin = 0
            while begin < len(part.places):
                if split is None:
                    split = self.empty()
                end = min(len(part.places), begin + size - split.num_images)
                self._add_(split, images, part, slice(begin, end))
                begin = end
                if split.num_images == size:
                    yield split
                    split = None
            if part.left_out:
                if split is None:
                    split = self.empty()
                split.unreadable += part.left_out
            del part
        if split is not None:
            yield split

    def run_by(
        self, images: Images, classes_of: Callable[[Activated], Sequence[str | None]], classes: Sequence[str]
    ) -> dict[str, Split]:
        """Measure the images of each class in one pass. The states of all classes are in memory.

        Args:
            images: The images.
            classes_of: Function that returns the class of each image of a batch. It returns None for an image to leave
                out.
            classes: Names of all classes.

        Returns:
            The split of each class. The first one also has the lines of all unreadable images.

        """
        splits = {name: self.empty() for name in classes}
        for part in self.activate(images):
            classes_of_images = classes_of(part)
            # A dictionary keeps each class once, in order.
            for name in dict.fromkeys(classes_of_images):
                if not name:
                    continue
                chosen = [i for i, class_of_image in enumerate(classes_of_images) if class_of_image == name]
                self._add_(splits[name], images, part, chosen)
            splits[classes[0]].unreadable += part.left_out
            del part
        return splits

    def empty(self) -> Split:
        """Return a split without images."""
        return Split({name: statistic.empty(self.extractor.device) for name, statistic in self.statistics.items()})

    def values(self, split: Split) -> dict[str, Any]:
        """Return the value of each statistic by name. DNAs are on the CPU, and may share memory with the split."""
        origin = self.extractor.origin
        if self.reading.scale is not None:
            origin["preparation"] |= {"scale": self.reading.scale}
        values: dict[str, Any] = {}
        for name, statistic in self.statistics.items():
            value = statistic.value(split.states[name], origin)
            values[name] = value.to("cpu") if isinstance(value, DNA) else value
        return values

    def dnas_and_share(self, split: Split) -> tuple[dict[str, Any], Share]:
        """Return the DNAs of a split by kind, and the values of its single images."""
        dnas: dict[str, Any] = {}
        rows: dict[str, Tensor] = {}
        for name, value in self.values(split).items():
            if self.statistics[name].by_image:
                rows[name] = value
            else:
                dnas[name] = value
        for name, batches in split.notes.items():
            rows[name] = torch.cat(batches)
        share = Share(split.num_images, split.unreadable, split.numbers, split.names, rows)
        return self.with_sample(dnas, rows), share

    def with_sample(self, dnas: dict[str, Any], rows: Mapping[str, Tensor]) -> dict[str, Any]:
        """Add a sample of single images to the DNA of kind layer-gaussian, if the job keeps spatial means of images.

        Args:
            dnas: DNAs by kind.
            rows: Values of single images, by name.

        Returns:
            The DNAs by kind.

        """
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
        """Yield the activations of images in parts of a batch. The arguments are those of :meth:`run`.

        On the CPU, a part has at most as many images as the network processes at once. Delete each part before the next
        iteration, so that the activations of two parts are never in memory.
        """
        if splits is not None and not splits:
            return
        group_of: Callable[[int, str], object] | None = None
        if self.num_folds is not None:
            group_of = grouping(whole or images, self.groups)
        progress = self.reading.progress
        num_done = 0
        total = count_images(images, splits)
        needs_fingerprint = True
        for batch in self._load(images, splits, size, has_groups=group_of is not None):
            pixels = mapped(self._to_device, batch.images)
            # The first batch may hold no image that can be read.
            if batch.numbers and needs_fingerprint:
                self.extractor.take_fingerprint(self.extractor.input_form(pixels))
                needs_fingerprint = False
            yield from self._activate_batch(images, batch, pixels, group_of)
            num_done += len(batch.numbers) + len(batch.unreadable)
            if progress:
                progress(images.label, num_done, total)
        # The size of some streams is known only at their end.
        if progress and total is None and num_done:
            progress(images.label, num_done, num_done)

    def _load(
        self, images: Images, splits: Sequence[range] | None, size: int | None, *, has_groups: bool
    ) -> Iterator[Batch]:
        """Yield the batches of the images, prepared as the network needs them."""
        extractor = self.extractor
        notes = self._functions_of_notes(has_groups=has_groups)
        return load_batches(
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
        )

    def _to_device(self, values: Tensor) -> Tensor:
        """Copy a tensor to the device of the network, without waiting for the copy."""
        return values.to(self.extractor.device, non_blocking=True)

    def _activate_batch(
        self, images: Images, batch: Batch, pixels: Any, group_of: Callable[[int, str], object] | None
    ) -> Iterator[Activated]:
        """Yield the activations of a batch in parts.

        Args:
            images: Source of the images.
            batch: The batch.
            pixels: Images of the batch on the device of the network.
            group_of: Function of the number and name of an image that returns its group; None without groups.

        """
        extractor = self.extractor
        images_at_once = extractor.images_at_once if extractor.device.type == "cpu" else self.reading.batch_size
        inputs = [pixels]
        if batch.properties is not None:
            inputs.append(self._to_device(batch.properties))
        for part in cut(len(batch.numbers), images_at_once):
            raise_if_peer_failed()
            notes = self._notes_of(images, batch, part, group_of)
            # Do not name the result: a variable would keep its activations while the next part is activated.
            yield self._activate_part(batch, part, inputs, notes)

    def _activate_part(
        self, batch: Batch, part: slice, inputs: Sequence[Any], notes: Mapping[str, Tensor]
    ) -> Activated:
        """Return the activations of a part of a batch.

        Args:
            batch: The batch. If it has no readable images, its only part has no activations.
            part: Rows of the part in the batch.
            inputs: Inputs of the network for the whole batch, on its device.
            notes: Values of the images of the part, by name.

        """
        extractor = self.extractor
        activations: dict[str, Tensor] = {}
        if batch.numbers:
            inputs_of_part = [mapped(itemgetter(part), values) for values in inputs]
            activations = extractor(*inputs_of_part, resized=extractor.input_size is not None)
        is_first_part = part.start == 0
        is_last_part = part.stop == len(batch.numbers)
        activated = Activated(
            places=batch.numbers[part],
            activations=activations,
            # The lines of unreadable images come with the first part of the batch.
            left_out=batch.unreadable if is_first_part else [],
            names=batch.names[part],
            notes=notes,
            ends=batch.ends and is_last_part,
        )
        if extractor.example is None or not batch.numbers:
            return activated
        inputs_on_host = mapped(itemgetter(part), batch.images)
        return _only_finite(activated, inputs_on_host, extractor.example.noun, self.reading.skip_unreadable)

    def _notes_of(
        self, images: Images, batch: Batch, part: slice, group_of: Callable[[int, str], object] | None
    ) -> dict[str, Tensor]:
        """Return the values of single images for a part of a batch, by name, including their folds.

        Args:
            images: Source of the images.
            batch: The batch.
            part: Rows of the part in the batch.
            group_of: Function of the number and name of an image that returns its group; None without groups.

        """
        notes = {name: values[part] for name, values in batch.notes.items()}
        if self.num_folds is not None:
            numbers = _numbers_in_source(images, batch.numbers[part])
            notes |= self._given_folds(numbers, batch.names[part], group_of, self.num_folds)
        return notes

    def _functions_of_notes(self, *, has_groups: bool) -> list[Callable[[Any], dict[str, Tensor]]]:
        """Return the functions whose values are kept for each image. With folds, tests need more of these values."""
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
        """Return the folds of images, ``(B,)``, under the name ``"folds"``.

        The dictionary is empty if neither folds nor groups are given: the fold of an image then depends on its pixels.
        """
        if self.folds is not None:
            return {"folds": torch.tensor([self.folds[number] for number in numbers])}
        if group_of is not None:
            groups = [group_of(number, name) for number, name in zip(numbers, names, strict=True)]
            return {"folds": group_folds(groups, num_folds)}
        return {}

    def _add_(self, split: Split, images: Images, part: Activated, chosen: slice | list[int]) -> None:
        """Add the chosen images of a part to a split, in place. At least one image must be chosen."""
        added = part.take(chosen)
        activations = Activations(added.activations)
        for name, statistic in self.statistics.items():
            statistic.add_(split.states[name], activations, added.notes.get("folds"))
        split.num_images += len(added.places)
        if not split.first:
            split.first = added.names[0]
        split.last = added.names[-1]
        for name, values in added.notes.items():
            split.notes.setdefault(name, []).append(values)
        # Without this condition, the lists of a long stream would grow without bound.
        if self.keeps_rows:
            split.numbers += _numbers_in_source(images, added.places)
            split.names += added.names


def _all_notes(functions: Sequence[Callable[[Any], dict[str, Tensor]]], image: Any) -> dict[str, Tensor]:
    """Apply several functions to an image, and return the values of all by name."""
    notes: dict[str, Tensor] = {}
    for function in functions:
        notes |= function(image)
    return notes


def _only_finite(part: Activated, inputs: Any, noun: str, skip: bool | None) -> Activated:
    """Leave out inputs if they and their activations contain values that are NaN or infinite.

    Args:
        part: Activations of the inputs.
        inputs: The inputs, on the CPU.
        noun: Noun for one input, such as "row".
        skip: Whether to leave such inputs out, instead of raising an error.

    Raises:
        ValueError: If there are such inputs, unless they are skipped. The message has their names.

    """
    are_finite = [values.reshape(len(values), -1).isfinite().all(1) for values in tensors_of(inputs)]
    has_nonfinite_values = ~torch.stack(are_finite).all(0)
    rows_to_check = has_nonfinite_values.nonzero().flatten().tolist()
    # A network may ignore missing values, so these inputs are kept if their activations are finite. The activations of
    # other inputs are not checked here, since each batch would then wait for the device.
    bad = [row for row in rows_to_check if not _has_finite_activations(part, row)]
    if not bad:
        return part
    lines = [unreadable(part.names[row], ValueError("it has values that are NaN or infinite"), noun) for row in bad]
    if not skip:
        raise ValueError(refusal(lines))
    good = part.take([row for row in range(len(part.places)) if row not in bad])
    return good._replace(left_out=part.left_out + lines)


def _has_finite_activations(part: Activated, row: int) -> bool:
    """Return whether the activations of one image are finite in all layers."""
    return all(bool(values[row].isfinite().all()) for values in part.activations.values())


def _numbers_in_source(images: Images, places: Sequence[int]) -> list[int]:
    """Return the indices of images in the source that they were taken from. In a stream, return their numbers."""
    if isinstance(images, ImageSource):
        return [images.numbers[i] for i in places]
    return list(places)


def count_images(images: Images, parts: Sequence[range] | None) -> int | None:
    """Return the number of images in these ranges of images or shards; None if it is unknown.

    It is unknown for some shards of a stream, and for a stream of unknown length.
    """
    if isinstance(images, ImageSource):
        return len(images) if parts is None else sum(map(len, parts))
    has_all_shards = parts is None or sum(map(len, parts)) == len(images.shards)
    return images.count if has_all_shards else None


def check_any_read(num_images: int, unreadable: Sequence[str], label: str, noun: str) -> None:
    """Raise ValueError if there are no images, or if none could be read.

    Args:
        num_images: Number of images, also of those that could not be read.
        unreadable: One line for each image that could not be read.
        label: Name of the image set.
        noun: Noun for one input, such as "image".

    """
    if unreadable and num_images == 1:
        raise ValueError(f"The only {noun} could not be read: {unreadable[0]}")
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} {noun}s could be read; the first: {unreadable[0]}")
    if not num_images:
        raise ValueError(f"There are no {noun}s in {label!r}; if it is an iterator, it may have been read before")
