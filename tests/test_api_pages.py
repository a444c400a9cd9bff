"""The API pages show the arguments and defaults of each public class, and so does ``inspect.signature``."""

from __future__ import annotations

import html
import importlib
import inspect
import re
import shutil

import pytest
from pages import ROOT

import torchmetrics_dna
from torchmetrics_dna import metrics

SIGNATURE = re.compile(r'<dt class="sig sig-object py" id="([\w.]+)">(.*?)</dt>', re.DOTALL)
PUBLIC = [
    getattr(module, name)
    for module in (torchmetrics_dna, metrics)
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
]


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """HTML of each API page, built by the settings of the site, without its theme and the links to sources."""
    pytest.importorskip("ziamath", reason="needs the extra docs")
    from sphinx.application import Sphinx

    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "docs" / "api", source / "api")
    index = "Site\n====\n\nPages.\n\n.. toctree::\n   :caption: Look up\n\n   api/index\n"
    (source / "index.rst").write_text(index, encoding="utf-8")
    site = tmp_path_factory.mktemp("site")
    overrides = {
        "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"],
        "html_theme": "basic",
        # Pages that the API pages link to are not part of this build.
        "nitpicky": False,
        "suppress_warnings": ["ref.doc"],
    }
    Sphinx(source, ROOT / "docs", site, site / "trees", "html", confoverrides=overrides, status=None).build()
    return {page.name: page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html")}


@pytest.mark.outer
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The mapping interface for autodoc")  # Sphinx's own napoleon
def test_pages_show_arguments_and_defaults(pages: dict[str, str]) -> None:
    shown = {}
    for name, page in pages.items():
        text = text_of(page)
        assert "*_" not in text, name
        assert "**__" not in text, name
        for address, markup in SIGNATURE.findall(page):
            shown[address] = text_of(markup)
    for argument in (
        "feature=None",
        "reset_real_features=True",
        "normalize=False",
        "num_bins=None",
        "reduction='mean'",
    ):
        assert argument in shown["torchmetrics_dna.DNAEMD"]
    for public in PUBLIC:
        in_torchmetrics_dna = public.__name__ in torchmetrics_dna.__all__
        module = "torchmetrics_dna" if in_torchmetrics_dna else "torchmetrics_dna.metrics"
        line = shown[f"{module}.{public.__name__}"]
        for parameter in inspect.signature(public).parameters.values():
            assert parameter.name in line
            if parameter.default is not parameter.empty:
                assert f"{parameter.name}={parameter.default!r}" in line


def documented_classes() -> list[type]:
    """Return the classes that the sources of the API pages name."""
    found = set(PUBLIC)
    for path in (ROOT / "docs" / "api").glob("*.rst"):
        for address in re.findall(r"^\.\. autoclass:: (torchmetrics_dna\.\S+)$", path.read_text("utf-8"), re.MULTILINE):
            module, _, name = address.rpartition(".")
            found.add(getattr(importlib.import_module(module), name))
    return sorted(found, key=lambda each: each.__qualname__)


@pytest.mark.parametrize("public", documented_classes(), ids=lambda each: each.__qualname__)
def test_a_class_has_the_signature_of_its_constructor(public: type) -> None:
    shown = inspect.signature(public)
    assert not {"_", "__"} & shown.parameters.keys()
    if public.__init__ is not object.__init__:
        own = list(inspect.signature(public.__init__).parameters.values())
        assert list(shown.parameters.values()) == own[1:]
