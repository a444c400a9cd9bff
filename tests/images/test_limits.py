"""Small files that ask for much, or for what is elsewhere, are refused before memory is taken or anything is asked."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
from address_space import at_most
from hub_server import serving
from kinds import FILES, PIXELS

from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.pixels import decode_image

PNG = next(iter(FILES.values()))


def member(path: Path, header: bytes, size: int, fill: bytes = b"\0") -> Path:
    """An ``.npz`` whose array has this header, and then so many bytes, packed."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        file.write(header + fill * size)
    return path


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def dictionary(path: Path, size: int) -> Path:
    """A Parquet file of one large value that many rows share."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    values = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([PNG + bytes(size)], pa.binary()))
    pq.write_table(pa.table({"image": values}), path, compression="zstd", store_schema=False)
    return path


BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "array of too many pixels": (
        lambda w: member(w / "x.npz", header((1, 32000, 32000, 3)), 0),
        r"\(1024000000 pixels\) exceeds limit of 160000000",
    ),
    "array of too many bytes": (
        lambda w: member(w / "x.npz", header((1, 12000, 13000, 3)).replace(b"'|u1'", b"'<f8'"), 0),
        r"Can't read '.*x.npz' as an array of images: it has 3744000000 bytes, more than 640000000 .4 for each pixel",
    ),
    "header of spaces": (
        lambda w: member(w / "x.npz", b"\x93NUMPY\2\0" + struct.pack("<I", 30_000_000), 30_000_000, b" "),
        "Can't read '.*x.npz' as an array of images: the header of its array has 30000000 bytes or more, expected 4",
    ),
    "value that rows share": (
        lambda w: dictionary(w / "x.parquet", 66_000_000),
        r"it would unpack from \d+ to 66001\d+ bytes, as a zip",
    ),
    "pattern": (
        lambda w: f"{w}/x-{{0..99999999}}.tar",
        "stands for 100,000,000 files, expected 1,000,000 at most; check its",
    ),
    "patterns": (lambda w: str(w / "{0..999}-{0..999}-{a,b}.tar"), "stands for 2,000,000 files"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_that_ask_for_much_are_refused(bomb: str, tmp_path: Path) -> None:
    make, message = BOMBS[bomb]
    source = make(tmp_path)
    with at_most(100), pytest.raises(ValueError, match=message):
        open_source(source)


def parquet(path: Path, column: list[Any]) -> str:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.table({"image": column, "label": list(range(len(column)))}), path)
    return str(path)


@pytest.mark.parametrize("wrapped", [False, True])
def test_paths_and_addresses_in_parquet_are_not_read_unless_asked_for(wrapped: bool, tmp_path: Path) -> None:
    kinds.folder(tmp_path)
    message = (
        "its row has no bytes, but the path '.*', which is not read; write the bytes into the file, or give a list of"
    )
    with serving({"plain": tmp_path / "images"}) as (server, requests):
        for place in (f"{server}/plain/img0.png", str(tmp_path / "images" / "img0.png")):
            row: Any = {"bytes": None, "path": place}
            path = parquet(tmp_path / "x.parquet", [[row] if wrapped else row] * 2)
            for column in (None, "image"):
                with pytest.raises(ValueError, match=message):  # noqa: PT012
                    for entry in open_source(path, Reading(column=column)):
                        raise entry.image
            strings = parquet(tmp_path / "y.parquet", [None, place])  # where the first tells nothing of the column
            faults = [str(entry.image) for entry in open_source(strings) if entry.image is not None]
            assert len(faults) == 1
            assert "which is not read" in faults[0]
            with pytest.raises(ValueError, match="There is no column that holds an image in .* name it by `column`"):
                open_source(parquet(tmp_path / "y.parquet", [place]))
            assert not requests
            (entry,) = open_source(tmp_path / "y.parquet", Reading(column="image"))
            assert np.array_equal(decode_image(entry.image).pixels, PIXELS[0])
            requests.clear()
