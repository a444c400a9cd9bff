"""Files, folders, lists and things in memory as image sets, their names, and what is refused."""

from __future__ import annotations

import ntpath
import os
import zipfile
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden import GOLDEN
from hub_server import serving
from PIL import Image

from torchmetrics_dna.comparisons.classes import by_class
from torchmetrics_dna.images import ImageSource, Reading, open_source, paths
from torchmetrics_dna.images.paths import names_below
from torchmetrics_dna.images.sets import ImageStream


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, value, value)).save(path, "PNG")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("img10.PNG", "img2.png", "sub/deep/a.JfiF", "sub/.hidden.png", ".cache/x.png", "notes.md", "b.txt"):
        picture(tmp_path / "tree" / name)
    return tmp_path / "tree"


ORDER = ["img2.png", "img10.PNG", "sub/deep/a.JfiF"]


def test_folders_are_searched_in_natural_order_without_hidden_files(tree: Path) -> None:
    assert open_source(tree).names == [str(tree / name) for name in ORDER]
    assert open_source(str(tree)).label == str(tree)
    picture(tree / "img02.png")  # the same number: whatever order the system lists them in
    assert open_source(tree).names[:2] == [str(tree / "img02.png"), str(tree / "img2.png")]
    assert open_source(picture(tree / "picture"))[0].shape == (3, 4, 3)  # without a known ending, its content counts


def test_each_image_counts_once_whatever_links_to_it(tree: Path, tmp_path: Path) -> None:
    elsewhere = picture(tmp_path / "elsewhere" / "e.png").parent
    (tree / "sub" / "back").symlink_to(tree)
    (tree / "up").symlink_to(tmp_path)
    (tree / "again").symlink_to(tree / "sub")
    (tree / "a.png").symlink_to(tree / "img2.png")
    (elsewhere / "back").symlink_to(tree)
    (tree / "gone.png").symlink_to(tmp_path / "nowhere.png")
    # by their own names where they have one below the folder, and else by way of the first link
    assert open_source(tree).names == [str(tree / name) for name in ("gone.png", *ORDER, "up/elsewhere/e.png")]
    for i in range(3):
        (tmp_path / "links" / f"{i}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "links" / f"{i}.png").symlink_to(tree / ORDER[i % 2])
    assert open_source(tmp_path / "links").names == [str(tmp_path / "links" / name) for name in ("0.png", "1.png")]
    (tmp_path / "shortcut").symlink_to(tree)
    assert open_source(tmp_path / "shortcut").names[1] == str(tmp_path / "shortcut" / ORDER[0])


def test_lists_keep_their_order_and_are_relative_to_themselves(tree: Path) -> None:
    absolute = picture(tree.parent / "elsewhere.png")
    (tree / "list.txt").write_text(f"sub/deep/a.JfiF\n\n  img2.png \n{absolute}\n", encoding="utf-8")
    source = open_source(tree / "list.txt")
    assert [Path(name).name for name in source.names] == ["a.JfiF", "img2.png", "elsewhere.png"]
    assert all(image.shape == (3, 4, 3) for image in source)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "utf-16-le"])
def test_lists_are_in_utf_8_or_begin_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    paths = [picture(tmp_path / name) for name in ("été.png", "2.png")]
    (tmp_path / "list.txt").write_text("été.png\n2.png\n", encoding=encoding)
    if encoding in ("latin-1", "utf-16-le"):
        with pytest.raises(ValueError, match=r"^List '.*list\.txt' is not in UTF-8$"):
            open_source(tmp_path / "list.txt")
    else:
        assert open_source(tmp_path / "list.txt").names == [str(path) for path in paths]


grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
colour = np.stack([grey, grey + 100, grey + 200], axis=2)


@pytest.mark.parametrize(
    ("source", "count", "first"),
    [
        ([colour, colour[:2]], 2, colour),
        (colour, 1, colour),
        (grey, 1, np.repeat(grey[..., None], 3, 2)),
        ([grey[..., None]], 1, np.repeat(grey[..., None], 3, 2)),
        (Image.fromarray(colour), 1, colour),
        ([(colour / 255).astype(np.float32)], 1, (colour / 255).astype(np.float32)),
        (torch.from_numpy(colour / 255).permute(2, 0, 1), 1, (colour / 255).astype(np.float32)),
    ],
)
def test_things_in_memory(source: object, count: int, first: np.ndarray) -> None:
    opened = open_source(source)
    assert len(opened) == count
    np.testing.assert_array_equal(opened[0], first)
    assert opened[0].dtype == first.dtype


