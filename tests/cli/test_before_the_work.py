"""What does not go together is told before the first image is read; all other options go together, also on a page."""

from __future__ import annotations

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
from commands import Command, run
from covering import Row, covering
from golden import GOLDEN
from PIL import Image
from small_protocols import make_small

from torchmetrics_dna import DNAExtractor, NeuronWeights, make_dna, rank
from torchmetrics_dna.dna.distances import of_any_network
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.images import ImageSource, ImageStream

LAYERS = ["block_0"]
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


# the options of each command; the first value is the one of a plain call, in capitals are arguments
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "compare": {
        "A": ("a", "a.dna.npz", "plain.dna.npz", "bell.dna.npz", "a.tgz", "one.png"),
        "B": ("b", "b.dna.npz", "c", "a", "b.tgz", "b c", "b a.dna.npz"),
        "--metrics": (None, "dna-fd", "fd", "kid", "mind", "recall", "dna-emd,recall", "dna-emd,fid", "fid"),
        "--by": (None, "folder"),
        "--all": (None, True),
        "--held-out": (None, "c"),
        "--plot": (None, "x.png"),
        "--fail-above": (None, "1"),
        "--fail-unless-below": (None, "9"),
        "--fail-if-different": (None, True),
        "--fail-if-odd": (None, True),
        "-o": (None, "x.html", "x.csv", "x.tex"),
        "--num-folds": (None, "0"),
        "--groups": (None, "prefix:.."),
        "--pairs": (None, "order", "name"),
        "--causes": (None, False),
        "--copies": (None, False),
        "--neuron-weights": (None, "w.npz"),
        "--num-bins": (None, "30"),
        "--ranges": (None, "auto"),
        "--crop": (None, "center"),
        "--properties": (None, True, False),
    },
    "rank": {
        "IMAGES": ("b", "a", "b.tgz", "one.png"),
        "--reference": ("a", "a.tgz", "one.png", "plain.dna.npz", "bells.dna.npz", "bell.dna.npz"),
        "--score": (None, "outlier", "local", "contrast", "distance"),
        "--contrast": (None, "pool", "c", "b.dna.npz", "bells.dna.npz"),
        "--nearest": (None, "a", "b", "a.tgz", "a.features.npz"),
        "--save-index": (None, "i.features.npz"),
        "--top": (None, "2"),
        "--worst": (None, "2"),
        "--plot": (None, "x.png"),
        "--maps": (None, True),
        "-o": (None, "x.csv", "x.tex", "x.html"),
        "--neuron-weights": (None, "w.npz"),
        "--properties": (None, True),
    },
    "monitor": {
        "REFERENCE": ("a", "plain.dna.npz", "bell.dna.npz", "a.tgz", "one.png"),
        "IMAGES": ("b", "b.tgz", "one.png"),
        "--window": ("2", "1", "13"),
        "--learn": (None, "3", "1"),
        "--in-order": (None, True),
        "--plot": (None, "x.png"),
        "--fail-if-changed": (None, True),
        "-o": (None, "x.csv", "x.json", "x.tex", "x.html"),
        "--properties": (None, True),
    },
    "diff": {
        "OLD": ("a", "a.dna.npz", "a.tgz", "one.png"),
        "NEW": ("b", "a", "b.dna.npz", "b.tgz"),
        "--fail-if-changed": (None, True),
        "--num-folds": (None, "0", "3"),
        "-o": (None, "x.csv", "x.html"),
        "--properties": (None, True),
    },
    "make": {
        "IMAGES": ("a", "a.tgz", "a.dna.npz", "one.png"),
        "-o": ("y.npz",),
        "--kind": (None, "gaussian", "layer-gaussian", "histogram,gaussian"),
        "--num-folds": (None, "20", "3"),
        "--groups": (None, "folder", "prefix:x"),
        "--resume": (None, True),
        "--num-bins": (None, "30"),
        "--ranges": (None, "auto"),
        "--crop": (None, "center"),
        "--properties": (None, True),
    },
    "ranges": {
        "IMAGES": ("a", "a b", "a.tgz", "a.dna.npz", "one.png"),
        "-o": ("y.json",),
        "--margin": (None, "scale"),
        "--crop": (None, "center"),
        "--properties": (None, True),
    },
}
DNAS, STREAMS = ("a.dna.npz", "plain.dna.npz", "bell.dna.npz"), ("a.tgz", "b.tgz")
HISTOGRAMS, WITH_DNA = DNAS[:2], ("b.dna.npz", "b a.dna.npz")
NO_RECALL = ("dna-fd", "fd", "kid", "mind", "dna-emd,recall", "dna-emd,fid", "fid")
OF_SETS, PUBLISHED = ("kid", "mind", "recall"), ("dna-emd,fid", "fid")
GATES = ("--fail-above", "--fail-unless-below", "--fail-if-different", "--fail-if-odd")
ALONE = {"--held-out": None, "B": ("b", "c", "a", "b.tgz")}
SEVERAL = "b c"  # of which --all is a matrix
MANY = [{"B": ("b c", "b a.dna.npz")}, {"--held-out": "c"}]
SIDES = [{"A": DNAS}, {"B": WITH_DNA}]
OF_STREAMS, ONE = [{"A": STREAMS}, {"B": STREAMS}], [{"A": "one.png"}]
Rule = dict[str, Any]  # values of options that together are refused; True for any


