"""What the index shows of the package, and the addresses that lead from it: as it is built, with and without them."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from email import message_from_string
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from markdown_it import MarkdownIt
from pages import ROOT, Page

import torchmetrics_dna

SOURCE, SITE = "https://forge.invalid/someone/torchmetrics-dna", "https://site.invalid/torchmetrics-dna/"
ADDRESSES = {
    "none": {},
    "repository": {"Source": SOURCE},
    "site": {"Documentation": SITE},
    "both": {"Source": SOURCE + "/", "Documentation": SITE},
}
FILES = ["pyproject.toml", "README.md", "LICENSE", "docs/readme_at_index.py", "torchmetrics_dna/version.py"]
VERSION = torchmetrics_dna.__version__


def built(folder: Path, urls: dict[str, str]) -> Message:
    """The metadata of a wheel that is built with these addresses."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    settings = folder / "pyproject.toml"
    text, table = settings.read_text(encoding="utf-8"), "[project.urls]\n"
    assert text.count(table) == 1
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    head, _, tail = text.partition(table)
    own, _, rest = tail.partition("\n\n")
    own = "\n".join(line for line in own.splitlines() if line.split(" = ")[0] not in ("Source", "Documentation"))
    settings.write_text(f"{head}{table}{lines}{own}\n\n{rest}", encoding="utf-8")
    code = "from hatchling.build import build_wheel; print(build_wheel('dist'))"
    (folder / "dist").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with ZipFile(folder / "dist" / done.stdout.split()[-1]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        return message_from_string(wheel.read(name).decode())


def rendered(markdown: str) -> Page:
    return Page(MarkdownIt("commonmark").enable("table").render(markdown))


def words(page: Page) -> list[str]:
    return page.text.split()


@pytest.mark.slow
@pytest.mark.parametrize("given", ADDRESSES)
def test_the_page_at_the_index_has_no_relative_link(given: str, tmp_path: Path) -> None:
    metadata = built(tmp_path, ADDRESSES[given])
    assert metadata["Description-Content-Type"] == "text/markdown"
    written = (ROOT / "README.md").read_text(encoding="utf-8")
    expected_text = written
    for region, is_kept in {"links": bool(ADDRESSES[given]), "picture": "Source" in ADDRESSES[given]}.items():
        assert written.count(f"<!-- {region} -->") == written.count(f"<!-- end of {region} -->") > 0
        if not is_kept:
            expected_text = re.sub(f"<!-- {region} -->.*?<!-- end of {region} -->", "", expected_text, flags=re.DOTALL)
    page, readme = rendered(str(metadata.get_payload())), rendered(expected_text)
    assert words(page) == words(readme)
    links, all_links = ([str(link["href"]) for link in each.all("a")] for each in (page, readme))
    pictures, all_pictures = ([str(image["src"]) for image in each.all("img")] for each in (page, readme))
    assert not any("align" in image for image in page.all("img"))
    assert [target for target in links + pictures if not target.startswith("https://")] == []
    has_source, has_site = ("Source" in ADDRESSES[given]), ("Documentation" in ADDRESSES[given])
    assert len(pictures) == (len(all_pictures) if has_source else 0)
    expected = []
    for target in all_links:
        path, hash_, heading = target.partition("#")
        if "://" in target:
            expected.append(target)
        elif has_site and path.endswith(".md"):
            expected.append(SITE + path.removeprefix("docs/").removesuffix(".md") + ".html" + hash_ + heading)
        elif has_source:
            expected.append(f"{SOURCE}/blob/v{VERSION}/{target}")
    assert links == expected
    assert len(all_links) > (20 if ADDRESSES[given] else 10)
    for target in pictures:
        assert (ROOT / target.removeprefix(f"{SOURCE}/raw/v{VERSION}/")).exists()


def test_no_address_is_written_elsewhere() -> None:
    """Those of the repository and the site come from pyproject.toml; badges need one."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.get("repository-code") == urls.get("Source")
    assert citation.get("url") == urls.get("Documentation")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if "Source" not in urls:
        assert not re.search(r"badge|shields\.io", readme)


@pytest.mark.slow
def test_the_site_lists_its_pages_for_programs(tmp_path: Path) -> None:
    """By the order of the menu, with the first sentence of each, under the site's address if it has one."""
    pytest.importorskip("ziamath", reason="needs the extra docs")
    from sphinx.application import Sphinx

    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    pages = {
        "index": "# Site\n\n```{toctree}\n:caption: Do\n\nb\na\n```\n",
        "a": "# Of A\n\nFind *a\nfew*. And more.\n",
        "b": "# Of B\n\nOn `2.5` things:\n\n- one\n",
        "conf": "extensions = ['myst_parser']\n",
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.{'py' if name == 'conf' else 'md'}").write_text(text, encoding="utf-8")
    app = Sphinx(tmp_path, tmp_path, tmp_path / "site", tmp_path / "trees", "html", status=None)
    app.connect("build-finished", conf["_write_for_agents"])
    app.build()
    written = (tmp_path / "site" / "llms.txt").read_text(encoding="utf-8")
    about, _, menu = written.partition("\n## Do\n\n")
    site = conf["html_baseurl"]
    assert menu == f"- [Of B]({site}b.html): On 2.5 things\n- [Of A]({site}a.html): Find a few.\n"
    assert about.startswith(f"# torchmetrics_dna {conf['release']}\n\n> ")
    anchor = re.search(r"\]\(\S*command_line\.html#([\w-]+)\)", about)
    assert anchor
    heading = anchor[1].replace("-", " ").capitalize()
    assert f"\n## {heading}\n" in (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
