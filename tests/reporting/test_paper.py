"""Tables of several sets and the protocol of a result, as a paper needs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_results import RESULTS
from networks import Pixels, pixels

from torchmetrics_dna import DNAExtractor, NeuronWeights, __version__, compare, make_dna
from torchmetrics_dna.comparisons.several_sets import Comparisons
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.files.visible import number
from torchmetrics_dna.reporting.build import document_of
from torchmetrics_dna.reporting.document import FORMATS

EXTRACTOR = DNAExtractor(Pixels(), input_size=8, properties=False)
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 100}
TEST = "(paired test, p ≤ 0.05, Holm-corrected)"


def images(shift: int, seed: int, count: int = 40) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(90 + shift, 25, (count, 8, 8, 3))
    return (noise + np.random.default_rng(seed + 1).normal(0, 15, (count, 1, 1, 3))).clip(0, 255).astype(np.uint8)


REFERENCE = images(0, 0)
NEAR, FAR, ALSO_FAR = images(4, 4), images(80, 2), images(60, 6)


def against(sets: dict[str, np.ndarray], *metrics: str, **options: Any) -> Comparisons:
    return compare(REFERENCE, sets, EXTRACTOR, metrics=list(metrics), **OPTIONS | options)


def bold_cells(sets: Comparisons) -> set[tuple[str, str]]:
    """Return the set and the heading of each cell in bold."""
    table = sets.table
    return {(str(table.rows[row][0]), table.header[column]) for row, column in table.bold}


def notes_on_bold(sets: Comparisons) -> list[str]:
    return [note for note in sets.table.notes if note.startswith(("Bold", "Not bold"))]


CLOSEST = f"Bold: significantly closer than every other set {TEST}."
NO_TEST = "because there is no test of which set is best."
# By name: the sets, metrics, cells in bold, and notes.
CASES: dict[str, tuple[Callable[[], Comparisons], set[tuple[str, str]], list[str]]] = {
    "significant": (
        lambda: against({"far": FAR, "near": NEAR, "also_far": ALSO_FAR}, "dna-emd", "dna-fd"),
        {("near", "dna-emd (bins) ↓"), ("near", "dna-fd ↓")},
        [CLOSEST],
    ),
    "not significant": (
        lambda: against({"one": images(30, 10), "two": images(30, 20)}, "dna-emd"),
        set(),
        [f"Not bold: dna-emd, because the closest set is not significantly closer than every other set {TEST}."],
    ),
    "a tie of the closest two of three": (
        lambda: against({"far": FAR, "one": NEAR, "two": images(4, 30)}, "dna-emd"),
        set(),
        [f"Not bold: dna-emd, because the closest set is not significantly closer than every other set {TEST}."],
    ),
    "an exact tie": (
        lambda: against({"one": FAR, "two": FAR}, "dna-emd"),
        set(),
        [f"Not bold: dna-emd, because the closest set is not significantly closer than every other set {TEST}."],
    ),
    "higher is better": (
        lambda: against({"far": FAR, "near": NEAR}, "dna-emd", "precision"),
        {("near", "dna-emd (bins) ↓")},
        [CLOSEST, f"Not bold: precision, {NO_TEST}"],
    ),
    "without folds": (
        lambda: against({"far": FAR, "near": NEAR}, "dna-emd", num_folds=None),
        set(),
        [f"Not bold: dna-emd, {NO_TEST}"],
    ),
    "copies of the reference's images": (
        lambda: against({"far": FAR, "copies": REFERENCE // 8 * 8 + 4}, "dna-emd"),
        set(),
        [f"Not bold: dna-emd, {NO_TEST}"],
    ),
    "a held-out set that is closer": (
        lambda: against({"far": FAR, "also_far": images(150, 8), "real": NEAR}, "dna-emd", held_out="real"),
        {("far", "dna-emd (bins) ↓")},
        [f"Bold: significantly closer than every other set except the held-out real {TEST}."],
    ),
    "one set": (lambda: against({"near": NEAR}, "dna-emd"), set(), []),
}


@pytest.mark.parametrize(("make", "bold", "notes"), CASES.values(), ids=CASES)
def test_bold_is_the_closest_set_if_the_test_shows_it(
    make: Callable[[], Comparisons], bold: set[tuple[str, str]], notes: list[str]
) -> None:
    sets = make()
    assert bold_cells(sets) == bold
    assert notes_on_bold(sets) == notes
    latex, markdown = sets.table.latex(), sets.table.markdown()
    assert latex.count(r"\textbf{") == markdown.count("**") / 2 == len(bold)


@pytest.fixture(scope="module")
def many_metrics() -> Comparisons:
    return against({"far": FAR, "near": NEAR}, "dna-emd", "dna-fd", "fd", "kid", "precision", "mind")


def test_sets_are_rows_and_metrics_are_columns_with_arrows(many_metrics: Comparisons) -> None:
    table = many_metrics.table
    arrows = ["dna-emd (bins) ↓", "dna-fd ↓", "fd ↓", "kid ↓", "mind ↓", "precision ↑"]
    assert table.header == ["set", "images", *arrows]
    assert [row[:2] for row in table.rows] == [["far", 40], ["near", 40]]
    header = table.latex().splitlines()[2]
    assert [header.count(r"$\downarrow$"), header.count(r"$\uparrow$")] == [5, 1]


def test_a_debiased_value_has_three_digits_and_its_interval(many_metrics: Comparisons) -> None:
    columns = dict(zip(many_metrics.table.header, zip(*many_metrics.table.rows, strict=True), strict=True))
    far = many_metrics["far"]
    for heading, distance in {"dna-emd (bins) ↓": "dna-emd", "dna-fd ↓": "dna-fd"}.items():
        interval = far[distance].interval
        assert columns[heading][0] == f"{number(interval.value, zeros=True)} [{interval.low:.3g}, {interval.high:.3g}]"
    assert columns["precision ↑"] == tuple(f"{each['precision'].value:#.3g}" for each in many_metrics.values())
    assert "Debiased, with the 95% CI in brackets: dna-emd, dna-fd, fd, kid." in many_metrics.table.notes
    at_90 = against({"far": FAR, "also_far": ALSO_FAR}, "dna-emd", confidence=0.9)
    assert "Debiased, with the 90% CI in brackets: dna-emd." in at_90.table.notes
    assert "0: within sampling noise." not in at_90.table.notes


def test_values_of_a_column_can_be_compared(many_metrics: Comparisons) -> None:
    """A column is debiased only if all of its sets are; a published metric is as it was published."""
    copies = against({"far": FAR, "copies": REFERENCE // 8 * 8 + 4}, "dna-emd")
    emd = copies["far"]["dna-emd"]
    assert [row[2] for row in copies.table.rows] == [
        number(emd.value, error=emd.standard_error),
        number(copies["copies"]["dna-emd"].value, zeros=True),
    ]
    assert not any("Debiased" in note for note in copies.table.notes)
    itself = against({"far": FAR, "itself": REFERENCE}, "dna-emd")
    assert [row[2] for row in itself.table.rows] == [
        f"{number(emd.debiased, zeros=True)} {emd.interval.ends}",
        "0 n.s.",
    ]

    def as_published(comparison: Comparison) -> Comparison:
        result = comparison["kid"]
        published = replace(result.distance, protocol=result.distance.published.protocol)
        return replace(comparison, results={"kid": replace(result, distance=published)})

    published = Comparisons("a", {name: as_published(comparison) for name, comparison in many_metrics.items()})
    assert [row[2] for row in published.table.rows] == [
        number(result.value, error=result.standard_error) + " n.s." * (result.p_value > 0.05)
        for result in (comparison["kid"] for comparison in many_metrics.values())
    ]


def test_a_distance_within_sampling_noise_is_0() -> None:
    sets = against({"same": images(0, 20), "far": FAR}, "dna-emd", "dna-fd")
    for column, distance in ((2, "dna-emd"), (3, "dna-fd")):
        interval = sets["same"][distance].interval
        assert interval.value == 0
        ends = f" {interval.ends}" if interval.high else ""
        assert sets.table.rows[0][column] == f"0{ends} n.s."
    assert "0: within sampling noise." in sets.table.notes


def latex_of(result: Any) -> str:
    form = FORMATS["latex"]
    assert form.render is not None
    return form.render(document_of(result))


def test_latex_has_the_protocol_and_escapes_names() -> None:
    sets = against({"model_a": FAR, "50%_{x}": NEAR, "[b] & *": ALSO_FAR}, "dna-emd")
    comment, *tables = latex_of(sets).split("\n\n")
    assert [line.removeprefix("% ").replace("\\", "") for line in comment.splitlines()] == sets.protocol().splitlines()
    assert r"40 in model\_a, 40 in 50\%\_\{x\}" in comment
    names = [line.partition(" &")[0] for line in tables[0].splitlines() if line.endswith(r"\\")]
    assert names == ["set", r"model\_a", r"50\%\_\{x\}", r"{}[b] \& *"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is missing")
@pytest.mark.outer
def test_latex_of_each_result_compiles(tmp_path: Path, many_metrics: Comparisons) -> None:
    """In a document of its own, and within a table with a caption."""
    hostile = against({"a_b^~#": FAR, "[x]": NEAR, "*<y>|\\z{": ALSO_FAR}, "dna-emd")
    shown = ("two sets", "several sets", "classes", "all with all", "versions", "a ranking")
    results = [many_metrics, hostile, *(RESULTS[name][0]() for name in shown)]
    documents = [latex_of(result) for result in results]
    in_float = documents[0].split("\n\n")[1]
    documents.append(f"\\begin{{table}}\\caption{{Sets}}\\centering\n{in_float}\n\\end{{table}}")
    source = "\n\n".join(documents)
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{source}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert made.returncode == 0, made.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


# The protocol


def test_the_protocol_of_several_sets_has_their_numbers() -> None:
    sets = against({"far": FAR[:30], "near": NEAR, "real": images(2, 9)}, "dna-emd", "precision", held_out="real")
    reference = sets["far"].measured[0].first
    lines = sets.protocol().splitlines()
    assert lines == [
        f"The sets were compared with torchmetrics-dna {__version__}.",
        "The network is Pixels, with 9 neurons in 3 layers: colours, contrast and mean.",
        "Images were resized to 8 x 8 pixels (mode clean).",
        "The network ran in float32.",
        "The range of each histogram was observed on the images of its set.",
        "A bin is 1/100 of the range in the reference, which is extended by 20%.",
        "The numbers of images are 40 in the reference, 30 in far, 40 in near, 40 in real.",
        "real is the held-out set.",
        "The values of dna-emd are a mean over neurons.",
        "The values of precision are computed from the spatial means of layer mean.",
        "The 95% confidence intervals of dna-emd are around debiased values.",
        f"Each set was divided into at most {sets['near'].interval.num_folds} folds.",
        "The p-values of dna-emd are from 1,000 permutations of the folds, including the observed assignment.",
        "The p-values were corrected for 3 sets by Holm's method.",
        "Whether the closest set is closer than another was tested by a paired t-test of jackknife estimates, corrected"
        " for the number of sets by Holm's method.",
        f"Digests (first 12 digits): weights of the network {reference.weights_digest[:12]}, histogram DNA of the"
        f" reference in these neurons {reference.digest[:12]}.",
    ]


FIXED_EXTRACTOR, FIXED_RANGES = pixels()


def described(**options: Any) -> tuple[Comparison, str]:
    given = {"a": REFERENCE, "b": FAR, "feature": FIXED_EXTRACTOR, "ranges": FIXED_RANGES, "num_bins": 40} | options
    result = compare(given.pop("a"), given.pop("b"), **given)
    return result, result.protocol()


def test_the_protocol_of_two_sets_names_ranges_weights_and_tests() -> None:
    result, text = described(num_folds=8, confidence=0.9)
    assert f"The numbers of images are 40 in {result.names[0]}, 40 in {result.names[1]}." in text
    assert "Each histogram has 40 bins." in text
    assert "The activation ranges are fixed, extended by 20%." in text
    assert f"activation ranges {FIXED_RANGES.digest[:12]}" in text
    assert "The 90% confidence intervals of dna-emd and dna-fd are around" in text
    assert "Each set was divided into at most 8 folds." in text
    assert result.test.num_relabelings == 1000
    assert "from 1,000 permutations of the folds" in text
    assert "corrected for their number by the max-T method" in text
    assert "Holm" not in text
    named = replace(FIXED_RANGES, margin="scale", name="ours")
    assert "The activation ranges are those of ours, with both ends multiplied by 1.2." in described(ranges=named)[1]
    few, text = described(a=REFERENCE[:7], b=FAR[:6], num_folds=20)
    assert f"from {few.test.num_relabelings:,} permutations of the folds" in text
    weights = NeuronWeights(torch.linspace(0, 1, 9, dtype=torch.float64), FIXED_EXTRACTOR.neurons, "Pixels")
    weighted, text = described(neuron_weights=weights)
    digest = weighted["dna-emd"].averaging.settings["neuron weights (digest)"]
    assert f"a weighted sum over neurons, with weights of digest {digest[:12]}" in text


def test_the_protocol_says_what_is_missing() -> None:
    _, text = described(num_folds=None)
    assert "There are no confidence intervals.\nThere is no permutation test." in text
    assert "max-T" not in text
    reference = make_dna(REFERENCE, FIXED_EXTRACTOR, ranges=FIXED_RANGES, num_bins=40)
    result, text = described(a=reference, ranges=None, num_bins=None)
    assert f"The intervals do not include the sampling noise of {result.names[0]}." in text
    assert "There is no permutation test." in text
    assert reference.digest[:12] in text
    lines = ["Can't read image 'a.png': broken", "Can't read image 'b.png': broken"]
    assert "2 images were left out because of read errors." in replace(result, unreadable=lines).protocol()
    assert "left out" not in text
    bare = replace(result, measured=None, version="").protocol()
    assert "torchmetrics-dna.\n" in bare
    assert not re.search("Digests|resized|precision|ranges", bare)


def test_the_protocol_of_pairs_and_of_preparations() -> None:
    paired, text = described(b=(REFERENCE * 0.8).astype(np.uint8), pairs=True)
    assert "The images were compared as pairs." in text
    count = paired.test.num_relabelings
    assert f"from {count:,} exchanges of the two sets within folds of pairs" in text
    assert "do not include" not in text
    normalized = DNAExtractor(Pixels(), input_size=(6, 4), crop="center", resize="torch", mean=0.5, std=[0.1, 0.2, 0.3])
    text = compare(REFERENCE, FAR, normalized, ranges="auto").protocol()
    assert (
        "Images were cropped to their largest central square, then resized to 6 x 4 pixels (mode torch), then"
        " normalized by the mean (0.5, 0.5, 0.5) and the standard deviation (0.1, 0.2, 0.3).\n"
    ) in text
    assert "A joint test of activations and image properties decides whether the sets differ." in text


def test_the_protocol_of_a_loaded_result_is_that_of_the_result(tmp_path: Path) -> None:
    sets = against({"far": FAR, "near": NEAR}, "dna-emd")
    sets = Comparisons(sets.reference, {name: replace(each, version="0.3.9") for name, each in sets.items()})
    sets.save(tmp_path / "x.result.npz")
    loaded = Comparisons.load(tmp_path / "x.result.npz").protocol()
    assert loaded == sets.protocol()
    assert "torchmetrics-dna 0.3.9." in loaded
