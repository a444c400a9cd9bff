"""Read and write files of the reference implementation (vdna): a ``.json`` and an ``.npz`` of the same name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.dna.base import DNA
from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.dna.vdna_files import vdna_pair
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.container import read_npz
from torchmetrics_dna.files.damage import check_type, read_json, refusing
from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.neurons.ranges import ActivationRanges, Ranges

# Counts in files of vdna are int32, so larger counts would overflow.
_LARGEST_COUNT = np.iinfo(np.int32).max
# Version of vdna that writes this format.
_VERSION = "0.1.1"
# Values of "type" in a .json of vdna.
_RANGES = "activation-ranges"
_KINDS = ("histogram", "gaussian", "layer-gaussian", _RANGES)


def load_vdna(path: str | os.PathLike[str], ranges: Ranges) -> DNA | ActivationRanges:
    """Read files of the reference implementation. Pickles in the files are never loaded.

    Args:
        path: Path of either file, or their path without a suffix.
        ranges: Activation ranges of a histogram, or the path of their file, since files of vdna don't store ranges. A
            histogram without ranges can be merged and compared only with histograms without ranges.

    Returns:
        A DNA. If the files hold activation ranges, the ranges with vdna's margin rule ``"scale"``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the files have another format, are damaged, or have overflowed counts.

    """
    pair = vdna_pair(path)
    if pair is None:
        raise FileNotFoundError(f"There are no files of vdna {str(path)!r}: expected a .json and an .npz of one stem")
    about, npz = pair
    with refusing(about, "a file of vdna"):
        described = _read_description(about)
    with refusing(npz, "a file of vdna"):
        value = _value(described, _Arrays(npz, described.neurons))
    return with_ranges(value, ranges) if isinstance(value, DNA) else value


def save_vdna(value: DNA | ActivationRanges, path: str | os.PathLike[str]) -> None:
    """Write the two files that the reference implementation reads.

    Files of vdna are lossy: they store Gaussians as float32, histograms without ranges, and no digests.

    Args:
        value: A DNA of whole layers, or activation ranges.
        path: Common path of the files. The suffixes are added to this path.

    Raises:
        ValueError: If the format of vdna can't hold the value: another representation, counts above 2^31 - 1, or only
            some neurons of a layer. Also if the name has a dot, since vdna would cut it off there.

    """
    stem = Path(path)
    if stem.suffix:
        raise ValueError(
            "Expected a name without a dot for files of vdna, which cuts names off at a dot, or one that ends in .npz,"
            f" but got {stem.name!r}"
        )
    arrays = _vdna_arrays(value)
    for layer, width in value.neurons.items():
        if list(value.neurons.numbers(layer)) != list(range(width)):
            raise ValueError("Files of vdna hold whole layers, but this DNA has only some of their neurons")
    described = json.dumps(_description(value), indent=4)
    with replacing(f"{stem}.npz") as npz, replacing(f"{stem}.json") as about:
        with npz.open("wb") as file:
            np.savez_compressed(file, **arrays)
        about.write_text(described, encoding="utf-8")


def with_ranges(dna: DNA, ranges: Ranges) -> DNA:
    """Return a histogram with its activation ranges, if ranges are given. Other DNAs are returned as they are."""
    if ranges is None or not isinstance(dna, HistogramDNA):
        return dna
    loaded = ranges if isinstance(ranges, ActivationRanges) else ActivationRanges.load(ranges)
    return replace(dna, ranges=loaded.restrict(dna.neurons))


class _Described(NamedTuple):
    """Content of a ``.json`` of vdna.

    Attributes:
        kind: Representation, one of ``_KINDS``.
        neurons: The neurons.
        num_bins: Number of bins of a histogram; 0 for other representations.
        origin: Number of images, extractor and preparation, as arguments of a DNA.

    """

    kind: str
    neurons: Neurons
    num_bins: int
    origin: dict[str, Any]


def _read_description(path: Path) -> _Described:
    """Read a ``.json`` of vdna, and check it."""
    described = read_json(path, dict)
    kind = described["type"]
    layers = check_type("neurons_list", described["neurons_list"], dict)
    neurons = Neurons({layer: check_type("neurons_list", n, int) for layer, n in layers.items()})
    settings = described["data_settings"]
    origin = {
        "num_images": check_type("num_images", described["num_images"], int),
        "extractor": check_type("feature_extractor_name", described["feature_extractor_name"], str),
        "preparation": {"resize": settings["resize_mode"], "crop": settings["crop_to_square_pre_resize"]},
    }
    num_bins = check_type("hist_nb_bins", described["distribution"].get("hist_nb_bins", 0), int)
    if kind not in _KINDS:
        raise ValueError(f"it is of kind {brief(kind)}, expected one of {', '.join(_KINDS)}")
    return _Described(kind, neurons, num_bins, origin)


class _Arrays(NamedTuple):
    """Arrays of a ``.npz`` of vdna, in which each layer has its own arrays.

    Attributes:
        path: Path of the file.
        neurons: The layers and their numbers of neurons.

    """

    path: Path
    neurons: Neurons

    def by_layer(self, prefix: str, dtype: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Read one array of each layer, and check its type and its shape."""
        arrays = read_npz(self.path, [f"{prefix}{layer}" for layer in shapes])
        tensors = {}
        for layer, shape in shapes.items():
            name = f"{prefix}{layer}"
            array = arrays[name]
            if array.dtype.str != dtype or array.shape != shape:
                raise ValueError(
                    f"its array {name!r} is {array.dtype.str} of shape {array.shape}, expected {dtype} of {shape}"
                )
            tensors[layer] = torch.from_numpy(array.copy())
        return tensors

    def by_neuron(self, prefix: str, dtype: str) -> Tensor:
        """Read one value of each neuron."""
        layers = self.by_layer(prefix, dtype, {layer: (width,) for layer, width in self.neurons.items()})
        return torch.cat(list(layers.values()))

    def covariances(self) -> dict[str, Tensor]:
        """Read the covariance of each layer."""
        shapes = {layer: (width, width) for layer, width in self.neurons.items()}
        covariances = self.by_layer("sigma-", "<f8", shapes)
        for layer, cov in covariances.items():
            if (cov.diagonal() < 0).any():
                raise ValueError(f"its array 'sigma-{layer}' has a negative variance")
        return covariances

    def counts(self, num_bins: int) -> Tensor:
        """Read the counts of each neuron, ``(N, num_bins)``."""
        shapes = {layer: (width, num_bins) for layer, width in self.neurons.items()}
        counts_of_layers = self.by_layer("", "<i4", shapes)
        counts = torch.cat([counts_of_layer.long() for counts_of_layer in counts_of_layers.values()])
        if (counts < 0).any():
            raise ValueError("it has negative counts: more than 2^31 - 1 were written to it, and wrapped")
        return counts


