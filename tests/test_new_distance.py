"""A new distance needs one registry entry. It is then found by commands, tables and pages, at each granularity."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import GOLDEN
from pages import Page
from pixel_sets import EXTRACTOR, A, B

import torchmetrics_dna.cli.options as options
from torchmetrics_dna import report
from torchmetrics_dna.dna import GaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES, Distance, of_any_network
from torchmetrics_dna.plots import plot_layers

NAMES = ["dna-emd", "fd", "kid", "dna-hellinger"]  # of neurons, of layers, of the sets; of neurons, without a unit
PARTS = ["dna-emd", "fd", "dna-hellinger"]  # which layers have, too


def hellinger(a: GaussianDNA, b: GaussianDNA) -> torch.Tensor:
    total = a.var + b.var
    overlap = (2 * (a.var * b.var).sqrt() / total).sqrt() * torch.exp(-(a.mean - b.mean).square() / (4 * total))
    return (1 - overlap).clamp(min=0).sqrt()


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "Hellinger distance between the Gaussians of each neuron"
    kinds = ("gaussian", "layer-gaussian")
    record = Distance("dna-hellinger", "dna_hellinger", "", sentence, "neuron", kinds, 2, hellinger)
    monkeypatch.setitem(DISTANCES, record.name, record)


def three_digits(value: float) -> str:
    """Format with three significant digits, and with all digits before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def on_a_page(value: float) -> str:
    """Format with three significant digits, without zeros at the end, and with all digits if below a billion."""
    return f"{value:,.0f}" if 1000 <= value < 1e9 else f"{value:.3g}"


@pytest.mark.usefixtures("_registered")
def test_in_the_command(cli: Callable[..., Any]) -> None:
    sides = (GOLDEN / "endtoend" / name for name in "ab")
    options = ("compare", *sides, "--layers", "block_0", "--metrics", ",".join(NAMES), "--num-folds", "0")
    result = json.loads(cli(*options, "--format", "json").out)
    assert all(result[DISTANCES[name].key] > 0 for name in NAMES)
    assert result["kid_std"] > 0
    assert result["layers"]["block_0"]["dna_hellinger"] == result["dna_hellinger"] < 1
    assert all(0 < neuron["dna_hellinger"] < 1 for neuron in result["top_neurons"])

    summary, layers = re.split(r"\n(?=By layer)", cli(*options).out)
    value = {name: three_digits(result[DISTANCES[name].key]) for name in NAMES}
    listed = dict(
        line.replace("│", " ").split()[:2]
        for line in summary.splitlines()
        if line.startswith(tuple(f"│ {name} " for name in NAMES))
    )
    assert listed == value
    names, _, row = (line.replace("┃", " ").replace("│", " ").split() for line in layers.splitlines()[2:5])
    assert names == ["layer", "neurons", *PARTS]
    assert [row[0], *row[2:]] == ["block_0", *(value[name] for name in PARTS)]
    neurons = layers.partition("\nNeurons that differ most")[2]
    assert neurons.splitlines()[2].replace("┃", " ").split()[:4] == ["layer", "neuron", "dna-emd", "dna-hellinger"]


@pytest.mark.usefixtures("_registered")
def test_in_a_report_and_in_figures(tmp_path: Path) -> None:
    comparison = report(A, B, tmp_path / "x.html", EXTRACTOR, metrics=NAMES)
    rows = Page((tmp_path / "x.html").read_text(encoding="utf-8")).rows
    shown = {row[0]: row[1:] for row in rows}
    for name in NAMES:
        assert shown[name][0] == on_a_page(comparison[name].value)
        assert DISTANCES[name].sentence in shown[name][1]
    (header,) = (row for row in rows if row[:2] == ["layer", "neurons"])
    others = ["fd(squared activations)", "dna-hellinger"]
    assert header[3:] == ["debiased", "95% CI", "p", "dna-emd(bins)", *others]
    axes = {axis.get_ylabel(): axis for axis in plot_layers(comparison).axes}
    assert set(axes) == {"dna-emd\n(bins)", "dna-hellinger", "fd\n(squared activations)"}
    heights = [bar.get_height() for bar in axes["dna-hellinger"].patches]
    assert heights == [comparison["dna-hellinger"].layers[layer].value for layer in comparison.layers]


def test_help_names_all() -> None:
    for record in of_any_network().values():
        assert options.as_metrics(f"{record.name},{record.key}")
    assert options.as_metrics("dna-emd,fid,fd_dinov2")
    assert (
        f"distances, separated by commas: {', '.join(of_any_network())}."
        in options.FIELDS["metrics"].metadata["help"].lower()
    )
