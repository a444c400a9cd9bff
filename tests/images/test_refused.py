"""What is no source of images, is damaged or asks for too much is refused in one line; the rest may be left out."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kinds
import numpy as np
import pytest
import torch
from address_space import at_most
from hub_server import serving
from kinds import COUNT, FILES, PIXELS, png, tar
from networks import Pixels

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.pixels import decode_image

EXTRACTOR = DNAExtractor(Pixels(), input_size=16)
PNG = png(PIXELS[0])
W = Path()  # the working directory, which is empty


def written(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def cut(path: str, share: float = 0.7) -> str:
    content = Path(path).read_bytes()
    return written(path, content[: int(len(content) * share)])


def damaged(path: str) -> str:
    """Overwrite the middle of the packed array of an npz."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("arr_0.npy")
    content, middle = bytearray(Path(path).read_bytes()), info.header_offset + info.compress_size // 2
    content[middle : middle + 40] = bytes(40)
    return written(path, bytes(content))


def raising() -> Iterator[np.ndarray]:
    yield from PIXELS[:3]
    raise RuntimeError("the disk\n  is gone")


def npz(header: bytes, size: int = 0) -> str:
    """An ``.npz`` whose array has this header, and then so many spaces, packed."""
    with (
        zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        file.write(header + b" " * size)
    return "x.npz"


def header(*shape: int, dtype: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def saved(array: np.ndarray) -> str:
    np.savez("x.npz", array)
    return "x.npz"


def parquet(table: dict[str, Any], **options: Any) -> str:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.table(table), "x.parquet", **options)
    return "x.parquet"


def shared_value(size: int) -> str:
    """A Parquet file of one large value that many rows share."""
    import pyarrow as pa

    values = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([PNG + bytes(size)], pa.binary()))
    return parquet({"image": values}, compression="zstd", store_schema=False)


