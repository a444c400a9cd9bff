"""Archives and videos give all that is in them, or say why not."""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import tracemalloc
import zipfile
from fractions import Fraction
from functools import partial
from pathlib import Path

import kinds
import numpy as np
import pytest
import torch
from kinds import FILES, PIXELS

from torchmetrics_dna.images import ImageSource, ImageStream, Reading, open_source
from torchmetrics_dna.images.loader import load_batches
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


FRAMES = np.tile(np.kron(PIXELS[:8], np.ones((3, 3, 1), np.uint8)), (3, 1, 1, 1))  # 24
LENGTH = "its frames end after .* of 2.00 seconds; it has been cut off, copy it anew"
DAMAGED = "its next frame is damaged; copy it anew"
# codec, and what is said of one that was cut off, where anything can be read of it
VIDEOS = {
    "x.mp4": ("mpeg4", {"movflags": "faststart"}, DAMAGED),
    "x.mov": ("libx264", {"movflags": "faststart"}, DAMAGED),
    "x.avi": ("mpeg4", {}, DAMAGED),
    "x.webm": ("libvpx", {}, LENGTH),
    "x.mkv": ("mpeg4", {}, LENGTH),
}


def frames(path: Path) -> tuple[int, str]:
    """Count the frames; return their number and the error that they end with."""
    source, count = open_source(path), 0
    assert isinstance(source, ImageStream)
    for entry in source:
        if isinstance(entry.image, Exception):
            return count, str(entry.image)
        count += 1
    return count, ""


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_that_are_cut_off_or_damaged_are_told(name: str, tmp_path: Path) -> None:
    codec, options, message = VIDEOS[name]
    path = tmp_path / name
    content = Path(kinds.encoded(path, codec, FRAMES, **options)).read_bytes()
    assert frames(path) == (24, "")
    for share in (0.4, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        count, error = frames(path)
        assert count < 24
        assert error.startswith(f"Can't read images of {str(path)!r} after {f'{path}/frame {count - 1}'!r}: ")
        assert re.search(message, error)
    if codec == "mpeg4":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes(80) + content[middle + 80 :])
        assert DAMAGED in frames(path)[1]


def test_frames_of_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kinds.encoded(tmp_path / "x.mp4", "mpeg4", FRAMES)
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", str(60 * 72 - 1))
    with pytest.raises(ValueError, match=r"x.mp4' as a video: its frames have .* more than 4319 pixels; to read"):
        open_source(path)


def test_frames_are_as_many_as_asked_for_after_a_gap(tmp_path: Path) -> None:
    import av

    times = [*range(10), *range(50, 60)]  # tenths of a second
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = FRAMES.shape[2], FRAMES.shape[1], "yuv420p"
        for time, image in zip(times, FRAMES, strict=False):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    def taken(fps: float) -> list[int]:
        entries = open_source(tmp_path / "x.mkv", Reading(fps=fps))
        return [times[int(entry.name.rpartition(" ")[2])] for entry in entries]

    assert taken(2) == [0, 5, 50, 55]
    assert taken(10) == taken(30) == times


def test_few_frames_are_held_in_their_full_size(tmp_path: Path) -> None:
    frames = np.kron(np.tile(PIXELS, (4, 1, 1, 1)), np.ones((12, 12, 1), np.uint8))
    path = kinds.encoded(tmp_path / "x.mp4", "mpeg4", frames)
    expected = [
        batch.images
        for batch in load_batches(open_source(path), (32, 32), reading=Reading(num_workers=0), notes=None, channels=3)
    ]
    frame = frames[0].nbytes
    del frames
    tracemalloc.start()
    batches = list(load_batches(open_source(path), (32, 32), reading=Reading(num_workers=2), notes=None, channels=3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(torch.cat([batch.images for batch in batches]), torch.cat(expected))
    assert peak < 20 * frame
