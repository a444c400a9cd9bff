"""Archives of all kinds count what a folder of the same files counts, or say why not."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import kinds
import numpy as np
import pytest
from kinds import FILES, PIXELS

from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.images.pixels import to_rgb

PNG = list(FILES.values())
# name: content, or what a link leads to
TREE = {"b/img10.png": PNG[0], "img2.png": PNG[1], "../up.png": PNG[2], "blob": PNG[3], "x.json": b"{}"}
HARD = {"img3.png": "b/img10.png", "b/img11.png": "img2.png"}
SOFT = {"img1.png": "img2.png", "b/link.png": "../blob", "z.png": "blob", "around.png": "img1.png", "c": "img2.png"}


def as_tar(path: Path, suffix: str, soft: dict[str, str] = SOFT) -> str:
    with tarfile.open(path / f"x{suffix}", "w:gz" if suffix.endswith("gz") else "w") as archive:
        for name, content in TREE.items():
            kinds.add(archive, name, content)
        for links, kind in ((HARD, tarfile.LNKTYPE), (soft, tarfile.SYMTYPE)):
            for name, target in links.items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                archive.addfile(info)
    return str(path / f"x{suffix}")


def as_zip(path: Path, suffix: str, soft: dict[str, str] = SOFT) -> str:
    with zipfile.ZipFile(path / "x.zip", "w") as archive:
        for name, content in {**TREE, **{name: TREE[target] for name, target in HARD.items()}}.items():
            archive.writestr(name, content)
        for name, target in soft.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return str(path / "x.zip")


def as_folder(path: Path) -> Path:
    inner = path / "images" / "inner"
    for name, content in TREE.items():
        (inner / name).parent.mkdir(parents=True, exist_ok=True)
        (inner / name).write_bytes(content)
    for name, target in HARD.items():
        (inner / name).hardlink_to(inner / target)
    for name, target in SOFT.items():
        (inner / name).symlink_to(target)
    return inner.parent


def read(path: object) -> dict[str, bytes]:
    """Return the pixels of each image by name."""
    source = open_source(path)
    if isinstance(source, ImageSource):
        return {name: source[i].tobytes() for i, name in enumerate(source.names)}
    pairs = [(entry.name, to_rgb(image_or_raise(entry.image)).tobytes()) for entry in source]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def image_or_raise(image: object) -> object:
    if isinstance(image, Exception):
        raise image
    return image


@pytest.mark.parametrize(("make", "suffix"), [(as_tar, ".tar"), (as_tar, ".tar.gz"), (as_zip, ".zip")])
def test_links_and_others_count_as_in_a_folder(make, suffix: str, tmp_path: Path) -> None:
    folder, path = as_folder(tmp_path), make(tmp_path, suffix)
    expected = read(folder)
    assert len(expected) == 6
    images = read(path)
    assert {str((folder / "inner" / name.removeprefix(f"{path}/")).resolve()) for name in images} == {
        str(Path(name).resolve()) for name in expected
    }
    assert sorted(images.values()) == sorted(expected.values())
    assert {name.removeprefix(f"{path}/") for name in images} == {*list(TREE)[:3], *HARD, "b/link.png"}


@pytest.mark.parametrize(("make", "suffix"), [(as_tar, ".tar"), (as_tar, ".tar.gz"), (as_zip, ".zip")])
def test_links_that_lead_out_of_an_archive_are_told(make, suffix: str, tmp_path: Path) -> None:
    path = make(tmp_path, suffix, {"gone.png": "/etc/passwd"})
    message = "it is a link to '/etc/passwd', which is not in the archive; pack the files that links lead to"
    source = open_source(path)
    if isinstance(source, ImageSource):
        with pytest.raises(ValueError, match=f"^Can't read image '{path}/gone.png': {message}$"):
            source[source.names.index(f"{path}/gone.png")]
    else:
        assert [(e.name, str(e.image)) for e in source if isinstance(e.image, Exception)] == [
            (f"{path}/gone.png", message)
        ]


def error_of(path: object) -> str:
    """Open and read a file; return the message of its error, or "nothing"."""
    try:
        read(path)
    except ValueError as err:
        return str(err)
    return "nothing"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_a_name_that_comes_twice_is_told(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("a.png", "./a.png"):
                archive.writestr(name, PNG[0])
    else:
        with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as archive:
            for name in ("a.png", "./a.png"):
                kinds.add(archive, name, PNG[0])
    assert "it has 'a.png' twice; pack it anew, each file once" in error_of(path)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_sparse_files_are_read_with_their_holes(suffix: str, tmp_path: Path) -> None:
    content = PNG[0] + bytes(5000) + b"end"  # which PNG ignores
    stretches = [(0, len(PNG[0])), (len(content) - 3, 3)]
    text = "".join(f"{number}\n" for number in (len(stretches), *sum(stretches, ())))
    stored = text.encode().ljust(512, b"\0") + PNG[0] + b"end"
    with tarfile.open(tmp_path / f"x{suffix}", "w:gz" if suffix.endswith("gz") else "w") as archive:
        for name, headers in (("a.png", {}), ("sparse.png", {"major": "1", "minor": "0", "realsize": len(content)})):
            info = tarfile.TarInfo(name)
            info.pax_headers = {f"GNU.sparse.{key}": str(value) for key, value in headers.items()}
            info.size = len(stored if headers else PNG[1])
            archive.addfile(info, io.BytesIO(stored if headers else PNG[1]))
        kinds.add(archive, "z.png", PNG[2])
    images = list(read(tmp_path / f"x{suffix}").values())
    assert images == [PIXELS[i].tobytes() for i in (1, 0, 2)]
    source = open_source(tmp_path / f"x{suffix}")
    file = source.fetch(1) if isinstance(source, ImageSource) else list(source)[1].image
    assert file.read() == content


def test_what_follows_the_end_of_a_tar_is_told(tmp_path: Path) -> None:
    path = Path(kinds.tar(tmp_path / "x.tar", {"a.png": PNG[0]}))
    path.write_bytes(path.read_bytes() * 2)
    message = "it goes on after its end mark, as damaged or joined tars do; copy or join it anew"
    assert message in error_of(path)
    (tmp_path / "x.tgz").write_bytes(gzip.compress(path.read_bytes()))
    assert message in error_of(tmp_path / "x.tgz")


def test_sums_of_packed_tars_are_checked(tmp_path: Path) -> None:
    content = bytearray(Path(kinds.tar(tmp_path / "x.tar", {"a.bin": bytes(600), "b.png": PNG[0]})).read_bytes())
    packed = bytearray(gzip.compress(content, 0))
    packed[packed.index(bytes(600)) + 300] = 1
    (tmp_path / "x.tgz").write_bytes(packed)
    assert "CRC check failed" in error_of(tmp_path / "x.tgz")


def test_files_that_are_not_regular_are_told(tmp_path: Path) -> None:
    for mode in ("w", "w:gz"):
        with tarfile.open(tmp_path / f"x.{mode[-1]}.tar", mode) as archive:
            kinds.add(archive, "a.png", PNG[0])
            info = tarfile.TarInfo("pipe.png")
            info.type = tarfile.FIFOTYPE
            archive.addfile(info)
        assert "it is not a regular file" in error_of(tmp_path / f"x.{mode[-1]}.tar")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_of_tars_are_bounded(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 40_000_000
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size))
    tracemalloc.start()
    message = error_of(tmp_path / "x.tgz")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "the header of a file of it has 40000512 bytes or more, expected 4194304 at most" in message


def test_tars_that_lead_back_come_to_an_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.json")
    info.size = -1024
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(2048))
    assert "Can't read" in error_of(tmp_path / "x.tar")


def test_sums_of_stored_arrays_are_checked(tmp_path: Path) -> None:
    path = Path(kinds.npz(tmp_path))
    assert np.array_equal(open_source(path)[3], PIXELS[3])
    content = bytearray(path.read_bytes())
    content[content.index(PIXELS[3].tobytes()) + 9] ^= 1
    path.write_bytes(content)
    assert f"Can't read '{path}' as an array of images: it is damaged (BadZipFile: Bad CRC-32" in error_of(path)
