"""One reference against several sets: the figures are those of single comparisons, and the best is told with care."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from networks import Pixels
from scipy import stats

from torchmetrics_dna import Checkpoints, DNAExtractor, compare, make_dna
from torchmetrics_dna.cli.output import write
from torchmetrics_dna.comparisons.several_sets import Comparisons, by_name, names_of
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import paired_p_value, ratio_of
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.student import student_tail
from torchmetrics_dna.images.properties import PROPERTIES
from torchmetrics_dna.plots import plot_curve
from torchmetrics_dna.reporting.build import document_of
from torchmetrics_dna.reporting.document import FORMATS
from torchmetrics_dna.reporting.figures import debiased_in_words, interval_in_words
from torchmetrics_dna.reporting.several_sets import evidence_table

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


@pytest.mark.parametrize(("of", "named"), [({}, "set"), ({"by": (["many"] * 5 + ["one"],) * 2}, "class")])
def test_one_image_has_what_that_gives(of: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"one": images(80, 2, 1), "many": images(4, 4)}
    made = compare(REFERENCE[:6], images(80, 2, 6) if of else few, EXTRACTOR, **of, **OPTIONS)
    assert {row[named]: row["dna_fd"] is None for row in made.rows()} == {"one": True, "many": False}
    for form in FORMATS.values():
        write(document_of(made), form, None)
        assert "one" in capsys.readouterr().out


def test_the_best_is_nearer_than_all_others(comparisons: Comparisons) -> None:
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
    assert f"{only['set 1']['dna-emd'].debiased:.3g}, debiased" in only.verdict


def test_the_last_improvement_is_told() -> None:
    """Sets in any order; p-values are those of the paired test, times k (k + 1)."""
    near = images(4, 4)
    sets = {"epoch_4": images(4, 14), "epoch_1": images(80, 2), "epoch_2": near, "epoch_3": images(60, 6)}
    comparisons = compare(REFERENCE, sets, EXTRACTOR, **EMD)
    evidence = {name: comparison["dna-emd"].evidence for name, comparison in comparisons.items()}
    first, second, fourth = (evidence[f"epoch_{epoch}"] for epoch in (1, 2, 4))
    found = comparisons.improvement
    assert (found.name, found.position, found.before, found.num_checkpoints) == ("epoch_2", 2, "epoch_1", 4)
    assert found.p_value == pytest.approx(2 * paired_p_value(second, first))
    is_closer = fourth.jackknife.left <= second.jackknife.left
    p_newest = paired_p_value(fourth, second) if is_closer else 1
    assert found.newest_p_value == pytest.approx(p_newest)
    assert found.least_p_value == pytest.approx(min(1, 6 * p_newest))
    assert found.scalars("x/") == {"x/last_improvement": 2, "x/newest_p_value": found.newest_p_value}
    sentence = "No checkpoint after epoch_2 is significantly closer to the reference (smallest p"
    assert sentence in comparisons.verdict
    assert comparisons.to_dict()["improvement"]["name"] == "epoch_2"
    improving = {name: sets[name] for name in ("epoch_1", "epoch_3", "epoch_2")}
    improving = {f"step_{i}": each for i, each in enumerate(improving.values())}
    told = compare(REFERENCE, improving, EXTRACTOR, **EMD)
    assert told.improvement.name == "step_2"
    assert told.improvement.least_p_value is None
    assert "The newest checkpoint, step_2, is significantly closer to the reference than step_" in told.verdict


def test_where_no_improvement_is_told(comparisons: Comparisons) -> None:
    blurred = {name.replace("step", "blur"): SETS[name] for name in SETS}
    by_name = compare(REFERENCE, blurred, EXTRACTOR, **EMD)
    assert by_name.improvement.name == "blur_2000"
    assert "No checkpoint" not in by_name.verdict
    assert "No checkpoint after step_2000 " in comparisons.verdict
    assert compare(REFERENCE, SETS, EXTRACTOR, num_folds=None, **EMD).improvement is None
    assert compare(REFERENCE, {"a": SETS["step_100"], "b": REFERENCE // 2}, EXTRACTOR, **EMD).improvement is None
    only = compare(REFERENCE, {"step_5": SETS["step_100"]}, EXTRACTOR, **EMD).improvement
    assert only.scalars() == {"dna/last_improvement": 5, "dna/newest_p_value": 1}
    held_out = compare(REFERENCE, SETS | {"step_0": images(0, 30)}, EXTRACTOR, held_out="step_0", **EMD)
    assert held_out.improvement.num_checkpoints == 3


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
    assert comparisons.verdict.startswith("itself and the reference have the same images")
    assert [comparisons[name].copies for name in sets] == [40, 40, 0, 0]
    assert [comparisons[name].shares_images for name in sets] == [True, True, False, False]
    assert (comparisons.p_values["itself"], comparisons.p_values["copies"]) == (None, None)
    pair = compare(REFERENCE, {name: sets[name] for name in ("copies", "far")}, EXTRACTOR, **EMD)
    assert f"{pair['copies']['dna-emd'].value:.3g})" in pair.verdict  # of which no noise is taken
    assert "copies shares images" in pair.verdict
    assert pair.p_values == {"copies": None, "far": None}
    assert "40 images in copies are near-duplicates of images in the reference" in " ".join(pair["copies"].notices)
    assert "the same images" in compare(REFERENCE, {"set 1": REFERENCE}, EXTRACTOR, **EMD).verdict
    saved_again = compare(REFERENCE, REFERENCE.copy(), EXTRACTOR, **EMD)
    assert (saved_again.copies, saved_again.notices) == (40, [])


def test_the_paired_test_is_of_the_jackknife() -> None:
    """The noise of the reference, which both distances share, cancels fold by fold."""
    sets = {"set 1": images(12, 30), "set 2": images(16, 40)}
    near, far = (each["dna-emd"].evidence for each in compare(REFERENCE, sets, EXTRACTOR, **EMD).values())
    (of_a, b), (of_a_again, c) = near.jackknife.sides, far.jackknife.sides
    parts = [(of_a[0] - of_a_again[0], of_a[1]), b, c]
    # of folds of unequal size (Busing et al., 1999)
    variances = [float(((values - (values / times).sum()) ** 2 / (times - 1)).mean()) for values, times in parts]
    freedom = sum(variances) ** 2 / sum(v**2 / (len(part[0]) - 1) for v, part in zip(variances, parts, strict=True))
    statistic = abs(near.jackknife.left - far.jackknife.left) / sum(variances) ** 0.5
    expected = 2 * stats.t.sf(statistic, freedom)
    assert 0.01 < expected < 0.99
    assert paired_p_value(near, far) == paired_p_value(far, near) == pytest.approx(expected, rel=1e-6)


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
    for column, (name, key) in enumerate({"dna-emd": "dna_emd", "dna-fd": "dna_fd"}.items(), 2):
        by_one = comparisons.by(name)
        for i, (at, result) in enumerate((at, comparison[name]) for at, comparison in comparisons.items()):
            is_alike = by_one.p_holm[at] > 0.05
            shown = f"{number(result.debiased, zeros=result.debiased > 0)} {result.interval.ends}"
            assert comparisons.table.rows[i][column] == f"{shown}{' n.s.' * is_alike}"
            figures = (
                number(result.value, error=result.standard_error),
                debiased_in_words(result.overall),
                interval_in_words(result.interval),
                p_figure(by_one.p_holm[at]),
                p_figure(by_one.p_values[at]),
            )
            assert [name, at, *figures] in [list(row) for row in evidence_table(comparisons).rows]
            assert comparisons.rows()[i][f"{key}_error"] == result.standard_error
            # the jackknife is of squares of dna-emd, by which an error of the value is twice the value as large
            slope = 2 * result.value if name == "dna-emd" else 1
            assert result.standard_error == pytest.approx(result.evidence.jackknife.variance**0.5 / slope)
    assert compare(REFERENCE, REFERENCE, EXTRACTOR, **EMD)["dna-emd"].standard_error is None
    untested = compare(REFERENCE, SETS, EXTRACTOR, num_folds=None, **OPTIONS)
    assert untested["step_100"]["dna-emd"].standard_error is None
    assert evidence_table(untested) is None
    assert untested.table.notes == ["Not bold: dna-emd, dna-fd, because there is no test of which set is best."]
    assert [row[2] for row in untested.table.rows] == [
        number(comparison["dna-emd"].value, zeros=True) for comparison in untested.values()
    ]


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


def test_names_are_short_and_without_secrets() -> None:
    with pytest.raises(ValueError, match="different sets, but got 'a/x' twice"):
        by_name(["a/x", "a/x"])
    signed = [f"https://me:secret@host/{name}.zip?X-Amz-Signature=1f" for name in ("a", "b")]
    assert names_of(*signed) == ("a.zip", "b.zip")
    assert names_of(signed[0], []) == ("https://host/a.zip", "B")
    assert list(by_name(signed)) == ["a.zip", "b.zip"]
    same = [f"https://host/a.zip?part={i}" for i in (1, 2)]
    assert list(by_name(same).values()) == same


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--fail-above", "1000"], 0, "Passed: debiased dna-emd of step_100"),
        (["--fail-above", "5"], 1, "Failed: debiased dna-emd of step_100"),
        (["--fail-if-different"], 1, "Failed: step_100.dna.npz differs significantly (p (Holm) = 0.003"),
        (
            ["--fail-if-different", "--confidence", "0.999"],
            2,
            "sets differs: the smallest possible p is 0.001",
        ),
    ],
)
def test_exit_codes(
    options: list[str], code: int, expected: str, files: list[str], monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert expected.replace(" ", "") in "".join(cli("compare", *files, *options, code=code).err.split())


def test_a_curve_is_of_one_kind_of_figure(comparisons: Comparisons) -> None:
    axis = plot_curve(comparisons).axes[0]
    assert axis.get_ylabel() == f"{DISTANCES['dna-emd'].label}, debiased"
    assert (axis.get_xscale(), axis.get_xlabel()) == ("symlog", "step")
    few = {"early_1": SETS["step_100"], "late_2": SETS["step_2000"][:3]}  # 3 images have no debiased value
    axis = plot_curve(compare(REFERENCE, few, EXTRACTOR)).axes[0]
    values = [compare(REFERENCE, images, EXTRACTOR)["dna-emd"].value for images in few.values()]
    assert [container.lines[0].get_ydata()[0] for container in axis.containers] == pytest.approx(values)
    assert not any(container.has_yerr for container in axis.containers)
    assert (axis.get_ylabel(), axis.get_xlabel()) == (DISTANCES["dna-emd"].label, "number in the name of the set")


@pytest.mark.parametrize("count", [40, 3], ids=["debiased", "too few held-out images"])
def test_a_curve_has_the_held_out_level_and_intervals_if_all_are_debiased(count: int, tmp_path: Path) -> None:
    """From comparisons, and from the folder of a training."""
    held_out = images(12, 8, count)
    compared = compare(REFERENCE, SETS | {"held": held_out}, EXTRACTOR, held_out="held", **OPTIONS)
    folder = Checkpoints(REFERENCE, tmp_path, EXTRACTOR, held_out=held_out, **OPTIONS)
    for name, images_of_set in SETS.items():
        folder.add(int(name.removeprefix("step_")), images_of_set)
    assert (tmp_path / "curve.png").stat().st_size > 1000
    for sets, name in ((compared, "held"), (folder.comparisons, "held-out")):
        results = [comparison["dna-emd"] for step, comparison in sets.items() if step != name]
        axis = sets.plot().axes[0]
        [level] = [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == ":"]
        of_held_out = sets[name]["dna-emd"]
        shown = [container.lines[0].get_ydata()[0] for container in axis.containers]
        if count == 3:
            assert level == of_held_out.value
            assert shown == [result.value for result in results]
            assert not any(container.has_yerr for container in axis.containers)
            continue
        assert level == of_held_out.debiased > 0
        assert shown == [result.debiased for result in results]
        bars = [container.lines[2][0].get_segments()[0][:, 1].tolist() for container in axis.containers]
        assert bars == [pytest.approx([result.interval.low, result.interval.high]) for result in results]


# distances beside those of held-out images: the ratio, its interval, and what can't be said

TRAIN, SAME, OTHER = images(0, 0, 60), images(0, 2, 90), images(30, 4, 60)
MODELS = {"far": images(80, 6, 60), "near": images(24, 8, 40), "real": images(0, 12, 60)}


def against(held_out: np.ndarray, **options: Any) -> Comparisons:
    return compare(TRAIN, {**MODELS, "validation": held_out}, EXTRACTOR, held_out="validation", **EMD | options)


@pytest.fixture(scope="module")
def other() -> Comparisons:
    return against(OTHER, metrics=None)


def variance(pseudo: np.ndarray, times: np.ndarray) -> float:
    """Of a mean of pseudo-values of folds of unequal size (Busing et al., 1999)."""
    return float(((pseudo - (pseudo / times).sum()) ** 2 / (times - 1)).mean())


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", ["dna-emd", "dna-fd"])
def test_the_ratio_is_that_of_distances_without_noise(other: Comparisons, name: str, few: bool) -> None:
    other, power = against(OTHER[:9], metrics=None) if few else other, {"dna-emd": 2, "dna-fd": 1}[name]
    far, near = (other[each][name].evidence for each in ("far", "validation"))
    ratio = other.ratios(name)["far"]
    assert ratio.value == pytest.approx(far.interval.value / near.interval.value)
    (a, b), (c, d) = ([side[0].numpy() for side in each.jackknife.sides] for each in (far, near))
    times, of_far, of_near = (side[1].numpy() for side in (*far.jackknife.sides, near.jackknife.sides[1]))
    freedom = near.jackknife.freedom if few else far.jackknife.freedom
    assert freedom < (far if few else near).jackknife.freedom
    for end in (ratio.low, ratio.high):  # where a test of the ratio begins to reject
        at = end**power
        noise = variance(a - at * c, times) + variance(b, of_far) + at**2 * variance(d, of_near)
        statistic = abs(far.centre - at * near.centre) / noise**0.5
        assert statistic == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)
    assert ratio.low < ratio.value < ratio.high


def test_the_held_out_set_is_no_candidate(other: Comparisons) -> None:
    assert other.best == "real"
    assert other.p_values["validation"] is None
    assert set(other.ratios()) == set(MODELS)
    lean = compare(TRAIN, {"far": MODELS["far"], "validation": OTHER}, EXTRACTOR, held_out="validation", **EMD)
    ratio = lean.ratios()["far"]
    first, times, caveat = lean.verdict.splitlines()
    assert "p = 0.00" in first
    assert all(name in first for name in ("far", "validation"))
    assert times.startswith(f"far is {ratio.value:.2g} times")
    assert times.endswith(f"[{ratio.low:.2g}, {ratio.high:.2g}]).")
    assert "held-out validation" in caveat
    row = lean.rows()[0]
    assert [row[f"dna_emd_x_held_out{end}"] for end in ("", "_low", "_high")] == [ratio.value, ratio.low, ratio.high]
    assert lean.to_dict()["held_out"] == "validation"
    assert Comparisons("a", {}, "v").held_out == "v"
    table = evidence_table(lean)
    for text in (table.markdown(), table.latex(), table.html()):
        shown = text.replace("{\\scriptsize ", "").replace("\\", "")
        assert f"{ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}]" in shown


def test_without_a_difference_there_is_no_upper_end_and_no_number_of_noise() -> None:
    same = against(SAME)
    assert same["validation"].p_value > 0.05
    ratios = same.ratios()
    assert ratios["real"] is None
    assert ratios["far"].value is None
    assert ratios["far"].high is None
    assert 1 < ratios["near"].low < ratios["far"].low
    assert str(ratios["far"]) == f"at least {ratios['far'].low:.2g}"
    assert "times as far" not in same.verdict  # of the best, which can't be told from the reference either
    nearest = compare(TRAIN, {"near": MODELS["near"], "held": SAME}, EXTRACTOR, held_out="held", **EMD).verdict
    assert "near is at least " in nearest
    assert "held (one-sided 95% confidence bound)." in nearest
    assert ". held does not (Holm p = " in nearest


def test_the_ratio_of_properties_shares_the_error_with_that_of_the_network() -> None:
    """With two ratios, each has confidence 97.5 %, so that both are right with 95 %."""
    extractor = DNAExtractor(Pixels(), properties=True)
    compared = compare(TRAIN, {**MODELS, "held": OTHER}, extractor, held_out="held", **EMD)
    rows = {row["set"]: row for row in compared.rows()}
    for name in MODELS:
        for ratios, key, far, near in (
            (compared.ratios(), "dna_emd", compared[name], compared["held"]),
            (compared.property_ratios(), "dna_emd_properties", compared[name].properties, compared["held"].properties),
        ):
            evidence = far["dna-emd"].evidence, near["dna-emd"].evidence
            assert ratios[name] == ratio_of(*evidence, questions=2)
            alone = ratio_of(*evidence)
            if ratios[name] is not None and ratios[name].high is not None:
                assert ratios[name].low <= alone.low < alone.value < alone.high < ratios[name].high
                assert ratios[name].value == alone.value
            ends = [rows[name][f"{key}_x_held_out{end}"] for end in ("", "_low", "_high")]
            assert ends == [ratios[name] and getattr(ratios[name], field) for field in ("value", "low", "high")]
    without = compare(TRAIN, {**MODELS, "held": OTHER}, EXTRACTOR, held_out="held", **EMD)
    assert set(without.property_ratios().values()) == {None}


def test_bold_works_beside_held_out_images() -> None:
    sets = {name: MODELS[name] for name in ("near", "far")}
    alone = compare(TRAIN, sets, EXTRACTOR, **EMD)
    beside = compare(TRAIN, {**sets, "held": SAME}, EXTRACTOR, held_out="held", **EMD)
    assert alone.surely_nearest("dna-emd") == beside.surely_nearest("dna-emd") == "near"
    assert beside.table.bold == {(0, 2)}


def test_a_set_is_not_its_own_held_out_set() -> None:
    with pytest.raises(ValueError, match="`held_out` is 'held', the same images as 'gen'; pass real images"):
        compare(TRAIN, {"gen": SAME, "held": SAME}, EXTRACTOR, held_out="held", **EMD)


def test_where_no_ratio_can_be_told_images_of_both_are_exchanged() -> None:
    compared = against(SAME)
    tested = {name: each["dna-emd"].evidence.farther for name, each in compared.items()}
    ratios = compared.ratios()
    assert all((test is None) == (ratios.get(name, 1) is not None) for name, test in tested.items())
    assert min(tested["real"].p_value, compared["real"].p_value_of_farther) > 0.05
    assert compared["real"].p_value_of_farther == tested["real"].test.p_value  # without properties
    p_values = {name: None if test is None else test.p_value for name, test in tested.items()}
    assert {row["set"]: row["dna_emd_p_farther"] for row in compared.rows()} == p_values
    last = compared.verdict.splitlines()[-1]
    assert all(name in last for name in ("real", "validation"))


@pytest.mark.parametrize("held_out", [SAME, OTHER], ids=["no ratio", "a ratio"])
def test_comparisons_beside_held_out_images_can_be_saved(held_out: np.ndarray, tmp_path: Path) -> None:
    compared = against(held_out)
    compared.save(tmp_path / "x.result.npz")
    loaded = Comparisons.load(tmp_path / "x.result.npz")
    assert loaded.verdict == compared.verdict
    assert loaded.rows() == compared.rows()


BLOCKS = {seed: np.kron(images(0, seed, 60), np.ones((1, 4, 4, 1), np.uint8)) for seed in (2, 4, 6)}
FINER = BLOCKS[6] + 4 * (np.indices((32, 32)).sum(0) % 2 * 2 - 1)[..., None]  # which no input of 8 pixels holds
REDDER = np.concatenate([90 + 1.2 * (BLOCKS[6][..., :1] - 90.0), BLOCKS[6][..., 1:]], 3)


@pytest.mark.parametrize(
    ("spoilt", "properties", "named"),
    [(FINER, True, "fine detail"), (REDDER, False, "contrast neuron 0"), (BLOCKS[6], True, None)],
)
def test_where_only_a_part_is_further_it_is_named(spoilt: np.ndarray, properties: bool, named: str | None) -> None:
    sets = {"gen": spoilt.clip(0, 255).round().astype(np.uint8), "held": BLOCKS[4][:50]}
    extractor = DNAExtractor(Pixels(), input_size=8, properties=properties)
    compared = compare(BLOCKS[2], sets, extractor, held_out="held", **EMD)
    assert compared["gen"].furthest_in == named
    assert (compared["gen"].p_value_of_farther <= 0.05) is (named is not None)
    said = f"In {named}, gen is significantly farther from the reference than the held-out held (p " in compared.verdict
    ratio = compared.property_ratios()["gen"]
    if properties and named is not None:
        assert ratio.low > 1
        farthest = PROPERTIES[int(compared["gen"].properties["dna-emd"].values.argmax())]
        said = re.search(rf"In image properties, gen is .* times as far .*, mostly in {farthest}\.", compared.verdict)
    else:
        assert ratio is None
    assert bool(said) is (named is not None)
    assert compared["held"].furthest_in is None  # which is not asked of the held-out set


@pytest.mark.parametrize(
    ("generated", "held_out", "folds", "sharing"),
    [
        (MODELS["far"], OTHER, 20, None),
        (MODELS["far"], OTHER, None, ""),
        (MODELS["far"], TRAIN[:50], 20, "held"),
        (TRAIN // 4 * 4 + 2, OTHER, 20, "gen"),
        (TRAIN, OTHER, 20, "gen"),
        (TRAIN[:40] // 4 * 4 + 2, TRAIN[20:], 20, "gen and held"),
        (SAME, images(0, 50, 60), 20, ""),
    ],
)
@pytest.mark.parametrize("sets", [1, pytest.param(2, marks=pytest.mark.outer)])
def test_the_verdict_tells_of_the_held_out_set_or_why_not(
    generated: np.ndarray, held_out: np.ndarray, folds: int | None, sharing: str | None, sets: int
) -> None:
    more = {} if sets == 1 else {"further": images(95, 14, 60)}
    given = {"gen": generated, **more, "held": held_out}
    result = compare(TRAIN, given, EXTRACTOR, held_out="held", num_folds=folds, **EMD)
    lines = result.verdict.splitlines()
    differs = not sharing and result["held"].p_value is not None and result.p_holm["held"] <= 0.05
    if more and np.array_equal(generated, TRAIN):
        assert result.verdict.startswith("gen and the reference have the same images")
        return
    shown = [line for line in lines if re.search(r"held( \(.*?\))? differs? significantly", line)]
    assert any(not line.startswith("Neither") for line in shown) is differs
    if sharing:
        assert result.ratios()["gen"] is None
        assert f"shares images with {sharing}" in lines[-1]
    elif folds is None:
        assert "there are no folds" in lines[-1]
    elif sharing == "":
        assert any("p = " in line for line in lines[-2:])
    else:
        assert any(line.startswith("gen is ") and "times as far" in line for line in lines)
    assert result.to_dict()["verdict"] == result.verdict


def test_a_reference_without_folds_is_exact() -> None:
    reference = make_dna(TRAIN, EXTRACTOR, **OPTIONS)
    sets = {"far": MODELS["far"], "held": OTHER}
    ratio = compare(reference, sets, held_out="held", feature=EXTRACTOR).ratios()["far"]
    folded = compare(TRAIN, sets, EXTRACTOR, held_out="held", **EMD).ratios()["far"]
    assert ratio.value == pytest.approx(folded.value, rel=0.1)


def test_the_ratio_to_null_is_of_halves_of_a(other: Comparisons) -> None:
    """Two samples like A, of the same sizes, are so far apart; it does not grow with the distance of B."""
    expected = [
        compare(images(0, seed, 60), images(0, seed + 2, 60), EXTRACTOR, num_folds=None, **EMD)["dna-emd"].value
        for seed in range(20, 60, 4)
    ]
    result = other["far"]["dna-emd"]
    assert result.null_mean == pytest.approx(np.mean(expected), rel=0.35)
    assert result.ratio_to_null == pytest.approx(result.value / result.null_mean)
    assert result.evidence.null > 2 * result.null_mean  # relabelings still differ
    assert other["real"]["dna-emd"].ratio_to_null is None
