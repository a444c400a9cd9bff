"""Gates of the command ``compare``: a line for each, and exit code 1 where one fails."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import Command, run
from PIL import Image
from pixel_sets import EXTRACTOR
from scipy.stats import t as student

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.cli.gates import gates_of

OPTIONS = ("--layers", "block_0", "--ranges", "auto")
pytestmark = pytest.mark.usefixtures("of_any_value")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates")
    for number, (name, shift) in enumerate({"a": 0, "near": 2, "far": 70}.items()):
        random = np.random.default_rng(number)
        (folder / name).mkdir()
        for i in range(24):
            pixels = random.normal(110 + shift, 30, (12, 12, 3)) + random.normal(0, 10, 3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}{i}.png")
    return folder


def outcome(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit code, and the line of the gate."""
    monkeypatch.chdir(sets)
    code = run(monkeypatch, "compare", "a", *arguments, *OPTIONS)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("Failed", "Passed"))]
    return code, lines[-1]


@pytest.mark.slow
def test_a_set_must_be_shown_to_be_near(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = compare(str(sets / "a"), str(sets / "near"), DNAExtractor(layers=["block_0"]), ranges="auto")["dna-emd"]
    jackknife, limits = result.evidence.jackknife, (1.02 * result.interval.high, 0.5 * result.interval.high)
    for limit, passes in zip(limits, (True, False), strict=True):
        p = float(student.sf((limit**2 - result.evidence.upper) / jackknife.variance**0.5, jackknife.freedom))
        code, line = outcome(sets, monkeypatch, capsys, "near", "--fail-unless-below", f"{limit:.9g}")
        assert code == (not passes)
        assert (p <= 0.05) is passes
        assert line.startswith("Passed" if passes else "Failed")
        assert float(re.search(r"more has p (?:= |≤ )([0-9.]+[0-9])", line)[1]) == pytest.approx(
            max(p, 0.001), rel=0.06
        )
    code, line = outcome(sets, monkeypatch, capsys, "near", "far", "--fail-unless-below", f"{limits[0]:.9g}")
    assert (code, "far" in line) == (1, True)


def test_it_takes_an_interval_and_independent_images(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sets)
    for arguments, message in (
        (("near", "--num-folds", "0"), "takes an interval, but there is none of"),
        (("a", "near"), None),  # the reference itself is as near as can be
    ):
        code = run(monkeypatch, "compare", "a", *arguments, "--fail-unless-below", "900", *OPTIONS)
        text = " ".join(capsys.readouterr().err.split())
        assert code == (2 if message else 0)
        assert message is None or message in text


def test_the_figure_of_what_shares_images_keeps_its_noise() -> None:
    """Half of B are A's own images: what is left of the distance without noise is too small."""
    images = np.random.default_rng(0).integers(0, 200, (60, 8, 8, 3)).astype(np.uint8)
    shared, apart = (compare(images[:40], images[part], EXTRACTOR) for part in (slice(20, 60), slice(40, 60)))
    assert [shared.shares_images, apart.shares_images] == [True, False]
    for comparison, name in ((shared, "dna-emd of B"), (apart, "dna-emd without noise of B")):
        result = comparison["dna-emd"]
        assert result.debiased < result.value
        (gate,) = gates_of({"B": comparison}, 0.05, {"fail_above": (result.debiased + result.value) / 2})
        assert gate.passed is (comparison is apart)
        assert f"{name} is " in gate.lines[0]


@pytest.mark.causes
def test_a_cause_is_named_unless_it_is_left_out(sets: Path, cli: Command) -> None:
    sides = "compare", sets / "a", sets / "far"
    assert cli(*sides, *OPTIONS).out.startswith("far differs from a: a after brightening by about ")
    assert cli(*sides, *OPTIONS, "--no-causes").out.startswith("far differs from a.\n")
