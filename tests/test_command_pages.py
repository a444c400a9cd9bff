"""The pages and the command line agree: what pages type is understood and runs, and each option is on its page."""

from __future__ import annotations

import glob
import itertools
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from commands import run
from pages import PAGES, ROOT
from PIL import Image

from torchmetrics_dna import ActivationRanges, NeuronWeights, compare, load_dna, make_dna, rank
from torchmetrics_dna.cli import app
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.demo import blur, noise, photographs
from torchmetrics_dna.dna.distances import of_any_network
from torchmetrics_dna.dna.vdna import save_vdna
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.functional import select_neurons
from torchmetrics_dna.images.properties import PROPERTIES

# what the site's build puts into the page of the command line
PAGE = runpy.run_path(str(ROOT / "docs" / "command_tables.py"))["as_markdown"]()
# a command of ours, after what starts it and up to where its output goes
COMMAND_LINE = re.compile(r"^(?:.*&& )?(?:torchmetrics-dna|.* -m torchmetrics_dna) ([^>#\n]*)", re.MULTILINE)
TAKES_A_NETWORK = ("fid", "hub:", "hf://", "--feature", "s3://", "--on ")


def commands() -> dict[str, Any]:
    """All commands by name."""
    return dict(typer.main.get_command(app).commands)


COMMANDS = commands()


def options(name: str) -> set[str]:
    texts = (text for parameter in COMMANDS[name].params for text in [*parameter.opts, *parameter.secondary_opts])
    return {text for text in texts if text.startswith("-")}


def named_options() -> dict[str, set[str]]:
    """Return the options in the first column of the page's tables, by the section's command or those in the last."""
    options = {name: set() for name in COMMANDS}
    for section in PAGE.removeprefix("## ").split("\n## "):
        title = section.partition("\n")[0]
        for row in re.findall(r"^\| `-.*", section, re.MULTILINE):
            first, *_, last = row.strip("| ").split(" | ")
            shared = re.search(r"^Shared by (.*);", section, re.MULTILINE)
            only = re.findall(r"`([^`]*)`", last) if last.startswith("only ") else []
            for name in only or (re.findall(r"`([^`]*)`", shared[1]) if shared else [title]):
                options[name] |= {word.rstrip(",") for word in first.strip("`").split() if word.startswith("-")}
    return options


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines(block: str) -> list[list[str]]:
    return [shlex.split(words) for words in COMMAND_LINE.findall(block)]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_every_option_and_the_example_is_understood(name: str) -> None:
    assert named_options()[name] == options(name)
    example = COMMANDS[name].epilog.removeprefix("Example: ")
    assert f"## {name}\n\n{COMMANDS[name].help}\n\n```bash\n{example}\n```" in PAGE
    ((word, *others),) = command_lines(example)
    assert word == name
    COMMANDS[name].make_context(name, others)


