"""Names of neurons: from a file or a mapping, wherever neurons are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from torchmetrics_dna import compare, report
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna.names import in_words, name_of, number_and_name, resolve_names
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.plots import plot_histograms

NEURONS = Neurons({"block_0": 16, "head": 1280})
NAMES = {"head": {7: "dog faces"}}


def test_a_neuron_by_its_name() -> None:
    assert (name_of("head", 7, NAMES), name_of("head", 8, NAMES), name_of("block_0", 7, NAMES)) == (
        "dog faces", "8", "7"
    )  # fmt: skip
    assert number_and_name("head", 7, NAMES) == "7 dog faces"
    assert in_words("head", 7, NAMES) == "dog faces (head neuron 7)"
    # properties keep their own
    assert name_of("properties", 3, {"properties": {3: "light"}}) == "brightness"
    assert number_and_name("properties", 3, NAMES) == "brightness"
    assert in_words("properties", 3, NAMES) == "brightness (properties)"


def test_a_file_gives_what_its_mapping_gives(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"head": {"7": "dog faces", "1279": "Ünïcode"}, "block_0": {}}), encoding="utf-8")
    expected = {"head": {7: "dog faces", 1279: "Ünïcode"}, "block_0": {}}
    assert resolve_names(path, NEURONS) == resolve_names(str(path), NEURONS) == resolve_names(expected, NEURONS)
    assert resolve_names(path, NEURONS) == expected
    assert resolve_names(None, NEURONS) == {}
    # layers of the extractor that are not looked at are checked, too, and left out
    assert resolve_names(path, Neurons({"block_0": 16}), {"block_0": 16, "head": 1280}) == {"block_0": {}}
    with pytest.raises(ValueError, match="has no neuron '1279'; expected a number from 0 to 99"):
        resolve_names(path, Neurons({"block_0": 16}), {"head": 100})
    # of a selection, how many the layer has is not known
    assert resolve_names({"head": {99: "x"}}, Neurons({"head": [1, 4]})) == {"head": {99: "x"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tail": {"0": "x"}}, "there is no layer 'tail'; the layers are: block_0, head"),
        ({"block_0": {"16": "x"}}, "layer 'block_0' has no neuron '16'; expected a number from 0 to 15"),
        ({"block_0": {"-1": "x"}}, "layer 'block_0' has no neuron '-1'"),
        ({"block_0": {"one": "x"}}, "layer 'block_0' has no neuron 'one'"),
        ({"block_0": {"3": 4}}, "the name of neuron 3 of layer 'block_0' is 4, expected a text"),
        ({"block_0": {"3": " "}}, "the name of neuron 3 of layer 'block_0' is ' ', expected a text"),
        ({"block_0": {"3": "x", "03": "y"}}, "layer 'block_0' has two names of neuron 3"),
        ({"block_0": ["x"]}, "layer 'block_0' is ['x'], expected {number: text}"),
        (["x"], "its content is ['x'], expected dict"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"Can't read") as error:
        resolve_names(path, NEURONS)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if isinstance(content, dict):
        with pytest.raises(ValueError, match="^Argument `neuron_names`: ") as error:
            resolve_names(content, NEURONS)
        assert message in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    for text in ("{", '{"head": {"1": "x", "1": "y"}}', ""):
        path.write_text(text)
        with pytest.raises(ValueError, match="as names of neurons, json with"):
            resolve_names(path, NEURONS)
    with pytest.raises(FileNotFoundError):
        resolve_names(tmp_path / "none.json", NEURONS)
    with pytest.raises(ValueError, match="layer 'properties' has names of its own"):
        resolve_names({"properties": {"0": "x"}}, Neurons({"properties": 16}))


def test_names_come_with_the_comparison(tmp_path: Path) -> None:
    photos = photographs(10)
    a, b = photos[:5], [blur(photo, 4) for photo in photos[5:]]
    names = {"block_0": {str(i): f"kernel <{i}>" for i in range(16)}, "head": {"0": "of another layer"}}
    comparison = report(a, b, tmp_path / "x.html", layers=["block_0"], neuron_names=names)
    assert set(comparison.neuron_names) == {"block_0"}
    top = comparison.top_neurons(3)
    assert [neuron["name"] for neuron in top] == [f"kernel <{neuron['neuron']}>" for neuron in top]
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    number = top[0]["neuron"]
    assert f"kernel &lt;{number}&gt; (block_0 neuron {number})" in html
    assert f"kernel <{number}>" not in html
    titles = [axis.get_title(loc="left") for axis in plot_histograms(comparison).axes]
    assert titles[0].startswith(f"kernel <{number}> (block_0 neuron {number})\n")
    assert comparison.to_dict()["top_neurons"][0]["name"] == f"kernel <{number}>"

    # of two DNAs, too; what is wrong comes before any work
    dnas = [side.any for side in comparison.measured]
    assert compare(*dnas, neuron_names={"block_0": {1: "one"}}).neuron_names == {"block_0": {1: "one"}}
    with pytest.raises(ValueError, match="there is no layer 'x'"):
        compare(a, ["no.png"], layers=["block_0"], neuron_names={"x": {}})
    assert torch.equal(comparison["dna-emd"].values, compare(*dnas)["dna-emd"].values)
