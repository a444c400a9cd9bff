"""Archives of all kinds count what a folder of the same files counts, or say why not."""

from __future__ import annotations

import gzip
import io
import re
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
KINDS = (".tar", ".tar.gz", ".zip")
LINK = "it is a link; pack what it leads to: `tar --dereference --hard-dereference`, or `zip` without `-y`"


def packed(path: Path, files: dict[str, bytes], links: dict[str, tuple[bytes, str]]) -> Path:
    """Pack files, and links by their type of a tar and their target, into an archive of the path's kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
            for name, (_, target) in links.items():
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                zipped.writestr(info, target)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            kinds.add(archive, name, content)
        for name, (kind, target) in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return path


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


@pytest.mark.parametrize("suffix", KINDS)
def test_links_are_told_and_nothing_is_read_by_them(suffix: str, tmp_path: Path) -> None:
    links = {
        "a.png": (tarfile.SYMTYPE, "/etc/passwd"),
        "z.png": (tarfile.LNKTYPE, "b/1.png"),
        "c": (tarfile.SYMTYPE, "b"),
    }
    path = packed(tmp_path / f"x{suffix}", {"b/1.png": PNG[0], "../up.png": PNG[1], "x.json": b"{}"}, links)
    source = open_source(path)
    if isinstance(source, ImageSource):
        for name in ("a.png", "z.png"):
            with pytest.raises(ValueError, match=f"^Can't read image '{path}/{name}': {re.escape(LINK)}$"):
                source[source.names.index(f"{path}/{name}")]
        images = {name: source[i] for i, name in enumerate(source.names) if name[len(str(path)) + 1] not in "az"}
    else:
        entries = {entry.name: entry.image for entry in source}
        assert [str(entries.pop(f"{path}/{name}")) for name in ("a.png", "z.png")] == [LINK] * 2
        images = {name: to_rgb(image) for name, image in entries.items()}
    assert {name.removeprefix(f"{path}/"): image.tobytes() for name, image in images.items()} == {
        "b/1.png": PIXELS[0].tobytes(),
        "../up.png": PIXELS[1].tobytes(),
    }


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
def test_sparse_files_are_told(suffix: str, tmp_path: Path) -> None:
    content = f"1\n0\n{len(PNG[0])}\n".encode().ljust(512, b"\0") + PNG[0]
    with tarfile.open(tmp_path / f"x{suffix}", "w:gz" if suffix.endswith("gz") else "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(len(PNG[0]))}
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        kinds.add(archive, "z.png", PNG[2])
    assert "it is a sparse file of a tar; pack it without `--sparse`" in error_of(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_header_is_not_taken_for_the_end(place: int, suffix: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", {f"{i}.png": PNG[i] for i in range(3)}, {})
    content = bytearray(path.read_bytes())
    content[content.index(f"{place}.png".encode())] ^= 1
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert "damaged" in error_of(path)
    for end in (700, len(content) // 2):
        path.write_bytes(gzip.compress(content[:end]) if suffix.endswith("gz") else content[:end])
        assert "damaged" in error_of(path)


def test_what_follows_the_end_of_a_tar_is_told(tmp_path: Path) -> None:
    path = Path(kinds.tar(tmp_path / "x.tar", {"a.png": PNG[0]}))
    path.write_bytes(path.read_bytes() * 2)
    message = "it goes on after its end mark, as joined tars do; join what is in them"
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
    assert "the header of a file of it has 40000000 bytes or more, expected 4194304 at most" in message


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
