"""Make DNAs of image sets, and compare them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.comparisons.comparisons import called, short_names
from torchmetrics_dna.dna.distances import Kind
from torchmetrics_dna.extras import plainly
from torchmetrics_dna.functional.permutation import NUM_FOLDS
from torchmetrics_dna.images.base import left_out_in_words
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.loading import Loading, SetOptions, are_few
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import Asked, measure_sides
from torchmetrics_dna.statistics.resolve import device_for, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import torch
    from torch import Tensor
    from typing_extensions import Unpack

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.changes import ChangeDictionary
    from torchmetrics_dna.dna.names import GivenNames
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.images import Source
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
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> DNA:
    """Make the DNA of an image set (section 3.2 of the paper).

    Args:
        source: A folder, a file of images (zip, tar, Parquet, array, list, video), an address or a pattern of these,
            a dataset, images in memory, or what gives them one after the other; see :func:`open_source`.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        kind: ``"histogram"``, ``"gaussian"`` or ``"layer-gaussian"``.
        layers: Which layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        num_folds: Keep so many folds of images apart, at least 5, such as 20: so that :func:`compare` can test.
        groups: Which images share a fold; see :func:`group_names`.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        options: How images are read: ``batch_size``, ``num_workers``, ``exif_orientation``, ``column``, ``fps``,
            ``skip_unreadable``, ``progress``, ``distributed``, ``engine``, see :class:`Loading`; and of a named feature
            ``weights_path``, ``crop``, ``properties`` and ``projections``, see :class:`DNAExtractor`.

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
    loading, settings = Loading.of("make_dna", options)
    with in_step(loading.distributed):
        if kind not in get_args(Kind):
            raise ValueError(f"Argument `kind` expected to be one of {get_args(Kind)}, but got {kind!r}")
        where = device_for(feature, device)
        way = resolve(feature, layers, num_bins, ranges, histograms=kind == "histogram", device=where, **settings)
        images = loading.open(source)
        check_used(loading.reading, images)
        with plainly(are_few(images)):
            job = Job.for_dnas(way.extractor, [kind], way.num_bins, way.ranges, loading, num_folds, groups)
            measured = measure(job, images)
    if left_out := measured.unreadable:
        warnings.warn(f"{left_out_in_words(left_out)}, the first: {left_out[0]}", stacklevel=2)
    return measured.any


def compare(
    a: Source | DNA,
    b: Source | DNA,
    feature: Feature | None = None,
    *,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    neuron_names: GivenNames | None = None,
    changes: ChangeDictionary | str | os.PathLike[str] | None = None,
    confidence: float = 0.95,
    num_folds: int = NUM_FOLDS,
    groups: Groups | tuple[Groups, Groups] | None = None,
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> Comparison:
    """Measure how far two image sets are apart: by dna-emd and dna-fd, or by the distances in ``metrics``.

    Args:
        a: Images, see :func:`make_dna`; or a DNA, or the path of one as :func:`load_dna` takes it, whose kind,
            extractor, layers, bins and ranges then hold for ``b``.
        b: Likewise.
        feature: What describes the images; see :class:`DNAExtractor`, which may be given itself.
        metrics: Any of ``"dna-emd"``, ``"dna-fd"``, ``"fd"``, ``"kid"``, ``"mind"``, ``"cmmd"``,
            ``"precision"``, ``"recall"``, ``"density"`` and ``"coverage"``, all from one pass over the images. By
            default the first two, or what the DNAs that are given allow. Those from ``"kid"`` on are of the last
            layer's spatial means, which are kept for them, ``(images, n)`` in float32; for evidence of fd, those of all
            layers are.
        layers: Which layers, if ``feature`` is not an extractor; also which to take of a DNA.
        num_bins: Bins of each neuron's histogram; 1000 by default.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those packaged with the extractor, or else ``"auto"``.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        neuron_names: What to call neurons where they are shown: ``{layer: {number: text}}``, or the path of a json
            file of it.
        changes: What named changes of images, such as blur, do to the neurons, from :func:`make_changes`, or the path
            of a file of it, for :meth:`Comparison.explain`; by default what is packaged with the extractor, if any.
        confidence: Level of the confidence intervals.
        num_folds: Folds of images that are kept apart, from which follow the debiased distances, intervals, and tests
            of whether distances are more than noise; at least 5, or 0 for none. An image's fold goes by
            its pixels, as in :class:`DNAEMD`; tests need images in at least 5 folds. A DNA has the folds of its file,
            or none: then it is taken as exact, and there is no test.
        groups: Which images belong together (frames of a clip, crops of a picture) and share a fold: ``"folder"``,
            ``"prefix:REGEX"``, a function of an image's name, or a pair of sequences, a group for each image of A and
            of B; see :func:`group_names`.
        device: Where the network runs. Default: where a given extractor is, else CUDA if there is one.
        options: As for :func:`make_dna`.

    Raises:
        ValueError: If an argument is wrong, there are no images, one can't be read, two DNAs do not fit together, or a
            DNA does not have what a distance takes.
        RuntimeError: If a side has but one image, unless dna-emd is among the distances.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> result = compare(black, white, layers=["block_0", "head"])
        >>> result.dna_emd > 1, result.num_images
        (True, {'a': 2, 'b': 2})

    """
    asked = Asked(
        feature, metrics, layers, num_bins, ranges, neuron_weights, neuron_names, changes, confidence, num_folds,
        groups, device,
    )  # fmt: skip
    one, other = short_names([called(a, "A"), called(b, "B")])
    return replace(compare_sides("compare", (a, b), asked, options)[0], names=(one, other))


def compare_sides(function: str, sides: Sequence[Source | DNA], asked: Asked, options: SetOptions) -> list[Comparison]:
    """Compare the first side with each of the others in turn, each measured once."""
    loading, settings = Loading.of(function, options)
    with in_step(loading.distributed):
        found = measure_sides(sides, asked, loading, settings)
        given = asked.neuron_weights, found.distances, asked.confidence, found.plan
        with plainly(found.few):
            first = next(found.measured)
            return [replace(compare_measured(first, other, *given), **found.words) for other in found.measured]
