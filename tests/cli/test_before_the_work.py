"""What does not go together is told before the first image is read; all other options go together, also on a page."""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from golden import GOLDEN
from PIL import Image
from small_protocols import make_small

from torchmetrics_dna import DNAExtractor, NeuronWeights, make_dna, rank
from torchmetrics_dna.cli.options import USUAL
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.images import ImageSource, ImageStream

LAYERS = ["block_0"]
# How messages write an argument in Python.
IN_PYTHON = re.compile(rf"Argument `|`[a-z_]+=|`({'|'.join([*USUAL, 'by', 'held_out', 'kind', 'reference'])})`")
COUNT = 12
A = str(GOLDEN / "endtoend" / "a")


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "efficientnet_lite0", replace(PRESETS["efficientnet_lite0"], input_size=(32, 32)))
        patch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
        make_small(patch)
        yield


@pytest.fixture(scope="module")
def files(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of images in folders of two classes and as streams, and DNAs with and without folds."""
    folder = tmp_path_factory.mktemp("files")
    for k, name in enumerate("abc"):
        for i in range(COUNT):
            path = folder / name / ("cat", "dog")[i % 2] / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(COUNT * k + i).integers(0, 200 + 20 * k, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
        with tarfile.open(folder / f"{name}.tgz", "w:gz") as archive:
            archive.add(folder / name, ".")
    Image.effect_noise((16, 16), 50).convert("RGB").save(folder / "one.png")
    for name in ("lone/cat/0.png", "lone/dog/0.png", "lone/dog/1.png", "named/x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "one.png", folder / name)
    for name, settings in {"a": {"num_folds": 20}, "b": {"num_folds": 20}, "plain": {}}.items():
        make_dna(folder / name.replace("plain", "a"), layers=LAYERS, **settings).save(folder / f"{name}.dna.npz")
    (folder / "hist50.json").symlink_to(GOLDEN / "official_files" / "hist50.json")
    (folder / "half").mkdir()  # of a set, and of others
    for number in range(COUNT):
        path = f"{('cat', 'dog')[number % 2]}/{number:02}.png"
        shutil.copy(folder / ("a" if number < COUNT // 2 else "b") / path, folder / "half" / f"{number:02}.png")
    (folder / "empty").mkdir()
    texts = {"wrong.json": "{}", "notes.txt": "hello\n", "labels.csv": "cat/0.png,cat\n", "short.csv": "cat/0.png\n"}
    for name, text in (texts | {"twice.csv": "cat/0.png,cat\n./cat/0.png,dog\n"}).items():
        (folder / name).write_text(text)
    (folder / "damaged.dna.npz").write_bytes((folder / "a.dna.npz").read_bytes()[:-1] + b"x")
    for kind, name in (("gaussian", "bell"), ("layer-gaussian", "bells")):
        make_dna(folder / "a", layers=LAYERS, kind=kind).save(folder / f"{name}.dna.npz")
    np.savez(folder / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))
    rank(folder / "a", folder / "b", layers=LAYERS, nearest=folder / "a").index.save(folder / "a.features.npz")
    own = DNAExtractor(layers=LAYERS)
    mean = torch.full((own.neurons.total,), 1 / own.neurons.total)
    NeuronWeights(mean, own.neurons, own.name, own.weights_digest).save(folder / "w.npz")
    return folder


@pytest.fixture
def read(files: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The images that were read since the start of the test."""
    monkeypatch.chdir(files)
    numbers: list[object] = []
    for kind in (ImageSource, ImageStream):

        def decode(self: Any, item: object, channels: int = 3, _decode: Any = kind.decode) -> object:
            numbers.append(item)
            return _decode(self, item, channels)

        monkeypatch.setattr(kind, "decode", decode)
    return numbers


# Commands that are wrong, and the name or value that the message has.
MISTAKES = [
    # Something is not there.
    ("compare nowhere a", "nowhere"),
    ("compare a nowhere --by folder", "nowhere"),
    ("compare empty a", "empty"),
    ("compare a b --ranges nowhere", "nowhere"),
    ("compare a '*.gif'", "*.gif"),
    ("diff a nowhere", "nowhere"),
    ("monitor a nowhere", "nowhere"),
    ("make nowhere -o y.npz", "nowhere"),
    ("ranges a nowhere -o y.json", "nowhere"),
    ("rank a --reference nowhere", "nowhere"),
    ("info nowhere", "nowhere"),
    ("merge nowhere.npz -o y.npz", "nowhere"),
    ("convert nowhere y.npz", "nowhere"),
    # Nothing can be written there.
    ("make a -o nodir/x.npz", "nodir"),
    ("ranges a -o nodir/x.json", "nodir"),
    ("compare a b -o nodir/x.html", "nodir"),
    ("rank a --reference b --plot nodir/g.png", "nodir"),
    ("make a -o x.txt", "x.txt"),
    ("merge a.dna.npz -o ..", ".npz"),
    ("rank a --reference b --plot g.xyz", "g.xyz"),
    ("compare a b -o x.yaml", "x.yaml"),
    ("compare a b --plot x.html", "x.html"),
    # Files hold something else, or are damaged.
    ("compare a b --ranges wrong.json", "wrong.json"),
    ("info damaged.dna.npz", "damaged"),
    ("compare a notes.txt", "notes.txt"),
    ("compare a a --by labels.csv", "labels.csv"),
    ("compare a a --by short.csv", "short.csv"),
    ("compare a a --by twice.csv", "twice.csv"),
    ("compare one.png b --by folder", "one.png"),
    # Names and values are unknown.
    ("compare a b --layers block_9", "block_9"),
    ("compare a b --feature efficientnet_lite00", "efficientnet_lite00"),
    ("compare a b --metrics emd", "Option --metrics "),
    ("compare a b --feature identity:clip", "rows"),
    ("compare a b --layer x", "--layers"),
    ("comapre a b", "compare"),
    ("compare a", "'B'"),
    ("compare a b --causes=false", "--causes"),
    ("compare a b --num-folds none", "--num-folds"),
    ("compare a b --num-folds 1", "Option --num-folds "),
    ("compare a b --num-bins x", "--num-bins"),
    ("compare a b --num-bins 0", "Option --num-bins "),
    ("compare a b --confidence=high", "--confidence"),
    ("compare a b --confidence 2", "Option --confidence "),
    ("compare a b --batch-size -3", "Option --batch-size "),
    ("compare a b --device cuda:99", "cuda:99"),
    ("compare a b --groups clip", "Option --groups "),
    ("compare a b --by colour", "Option --by "),
    ("compare a b --fail-above nan", "--fail-above"),
    ("compare a b --fail-above -1", "--fail-above"),
    ("compare a b --fail-unless-below 0", "--fail-unless-below"),
    ("make a --fps 0 -o y.npz", "Option --fps "),
    ("make a --column jpg -o y.npz", "Option --column "),
    ("make a -o y.npz --on slurm", "Option --on "),
    ("make a -o y.npz --kind histogram,gauss", "gauss"),
    ("rank a --reference b --score best", "--score"),
    ("demo --num-images 1", "Option --num-images "),
    ("rank a b", "b"),
    ("diff a b c", "c"),
    # Options do not go together, or with what files hold.
    ("compare a b --held-out a", "--held-out"),
    ("compare a b --layers properties --no-properties", "properties"),
    ("compare a b --metrics sfid --feature inception_fid", "sfid"),
    ("compare a b --neuron-weights w.npz", "block_0"),
    ("compare a.dna.npz b --properties", "properties"),
    ("compare a.dna.npz b --fail-if-outliers", "--fail-if-outliers"),
    ("compare bells.dna.npz b --metrics dna-emd", "histogram"),
    ("compare a b c --by folder", "--by"),
    ("compare a b --by folder --plot x.png", "--plot"),
    ("compare a b --by folder --fail-if-outliers", "--fail-if-outliers"),
    ("compare a b --metrics kid --plot x.png", "--plot"),
    ("compare --all a b --held-out c", "--held-out"),
    ("compare --all a b c --fail-above 1", "--fail-above"),
    ("make a -o y.npz --on ray --device cpu", "--device"),
    ("rank a --score local", "--reference"),
    ("rank a --reference b --fail-if-outliers --score distance", "--score"),
    ("rank a --reference b --top 2 --worst 2", "--top"),
    ("rank a --reference b --maps", "--maps"),
    ("rank a --reference b --save-index y.features.npz", "--save-index"),
    ("monitor a.tgz a.dna.npz", "DNA"),
]


@pytest.mark.parametrize(("command", "name"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_reported_before_any_work(
    command: str, name: str, files: Path, read: list[object], cli: Command
) -> None:
    before = set(files.iterdir())
    captured = cli(*shlex.split(command), code=2)
    assert name in captured.err
    assert not IN_PYTHON.search(captured.err)
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert read == []
    assert set(files.iterdir()) == before


@pytest.mark.outer
@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "compare a b --metrics dna-emd,dna-fd --groups prefix:.. --no-causes --plot x.png -o x.html",
        "compare a b c --held-out c --metrics dna-emd --fail-if-different -o x.csv --plot x.png",
        "compare a b --by folder --num-bins 30 --ranges auto -o x.tex",
        "compare a.dna.npz b --neuron-weights w.npz --fail-above 900",
        "compare a b --pairs name --crop center --properties -o x.html",
        "compare --all a b c --metrics dna-fd -o x.csv --plot x.png",
        "rank b --reference a --nearest a --save-index i.features.npz --plot x.png --maps --worst 2 -o x.html",
        "rank b --reference plain.dna.npz --score contrast --contrast b.dna.npz --top 2",
        "monitor a b.tgz --window 2 --learn 3 -o x.csv",
        "make a -o y.dna.npz --kind histogram,gaussian --num-folds 5",
    ],
)
def test_options_go_together(command: str, files: Path, read: list[object], cli: Command) -> None:
    before = set(files.iterdir())
    words = shlex.split(command)
    layers = [] if "w.npz" in words or "plain.dna.npz" in words else ["--layers", "block_0"]
    try:
        main_code = 1 if "--fail-if-different" in words else 0
        cli(*words, *layers, code=main_code)
        assert read
        written = {word for word in words if word.startswith(("x.", "i.f"))}
        assert written <= {path.name for path in files.iterdir()}
    finally:
        for path in set(files.iterdir()) - before:
            path.unlink()


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "images", A, "images"),
        ("compare", "images", "images", "--by", "folder"),
        ("compare", "--all", "images", A),
        ("diff", "images", A),
        ("make", "images", "-o", "y.npz"),
        ("ranges", "images", A, "-o", "y.json"),
        ("rank", "images", "--reference", A),
        ("compare", "images", A, "-o", "y.html"),
    ],
    ids=lambda words: words[0],
)
def test_unreadable_images_stop_what_makes_files_or_are_named_at_the_end(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    Path("images/cat").mkdir(parents=True)
    for name in ("x.png", "y.png"):
        Image.new("RGB", (32, 32), f"#{ord(name[0]):06x}").save(f"images/cat/{name}")
    Path("images/cat/text.png").write_text("no picture")
    options = ("--layers", "block_0", "--num-folds", "0") if command[0] == "compare" else ("--layers", "block_0")
    unreadable = "text.png': it is not an image"
    assert unreadable in cli(*command, *options, "--no-skip-unreadable", code=2).err.splitlines()[-1]
    if command[0] in ("make", "ranges"):
        assert unreadable in cli(*command, *options, code=2).err.splitlines()[-1]
        assert [path.name for path in Path().iterdir()] == ["images"]
        ways: list[tuple[str, ...]] = [("--skip-unreadable",)]
    else:
        ways = [(), ("--skip-unreadable",)]
    for way in ways:
        said = " ".join(cli(*command, *options, *way).err.split())
        assert said.index("1 image was left out:") < said.index(unreadable)
