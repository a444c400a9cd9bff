"""The documentation site."""

from __future__ import annotations

import re
import sys
import tomllib
from html import escape
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ziamath
from docutils.nodes import SkipNode, Text, image, literal, paragraph, reference
from sphinx.addnodes import toctree

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment
    from sphinx.writers.html5 import HTML5Translator

from torchmetrics_dna.dna.distances import of_any_network
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.images.properties import RECORDS

sys.path.insert(0, str(Path(__file__).parent))
from command_tables import as_markdown

project = "torchmetrics_dna"
author = "the torchmetrics_dna authors"
copyright = author  # noqa: A001 - Sphinx reads this name
version = release = version_of("torchmetrics-dna")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["examples", "_live"]
if not list(Path(__file__).parent.glob("*.png")):
    # The source archive of a release has no pictures.
    suppress_warnings = ["image.not_readable", "download.not_readable"]
nitpicky = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True

html_theme = "furo"
_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
html_baseurl = re.sub("(?<=[^/])$", "/", _PROJECT["urls"].get("Documentation", ""))  # the one place for addresses
pygments_dark_style = "monokai"
html_title = f"torchmetrics_dna {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
_LIVE = Path(__file__).parent / "_live"  # what live_reports.py makes; the gate builds the site without
html_extra_path = ["_live"] if _LIVE.exists() else []
html_copy_source = html_show_sourcelink = False
html_show_copyright = html_show_sphinx = False

# what may change in any release: engines of other machines
_EXPERIMENTAL = ("torchmetrics_dna.jobs.on_ray.",)


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_drawn(node, inline=True))
    raise SkipNode


def _display(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{_drawn(node, inline=False)}</div>\n')
    raise SkipNode


def _drawn(node: nodes.math | nodes.math_block, inline: bool) -> str:
    formula = ziamath.Latex(node.astext(), size=16, inline=inline)
    label = f'role="img" aria-label="{escape(node.astext())}" style="vertical-align: {formula.getyofst()}px"'
    return str(formula.svg()).replace("<svg ", f"<svg {label} ", 1)


def _among_ours(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> Any:
    """A name without its module is that of whatever the pages document by it."""
    if node.get("refdomain") != "py" or node.get("refspecific"):
        return None
    node["refspecific"] = True
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], node["reftarget"], node, content)


def _not_a_mistake(_app: Sphinx, _domain: object, node: pending_xref) -> bool | None:
    """Types of arguments, and what other libraries document, need no page here."""
    is_annotation = not any(isinstance(child, literal) for child in node.children)
    is_foreign = node["reftarget"].split(".")[0] in ("bool", "torch", "torchmetrics")
    return True if is_annotation or is_foreign else None


def _properties() -> str:
    return Table(["property", "meaning"], [[each.name, each.meaning] for each in RECORDS.values()]).markdown()


def _distances() -> str:
    header = ["distance", "in json and Python", "what", "unit", "minimum images"]
    rows = [[r.name, r.key, r.sentence, r.unit or "none", r.least] for r in of_any_network().values()]
    return Table(header, rows).markdown()


