"""Archives of all kinds count what a folder of the same files counts, or say why not."""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import kinds
import numpy as np
import pytest
from kinds import FILES, PIXELS

from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.images.pixels import decode_image

PNG = list(FILES.values())
suffixes = pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
tars = pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])


def packed(path: Path, *files: tuple[str, bytes | tarfile.TarInfo]) -> Path:
    """Pack files and members of other types into an archive of the path's kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in files:
                info = zipfile.ZipInfo(name)
                if not isinstance(content, bytes):
                    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                zipped.writestr(info, content if isinstance(content, bytes) else content.linkname)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files:
            if isinstance(content, bytes):
                kinds.add(archive, name, content)
            else:
                content.name = name
                archive.addfile(content, io.BytesIO(b"1\n0\n9\n".ljust(content.size, b"\0")))
    return path


def member(type_: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = type_, target
    return info


def read(path: Path) -> dict[str, np.ndarray | str]:
    """Return each image, or why it can't be read, by its name in the file."""
    source = open_source(path)
    if isinstance(source, ImageSource):
        contents = {name: partial(source.fetch, i) for i, name in enumerate(source.names)}
    else:
        contents = {entry.name: partial(raised, entry.image) for entry in source}
    images: dict[str, np.ndarray | str] = {}
    for name, content in contents.items():
        try:
            images[name.removeprefix(f"{path}/")] = decode_image(content()).pixels
        except ValueError as err:
            images[name.removeprefix(f"{path}/")] = str(err)
    return images


def raised(content: object) -> object:
    if isinstance(content, Exception):
        raise content
    return content


def error_of(path: Path) -> str:
    """Open and read a file; return its errors."""
    try:
        return "; ".join(value for value in read(path).values() if isinstance(value, str))
    except ValueError as err:
        return str(err)


@suffixes
def test_archives_are_searched_like_folders(suffix: str, tmp_path: Path) -> None:
    names = ("img2.png", "img10.PNG", "sub/deep/a.JfiF", "sub/.b.png", ".cache/x.png", "__MACOSX/y.png", "c.md")
    given = names if suffix == ".tar.gz" else names[::-1]  # which is not sorted, since it is a stream
    assert list(read(packed(tmp_path / f"x{suffix}", *((name, PNG[0]) for name in given)))) == list(names[:3])


@suffixes
def test_links_and_other_files_are_told_and_nothing_is_read_by_them(suffix: str, tmp_path: Path) -> None:
    others = {"a.png": member(tarfile.SYMTYPE, "/etc/passwd"), "z.png": member(tarfile.LNKTYPE, "b/1.png")}
    if suffix != ".zip":
        sparse = member(tarfile.REGTYPE)
        sparse.size = 512 + len(PNG[0])
        sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        others |= {"pipe.png": member(tarfile.FIFOTYPE), "sparse.png": sparse}
    path = packed(tmp_path / f"x{suffix}", ("b/1.png", PNG[0]), ("x.json", b"{}"), *others.items())
    images = read(path)
    assert np.array_equal(images.pop("b/1.png"), PIXELS[0])
    assert images.keys() == others.keys()
    assert all("a link, a sparse file" in image for image in images.values())


@suffixes
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.png", "./a.png"), "it has 'a.png' twice; pack it anew, each file once"),
        (("a.png", "../up.png"), "its file '../up.png' leads out of it; pack it anew, from the folder that all"),
        (("x/../../up.png",), "its file 'x/../../up.png' leads out of it"),
    ],
)
def test_files_that_come_twice_or_lead_out_are_told(
    suffix: str, names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert message in error_of(packed(tmp_path / f"x{suffix}", *((name, PNG[0]) for name in names)))


@tars
def test_damage_is_not_taken_for_the_end(suffix: str, tmp_path: Path) -> None:
    whole = packed(tmp_path / "x.tar", *((f"{i}.png", PNG[i]) for i in range(3))).read_bytes()
    path = tmp_path / f"damaged{suffix}"

    def told(content: bytes) -> str:
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        return error_of(path)

    assert told(whole) == ""
    for place in range(3):
        content = bytearray(whole)
        content[content.index(f"{place}.png".encode())] ^= 1
        assert "damaged" in told(content)
    assert "damaged" in told(whole[:700])
    assert "damaged" in told(whole[: len(whole) // 2])
    assert "after its end mark" in told(whole * 2)
    back = member(tarfile.REGTYPE)
    back.name, back.size = "a.json", -1024  # the next header would be this one again
    assert "Can't read" in told(back.tobuf(tarfile.GNU_FORMAT) + bytes(2048))


def test_sums_are_checked(tmp_path: Path) -> None:
    content = packed(tmp_path / "x.tar", ("a.bin", bytes(600)), ("b.png", PNG[0])).read_bytes()
    damaged = bytearray(gzip.compress(content, 0))
    damaged[damaged.index(bytes(600)) + 300] = 1
    (tmp_path / "x.tgz").write_bytes(damaged)
    assert "CRC check failed" in error_of(tmp_path / "x.tgz")
    path = Path(kinds.npz(tmp_path))
    assert np.array_equal(open_source(path)[3], PIXELS[3])
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(PIXELS[3].tobytes()) + 9] ^= 1
    path.write_bytes(damaged)
    assert re.match(f"Can't read {str(path)!r} as an array .* CRC-32", error_of(path))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_of_tars_are_bounded(kind: bytes, tmp_path: Path) -> None:
    info = member(kind)
    info.size = 40_000_000
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size))
    tracemalloc.start()
    message = error_of(tmp_path / "x.tgz")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert re.search("40000000 bytes .* expected 4194304", message)