def _value(described: _Described, arrays: _Arrays) -> DNA | ActivationRanges:
    """Build the value that files of vdna hold."""
    neurons = described.neurons
    if described.kind == _RANGES:
        return ActivationRanges(arrays.by_neuron("min-", "<f4"), arrays.by_neuron("max-", "<f4"), neurons, "scale")
    if described.kind == "gaussian":
        mean = arrays.by_neuron("mu-", "<f4")
        return GaussianDNA(mean, arrays.by_neuron("var-", "<f4"), neurons, **described.origin)
    if described.kind == "layer-gaussian":
        cov = arrays.covariances()
        return LayerGaussianDNA(arrays.by_neuron("mu-", "<f8"), cov, neurons, **described.origin)
    return HistogramDNA(arrays.counts(described.num_bins), neurons, None, **described.origin)


def _vdna_arrays(value: DNA | ActivationRanges) -> dict[str, Any]:
    """Return the arrays that the reference implementation would write."""

    def split(prefix: str, values: Tensor, dtype: type) -> dict[str, Any]:
        """Return the values of each layer under their name in the file."""
        layers = value.neurons.split(values.cpu())
        return {f"{prefix}{layer}": of_layer.numpy().astype(dtype) for layer, of_layer in layers.items()}

    if isinstance(value, ActivationRanges):
        return split("min-", value.minimum, np.float32) | split("max-", value.maximum, np.float32)
    if isinstance(value, GaussianDNA):
        return split("mu-", value.mean, np.float32) | split("var-", value.var, np.float32)
    if isinstance(value, LayerGaussianDNA):
        arrays = split("mu-", value.mean, np.float64)
        for layer, cov in value.cov.items():
            # Rounding can make the variance of a constant neuron negative.
            variances = cov.diagonal().clamp(min=0)
            arrays[f"sigma-{layer}"] = cov.diagonal_scatter(variances).cpu().numpy()
        return arrays
    if not isinstance(value, HistogramDNA):
        raise ValueError(f"Files of vdna can't hold a DNA of kind {value.kind!r}; use save() instead")
    largest = int(value.counts.max())
    if largest > _LARGEST_COUNT:
        raise ValueError(
            f"Files of vdna hold counts up to 2^31 - 1, but the largest count is {largest}; use save() instead"
        )
    return split("", value.counts, np.int32)


def _description(value: DNA | ActivationRanges) -> dict[str, Any]:
    """Return the json that the reference implementation would write."""
    preparation: Mapping[str, Any]
    if isinstance(value, DNA):
        kind = value.kind
        preparation = value.preparation or {}
        notes = value.notes
        num_images = value.num_images
        extractor = value.extractor
    else:
        # Activation ranges do not record their images and their extractor.
        kind = _RANGES
        preparation = {}
        notes = ""
        num_images = 0
        extractor = "NotFilled"
    num_bins = value.num_bins if isinstance(value, HistogramDNA) else None
    return {
        "time_of_compute": f"{datetime.now():%I:%M%p on %B %d, %Y}",
        "vdna_version": _VERSION,
        "distribution": {} if num_bins is None else {"hist_nb_bins": num_bins},
        "type": kind,
        "name": kind if num_bins is None else f"histogram-{num_bins}",
        "data_settings": {
            "source": "NotFilled",
            "crop_to_square_pre_resize": preparation.get("crop", "none"),
            "resize_mode": preparation.get("resize", "clean"),
        },
        "extraction_settings": _extraction_settings(kind, num_bins, notes),
        "num_images": num_images,
        "feature_extractor_name": extractor,
        "neurons_list": dict(value.neurons),
    }


def _extraction_settings(kind: str, num_bins: int | None, notes: str) -> dict[str, Any]:
    """Return the settings by which the reference implementation would compute a representation."""
    is_histogram = num_bins is not None
    return {
        "average_feats_spatially": kind in ("gaussian", "layer-gaussian"),
        "accumulate_spatial_feats_in_hist": is_histogram,
        "accumulate_sample_feats_in_hist": is_histogram,
        "keep_only_min_max": kind == _RANGES,
        "normalise_feats": is_histogram,
        "hist_nb_bins": num_bins or 0,
        "description": notes,
    }