def _add_tables(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Commands on their page are made from their help; distances and properties from their records."""
    for mark, text in {"commands": as_markdown, "distances": _distances, "properties": _properties}.items():
        if (comment := f"<!-- {mark} -->") in source[0]:
            source[0] = source[0].replace(comment, text())


def _open_reports(_app: Sphinx, doctree: nodes.document) -> None:
    """A picture of a report leads to the report, where it was made."""
    for picture in list(doctree.findall(image)):
        page = re.sub(r"^report_(\w+)\.png$", r"reports/\1.html", picture["uri"])
        if page != picture["uri"] and (_LIVE / page).exists():
            link = reference("", "", picture.deepcopy(), Text("Open this page"), refuri=page)
            picture.replace_self(link)


def _large_on_click(_app: Sphinx, doctree: nodes.document) -> None:
    """A picture with a width is a link to its file, which phones need."""
    for picture in doctree.findall(image):
        picture.setdefault("width", "100%")


def _without_module(_app: Sphinx, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Docstrings of modules are for those who change them; a page has a first paragraph of its own."""
    if what == "module":
        lines.clear()


def _mark(_app: Sphinx, what: str, name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Each class and function says how stable it is; those of the top are core."""
    if what in ("class", "function", "exception"):
        is_core = name.count(".") == 1
        status = "core" if is_core else "experimental" if name.startswith(_EXPERIMENTAL) else "extra"
        lines[:0] = [f".. container:: status {status}", "", f"   {status}", ""]


def _skip_fields(_app: Sphinx, _what: str, _name: str, member: object, _skip: bool, _options: object) -> bool | None:
    """Fields of a named tuple are among its attributes already."""
    return True if type(member).__name__ == "_tuplegetter" else None


def _break_lines(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Code breaks before a word, a long name after its punctuation, and nothing after a hyphen."""
    if "body" in context:
        names = re.sub(r'(?<=<span class="pre">)[^<]{13,}', _breaking, context["body"])
        context["body"] = re.sub(
            r"(<pre>|<span class=\"pre\">).*?(?=</pre>|</code>)", _unbroken, names, flags=re.DOTALL
        )


def _lead_back(app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Links from a source lead to the names that pages document; viewcode takes all of a file to be of one module."""
    if not page.startswith("_modules/"):
        return
    documented = app.env.domains.python_domain.objects

    def address(link: re.Match[str]) -> str:
        words = link[1].split(".")
        ends = (".".join(["", *words[i:]]) for i in range(len(words)))
        names = (name for end in ends for name in documented if f".{name}".endswith(end))
        return f'#{next(names, link[1])}"'

    context["body"] = re.sub(r'#([\w.]+)"', address, context["body"])


def _breaking(name: re.Match[str]) -> str:
    return re.sub(r"(?<=[_./=,(])(?=\w)", "<wbr>", name[0])


def _unbroken(code: re.Match[str]) -> str:
    return re.sub(r"-+\w(?=[^<>]*<)", r'<span class="whole">\g<0></span>', code[0] + "<")[:-1]


def _write_for_agents(app: Sphinx, error: Exception | None) -> None:
    """Write `llms.txt` (https://llmstxt.org), by which programs find pages: each page of the menu by its first line."""
    if error or app.builder.name != "html":
        return
    codes = f"[output, json and exit codes]({html_baseurl}command_line.html#output-and-exit-codes)"
    about = f"What another program needs: {codes}."
    parts = [f"# {project} {release}", f"> {_PROJECT['description']}. Licence: {_PROJECT['license']}.", about]
    for menu in app.env.get_doctree("index").findall(toctree):
        lines = []
        for page in menu["includefiles"]:
            first = " ".join(next(iter(app.env.get_doctree(page).findall(paragraph))).astext().split())
            sentence = re.split(r"(?<=\.) |:$", first)[0]
            lines.append(f"- [{app.env.titles[page].astext()}]({html_baseurl}{page}.html): {sentence}")
        parts.append("\n".join([f"## {menu['caption']}", "", *lines]))
    (Path(app.outdir) / "llms.txt").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Formulas become drawings in the pages, which need no script, font or network, and take the text's colour."""
    ziamath.config.math.color = "currentColor"
    app.add_html_math_renderer("drawn", (_inline, None), (_display, None))
    app.connect("missing-reference", _among_ours)
    app.connect("source-read", _add_tables)
    app.connect("doctree-read", _open_reports)
    app.connect("doctree-read", _large_on_click)
    app.connect("autodoc-process-docstring", _without_module)
    app.connect("autodoc-process-docstring", _mark, priority=900)  # after napoleon
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("html-page-context", _break_lines)
    app.connect("html-page-context", _lead_back)
    app.connect("build-finished", _write_for_agents)
    app.connect("warn-missing-reference", _not_a_mistake)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


html_math_renderer = "drawn"
