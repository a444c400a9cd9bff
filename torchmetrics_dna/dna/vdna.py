"""Read and write files of the official implementation (vdna): a ``.json`` and an ``.npz`` of one stem."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from reprlib import repr as brief
from typing import Any

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

# Official files hold int32, and larger counts would wrap.
_LARGEST = np.iinfo(np.int32).max
# Version of vdna with this format.
_VERSION = "0.1.1"
_RANGES = "activation-ranges"
_KINDS = ("histogram", "gaussian", "layer-gaussian", _RANGES)


def load_vdna(path: str | os.PathLike[str], ranges: Ranges) -> DNA | ActivationRanges:
    """Read files of the official implementation; pickles in them are never loaded.

    Args:
        path: Stem of the files, or either file.
        ranges: Activation ranges (or the path of a file of them) that a histogram was counted with, which official
            files don't store. Without them it can be merged and compared only with others without ranges.

    Returns:
        A DNA; or activation ranges, with the official margin rule ``"scale"``, for the kind ``activation-ranges``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the files have another format, are damaged, or have overflowed counts.

    """
    pair = vdna_pair(path)
    if pair is None:
        raise FileNotFoundError(f"There are no official files {str(path)!r}: expected a .json and an .npz of one stem")
    about, npz = pair
    with refusing(about, "an official file"):
        described = read_json(about, dict)
        kind = described["type"]
        layers = check_type("neurons_list", described["neurons_list"], dict)
        neurons = Neurons({layer: check_type("neurons_list", n, int) for layer, n in layers.items()})
        settings = described["data_settings"]
        common: dict[str, Any] = {
            "num_images": check_type("num_images", described["num_images"], int),
            "extractor": check_type("feature_extractor_name", described["feature_extractor_name"], str),
            "preparation": {"resize": settings["resize_mode"], "crop": settings["crop_to_square_pre_resize"]},
        }
        num_bins = check_type("hist_nb_bins", described["distribution"].get("hist_nb_bins", 0), int)
        if kind not in _KINDS:
            raise ValueError(f"it is of kind {brief(kind)}, expected one of {', '.join(_KINDS)}")
    with refusing(npz, "an official file"):
        value = _value(npz, kind, neurons, num_bins, common)
    return with_ranges(value, ranges) if isinstance(value, DNA) else value


def save_vdna(value: DNA | ActivationRanges, path: str | os.PathLike[str]) -> None:
    """Write the two files that the official implementation reads.

    Official files are lossy: they keep Gaussians as float32, histograms without ranges, and no digests.

    Args:
        value: A DNA of whole layers, or activation ranges.
        path: Stem of the files.

    Raises:
        ValueError: If the official format can't hold it: another representation, counts above 2^31 - 1, only some
            neurons of a layer, or a stem with a dot, which vdna would truncate.

    """
    stem = Path(path)
    if stem.suffix:
        raise ValueError(
            "Expected a name without a dot for official files, which vdna cuts off there, or one that ends in .npz,"
            f" but got {stem.name!r}"
        )
    arrays = _official_arrays(value)
    for layer, width in value.neurons.items():
        if list(value.neurons.numbers(layer)) != list(range(width)):
            raise ValueError("Official files hold whole layers, but these are some of their neurons only")
    described = json.dumps(_description(value), indent=4)
    with replacing(f"{stem}.npz") as npz, replacing(f"{stem}.json") as about:
        with npz.open("wb") as file:
            np.savez_compressed(file, **arrays)
        about.write_text(described, encoding="utf-8")


def with_ranges(dna: DNA, ranges: Ranges) -> DNA:
    """Return histograms with the activation ranges that they span, if any are given; other DNAs as they are."""
    if ranges is None or not isinstance(dna, HistogramDNA):
        return dna
    loaded = ranges if isinstance(ranges, ActivationRanges) else ActivationRanges.load(ranges)
    return replace(dna, ranges=loaded.restrict(dna.neurons))


def _value(npz: Path, kind: str, neurons: Neurons, num_bins: int, common: dict[str, Any]) -> DNA | ActivationRanges:
    """Read the value of the arrays of an official ``.npz``."""

    def by_layer(prefix: str, dtype: str, shape: Callable[[int], tuple[int, ...]]) -> dict[str, Tensor]:
        """Read the array of each layer, and check its type and its shape, a function of the number of neurons."""
        arrays = read_npz(npz, [f"{prefix}{layer}" for layer in neurons])
        tensors = {}
        for layer, width in neurons.items():
            name = f"{prefix}{layer}"
            array = arrays[name]
            expected = shape(width)
            if array.dtype.str != dtype or array.shape != expected:
                raise ValueError(
                    f"its array {name!r} is {array.dtype.str} of shape {array.shape}, expected {dtype} of {expected}"
                )
            tensors[layer] = torch.from_numpy(array.copy())
        return tensors

    def by_neuron(prefix: str, dtype: str) -> Tensor:
        """Read one value of each neuron."""
        layers = by_layer(prefix, dtype, lambda width: (width,))
        return torch.cat(list(layers.values()))

    if kind == _RANGES:
        return ActivationRanges(by_neuron("min-", "<f4"), by_neuron("max-", "<f4"), neurons, "scale")
    if kind == "gaussian":
        return GaussianDNA(by_neuron("mu-", "<f4"), by_neuron("var-", "<f4"), neurons, **common)
    if kind == "layer-gaussian":
        cov = by_layer("sigma-", "<f8", lambda width: (width, width))
        for layer, cov_of_layer in cov.items():
            if (cov_of_layer.diagonal() < 0).any():
                raise ValueError(f"its array 'sigma-{layer}' has a negative variance")
        return LayerGaussianDNA(by_neuron("mu-", "<f8"), cov, neurons, **common)
    counts_of_layers = by_layer("", "<i4", lambda width: (width, num_bins))
    counts = torch.cat([part.long() for part in counts_of_layers.values()])
    if (counts < 0).any():
        raise ValueError("it has negative counts: more than 2^31 - 1 were written to it, and wrapped")
    return HistogramDNA(counts, neurons, None, **common)


def _official_arrays(value: DNA | ActivationRanges) -> dict[str, Any]:
    """Return the arrays that the official implementation would write."""

    def split(prefix: str, values: Tensor, dtype: type) -> dict[str, Any]:
        parts = value.neurons.split(values.cpu())
        return {f"{prefix}{layer}": part.numpy().astype(dtype) for layer, part in parts.items()}

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
        raise ValueError(f"Official files hold no {value.kind} DNAs; save() writes them")
    largest = int(value.counts.max())
    if largest > _LARGEST:
        raise ValueError(f"Official files hold counts up to 2^31 - 1, but there is one of {largest}; save() holds it")
    return split("", value.counts, np.int32)


def _description(value: DNA | ActivationRanges) -> dict[str, Any]:
    """Return the json that the official implementation would write."""
    preparation: Mapping[str, Any] = {}
    kind = _RANGES
    notes = ""
    num_images = 0
    extractor = "NotFilled"
    if isinstance(value, DNA):
        kind = value.kind
        preparation = value.preparation or {}
        notes = value.notes
        num_images, extractor = value.num_images, value.extractor
    is_histogram = isinstance(value, HistogramDNA)
    name = kind
    bins = 0
    distribution = {}
    if isinstance(value, HistogramDNA):
        bins = value.num_bins
        name = f"histogram-{bins}"
        distribution = {"hist_nb_bins": bins}
    return {
        "time_of_compute": f"{datetime.now():%I:%M%p on %B %d, %Y}",
        "vdna_version": _VERSION,
        "distribution": distribution,
        "type": kind,
        "name": name,
        "data_settings": {
            "source": "NotFilled",
            "crop_to_square_pre_resize": preparation.get("crop", "none"),
            "resize_mode": preparation.get("resize", "clean"),
        },
        "extraction_settings": {
            "average_feats_spatially": kind in ("gaussian", "layer-gaussian"),
            "accumulate_spatial_feats_in_hist": is_histogram,
            "accumulate_sample_feats_in_hist": is_histogram,
            "keep_only_min_max": kind == _RANGES,
            "normalise_feats": is_histogram,
            "hist_nb_bins": bins,
            "description": notes,
        },
        "num_images": num_images,
        "feature_extractor_name": extractor,
        "neurons_list": dict(value.neurons),
    }
