"""Make the DNA of an image set."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, get_args

from torchmetrics_dna.dna.distance import Kind
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.base import left_out_in_words
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.job import Job, is_small_job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.engine import Engine
    from torchmetrics_dna.jobs.groups import Groups
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature


def make_dna(
    source: Source,
    feature: Feature | None = None,
    *,
    kind: Kind = "histogram",
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    num_folds: int | None = None,
    groups: Groups | None = None,
    reading: Reading | None = None,
    distributed: bool = False,
    on: Engine | str | None = None,
) -> DNA:
    """Make the DNA of an image set (section 3.2 of the paper).

    Args:
        source: A folder, a file of images (zip, tar, Parquet, array, list, video), an address or a pattern of these,
            a dataset, images in memory, or an iterable of images; see :func:`open_source`.
        feature: A :class:`DNAExtractor`, or its ``feature``; a name runs on CUDA if there is a GPU.
        kind: ``"histogram"``, ``"gaussian"`` or ``"layer-gaussian"``.
        layers: Names of the layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        num_folds: Number of folds of images to keep, at least 5, such as 20, so that :func:`compare` can test.
        groups: Images that share a fold; see :func:`group_names`.
        reading: Options for reading the images.
        distributed: Share the images among the processes of torch.distributed; all must make the same call, and all
            get the same result.
        on: Engine that measures the images on other machines, such as ``"ray"``, see :func:`engine_of`.

    Returns:
        A :class:`HistogramDNA`, :class:`GaussianDNA` or :class:`LayerGaussianDNA`, on the CPU.

    Raises:
        ValueError: If an argument is wrong, there are no images, or one can't be read.

    Example:
        >>> import numpy as np
        >>> make_dna([np.zeros((40, 50, 3), np.uint8)], layers=["head"])
        HistogramDNA(1 image, 'efficientnet_lite0', 1000 bins, Neurons(1280 in 1 layer: head 1280), ranges \
efficientnet_lite0)

    """
    with in_step(distributed):
        if kind not in get_args(Kind):
            raise ValueError(f"Argument `kind` expected to be one of {get_args(Kind)}, but got {kind!r}")
        resolved = resolve(feature, layers, num_bins, ranges, histograms=kind == "histogram", to_gpu=True)
        images = open_source(source, reading)
        check_used(reading or Reading(), images)
        with without_numba(is_small_job(images)):
            job = Job.for_dnas(resolved, [kind], reading, num_folds, groups)
            measured = measure(job, images, distributed=distributed, on=on)
    if left_out := measured.unreadable:
        warnings.warn(f"{left_out_in_words(left_out)}, the first: {left_out[0]}", stacklevel=2)
    return measured.any
