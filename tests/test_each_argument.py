"""Arguments of functions, classes and methods: another value of the argument changes the result.

Each row is a call and other values of its arguments. Arguments whose values are compared with numpy are elsewhere, most
in ``metrics/test_every_pair.py`` and ``comparisons/test_every_pair.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_results import CLASSES, EXTRACTOR, FIXED, RANGES, A, B, C
from matplotlib.figure import Figure
from matplotlib.text import Text
from networks import Convolutions, Pixels
from small_protocols import make_small
from torch import Tensor, nn

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    ActivationRanges,
    Checkpoints,
    DNAExtractor,
    DNARealism,
    NeuronWeights,
    compare,
    make_dna,
    monitor,
    plots,
    published_metrics,
    rank,
    report,
)  # fmt: skip
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.neurons import Neurons

pytestmark = pytest.mark.usefixtures("few_relabelings")

NORMALISED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
OTHER = DNAExtractor(Convolutions(), layers=["stem", "body"], input_size=16, **NORMALISED)
SMALLER = DNAExtractor(Pixels(), layers=["mean", "contrast"])
WEIGHTS = torch.linspace(0.2, 1.4, EXTRACTOR.neurons.total, dtype=torch.float64)
GROUPS = list("abcdefghijkl")
COUNTED = {"num_bins": 50, "ranges": RANGES}


def each_changes(function: Callable[..., Any], base: Mapping[str, Any], **others: Any) -> None:
    """Assert that each other value, of one argument at a time, changes the result of the call with the base values."""
    unchanged = plain(function(**base))
    for argument, value in others.items():
        changed = plain(function(**{**base, argument: value}))
        assert changed != unchanged, f"{argument}={value!r} changes nothing"


def plain(value: Any) -> str:
    """Return what a result holds, as text."""
    return json.dumps(value, default=plain_part)


def plain_part(value: Any) -> Any:
    if isinstance(value, Figure):
        return drawn(value)
    if isinstance(value, (Tensor, np.ndarray)):
        return value.tolist()
    if isinstance(value, Neurons):
        return {layer: [*value.numbers(layer)] for layer in value}
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return dict(value)
    return vars(value) if hasattr(value, "__dataclass_fields__") else str(value)


def drawn(figure: Figure) -> Any:
    """Return the texts of a figure, and the data of its lines, bars and images."""
    data: list[Any] = sorted(text.get_text() for text in figure.findobj(Text))
    for axis in figure.axes:
        data.extend(line.get_ydata() for line in axis.lines)
        data.extend(patch.get_path().vertices for patch in axis.patches)
        data.extend(image.get_array() for image in axis.images)
        data.append(axis.get_visible())
    return data


def tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@cache
def compared() -> Any:
    return compare(A, B, EXTRACTOR, metrics=["dna-emd", "dna-fd"], **FIXED)


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


def metric_of(fake: np.ndarray = B) -> DNAEMD:
    metric = DNAEMD(EXTRACTOR, num_folds=6, **FIXED)
    metric.update(tensor(A), real=True)
    metric.update(tensor(fake), real=False)
    return metric


def realism_of(imgs: Tensor, **options: Any) -> DNARealism:
    metric = DNARealism(EXTRACTOR, reference=dna("layer-gaussian"))
    metric.update(imgs, **options)
    return metric


@pytest.mark.causes
@pytest.mark.slow
def test_causes() -> None:
    each_changes(compare, {"a": A, "b": C, "feature": EXTRACTOR, "causes": False}, causes=True)


def test_compare() -> None:
    base = {"a": A, "b": B, "feature": EXTRACTOR}
    each_changes(compare, base, by=(CLASSES, CLASSES))
    each_changes(compare, base | {"b": {"b": B, "c": C}}, held_out="c")
    each_changes(compare, base | {"b": np.concatenate([A[:2], B])}, copies=False)


def test_report(tmp_path: Path) -> None:
    def written(output: str = "x.md", **options: Any) -> str:
        report(output=tmp_path / output, **options)
        text = (tmp_path / output).read_text(encoding="utf-8")
        (tmp_path / output).unlink()
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", text)

    base = {"a": A, "b": B, "feature": EXTRACTOR, "causes": False}
    formats = {"output": "x.json", "format": "json", "names": ("x", "y")}
    each_changes(written, base, a=C, b=C, by=(CLASSES, CLASSES), neuron_weights=WEIGHTS, **formats)
    each_changes(written, base | {"b": {"b": B, "c": C}}, held_out="c")
    each_changes(written, base | {"b": np.concatenate([A[:2], B])}, copies=False)


def test_monitor() -> None:
    def windows(**arguments: Any) -> list[Any]:
        return [*monitor(**arguments)]

    base = {"reference": A, "source": np.concatenate([B, C, A]), "feature": EXTRACTOR, "window": 4, "learn": 3}
    each_changes(windows, base, reference=C, source=np.concatenate([C, C, A]), feature=OTHER, **COUNTED)
    each_changes(windows, base, window=3, learn=4, level=0.2, order="source")
    each_changes(windows, base | {"feature": Pixels()}, layers=["mean"])


def test_matrix() -> None:
    base = {"sets": {"a": A, "b": B, "c": C}, "feature": EXTRACTOR}
    groups = (GROUPS, list("aabbccddeeff"), GROUPS)
    each_changes(matrix, base, sets={"c": C, "b": B, "a": A}, feature=OTHER, metrics=["fd"], **COUNTED)
    each_changes(matrix, base, neuron_weights=WEIGHTS, num_folds=None, groups=groups)
    each_changes(matrix, base | {"sets": {"a": A, "b": np.concatenate([B[2:], A[:2]]), "c": C}}, copies=False)
    each_changes(matrix, base | {"feature": Pixels()}, layers=["mean"])


def test_diff() -> None:
    base = {"old": A, "new": np.concatenate([A[6:], B]), "feature": EXTRACTOR}
    each_changes(diff, base, old=C, new=B, feature=OTHER, num_folds=6, **COUNTED)
    each_changes(diff, base | {"feature": Pixels()}, layers=["mean"])


def test_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> None:
    def added(step: int = 1, images: Any = B, **options: Any) -> Any:
        checkpoints = Checkpoints(folder=tmp_path_factory.mktemp("checkpoints"), **options)
        return [checkpoints.add(step, images), checkpoints.comparisons]

    base = {"reference": A, "feature": EXTRACTOR}
    each_changes(added, base, step=2, images=C, reference=C, feature=OTHER, held_out=C, **COUNTED)
    each_changes(added, base, num_folds=None)
    each_changes(added, base, num_folds=6)
    each_changes(added, base | {"feature": Pixels()}, layers=["mean"])


def test_activation_range() -> None:
    def observed(imgs: Tensor, normalize: bool = False, **options: Any) -> ActivationRanges:
        metric = ActivationRange(normalize=normalize, **options)
        metric.update(imgs / 255 if normalize else imgs)
        return metric.to_ranges()

    base = {"imgs": tensor(A), "feature": EXTRACTOR}
    each_changes(observed, base, imgs=tensor(B // 2), feature=OTHER, normalize=True, margin="scale")
    each_changes(observed, base | {"feature": Pixels()}, layers=["mean"])


def test_extractor() -> None:
    def activations(**options: Any) -> Any:
        extractor = DNAExtractor(**options)
        return [extractor(tensor(A[:3, :, :6])), extractor.preparation]

    base = {"feature": Convolutions(), "layers": ["stem", "body"], "input_size": 12, **NORMALISED}
    values = {"mean": (0.1, 0.2, 0.3), "std": (0.1, 0.2, 0.3), "dtype": "bfloat16"}
    each_changes(activations, base, layers=["body"], crop="center", input_size=14, resize="tensorflow", **values)
    each_changes(activations, base, properties=True)
    each_changes(activations, base | {"layers": None}, feature=nn.Conv2d(3, 4, 1))


def test_methods_of_an_extractor() -> None:
    imgs = tensor(A)
    each_changes(EXTRACTOR.forward, {"imgs": imgs}, imgs=tensor(B))
    each_changes(lambda imgs: [*EXTRACTOR.in_parts(imgs)], {"imgs": imgs}, imgs=tensor(B))
    each_changes(lambda layer: EXTRACTOR.pooled(layer)(imgs), {"layer": "mean"}, layer="contrast")
    each_changes(EXTRACTOR.resolve_ranges, {}, ranges=RANGES)


def test_methods_of_a_metric() -> None:
    def updated(**arguments: Any) -> Any:
        metric = DNAEMD(EXTRACTOR, num_folds=6, **FIXED)
        metric.update(tensor(C), real=True)
        metric.update(tensor(C), real=False)
        metric.update(**arguments)
        return [metric.to_dna(True), metric.to_dna(False)]

    def merged(incoming_state: DNAEMD) -> Any:
        metric = metric_of()
        metric.merge_state(incoming_state)
        return metric.compute()

    metric = metric_of()
    each_changes(updated, {"imgs": tensor(A), "real": True}, imgs=tensor(B), real=False, groups=GROUPS)
    each_changes(merged, {"incoming_state": metric_of()}, incoming_state=metric_of(C))
    each_changes(metric.to_dna, {"real": True}, real=False)
    each_changes(metric.scalars, {}, prefix="x/")
    each_changes(metric.evidence, {}, confidence=0.8)
    metric.persistent(True)
    each_changes(lambda **options: [*metric.state_dict(**options)], {}, prefix="metric.")


def test_realism() -> None:
    imgs, metric = tensor(A), realism_of(tensor(A))
    each_changes(lambda **update: realism_of(**update).compute(), {"imgs": imgs}, imgs=tensor(B))
    each_changes(lambda **update: realism_of(**update).compute(), {"imgs": imgs}, indices=[*range(11, -1, -1)])
    each_changes(metric.map, {"imgs": imgs}, imgs=tensor(B))
    each_changes(metric.limit, {"share": 0.2}, share=0.8)
    each_changes(metric.filter, {"imgs": imgs, "share": 0.2}, imgs=tensor(B // 3), share=0.9)
    each_changes(metric.summary, {}, worst=2)


def test_ranges() -> None:
    activations, others = EXTRACTOR(tensor(A)), ActivationRanges.observe(OTHER(tensor(A)))
    larger = ActivationRanges.observe({layer: 2 * values for layer, values in activations.items()})
    base = {"activations": activations}
    each_changes(ActivationRanges.observe, base, activations=EXTRACTOR(tensor(C) // 2), margin="scale")
    each_changes(RANGES.append, {"other": others}, other=others.select(["body"]))
    each_changes(lambda others: RANGES.union(others), {"others": larger}, others=RANGES)
    each_changes(RANGES.restrict, {"neurons": EXTRACTOR.neurons}, neurons=SMALLER.neurons)
    each_changes(RANGES.select, {}, layers=["mean"], neurons=[0, 2])
    base = {"positions": torch.tensor([0, 1, 2]), "neurons": Neurons({"x": 3})}
    each_changes(RANGES.take, base, positions=torch.tensor([6, 1, 2]), neurons=Neurons({"y": 3}))


def test_neuron_weights() -> None:
    base = {"weights": WEIGHTS, "dna": dna()}
    each_changes(NeuronWeights.like, base, weights=WEIGHTS / 2, dna=replace(dna(), extractor="y"), name="x")
    base = {"chosen": torch.tensor([1]), "neurons": EXTRACTOR.neurons, "extractor": "x"}
    names = {"extractor": "y", "weights_digest": "0" * 16, "name": "x"}
    each_changes(NeuronWeights.of_neurons, base, chosen=torch.tensor([5]), neurons=SMALLER.neurons, **names)


def test_methods_of_a_dna() -> None:
    each_changes(dna().distances, {"other": dna(images="b")}, other=dna(images="c"))
    each_changes(lambda others: dna().merge(others), {"others": dna(images="b")}, others=dna(images="c"))
    each_changes(dna().restrict, {"neurons": EXTRACTOR.neurons}, neurons=SMALLER.neurons)
    each_changes(dna().select, {}, layers=["mean"], neurons=[1, 5])
    each_changes(dna().rebin, {"num_bins": 20}, num_bins=10)


def test_methods_of_a_comparison() -> None:
    comparison, comparisons = compared(), several()
    each_changes(comparison.aligned, {}, neurons=[0, 3])
    each_changes(lambda **options: str(comparison.explain(**options)), {}, names=("x", "y"))
    each_changes(comparison.histograms, {"layer": "mean", "neuron": 0}, layer="contrast", neuron=1)
    each_changes(comparison.scalars, {}, prefix="x/")
    each_changes(comparison.top_neurons, {}, k=2, by="distance")
    each_changes(comparison["dna-emd"].p_value_of_at_least, {"distance": 9.0}, distance=0.1)
    each_changes(comparisons.by, {"distance": "dna-emd"}, distance="dna-fd")
    each_changes(comparisons.ratios, {}, distance="dna-fd")


def test_methods_of_a_ranking() -> None:
    ranking = ranked()
    each_changes(ranking.filter, {"share": 0.2}, share=0.9)
    each_changes(ranking.limit, {"share": 0.2}, share=0.9)
    each_changes(ranking.rows, {}, top=2, worst=2)
    each_changes(lambda **options: ranking.table_of(**options).markdown(), {}, top=2, worst=1)
    each_changes(ranking.plot, {}, columns=3, maps=True, most=2)


def test_plots() -> None:
    first, other = compared(), several()["c"]
    each_changes(first.plot, {}, distance="dna-fd")
    each_changes(plots.versus, {"comparison": first}, comparison=other, names=("x", "y"))
    each_changes(plots.plot_layers, {"comparison": first}, comparison=other, distance="dna-fd", names=("x", "y"))
    base = {"comparison": first}
    each_changes(plots.plot_histograms, base, comparison=other, neurons=[("mean", 1)], names=("x", "y"))
    each_changes(plots.plot_curve, {"comparisons": several()}, comparisons=several().by("dna-fd"))
    base = {"matrix": matrix({"a": A, "b": B, "c": C}, EXTRACTOR)}
    each_changes(plots.plot_matrix, base, matrix=matrix({"a": A, "b": B, "d": C}, EXTRACTOR))
    base = {"windows": [*monitor(A, B, EXTRACTOR, window=4)]}
    each_changes(plots.plot_monitor, base, windows=[*monitor(A, B, EXTRACTOR, window=3)])


def test_keywords_of_torchmetrics_reach_published_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    keywords = {"sync_on_compute": False, "dist_sync_on_step": True, "compute_with_cache": False}
    for names in (["fid", "kid", "is"], ["dna-emd", "dna-fd", "fd", "mind"]):
        for made in published_metrics(names, **keywords).values():
            assert {key: getattr(made, key) for key in keywords} == keywords