def each(rules: list[Rule], **others: Any) -> list[Rule]:
    """Rules, each with more options, whose names are without dashes in front."""
    return [
        rule | {f"--{name.replace('_', '-')}" if name != "o" else "-o": value for name, value in others.items()}
        for rule in rules
    ]


# for each command what is said of what does not go together
REFUSED: dict[str, dict[str, list[Rule]]] = {
    "compare": {
        "does not have what": [
            *({"A": HISTOGRAMS, "--metrics": True}, {"B": "b.dna.npz", "--metrics": True}),
            {"B": "b a.dna.npz", "--metrics": NO_RECALL},
            {"A": "bell.dna.npz", "--metrics": ("fd", *OF_SETS, "dna-emd,recall", *PUBLISHED)},
        ],
        "make both of one kind": [{"A": "bell.dna.npz", "B": WITH_DNA}],
        "but the given DNA": [
            *({"A": HISTOGRAMS, name: True} for name in ("--num-bins", "--ranges")),
            *({"B": WITH_DNA, name: True} for name in ("--num-bins", "--ranges")),
        ],
        "crop": each(SIDES, crop="center"),
        "does not fit": each(SIDES, properties=True),
        "for images, but only DNAs": [
            {"A": HISTOGRAMS, "B": "b.dna.npz", "--properties": False},
            {"A": DNAS[:2], "B": "b.dna.npz", "--groups": True},
        ],
        "image": each([{"A": DNAS}, {"B": "b.dna.npz"}, *OF_STREAMS], by=True)
        + each(SIDES + OF_STREAMS + ONE, pairs=True),
        "lies in no folder": each(ONE, by=True),
        "required for both sides": [{"A": "one.png", "--metrics": ("dna-fd", "fd", "kid", "recall", *PUBLISHED)}],
        "--by is for two sets": [rule | {"--by": True} for rule in MANY],
        "no other set beside the held-out": [{"B": "c", "--held-out": "c"}],
        "takes a distance": [
            *(rule | {"--metrics": "recall"} for rule in MANY),
            *({"--metrics": "recall", name: True} for name in GATES[:2]),
        ],
        "--all": [
            {"--all": True, "--held-out": True},  # which is a set more
            *({"--all": True, "B": B, name: True} for B in ("b c", "b a.dna.npz") for name in (*GATES, "--pairs")),
        ],
        "expected to be": [{"--all": True, "B": SEVERAL, "--metrics": PUBLISHED}],
        "takes distances": [{"--all": True, "B": SEVERAL, "--metrics": ("recall", "dna-emd,recall")}],
        "twice": [{"--all": True, "A": "a.dna.npz", "B": "b a.dna.npz"}],
        "for whole sets": [{"--by": True, name: True} for name in ("--plot", "--groups", "--pairs")],
        "but got --by": [{"--by": True, "--fail-if-odd": True}],
        "class by class": [{"--by": True, "--metrics": (*OF_SETS, "dna-emd,recall")}],
        "metrics of one network": [{"--by": True, "--metrics": PUBLISHED}],
        "`groups` needs `num_folds`": [{"--groups": True, "--num-folds": "0"}],
        "`pairs` does not go with": [{"--pairs": True, name: True} for name in ("--groups", "--num-folds")],
        "--held-out is for independent": [{"--pairs": True, "--held-out": "c"}],
        "can't be used here": [
            {"--neuron-weights": True, "--properties": True},
            {"--neuron-weights": True, "--metrics": "dna-emd,fid"},
        ],
        "brings the crop of its publication": [{"--crop": "center", "--metrics": PUBLISHED}],
        "but got fid alone": [
            *({"--metrics": "fid", name: True} for name in ("--neuron-weights", "--num-bins", "--ranges")),
            {"--metrics": "fid", "--properties": (True, False)},
        ],
        "takes an interval": [
            {"--fail-unless-below": True, name: value}
            for name, value in {"--num-folds": "0", "--metrics": ("fd", "mind", "fid"), "A": "one.png"}.items()
        ],
        "takes a test": [
            *(
                {"--fail-if-different": True, name: value}
                for name, value in {
                    "--num-folds": "0",
                    "--metrics": ("mind", "recall"),
                    "A": ("plain.dna.npz", "bell.dna.npz", "one.png"),
                }.items()
            ),
            *({"--fail-if-different": True, "--metrics": ("fd", "fid")} | rule for rule in OF_STREAMS),
        ],
        "--fail-if-odd": [
            *(
                {"--fail-if-odd": True, name: value}
                for name, value in {
                    "--num-folds": "0",
                    "--metrics": ("fd", *OF_SETS, "fid"),
                    "--groups": True,
                    "--pairs": True,
                    "--neuron-weights": True,
                    "A": (*DNAS, *STREAMS, "one.png"),
                    "B": (*WITH_DNA, *STREAMS),
                }.items()
            ),
            {"--fail-if-odd": True, "A": "a", "B": "a"},
        ],
        "--plot draws distances of neurons or layers": [ALONE | {"--plot": True, "--metrics": (*OF_SETS, "fid")}],
    },
    "rank": {
        "expected to be a LayerGaussianDNA": [
            {"--reference": "plain.dna.npz", "--score": "outlier"},
            {"--reference": "bell.dna.npz"},
        ],
        "expected to be a HistogramDNA": [
            {"--reference": "bells.dna.npz", "--score": ("contrast", "distance")},
            {"--reference": "bells.dna.npz", "--neuron-weights": True},
            {"--reference": "bells.dna.npz", "--contrast": True},
            {"--contrast": "bells.dna.npz"},
        ],
        "expected to be images for the score 'local'": [
            {"--reference": ("plain.dna.npz", "bells.dna.npz"), "--score": "local"}
        ],
        "is not for the score": [
            {"--score": ("outlier", "local"), "--neuron-weights": True},
            {"--score": ("outlier", "local", "distance"), "--contrast": True},
        ],
        "More than one image is required": [{"--reference": "one.png", "--score": "outlier"}],
        "A contact sheet takes images by number": [{"IMAGES": "b.tgz", "--plot": True}],
        "--save-index needs --nearest": [{"--save-index": True, "--nearest": None}],
        "--maps needs --plot": [{"--maps": True, "--plot": None}],
        "--top or --worst": [{"--top": True, "--worst": True}],
        "does not fit": [
            {"--reference": ("plain.dna.npz", "bells.dna.npz"), "--properties": True},
            {"--contrast": "b.dna.npz", "--properties": True},
        ],
        "can't be used here": [{"--neuron-weights": True, "--properties": True}],
    },
    "monitor": {
        "Option --window is": [
            {"IMAGES": "b", "--window": "13"},
            {"IMAGES": "one.png", "--window": ("2", "13")},
            {"REFERENCE": "bell.dna.npz", "--window": "1"},
        ],
        "Option --learn expected": [{"--learn": "1"}],
        "line by line": [{"-o": ("x.tex", "x.html")}],
        "does not fit": [{"REFERENCE": DNAS, "--properties": True}],
    },
    "diff": {
        "needs images": [{"OLD": "a.dna.npz"}, {"NEW": "b.dna.npz"}],
        "is a stream": [{"OLD": "a.tgz"}, {"NEW": "b.tgz"}],
        "--num-folds expected": [{"--num-folds": "3"}],
    },
    "make": {
        "needs images": [{"IMAGES": "a.dna.npz"}],
        "--num-folds expected": [{"--num-folds": "3"}],
        "--groups": [{"--groups": True, "--num-folds": None}],
        "matches nothing": [{"--groups": "prefix:x", "--num-folds": "20", "IMAGES": ("a", "one.png")}],
    },
    "ranges": {
        "needs images": [{"IMAGES": "a.dna.npz"}],
    },
}
# what the images themselves decide
BY_IMAGES: dict[str, list[Rule]] = {
    "compare": [
        {"A": "a.tgz", "B": "a", "--fail-unless-below": True},  # whether they share images
        {"--by": True, "--fail-unless-below": True}, {"--by": True, "--fail-if-different": True},  # folds of a class
    ],
    "monitor": [{"IMAGES": "b.tgz", "--window": "13"}],
    "make": [{"--groups": "prefix:x"}],
}  # fmt: skip


