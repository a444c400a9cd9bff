"""The command that measures activation ranges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from commands import Command
from golden import GOLDEN

from torchmetrics_dna import ActivationRanges

END = GOLDEN / "endtoend"
A, B, OFFICIAL = END / "a", END / "b", END / "activation_ranges.json"


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


def test_options_reach_the_extractor_and_the_file_has_the_official_form(tmp_path: Path, cli: Command) -> None:
    by_name = {}
    for name, options in (("plain", ["--device", "cpu"]), ("crop", ["--crop", "center"])):
        arguments = ["--layers", "block_0", "--batch-size", "3", "--num-workers", "0", *options]
        cli("ranges", A, "-o", tmp_path / f"{name}.json", *arguments)
        by_name[name] = ActivationRanges.load(tmp_path / f"{name}.json")
    assert not torch.equal(by_name["plain"].maximum, by_name["crop"].maximum)
    ours, official = (json.loads(path.read_text()) for path in (tmp_path / "plain.json", OFFICIAL))
    assert set(ours) == {*official, "margin"}
    for key in official:
        assert list(ours[key]) == ["block_0"]
        assert list(ours[key]["block_0"]) == list(official[key]["block_0"])