def test_settings_have_one_default() -> None:
    of_reading = {each.name: each.default for each in fields(Reading)}
    for kind in (ImageSource, ImageStream):
        shared = {each.name: each.default for each in fields(kind) if each.name in of_reading}
        assert {"exif_orientation", "scale"} <= shared.keys()
        assert shared.items() <= of_reading.items()


def test_exif_orientation_is_ignored_unless_asked_for() -> None:
    path = GOLDEN / "resize_images" / "11_exif_rotated.jpg"
    assert open_source(path)[0].shape == (120, 180, 3)
    assert open_source(path, Reading(exif_orientation=True))[0].shape == (180, 120, 3)


@pytest.mark.parametrize("secret", ["", "sub"])
def test_folders_without_permission_are_named(secret: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:  # root may read all
        if Path(path) == tree / secret:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=f"^Can't read '.*{secret or tree.name}': Permission denied$"):
        open_source(tree)


def test_images_of_a_dataset_of_several_shards_have_names_of_their_own() -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"image": [colour.tolist()] * 5, "number": list(range(5))}
    features = datasets.Features({"image": datasets.Array3D((3, 4, 3), "uint8"), "number": datasets.Value("int64")})
    dataset = datasets.Dataset.from_dict(rows, features=features).to_iterable_dataset(num_shards=2).with_format("numpy")
    names = [entry.name for entry in open_source(dataset, Reading(column="image"))]
    assert names == ["shard 0, image 0", "shard 0, image 1", "shard 0, image 2", "shard 1, image 0", "shard 1, image 1"]


def test_addresses_are_shown_without_credentials_and_signatures(tmp_path: Path) -> None:
    signed = picture(tmp_path / "a.png?X-Signature=SECRET"), tmp_path / "b.zip?X-Signature=SECRET"
    with zipfile.ZipFile(signed[1], "w") as archive:
        archive.write(signed[0], "c.png")
    with serving({"plain": tmp_path}) as (server, _):
        address = f"{server}/plain/"
        for source, names in (
            (f"{address}{signed[0].name}", [f"{address}a.png"]),
            ([f"{address}{signed[0].name}"], [f"{address}a.png"]),
            ([f"{address}a.png?id=1&key=SECRET", f"{address}a.png?id=2"], [f"{address}a.png#0", f"{address}a.png#1"]),
        ):
            opened = open_source(source)
            assert list(opened.names) == names
            assert "SECRET" not in opened.label
        assert open_source(f"{address}{signed[0].name}")[0].shape == (3, 4, 3)
        with pytest.raises(FileNotFoundError, match=f"^There is nothing at '{address}none.tar'$"):
            open_source(f"{address}none.tar?X-Signature=SECRET")
        with pytest.raises(ValueError, match=f"^Can't read image '{address}none.png': There is nothing at"):
            open_source([f"{address}none.png?X-Signature=SECRET"])[0]
    with pytest.raises((OSError, ModuleNotFoundError)) as caught:
        open_source("http://me:SECRET@127.0.0.1:9/x.tar?key=SECRET")
    assert "SECRET" not in str(caught.value)


