"""Make the DNA of an image set in memory or in files, and measure activation ranges."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.dna.distances import Kind
from torchmetrics_dna.dna.identity import check_model_named
from torchmetrics_dna.images import Images, ImageStream, Source
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.paths import check_writable, is_address
from torchmetrics_dna.images.sets import left_out_in_words
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.job import Job, check_any_read
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.on_ray import finish_on_ray
from torchmetrics_dna.jobs.parts import Parts
from torchmetrics_dna.jobs.plan import keeping_sample
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.neurons.ranges import ActivationRanges, FixedMargin
from torchmetrics_dna.options import written
from torchmetrics_dna.statistics import RangeStatistic
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.statistics import State
    from torchmetrics_dna.statistics.setup import Feature


@overload
def make_dna(source: Source, feature: Feature | None = None, *, kind: Kind = ..., **options: Any) -> DNA: ...


@overload
def make_dna(
    source: Source, feature: Feature | None = None, *, kind: Sequence[Kind], **options: Any
) -> dict[str, DNA]: ...


@taking("layers", "num_bins", "ranges", "groups", "reading", "distributed", "on", num_folds=None)
def make_dna(
    source: Source,
    feature: Feature | None = None,
    *,
    kind: Kind | Sequence[Kind] = "histogram",
    **options: Any,
) -> DNA | dict[str, DNA]:
    """Make the DNA of an image set (section 3.2 of the paper).

    Args:
        source: A folder, a file of images (zip, tar, Parquet, array, list, video), an address or a pattern of these,
            a dataset, images in memory, or an iterable of images; see :func:`open_source`.
        feature: A :class:`DNAExtractor`, or its ``feature``; a name runs on CUDA if there is a GPU.
        kind: ``"histogram"``, ``"gaussian"`` or ``"layer-gaussian"``. A list of several kinds is made in one pass over
            the images.
        options: Some of :class:`Arguments`, as the signature shows. Pass ``num_folds``, such as 20, to keep the folds
            that the tests of :func:`compare` need.

    Returns:
        A :class:`HistogramDNA`, :class:`GaussianDNA` or :class:`LayerGaussianDNA`, on the CPU. For a list of kinds, a
        dict with the DNA of each kind.

    Raises:
        ValueError: If an argument is wrong, there are no images, or an image can't be read.

    Example:
        >>> import numpy as np
        >>> make_dna([np.zeros((40, 50, 3), np.uint8)], layers=["head"])
        HistogramDNA(1 image, 'efficientnet_lite0', 1000 bins, Neurons(1280 in 1 layer: head 1280), ranges \
efficientnet_lite0)

    """
    arguments = Arguments(feature, **options)
    with in_step(arguments.distributed):
        # A dictionary keeps each kind once, in order.
        kinds: list[Any] = [kind] if isinstance(kind, str) else list(dict.fromkeys(kind))
        if not kinds:
            raise ValueError("Argument `kind` expected to be one kind of DNA or several, but got none")
        for name in kinds:
            check_one_of("kind", name, Kind)
        opened = open_sides([source], arguments, kinds)
        # This raises an error if the source is a DNA.
        opened.source(0, "A DNA")
        sides = replace(opened, jobs=[keeping_sample(opened.jobs[0])])
        measured = sides.measured(0)
    left_out = measured.unreadable
    if left_out:
        warn(f"{left_out_in_words(left_out)}, the first: {left_out[0]}")
    if isinstance(kind, str):
        return measured.first
    return {name: measured.dnas[name] for name in kinds}


def make_files(
    source: Source,
    output: str | os.PathLike[str],
    kinds: Sequence[Kind],
    arguments: Arguments,
    *,
    resume: bool,
    notes: str,
) -> tuple[dict[str, Path | str], list[str]]:
    """Write the DNA of an image set to one file per kind, in one pass over the images.

    The images are measured in parts. The parts are kept in the folder ``OUTPUT.parts`` until the output is written. The
    folder is locked meanwhile, so that no other job writes to it. The files are the same, byte by byte, for any number
    of processes.

    In a stream of files, each file is a part. If there are more than 1,000 files, a part has several. A stream that
    lives in this process has no parts.

    Args:
        source: See :func:`open_source`.
        output: Path of the file, or an address such as ``s3://bucket/x.dna.npz``. For an address, the folder of parts
            is in the working directory. For several kinds, the files of ``x.dna.npz`` are ``x.histogram.dna.npz`` and
            so on.
        kinds: Kinds of DNA to make.
        arguments: As for :func:`make_dna`. All processes of torch.distributed share the images.
        resume: Whether to resume from the finished parts of an interrupted call.
        notes: Text to store in the files.

    Returns:
        The path or address of the file of each kind, and one line for each image that could not be read.

    Raises:
        FileNotFoundError: If the images, or the folder or bucket to write to, do not exist.
        FileExistsError: If ``output`` exists and is not a file.
        ValueError: If the images can't be measured, see :func:`measure`. If the folder of parts can't be used, see
            :meth:`Parts.begin`. If ``resume`` is passed for a stream that has no parts.

    """
    with in_step():
        sides = open_sides([source], arguments, kinds)
        check_model_named(sides.extractor.name)
        images = sides.source(0, "A DNA")
        job = keeping_sample(sides.jobs[0])
        paths = output_paths(output, kinds)
        if isinstance(images, ImageStream) and not images.of_files:
            return paths, _measure_stream(images, job, paths, resume, notes)
        parts = Parts(parts_folder(output), images, job)
    try:
        with in_step():
            if rank() == 0:
                parts.begin(resume)
            _measure_missing(parts, arguments.on)
            _save_merged(parts, paths, notes)
            unreadable = parts.unreadable()
            # Wait until all processes have read the parts, which are removed next.
            gather(None)
            if rank() == 0:
                parts.remove()
    finally:
        parts.end()
    return paths, unreadable


def _measure_missing(parts: Parts, on: str | None) -> None:
    """Measure the parts that are not finished, in all processes or on a Ray cluster."""
    if on is not None:
        for _ in finish_on_ray(parts, on):
            # The results are in the folder of the parts.
            pass
        return
    # The processes share the parts that were missing in rank 0 before any process finished a part.
    missing = gather(parts.missing())[0]
    parts.measure(missing[rank() :: world_size()])
    # Wait until all processes have written their parts.
    gather(None)


def _save_merged(parts: Parts, paths: Mapping[str, Path | str], notes: str) -> None:
    """Merge the DNAs of all parts, and write them to files in the first process.

    Args:
        parts: The parts, which are all finished.
        paths: Path or address of the file of each kind.
        notes: Text to store in the files.

    Raises:
        ValueError: In all processes, if no image could be read.

    """
    dnas = parts.merged()
    if rank() > 0:
        return
    for kind, dna in dnas:
        replace(dna, notes=notes).save(paths[kind])
        # Two DNAs are large, so free this one before the next is merged.
        del dna


def _measure_stream(images: ImageStream, job: Job, paths: dict[str, Path | str], resume: bool, notes: str) -> list[str]:
    """Write the DNAs of a stream that lives in this process, without parts.

    Args:
        images: The stream.
        job: Job that measures the DNAs.
        paths: Path or address of the file of each kind.
        resume: Whether finished parts were requested, which is an error.
        notes: Text to store in the files.

    Returns:
        One line for each image that could not be read.

    """
    if resume:
        raise ValueError(
            f"{images.label!r} lives in this process, so it has no parts to resume from; omit"
            f" {written('resume')}, or pass files"
        )
    measured = measure(job, images, distributed=world_size() > 1)
    if rank() == 0:
        for kind, path in paths.items():
            replace(measured.dnas[kind], notes=notes).save(path)
    return measured.unreadable


def output_paths(output: str | os.PathLike[str], kinds: Sequence[str]) -> dict[str, Path | str]:
    """Return the path or address of the file of each kind of DNA, and check that the file can be written.

    Raises:
        OSError: If a file can't be written, see :func:`check_writable`.

    """
    output = os.fspath(output)
    is_only_kind = len(kinds) == 1
    names = {kind: output if is_only_kind else _name_with_kind(output, kind) for kind in kinds}
    for name in names.values():
        check_writable(name)
    return {kind: name if is_address(name) else Path(name) for kind, name in names.items()}


def _name_with_kind(output: str, kind: str) -> str:
    """Insert a kind of DNA before the suffix of a file name: ``x.dna.npz`` becomes ``x.histogram.dna.npz``."""
    for suffix in (".dna.npz", ".npz"):
        if output.endswith(suffix):
            return f"{output.removesuffix(suffix)}.{kind}{suffix}"
    return f"{output}.{kind}"


def parts_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder of a job's parts, next to the output. For an address, it is in the working directory."""
    path = output.rpartition("/")[2] if is_address(output) else output
    return Path(f"{path}.parts")


