"""Mistakes of a command: one line, exit code 2, before any work, and nothing is written."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from commands import Command
from golden import GOLDEN
from PIL import Image

from torchmetrics_dna import make_dna
from torchmetrics_dna.dna.distances import of_any_network
from torchmetrics_dna.extractors import DNAExtractor

A, B = str(GOLDEN / "endtoend" / "a"), str(GOLDEN / "endtoend" / "b")
NO_FOLDER = "There is no folder 'nodir' to write "
NO_SOURCE = "There is no file or folder 'nowhere'"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files that the commands name, beside the images."""
    folder = tmp_path_factory.mktemp("files")
    links = {"a": A, "b": B, "official.json": GOLDEN / "endtoend" / "activation_ranges.json"}
    for name, path in (links | {"hist50.json": GOLDEN / "official_files" / "hist50.json"}).items():
        (folder / name).symlink_to(path)
    (folder / "empty").mkdir()
    (folder / "classes" / "cat").mkdir(parents=True)
    shutil.copy(min(Path(A).iterdir()), folder / "classes" / "cat")
    (folder / "wrong.json").write_text("{}")
    (folder / "notes.txt").write_text("hello\n")
    (folder / "labels.csv").write_text("cat/0.png,cat\n")
    extractor = DNAExtractor(layers=["block_0", "block_6"])
    make_dna(A, extractor).save(folder / "x.dna.npz")
    make_dna(A, extractor, kind="gaussian").save(folder / "bell.dna.npz")
    content = (folder / "x.dna.npz").read_bytes()
    (folder / "damaged.dna.npz").write_bytes(content[:-1] + b"x")
    return folder


