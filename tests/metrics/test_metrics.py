"""Distances of two sides: official values, and their arguments; test_every_pair.py has those of numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from golden import GOLDEN, load
from makers import EXTRACTOR, FAKE, RANGES, REAL, emd, fed, frechet, layer_frechet, self_ranging_emd
from networks import Pixels, random_images
from torchmetrics import Metric, MetricCollection

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, LayerFrechetDistance, SharedCollection, make_dna
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.resize import resize_image


def test_a_plot_names_layers_at_its_axis() -> None:
    metric = fed(emd(reduction="layer"))
    value = metric.compute()
    own = mpl.figure.Figure().subplots()
    for axes in (metric.plot()[1], metric.plot(value)[1], metric.plot(value, ax=own)[1]):
        assert [label.get_text() for label in axes.get_xticklabels()] == list(value)
        assert axes.get_xaxis().get_visible()
        assert axes.get_legend() is None
        places = {float(line.get_xdata()[0]): float(line.get_ydata()[0]) for line in axes.lines}
        assert places == {i: float(distance) for i, distance in enumerate(value.values())}
    _, axes = metric.plot([value, value])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(value)


@pytest.mark.parametrize("statistics", ["means", "activations", None])
def test_a_remedy_is_no_error(statistics: str | None) -> None:
    """Whatever is asked of a metric that keeps no folds, what the error advises works."""
    make = emd if statistics is None else lambda **options: DNAFrechet(EXTRACTOR, statistics=statistics, **options)

    def grouped(**options: bool) -> None:
        make(**options).update(REAL, real=True, groups=list(range(6)))

    for ask in (lambda: make(pairs=True), grouped, lambda: make().evidence()):
        with pytest.raises(ValueError, match="fold") as refused:
            ask()
        if statistics == "activations":
            assert "statistics='means'" in str(refused.value)
        else:
            assert str(refused.value).endswith("num_folds=20")
            make(num_folds=20, pairs=True).update(REAL, real=True, groups=list(range(6)))


def test_evidence_without_folds_names_those_of_the_reference() -> None:
    reference = make_dna(REAL, EXTRACTOR, num_folds=7)
    metric = DNAEMD(EXTRACTOR, reference=reference, num_folds=0)
    metric.update(FAKE, real=False)
    with pytest.raises(ValueError, match="num_folds=7"):
        metric.evidence()


@pytest.mark.parametrize("cls", [DNAEMD, DNAFrechet])
def test_folds_are_those_of_the_reference(cls: type[DNAEMD | DNAFrechet], tmp_path: Path) -> None:
    """The value is that without folds, to the last bit."""
    many, others = random_images(40, 0), random_images(40, 1) // 2
    kind = "histogram" if cls is DNAEMD else "gaussian"
    make_dna(many, EXTRACTOR, kind=kind, num_folds=8).save(tmp_path / "reference.npz")
    metrics = [cls(EXTRACTOR, reference=tmp_path / "reference.npz", num_folds=count) for count in (None, 8, 0)]
    for metric in metrics:
        metric.update(others, real=False)
    by_default, with_folds, without = metrics
    assert by_default.evidence().test.p_value == with_folds.evidence().test.p_value
    assert by_default.evidence().interval == with_folds.evidence().interval
    assert torch.equal(by_default.compute(), without.compute())
    assert len(by_default.to_dna(real=False).folds) == 8
    assert without.to_dna(real=False).folds == ()
    assert len(cls(EXTRACTOR, reference=tmp_path / "reference.npz", debias=True).to_dna(real=False).folds) == 20
    with pytest.raises(ValueError, match="`num_folds` expected to be an integer of at least 5"):
        cls(EXTRACTOR, num_folds=0, debias=True)


def test_what_differs_is_said_by_properties_that_the_network_measures() -> None:
    random = np.random.default_rng(0)
    sides = [
        torch.from_numpy(random.integers(0, 256, (count, 3, 16, 16), np.uint8) // divisor)
        for count, divisor in ((24, 1), (30, 2))
    ]
    network = DNAExtractor(Pixels(), layers=["mean"], properties=True)
    for metric in (DNAEMD(network, num_folds=20), DNAFrechet(network)):
        for real, side in zip((True, False), sides, strict=True):
            metric.update(side, real=real)
        explanation = metric.explain()
        weights = np.array([0.299, 0.587, 0.114])  # of ITU-R BT.601
        means = [float((side.double().mean((2, 3)).numpy() @ weights).mean()) / 255 for side in sides]
        (darker,) = (each for each in explanation.properties if each.name == "brightness")
        assert (darker.a, darker.b) == pytest.approx(means, abs=2e-3)
        assert "brightness 0.5 → 0.25" in str(explanation)


@pytest.mark.parametrize("few", ["real", "fake"])
def test_the_set_with_too_few_folds_is_named_whatever_its_number_of_images(few: str) -> None:
    images = random_images(50, seed=0)
    metric = DNAEMD(DNAExtractor(Pixels(), layers=["mean"]), num_folds=20)
    metric.update(images[:30], real=few == "real", groups=[number % 2 for number in range(30)])
    metric.update(images[30:], real=few == "fake", groups=list(range(20)))
    assert f"{few} has 30 images, in fewer than 5 folds" in str(metric.explain())


def test_a_plot_has_a_line_at_chance_unless_noise_is_taken_off() -> None:
    mpl.use("Agg")
    for options, is_drawn in (({"num_folds": 20}, True), ({"num_folds": 20, "debias": True}, False), ({}, False)):
        metric = fed(emd(**options))
        lines = metric.plot()[1].get_lines()
        levels = [line.get_ydata()[0] for line in lines if line.get_linestyle() == "--"]
        assert levels == ([metric.evidence().null] if is_drawn else [0.0] * bool(options))


def test_a_value_from_before_a_reset_is_plotted() -> None:
    metric = fed(emd(num_folds=5))
    value = metric.compute()
    metric.reset()
    _, axes = metric.plot(value)
    assert axes.get_ylabel() == "dna-emd (bins)"


def test_to_dna_is_a_snapshot() -> None:
    for make in (emd, frechet):
        metric = fed(make())
        real, expected = metric.to_dna(True), metric.to_dna(True).digest
        metric.update(FAKE, real=True)
        metric.reset()
        assert real.digest == replace(real, notes="").digest == expected  # computed anew


def test_two_images_a_side_have_a_variance() -> None:
    assert fed(emd(), REAL[:1], FAKE[:1]).compute() > 0
    for make, name in ((frechet, "dna-fd"), (layer_frechet, "fd")):
        metric = fed(make(), REAL, FAKE[:1])
        with pytest.raises(RuntimeError, match=f"More than one image .* {name}, but got 6 and 1"):
            metric.compute()
        metric.reset()
        metric.update(REAL, real=True)
        assert metric(FAKE[:1], real=False).isnan()


GIVEN = fed(emd()).to_dna(True)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (emd, {"reduction": "sum"}, ValueError, "one of 'mean', 'layer', 'none', but got 'sum'"),
        (frechet, {"neuron_weights": torch.ones(4)}, ValueError, r"shape \(9,\), but got \(4,\)"),
        (frechet, {"neuron_weights": torch.full((9,), float("nan"))}, ValueError, "neuron 0 has NaN"),
        (frechet, {"statistics": "all"}, ValueError, "'means', 'activations', but got 'all'"),
        (emd, {"num_bins": 1}, ValueError, "`num_bins` .* larger than 1, but got 1"),
        (emd, {"num_bins": True}, ValueError, "`num_bins`"),
        (frechet, {"reference": GIVEN}, TypeError, "a GaussianDNA or the path of one, but got HistogramDNA"),
        (layer_frechet, {"reference": GIVEN}, TypeError, "a LayerGaussianDNA or the path of one, but got Hist"),
        (emd, {"reference": "nowhere"}, FileNotFoundError, "'nowhere'"),
        (emd, {"ranges": 3}, TypeError, "`ranges` .* but got 3"),
        (emd, {"ranges": "nowhere.json"}, FileNotFoundError, "nowhere"),
        (emd, {"ranges": "hub:nowhere.json"}, ValueError, "hub:OWNER/REPO/path"),
        (emd, {"ranges": RANGES.select(["mean"])}, ValueError, "no layer 'colours'"),
        (layer_frechet, {"layer_weights": {"colours": 1.0}}, ValueError, "colours, contrast, mean, but got colours"),
        (layer_frechet, {"layer_weights": {}}, ValueError, "but got none"),
        (layer_frechet, {"layer_weights": torch.ones(9)}, ValueError, r"shape \(3,\), but got \(9,\)"),
        (layer_frechet, {"layer_weights": torch.full((3,), float("nan"))}, ValueError, "layer 0 has NaN"),
        (layer_frechet, {"layer_weights": torch.zeros(3)}, ValueError, "all are 0"),
    ],
)
def test_arguments_are_refused(
    make: Callable[..., Metric], arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**arguments)


def official_images(side: str) -> list[np.ndarray]:
    return list(open_source(GOLDEN / "endtoend" / side))


def fed_pictures(metrics: MetricCollection | Metric, sides: tuple[str, str]) -> None:
    for side in sides:
        pictures = np.stack([resize_image(image, (224, 224)) for image in official_images(side)])
        for batch in torch.from_numpy(pictures).split(4):
            metrics.update(batch, real=side == sides[0])


def test_official_distances_end_to_end(default_extractor: DNAExtractor) -> None:
    golden = load("endtoend/endtoend.npz")
    ranges = GOLDEN / "endtoend" / "activation_ranges.json"
    metrics = [
        DNAEMD(default_extractor, normalize=True, ranges=ranges, reduction="none"),
        DNAFrechet(default_extractor, normalize=True, reduction="none"),
        LayerFrechetDistance(default_extractor, normalize=True, reduction="layer"),
    ]
    fed_pictures(SharedCollection(metrics), ("a", "b"))
    emd_values, frechet_values, layer_values = (metric.compute() for metric in metrics)
    assert float(emd_values.mean()) == pytest.approx(float(golden["emd_avg"]), abs=1e-3)
    assert float(frechet_values.mean()) == pytest.approx(float(golden["nfd64_avg"]), rel=1e-5)
    for layer, layer_slice in default_extractor.neurons.slices.items():
        assert float(emd_values[layer_slice].mean()) == pytest.approx(float(golden[f"emd_layer-{layer}"]), abs=2e-3)
        official = float(golden[f"nfd64_layer-{layer}"])
        assert float(frechet_values[layer_slice].mean()) == pytest.approx(official, rel=1e-5)
        np.testing.assert_allclose(emd_values[layer_slice], golden[f"emd_neuron-{layer}"], rtol=0, atol=5e-2)
        for by in ("vdna", "exact"):
            assert float(layer_values[layer]) == pytest.approx(float(golden[f"fd_layer_{by}-{layer}"]), rel=1e-5)
    for side in "ab":
        counts = metrics[0].to_dna(side == "a").by_layer()
        for layer in default_extractor.neurons:
            ours, official = counts[layer].numpy()[golden[f"chosen-{layer}"]], golden[f"counts_{side}-{layer}"]
            # another processor's arithmetic moves a few of a neuron's thousands of values by one bin
            moved = np.abs(ours.cumsum(1) - official.cumsum(1)).sum(1)
            assert moved.max() <= 10
            assert (ours.sum(1) == golden[f"total_{side}-{layer}"]).all()


def test_official_distances_of_more_pictures_than_neurons() -> None:
    golden = load("endtoend/endtoend.npz")
    extractor = DNAExtractor(layers=[layer for layer in golden["layers"] if golden[f"fdset_full_rank-{layer}"]])
    metric = LayerFrechetDistance(extractor, normalize=True, reduction="layer")
    fed_pictures(metric, ("fd_a", "fd_b"))
    assert {"block_0"} <= metric.compute().keys()
    for layer, value in metric.compute().items():
        for by in ("vdna", "exact"):
            assert float(value) == pytest.approx(float(golden[f"fdset_fd_layer_{by}-{layer}"]), rel=1e-6)


def test_more_images_than_counts_of_64_bits_hold_are_an_error() -> None:
    metric = fed(self_ranging_emd())
    for doublings in (45, 18, 20):  # past 2**45, 2**63 and 2**64 images
        for _ in range(doublings):
            metric.merge_state(metric)
        with pytest.raises((OverflowError, RuntimeError), match=r"At most 1,099,511,627,776 images|but got 0 and 0"):
            metric.compute()
