from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Convolutions
from torch.utils.data import Dataset

from torchmetrics_dna import (
    DNAEMD,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    compare,
    make_dna,
    rank,
    report,
)
from torchmetrics_dna.extractors.network import Network

LAYERS = ["block_0", "head"]


class Unread(Dataset[Any]):
    """Images that fail if they are read."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("An image was read")


@pytest.fixture(scope="module")
def reference(default_extractor: DNAExtractor) -> Any:
    return make_dna(REAL, default_extractor, num_bins=40).select(LAYERS)


def by_metric(reference: Any, **arguments: Any) -> None:
    DNAEMD(reference=reference, **arguments)


def by_realism(reference: Any, **arguments: Any) -> None:
    DNARealism(reference=reference, **arguments)


def by_compare(reference: Any, **arguments: Any) -> None:
    compare(reference, Unread(), **arguments)


def by_compare_swapped(reference: Any, **arguments: Any) -> None:
    compare(Unread(), reference, **arguments)


def by_rank(reference: Any, **arguments: Any) -> None:
    rank(Unread(), reference, **arguments)


def by_report(reference: Any, **arguments: Any) -> None:
    report(reference, Unread(), "page.html", **arguments)


WAYS = [by_metric, by_realism, by_compare, by_compare_swapped, by_rank, by_report]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature": "inception"}, "`feature` is 'inception', but the given DNA was made by 'efficientnet_lite0'"),
        ({"feature": EXTRACTOR}, f"their extractors differ: 'efficientnet_lite0' and '{EXTRACTOR.name}'"),
        ({"layers": ["nonsense"]}, "Unknown layer 'nonsense'; the layers .*: block_0, head"),
        ({"layers": ["block_1"]}, "Unknown layer 'block_1'; the layers .*: block_0, head"),
        ({"ranges": "auto"}, "`ranges` is auto, but the given DNA was counted within [0-9a-f]{16}; leave `ranges` out"),
        ({"num_bins": 1000}, "`num_bins` is 1000, but the given DNA has 40 bins; leave `num_bins` out"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_contradicts_a_reference_is_an_error_before_the_first_image(
    way: Callable[..., None], arguments: dict[str, Any], message: str, reference: Any
) -> None:
    if way is by_realism and "num_bins" in arguments:
        message = "expected to divide the 40 bins"  # scores may be of fewer bins
    with pytest.raises(ValueError, match=message):
        way(reference, **arguments)


@pytest.mark.parametrize("way", WAYS)
def test_layers_go_with_a_named_feature(way: Callable[..., None], reference: Any, default_extractor: Any) -> None:
    with pytest.raises(
        ValueError, match="`layers` goes with a named feature; give it to the DNAExtractor|Unknown layer"
    ):
        way(reference, feature=default_extractor, layers=["nonsense"])


@pytest.mark.parametrize("make", [DNAEMD, DNARealism])
@pytest.mark.parametrize("layers", [["head"], ["head", "block_0"]])
def test_layers_of_a_reference_are_selected_in_the_order_asked_for(
    make: Any, layers: list[str], reference: Any
) -> None:
    metric = make(reference=reference, layers=layers)
    assert list(metric.neurons) == list(metric.reference.neurons) == layers
    chosen = reference.neurons.find(metric.neurons)
    assert torch.equal(metric.reference.counts, reference.counts[chosen])
    assert torch.equal(metric.reference.ranges.maximum, reference.ranges.maximum[chosen])


def test_the_order_of_layers_does_not_change_scores(reference: Any) -> None:
    scores = []
    for layers in (LAYERS, LAYERS[::-1]):
        metric = DNARealism(reference=reference, layers=layers)
        metric.update(FAKE[:2])
        scores.append(metric.compute())
    torch.testing.assert_close(*scores, rtol=1e-12, atol=0)


def test_an_extractor_of_fewer_layers_selects_those_of_a_reference(reference: Any) -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["head"])
    metric = DNAEMD(extractor, reference=reference)
    metric.update(FAKE, real=False)
    comparison = compare(reference.select(["head"]), FAKE, extractor)
    assert float(metric.compute()) == pytest.approx(comparison["dna-emd"].value, rel=1e-12)
    gaussian = make_dna(REAL, EXTRACTOR, kind="layer-gaussian")
    fewer = DNAExtractor(EXTRACTOR.network, layers=["mean"])
    assert list(LayerFrechetDistance(fewer, reference=gaussian).reference.cov) == ["mean"]


def test_a_layer_of_another_width_is_refused() -> None:
    dna = make_dna(REAL, EXTRACTOR, ranges=RANGES, num_bins=40)
    network = Convolutions()
    extractor = DNAExtractor(network)
    layer = next(iter(extractor.neurons))
    renamed = replace(dna, extractor=extractor.name, weights_digest=None, preparation=None)
    with pytest.raises(ValueError, match=f"it has no layer '{layer}'"):
        DNAEMD(extractor, reference=renamed)


def test_bins_and_ranges_that_nobody_counts_with_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_bins` and `ranges` go with statistics='activations'; leave them out"):
        DNAFrechet(EXTRACTOR, num_bins=-5, ranges="no such file")
    with pytest.raises(ValueError, match="`num_bins` expected to be integer larger than 1, but got -5"):
        make_dna(Unread(), EXTRACTOR, kind="gaussian", num_bins=-5)
    with pytest.raises(FileNotFoundError, match="no such file"):
        make_dna(Unread(), EXTRACTOR, kind="gaussian", ranges="no such file")


def test_arguments_for_images_are_refused_where_there_are_only_dnas(
    reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(reference, reference, "efficientnet_lite0", num_bins=40)["dna-emd"].value == 0
    for arguments, message in (
        ({"feature": "inception"}, "`feature` is 'inception', but the given DNA was made by 'efficientnet_lite0'"),
        ({"num_bins": 20}, "`num_bins` is 20, but the given DNA has 40 bins"),
        ({"feature": Network(crop="center")}, "`crop` is for images, but only DNAs are given; leave it out"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(reference, reference, **arguments)
    with pytest.raises(ValueError, match="The given DNAs have 40 and 20 bins; make both with as many, or take fewer"):
        compare(reference, reference.rebin(20))
    reference.save(tmp_path / "x.dna.npz")
    assert run(monkeypatch, "compare", tmp_path / "x.dna.npz", tmp_path / "x.dna.npz", "--crop", "center") == 2
    assert "is for images, but only DNAs are given" in capsys.readouterr().err


def test_rank_takes_the_settings_of_the_reference(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--feature", "efficientnet_lite0", "--layers", "block_0", "--num-bins", "50", "--crop", "center"]
    made = tmp_path / "x.dna.npz"
    assert run(monkeypatch, "make", photo_folder / "photo0.png", "-o", made, *options) == 0
    assert run(monkeypatch, "rank", photo_folder, "--reference", made, "--format", "csv") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0"], crop="center")
    expected = rank(photo_folder, photo_folder / "photo0.png", extractor, num_bins=50)
    assert [row[1] for row in rows] == expected.names
    np.testing.assert_allclose([float(row[2]) for row in rows], expected.scores, rtol=1e-6)
