"""Descriptions of files of all kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from golden import GOLDEN

from torchmetrics_dna import load_dna
from torchmetrics_dna.dna.load import describe
from torchmetrics_dna.files.container import write_container

OURS = sorted((Path(__file__).parents[1] / "data" / "format_1").glob("*.dna.npz"))
OFFICIAL = [GOLDEN / "official_files" / name for name in ("hist50", "gauss", "layer_gauss")]
OF_KIND = {"histogram": ["num_bins", "ranges"], "gaussian": ["statistics"], "layer-gaussian": []}


@pytest.mark.parametrize("path", [*OURS, *OFFICIAL], ids=lambda path: path.name)
def test_it_is_of_what_is_read(path: Path) -> None:
    dna, description = load_dna(path), describe(str(path))
    names = ["kind", "digest", "extractor", "weights_digest", "preparation", "num_images", "num_folds", "num_neurons"]
    assert list(description) == [*names, *OF_KIND[dna.kind], "notes", "layers"]
    assert description["digest"] == dna.digest
    assert {layer: values["neurons"] for layer, values in description["layers"].items()} == dict(dna.neurons)


def test_of_folds_and_counts_that_do_not_add_up(tmp_path: Path) -> None:
    dna, folded = load_dna(next(path for path in OURS if path.name == "histogram.dna.npz")), tmp_path / "folded.dna.npz"
    replace(dna + dna, folds=(dna, dna)).save(folded)
    assert describe(str(folded))["num_folds"] == 2
    described, arrays, remarks = load_dna(folded)._encode_all()
    described["num_values"] = {layer: number + 1 for layer, number in described["num_values"].items()}
    write_container(folded, described, arrays, **remarks)
    with pytest.raises(ValueError, match=r"Can't read '.*folded.dna.npz' as a DNA file: its counts .* do not add"):
        describe(str(folded))
