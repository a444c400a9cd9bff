"""Wrong values that would give a wrong number or a late failure are refused before the network runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import Pixels

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    ActivationRanges,
    Checkpoints,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    NeuronWeights,
    Reading,
    compare,
    make_dna,
    monitor,
    published_metrics,
    rank,
    report,
)
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.functional import activation_histogram, dna_emd, dna_frechet, prdc
from torchmetrics_dna.metrics import CMMD, MIND, PRDC

EXTRACTOR = DNAExtractor(Pixels(), layers=["mean", "contrast"])
NEURONS = EXTRACTOR.neurons
REAL = torch.randint(0, 200, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
FAKE = 255 - REAL
DNA = make_dna(REAL, EXTRACTOR)
ZEROS, ONES = torch.zeros(6), torch.ones(6)

# The call, and the words of the message that say what is wrong.
METRICS: dict[str, tuple[Callable[[], Any], str]] = {
    "reset_real_features": (lambda: DNAEMD(EXTRACTOR, reset_real_features="no"), "`reset_real_features`"),
    "normalize": (lambda: DNAEMD(EXTRACTOR, normalize="yes"), "`normalize`"),
    "reduction": (lambda: DNAEMD(EXTRACTOR, reduction="sum"), "`reduction`"),
    "one bin": (lambda: DNAEMD(EXTRACTOR, num_bins=1), "`num_bins`"),
    "float bins": (lambda: DNAEMD(EXTRACTOR, num_bins=10.0), "`num_bins`"),
    "three folds": (lambda: DNAEMD(EXTRACTOR, num_folds=3), "`num_folds`"),
    "float folds": (lambda: DNAEMD(EXTRACTOR, num_folds=20.0), "`num_folds`"),
    "debias": (lambda: DNAEMD(EXTRACTOR, debias="no"), "`debias`"),
    "pairs": (lambda: DNAEMD(EXTRACTOR, num_folds=6, pairs="name"), "`pairs`"),
    "unknown layer": (lambda: DNAExtractor(Pixels(), layers=["mean", "head"]), "head"),
    "ranges": (lambda: DNAEMD(EXTRACTOR, ranges=5), "`ranges`"),
    "no file of ranges": (lambda: DNAEMD(EXTRACTOR, ranges="none.json"), "none.json"),
    "a metric as reference": (lambda: DNAEMD(EXTRACTOR, reference=DNAEMD(EXTRACTOR)), "reference"),
    "weights of 5 neurons": (lambda: DNAEMD(EXTRACTOR, neuron_weights=torch.ones(5)), "weights"),
    "NaN weights": (lambda: DNAEMD(EXTRACTOR, neuron_weights=torch.full((6,), torch.nan)), "weights"),
    "real is a text": (lambda: DNAEMD(EXTRACTOR).update(REAL, "no"), "`real`"),
    "real is None": (lambda: DNAEMD(EXTRACTOR).update(REAL, None), "`real`"),
    "real is a number": (lambda: DNAEMD(EXTRACTOR).update(REAL, 1), "`real`"),
    "side of a DNA": (lambda: DNAEMD(EXTRACTOR).to_dna("fake"), "`real`"),
    "confidence in percent": (lambda: DNAEMD(EXTRACTOR, num_folds=6).evidence(confidence=95), "`confidence`"),
    "statistics": (lambda: DNAFrechet(EXTRACTOR, statistics="mean"), "`statistics`"),
    "layer weights": (lambda: LayerFrechetDistance(EXTRACTOR, layer_weights={"mean": 1.0}), "`layer_weights`"),
    "score": (lambda: DNARealism(EXTRACTOR, reference=DNA, score="fid"), "`score`"),
    "margin": (lambda: ActivationRange(EXTRACTOR, margin=0.2), "`margin`"),
    "neighbours": (lambda: PRDC(EXTRACTOR, nearest_k=0), "`nearest_k`"),
    "projections": (lambda: MIND(EXTRACTOR, num_projections=0), "`num_projections`"),
    "layer": (lambda: CMMD(EXTRACTOR, layer="head"), "head"),
    "published": (lambda: published_metrics("fdi"), "fdi"),
    "published, normalize": (lambda: published_metrics("fid", normalize="no"), "`normalize`"),
}
VALUES: dict[str, tuple[Callable[[], Any], str]] = {
    "margin": (lambda: ActivationRanges(ZEROS, ONES, NEURONS, margin="x"), "`margin`"),
    "NaN range": (lambda: ActivationRanges(ZEROS + torch.nan, ONES, NEURONS), "range"),
    "swapped range": (lambda: ActivationRanges(ONES, ZEROS, NEURONS), "range"),
    "name of an extractor": (lambda: NeuronWeights(ONES, NEURONS, EXTRACTOR), "`extractor`"),
    "batch size": (lambda: Reading(batch_size=0), "`batch_size`"),
    "batch size as a text": (lambda: Reading(batch_size="8"), "`batch_size`"),
    "workers": (lambda: Reading(num_workers=-1), "`num_workers`"),
    "number of images": (lambda: Reading(num_images=2.5), "`num_images`"),
    "frames per second": (lambda: Reading(fps=0), "`fps`"),
    "white": (lambda: Reading(scale=0), "`scale`"),
    "skip_unreadable": (lambda: Reading(skip_unreadable="no"), "`skip_unreadable`"),
    "progress": (lambda: Reading(progress=True), "`progress`"),
    "column": (lambda: Reading(column=5), "`column`"),
    "crop": (lambda: DNAExtractor(Pixels(), crop="middle"), "`crop`"),
    "resize": (lambda: DNAExtractor(Pixels(), resize="bilinear"), "`resize`"),
    "input size": (lambda: DNAExtractor(Pixels(), input_size=0), "`input_size`"),
    "channels": (lambda: DNAExtractor(Pixels(), channels="3"), "`channels`"),
    "std of 0": (lambda: DNAExtractor(Pixels(), mean=[0.5] * 3, std=[0.0] * 3), "`std`"),
    "mean of two": (lambda: DNAExtractor(Pixels(), mean=[0.5] * 2, std=[0.5] * 3), "mean"),
    "dtype": (lambda: DNAExtractor(Pixels(), dtype="float8"), "`dtype`"),
    "inputs": (lambda: DNAExtractor(Pixels(), inputs="latents"), "`inputs`"),
    "properties": (lambda: DNAExtractor(Pixels(), properties="no"), "`properties`"),
    "shapes of counts": (lambda: dna_emd(torch.ones(3, 4), torch.ones(3, 5)), "shape"),
    "reduction": (lambda: dna_frechet(ONES, ONES, ONES, ONES, reduction="x"), "`reduction`"),
    "variance": (lambda: dna_frechet(ONES, -ONES, ONES, ONES), "variance"),
    "bins": (lambda: activation_histogram(torch.ones(2, 6), ZEROS, ONES, 1.5), "`num_bins`"),
    "neighbours": (lambda: prdc(torch.rand(9, 3), torch.rand(9, 3), nearest_k=0), "`nearest_k`"),
}
SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown metric": (lambda: compare(REAL, FAKE, EXTRACTOR, metrics=["dna-edm"]), "dna-edm"),
    "a metric as a name": (lambda: compare(REAL, FAKE, EXTRACTOR, metrics=[DNAEMD(EXTRACTOR)]), "`metrics`"),
    "confidence in percent": (lambda: compare(REAL, FAKE, EXTRACTOR, confidence=95), "`confidence`"),
    "two folds": (lambda: compare(REAL, FAKE, EXTRACTOR, num_folds=2), "`num_folds`"),
    "causes": (lambda: compare(REAL, FAKE, EXTRACTOR, causes="no"), "`causes`"),
    "copies": (lambda: compare(REAL, FAKE, EXTRACTOR, copies="no"), "`copies`"),
    "distributed": (lambda: compare(REAL, FAKE, EXTRACTOR, distributed="no"), "`distributed`"),
    "pairs": (lambda: compare(REAL, FAKE, EXTRACTOR, pairs="file"), "pairs"),
    "groups": (lambda: compare(REAL, FAKE, EXTRACTOR, groups="clip"), "groups"),
    "classes": (lambda: compare(REAL, FAKE, EXTRACTOR, by="class"), "by"),
    "held out": (lambda: compare(REAL, {"x": FAKE, "y": FAKE}, EXTRACTOR, held_out="c"), "held"),
    "cluster": (lambda: compare(REAL, FAKE, EXTRACTOR, on="slurm"), "slurm"),
    "layers of an extractor": (lambda: compare(REAL, FAKE, EXTRACTOR, layers=["mean"]), "`layers`"),
    "kind": (lambda: make_dna(REAL, EXTRACTOR, kind="hist"), "`kind`"),
    "order": (lambda: monitor(REAL, FAKE, EXTRACTOR, order="time"), "`order`"),
    "window": (lambda: monitor(REAL, FAKE, EXTRACTOR, window=0), "`window`"),
    "level": (lambda: monitor(REAL, FAKE, EXTRACTOR, level=5), "`level`"),
    "score": (lambda: rank(FAKE, REAL, EXTRACTOR, score="fid"), "`score`"),
    "format": (lambda: report(REAL, FAKE, "x.html", EXTRACTOR, format="word"), "format"),
    "names": (lambda: report(REAL, FAKE, "x.html", EXTRACTOR, names="ab"), "`names`"),
    "no folder": (lambda: report(REAL, FAKE, "none/x.html", EXTRACTOR), "none"),
    "a name, not sets": (lambda: matrix("real", "fake"), "sets"),
    "reference and folder swapped": (lambda: Checkpoints("run", REAL), "PathLike"),
}
CALLS = {
    f"{group}: {name}": call
    for group, calls in (("metrics", METRICS), ("values", VALUES), ("sets", SETS))
    for name, call in calls.items()
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_value_is_refused_before_the_network_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call, words = CALLS[name]
    monkeypatch.chdir(tmp_path)
    passes: list[int] = []
    forward = Pixels.forward
    # The layout of a network is found by running it on the meta device, which computes nothing.
    monkeypatch.setattr(
        Pixels, "forward", lambda self, images: passes.append(images.device.type != "meta") or forward(self, images)
    )
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
        call()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not any(passes)
    assert list(tmp_path.iterdir()) == []


def test_a_subclass_of_a_metric_takes_the_arguments_that_it_likes() -> None:
    class Scaled(DNAEMD):
        def helper(self, scale: int) -> float:
            return 2 * scale

    assert Scaled(EXTRACTOR).helper(2.5) == 5.0
