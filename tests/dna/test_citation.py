"""Citations: sentences that name what was computed, also from a loaded result."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from all_results import EXTRACTOR, FIXED, RESULTS, A, B, C
from commands import run

from torchmetrics_dna import compare, make_dna
from torchmetrics_dna.comparisons import Comparison, Seeds
from torchmetrics_dna.dna.distances import PROTOCOLS
from torchmetrics_dna.version import __version__

SOFTWARE = (
    f"torchmetrics-dna {__version__} (torch {version('torch')}, numpy {version('numpy')}, pillow {version('pillow')})"
)


def test_two_sets() -> None:
    result = compare(A, B, EXTRACTOR, metrics=["dna-emd", "fd", "kid"], **FIXED)
    neurons, number = EXTRACTOR.neurons, len(EXTRACTOR.neurons)
    folds = result["dna-emd"].interval.num_folds
    assert result.cite() == (
        f"12 images of B were compared with 12 images of A by {SOFTWARE}. dna-emd (mean over {neurons.total} neurons of"
        f" {number} layers, 40 bins in ranges {result.ranges}), fd (mean over {number} layers) and kid (layer"
        f" {list(neurons)[-1]}) are of {EXTRACTOR.name} (weights {EXTRACTOR.weights_digest}), of images as they are."
        f" Intervals (95 %) are from the jackknife and p-values from permutations, over {folds} folds of images."
    )


def test_other_results() -> None:
    sets = {"gan/1": B, "gan/2": B[::-1].copy(), "vae/1": C, "vae/2": C[::-1].copy()}
    several = compare(A, sets, EXTRACTOR, **FIXED)
    assert several.cite().startswith(
        "4 sets (gan/1, gan/2, vae/1, vae/2; 12 images each) were compared with 12 images of the reference by torch"
    )
    assert Seeds.of(several).cite() == several.cite()
    unequal = compare(A, {"b": B, "c": C[:6]}, EXTRACTOR, num_folds=None, **FIXED)
    assert unequal.cite().startswith("2 sets (b, c; 6 to 12 images each) were compared")
    assert "Intervals" not in unequal.cite()
    assert " compared with 12 images of A, all together and in each of 2 classes, by" in RESULTS["classes"][0]().cite()
    paired = compare(A, np.clip(A + 1, 0, 255), EXTRACTOR, pairs=True, **FIXED)
    assert "12 images of B were compared with 12 images of A, as pairs, by" in paired.cite()
    of_one_image = compare(A, B[:1], EXTRACTOR, **FIXED)
    assert of_one_image.cite().startswith("1 image of B was compared with 12 images of A by")


def test_each_network_is_named() -> None:
    result = compare(A, B, layers=["block_0"], metrics=["kid"], num_folds=None)
    prepared = "images resized to 224 x 224 (clean)"
    assert (
        f"kid (layer block_0) is of efficientnet_lite0 (weights {result['kid'].origin.weights_digest}), of {prepared}."
        in result.cite()
    )
    origin = replace(result["kid"].origin, extractor="inception_fid", weights_digest=None, preparation=None)
    published = replace(result["kid"], distance=PROTOCOLS["fid"], origin=origin)
    both = replace(result, results={"fid": published, "kid": result["kid"]})
    assert (
        " fid (layer block_3) is of inception_fid (weights unknown), of images as they are. kid (layer" in both.cite()
    )
    cropped = replace(
        origin, preparation={"input_size": [336, 336], "resize": "clean", "crop": "center", "dtype": "float16"}
    )
    text = replace(result, results={"fid": replace(published, origin=cropped)}).cite()
    assert text.endswith("of images cropped to the center and resized to 336 x 336 (clean), in float16.")


def test_a_loaded_result_names_the_versions_that_computed_it(tmp_path: Path) -> None:
    result = compare(A, B, EXTRACTOR, **FIXED)
    emd = result["dna-emd"]
    older = replace(emd.origin, versions={"torchmetrics-dna": "0.0.9", "torch": "2.4.0"})
    result = replace(result, results={"dna-emd": replace(emd, origin=older)})
    result.save(tmp_path / "a.result.npz")
    loaded = Comparison.load(tmp_path / "a.result.npz")
    assert loaded.cite() == result.cite()
    assert " by torchmetrics-dna 0.0.9 (torch 2.4.0). dna-emd" in loaded.cite()


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "json"])
def test_the_command_cites(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, images in (("a", A), ("b", B), ("c", C)):
        make_dna(images, EXTRACTOR, num_folds=6, **FIXED).save(f"{name}.dna.npz")
    dnas = ["a.dna.npz", "b.dna.npz", "c.dna.npz"]
    for arguments in (dnas, dnas[:2]):
        assert run(monkeypatch, "compare", *arguments, "--format", form) == 0
        assert "torchmetrics-dna" not in capsys.readouterr().out
        assert run(monkeypatch, "compare", *arguments, "--format", form, "--cite") == 0
        shown = capsys.readouterr().out
        assert f"by torchmetrics-dna {__version__} (torch" in shown