Row = tuple[Callable[[], object], str] | tuple[Callable[[], object], str, type[Exception]]
REFUSED: dict[str, Row] = {
    # no source
    "path of an address": (lambda: Path("https://example.com/x.zip"), "^'https:/example.com/x.zip' is an address that"),
    "odd address": (lambda: "odd://x.zip", "^'odd://x.zip' is an address of an unknown kind; expected https://, s3://"),
    "no address": (lambda: "https:x", "no file or folder 'https:x'", FileNotFoundError),
    "odd suffix": (lambda: written("x.xyz", bytes(9)), r"^'x.xyz' is no .*; pass a folder, \.zip, .* \(\.avif, .*\.jf"),
    "number": (lambda: 7, "Expected images as a folder, .*sequence.*dataset.*, but got int$", TypeError),
    "a pipeline's output": (lambda: SimpleNamespace(images=[]), "Namespace; pass its attribute `images`$", TypeError),
    "nowhere": (lambda: "nowhere", "There is no file or folder 'nowhere'$", FileNotFoundError),
    "misspelt": (lambda: written("x.zip", "") and "X.zip", "folder 'X.zip'; there is 'x.zip'", FileNotFoundError),
    "nothing matches": (lambda: "*.tar", r"There are no files '\*.tar'", FileNotFoundError),
    "several kinds": (lambda: [kinds.npy(W), tar(W / "x.tar", FILES)] and "x.*", "several kinds, such as x.npy, x.tar"),
    # no images
    "empty folder": (lambda: Path("empty").mkdir() or "empty", r"no images in 'empty'; looked for .*\.png"),
    "empty tensor": (lambda: torch.zeros(0, 3, 8, 8), "There are no images in 'Tensor of images'$"),
    "five channels": (lambda: np.zeros((12, 5, 32, 32), np.uint8), "`channels=5`"),
    "empty list": (list, "There are no images in 'list of images'"),
    "empty generator": (lambda: iter(()), "There are no images in 'tuple_iterator of images'"),
    "folder of shards": (lambda: Path(kinds.shards(W)).parent, r"There are no images in '.*'; .*, pass \*.tar"),
    "tar without images": (lambda: tar(W / "x.tar", {"a.json": b"{}"}), "There are no images in 'x.tar'"),
    "parquet without images": (
        lambda: parquet({"label": [1, 2], "name": ["a", "b"]}),
        "no column that holds an image in 'x.parquet', which has label, name; name it by",
    ),
    # other content
    "no zip": (lambda: written("x.zip", "no archive"), "Can't read 'x.zip' as a zip: it is damaged"),
    "no tar": (lambda: written("x.tar", "no tar" * 999), "Can't read 'x.tar' as a tar"),
    "no video": (lambda: written("x.mp4", "x" * 99), "Can't read 'x.mp4' as a video"),
    **{
        f"no video, but {kind}": (
            lambda text=text: kinds.encoded(W / "neighbour.mp4", "mpeg4") and written("x.mp4", text),
            "Can't read 'x.mp4' as a video: (its content is of another kind|it is d)",
        )
        for kind, text in {
            "a stream's description": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            "a list": "ffconcat version 1.0\nfile 'neighbour.mp4'\n",
            "a playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nneighbour.mp4\n#EXT-X-ENDLIST\n",
        }.items()
    },
    "npz of tensors": (
        lambda: saved(PIXELS.transpose(0, 3, 1, 2)), r"x.npz' as .*\(11, 3, 20, 24\).*; pass `imgs.transpose"
    ),
    # damage
    "cut tar": (lambda: cut(tar(W / "x.tar", FILES)), "Can't read 'x.tar' as a tar: it .*(cut off|unexpected end)"),
    "cut shard": (
        lambda: cut(kinds.shards(W).replace("{000..002}", "000"), 0.6) and "x-*.tar",
        "Can't read images of 'x-000.tar'.*(cut off|unexpected end of data)",
    ),
    "cut packed tar": (
        lambda: cut(tar(W / "x.tgz", FILES, "w:gz")), "images of 'x.tgz'.*(ended before|end of data|cut off)"
    ),
    "cut parquet": (lambda: cut(kinds.parquet(W)), "Can't read 'x.parquet' as Parquet: .*Parquet magic bytes"),
    "cut npy": (lambda: cut(kinds.npy(W)), "Can't read 'x.npy' as an array of images: it has been cut off"),
    "damaged packed npz": (lambda: damaged(kinds.packed_npz(W)), "Can't read images of 'x.npz'"),
    "generator that raises": (raising, "of 'generator of images' after 'image 2': the disk is gone$"),
    # single images
    "two channels": (lambda: [PIXELS[0, ..., :2]], r"shape \(H, W, C\) with C = 1 or 3, but got shape \(20, 24, 2\)"),
    "no pixels": (lambda: [np.zeros((0, 4, 3), np.uint8)], "^Can't read image 'image 0': .*but got shape"),
    "no bytes": (lambda: [{"bytes": 1}], "Can't read image .*expected a path, .*, but got int"),
    "no picture": (lambda: [b"no picture"], "^Can't read image 'image 0': it is not an image file"),
    "half a file": (lambda: [cut(written("half.png", PNG))], "^Can't read image 'half.png': "),
    "empty file": (lambda: [written("empty.jpg", "")], "^Can't read image 'empty.jpg': "),
    "gone": (lambda: written("x.txt", f"gone.png\n{written('x.png', PNG)}"), "Can't read image 'gone.png': there is"),
    "one of a stream": (
        lambda: tar(W / "x.tgz", {**FILES, "img3.png": b"x"}, "w:gz"),
        "^Can't read image 'x.tgz/img3.png': it is not an image file; to skip",
    ),
    # small files that ask for much
    "bomb of pixels": (lambda: npz(header(1, 32000, 32000, 3)), r"\(1024000000 pixels\) exceeds limit of 160000000"),
    "bomb of bytes": (
        lambda: npz(header(1, 12000, 13000, 3, dtype="<f8")), "x.npz' as .*: it has 3744000000 bytes, more than 64000"
    ),
    "bomb of spaces": (
        lambda: npz(b"\x93NUMPY\2\0" + struct.pack("<I", 30_000_000), 30_000_000),
        "x.npz' as .*: the header of its array has 30000000 bytes or more",
    ),
    "bomb that rows share": (lambda: shared_value(66_000_000), r"would unpack from \d+ to 66001\d+ bytes, as a zip"),
    "bomb of files": (lambda: "x-{0..99999999}.tar", "stands for 100,000,000 files, expected 1,000,000"),
    "bomb of patterns": (lambda: "{0..999}-{0..999}-{a,b}.tar", "stands for 2,000,000 files"),
}  # fmt: skip
IN_WORKERS = ("cut shard", "cut packed tar", "damaged packed npz", "one of a stream", "half a file")