# what takes more than options, and rows of three options that were wrong once
MORE = [
    ("compare lone lone --by folder --metrics fd", "fd of class 'cat', but got 1 and 1"),
    ("compare a named --groups prefix:[0-9]", "'x.png', the name without folders; give another"),
    ("compare a b --groups folder --fail-if-different", "takes a test, but there is none of b"),
    ("monitor a b --window 0 -o x.csv", "--window expected"),
    ("rank b --reference stats.npz", "expected to say of how many images it is"),  # before its network is fetched
]
ROWS = [
    ("compare", {"B": "b c", "--metrics": "mind", "--plot": "x.png"}),
    ("compare", {"--metrics": "dna-emd,fid", "-o": "x.html"}),
    ("compare", {"--metrics": "fid", "-o": "x.html"}),
    ("compare", {"B": "b c", "--held-out": "c", "-o": "x.html"}),
]


def holds(rule: Rule, row: Row) -> bool:
    return all(
        row[name] is not None if value is True and row[name] is not True and row[name] is not False
        else row[name] in (value if isinstance(value, tuple) else (value,))
        for name, value in rule.items()
    )  # fmt: skip


def words_of(command: str, row: Row) -> list[str]:
    words = [command]
    for name, value in row.items():
        if name.isupper():
            words += shlex.split(value)
        elif isinstance(value, bool):
            words.append(name if value else f"--no-{name[2:]}")
        elif value is not None:
            words += [name, value]
    return words if "fid" in (row.get("--metrics") or "") else [*words, "--layers", "block_0"]


