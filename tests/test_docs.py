"""Every Python block of every page runs, links lead somewhere or look as if they do, and the API pages are complete."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import runpy
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from matplotlib.figure import Figure
from pages import PAGES, ROOT, Page

import torchmetrics_dna
from torchmetrics_dna import functional, metrics
from torchmetrics_dna.images.kinds import KINDS
from torchmetrics_dna.reporting.document import FORMATS

# The source archive of a release has no pictures.
PICTURES = set((ROOT / "docs").rglob("*.png"))


def blocks(page: Path) -> list[str]:
    """The Python blocks of a page."""
    fenced = re.findall(r"^( *)```python\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in fenced]


def ring(page: Path) -> list[pytest.MarkDecorator]:
    if page.name == "README.md":
        return []
    always = ("quickstart.md", "format.md", "monitoring.md")
    return [pytest.mark.slow if page.name in always else pytest.mark.outer]


@pytest.mark.usefixtures("of_any_value")
@pytest.mark.parametrize("page", [pytest.param(page, marks=ring(page), id=page.name) for page in PAGES if blocks(page)])
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.outer
def test_the_notebook_runs_and_shows_results() -> None:
    """Each last expression of a cell is a table in html, or a figure."""
    notebook = json.loads((ROOT / "docs" / "examples" / "first_look.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "notebook", "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
    kinds = [type(value).__name__ for value in shown]
    assert kinds == [
        *("Comparison", "Figure", "NoneType", "Comparisons", "Figure", "DistanceMatrix"),
        *("Ranking", "Figure", "HistogramDNA"),
    ]
    for value in shown:
        if not isinstance(value, Figure | None):
            page = Page(value._repr_html_())
            assert len(page.rows) > 1
            assert len({len(row) for row in page.rows}) == 1
    assert any(
        row[0] == "dna-emd" and row[1] == f"{shown[0]['dna-emd'].value:.3g}"
        for row in Page(shown[0]._repr_html_()).rows
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_or_look_as_if_they_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    if not PICTURES:
        targets = [target for target in targets if not target.endswith(".png")]
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []
    for target in re.findall(r"\]\((\w+://[^)]*)\)", text):
        parts = urlsplit(target)
        assert parts.scheme == "https", target
        assert re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), target
        assert re.fullmatch(r"[\w/.~%@+=&?-]*", parts.path + parts.query), target


def test_every_picture_is_on_a_page() -> None:
    pictures = re.compile(r"\]\((\S+\.png)\)|\{figure\} (\S+\.png)")
    shown = {
        (page.parent / "".join(picture)).resolve()
        for page in PAGES
        for picture in pictures.findall(page.read_text(encoding="utf-8"))
    }
    if not PICTURES:
        pytest.skip("pictures are in the repository only")
    assert shown == PICTURES


def test_the_first_page_has_the_commands_of_its_reports() -> None:
    program = ast.parse((ROOT / "docs" / "live_reports.py").read_text(encoding="utf-8"))
    [commands] = [node.value for node in program.body if "COMMANDS" in map(ast.unparse, getattr(node, "targets", ()))]
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for command in ast.literal_eval(commands):
        assert f"\n{command}\n" in page
        assert f"](report_{command.split()[-1].removesuffix('.html')}.png)" in page


def test_a_picture_of_a_report_opens_it_where_it_was_made(tmp_path: Path) -> None:
    pytest.importorskip("ziamath", reason="needs the extra docs")
    from docutils import nodes
    from docutils.utils import new_document

    show = runpy.run_path(str(ROOT / "docs/conf.py"))["_open_reports"]
    show.__globals__["_LIVE"] = tmp_path
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "odd.html").touch()
    page = new_document("index")
    page += [nodes.paragraph("", "", nodes.image(uri=f"report_{name}.png")) for name in ("odd", "gan")]
    show(None, page)
    [link] = page.findall(nodes.reference)
    assert link["refuri"] == "reports/odd.html"
    assert [picture["uri"] for picture in link.findall(nodes.image)] == ["report_odd.png"]
    assert len(list(page.findall(nodes.image))) == 2


def test_every_public_name_is_on_an_api_page() -> None:
    api = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.rst"))
    named = set(re.findall(r"^\.\. auto(?:class|function):: (\w+)$", api, re.MULTILINE))
    assert named == set(torchmetrics_dna.__all__)
    assert {address.rpartition(".")[2] for address in names_of_the_api()} >= set(metrics.__all__)
    # these modules are documented whole, by their own lists of names
    assert ".. automodule:: torchmetrics_dna.functional\n   :members:\n" in api
    assert ".. automodule:: torchmetrics_dna.plots\n   :members:\n" in api
    assert all(getattr(functional, name).__doc__ for name in functional.__all__)


def names_of_the_api() -> dict[str, object]:
    """Return each class and function on a page of the API by the address that the page gives."""
    api = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.rst"))
    documented: dict[str, object] = {}
    for name in re.findall(r"^\.\. auto(?:class|function):: ([\w.]+)$", api, re.MULTILINE):
        address = name if "." in name else f"torchmetrics_dna.{name}"
        module, _, attribute = address.rpartition(".")
        documented[address] = getattr(importlib.import_module(module), attribute)
    return documented


def test_names_of_the_api_say_how_stable_they_are() -> None:
    pytest.importorskip("ziamath", reason="needs the extra docs")
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    by_status: dict[str, set[str]] = {"core": set(), "extra": set(), "experimental": set()}
    for address in names_of_the_api():
        lines = ["A sentence."]
        conf["_mark"](None, "function", address, None, None, lines)
        container, *rest = lines
        status = container.removeprefix(".. container:: status ")
        assert rest == ["", f"   {status}", "", "A sentence."]
        by_status[status].add(address)
    assert by_status["core"] == {f"torchmetrics_dna.{name}" for name in torchmetrics_dna.__all__}
    assert by_status["experimental"] == {f"torchmetrics_dna.{name}" for name in ("jobs.on_ray.finish_on_ray",)}
    assert all(importlib.util.find_spec(module.rstrip(".")) for module in conf["_EXPERIMENTAL"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_that_pages_import_are_on_a_page_of_the_api(page: Path) -> None:
    whole = {"torchmetrics_dna.demo", "torchmetrics_dna.functional", "torchmetrics_dna.plots"}  # all their names are
    imported = {
        f"{node.module}.{alias.name}"
        for block in blocks(page)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("torchmetrics_dna")
        for alias in node.names
        if node.module not in whole and f"{node.module}.{alias.name}" not in whole
    }
    assert imported <= names_of_the_api().keys()


def test_lines_of_code_break_without_a_change_of_text() -> None:
    pytest.importorskip("ziamath", reason="needs the extra docs")
    body = (
        '<p class="a-b">c-d</p><pre>a-b<span class="k-x">--metrics</span> &lt;-k&gt;</pre>'
        '<code class="xref-a"><span class="pre">--fail-if-new</span> <span class="pre">sets/a_name.x(a-b)</span></code>'
    )
    context = {"body": body}
    runpy.run_path(str(ROOT / "docs/conf.py"))["_break_lines"](None, "", "", context, None)
    whole = '<span class="whole">{}</span>'.format
    assert context["body"] == (
        f'<p class="a-b">c-d</p><pre>a{whole("-b")}<span class="k-x">{whole("--m")}etrics</span>'
        f" &lt;{whole('-k')}&gt;</pre>"
        f'<code class="xref-a"><span class="pre">{whole("--f")}ail{whole("-i")}f{whole("-n")}ew</span>'
        f' <span class="pre">sets/<wbr>a_<wbr>name.<wbr>x(<wbr>a{whole("-b")})</span></code>'
    )


def test_pages_name_each_kind_of_file_and_format() -> None:
    for page, records in (("sources.md", KINDS), ("command_line.md", FORMATS)):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for record in records.values():
            assert any(word in text for word in (record.name, *record.suffixes)), f"{page} does not name {record.name}"
