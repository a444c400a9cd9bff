"""One reference against several sets: the figures are those of single comparisons, and the best is told with care."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from networks import Pixels
from PIL import Image
from scipy import stats

from torchmetrics_dna import ActivationRanges, DNAExtractor, compare, make_dna
from torchmetrics_dna.cli.output import Format, write
from torchmetrics_dna.comparisons.comparison import Comparison
from torchmetrics_dna.comparisons.comparisons import Comparisons, by_name, names_of
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import paired_p_value
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.student import student_tail
from torchmetrics_dna.plots import plot_curve
from torchmetrics_dna.reporting.build import document_of

EXTRACTOR = DNAExtractor(Pixels(), input_size=8, properties=False)  # as of several sets
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 100}
EMD = OPTIONS | {"metrics": ["dna-emd"]}


def images(shift: int, seed: int, count: int = 40) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(90 + shift, 25, (count, 8, 8, 3))
    return (noise + np.random.default_rng(seed + 1).normal(0, 15, (count, 1, 1, 3))).clip(0, 255).astype(np.uint8)


REFERENCE = images(0, 0)
SETS = {"step_100": images(80, 2), "step_2000": images(4, 4), "step_30000": images(60, 6)}


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    return compare(REFERENCE, SETS, EXTRACTOR, **OPTIONS)


def test_a_set_of_one_image_has_what_that_gives(capsys: pytest.CaptureFixture[str]) -> None:
    few = compare(REFERENCE, {"one": images(80, 2, 1), "many": images(4, 4)}, EXTRACTOR, **OPTIONS)
    assert {row["set"]: row["dna_frechet"] is None for row in few.rows()} == {"one": True, "many": False}
    for form in Format:
        write(document_of(few), form, None)
        assert "one" in capsys.readouterr().out


def test_figures_are_those_of_single_comparisons(comparisons: Comparisons) -> None:
    for name, images_of_set in SETS.items():
        alone = compare(REFERENCE, images_of_set, EXTRACTOR, **OPTIONS)
        assert comparisons[name].to_dict() | {"verdict": alone.verdict} == alone.to_dict()  # which names the sets
    assert comparisons.best == "step_2000"
    assert comparisons.positions == [100, 2000, 30_000]
    rows = comparisons.rows()
    assert [row["best"] for row in rows] == [False, True, False]
    assert [row["p_best_is_nearer"] is None for row in rows] == [False, True, False]
    assert max(row["p_best_is_nearer"] for row in rows if not row["best"]) < 0.05


def test_sets_that_are_alike_are_not_told_apart() -> None:
    alike = compare(REFERENCE, {"set 1": images(30, 10), "set 2": images(30, 20)}, EXTRACTOR, **EMD)
    assert alike.surely_nearest("dna-emd") is None
    assert max(filter(None, alike.p_values.values())) > 0.05
    assert (alike.table.bold, "Bold" in " ".join(alike.table.notes)) == (set(), False)
    same = compare(REFERENCE, {"a": SETS["step_100"], "b": SETS["step_100"]}, EXTRACTOR, **EMD)
    assert same.p_values == {"a": None, "b": pytest.approx(1)}
    untested = compare(REFERENCE, SETS, EXTRACTOR, num_folds=None, **EMD)
    assert (untested.p_values, untested.best) == (dict.fromkeys(SETS), "step_2000")
    only = compare(REFERENCE, {"set 1": SETS["step_100"]}, EXTRACTOR, **EMD)
    assert f"{only['set 1']['dna-emd'].debiased:.4g} without noise" in only.verdict


def test_the_order_is_that_of_the_values_shown(comparisons: Comparisons) -> None:
    """The paired test is of jackknife estimates; where these have another order, it shows nothing."""

    def with_estimates(name: str, shown: float, jackknifed: float) -> Comparison:
        result = comparisons[name]["dna-emd"]
        jackknife = replace(result.evidence.jackknife, left=jackknifed)
        evidence = replace(result.evidence, centre=shown, jackknife=jackknife)
        return replace(comparisons[name], results={"dna-emd": replace(result, evidence=evidence)})

    sets = {
        "near": with_estimates("step_2000", -2.0, 900.0),
        "nearer": with_estimates("step_100", -3.0, 500.0),
        "far": with_estimates("step_30000", 4.0, -90000.0),
    }
    estimated = Comparisons("reference", sets)
    assert estimated.best == "nearer"
    assert estimated.p_values["far"] == 1
    assert estimated.p_values["near"] < 0.05
    shares = replace(sets["nearer"], copies=40)  # images, whose noise is less than what was taken from its distance
    assert Comparisons("reference", sets | {"nearer": shares}).best == "near"


def test_the_reference_itself_is_nearest() -> None:
    """An exact 0 can't lose to copies, from whose distance noise is taken that they share; nor is it tested."""
    copies = (REFERENCE // 8 * 8 + 4).astype(np.uint8)
    sets = {"copies": copies, "itself": REFERENCE, "far": SETS["step_100"], "near": SETS["step_2000"]}
    comparisons = compare(REFERENCE, sets, EXTRACTOR, **EMD)
    assert comparisons["copies"]["dna-emd"].evidence.jackknife.left < 0  # below that of the reference
    assert comparisons.best == "itself"
    assert comparisons.verdict.startswith("itself: the same images")
    assert [comparisons[name].copies for name in sets] == [40, 40, 0, 0]
    assert [comparisons[name].shares_images for name in sets] == [True, True, False, False]
    assert (comparisons.p_values["itself"], comparisons.p_values["copies"]) == (None, None)
    pair = compare(REFERENCE, {name: sets[name] for name in ("copies", "far")}, EXTRACTOR, **EMD)
    assert f"{pair['copies']['dna-emd'].value:.4g})" in pair.verdict  # of which no noise is taken
    assert "copies shares images" in pair.verdict
    assert pair.p_values == {"copies": None, "far": None}
    assert "no independent samples" in " ".join(pair["copies"].notices)
    assert "the same images" in compare(REFERENCE, {"set 1": REFERENCE}, EXTRACTOR, **EMD).verdict
    saved_again = compare(REFERENCE, REFERENCE.copy(), EXTRACTOR, **EMD)
    assert (saved_again.copies, saved_again.notices) == (40, [])


def jackknifed(a: Sequence[Any], b: Sequence[Any], c: Sequence[Any]) -> float:
    """The test in float64 numpy, by pseudo-values of squared distances (Busing et al., 1999), those of A in pairs."""

    def squared(first_folds: Sequence[Any], second_folds: Sequence[Any]) -> float:
        sums = [
            torch.stack([fold.counts for fold in side]).sum(0).double().numpy() for side in (first_folds, second_folds)
        ]
        first, second = (counts.cumsum(1) / counts.sum(1, keepdims=True) for counts in sums)
        return float(np.abs(first - second).sum(1).mean() ** 2)

    def pseudo(first_folds: Sequence[Any], second_folds: Sequence[Any], side: int) -> np.ndarray:
        times, total, values = shares((first_folds, second_folds)[side]), squared(first_folds, second_folds), []
        for k in range(len(times)):
            left = [[*first_folds], [*second_folds]]
            del left[side][k]
            values.append(times[k] * total - (times[k] - 1) * squared(*left))
        return np.array(values)

    def shares(folds: Sequence[Any]) -> np.ndarray:
        sizes = np.array([fold.num_images for fold in folds])
        return sizes.sum() / sizes

    sides = [(pseudo(a, b, 0) - pseudo(a, c, 0), shares(a)), (pseudo(a, b, 1), shares(b)), (pseudo(a, c, 1), shares(c))]
    left = []
    for second in (b, c):
        means = [(pseudo(a, second, side) / shares(folds)).sum() for side, folds in enumerate((a, second))]
        left.append(sum(means) - squared(a, second))
    variances = [((part - (part / times).sum()) ** 2 / (times - 1)).mean() for part, times in sides]
    freedom = sum(variances) ** 2 / sum(v**2 / (len(p) - 1) for v, (p, _) in zip(variances, sides, strict=True))
    return float(2 * stats.t.sf(abs(left[0] - left[1]) / sum(variances) ** 0.5, freedom))


def test_paired_test_is_the_jackknife() -> None:
    total = EXTRACTOR.neurons.total
    ranges = ActivationRanges(torch.full((total,), -2.0), torch.full((total,), 2.0), EXTRACTOR.neurons)
    dnas = [
        make_dna(imgs, EXTRACTOR, ranges=ranges, num_folds=10, num_bins=100)
        for imgs in (REFERENCE, images(12, 30), images(16, 40))
    ]
    first, second = (comparison["dna-emd"].evidence for comparison in compare(dnas[0], by_name(dnas[1:])).values())
    folds = [[fold for fold in dna.folds if fold.num_images] for dna in dnas]
    assert paired_p_value(first, second) == pytest.approx(jackknifed(*folds), rel=1e-6)
    assert paired_p_value(second, first) == paired_p_value(first, second)


def test_standard_error_is_the_jackknife_of_the_value() -> None:
    """In float64 numpy, of the distance itself, where the package's is of squares."""
    a, b = (make_dna(imgs, EXTRACTOR, num_folds=10, **OPTIONS) for imgs in (REFERENCE, images(30, 30)))
    result = compare(a, b)["dna-emd"]
    united = a.known_ranges.union(b.known_ranges)
    sides = [[fold for fold in dna.folds if fold.num_images] for dna in (a, b)]
    counts = [[fold.counts_within(united).double().numpy() for fold in folds] for folds in sides]

    def distance(first: np.ndarray, second: np.ndarray) -> float:
        shares = (side.cumsum(1) / side.sum(1, keepdims=True) for side in (first, second))
        return float(np.abs(np.subtract(*shares)).sum(1).mean())

    sums = [sum(folds) for folds in counts]
    value, variance = distance(*sums), 0.0
    for side, folds in enumerate(sides):
        times = np.array([sum(fold.num_images for fold in folds) / fold.num_images for fold in folds])
        left = [distance(*(s - part if i == side else s for i, s in enumerate(sums))) for part in counts[side]]
        pseudo = times * value - (times - 1) * np.array(left)
        variance += float(((pseudo - (pseudo / times).sum()) ** 2 / (times - 1)).mean())
    unit = result.value / value  # bins of A's range, where these are of the union
    assert result.standard_error == pytest.approx(unit * variance**0.5, rel=0.05)
    assert compare(a, a)["dna-emd"].standard_error is None
    assert compare(REFERENCE, images(30, 30), EXTRACTOR, num_folds=None, **OPTIONS)["dna-emd"].standard_error is None


def test_bold_is_only_what_the_test_finds(comparisons: Comparisons) -> None:
    assert [comparisons.surely_nearest(name) for name in ("dna-emd", "dna-fd")] == ["step_2000"] * 2
    assert comparisons.table.bold == {(1, 2), (1, 3)}
    assert "(dna-fd " in comparisons.by("dna-fd").verdict
    near_and_far = {name: SETS[name] for name in ("step_100", "step_2000")}
    scored = compare(REFERENCE, near_and_far, EXTRACTOR, metrics=["dna-emd", "precision"], **OPTIONS)
    assert scored["step_2000"]["precision"].value > scored["step_100"]["precision"].value
    assert scored.surely_nearest("precision") is None
    with pytest.raises(KeyError, match="There is no 'fd'"):
        comparisons.by("fd")


def test_each_distance_has_its_own_error_and_tests(comparisons: Comparisons) -> None:
    """No figure of one distance stands beside another's without its name; as text, and in csv."""
    for column, (name, key) in enumerate({"dna-emd": "dna_emd", "dna-fd": "dna_frechet"}.items(), 2):
        by_one = comparisons.by(name)
        for i, (at, result) in enumerate((at, comparison[name]) for at, comparison in comparisons.items()):
            assert comparisons.table.rows[i][column] == number(result.value, error=result.standard_error)
            figures = result.shown, result.ends, p_figure(by_one.p_holm[at]), p_figure(by_one.p_values[at])
            assert [name, at, *figures] in [list(row) for row in comparisons.evidence_table.rows]
            assert comparisons.rows()[i][f"{key}_error"] == result.standard_error
    untested = compare(REFERENCE, SETS, EXTRACTOR, num_folds=None, **OPTIONS)
    assert (untested.evidence_table, untested.table.notes) == (None, ["act.²: squared activations."])


def test_more_metrics_than_sets_are_rows() -> None:
    sets = {name: SETS[name][:20] for name in ("step_2000", "step_100")}
    compared = compare(REFERENCE[:20], sets, EXTRACTOR, metrics=["dna-emd", "kid", "precision"], **OPTIONS)
    table = compared.table
    assert list(table.header) == ["", *sets]
    assert [row[0] for row in table.rows] == ["images", "dna-emd (bins)", "kid", "precision ↑"]
    assert "No ± is known of precision." in table.notes
    emd = compared["step_100"]["dna-emd"]
    value, _, error = str(table.rows[1][2]).partition(" ± ")
    assert float(value) == pytest.approx(emd.value, abs=float(error))
    assert float(error) == pytest.approx(emd.standard_error, rel=0.06)  # two digits
    assert list(table.rows[3][1:]) == [f"{compared[name]['precision'].value:#.3g}" for name in sets]
    assert (1, 1) in table.bold
    assert r"\textbf{" in table.latex().splitlines()[5]


@pytest.mark.parametrize("freedom", [1.0, 3.3, 19.0, 400.0, float("inf")])
def test_tails_of_student(freedom: float) -> None:
    for t in (0.0, 0.7, 2.0, 6.0):
        expected = stats.t.sf(t, freedom) if freedom < 1e9 else stats.norm.sf(t)
        assert student_tail(t, freedom) == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """DNA files of the reference and the sets."""
    folder = tmp_path_factory.mktemp("files")
    for name, images_of_set in {"reference": REFERENCE, **SETS}.items():
        make_dna(images_of_set, EXTRACTOR, num_folds=20, **OPTIONS).save(folder / f"{name}.dna.npz")
    return [str(folder / f"{name}.dna.npz") for name in ("reference", *SETS)]


def test_wrong_sets() -> None:
    with pytest.raises(ValueError, match="`b` expected to have one set"):
        compare(REFERENCE, {}, EXTRACTOR)
    with pytest.raises(ValueError, match="`by` is for two sets"):
        compare(REFERENCE, SETS, EXTRACTOR, by="folder")
    with pytest.raises(ValueError, match="different sets, but got 'a/x' twice"):
        by_name(["a/x", "a/x"])


def test_the_command_compares_files_as_images_are(
    comparisons: Comparisons, files: list[str], tmp_path: Path, cli: Command
) -> None:
    printed = cli("compare", *files, "--format", "csv", "--plot", tmp_path / "curve.png").out
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["set"] for row in rows] == [f"{name}.dna.npz" for name in SETS]
    assert [row["best"] for row in rows] == ["False", "True", "False"]
    for key in ("dna_emd", "p_holm"):
        assert [float(row[key]) for row in rows] == pytest.approx([row[key] for row in comparisons.rows()])
    assert list(compare(files[0], by_name(files[1:])).p_values.values()) == list(comparisons.p_values.values())
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 300
    lines = cli("compare", *files, "--format", "markdown").out.splitlines()
    assert lines[4] == "| set | images | dna-emd (bins) |"
    assert "| distance | set | without noise | interval | p (Holm) | p (best nearer) |" in lines
    assert [line for line in lines if "**" in line] == [line for line in lines if line.startswith(r"| step\_2000")]
    assert json.loads(cli("compare", *files, "--format", "json").out)["best"] == "step_2000.dna.npz"


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--fail-above", "1000"], 0, "Passed: dna-emd without noise of step_100"),
        (["--fail-above", "5"], 1, "Failed: dna-emd without noise of step_100"),
        (["--fail-if-different"], 1, "Failed: step_100.dna.npz differs, p (Holm) = 0.003"),
        (["--fail-if-different", "--confidence", "0.999"], 2, "one of 3 that differs: its p would be 0.001"),
    ],
)
def test_exit_codes(
    options: list[str], code: int, expected: str, files: list[str], monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert expected.replace(" ", "") in "".join(cli("compare", *files, *options, code=code).err.split())


def test_the_reference_among_the_sets_is_measured_once(tmp_path: Path, cli: Command) -> None:
    for name, images_of_set in (("real", REFERENCE[:20]), ("step_100", SETS["step_100"][:20])):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images_of_set):
            Image.fromarray(image.repeat(4, 0).repeat(4, 1)).save(tmp_path / name / f"{i}.png")
    real, step = tmp_path / "real", tmp_path / "step_100"
    gates = ("--layers", "block_0", "--fail-if-different", "--fail-above", "0")
    captured = cli("compare", real, real, step, *gates, code=1)
    assert "onlyothersetisstep_100" in "".join(captured.out.split())  # wherever lines break
    assert captured.err.count(f"{real}: 20 of 20") == 1
    assert ["step_100 differs" in captured.err, "real differs" in captured.err] == [True, False]