def plain_row(command: str) -> Row:
    return {name: values[0] for name, values in OPTIONS[command].items()}


def rows_of(command: str) -> list[Row]:
    rules = [rule for rules in REFUSED[command].values() for rule in rules] + BY_IMAGES.get(command, [])
    rows = covering(OPTIONS[command], lambda row: not any(holds(rule, row) for rule in rules), seldom=True)
    return rows + [plain_row(command) | row for of, row in ROWS if of == command]


def clean(files: Path, before: set[Path]) -> list[str]:
    """Remove what a command wrote; return the names."""
    new = [path for path in files.iterdir() if path not in before]
    for path in new:
        path.unlink()
    return [path.name for path in new]


def refused(command: str) -> Iterator[tuple[list[str], str]]:
    """Commands for each value of the rules, with what is said of them."""
    plain = plain_row(command)
    for message, rules in REFUSED[command].items():
        for rule in rules:
            values = [
                [value for value in OPTIONS[command][name] if holds({name: chosen}, {name: value})]
                for name, chosen in rule.items()
            ]
            for i in range(max(map(len, values))):
                chosen = [of_option[min(i, len(of_option) - 1)] for of_option in values]
                yield words_of(command, plain | dict(zip(rule, chosen, strict=True))), message
    for line, message in MORE:
        if line.startswith(command):
            yield [*line.split(), "--layers", "block_0"], message


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=[pytest.mark.outer] * (each == "compare")) for each in OPTIONS]
)
def test_what_does_not_go_together_is_told_before_an_image_is_read(
    command: str,
    files: Path,
    read: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, wrong = set(files.iterdir()), []
    for words, message in refused(command):
        code = run(monkeypatch, *words)
        captured = capsys.readouterr()
        *_, line = captured.err.splitlines() or [""]
        told = message in line and "unexpected" not in line
        if (code, told, len(read), clean(files, before), captured.out) != (2, True, 0, [], ""):
            wrong.append((shlex.join(words), code, len(read), line))
        read.clear()
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.outer
@pytest.mark.parametrize(
    ("command", "row"),
    [
        pytest.param(command, row, id=" ".join(words_of(command, row)))
        for command in OPTIONS
        for row in rows_of(command)
    ],
)
def test_all_else_goes_together(
    command: str,
    row: Row,
    files: Path,
    read: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = set(files.iterdir())
    code = run(monkeypatch, *words_of(command, row))
    written = clean(files, before)
    assert code in (0, 1), capsys.readouterr().err
    wanted = {row.get(name) for name in ("-o", "--plot", "--save-index")} - {None}
    if "," in (row.get("--kind") or ""):
        wanted = {f"y.{kind}.npz" for kind in row["--kind"].split(",")}
    assert wanted <= {*written, "x.png"} if code else wanted <= {*written}  # a stream that changed has no figure


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare a half --fail-unless-below 900 -o x.json --plot x.png", "takes independent sets"),
        ("compare a half --fail-unless-below 900 -o x.html", "takes independent sets"),
        ("monitor a b.tgz --window 13 -o x.csv", "There are fewer than 13 images"),
    ],
)
def test_what_images_decide_is_told_after_the_result_is_written(
    command: str, message: str, files: Path, read: list[object], cli: Command
) -> None:
    """Of :data:`BY_IMAGES`, where all was measured before a gate could be refused."""
    before = set(files.iterdir())
    words = shlex.split(command)
    line = cli(*words, "--layers", "block_0", code=2).err.splitlines()[-1]
    assert message in line
    assert read
    assert {*clean(files, before)} == {word for word in words if word.startswith("x.")}


