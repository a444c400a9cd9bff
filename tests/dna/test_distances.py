"""Selection of distances: those asked for, from one pass, with errors before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pixel_sets import EXTRACTOR, RANGES, A, B
from processes import run
from shards import equal_everywhere
from torchmetrics.image.kid import KernelInceptionDistance

from torchmetrics_dna import compare, make_dna
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.dna.distances import DISTANCES, of_any_network, resolve_distances
from torchmetrics_dna.images import Reading
from torchmetrics_dna.reporting.two_sets import described_value

ALL = tuple(of_any_network())


def figures(comparison: Comparison) -> dict[str, float]:
    kid, fd = comparison["kid"], comparison["fd"]
    evidence = {"deviation": kid.spread, "p": fd.p_value, "debiased": fd.debiased}
    return {name: result.value for name, result in comparison.items()} | evidence


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


BATCHES: list[int] = []


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Both sets by all distances."""
    BATCHES.clear()
    reading = Reading(progress=lambda *a: BATCHES.append(a[1]))
    return compare(A, B, EXTRACTOR, metrics=ALL, causes=False, reading=reading)


def test_all_from_one_pass(comparison: Comparison) -> None:
    assert BATCHES == [23, 17]
    plain = compare(A, B, EXTRACTOR)
    assert plain["dna-emd"].value == comparison["dna-emd"].value
    assert plain["dna-fd"].value == pytest.approx(comparison["dna-fd"].value, rel=1e-9)
    assert list(plain) == ["dna-emd", "dna-fd"]
    scores = {name for name in comparison if "higher" in described_value(comparison, comparison[name])}
    assert scores == {"precision", "recall", "clipped-density", "clipped-coverage", "density", "coverage"}
    assert "layer mean" in described_value(comparison, comparison["recall"])
    with_evidence = [name for name, result in comparison.items() if result.evidence is not None]
    assert with_evidence == [name for name in ALL if DISTANCES[name].folded]
    kid = KernelInceptionDistance(EXTRACTOR.pooled("mean"), subsets=100, subset_size=17)
    kid.update(tensor(A), real=True)
    kid.update(tensor(B), real=False)
    torch.manual_seed(0)
    mean, deviation = kid.compute()
    figures = (comparison["kid"].value, comparison["kid"].spread)
    assert figures == (pytest.approx(float(mean), rel=1e-3), pytest.approx(float(deviation), rel=1e-3))
    assert comparison.to_dict()["kid_std"] == comparison["kid"].spread