def test_a_curve_is_of_one_kind_of_figure(comparisons: Comparisons) -> None:
    axis = plot_curve(comparisons).axes[0]
    assert axis.get_ylabel() == f"{DISTANCES['dna-emd'].label}, without noise"
    assert (axis.get_xscale(), axis.get_xlabel()) == ("symlog", "number in the name of the set")
    few = {"step_1": SETS["step_100"], "step_2": SETS["step_2000"][:3]}  # 3 images have no value without noise
    axis = plot_curve(compare(REFERENCE, few, EXTRACTOR)).axes[0]
    values = [compare(REFERENCE, images, EXTRACTOR)["dna-emd"].value for images in few.values()]
    assert [container.lines[0].get_ydata()[0] for container in axis.containers] == pytest.approx(values)
    assert not any(container.has_yerr for container in axis.containers)
    assert axis.get_ylabel() == DISTANCES["dna-emd"].label


def test_addresses_are_shown_without_their_secrets() -> None:
    signed = [f"https://me:secret@host/{name}.zip?X-Amz-Signature=1f" for name in ("a", "b")]
    assert names_of(*signed) == ("a.zip", "b.zip")
    assert names_of(signed[0], []) == ("https://host/a.zip", "B")
    assert list(by_name(signed)) == ["a.zip", "b.zip"]
    same = [f"https://host/a.zip?part={i}" for i in (1, 2)]
    assert list(by_name(same).values()) == same
