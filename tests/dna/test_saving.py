"""Saved results: files give back what was saved, and damaged or forged ones are refused."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_results import EXTRACTOR, FIXED, RESULTS, A, B

from torchmetrics_dna import compare, load_dna, make_dna, rank
from torchmetrics_dna.comparisons import ClassComparisons, Comparison, DistanceMatrix
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.container import read_container, write_container
from torchmetrics_dna.singles import Ranking

SAVED = (
    "two sets", "two sets by several distances", "a single image", "several sets", "classes", "all with all",
    "versions", "a ranking",
)  # fmt: skip


@pytest.mark.parametrize("name", SAVED)
def test_a_file_gives_back_the_result(name: str, tmp_path: Path) -> None:
    result = RESULTS[name][0]()
    result.save(tmp_path / "a.result.npz")
    loaded = type(result).load(tmp_path / "a.result.npz")
    assert repr(loaded) == repr(result)
    assert loaded.to_dict() == result.to_dict()
    if name == "a ranking":
        assert (loaded.table, loaded.notices) == (result.table, result.notices)
    else:
        assert loaded.table == result.table
    loaded.save(tmp_path / "b.result.npz")  # every tensor and its dtype
    assert (tmp_path / "b.result.npz").read_bytes() == (tmp_path / "a.result.npz").read_bytes()
    frame = pytest.importorskip("pandas").DataFrame(result.rows())
    assert loaded.to_dataframe().equals(frame)


@pytest.mark.outer
def test_a_new_process_loads_each_class(tmp_path: Path) -> None:
    """A script that reads a file has imported nothing but the class."""
    results = {name: RESULTS[name][0]() for name in SAVED}
    loads = []
    for number, result in enumerate(results.values()):
        kind, home = type(result).__name__, "singles" if isinstance(result, Ranking) else "comparisons"
        result.save(tmp_path / f"{number}.result.npz")
        loads.append(f"from torchmetrics_dna.{home} import {kind}; print(repr({kind}.load('{number}.result.npz')))")
    # each in a fork of a process that has imported torch alone
    fork = "import os, torch\nfor load in {}:\n    if not os.fork():\n        exec(load)\n        break\n    os.wait()"
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", fork.format(loads)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [line for result in results.values() for line in repr(result).splitlines()]
    assert not done.stderr


def test_what_another_version_wrote_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.result.npz"
    RESULTS["all with all"][0]().save(path)
    header, arrays = read_container(path, "a file")
    newer = arrays["values"].tobytes().replace(b'"DistanceMatrix"', b'"DistanceTensor"')
    arrays["values"] = np.frombuffer(newer, np.uint8)
    write_container(path, header["dna"], arrays, written_by="torchmetrics-dna 99.0")
    with pytest.raises(ValueError, match="written by torchmetrics-dna 99.0: it holds a 'DistanceTensor', which") as err:
        DistanceMatrix.load(path)
    assert "damaged" not in str(err.value)


def test_a_loaded_ranking_has_no_images(tmp_path: Path) -> None:
    result = rank(A, B, EXTRACTOR, nearest=B)
    result.save(tmp_path / "a.result.npz")
    loaded = Ranking.load(tmp_path / "a.result.npz")
    assert loaded.rows() == result.rows()
    assert loaded.nearest is not None
    assert torch.equal(loaded.nearest.copies, result.nearest.copies)
    assert torch.equal(loaded.percentiles, result.percentiles)
    assert all(getattr(loaded, name) is None for name in Ranking.UNSAVED)
    for show in (loaded.plot, lambda: loaded.maps([0])):
        with pytest.raises(ValueError, match="was loaded has no images to show"):
            show()


def test_a_set_with_itself_stays_one_set(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, A)
    result = compare(path, path, EXTRACTOR, **FIXED)
    result.save(tmp_path / "a.result.npz")
    loaded = Comparison.load(tmp_path / "a.result.npz")
    assert loaded.measured is not None
    assert loaded.measured[0] is loaded.measured[1]
    assert loaded.verdict == result.verdict


def test_published_metrics_stay_published(tmp_path: Path) -> None:
    result = compare(A, B, EXTRACTOR, metrics=["kid"], **FIXED)
    published = replace(result["kid"], distance=DISTANCES["kid"].published)
    replace(result, results={"kid": published}).save(tmp_path / "a.result.npz")
    assert Comparison.load(tmp_path / "a.result.npz")["kid"].distance is DISTANCES["kid"].published
    result.save(tmp_path / "b.result.npz")
    assert Comparison.load(tmp_path / "b.result.npz")["kid"].distance is DISTANCES["kid"]


def test_a_changed_distance_is_saved_whole_or_refused(tmp_path: Path) -> None:
    usual = DISTANCES["dna-emd"]
    changed = replace(usual, unit="steps", sentence="another sentence", power=1)
    result = compare(A, B, EXTRACTOR, metrics=[changed])
    result.save(tmp_path / "a.result.npz")
    loaded = Comparison.load(tmp_path / "a.result.npz")
    assert loaded["dna-emd"].distance == changed != usual
    assert loaded.table == result.table
    named = replace(usual, name="dna-other", key="dna_other")
    for other in (replace(usual, between=lambda a, b: a.distances(b) * 2), named):
        with pytest.raises(TypeError, match=f"{other.name} by functions that no registered distance has"):
            compare(A, B, EXTRACTOR, metrics=[other]).save(tmp_path / "b.result.npz")
    assert not (tmp_path / "b.result.npz").exists()
    DISTANCES.register(other)
    try:
        compare(A, B, EXTRACTOR, metrics=[other]).save(tmp_path / "b.result.npz")
    finally:
        del DISTANCES[other.name]
    with pytest.raises(ValueError, match="no distance 'dna-other' is registered"):
        Comparison.load(tmp_path / "b.result.npz")


def test_other_files_and_other_results_are_refused(tmp_path: Path) -> None:
    make_dna(A, EXTRACTOR, **FIXED).save(tmp_path / "a.dna.npz")
    with pytest.raises(ValueError, match="holds no result; load_dna reads DNA files"):
        Comparison.load(tmp_path / "a.dna.npz")
    RESULTS["all with all"][0]().save(tmp_path / "a.result.npz")
    with pytest.raises(ValueError, match="holds a DistanceMatrix, expected a ClassComparisons"):
        ClassComparisons.load(tmp_path / "a.result.npz")
    with pytest.raises(ValueError, match="'result'"):
        load_dna(tmp_path / "a.result.npz")
    with pytest.raises(FileNotFoundError):
        Comparison.load(tmp_path / "b.result.npz")


@pytest.mark.parametrize("tensor", [torch.zeros(2, dtype=torch.complex64), torch.tensor([2**53 + 1]), object()])
def test_what_a_file_could_not_hold_exactly_is_refused(tensor: Any, tmp_path: Path) -> None:
    result = DistanceMatrix(["a"], [1], {"dna-emd": tensor}, {}, "x")
    with pytest.raises(TypeError, match="can't be saved"):
        result.save(tmp_path / "a.result.npz")
    assert not list(tmp_path.iterdir())


def test_numbers_that_json_lacks_are_kept(tmp_path: Path) -> None:
    values = {"dna-emd": torch.tensor([[math.inf, -0.0], [math.nan, 1e-320]], dtype=torch.float64)}
    DistanceMatrix(["a", "b"], [1, math.inf], values, {}, "x").save(tmp_path / "a.result.npz")  # type: ignore[list-item]
    loaded = DistanceMatrix.load(tmp_path / "a.result.npz")
    assert loaded.num_images == [1, math.inf]
    assert loaded.distances["dna-emd"].numpy().tobytes() == values["dna-emd"].numpy().tobytes()
