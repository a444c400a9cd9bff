from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
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


WAYS: dict[str, Callable[..., Any]] = {
    "metric": lambda reference, **arguments: DNAEMD(reference=reference, **arguments),
    "realism": lambda reference, **arguments: DNARealism(reference=reference, **arguments),
    "compare": lambda reference, **arguments: compare(reference, Unread(), **arguments),
    "compare swapped": lambda reference, **arguments: compare(Unread(), reference, **arguments),
    "rank": lambda reference, **arguments: rank(Unread(), reference, **arguments),
    "report": lambda reference, **arguments: report(reference, Unread(), "page.html", **arguments),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature": "inception"}, "`feature` is 'inception', but the given DNA was made by 'efficientnet_lite0'"),
        ({"feature": EXTRACTOR}, f"their extractors differ: 'efficientnet_lite0' and '{EXTRACTOR.name}'"),
        ({"layers": ["nonsense"]}, "Unknown layer 'nonsense'; the layers .*: block_0, head"),
        ({"layers": ["block_1"]}, "Unknown layer 'block_1'; the layers .*: block_0, head"),
        ({"ranges": "auto"}, "`ranges` is auto, but the given DNA was counted within [0-9a-f]{16}; omit `ranges`"),
        (
            {"feature": DNAExtractor(EXTRACTOR.network), "layers": ["x"]},
            "`layers` requires a named feature|Unknown layer",
        ),
        ({"num_bins": 1000}, "`num_bins` is 1000, but the given DNA has 40 bins; omit `num_bins`"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_contradicts_a_reference_is_an_error_before_the_first_image(
    way: str, arguments: dict[str, Any], message: str, reference: Any
) -> None:
    if way == "realism" and "num_bins" in arguments:
        message = "expected to divide the 40 bins"  # scores may be of fewer bins
    with pytest.raises(ValueError, match=message):
        WAYS[way](reference, **arguments)


@pytest.mark.parametrize("make", [DNAEMD, DNARealism])
def test_layers_of_a_file_are_selected_in_the_order_asked_for(make: Any, reference: Any, tmp_path: Path) -> None:
    layers = ["head", "block_0"]
    reference.save(tmp_path / "x.dna.npz")
    metric = make(reference=tmp_path / "x.dna.npz", layers=layers)
    assert list(metric.neurons) == list(metric.reference.neurons) == layers
    chosen = reference.neurons.find(metric.neurons)
    assert torch.equal(metric.reference.counts, reference.counts[chosen])
    assert torch.equal(metric.reference.ranges.maximum, reference.ranges.maximum[chosen])


def test_an_extractor_of_fewer_layers_in_any_order_selects_those_of_a_reference() -> None:
    reference = make_dna(REAL, EXTRACTOR, ranges=RANGES, num_bins=40)
    one, two, turned = (
        DNAExtractor(EXTRACTOR.network, layers=x) for x in (["mean"], ["mean", "colours"], ["colours", "mean"])
    )
    metric = DNAEMD(one, reference=reference)
    metric.update(FAKE, real=False)
    comparison = compare(reference.select(["mean"]), FAKE, one)
    assert float(metric.compute()) == pytest.approx(comparison["dna-emd"].value, rel=1e-12)
    scores = [DNARealism(each, reference=reference) for each in (two, turned)]
    torch.testing.assert_close(*(metric(FAKE[:2]) for metric in scores), rtol=1e-12, atol=0)
    gaussian = make_dna(REAL, EXTRACTOR, kind="layer-gaussian")
    assert list(LayerFrechetDistance(one, reference=gaussian).reference.cov) == ["mean"]


def test_bins_and_ranges_that_nobody_counts_with_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_bins` and `ranges` require statistics='activations'"):
        DNAFrechet(EXTRACTOR, num_bins=-5, ranges="no such file")
    with pytest.raises(ValueError, match="`num_bins` expected to be integer larger than 1, but got -5"):
        make_dna(Unread(), EXTRACTOR, kind="gaussian", num_bins=-5)
    with pytest.raises(FileNotFoundError, match="no such file"):
        make_dna(Unread(), EXTRACTOR, kind="gaussian", ranges="no such file")


def test_arguments_for_images_are_refused_where_there_are_only_dnas(reference: Any) -> None:
    assert compare(reference, reference, "efficientnet_lite0", num_bins=40)["dna-emd"].value == 0
    for arguments, message in (
        ({"feature": "inception"}, "`feature` is 'inception', but the given DNA was made by 'efficientnet_lite0'"),
        ({"num_bins": 20}, "`num_bins` is 20, but the given DNA has 40 bins"),
        ({"feature": {"crop": "center"}}, "`crop` is for images, but only DNAs are given"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(reference, reference, **arguments)
    with pytest.raises(ValueError, match="The given DNAs have 40 and 20 bins; make both with as many, or take fewer"):
        compare(reference, reference.rebin(20))