class MeasuredRanges(NamedTuple):
    """Activation ranges measured in one pass over image sets.

    Attributes:
        ranges: Ranges of all images, merged with the earlier ranges.
        num_images: Number of images that were measured.
        unreadable: One line for each image that could not be read.

    """

    ranges: ActivationRanges
    num_images: int
    unreadable: list[str]


@taking("layers", "reading", "distributed")
def measure_ranges(
    sources: Sequence[Source | ActivationRanges],
    feature: Feature | None = None,
    margin: FixedMargin = "widen",
    **options: Any,
) -> MeasuredRanges:
    """Measure the minimum and maximum activation of each neuron in one pass over image sets.

    Args:
        sources: Image sets, see :func:`make_dna`, and earlier ranges to merge with theirs.
        feature: As for :func:`make_dna`.
        margin: Margin rule of the ranges, see :class:`ActivationRanges`.
        options: Some of :class:`Arguments`, as the signature shows.

    Raises:
        ValueError: If there are no images, an image can't be read, or activations are not finite. Also if earlier
            ranges have other layers or another margin rule.
        RuntimeError: If there are no sources.

    Example:
        >>> import torch
        >>> black, white = torch.zeros(2, 3, 40, 50), torch.ones(1, 3, 40, 50)
        >>> measure_ranges([black, white], layers=["head"]).num_images
        3

    """
    arguments = Arguments(feature, num_folds=None, **options)
    with in_step(arguments.distributed):
        check_one_of("margin", margin, FixedMargin)
        earlier_ranges = [source for source in sources if isinstance(source, ActivationRanges)]
        image_sets = [source for source in sources if not isinstance(source, ActivationRanges)]
        sides = open_sides(image_sets, arguments, [])
        statistic = RangeStatistic(sides.extractor, margin)
        state = statistic.empty(sides.extractor.device)
        for ranges in earlier_ranges:
            statistic.add_ranges_(state, ranges)
        job = replace(sides.job, statistics={"ranges": statistic})
        opened = [sides.source(k, "A range") for k in range(len(sides.images))]
        unreadable = _add_image_sets_(state, opened, job, statistic, distributed=arguments.distributed)
        num_readable = statistic.num_images(state)
        if opened:
            num_images = num_readable + len(unreadable)
            check_any_read(num_images, unreadable, opened[0].label, noun_of(sides.extractor))
        return MeasuredRanges(statistic.value(state, {}), num_readable, unreadable)


def _add_image_sets_(
    state: State, image_sets: Sequence[Images], job: Job, statistic: RangeStatistic, *, distributed: bool
) -> list[str]:
    """Measure the ranges of image sets, and add them to a state in place.

    Args:
        state: The state.
        image_sets: The image sets.
        job: Job that measures the statistic ``"ranges"``.
        statistic: The statistic.
        distributed: Whether to share the images among the processes of torch.distributed, which then all get the same
            state.

    Returns:
        One line for each image that could not be read.

    """
    unreadable: list[str] = []
    for images in image_sets:
        images_of_process = images.split(rank(), world_size()) if distributed else images
        (split,) = job.run(images_of_process)
        statistic.merge_(state, split.states["ranges"])
        unreadable += split.unreadable
    if not distributed:
        return unreadable
    lines_of_processes = gather(unreadable)
    statistic.reduce_(state)
    return [line for lines in lines_of_processes for line in lines]