def test_a_distance_has_its_name_its_key_and_that_of_its_metric(comparison: Comparison) -> None:
    for spelled in ("dna-fd", "dna_frechet", "DNAFrechet", "dna_fd"):
        assert [record.name for record in resolve_distances(spelled, [])] == ["dna-fd"]
        assert comparison[spelled] is comparison["dna-fd"]
    emd, custom = DISTANCES["dna-emd"], replace(DISTANCES["dna-fd"], name="mine", key="mine")
    for metrics, names in (
        (["fd", emd], ["dna-emd", "fd"]),
        ([emd, "fd", "DNAEMD"], ["dna-emd", "fd"]),
        ([custom, "fd", emd], ["dna-emd", "fd", "mine"]),
    ):
        assert [record.name for record in resolve_distances(metrics, [])] == names
        assert list(compare(A, B, EXTRACTOR, metrics=metrics, num_folds=None)) == names
    for metrics, message in (
        ([emd, "no such"], "expected to be any of .*, but got 'no such'"),
        ([replace(emd, least=3), "dna-emd"], "has several distances of the name 'dna-emd'"),
        ([DISTANCES["fid"], emd], "Metric 'fid' brings its own network, 'inception_fid'"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(A, B, EXTRACTOR, metrics=metrics)
    with pytest.raises(KeyError, match="There is no 'fid' in this comparison, which has dna-emd"):
        comparison["fid"]


def test_dnas_give_what_they_hold() -> None:
    a, b = (make_dna(images, EXTRACTOR, kind="layer-gaussian") for images in (A, B))
    expected = compare(A, B, EXTRACTOR, metrics=["dna-fd", "fd"])
    for comparison in (compare(a, b), compare(a, B, EXTRACTOR), compare(A, b, EXTRACTOR, metrics=["fd", "dna-fd"])):
        assert (comparison["fd"].value, comparison["dna-fd"].value) == (expected["fd"].value, expected["dna-fd"].value)
        assert not {"dna-emd", "kid"} & comparison.keys()
    gaussian = make_dna(B, EXTRACTOR, kind="gaussian")
    assert compare(a, gaussian)["dna-fd"].value == pytest.approx(expected["dna-fd"].value, rel=1e-9)
    assert "fd" not in compare(a, B, EXTRACTOR, metrics=["dna-fd"])
    assert list(compare(A, B, EXTRACTOR, metrics=["kid", "fd"], num_folds=None)) == ["fd", "kid"]


def test_one_image_gives_what_it_can() -> None:
    comparison = compare(A[:1], B, EXTRACTOR, metrics=ALL)
    assert list(comparison) == [name for name in ALL if DISTANCES[name].least == 1]
    assert {"dna-emd", "mind", "cmmd"} <= {*comparison}
    lacking = ", ".join(name for name in ALL if name not in comparison)
    assert f"More images are needed in each set to compute {lacking}" in comparison.notices
    for name in ("dna-fd", "fd", "kid"):
        with pytest.raises(RuntimeError, match=f"More than one image is required .* to compute {name}, but got"):
            compare(A[:1], B, EXTRACTOR, metrics=[name])


def test_shares_of_images_say_nothing_of_the_nearest() -> None:
    for call in (
        lambda: compare(A, {"b": B, "a": A}, EXTRACTOR, metrics=["recall", "precision"]),
        lambda: matrix({"b": B, "a": A}, EXTRACTOR, metrics=["dna-emd", "recall"]),
    ):
        with pytest.raises(ValueError, match="takes (a distance|distances), but .*recall"):
            call()
    comparisons = compare(A, {"b": B, "a": A}, EXTRACTOR, metrics=["recall", "kid"], num_folds=None)
    assert (comparisons.distance, comparisons.best) == ("kid", "a")
    assert [row["recall"] for row in comparisons.rows()] == [comparisons["b"]["recall"].value, 1]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["fid"], "Metric 'fid' brings its own network, 'inception_fid'"),
        ([], f"Argument `metrics` expected to be any of {', '.join(ALL)}, but got none"),
        (
            ["kid"],
            "kid can't be computed from a .*; pass images on both sides, or choose from .* of this DNA: dna-emd",
        ),
        (["fd"], "fd can't be computed from a .*; pass a DNA that was made with `kind` 'layer-gaussian', or"),
        (["dna-fd"], "dna-fd can't be .*; pass a DNA that was made with `kind` 'gaussian' or 'layer-gaussian', or"),
    ],
)
def test_what_can_not_be_is_an_error_before_any_image_is_read(metrics: list[str], message: str) -> None:
    calls: list[object] = []
    a = make_dna(A[:3], EXTRACTOR, ranges=RANGES)
    for sides in ((a, B), (B, a), (a, a)):
        with pytest.raises(ValueError, match=message):
            compare(*sides, EXTRACTOR, metrics=metrics, reading=Reading(progress=lambda *args: calls.append(args)))
    assert not calls


def share_sets(rank: int, world: int, expected: str) -> None:
    """All distances of a comparison are those of one process."""
    comparison = compare(A, B, EXTRACTOR, metrics=ALL, distributed=True, reading=Reading(batch_size=3))
    assert figures(comparison) == pytest.approx(torch.load(expected), rel=1e-9)
    equal_everywhere(torch.tensor([comparison["fd"].value, comparison["kid"].value]))


@pytest.mark.outer
def test_processes_find_what_one_finds(comparison: Comparison, tmp_path: Path) -> None:
    torch.save(figures(comparison), tmp_path / "expected")
    run(2, share_sets, str(tmp_path / "expected"))