NO_FOLDER = "There is no folder 'nodir' to write "
NO_SOURCE = "There is no file or folder 'nowhere'"
MISTAKES = [
    # what is not there, of every command that reads
    ("compare nowhere a", NO_SOURCE),
    ("compare a nowhere --by folder", NO_SOURCE),
    ("diff a nowhere", NO_SOURCE),
    ("monitor a nowhere", NO_SOURCE),
    ("make nowhere -o y.npz", NO_SOURCE),
    ("ranges a nowhere -o y.json", NO_SOURCE),
    ("rank a --score local", "Option --reference is missing"),
    ("rank a --fail-if-odd --score distance --reference b", "but got --score distance"),
    ("rank a --reference nowhere", NO_SOURCE),
    ("info nowhere", "There is no DNA file"),
    ("merge nowhere.npz -o y.npz", "There is no DNA file"),
    ("convert nowhere y.npz", "nowhere"),
    ("compare empty a", "There are no images in 'empty'; looked for"),
    ("compare a b --ranges nowhere", "nowhere"),
    # where nothing can be written, of every command that writes
    ("make a -o nodir/x.npz", NO_FOLDER),
    ("ranges a -o nodir/x.json", NO_FOLDER),
    ("compare a b -o nodir/x.html", NO_FOLDER),
    ("rank a --reference b --plot nodir/g.png", NO_FOLDER),
    ("make a -o x.txt", "a file that ends in .npz, but got 'x.txt'"),
    ("merge a.dna.npz -o ..", "a file that ends in .npz, but got '..'"),
    ("ranges a -o y.txt", "Expected the name of a file that ends in .json, but got 'y.txt'"),
    ("rank a --reference b --plot g.xyz", "a file that ends in .png or .pdf or"),
    # files of another kind, or damaged
    ("compare a b --ranges wrong.json", "wrong.json' as activation ranges"),
    ("ranges a hist50.json -o y.json", "hist50.json' as activation ranges"),
    ("info damaged.dna.npz", "its checksum is wrong, so it was damaged or changed"),
    ("compare a a --by labels.csv", "has no class for"),
    ("compare a a --by short.csv", "'short.csv' expected to have an image and its class in each row, but got ['cat/0."),
    ("compare a a --by twice.csv", "'twice.csv' has 'cat/0.png' twice, as 'cat' and as 'dog'; leave one row out"),
    ("compare one.png b --by folder", "lies in no folder of its class"),
    # options, by name
    ("compare a b --layers block_9", "Unknown layer 'block_9'; the layers of efficientnet_lite0 are: block_0"),
    ("compare a b --feature efficientnet_lite00", "did you mean 'efficientnet_lite0'?"),
    ("compare a b --metrics emd", "but got 'emd'; did you mean 'dna-emd'?"),
    ("compare a b --feature inception-v3-compat", "did you mean 'inception_fid'?"),
    ("compare a b --feature identity:clip", "(--feature) takes rows, but 'a' is no file of them; give .npy, .npz, "),
    ("compare a", "Missing argument 'B'"),
    ("compare a b --metric fid", "No such option: --metric"),
    ("comapre a b", "No such command 'comapre'. Did you mean 'compare'?"),
    ("a b", "No such command"),
    ("compare a b --plot x.html", "pages and tables go to -o"),
    ("compare a b --fail-above -1", "expected to be a number of 0 or more, but got -1"),
    ("demo -o x.html", "but got 'x.html'; pages and tables go to -o of compare and rank"),
    ("compare a b --metrics \"['x']\"", "but got 'x'"),
    ("compare a b --held-out a", "is 'a', the reference itself"),
    ("compare a b.png/x", "There is no file or folder 'b.png/x'"),
    ("compare a notes.txt/x", "There is no file or folder 'notes.txt/x'; there is 'notes.txt'"),
    ("compare a b --layers properties --no-properties", "--properties is False, but --layers has 'properties'"),
    ("compare a '*.gif'", "There are no files '*.gif'; give the folder, or '**/' for those in it"),
    ("rank a/cat/00.png a/cat/02.png a/cat/04.png", "for one set of image files quote the pattern, such as 'a/cat/*.p"),
    ("compare photos=a b", "There is no file or folder 'photos=a'; there is 'a'"),
    ("compare a b -o -", "but got '-'; without -o, the result is printed"),
    ("compare a b --ranges official", "There is no file 'official'; expected activation ranges, json with"),
    ("compare a b -o x.png", "'x.png'; figures go to --plot"),
    ("rank a b", "--reference"),
    ("make a b -o y.npz", "merge"),
    ("compare a b --num-folds 1", "or None for no folds, which a command takes as 0, but got 1"),
    ("compare a.dna.np b", "There is no file or folder 'a.dna.np'; there is 'a.dna.npz'"),
    ("compare a notes.txt", "is read as a list of images, a path a line, but there is no file"),
    ("make a --column jpg -o y.npz", "Option --column is 'jpg', but there are no columns in 'a'"),
    ("make a --fps 0 -o y.npz", "Option --fps expected to be above 0, but got 0.0"),
    ("compare a b --num-bins x", "Invalid value for '--num-bins'"),
    ("compare a b --confidence=high", "Invalid value for '--confidence'"),
    ("compare a b --num-bins 0", "Option --num-bins expected to be integer larger than 1, but got 0"),
    (
        "compare --all a b c --metrics fd,fid",
        f"any of {', '.join(of_any_network())}, but got 'fid'; FID is fd of the feature",
    ),
    ("compare a b --metrics sfid --feature inception_fid", "Metric 'sfid' brings its own network"),
    ("compare a b --fail-unless-below 0", "expected to be a number above 0, but got 0"),
    ("compare a b --batch-size -3", "Option --batch-size expected to be an integer of at least 1"),
    ("compare a b --device cuda:99", "There is no device 'cuda:99' here; there is: cpu"),
    ("compare a b --confidence 2", "Option --confidence expected"),
    ("compare a b --groups clip", "Option --groups expected to be 'folder' or 'prefix:REGEX', but got"),
    ("compare a b --by colour", "'folder' or the path of a .csv"),
    ("compare a b --fail-above nan", "Option --fail-above expected to be a number of 0 or more, but got nan"),
    ("compare a b -o x.yaml", "ends in .txt or .json or .csv or .md or .tex or .html or .htm, but got 'x.yaml'"),
    ("make a -o y.npz --on slurm", "Option --on expected to be 'ray' or 'ray://HOST:PORT', perhaps with"),
    ("make a -o y.npz --on ray --device cpu", "Option --device is 'cpu', but workers take the device that --on gives"),
    ("rank a --reference b --score best", "Option --score expected to be outlier, local, contrast or"),
    ("demo --num-images 1", "Option --num-images expected to be an integer larger than 1, but got 1"),
    # what does not fit together
    ("compare a b --neuron-weights w.npz", "differ: ['block_0'] and ['block_0', 'block_1', 'block_2', "),
    ("compare a b --neuron-weights w.npz --layers block_0,block_1", "; they go with --layers block_0"),
    ("compare a.dna.npz b --properties", "(its layers: block_0); leave --properties out, or make it with these"),
    ("compare a.dna.npz b --fail-if-odd", "takes images on both sides, but a.dna.npz is a DNA"),
    ("compare a c b.dna.npz --fail-if-odd --layers block_0", "but b.dna.npz is a DNA"),
    ("compare bells.dna.npz b --metrics dna-emd", "'histogram', or --metrics that it has: dna-fd, fd"),
    ("rank one.png --fail-if-odd", "One image has no others beside it: give more, 15 to judge them, or others as --r"),
    ("monitor a.tgz a.dna.npz", "After a reference, such as a DNA, a monitor needs images, but got a DNA of 12 images"),
    ("compare a b c --by folder", "Option --by is for two sets, but got 3"),
    ("compare a b --by folder --plot x.png", "Option --plot is for whole sets, but got --by"),
    (
        "compare a b --metrics kid --plot x.png",
        "Option --plot draws distances of neurons or layers, such as dna-emd, but got kid alone",
    ),
    ("compare --all a b --held-out c", "Option --held-out is for sets against one reference, but got --all"),
    ("compare --all a b c --fail-above 1", "Option --fail-above is for sets against one reference, but got --all"),
    ("compare a b --by folder --fail-if-odd", "is for independent images of whole sets, but got --by"),
    ("rank a --reference b --top 2 --worst 2", "Expected --top or --worst, but got both"),
    ("rank a --reference b --maps", "Option --maps needs --plot"),
    ("rank a --reference b --save-index y.features.npz", "Option --save-index needs --nearest"),
    (
        "compare a.dna.npz b --feature resnet18.a1_in1k --weights-path nowhere.pth",
        "but the given DNA was made by 'efficientnet_lite0'",
    ),
    (
        "make a -o y.npz --kind histogram,gauss",
        "Option --kind expected to be of histogram, gaussian, layer-gaussian, but",
    ),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_told_before_any_work(
    command: str, message: str, files: Path, read: list[object], cli: Command
) -> None:
    before = set(files.iterdir())
    captured = cli(*shlex.split(command), code=2)
    line = captured.err.splitlines()[-1]
    # Typer prints its own errors below the usage of the command.
    assert line.startswith(("torchmetrics-dna: ", "Error: "))
    assert message in line
    assert (captured.out, read, clean(files, before)) == ("", [], [])


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
