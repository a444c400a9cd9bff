from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from torchmetrics_dna.images import open_source


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, value, value)).save(path, "PNG")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("img10.PNG", "img2.png", "sub/deep/a.JpEg", "sub/.hidden.png", ".cache/x.png", "notes.md", "b.txt"):
        picture(tmp_path / "tree" / name)
    return tmp_path / "tree"


ORDER = ["img2.png", "img10.PNG", "sub/deep/a.JpEg"]


def test_folders_are_searched_in_natural_order_without_hidden_files(tree: Path) -> None:
    assert open_source(tree).names == [str(tree / name) for name in ORDER]
    assert open_source(str(tree)).label == str(tree)


def test_a_link_back_does_not_make_a_search_endless(tree: Path) -> None:
    (tree / "sub" / "back").symlink_to(tree)
    names = open_source(tree).names
    assert {str(tree / name) for name in ORDER} <= set(names)
    assert len(names) < 10


def test_zips_are_searched_like_folders(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in [*tree.rglob("*"), picture(tmp_path / "__MACOSX" / "y.png")]:
            archive.write(path, path.relative_to(tree if path.is_relative_to(tree) else tmp_path))
    source = open_source(tmp_path / "all.zip")
    assert source.names == [f"{tmp_path / 'all.zip'}/{name}" for name in ORDER]
    assert source[2].shape == (3, 4, 3)


def test_lists_keep_their_order_and_are_relative_to_themselves(tree: Path) -> None:
    absolute = picture(tree.parent / "elsewhere.png")
    (tree / "list.txt").write_text(f"sub/deep/a.JpEg\n\n  img2.png \n{absolute}\n", encoding="utf-8")
    source = open_source(tree / "list.txt")
    assert [Path(name).name for name in source.names] == ["a.JpEg", "img2.png", "elsewhere.png"]
    assert all(image.shape == (3, 4, 3) for image in source)


class Labelled(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index >= 2:
            raise IndexError
        return Image.new("RGB", (4, 3), (index, index, index)), 7


grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
colour = np.stack([grey, grey + 100, grey + 200], axis=2)


@pytest.mark.parametrize(
    ("source", "count", "first"),
    [
        ([colour, colour[:2]], 2, colour),
        (np.stack([colour, colour]), 2, colour),
        (colour, 1, colour),
        (grey, 1, np.repeat(grey[..., None], 3, 2)),
        ([grey[..., None]], 1, np.repeat(grey[..., None], 3, 2)),
        ([np.concatenate([colour, grey[..., None]], 2)], 1, colour),
        ([Image.fromarray(colour)], 1, colour),
        (Image.fromarray(colour), 1, colour),
        (torch.from_numpy(colour).permute(2, 0, 1), 1, colour),
        (torch.from_numpy(colour).permute(2, 0, 1)[None].repeat(5, 1, 1, 1), 5, colour),
        (TensorDataset(torch.from_numpy(colour).permute(2, 0, 1)[None], torch.tensor([1])), 1, colour),
        (Labelled(), 2, np.zeros((3, 4, 3), np.uint8)),
        ([(colour / 255).astype(np.float32)], 1, (colour / 255).astype(np.float32)),
        (torch.from_numpy(colour / 255).permute(2, 0, 1), 1, (colour / 255).astype(np.float32)),
    ],
)
def test_things_in_memory(source: object, count: int, first: np.ndarray) -> None:
    opened = open_source(source)
    assert len(opened) == count
    np.testing.assert_array_equal(opened[0], first)
    assert opened[0].dtype == first.dtype


def test_16_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    deep = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    image = open_source(tmp_path / "deep.png")[0]
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.repeat(deep[..., None] / 65535, 3, 2), atol=1e-7)


def test_exif_orientation_is_ignored_unless_asked_for() -> None:
    path = GOLDEN / "resize_images" / "11_exif_rotated.jpg"
    assert open_source(path)[0].shape == (120, 180, 3)
    assert open_source(path, exif_orientation=True)[0].shape == (180, 120, 3)


def test_unreadable_images_are_named(tmp_path: Path, photo_folder: Path) -> None:
    (photo_folder / "text.png").write_text("I am no picture")
    whole = (photo_folder / "photo0.png").read_bytes()
    (photo_folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (photo_folder / "empty.jpg").write_bytes(b"")
    source = open_source(photo_folder)
    for name, reason in (("text.png", "it is not an image file"), ("half.png", ""), ("empty.jpg", "")):
        index = source.names.index(str(photo_folder / name))
        with pytest.raises(ValueError, match=rf"Can't read image '.*{name}': {reason}"):
            source[index]
    (tmp_path / "list.txt").write_text("gone.png")
    with pytest.raises(ValueError, match=r"Can't read image '.*gone.png': .*No such file"):
        open_source(tmp_path / "list.txt")[0]


def test_sources_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"There are no images in '.*empty'; looked for .*\.png"):
        open_source(tmp_path / "empty")
    with pytest.raises(ValueError, match="There are no images in 'list of images'"):
        open_source([])
    with pytest.raises(FileNotFoundError, match="There is no file or folder 'nowhere'"):
        open_source("nowhere")
    (tmp_path / "bad.zip").write_text("no archive")
    with pytest.raises(ValueError, match="is not a readable zip archive"):
        open_source(tmp_path / "bad.zip")
    with pytest.raises(TypeError, match="but got generator"):
        open_source(x for x in ())


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (np.zeros((3, 4, 2), np.uint8), ValueError, r"1, 3 or 4 channels, but got shape \(3, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "but got shape"),
        (np.full((3, 4, 3), 200.0), ValueError, r"must lie in \[0, 1\], but got 200 to 200"),
        (np.full((3, 4, 3), np.nan), ValueError, "but got nan to nan"),
        (np.zeros((3, 4, 3), np.int32), ValueError, "but got int32"),
        ({"image": 1}, TypeError, "but got dict"),
    ],
)
def test_things_that_are_no_pictures(item: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_source([item])[0]
