"""Names below a source do not depend on how its path is spelled."""

from __future__ import annotations

import ntpath
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from torchmetrics_dna.comparisons.class_comparisons import by_class
from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.images.paths import names_below

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


def test_paths_of_windows_have_the_same_names() -> None:
    names = ["data\\real\\cat\\1.png", ".\\data/real\\Dog\\2.png", "DATA\\real\\3.png"]
    expected = ["cat/1.png", "Dog/2.png", "3.png"]
    for root in ("data/real", ".\\data\\\\real", "data\\real\\", "Data\\Real"):
        assert names_below(names, [root], ntpath) == expected
    assert names_below([f"C:\\{name}" for name in names[::2]], (), ntpath) == ["cat/1.png", "3.png"]
    assert names_below(["C:\\a\\1.png", "D:\\a\\1.png"], (), ntpath) == ["C:/a/1.png", "D:/a/1.png"]
    with pytest.raises(ValueError, match="is not below"):
        names_below(names, ["other"], ntpath)
