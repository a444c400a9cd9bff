"""Every pair of options of the metrics meets once, and each row is what float64 numpy makes of the activations."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slowly
import torch
from covering import Row, covering, title
from slowly import LAYERS, Activations, extractor, given_ranges, moments, of_neurons, some_images
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import DNAEMD, DNAFrechet, DNARealism, LayerFrechetDistance, NeuronWeights, make_dna
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.averaging import Averaging
from torchmetrics_dna.dna.evidence import Evidence
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.statistics.folds import content_folds

REAL, FAKE, OTHERS = some_images(17, 0), some_images(17, 1, 130), some_images(4, 2)
GROUPS = list("abcdefghijkabcdil")
BATCHES = {True: (5, 1), False: (2, 9)}  # and the rest


def signed(count: int) -> Tensor:
    return torch.linspace(-0.3, 1.1, count, dtype=torch.float64).sin()


def unsigned(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64) / 7


@pytest.fixture(autouse=True)
def few_relabelings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)


def as_given(imgs: Tensor, row: Row) -> Tensor:
    return imgs / 255 if row["normalize"] else imgs


def side(row: Row, real: bool) -> tuple[Tensor, list[str]]:
    """Images of a side and their groups; there are fewer fake ones, unless these are in pairs."""
    count = 17 if real or row.get("pairs") else 14
    return as_given((REAL if real else FAKE)[:count], row), GROUPS[:count]


COMMON: dict[str, Any] = {
    "layers": ("all", "some", "one"),
    "module": (False, True),
    "normalize": (False, True),
    "reset_real_features": (True, False),
    "weights": (None, "tensor", "file"),
    "reduction": ("mean", "layer", "none"),
    "real": ("forward", "batches", "merged", "file"),
    "fake": ("update", "forward", "merged"),
}
OF_HISTOGRAMS: dict[str, Any] = {"num_bins": (None, 7), "ranges": (None, "auto", "file")}
OF_FOLDS: dict[str, Any] = {
    "num_folds": (None, 6),
    "debias": (False, True),
    "pairs": (False, True),
    "groups": (False, True),
    "confidence": (None, 0.8),
}


def has_folds(row: Row) -> bool:
    return row.get("num_folds") is not None or bool(row.get("debias"))


def emd_fits(row: Row) -> bool:
    if not has_folds(row) and (row["pairs"] or row["groups"] or row["confidence"]):
        return False
    return not row["pairs"] or row["groups"]


def frechet_fits(row: Row) -> bool:
    if row["statistics"] == "activations":
        return row["num_folds"] is None and not row["debias"] and emd_fits(row)
    return row["num_bins"] is None and row["ranges"] is None and emd_fits(row)


ROWS = [
    *covering({"metric": (DNAEMD,), **COMMON, **OF_HISTOGRAMS, **OF_FOLDS}, emd_fits),
    *covering(
        {"metric": (DNAFrechet,), "statistics": ("means", "activations"), **COMMON, **OF_HISTOGRAMS, **OF_FOLDS},
        frechet_fits,
    ),
    *covering({"metric": (LayerFrechetDistance,), **COMMON, "weights": (None, "tensor", "mapping")}),
]


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_two_sides(row: Row, tmp_path: Path) -> None:
    weights = chosen_weights(row)
    if row.get("debias") and weights is not None:
        with pytest.raises(ValueError, match=r"`debias` can't be used here: weights below 0 \(the least is -0.295"):
            row["metric"](**arguments(row, signed(len(weights)), tmp_path))
    metric = fed(row, weights, tmp_path)
    sides = [extractor(row["layers"])(side(row, real)[0]) for real in (True, False)]
    dnas = [counted(row, activations, real) for activations, real in zip(sides, (True, False), strict=True)]
    distances = torch.tensor(distances_of(row, *sides), dtype=torch.float64)
    terms = distances if weights is None else distances * weights * len(weights)
    widths = [1 if row["metric"] is LayerFrechetDistance else values.shape[1] for values in sides[0].values()]
    by_layer = dict(zip(LAYERS[row["layers"]], [part.mean() for part in terms.split(widths)], strict=True))
    expected = {"mean": terms.mean(), "layer": by_layer, "none": terms}
    record, confidence = metric.distance, row.get("confidence") or 0.95
    figures = {record.key: expected["mean"], **{f"{layer}/{record.key}": value for layer, value in by_layer.items()}}
    evidence = None
    if has_folds(row):
        slow = record.result(*dnas, Averaging(weights), confidence=confidence, with_evidence=True, paired=row["pairs"])
        evidence = slow.evidence
        if evidence.interval is not None:  # weights are not below 0
            debiased = evidence.debiased, dict(zip(by_layer, evidence.layers, strict=True)), evidence.neurons
            figures |= {
                f"{key}_debiased": value for key, value in zip(figures, (debiased[0], *evidence.layers), strict=True)
            }
            expected = dict(zip(expected, debiased, strict=True)) if row["debias"] else expected
    check(metric.compute(), expected[row["reduction"]], row, 1e-7 if row.get("debias") else 1e-9)
    agree(metric, row, evidence, figures, dnas)


def agree(metric: Metric, row: Row, evidence: Evidence | None, figures: dict[str, Any], dnas: list[DNA]) -> None:
    """Check that all else that a metric tells is what these DNAs have."""
    scalars = metric.scalars("x/")
    assert scalars == pytest.approx({f"x/{key}": float(value) for key, value in figures.items()}, rel=1e-7, abs=1e-12)
    told = metric.explain()
    assert ("properties=True" in str(told)) is ("properties" not in dnas[0].neurons)
    if evidence is None:
        assert (told.p_value, told.differs, told.names) == (None, None, ("real", "fake"))
        with pytest.raises(ValueError, match="keeps no folds of images"):
            metric.evidence()
    else:
        options = {} if row["confidence"] is None else {"confidence": row["confidence"]}
        slowly.check_evidence(metric.evidence(**options), evidence)
        assert told.p_value == pytest.approx(evidence.test.p_value)
        assert told.differs is (evidence.test.p_value <= 0.05)
    for dna, real in zip(dnas, (True, False), strict=True):
        slowly.check_dna(metric.to_dna(real=real), dna)


def check(value: Any, expected: Any, row: Row, rtol: float = 1e-9) -> None:
    if row["reduction"] == "layer":
        assert list(value) == LAYERS[row["layers"]]
        value, expected = (torch.stack([*each.values()]) for each in (value, expected))
    assert value.dtype == torch.float64
    expected = torch.as_tensor(expected).double()
    torch.testing.assert_close(value.flatten(), expected.flatten(), rtol=rtol, atol=1e-12)  # torchmetrics squeezes one
    assert row.get("debias") or bool((value != 0).any())


def chosen_weights(row: Row) -> Tensor | None:
    """Weights of neurons or layers; below 0 where that has a value."""
    count = extractor(row["layers"]).neurons.total
    if row["metric"] is LayerFrechetDistance:
        count = len(LAYERS[row["layers"]])
    return None if row["weights"] is None else (unsigned if row.get("debias") else signed)(count) + 0.1


def arguments(row: Row, weights: Tensor | None, folder: Path) -> dict[str, Any]:
    names = ("reduction", "normalize", "reset_real_features", "num_bins", "num_folds", "debias", "pairs", "statistics")
    given = {name: row[name] for name in names if row.get(name) is not None}
    given["feature"] = extractor(row["layers"])
    if row["module"]:
        given |= {"feature": slowly.Polynomials(), "layers": LAYERS[row["layers"]]}
    if row.get("ranges") is not None:
        given_ranges().save(folder / "ranges.json")
        given["ranges"] = folder / "ranges.json" if row["ranges"] == "file" else "auto"
    if row["metric"] is LayerFrechetDistance:
        as_mapping = row["weights"] == "mapping"
        named = (
            dict(zip(reversed(LAYERS[row["layers"]]), weights.flip(0).tolist(), strict=True)) if as_mapping else weights
        )
        return given | {"layer_weights": named}
    given["neuron_weights"] = weights
    if row["weights"] == "file":
        own = extractor(row["layers"])
        NeuronWeights(weights, own.neurons, own.name, own.weights_digest).save(folder / "weights.npz")
        given["neuron_weights"] = folder / "weights.npz"
    return given


def fed(row: Row, weights: Tensor | None, folder: Path) -> Metric:
    given, of_class = arguments(row, weights, folder), row["metric"]
    if row["real"] == "file":
        source = of_class(**given)
        feed(source, row, True, "batches")
        source.to_dna(real=True).save(folder / "reference.dna.npz")
        given["reference"] = folder / "reference.dna.npz"
    metric, other = of_class(**given), of_class(**given)
    takes_real = "reference" not in given
    if takes_real and not row["reset_real_features"]:
        feed(metric, row, True, row["real"], other)
    spoil(metric, takes_real and row["reset_real_features"], row)
    metric.reset()
    if takes_real and row["reset_real_features"]:
        feed(metric, row, True, row["real"], other)
    feed(metric, row, False, row["fake"], of_class(**given))
    return metric


def spoil(metric: Metric, real: bool, row: Row) -> None:
    """Add images that a reset takes away."""
    for side in (True, False) if real else (False,):
        metric.update(as_given(OTHERS, row), real=side, **({"groups": list("abca")} if row.get("groups") else {}))


def feed(metric: Metric, row: Row, real: bool, way: str, other: Metric | None = None) -> None:
    imgs, groups = side(row, real)
    batches = (*BATCHES[real], len(imgs) - sum(BATCHES[real]))
    if way == "merged":
        begin = batches[0]
        add(metric.update, imgs[:begin], groups[:begin], real, row)
        add(other.update, imgs[begin:], groups[begin:], real, row)
        metric.merge_state(other)
        return
    sizes = (len(imgs),) if way == "update" else batches
    for number, part in enumerate(imgs.split(sizes)):
        begin = sum(sizes[:number])
        add(metric.forward if way == "forward" else metric.update, part, groups[begin : begin + len(part)], real, row)


def add(call: Any, imgs: Tensor, groups: list[str], real: bool, row: Row) -> None:
    call(imgs, real=real, **({"groups": groups} if row.get("groups") else {}))


def ends_of(row: Row, real: Activations) -> list[tuple[float, float]]:
    """Range of each neuron: as given, else that of the real side."""
    if row["ranges"] == "file":
        ranges = given_ranges().select(LAYERS[row["layers"]]).restrict(extractor(row["layers"]).neurons)
        return list(zip(ranges.minimum.tolist(), ranges.maximum.tolist(), strict=True))
    return [(values.min(), values.max()) for values in of_neurons(real)]


def distances_of(row: Row, real: Activations, fake: Activations) -> list[float]:
    if row["metric"] is LayerFrechetDistance:
        means = ([x.double().reshape(*x.shape[:2], -1).mean(2).numpy() for x in side.values()] for side in (real, fake))
        return list(map(slowly.layer_frechet, *means))
    pairs, num_bins = list(zip(of_neurons(real), of_neurons(fake), strict=True)), row["num_bins"] or 1000
    if row.get("statistics") == "means":
        return [slowly.frechet(*moments(a), *moments(b)) for a, b in pairs]
    self_ranging = row["ranges"] in (None, "auto")
    if row["metric"] is DNAEMD:
        distance = (lambda a, b, *ends: slowly.emd_of_any_range(a, b, num_bins, *ends)) if self_ranging else (
            lambda a, b, *ends: slowly.emd_within(a, b, *ends, num_bins)
        )  # fmt: skip
        return [distance(a, b, *ends) for (a, b), ends in zip(pairs, ends_of(row, real), strict=True)]
    return [
        slowly.frechet(*moments_in_bins(row, a, ends), *moments_in_bins(row, b, ends))
        for (a, b), ends in zip(pairs, ends_of(row, real), strict=True)
    ]


def moments_in_bins(row: Row, values: np.ndarray, ends: tuple[float, float]) -> tuple[float, float]:
    """Mean and variance of a neuron's values by the bins of a range, or without one by those of the values' own."""
    num_bins = row["num_bins"] or 1000
    if row["ranges"] == "file":
        edges = np.linspace(*slowly.bounds(*ends), num_bins + 1)
        counts = slowly.counted(values, *slowly.bounds(*ends), num_bins)
    else:
        edges = slowly.dyadic_edges(values.min(), values.max(), num_bins)
        counts = slowly.counted_between(values, edges)
    return slowly.moments_of_bins(values, edges, counts)


def counted(row: Row, activations: Activations, real: bool) -> DNA:
    """The DNA of a side, counted slowly; with that of each fold beside it, if the metric has folds."""
    if row["metric"] is LayerFrechetDistance:
        return slowly.layer_gaussian_dna(activations)
    if row.get("statistics") == "activations":  # without folds
        pairs = zip(of_neurons(activations), ends_of(row, activations), strict=True)
        mean, var = torch.tensor([moments_in_bins(row, *pair) for pair in pairs], dtype=torch.float64).T
        return replace(slowly.gaussian_dna(activations), mean=mean, var=var)
    whole = part = slowly.gaussian_dna
    if row["metric"] is DNAEMD:
        fixed, num_bins = row["ranges"] == "file", row["num_bins"] or 1000
        ranges = given_ranges().restrict(extractor(row["layers"]).neurons) if fixed else None
        whole, part = (
            partial(slowly.histogram_dna, ranges=ranges, num_bins=n) for n in (num_bins, slowly.BINS_OF_FOLDS[num_bins])
        )
    if not has_folds(row):
        return whole(activations)
    imgs, groups = side(row, real)
    num_folds = row["num_folds"] or 20
    digests = [hashlib.sha256(group.encode()).digest()[:6] for group in groups]
    numbers = torch.tensor([int.from_bytes(digest, "big") % num_folds for digest in digests])
    of_image = numbers if row["groups"] else content_folds(imgs, num_folds)
    return slowly.in_folds(activations, of_image, whole, part)


OF_SCORES: dict[str, Any] = {
    "layers": ("all", "some", "one"),
    "normalize": (False, True),
    "score": (None, "outlier", "distance", "contrast"),
    "kind": ("histogram", "layer-gaussian"),
    "saved": (False, True),
    "ranges": ("auto", "given"),
    "num_bins": (None, 50),
    "weights": (None, "tensor", "neurons"),
    "contrast": (False, True),
    "indices": (None, "list", "tensor"),
    "way": ("update", "forward", "merged"),
}


def score_fits(row: Row) -> bool:
    if row["kind"] == "layer-gaussian":
        of_emd = row["weights"] or row["contrast"] or row["num_bins"] or row["ranges"] == "given"
        return row["score"] in (None, "outlier") and not of_emd
    return row["score"] != "outlier" and (row["score"] is None or (row["score"] == "contrast") == row["contrast"])


@pytest.mark.parametrize("row", covering(OF_SCORES, score_fits), ids=title)
def test_scores(row: Row, tmp_path: Path) -> None:
    network, imgs = extractor(row["layers"]), as_given(OTHERS, row)
    ranges = {"auto": "auto", "given": given_ranges()}[row["ranges"]]
    of_kind = {"kind": row["kind"], **({"num_bins": 250, "ranges": ranges} if row["kind"] == "histogram" else {})}
    sets = [REAL, FAKE][: 1 + row["contrast"]]
    dnas: list[Any] = [make_dna(each.permute(0, 2, 3, 1).numpy(), network, **of_kind) for each in sets]
    if row["saved"]:
        for number, dna in enumerate(dnas):
            dna.save(tmp_path / f"{number}.dna.npz")
            dnas[number] = tmp_path / f"{number}.dna.npz"
    weights = None if row["weights"] is None else signed(network.neurons.total)
    neuron_weights = weights
    if row["weights"] == "neurons":
        neuron_weights = NeuronWeights(weights, network.neurons, network.name, network.weights_digest)
    given = {"reference": dnas[0], "score": row["score"], "num_bins": row["num_bins"], "neuron_weights": neuron_weights}
    given |= {"normalize": row["normalize"]} | ({"contrast": dnas[1]} if row["contrast"] else {})
    metric, other = DNARealism(network, **given), DNARealism(network, **given)
    numbers = {None: None, "list": [7, 0, 3, 5], "tensor": torch.tensor([7, 0, 3, 5])}[row["indices"]]
    sizes = {"update": (4,), "merged": (3, 1)}.get(row["way"], (1, 2, 1))
    begin = 0
    for number, part in enumerate(imgs.split(sizes)):
        taker = other if row["way"] == "merged" and number else metric
        call = taker.forward if row["way"] == "forward" else taker.update
        call(part, **({} if numbers is None else {"indices": numbers[begin : begin + len(part)]}))
        begin += len(part)
    if row["way"] == "merged":
        metric.merge_state(other)
    images, references = network(imgs), [network(as_given(each, row)) for each in sets]
    if row["kind"] == "layer-gaussian":
        expected = slowly.outliers(images, references[0], (image_properties(REAL), image_properties(imgs)))
    else:
        ends = None
        if row["ranges"] == "given":
            chosen = given_ranges().restrict(network.neurons)
            ends = list(zip(chosen.minimum.tolist(), chosen.maximum.tolist(), strict=True))
        of_neuron = slowly.realism(images, references, ends, row["num_bins"] or 250)
        summed = of_neuron.mean(2) if weights is None else of_neuron @ weights.numpy()
        expected = summed[0] - summed[1] if row["contrast"] else summed[0]
    order = [0, 1, 2, 3] if numbers is None else [1, 2, 3, 0]
    np.testing.assert_allclose(
        metric.compute(), expected[order], rtol=1e-5 if row["kind"] == "layer-gaussian" else 1e-9
    )