FILES = ("cat/1.png", "cat/2.png", "dog/1.png")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of two classes, below the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        path = Path("data/real", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(path)
    with zipfile.ZipFile("data/all.zip", "w") as archive:
        for name in FILES:
            archive.write(Path("data/real", name), f"./{name}")
    Path("list.txt").write_text("".join(f"data/real/{name}\n" for name in FILES), encoding="utf-8")
    return tmp_path


SPELLINGS = (
    "data/real",
    "./data/real",
    "data//real/",
    "data/real/../real",
    "data/real/*/*.png",
    "./data//real/{cat,dog}/*.png",
    "list.txt",
    "./list.txt",
    "data/all.zip",
    "./data//all.zip",
    "data/*.zip",
    [f"data/real/{name}" for name in FILES],
    [f"./data//real/{name}" for name in FILES],
)


@pytest.mark.parametrize("source", SPELLINGS, ids=str)
def test_classes_and_names_are_those_below_the_source_however_it_is_spelled(
    source: str | list[str], data: Path
) -> None:
    whole = [str(data / path) for path in source] if isinstance(source, list) else str(data / source)
    for spelled in (source, whole):
        opened = open_source(spelled)
        assert opened.relative_names == list(FILES)
        assert by_class(opened, "folder") == {"cat": [0, 1], "dog": [2]}
        assert opened.take([1]).relative_names == [FILES[1]]


def test_a_folder_of_one_class_and_the_working_directory_are_sources_too(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "data" / "real" / "dog" / "1.png").unlink()
    assert by_class(open_source("./data//real"), "folder") == {"cat": [0, 1]}
    monkeypatch.chdir(data / "data" / "real")
    for source in (".", "./", "*/*.png"):
        assert by_class(open_source(source), "folder") == {"cat": [0, 1]}


def test_a_name_that_is_not_below_its_source_is_an_error() -> None:
    source = ImageSource(["x/a.png", "y/b.png"], str, "x", roots=["./x"])
    with pytest.raises(ValueError, match=r"^'y' is not below 'x', the source of images$"):
        _ = source.relative_names


def test_any_file_system_is_written_listed_and_read_at_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    top, contents = "memory:///photos", {"b/2.png": b"two", "b/10.png": b"ten", "a/1.png": b"one", "b/x.txt": b"text"}
    for name, content in contents.items():
        paths.check_writable(f"{top}/{name}")
        with paths.writing(f"{top}/{name}") as path:
            path.write_bytes(content)
        assert not path.exists()
    for name, content in contents.items():
        assert paths.read_address(f"{top}/{name}", most=1) == content[:2]
    assert paths.expand(f"{top}/b/*.png") == [f"{top}/b/2.png", f"{top}/b/10.png"], "numbers in their order"
    folder, files = paths.files_below(top) or ("", [])
    assert (folder, {*files}) == (top, {f"{top}/{name}" for name in contents})
    assert paths.files_below(f"{top}/b/2.png") is None
    with pytest.raises(FileNotFoundError, match=r"^There are no files 'memory:///photos/c/\*.png'; pass"):
        paths.expand(f"{top}/c/*.png")
    with pytest.raises(OSError, match=r"^Can't write 'https://x/y.npz': a web server only gives files"):
        paths.check_writable("https://x/y.npz")
    buckets = SimpleNamespace(exists=["mine"].__contains__)
    monkeypatch.setattr(
        paths, "file_system_of", lambda address, _: nullcontext((buckets, address.removeprefix("s3://")))
    )
    paths.check_writable("s3://mine/new/x.npz")
    with pytest.raises(FileNotFoundError, match=r"^There is no bucket to write 's3://nobody/x.npz' to, or it does not"):
        paths.check_writable("s3://nobody/x.npz")


def test_a_part_of_names_is_one_of_their_text() -> None:
    names = paths.Names(["a.png", "b.png", "c.png"], "x.tar/", [2, 0, 1])
    assert list(names[1:]) == ["x.tar/a.png", "x.tar/b.png"]
    assert names[1:] == ["x.tar/a.png", "x.tar/b.png"] != names
    assert names != ["x.tar/c.png", "x.tar/a.png", "x.tar/a.png"]
    assert names != 3


def test_paths_of_windows_have_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.images.paths._PATHS", ntpath)
    names = ["data\\real\\cat\\1.png", ".\\data/real\\Dog\\2.png", "DATA\\real\\3.png"]
    expected = ["cat/1.png", "Dog/2.png", "3.png"]
    for root in ("data/real", ".\\data\\\\real", "data\\real\\", "Data\\Real"):
        assert names_below(names, [root]) == expected
    assert names_below([f"C:\\{name}" for name in names[::2]], ()) == ["cat/1.png", "3.png"]
    assert names_below(["C:\\a\\1.png", "D:\\a\\1.png"], ()) == ["C:/a/1.png", "D:/a/1.png"]
    with pytest.raises(ValueError, match="is not below"):
        names_below(names, ["other"])