def test_the_site_puts_what_is_made_from_code_on_its_pages() -> None:
    pytest.importorskip("ziamath", reason="needs the extra docs")
    add = runpy.run_path(str(ROOT / "docs" / "conf.py"))["_add_tables"]
    for page, parts in {
        "command_line": ["\n\n## compare\n"],
        "concepts": [f"\n| {name} | " for name in of_any_network()],
        "extractors": [f"\n| {name} | " for name in PROPERTIES],
    }.items():
        source = [(ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")]
        add(None, page, source)
        assert all(part in source[0] for part in parts), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_pages_type_is_understood(page: Path) -> None:
    for line in [line for block in blocks(page) for line in command_lines(block)]:
        name = next((name for name in COMMANDS if line[: len(name.split())] == name.split()), None)
        assert name, f"no command {line}"
        COMMANDS[name].make_context(name, line[len(name.split()) :])


def test_what_is_mistyped_is_not_understood() -> None:
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["info"].make_context("info", ["x.dna.npz", "--jsn"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, of_any_value: None) -> Path:
    """Make the files that the pages' commands name."""
    folder = tmp_path_factory.mktemp("pages")
    photos = photographs(6)
    blurred = [blur(photo, 3) for photo in photos]
    for name in ("photos", "generated", "lists", "shards", "official"):
        (folder / name).mkdir()
    for i, (photo, other) in enumerate(zip(photos, blurred, strict=True)):
        Image.fromarray(photo).save(folder / "photos" / f"{i}.png")
        Image.fromarray(other).save(folder / "generated" / f"{i}.png")
    for clip in range(2):
        (folder / "clips" / f"{clip}").mkdir(parents=True)
        Image.fromarray(photos[clip]).save(folder / "clips" / f"{clip}" / "frame.png")
    for step in (1000, 2000):
        shutil.copytree(folder / "generated", folder / "checkpoints" / f"step_{step}")
    like = {
        "photos": ("real", "validation", "album", "before"),
        "generated": ("compressed", "after", "old_model", "new_model"),
        "clips": ("real_episodes", "simulated_episodes"),
    }
    for source, names in like.items():
        for name in names:
            shutil.copytree(folder / source, folder / name)
    for step in (800, 3200, 12_800):
        shutil.copytree(folder / "generated", folder / f"step_{step}")
    Image.fromarray(photos[0]).save(folder / "query.jpg")
    (folder / "lists" / "0.txt").write_text("".join(f"../photos/{i}.png\n" for i in range(4, 6)))
    subprocess.run([sys.executable, "-m", "zipfile", "-c", "generated.zip", "generated/"], cwd=folder, check=True)
    clean, noisy, soft = make_dna(photos), make_dna([noise(photo, 3) for photo in photos]), make_dna(blurred)
    chosen = select_neurons(clean.distances(soft), k=16)
    weights = NeuronWeights.of_neurons(chosen, clean.neurons, clean.extractor, clean.weights_digest, name="blur")
    weights.save(folder / "blur.weights.npz")
    for name, dna in {
        "photos": clean,
        "clean": clean,
        "blurred": soft,
        "noisy": noisy,
        "pool": noisy,
        "shards/a": make_dna(photos[:4]),
    }.items():
        dna.save(folder / f"{name}.dna.npz")
    save_vdna(clean, folder / "official" / "mugs_photos")
    ActivationRanges.load(PRESETS["efficientnet_lite0"].ranges).save(folder / "activation_ranges.json")
    return folder


def runnable(page: Path) -> list[str]:
    """Blocks of nothing but commands of ours that ask no network."""
    return [
        block
        for block in blocks(page)
        if not any(word in block for word in TAKES_A_NETWORK)
        and all(line.startswith(("torchmetrics-dna ", "#")) for line in block.splitlines())
    ]


@pytest.mark.outer
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if runnable(page) and page.parent.name != "experiments"],
    ids=lambda page: page.name,
)
def test_what_pages_type_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    for line in [line for block in runnable(page) for line in command_lines(block)]:
        words = [os.path.expandvars(word) for word in line]
        files = [sorted(glob.glob(word)) if "*" in word else [word] for word in words]  # noqa: PTH207
        assert run(monkeypatch, *itertools.chain(*files)) == 0, line
    assert load_dna("photos.dna.npz").num_images == 6


@pytest.mark.slow
@pytest.mark.usefixtures("few_relabelings")
def test_json_has_the_keys_of_its_page() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    network = {"layers": ["block_0"]}
    results = {
        "`compare a/ b/`": compare(images, images // 2, causes=False, **network),
        "`compare a/ b/ c/`": compare(images, {"b": images // 2, "c": images // 3}, causes=False, **network),
        "`compare --all`": matrix({"a": images, "b": images // 2, "c": images // 3}, **network),
        "`rank`": rank(images // 2, images, **network),
    }
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(
            r"^\| (`(?:compare|rank)[^|]*`) \| (.*) \|$", text.partition("json of")[2].partition("\n\n")[0], re.M
        )
    )
    assert rows.keys() == results.keys()
    for command, cell in rows.items():
        values = results[command].to_dict()
        for key, each in re.findall(
            r"`(\w+)`(?: \((?:each )?with ([^)]*)\))?",
            re.sub(r"(?<=with )`[^)]*", lambda m: m[0].replace("`", "'"), cell),
        ):
            assert key in values
            if each:
                of_each = values[key][0] if isinstance(values[key], list) else values[key]
                assert set(re.findall(r"'(\w+)'", each)) <= of_each.keys()
