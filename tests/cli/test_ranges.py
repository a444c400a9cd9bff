"""The command that measures activation ranges, as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command, run
from golden import GOLDEN

from torchmetrics_dna import DNAEMD, ActivationRange, ActivationRanges, DNAExtractor
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.resize import resize_image

END = GOLDEN / "endtoend"
A, B, OFFICIAL = END / "a", END / "b", END / "activation_ranges.json"
FAST = ["--layers", "block_0,block_1"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ranges of A and B together."""
    output = tmp_path_factory.mktemp("ranges") / "ab.json"
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, "ranges", A, B, "-o", output, *FAST) == 0
    return output


def test_they_are_those_of_the_metric(measured: Path) -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "block_1"])
    metric = ActivationRange(extractor, normalize=True)
    for side in (A, B):
        images = [resize_image(image, (224, 224)) for image in open_source(side)]
        metric.update(torch.from_numpy(np.stack(images)))
    loaded, expected = ActivationRanges.load(measured), metric.to_ranges()
    assert (loaded.neurons, loaded.margin) == (expected.neurons, expected.margin)
    torch.testing.assert_close(loaded.minimum, expected.minimum, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loaded.maximum, expected.maximum, rtol=1e-5, atol=1e-5)


def test_the_file_has_the_official_form(measured: Path) -> None:
    ours, official = (json.loads(path.read_text()) for path in (measured, OFFICIAL))
    assert set(ours) == {*official, "margin"}
    for key in official:
        assert list(ours[key]) == ["block_0", "block_1"]
        assert list(ours[key]["block_0"]) == list(official[key]["block_0"])


def test_the_file_serves_metrics_and_compare(measured: Path, cli: Command) -> None:
    digest = ActivationRanges.load(measured).digest
    metric = DNAEMD(layers=["block_0", "block_1"], ranges=measured)
    metric.update(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), real=True)
    assert metric.to_dna(True).ranges.digest == digest
    result = json.loads(cli("compare", A, B, *FAST, "--ranges", measured, "--format", "json").out)
    assert result["ranges"] == digest
    assert result["dna_emd"] > 1


def test_official_ranges_and_a_union_with_earlier_ones(tmp_path: Path, cli: Command) -> None:
    first, both = tmp_path / "a.json", tmp_path / "ab.json"
    cli("ranges", A, "-o", first, "--margin", "scale")
    assert "margin 'scale'), 5 images" in " ".join(cli("ranges", first, B, "-o", both, "--margin", "scale").err.split())
    loaded, official = ActivationRanges.load(both), ActivationRanges.load(OFFICIAL)
    assert (loaded.neurons, loaded.margin) == (official.neurons, official.margin)
    for layer, where in official.neurons.slices.items():
        # another processor's float32 arithmetic
        rounding = 1e-5 * float(official.maximum[where].abs().max())
        for mine, theirs in ((loaded.minimum, official.minimum), (loaded.maximum, official.maximum)):
            np.testing.assert_allclose(mine[where], theirs[where], rtol=0, atol=rounding, err_msg=layer)


def test_options_reach_the_extractor(tmp_path: Path, cli: Command) -> None:
    by_name = {}
    for name, options in (("plain", ["--device", "cpu"]), ("crop", ["--crop", "center"])):
        arguments = ["--layers", "block_0", "--batch-size", "3", "--num-workers", "0", *options]
        cli("ranges", A, "-o", tmp_path / f"{name}.json", *arguments)
        by_name[name] = ActivationRanges.load(tmp_path / f"{name}.json")
    assert not torch.equal(by_name["plain"].maximum, by_name["crop"].maximum)