@pytest.mark.parametrize(("fault", "num_workers"), [*((f, 0) for f in REFUSED), *((f, 2) for f in IN_WORKERS)])
def test_what_is_refused(fault: str, num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, message, *error = REFUSED[fault]
    source = make()
    # what can't be read on can be left out in files, but not where a whole source is broken
    is_told = "Can't read image '" in message or "images of 'x" in message
    reading = Reading(num_workers=num_workers, skip_unreadable=not is_told)
    with at_most(100) if "bomb" in fault else nullcontext(), pytest.raises((*error, ValueError), match=message) as told:
        make_dna(open_source(source, reading), EXTRACTOR, ranges="auto", reading=reading)
    assert "\n" not in str(told.value)
    assert not error or isinstance(told.value, error[0])


def test_a_large_stack_without_channels_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that all together has more bytes than an image may have is rather of grey images than one huge image."""
    for module in ("images.arrays", "files.damage"):
        monkeypatch.setattr(f"torchmetrics_dna.{module}.most_bytes", lambda: 200)
    np.save(tmp_path / "x.npy", np.zeros((140, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"Images must have shape .*imgs\[..., None\]") as told:
        open_source(tmp_path / "x.npy")
    assert "damaged" not in str(told.value)
    np.save(tmp_path / "y.npy", np.zeros((8, 8, 3), np.uint8))  # 192 bytes
    assert len(open_source(tmp_path / "y.npy")) == 1


def test_single_images_are_left_out(tmp_path: Path) -> None:
    options: dict[str, Any] = {"ranges": "auto", "reading": Reading(num_workers=0, skip_unreadable=True)}
    path = tar(tmp_path / "x.tgz", {**FILES, "img3.png": b"no picture"}, "w:gz")
    with pytest.warns(UserWarning, match="1 image was left out, the first: Can't read image '.*img3.png'"):
        assert make_dna(path, EXTRACTOR, **options).num_images == COUNT - 1
    only = tar(tmp_path / "y.tgz", {"a.png": b"x", "b.png": b""}, "w:gz")
    with pytest.raises(ValueError, match="None of the 2 images could be read; the first: "):
        make_dna(only, EXTRACTOR, **options)


@pytest.mark.parametrize("wrapped", [False, True])
def test_paths_and_addresses_in_parquet_are_not_read_unless_asked_for(
    wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds.folder(tmp_path)
    with serving({"plain": tmp_path / "images"}) as (server, requests):
        for place in (f"{server}/plain/img0.png", str(tmp_path / "images" / "img0.png")):
            row: Any = {"bytes": None, "path": place}
            path = parquet({"image": [[row] if wrapped else row] * 2, "label": [0, 1]})
            for column in (None, "image"):
                faults = [str(entry.image) for entry in open_source(path, Reading(column=column))]
                assert all("but the path '" in fault and "which is not read" in fault for fault in faults)
            strings = parquet({"image": [None, place]})  # where the first tells nothing of the column
            (fault,) = [str(entry.image) for entry in open_source(strings) if entry.image is not None]
            assert "which is not read" in fault
            with pytest.raises(ValueError, match="no column that holds an image"):
                open_source(parquet({"image": [place]}))
            assert not requests
            (entry,) = open_source("x.parquet", Reading(column="image"))
            assert np.array_equal(decode_image(entry.image).pixels, PIXELS[0])
            requests.clear()
