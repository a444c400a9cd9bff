"""Each argument counts: another value of it changes the result, of every public function, class and method.

What is walked is what the package offers, so that a new argument without a row here is an error.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from all_results import CLASSES, EXTRACTOR, FIXED, RANGES, A, B, C
from kinds import png
from matplotlib.figure import Figure
from matplotlib.text import Text
from networks import Convolutions, Pixels
from small_protocols import make_small
from torch import Tensor, nn
from torchmetrics import MetricCollection

import torchmetrics_dna
from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    ActivationRanges,
    Checkpoints,
    DNAExtractor,
    DNARealism,
    NeuronWeights,
    Reading,
    compare,
    comparisons,
    make_dna,
    metrics,
    monitor,
    plots,
    rank,
    report,
)
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
from torchmetrics_dna.comparisons.comparison import Comparison
from torchmetrics_dna.comparisons.comparisons import Comparisons
from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix
from torchmetrics_dna.comparisons.versions import Versions
from torchmetrics_dna.dna import GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.result import Result
from torchmetrics_dna.images.properties import PROPERTIES
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.singles.ranking import Ranking

NORMALISED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
OTHER = DNAExtractor(Convolutions(), layers=["stem", "body"], input_size=16, **NORMALISED)
WEIGHTS = torch.linspace(0.2, 1.4, EXTRACTOR.neurons.total, dtype=torch.float64)
GROUPS = list("abcdefghijkl")
SMALLER = DNAExtractor(Pixels(), layers=["mean", "contrast"])

# may leave the result as it is, of everything: where and how it is computed, what torch and torchmetrics ask for, and
# the file that a result goes to or comes from
ANYWHERE = {
    "args",
    "kwargs",
    "destination",
    "keep_vars",
    "should_unsync",
    "val",
    "ax",
    "path",
    "num_workers",
    "progress",
}
ANYWHERE |= {"distributed", "on", "device", "compile", "common"}
# values that are refused, before or after
REFUSED = {"DNAExtractor.check-imgs", "DNAExtractor.check-normalize", "DNAExtractor.check_pictures-what"}
REFUSED |= {f"DNAExtractor-{argument}" for argument in ("channels", "inputs", "example")}
REFUSED |= {"DNARealism-ranges"}
# of what has a table of its own, see below
NETWORK, BINS, FOLDS = {"feature", "layers"}, {"num_bins", "ranges"}, {"debias", "num_folds", "pairs"}
SIDES = {"normalize", "reduction", "reference", "reset_real_features"}
# may leave it, or is looked at elsewhere since it takes what is not at hand
EXEMPT = {
    "DNAExtractor": {"weights_path"},  # of named networks: extractors/test_presets.py
    "DNAExtractor.forward": {"resized"},  # says what was done before
    "DNAExtractor.in_parts": {"resized", "wait"},
    "DNAExtractor.check": {"values"},
    "DNAExtractor.train": {"mode"},  # never trains
    "DNAExtractor.input_form": {"imgs"},  # extractors/test_fingerprint.py
    "DNAExtractor.take_fingerprint": {"form"},
    "CheckedMetric.sync_context": {"runs"},
    "load_dna": {"ranges"},  # of official files: dna/test_vdna.py
    "Reading": {
        "batch_size",
        "column",
        "fps",
        "exif_orientation",
        "num_images",
        "scale",
        "skip_unreadable",
    },  # images/test_kinds.py and others
    "Features": {"values", "neurons", "extractor", "weights_digest", "preparation", "fingerprint", "names", "pictures"},
    "NeuronWeights": {"weights", "neurons", "extractor", "weights_digest", "name"},
    "ActivationRanges": {"minimum", "maximum", "neurons", "margin", "name"},
    "SharedCollection": {"metrics", "additional_metrics", "prefix", "postfix", "compute_groups"},  # torchmetrics'
    "published_metrics": {"metrics", "weights_path", "reset_real_features", "normalize"},  # metrics/test_published.py
    "plots.curve_style": {"i"},
    "plots.new_figure": {"width", "height"},
    "plots.plain_axes": {"axis"},
    "Comparison.about": {"result"},
    "Comparison.of_grain": {"grains"},
    "Comparisons.surely_nearest": {"distance"},  # comparisons/test_compare_many.py
    "Checkpoints": {"folder"},
    "ImageMetric.update": {"imgs", "real"},  # those of the metrics below
    "Ranking.maps": {"places"},  # singles/test_look.py
    "HistogramDNA.counts_within": {"ranges", "rows"},
    "DNA.to": {"device"},
    # each row of tests/metrics/test_every_pair.py and tests/comparisons/test_every_pair.py is what numpy makes of them
    "DNAEMD": NETWORK | BINS | SIDES | FOLDS | {"neuron_weights"},
    "DNAFrechet": NETWORK | BINS | SIDES | FOLDS | {"neuron_weights", "statistics"},
    "LayerFrechetDistance": NETWORK | SIDES | {"layer_weights"},
    "make_dna": NETWORK | BINS | {"groups", "kind", "num_folds", "reading", "source"},
    "rank": NETWORK | BINS | {"contrast", "images", "nearest", "neuron_weights", "reading", "reference", "score"},
    "compare": NETWORK
    | BINS
    | {"a", "b", "confidence", "groups", "metrics", "neuron_weights", "num_folds", "pairs", "reading"},
    "report": NETWORK | BINS | {"confidence", "groups", "metrics", "num_folds", "pairs", "reading"},  # as of compare
    "DNARealism": NETWORK | {"contrast", "neuron_weights", "normalize", "num_bins", "reference", "score"},
}


@dataclass
class Call:
    """A call with arguments, and for each argument another value, or several, that changes the result."""

    function: Callable[..., Any]
    base: Callable[[], dict[str, Any]]
    others: dict[str, Callable[[], Any]]


@dataclass
class Given:
    """Another value of an argument, of a call with further arguments, perhaps another first value of it."""

    value: Any
    further: dict[str, Any]


def given(value: Any, **further: Any) -> Given:
    return Given(value, further)


class Each(tuple):
    """Several other values, each of which changes the result."""


def told(value: Any) -> Any:
    """What a result says, in plain types."""
    if isinstance(value, Figure):
        drawn = [axis.patches + axis.lines + axis.images for axis in value.axes]
        texts = sorted(text.get_text() for text in value.findobj(Text))
        return [texts, [list(map(_shape, each)) for each in drawn], [axis.get_visible() for axis in value.axes]]
    if isinstance(value, Tensor):
        return value.double().nan_to_num(-12345).tolist()
    if isinstance(value, (Neurons, ActivationRanges)):
        return [
            str(value),
            [list(value.numbers(layer)) for layer in value] if isinstance(value, Neurons) else value.digest,
        ]
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {field.name: told(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): told(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [told(each) for each in value]
    if isinstance(value, Exception):
        return str(value)
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def _shape(drawn: Any) -> list[float]:
    if hasattr(drawn, "get_height"):
        return [drawn.get_height(), drawn.get_y()]
    if hasattr(drawn, "get_path") and not hasattr(drawn, "get_data"):  # the ends of a colour bar
        return []
    if hasattr(drawn, "get_array"):
        return np.asarray(drawn.get_array(), dtype=float).ravel().tolist()
    return np.asarray(drawn.get_ydata() if hasattr(drawn, "get_ydata") else drawn.get_data().values).tolist()


def tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@cache
def compared() -> Any:
    return compare(A, B, EXTRACTOR, causes=False, metrics=["dna-emd", "dna-fd"], **FIXED)


@cache
def several() -> Any:
    return compare(A, {"b": B, "held": C // 2, "c": C}, EXTRACTOR, held_out="held", **FIXED)


@cache
def ranked() -> Any:
    return rank(np.concatenate([A, C]), B, EXTRACTOR)


@cache
def dna(kind: str = "histogram", images: str = "a") -> Any:
    options = FIXED if kind == "histogram" else {}
    return make_dna({"a": A, "b": B, "c": C}[images], EXTRACTOR, kind=kind, **options)


def scored(**options: Any) -> Any:
    metric = DNARealism(**options)
    metric.update(tensor(C))
    return [metric.compute(), metric.limit() if options.get("typical") is not None else None]


def observed(normalize: bool = False, **options: Any) -> Any:
    metric = ActivationRange(normalize=normalize, **options)
    metric.update(tensor(A) / 255 if normalize else tensor(A))
    return metric.to_ranges()


def activations(images: Any = None, **options: Any) -> Any:
    extractor = DNAExtractor(**options)
    batch = tensor(A[:3, :, :6]) if images is None else images
    return [extractor(batch), extractor.preparation]


def updated(grouped: bool = True, **arguments: Any) -> Any:
    metric = DNAEMD(EXTRACTOR, num_folds=6, **FIXED)
    metric.update(tensor(C), real=True)
    metric.update(tensor(C), real=False)
    metric.update(**arguments)
    return [told(metric.to_dna(real)) for real in (True, False)]


def checkpoint(step: int = 1, images: Any = B, **options: Any) -> Any:
    checkpoints = Checkpoints(folder=mkdtemp(), **options)
    try:
        return [checkpoints.add(step, images), checkpoints.comparisons.to_dict()]
    finally:
        checkpoints.__dict__.clear()


def document(output: str = "x.md", **options: Any) -> Any:
    """What is written, without the date."""
    path = Path(mkdtemp(), output)
    report(output=path, **options)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", path.read_text())


def sides() -> dict[str, Any]:
    return {"a": A, "b": B, "feature": EXTRACTOR, "causes": False}


COUNTED = {
    "layers": lambda: given(["mean"], feature=Pixels()),
    "num_bins": lambda: 50,
    "ranges": lambda: RANGES,
}
PLAIN: dict[str, Any] = {"feature": nn.Identity(), "layers": None, "input_size": None, "mean": None, "std": None}
READING = Reading(skip_unreadable=True)
REFUSING = Reading(skip_unreadable=False)  # where the default goes on
BROKEN = [*map(png, A), b"no image"]
CALLS = {
    "compare": Call(
        compare,
        sides,
        {
            "by": lambda: (CLASSES, CLASSES),
            "held_out": lambda: given("c", b={"b": B, "c": C}),
            "causes": lambda: given(True, b=C),
            "copies": lambda: given(False, b=np.concatenate([A[:2], B])),
        },
    ),
    "report": Call(
        document,
        sides,
        {
            "a": lambda: C,
            "b": lambda: C,
            "output": lambda: "x.json",
            "by": lambda: (CLASSES, CLASSES),
            "held_out": lambda: given("c", b={"b": B, "c": C}),
            "format": lambda: "json",
            "names": lambda: ("x", "y"),
            "neuron_weights": lambda: WEIGHTS,
            "causes": lambda: given(True, b=C),
            "copies": lambda: given(False, b=np.concatenate([A[:2], B])),
        },
    ),
    "monitor": Call(
        monitor,
        lambda: {"reference": A, "source": np.concatenate([B, C, A]), "feature": EXTRACTOR, "window": 4, "learn": 3},
        {
            "reference": lambda: C,
            "source": lambda: np.concatenate([C, C, A]),
            "feature": lambda: OTHER,
            "window": lambda: 3,
            "learn": lambda: 4,
            "level": lambda: 0.2,
            "order": lambda: "source",
            **COUNTED,
            "reading": lambda: given(Reading(batch_size=4, skip_unreadable=False), reference=BROKEN),
        },
    ),
    "comparisons.matrix": Call(
        matrix,
        lambda: {"sets": {"a": A, "b": B, "c": C}, "feature": EXTRACTOR},
        {
            "sets": lambda: {"c": C, "b": B, "a": A},
            "feature": lambda: OTHER,
            "metrics": lambda: Each((["fd"], given([DISTANCES["dna-emd"], "fd"], metrics=["dna-emd"]))),
            **COUNTED,
            "neuron_weights": lambda: WEIGHTS,
            "num_folds": lambda: None,
            "groups": lambda: (GROUPS, list("aabbccddeeff"), GROUPS),
            "copies": lambda: given(False, sets={"a": A, "b": np.concatenate([B[2:], A[:2]]), "c": C}),
            "reading": lambda: given(REFUSING, sets={"a": BROKEN, "b": B, "c": C}),
        },
    ),
    "comparisons.diff": Call(
        diff,
        lambda: {"old": A, "new": np.concatenate([A[6:], B]), "feature": EXTRACTOR},
        {
            "old": lambda: C,
            "new": lambda: B,
            "feature": lambda: OTHER,
            **COUNTED,
            "num_folds": lambda: 6,
            "reading": lambda: given(REFUSING, old=BROKEN),
        },
    ),
    "DNARealism": Call(
        scored,
        lambda: {"feature": EXTRACTOR, "reference": dna()},
        {"typical": lambda: torch.arange(40.0), "ranges": lambda: "auto"},
    ),
    "ActivationRange": Call(
        observed,
        lambda: {"feature": EXTRACTOR},
        {
            "feature": lambda: OTHER,
            "normalize": lambda: True,
            "layers": lambda: given(["mean"], feature=Pixels()),
            "margin": lambda: "scale",
        },
    ),
    "DNAExtractor": Call(
        activations,
        lambda: {"feature": Convolutions(), "layers": ["stem", "body"], "input_size": 12, **NORMALISED},
        {
            "feature": lambda: given(nn.Conv2d(3, 4, 1), layers=None),
            "layers": lambda: ["body"],
            "crop": lambda: "center",
            "input_size": lambda: 14,
            "resize": lambda: "tensorflow",
            "mean": lambda: (0.1, 0.2, 0.3),
            "std": lambda: (0.1, 0.2, 0.3),
            "channels": lambda: given(1, images=tensor(A)[:, :1], **PLAIN | {"mean": (0.5,), "std": (0.5,)}),
            "inputs": lambda: given("any", example=tensor(A).float(), images=tensor(A).float(), **PLAIN),
            "example": lambda: given(
                tensor(A).float(), inputs="any", example=tensor(A), **PLAIN | {"feature": Pixels()}
            ),
            "channels_last": lambda: given(
                True, inputs="any", example=tensor(A).float(), images=tensor(A).float(), **PLAIN
            ),
            "dtype": lambda: "bfloat16",
            "properties": lambda: True,
        },
    ),
    "DNAExtractor.forward": Call(
        EXTRACTOR.with_properties().forward,
        lambda: {"imgs": tensor(A)},
        {"imgs": lambda: tensor(B), "properties": lambda: torch.zeros(len(A), len(PROPERTIES))},
    ),
    "DNAExtractor.in_parts": Call(
        EXTRACTOR.with_properties().in_parts,
        lambda: {"imgs": tensor(A)},
        {"imgs": lambda: tensor(B), "properties": lambda: torch.zeros(len(A), len(PROPERTIES))},
    ),
    "DNAExtractor.check": Call(
        EXTRACTOR.check,
        lambda: {"imgs": tensor(A), "normalize": False},
        {"imgs": lambda: A, "normalize": lambda: True},
    ),
    "DNAExtractor.check_pictures": Call(
        DNAExtractor(nn.Flatten(), channels=2).check_pictures, lambda: {"what": "A page"}, {"what": lambda: "A figure"}
    ),
    "DNAExtractor.pooled": Call(
        lambda layer: EXTRACTOR.pooled(layer)(tensor(A)), lambda: {"layer": "mean"}, {"layer": lambda: "contrast"}
    ),
    "DNAExtractor.resolve_ranges": Call(EXTRACTOR.resolve_ranges, dict, {"ranges": lambda: RANGES}),
    "DNAMetric.update": Call(
        updated,
        lambda: {"imgs": tensor(A), "real": True},
        {"imgs": lambda: tensor(B), "real": lambda: False, "groups": lambda: GROUPS},
    ),
    "DNAMetric.to_dna": Call(lambda real: _metric().to_dna(real), lambda: {"real": True}, {"real": lambda: False}),
    "DNAMetric.scalars": Call(lambda **given: _metric().scalars(**given), dict, {"prefix": lambda: "x/"}),
    "DNAMetric.evidence": Call(lambda **given: _metric().evidence(**given), dict, {"confidence": lambda: 0.8}),
    "ImageMetric.merge_state": Call(
        lambda incoming_state: _merged(incoming_state),
        lambda: {"incoming_state": _metric()},
        {"incoming_state": lambda: _metric(C)},
    ),
    "CheckedMetric.state_dict": Call(
        lambda **given: sorted(_metric(persistent=True).state_dict(**given)), dict, {"prefix": lambda: "metric."}
    ),
    "ActivationRange.update": Call(
        lambda imgs: observed_of(imgs), lambda: {"imgs": tensor(A)}, {"imgs": lambda: tensor(B // 2)}
    ),
    "DNARealism.update": Call(
        lambda **arguments: _realism(**arguments).compute(),
        lambda: {"imgs": tensor(A)},
        {"imgs": lambda: tensor(B), "indices": lambda: list(range(11, -1, -1))},
    ),
    "DNARealism.map": Call(
        lambda imgs: _realism(tensor(A)).map(imgs), lambda: {"imgs": tensor(A)}, {"imgs": lambda: tensor(B)}
    ),
    "DNARealism.limit": Call(
        lambda share: _realism(tensor(A)).limit(share), lambda: {"share": 0.2}, {"share": lambda: 0.8}
    ),
    "DNARealism.filter": Call(
        lambda **given: _realism(tensor(A)).filter(**given),
        lambda: {"imgs": tensor(A), "share": 0.2},
        {"imgs": lambda: tensor(B // 3), "share": lambda: 0.9},
    ),
    "DNARealism.summary": Call(lambda **given: _realism(tensor(A)).summary(**given), dict, {"worst": lambda: 2}),
    "ActivationRanges.observe": Call(
        ActivationRanges.observe,
        lambda: {"activations": EXTRACTOR(tensor(A))},
        {"activations": lambda: EXTRACTOR(tensor(C) // 2), "margin": lambda: "scale"},
    ),
    "ActivationRanges.beside": Call(
        RANGES.beside, lambda: {"other": OTHER_RANGES}, {"other": lambda: OTHER_RANGES.select(["body"])}
    ),
    "ActivationRanges.union": Call(
        lambda others: RANGES.union(others), lambda: {"others": LARGER}, {"others": lambda: RANGES}
    ),
    "ActivationRanges.restrict": Call(
        RANGES.restrict, lambda: {"neurons": EXTRACTOR.neurons}, {"neurons": lambda: SMALLER.neurons}
    ),
    "ActivationRanges.select": Call(RANGES.select, dict, {"layers": lambda: ["mean"], "neurons": lambda: [0, 2]}),
    "ActivationRanges.take": Call(
        RANGES.take,
        lambda: {"positions": torch.tensor([0, 1, 2]), "neurons": Neurons({"x": 3})},
        {"positions": lambda: torch.tensor([6, 1, 2]), "neurons": lambda: Neurons({"y": 3})},
    ),
    "NeuronWeights.like": Call(
        NeuronWeights.like,
        lambda: {"weights": WEIGHTS, "dna": dna()},
        {
            "weights": lambda: WEIGHTS / 2,
            "dna": lambda: replace(dna(), extractor="y"),
            "name": lambda: "x",
        },
    ),
    "NeuronWeights.of_neurons": Call(
        NeuronWeights.of_neurons,
        lambda: {"chosen": torch.tensor([1]), "neurons": EXTRACTOR.neurons, "extractor": "x"},
        {
            "chosen": lambda: torch.tensor([5]),
            "neurons": lambda: SMALLER.neurons,
            "extractor": lambda: "y",
            "weights_digest": lambda: "0" * 16,
            "name": lambda: "x",
        },
    ),
    "Features.select": Call(
        lambda layers: _features().select(layers), lambda: {"layers": ["mean"]}, {"layers": lambda: ["contrast"]}
    ),
    "Checkpoints": Call(
        checkpoint,
        lambda: {"reference": A, "feature": EXTRACTOR},
        {
            "reference": lambda: C,
            "feature": lambda: OTHER,
            "held_out": lambda: C,
            **COUNTED,
            "num_folds": lambda: Each((None, 6)),
            "reading": lambda: given(READING, images=BROKEN),
        },
    ),
    "Checkpoints.add": Call(
        checkpoint, lambda: {"reference": A, "feature": EXTRACTOR}, {"step": lambda: 2, "images": lambda: C}
    ),
    "Comparison.aligned": Call(lambda **given: compared().aligned(**given), dict, {"neurons": lambda: [0, 3]}),
    "Comparison.explain": Call(lambda **given: str(compared().explain(**given)), dict, {"names": lambda: ("x", "y")}),
    "Comparison.histograms": Call(
        lambda **given: compared().histograms(**given),
        lambda: {"layer": "mean", "neuron": 0},
        {"layer": lambda: "contrast", "neuron": lambda: 1},
    ),
    "Comparison.plot": Call(lambda **given: compared().plot(**given), dict, {"distance": lambda: "dna-fd"}),
    "Comparison.scalars": Call(lambda **given: compared().scalars(**given), dict, {"prefix": lambda: "x/"}),
    "Comparison.top_neurons": Call(
        lambda **given: compared().top_neurons(**given), dict, {"k": lambda: 2, "by": lambda: "distance"}
    ),
    "Comparisons.by": Call(
        lambda distance: several().by(distance), lambda: {"distance": "dna-emd"}, {"distance": lambda: "dna-fd"}
    ),
    "Comparisons.ratios": Call(lambda **given: several().ratios(**given), dict, {"distance": lambda: "dna-fd"}),
    "Ranking.filter": Call(lambda share: ranked().filter(share), lambda: {"share": 0.2}, {"share": lambda: 0.9}),
    "Ranking.limit": Call(lambda share: ranked().limit(share), lambda: {"share": 0.2}, {"share": lambda: 0.9}),
    "Ranking.plot": Call(
        lambda **given: ranked().plot(**given), dict, {"columns": lambda: 3, "maps": lambda: True, "most": lambda: 2}
    ),
    "Ranking.rows": Call(lambda **given: ranked().rows(**given), dict, {"top": lambda: 2, "worst": lambda: 2}),
    "Ranking.table": Call(
        lambda **given: ranked().table(**given).markdown(), dict, {"top": lambda: 2, "worst": lambda: 1}
    ),
    "DNA.distances": Call(
        lambda other: dna().distances(other), lambda: {"other": dna(images="b")}, {"other": lambda: dna(images="c")}
    ),
    "DNA.merge": Call(
        lambda others: dna().merge(others), lambda: {"others": dna(images="b")}, {"others": lambda: dna(images="c")}
    ),
    "DNA.restrict": Call(
        lambda neurons: dna().restrict(neurons),
        lambda: {"neurons": EXTRACTOR.neurons},
        {"neurons": lambda: SMALLER.neurons},
    ),
    "DNA.select": Call(
        lambda **given: dna().select(**given), dict, {"layers": lambda: ["mean"], "neurons": lambda: [1, 5]}
    ),
    "HistogramDNA.rebin": Call(
        lambda num_bins: dna().rebin(num_bins), lambda: {"num_bins": 20}, {"num_bins": lambda: 10}
    ),
    "GaussianDNA.from_moments": Call(
        GaussianDNA.from_moments,
        lambda: {"moments": torch.ones(2, 3), "neurons": Neurons({"x": 3}), "num_images": 4, "extractor": "x"},
        {
            "moments": lambda: torch.ones(2, 3) * 2,
            "neurons": lambda: Neurons({"y": 3}),
            "num_images": lambda: 5,
            "extractor": lambda: "y",
        },
    ),
    "Result.p_value_of_at_least": Call(
        lambda distance: compared()["dna-emd"].p_value_of_at_least(distance),
        lambda: {"distance": 9.0},
        {"distance": lambda: 0.1},
    ),
    "Result.tested": Call(
        lambda **given: _tested(**given),
        lambda: {"folded": "b"},
        {"folded": lambda: "c", "confidence": lambda: 0.8},
    ),
    "plots.plot_layers": Call(
        plots.plot_layers,
        lambda: {"comparison": compared()},
        {"comparison": lambda: several()["c"], "distance": lambda: "dna-fd", "names": lambda: ("x", "y")},
    ),
    "plots.plot_histograms": Call(
        plots.plot_histograms,
        lambda: {"comparison": compared()},
        {"comparison": lambda: several()["c"], "neurons": lambda: [("mean", 1)], "names": lambda: ("x", "y")},
    ),
    "plots.versus": Call(
        plots.versus,
        lambda: {"comparison": compared()},
        {"comparison": lambda: several()["c"], "names": lambda: ("x", "y")},
    ),
    "plots.plot_curve": Call(
        plots.plot_curve, lambda: {"comparisons": several()}, {"comparisons": lambda: several().by("dna-fd")}
    ),
    "plots.plot_matrix": Call(
        plots.plot_matrix,
        lambda: {"matrix": matrix({"a": A, "b": B, "c": C}, EXTRACTOR)},
        {"matrix": lambda: matrix({"a": A, "b": B, "d": C}, EXTRACTOR)},
    ),
    "plots.plot_monitor": Call(
        plots.plot_monitor,
        lambda: {"windows": list(monitor(A, B, EXTRACTOR, window=4))},
        {"windows": lambda: list(monitor(A, B, EXTRACTOR, window=3))},
    ),
}
OTHER_RANGES = ActivationRanges.observe(OTHER(tensor(A)))
LARGER = ActivationRanges.observe({layer: 2 * values for layer, values in EXTRACTOR(tensor(A)).items()})


def observed_of(imgs: Tensor) -> Any:
    metric = ActivationRange(EXTRACTOR)
    metric.update(imgs)
    return metric.compute()


def _metric(fake: np.ndarray = B, persistent: bool = False) -> DNAEMD:
    metric = DNAEMD(EXTRACTOR, num_folds=6, **FIXED)
    metric.persistent(persistent)
    metric.update(tensor(A), real=True)
    metric.update(tensor(fake), real=False)
    return metric


def _merged(other: DNAEMD) -> Any:
    metric = _metric()
    metric.merge_state(other)
    return metric.compute()


def _realism(imgs: Tensor, **options: Any) -> DNARealism:
    metric = DNARealism(EXTRACTOR, reference=dna("layer-gaussian"), typical=ranked().typical)
    metric.update(imgs, **options)
    return metric


def _features() -> Any:
    return torchmetrics_dna.Features(torch.arange(72.0).reshape(8, 9), EXTRACTOR.neurons, "x")


def _tested(folded: str, **options: Any) -> Result:
    sides = [make_dna(images, EXTRACTOR, num_folds=6, **FIXED) for images in (A, {"b": B, "c": C}[folded])]
    return compared()["dna-emd"].tested(DISTANCES["dna-emd"].folded(*sides), **options).evidence


RESULTS = (ClassComparisons, Comparison, Comparisons, DistanceMatrix, GaussianDNA, HistogramDNA, LayerGaussianDNA)
RESULTS += (Ranking, Result, Versions)


def arguments(function: Any) -> set[str]:
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls")} - ANYWHERE


def public() -> dict[str, set[str]]:
    """Names of all that is public, with the arguments that are to count."""
    modules = {"": torchmetrics_dna, "comparisons.": comparisons, "plots.": plots}
    found = dict[str, set[str]]()
    classes = list(RESULTS)
    for prefix, module in modules.items():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value):
                classes.append(value)
                found |= {} if prefix else {name: arguments(value)}  # results are made by functions
            elif inspect.isfunction(value):
                found[prefix + name] = arguments(value)
    for each in classes:
        for name, method in inspect.getmembers(each, callable):
            own = (getattr(method, "__module__", None) or "").startswith("torchmetrics_dna")
            if own and not name.startswith("_"):
                found[method.__qualname__] = arguments(method)
    return {name: names - EXEMPT.get(name, set()) for name, names in found.items()}


def test_every_argument_has_a_row() -> None:
    asked = {name: names for name, names in public().items() if names}
    rows = {name: set(call.others) for name, call in CALLS.items()}
    lacking = {name: names - rows.get(name, set()) for name, names in asked.items()}
    assert {name: names for name, names in lacking.items() if names} == {}
    assert {
        name: names - asked.get(name, set()) for name, names in rows.items() if names - asked.get(name, set())
    } == {}


# what hands keyword arguments on to torchmetrics, and takes more than an extractor to make metrics of each kind
KEYWORDS: dict[str, list[dict[str, Any]]] = {
    "DNARealism": [{"feature": EXTRACTOR, "reference": lambda: dna()}],
    "published_metrics": [{"metrics": ["fid", "kid", "is"]}, {"metrics": ["dna-emd", "dna-fd", "fd", "mind"]}],
}


def test_keywords_of_torchmetrics_reach_each_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {name: getattr(metrics, name) for name in metrics.__all__}
    takes = {name for name, value in offered.items() if "kwargs" in inspect.signature(value).parameters}
    assert takes >= {"DNAEMD", *KEYWORDS}
    make_small(monkeypatch)
    keywords = {"sync_on_compute": False, "dist_sync_on_step": True, "compute_with_cache": False}
    for name in takes:
        for arguments in KEYWORDS.get(name, [{"feature": EXTRACTOR}]):
            values = {
                key: value() if callable(value) and key == "reference" else value for key, value in arguments.items()
            }
            made = offered[name](**values, **keywords)
            members = made.values() if isinstance(made, MetricCollection) else [made]
            assert [{key: getattr(member, key) for key in keywords} for member in members] == [keywords] * len(members)


@pytest.fixture(autouse=True)
def few_relabelings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)


def result_of(call: Call, given_arguments: dict[str, Any]) -> str:
    try:
        return json.dumps(told(call.function(**given_arguments)), default=str)
    except (ValueError, RuntimeError, KeyError, TypeError) as err:
        return f"Refused: {err}"


@pytest.mark.causes
@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        pytest.param(name, each, marks=[pytest.mark.slow] * (name.startswith("Checkpoints") or each == "causes"))
        for name, call in CALLS.items()
        for each in call.others
    ],
)
def test_another_value_has_another_result(name: str, argument: str) -> None:
    call = CALLS[name]
    others = call.others[argument]()
    for other in others if isinstance(others, Each) else (others,):
        value, further = (other.value, other.further) if isinstance(other, Given) else (other, {})
        base = call.base() | further
        first, second = result_of(call, base), result_of(call, base | {argument: value})
        assert first != second
        refused = [result for result in (first, second) if result.startswith("Refused")]
        assert bool(refused) is (argument == "reading" or f"{name}-{argument}" in REFUSED), refused