MISTAKES = [
    # what is not there, of every command that reads
    ("compare nowhere a", NO_SOURCE),
    ("compare a nowhere --by folder", NO_SOURCE),
    ("diff a nowhere", NO_SOURCE),
    ("monitor a nowhere", NO_SOURCE),
    ("make nowhere -o y.npz", NO_SOURCE),
    ("ranges a nowhere -o y.json", NO_SOURCE),
    ("rank a", "Option --reference is missing; give the images, or the DNA file, that IMAGES should be like"),
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
    ("merge x.dna.npz -o ..", "a file that ends in .npz, but got '..'"),
    ("ranges a -o y.txt", "Expected the name of a file that ends in .json, but got 'y.txt'"),
    ("rank a --reference b --plot g.xyz", "a file that ends in .png or .pdf or"),
    # files of another kind, or damaged
    ("compare a b --ranges wrong.json", "wrong.json' as activation ranges"),
    ("ranges a hist50.json -o y.json", "hist50.json' as activation ranges"),
    ("info damaged.dna.npz", "its checksum is wrong, so it was damaged or changed"),
    ("compare a a --by labels.csv", "has no class for"),
    ("compare a a --by folder", "lies in no folder of its class"),
    # options, by name
    ("compare a b --layers block_9", "Unknown layer 'block_9'; the layers of efficientnet_lite0 are: block_0"),
    ("compare a b --feature efficientnet_lite00", "did you mean 'efficientnet_lite0'?"),
    ("compare a b --metrics emd", "but got 'emd'; did you mean 'dna-emd'?"),
    ("compare a b --layer x", "No such option: --layer (Possible options: --layers); torchmetrics-dna"),
    ("compare a", "Missing argument 'B'; torchmetrics-dna compare --help says more"),
    ("comapre a b", "No such command 'comapre'. Did you mean 'compare'?; torchmetrics-dna --help says more"),
    ("a b", "No such command"),
    ("empty a", "to compare sets of images: torchmetrics-dna compare empty "),
    ("compare x.dna.np a", "There is no file or folder 'x.dna.np'; there is 'x.dna.npz'"),
    ("compare a notes.txt", "is read as a list of images, a path a line, but there is no file"),
    ("make a --column jpg -o y.npz", "Option --column is 'jpg', but there are no columns in 'a'"),
    ("make a --fps 0 -o y.npz", "Option --fps expected to be above 0, but got 0.0"),
    ("compare a b --num-bins 0", "Option --num-bins expected to be integer larger than 1, but got 0"),
    (
        "compare --all a b --metrics fd,fid",
        f"of {', '.join(of_any_network())}, but got 'fid'; FID is fd of the feature inception_fid",
    ),
    ("compare a b --metrics sfid --feature inception_fid", "Metric 'sfid' brings its own network"),
    ("compare a b --fail-unless-below 0", "expected to be a number above 0, but got 0"),
    ("compare a b --batch-size -3", "Option --batch-size expected to be an integer of at least 1"),
    ("compare a b --device cuda:99", "There is no device 'cuda:99' here; there is: cpu"),
    ("compare a b --confidence 2", "Option --confidence expected"),
    ("compare a b --num-folds 3", "Option --num-folds expected to be an integer of at least 5, but got 3"),
    ("compare a b --groups clip", "Option --groups expected to be 'folder' or 'prefix:REGEX', but got"),
    ("compare a b --pairs name", "for no image of"),
    ("compare a b --pairs order", "leave out those without a partner"),
    ("compare a b --by colour", "'folder', the path of a .csv"),
    ("compare a b --fail-above nan", "Option --fail-above expected to be a number, but got nan"),
    ("compare a b -o x.yaml", "ends in .txt or .json or .csv or .md or .tex or .html or .htm, but got 'x.yaml'"),
    ("make a -o y.npz --on slurm", "Option --on expected to be 'ray' or 'ray://HOST:PORT', perhaps with"),
    ("make a -o y.npz --on ray --device cpu", "Option --device is 'cpu', but workers take the device that --on gives"),
    ("rank a --reference b --score best", "Option --score expected to be outlier, local, contrast or"),
    ("rank a --reference b --save-index i.safetensors", "Option --save-index goes with --nearest"),
    ("demo --num-images 1", "Option --num-images expected to be an integer larger than 1, but got 1"),
    # what does not fit together
    (
        "compare x.dna.npz b --feature resnet18.a1_in1k --weights-path nowhere.pth",
        "but the given DNA was made by 'efficientnet_lite0'",
    ),
    ("merge x.dna.npz bell.dna.npz -o y.npz", "gaussian"),
    ("ranges a official.json -o y.json", "Can't unite ranges with margin 'widen' and margin 'scale'"),
    ("demo -o nodir/x.png", NO_FOLDER),
    (
        "make a -o y.npz --kind histogram,gauss",
        "Option --kind expected to be of histogram, gaussian, layer-gaussian, but",
    ),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_told_before_any_work(
    command: str, message: str, files: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.chdir(files)
    before = sorted(Path().iterdir())
    monkeypatch.setattr("torchmetrics_dna.extractors.base.DNAExtractor.forward", pytest.fail)
    captured = cli(*shlex.split(command), code=2)
    assert captured.out == ""
    line = captured.err.splitlines()[-1]
    assert line.startswith("torchmetrics-dna: ")
    assert "Input should be" not in line  # as libraries say it
    assert "Value error" not in line
    assert message in line
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "images", B, "images"),
        ("compare", "images", "images", "--by", "folder"),
        ("compare", "--all", "images", B),
        ("diff", "images", B),
        ("make", "images", "-o", "y.npz"),
        ("ranges", "images", B, "-o", "y.json"),
        ("rank", "images", "--reference", B),
        ("compare", "images", B, "-o", "y.html"),
    ],
    ids=lambda words: words[0],
)
def test_unreadable_images_stop_it_or_are_named_at_the_end(
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
    assert unreadable in cli(*command, *options, code=2).err.splitlines()[-1]
    assert [path.name for path in Path().iterdir()] == ["images"]
    said = " ".join(cli(*command, *options, "--skip-unreadable").err.split())
    assert said.index("1 image was left out:") < said.index(unreadable)
