"""Resolve arguments about network and histograms into an extractor, bins and ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.fid_statistics import FEATURE, is_unnamed, named
from torchmetrics_dna.dna.identity import check_made_by, extractor_of
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.extractors.network import Network
from torchmetrics_dna.neurons import ActivationRanges
from torchmetrics_dna.statistics.histogram import HistogramStatistic, SelfRangingStatistic, histogram_statistic

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    Ranges = ActivationRanges | str | os.PathLike[str] | None

Feature = str | nn.Module | DNAExtractor | Network
DEFAULT_FEATURE, DEFAULT_BINS = "efficientnet_lite0", 1000


@dataclass(frozen=True, eq=False)
class Resolved:
    """Resolved arguments of a measurement, which fits the given DNAs."""

    extractor: DNAExtractor
    num_bins: int
    ranges: ActivationRanges | str  # "auto" for histograms that find their own
    dnas: tuple[DNA, ...]  # of the extractor's layers, in their order

    def histogram_statistic(self, num_folds: int | None = None) -> HistogramStatistic | SelfRangingStatistic:
        """Return the statistic for histograms of this many bins, within these ranges."""
        return histogram_statistic(self.extractor, self.num_bins, self.ranges, num_folds)


def resolve(
    feature: Feature | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: Ranges = None,
    dnas: Sequence[DNA] = (),
    *,
    histograms: bool = True,
    to_gpu: bool = False,
) -> Resolved:
    """Resolve arguments that metrics, :func:`compare`, :func:`rank`, :func:`make_dna` and the commands have in common.

    A given argument wins, or raises an error with both values if it contradicts a DNA. Others follow from the DNAs, or
    have defaults.

    Args:
        feature: A name, a module, an extractor, or options of one; by default that of the DNAs, else
            ``efficientnet_lite0``.
        layers: Names of the layers, in order; not with an extractor, which has its own.
        num_bins: Bins of each neuron's histogram; by default those of the DNAs, else 1000.
        ranges: Activation ranges, the path of a file of them, or ``"auto"``; by default those of the DNAs, else those
            packaged with the extractor, else ``"auto"``.
        dnas: DNAs that images are to be compared with.
        histograms: Whether histograms are made; if not, default ranges are not loaded.
        to_gpu: Move a named network to CUDA, if there is a GPU, unless a device is given.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument has a wrong value, or two don't fit together.

    """
    bins = _agree_on_bins(num_bins, dnas)
    of_networks = [dna for dna in dnas if not is_unnamed(dna)]
    default = FEATURE if dnas and not of_networks else DEFAULT_FEATURE
    extractor = _extractor(feature, layers, of_networks, default, to_gpu)
    origin = {"extractor": extractor.name, "weights_digest": extractor.weights_digest}
    dnas = [named(dna, extractor.neurons, **origin) for dna in dnas]
    for dna in dnas:
        check_made_by(dna, extractor)
    counted = _agree_on_ranges(ranges, [dna.restrict(extractor.neurons) for dna in dnas], extractor, histograms)
    return Resolved(extractor, bins, *counted)


def check_of_dnas(dnas: Sequence[DNA], feature: Feature | None, num_bins: int | None) -> None:
    """Check arguments for images if there are only DNAs: they may only repeat values of the DNAs.

    Raises:
        ValueError: If an argument has another value.

    """
    _agree_on_bins(num_bins, dnas)
    settings = feature.settings if isinstance(feature, Network) else {}
    feature = feature.feature if isinstance(feature, Network) else feature
    name = feature.name if isinstance(feature, DNAExtractor) else feature
    for dna in dnas:
        if name not in (None, dna.extractor) and not is_unnamed(dna):
            raise ValueError(f"Argument `feature` is {name!r}, but the given DNA was made by {dna.extractor!r}")
    for setting in settings.keys() - {"device", "layers"}:
        raise ValueError(f"Argument `{setting}` is for images, but only DNAs are given; leave it out")


def _extractor(
    feature: Feature | None, layers: Sequence[str] | None, dnas: Sequence[DNA], default: str, to_gpu: bool
) -> DNAExtractor:
    """Return the extractor for named DNAs; ``default`` is the feature if there are no DNAs and no feature."""
    if isinstance(feature, DNAExtractor):
        if layers is not None:
            raise ValueError("Argument `layers` goes with a named feature; give it to the DNAExtractor")
        return feature
    network = feature if isinstance(feature, Network) else Network(feature)
    feature, settings = network.feature, network.settings
    layers = settings.pop("layers", layers)
    if to_gpu and torch.cuda.is_available() and not isinstance(feature, nn.Module):  # which the user would have moved
        settings = {"device": "cuda"} | settings
    if not dnas:
        return DNAExtractor(default if feature is None else feature, layers=layers, **settings)
    for layer in layers or []:
        if layer not in dnas[0].neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers of the DNA are: {', '.join(dnas[0].neurons)}")
    if feature is None or feature == dnas[0].extractor:
        return extractor_of(dnas[0], layers, **settings)
    if isinstance(feature, str):
        raise ValueError(
            f"Argument `feature` is {feature!r}, but the given DNA was made by {dnas[0].extractor!r};"
            " leave `feature` out to take that"
        )
    return DNAExtractor(feature, layers=layers or list(dnas[0].neurons), **settings)


def _agree_on_bins(num_bins: int | None, dnas: Sequence[DNA]) -> int:
    """Return the number of bins that argument and DNAs agree on; ValueError if they do not."""
    if num_bins is not None:
        check_num_bins(num_bins)
    all_bins = [dna.num_bins for dna in dnas if isinstance(dna, HistogramDNA)]
    for bins in all_bins:
        if num_bins not in (None, bins):
            raise ValueError(
                f"Argument `num_bins` is {num_bins}, but the given DNA has {bins} bins;"
                " leave `num_bins` out to take these"
            )
        if bins != all_bins[0]:
            raise ValueError(
                f"The given DNAs have {all_bins[0]} and {bins} bins; make both with as many, or take fewer bins of one"
                " by rebin()"
            )
    return all_bins[0] if all_bins else num_bins or DEFAULT_BINS


def _agree_on_ranges(
    argument: Ranges, dnas: Sequence[DNA], extractor: DNAExtractor, histograms: bool
) -> tuple[ActivationRanges | str, tuple[DNA, ...]]:
    """Return the ranges that argument and DNAs agree on, and the DNAs, whose histograms all have ranges then."""
    requested = ranges = None if argument is None else extractor.resolve_ranges(argument) or "auto"
    dnas_with_ranges = []
    for dna in dnas:
        if isinstance(dna, HistogramDNA):
            if dna.ranges is None and isinstance(requested, ActivationRanges):  # official files don't keep theirs
                dna = replace(dna, ranges=requested)
            theirs = "auto" if dna.self_ranging else dna.known_ranges
            ranges = theirs if ranges is None else ranges
            if _label(ranges) != _label(theirs):
                raise ValueError(
                    f"Argument `ranges` is {_label(ranges)}, but the given DNA was counted within {_label(theirs)};"
                    " leave `ranges` out to take these"
                )
        dnas_with_ranges.append(dna)
    if ranges is None:
        ranges = (extractor.resolve_ranges() if histograms else None) or "auto"
    return ranges, tuple(dnas_with_ranges)


def _label(ranges: ActivationRanges | str) -> str:
    return ranges if isinstance(ranges, str) else ranges.digest
