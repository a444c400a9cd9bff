"""One image, whatever it is and for however many channels: read as it was saved, or refused in one line."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from address_space import at_most
from networks import Pixels
from PIL import Image, UnidentifiedImageError
from torch import nn

from torchmetrics_dna import DNAExtractor, Reading, compare, load_dna, make_dna, rank
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import ImageSource, open_source
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.pixels import decode_image
from torchmetrics_dna.images.tensors import check_images

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (4, 9, 7, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (4, 9, 7, 5), np.uint16)
BANDS = RNG.random((4, 9, 7, 5), np.float32)
GREYS, FOURS = COLOURS[..., 0], DEEP.view(np.uint8)[..., :4]
LUMA = ((COLOURS.astype(int) * [19595, 38470, 7471]).sum(-1) + 32768 >> 16).astype(np.uint8)  # as Pillow's L
RGB, SHADES, DEEP_GREY, FOUR = COLOURS[0], BANDS[0, ..., 0], DEEP[0, ..., 0], FOURS[0]
OWN = r"a DNAExtractor of your own network with `channels={}`"
TO_INTEGERS = [
    f"{call.format(8)}` if they lie in 0 to 255, `{call.format(16)}` if in 0 to 65535"
    for call in ('imgs.astype("uint{}")', "imgs.to(torch.uint{})")
]


def read(source: object, channels: int = 3, **options: Any) -> np.ndarray:
    """Return the images of a source as a network gets them, ``(B, H, W, C)``."""
    reading = Reading(2, **options)
    batches = list(load_batches(open_source(source, reading), None, channels=channels, reading=reading, notes=None))
    return torch.cat([batch.images for batch in batches]).movedim(1, 3).numpy()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def tiff_of_bands(pixels: np.ndarray, separate: bool = False, extra: int = 0, order: Any = "<") -> bytes:
    samples = pixels.shape[-1]
    return tiff(
        np.moveaxis(pixels, 2, 0) if separate else pixels, byteorder=order,
        photometric="rgb" if samples == 4 else "minisblack", planarconfig="separate" if separate else "contig",
        extrasamples=[extra] * (1 if samples == 4 else samples - 1),
    )  # fmt: skip


def tiff_of_12_bits() -> bytes:
    """A TIFF by hand, since tifffile packs no 12 bits without a codec: two pixels, 4095 and 0."""
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 12) + b"\xff\xf0\x00\x00"
    return head + struct.pack("<H", len(tags)) + entries + bytes(4)


def pages(*images: Image.Image) -> bytes:
    file = BytesIO()
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
    return file.getvalue()


def turned() -> bytes:
    file = BytesIO()
    Image.fromarray(FOUR).save(file, "TIFF", tiffinfo={274: 3})
    return file.getvalue()


def png(header: tuple[int, ...], rows: bytes) -> bytes:
    """A PNG by hand, of width, height, bits and type of colour."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    sums = ((kind, data, zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", s) for k, d, s in sums)


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png((pixels.shape[1], pixels.shape[0], 16, kinds[pixels.shape[2]]), rows)


def huge(side: int) -> bytes:
    """A small PNG of many black pixels."""
    return png((side, side, 1, 0), bytes((1 + (side + 7) // 8) * side))


def ppm(pixels: np.ndarray, most: int) -> bytes:
    return b"P6 7 9 %d\n" % most + pixels[..., :3].clip(0, most).astype(">u2" if most > 255 else np.uint8).tobytes()


def saved(images: np.ndarray, name: str, folder: Path) -> Path:
    """Save arrays as one file, or pictures in a folder."""
    if name.startswith("x."):
        (np.save if name == "x.npy" else np.savez_compressed)(folder / name, images)
        return folder / name
    for number, image in enumerate(images):
        path = folder / f"{number}.{name}"
        if name == "tif" and image.ndim == 3:
            path.write_bytes(tiff_of_bands(image))
        else:
            Image.fromarray(image).save(path)
    return folder


FILES: list[tuple[bytes, int, np.ndarray]] = [
    (tiff(SHADES), 3, SHADES[..., None]),
    (tiff(DEEP_GREY), 3, DEEP_GREY[..., None] / 65535),
    (tiff(DEEP_GREY, byteorder=">"), 3, DEEP_GREY[..., None] / 65535),
    (tiff(RGB, photometric="rgb"), 3, RGB),
    (tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"), 3, RGB),
    (tiff(np.dstack([RGB, RGB[..., 0]]), photometric="rgb"), 3, RGB),
    (tiff(GREYS[0], photometric="miniswhite"), 3, 255 - GREYS[0][..., None]),
    (tiff(SHADES > 0.5, photometric="minisblack"), 3, np.uint8(255) * (SHADES > 0.5)[..., None]),
    *[
        (tiff_of_bands(pixels, separate, order=order), 5, expected)
        for pixels, expected in ((DEEP[0], DEEP[0] / 65535), (BANDS[0], BANDS[0]))
        for separate in (False, True)
        for order in "<>"
    ],
    (turned(), 4, FOUR),
    (deep_png(DEEP[0, ..., :1]), 3, DEEP_GREY[..., None] / 65535),
    (ppm(RGB, 255), 3, RGB),
]
SETS: list[tuple[tuple[np.ndarray, str], int, np.ndarray]] = [
    ((GREYS, "png"), 1, GREYS[..., None]),
    ((DEEP[..., 0], "png"), 1, DEEP[..., :1] / 65535),
    ((BANDS[..., 0], "tif"), 1, BANDS[..., :1]),
    ((COLOURS, "png"), 1, LUMA[..., None]),
    ((GREYS, "png"), 3, GREYS[..., None].repeat(3, 3)),
    ((GREYS[..., None], "x.npz"), 1, GREYS[..., None]),
    ((DEEP.astype(">u2"), "x.npy"), 5, DEEP / 65535),
    ((BANDS, "x.npz"), 5, BANDS),
    ((BANDS.astype(np.float64), "x.npy"), 5, BANDS),
    ((FOURS, "x.npz"), 4, FOURS),
    ((BANDS[..., :2], "tif"), 2, BANDS[..., :2]),
    ((FOURS, "tif"), 4, FOURS),
    ((FOURS, "png"), 4, FOURS),
    ((FOURS[..., :2], "png"), 2, FOURS[..., :2]),
]


@pytest.mark.parametrize(("source", "channels", "expected"), [*FILES, *SETS])
@pytest.mark.filterwarnings("ignore:.* have an alpha channel")
def test_what_a_network_gets(source: Any, channels: int, expected: np.ndarray, tmp_path: Path) -> None:
    pixels = read([source], channels) if isinstance(source, bytes) else read(saved(*source, tmp_path), channels)
    assert pixels.dtype == (np.uint8 if expected.dtype == np.uint8 else np.float32)
    shape = (len(pixels), 9, 7, channels)
    np.testing.assert_allclose(pixels, np.broadcast_to(expected, shape), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_images_in_memory(kind: Callable, one_by_one: bool) -> None:
    for images, channels, expected in (
        (BANDS, 5, BANDS),
        (DEEP, 5, (DEEP / 65535).astype(np.float32)),
        (DEEP[..., :3], 3, (DEEP[..., :3] / 65535).astype(np.float32)),
        (GREYS[..., None], 1, GREYS[..., None]),
        (COLOURS, 1, LUMA[..., None]),
        (COLOURS / np.float32(255), 1, (COLOURS @ [0.299, 0.587, 0.114] / 255)[..., None]),
    ):
        source = kind(images if kind is np.asarray else np.moveaxis(images, 3, 1))
        np.testing.assert_allclose(read(list(source) if one_by_one else source, channels), expected, rtol=0, atol=2e-7)
    if kind is torch.tensor:
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            image = open_source(kind(np.moveaxis(BANDS[..., :3], 3, 1)).to(dtype))[0]
            assert image.dtype == np.float32
            np.testing.assert_array_equal(image, kind(BANDS[0, ..., :3]).to(dtype).float())


COLOUR, GREY = Image.fromarray(RGB), Image.fromarray(GREYS[0])
PALETTE, SEE_THROUGH = COLOUR.quantize(256), COLOUR.quantize(256)
SEE_THROUGH.info["transparency"] = bytes(256)
DEEPENED = GREYS[0] * np.uint16(257)


@pytest.mark.parametrize(
    ("image", "tolerance", "grey"),
    [
        (COLOUR, 0, COLOUR),
        (COLOUR.convert("RGBA"), 0, COLOUR),
        (COLOUR.convert("RGBA").convert("RGBa"), 0, COLOUR),
        (COLOUR.convert("RGBX"), 0, COLOUR),
        (COLOUR.convert("CMYK"), 0, COLOUR),
        (COLOUR.convert("YCbCr"), 3, COLOUR.convert("YCbCr").convert("RGB")),
        (COLOUR.convert("HSV"), 8, COLOUR.convert("HSV").convert("RGB")),
        (PALETTE, 1, PALETTE.convert("RGB")),
        (SEE_THROUGH, 1, PALETTE.convert("RGB")),
        (GREY, 0, GREY),
        (GREY.convert("1"), 255, GREY.convert("1")),
        (GREY.convert("LA"), 0, GREY),
        (GREY.convert("LA").convert("La"), 0, GREY),
        (GREY.convert("LA").convert("PA"), 0, GREY),
        (Image.fromarray(DEEPENED), 1e-4, None),
        (Image.fromarray(DEEPENED).convert("I"), 1e-4, None),
        (Image.frombytes("I;16L", (7, 9), DEEPENED.astype("<u2").tobytes()), 1e-4, None),
        (Image.frombytes("I;16B", (7, 9), DEEPENED.astype(">u2").tobytes()), 1e-4, None),
        (Image.fromarray(GREYS[0] / np.float32(255)), 1e-4, None),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
@pytest.mark.filterwarnings("ignore:.* have an alpha channel")
def test_every_mode_gives_the_same_picture(image: Image.Image, tolerance: float, grey: Image.Image | None) -> None:
    (pixels,) = read([image])
    expected = RGB if len(image.getbands()) > 2 or image.mode == "P" else RGB[..., :1].repeat(3, 2)
    pixels = pixels * 255 if pixels.dtype == np.float32 else pixels.astype(int)
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=tolerance)
    if grey is not None:  # as Pillow makes it
        np.testing.assert_array_equal(read([image], 1)[0, ..., 0], np.asarray(grey.convert("L")))


def test_lab_colours_are_those_of_the_standard() -> None:
    # CIE L*a*b*, D50, of the red, green and blue of sRGB
    lab = np.array([[54.3, 80.8, 69.9], [87.8, -79.3, 81.0], [29.6, 68.3, -112.0]]) * [2.55, 1, 1]
    image = Image.frombytes("LAB", (3, 1), lab.round().astype(np.int16).astype(np.uint8).tobytes())
    np.testing.assert_allclose(open_source([image])[0], [np.eye(3, dtype=int) * 255], atol=25)  # of 8 bits a channel


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_moving_pictures_are_their_first_frame(name: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), (value, 0, 0)) for value in (255, 0, 128)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(open_source(tmp_path / name)[0], np.array(frames[0]))


SIXTEEN = "colours of 16 bits, of which Pillow reads 8"


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        # arrays and pictures
        (FOUR, 3, f"pass `imgs[..., :3]`, or {OWN.format(4)}"),
        (BANDS[0], 3, f"pass images of 1 or 3 channels, or {OWN.format(5)}"),
        (BANDS[0], 4, f"C = 4, but got shape (9, 7, 5) and type float32; pass images of 4 channels, or {OWN[:14]}"),
        (GREYS[0], 5, f"C = 5, but got shape (9, 7) and type uint8; pass images of 5 channels, or {OWN.format(1)}"),
        (BANDS[0] * 300, 5, "floating point pixels must lie in [0, 1]"),
        (np.zeros((8, 28, 28, 3), np.uint8), 3, "(8, 28, 28, 3) and type uint8; pass one image at a time"),
        (COLOUR, 5, "3 channels (RGB), but the network takes 5; pass arrays or TIFFs of 5 "),
        (GREY, 2, "1 channel (L), but the network takes 2; pass arrays or TIFFs of 2 channels,"),
        (Image.new("I", (4, 3), 70000), 3, "must lie in [0, 65535], but got 70000 to 70000"),
        (Image.new("I", (4, 3), -1), 3, "but got -1 to -1"),
        (Image.new("F", (4, 3), 128), 3, "must lie in [0, 1], but got 128 to 128"),
        # TIFFs, of which older Pillow reads fewer
        (tiff(SHADES * 300), 3, f"must lie in [0, 1], but got {np.float32(300 * SHADES.min())!s} to "),
        (tiff(SHADES, photometric="miniswhite"), 3, "white is 0"),
        (tiff(np.stack([GREYS[0]] * 6)), 3, "6 pages; save the one that is meant"),
        (tiff(RGB[..., [0, 1, 2, 0, 1, 2]], photometric="rgb"), 3, "6 channels; expected 1, 3 or 4"),
        (tiff(RGB[..., :2], photometric="minisblack", planarconfig="contig"), 3, "2 channels|not a TIFF that Pillow"),
        (tiff(DEEP[0, ..., :3], photometric="rgb"), 3, SIXTEEN),
        (tiff(RGB[..., [0, 1, 2, 0]], photometric="rgb", extrasamples=["unspecified"]), 3, "that is no alpha"),
        (tiff(GREYS[0].view(np.int8)), 3, "8-bit signed integers"),
        (tiff(DEEP_GREY.astype(np.uint32) * 1000), 3, "32-bit integers"),
        (tiff(SHADES.astype(np.float64)), 3, "not a TIFF that Pillow reads"),
        (tiff_of_12_bits(), 3, "12-bit integers"),
        (tiff_of_bands(FOUR), 3, f"that is no alpha; save it without, or pass {OWN.format(4)}"),
        (tiff_of_bands(FOUR), 1, "that is no alpha"),
        (tiff_of_bands(BANDS[0]), 4, f"5 channels, but the network takes 4; pass images of 4 channels, or {OWN[:14]}"),
        (tiff(DEEP[0].view(np.int16), photometric="minisblack", planarconfig="contig"), 5, "bands of type int16"),
        (tiff_of_bands(DEEP[0])[:-200], 5, ""),
        (pages(*map(Image.fromarray, GREYS)), 4, "4 pages; save one that has all bands"),
        # others
        *((deep_png(FOURS[0].astype(np.uint16)[..., :channels]), 3, SIXTEEN) for channels in (2, 3, 4)),
        *((ppm(DEEP[0], most), 3, SIXTEEN) for most in (256, 65535)),
    ],
)  # fmt: skip
def test_what_is_refused(image: object, channels: int, message: str, tmp_path: Path) -> None:
    doors = [image]
    if isinstance(image, bytes):
        with suppress(UnidentifiedImageError):  # what Pillow can open is refused by that door, too
            doors += [Image.open(BytesIO(image))] if channels in (1, 3) else []
        if image[:2] in (b"II", b"MM"):
            (tmp_path / "x.tif").write_bytes(image)
            doors[0] = tmp_path / "x.tif"
    for door in doors:
        with pytest.raises(ValueError, match=r"^Can't read image '(image 0|.*x.tif)': ") as caught:
            read([door], channels)
        assert any(part in str(caught.value) for part in message.split("|"))
        assert "\n" not in str(caught.value)


def test_a_page_that_is_copied_is_the_one_that_is_meant() -> None:
    opened = Image.open(BytesIO(pages(*map(Image.fromarray, GREYS))))
    with pytest.raises(ValueError, match="4 pages; save the one that is meant, or pass its `copy\\(\\)`"):
        read([opened], 1)
    for number, grey in enumerate(GREYS):
        opened.seek(number)
        np.testing.assert_array_equal(read([opened.copy()], 1)[0], grey[..., None])


def test_bands_that_are_turned_are_refused() -> None:
    with pytest.raises(ValueError, match="bands that its orientation tag turns; save it upright"):
        read([turned()], 4, exif_orientation=True)


def test_types_that_differ_are_told() -> None:
    with pytest.raises(ValueError, match=r"differ in type \(float32 and uint8\)"):
        read([GREYS[0], DEEP_GREY], 1)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_that_do_not_fit_are_refused_before_any_image(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, BANDS)
    done: list[int] = []
    reading = Reading(progress=lambda label, number, total: done.append(number))
    with pytest.raises(ValueError, match=r"^Can't read '.*x\.npz' as an array of images: .* shape \(B"):
        make_dna(path, DNAExtractor(Pixels(), channels=4), reading=reading)
    assert not done
    assert make_dna(path, DNAExtractor(Pixels(), channels=5), reading=reading).num_images == 4


@pytest.mark.filterwarnings("default")
def test_alpha_that_is_dropped_is_told_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    alpha = np.full((9, 7), 255, np.uint8)
    opaque = Image.fromarray(np.dstack([RGB, alpha]))
    alpha[3, 3] = 254
    through = Image.fromarray(np.dstack([RGB, alpha]))
    COLOUR.save(tmp_path / "a.png", transparency=tuple(RGB[2, 2].tolist()))
    through.save(tmp_path / "b.tif")
    through.quantize(64).save(tmp_path / "c.png")
    Image.fromarray(np.dstack([GREYS[0], alpha])).save(tmp_path / "d.png")
    for source in (*sorted(tmp_path.iterdir()), tmp_path):
        for channels, workers in ((3, 2 if source == tmp_path else 0), (1, 0)):
            assert list(
                load_batches(open_source(source), (8, 8), channels=channels, reading=Reading(2, workers), notes=None)
            )
            assert f"Images of {str(source)!r} have an alpha" in str(recwarn.pop(UserWarning).message)
    assert list(load_batches(open_source([through]), (8, 8), channels=4, reading=None, notes=None))
    assert list(
        load_batches(open_source([opaque, Image.fromarray(DEEP_GREY)]), (8, 8), reading=None, notes=None, channels=3)
    )
    # Python 3.12 warns, too, where workers are forked beside threads
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]


@pytest.mark.filterwarnings("default")
def test_16_bits_that_are_hardly_used_are_told_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Of a source all of whose images have 16 bits; the white is the next power of two above the largest value."""
    warnings.simplefilter("always")
    for bits in (8, 12, 14, 15):
        folder = tmp_path / str(bits)
        folder.mkdir()
        for number, scale in enumerate((0.3, 1.0, 0.6)):
            shades = np.arange(63, dtype=np.uint16).reshape(9, 7)
            shades[0, 0] = scale * (2**bits - 1)
            Image.fromarray(shades).save(folder / f"{number}.png")
    said = {8: "0.39%", 12: "6.2%", 14: "25%"}
    for bits in (8, 12, 14, 15):
        for workers in (0, 2):
            assert list(
                load_batches(
                    open_source(tmp_path / str(bits)), (8, 8), reading=Reading(2, workers), notes=None, channels=3
                )
            )
            told = [str(warning.message) for warning in recwarn if "16 bits" in str(warning.message)]
            expected = f"use {said.get(bits)} of 16 bits, so that a network sees them nearly black; pass the value"
            assert [expected in text for text in told] == [True] * (bits < 15)
            assert all(text.endswith(f"such as {2**bits - 1}, as `scale`") for text in told)
            recwarn.clear()
    COLOUR.save(tmp_path / "8" / "colour.png")  # not all have 16 bits
    for source, scale in ((tmp_path / "8", None), (tmp_path / "12", 4095), ([DEEP_GREY * 0], None)):
        assert list(
            load_batches(open_source(source, Reading(scale=scale)), (8, 8), reading=None, notes=None, channels=3)
        )
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]


def test_a_call_warns_once_and_at_its_line() -> None:
    """However many of its sides have 16 bits, and from whatever depth."""
    dark = [np.full((9, 7), 40 * i, np.uint16) for i in range(4)]
    network = DNAExtractor(nn.Conv2d(1, 4, 3), channels=1, input_size=8)
    calls = (
        lambda: compare(dark, dark[::-1], network),
        lambda: rank(dark, dark[1:], network),
        lambda: make_dna(dark, network),
        lambda: [*load_batches(open_source(dark), (8, 8), reading=None, notes=None, channels=1)],
    )
    for call in calls:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")
            call()
        texts = [str(warning.message) for warning in warned if "of 16 bits" in str(warning.message)]
        assert len(texts) == 1
        assert {(each.filename, each.lineno) for each in warned} == {(__file__, call.__code__.co_firstlineno)}


def test_a_scale_is_what_is_white() -> None:
    deep = np.array([[0, 1000, 4095], [4096, 60000, 65535]], np.uint16)
    expected = np.minimum(deep / 4095, 1)[..., None].repeat(3, 2)
    for image in (deep, Image.fromarray(deep), torch.from_numpy(deep)[None], Image.fromarray(deep.astype(np.int32))):
        np.testing.assert_allclose(open_source([image], Reading(scale=4095))[0], expected, atol=1e-7)
    bands = np.stack([deep] * 4, 2)
    np.testing.assert_allclose(
        open_source([bands], Reading(scale=4095)).decode(0, 4).pixels, np.minimum(bands / 4095, 1), atol=1e-7
    )
    for image in (COLOUR, GREYS[0], np.ones((4, 4), np.float32), Image.new("F", (4, 3), 0.5)):
        with pytest.raises(ValueError, match="no integers of 16 bits, so no scale applies to it"):
            open_source([image], Reading(scale=4095))[0]
    with pytest.raises(ValueError, match="`scale` expected to be above 0, but got 0"):
        Reading(scale=0)


def test_a_scale_is_part_of_what_a_dna_is_of(tmp_path: Path) -> None:
    deep = [(image * 16).astype(np.uint16) for image in GREYS]
    settings = {"feature": "efficientnet_lite0", "layers": ["block_0"]}
    dark, other = (make_dna(deep, reading=Reading(scale=scale), **settings) for scale in (4095, 8191))
    assert dark.preparation is not None
    assert dark.preparation["scale"] == 4095
    with pytest.raises(ValueError, match=r"their preparations \(scale\) differ: 4095 and 8191"):
        compare(dark, other)
    dark.save(tmp_path / "x.dna.npz")
    assert load_dna(tmp_path / "x.dna.npz").preparation == dark.preparation
    assert compare(dark, list(GREYS))["dna-emd"].value > 0  # of 8 bits, of which it says nothing


@pytest.mark.filterwarnings("default")
def test_an_exif_rotation_that_is_ignored_is_told_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    for name, orientation in (("a.jpg", 6), ("b.png", 3), ("c.tif", 8), ("d.png", 1), ("e.jpg", 0), ("f.png", None)):
        exif = Image.Exif()
        if orientation is not None:
            exif[274] = orientation
        COLOUR.save(tmp_path / name, exif=exif)
    for source in (*sorted(tmp_path.iterdir()), tmp_path):
        for workers in (0, 2 * (source == tmp_path)):
            turned = Reading(2, workers, exif_orientation=True)
            assert list(load_batches(open_source(source, turned), (8, 8), reading=turned, notes=None, channels=3))
            assert list(load_batches(open_source(source), (8, 8), reading=Reading(2, workers), notes=None, channels=3))
            told = [str(warning.message) for warning in recwarn if "EXIF" in str(warning.message)]
            expected = f"Images of {str(source)!r} have an EXIF rotation, which is ignored; to rotate them, pass "
            assert told == [f"{expected}`exif_orientation=True`"] * (
                source.name[0] not in "cdef"
            )  # Pillow turns TIFFs itself
            recwarn.clear()


# packages that some files need


def heic(module: Any) -> bytes:
    file = BytesIO()
    module.from_pillow(Image.fromarray(photographs(2)[0])).save(file, quality=95)
    return file.getvalue()


def jxl(module: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(photographs(2)[0]).save(file, "JXL", lossless=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("module", "name", "write", "kind", "package"),
    [
        ("pillow_heif", "a.heic", heic, "HEIC", "pillow-heif"),
        ("pillow_jxl", "a.jxl", jxl, "JPEG XL", "pillow-jxl-plugin"),
    ],
)
def test_files_of_plugins(
    module: str, name: str, write: Callable, kind: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = write(pytest.importorskip(module))
    (tmp_path / name).write_bytes(content)
    Image.init()  # which registers all other formats once a process, and must not do so in what is undone
    ids = [name for name in Image.ID if name not in ("HEIF", "JXL")]
    monkeypatch.setattr(Image, "OPEN", {name: Image.OPEN[name] for name in ids})
    monkeypatch.setattr(Image, "ID", ids)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, module, None)
        with pytest.raises(ValueError, match=f"{name}': it is {kind}, .*: `pip install {package}`"):
            make_dna(tmp_path, layers=["block_0"])
    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    photo = photographs(2)[0]
    for source in (open_source(tmp_path), open_source([content])):
        assert source[0].shape == photo.shape
        assert np.abs(source[0].astype(float) - photo).mean() < (8 if module == "pillow_heif" else 1e-9)
    assert decode_image(tmp_path / name).file.format in ("HEIF", "JXL")


def test_the_package_for_bands_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match="it is a TIFF of bands, .*: `pip install tifffile`"):
        read([tiff_of_bands(BANDS[0])], 5)
    opaque = np.dstack([RGB, np.full((9, 7), 255, np.uint8)])
    file = BytesIO()
    Image.fromarray(opaque).save(file, "TIFF")
    np.testing.assert_array_equal(read([file.getvalue()])[0], RGB)


# limits


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo(tmp_path / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.png")
    (tmp_path / "folder.png").mkdir()
    for path, fault in (
        (tmp_path / "folder.png", "it is a folder, not an image; pass it by itself"),
        *((path, "it is not a regular file$") for path in (tmp_path / "fifo.png", tmp_path / "s.png", "/dev/zero")),
    ):
        with pytest.raises(ValueError, match=f"^Can't read image '{path}': {fault}"):
            open_source([path])[0]
    for name in ("fifo.png", "fifo.zip", "fifo.txt"):
        Path(name).exists() or os.mkfifo(name)
        with pytest.raises(ValueError, match=f"^'{tmp_path / name}' is not a regular file"):
            open_source(tmp_path / name)
    assert len(open_source(tmp_path)) == 2  # named like images, so they are refused when read, or left out


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.png").write_bytes(huge(13_000))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.write(tmp_path / "bomb.png", "bomb.png")
    pillows = Image.MAX_IMAGE_PIXELS
    message = r"169000000 pixels\) exceeds limit of 160000000 .*TORCHMETRICS_DNA_MAX_PIXELS"
    for source in (tmp_path / "bomb.png", tmp_path / "bomb.zip", [BytesIO(huge(13_000))]):
        with pytest.raises(ValueError, match=message), at_most(100):
            open_source(source)[0]
    assert pillows == Image.MAX_IMAGE_PIXELS
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", "200000000")
    with pytest.raises(ValueError, match="bomb.png': MemoryError$"), at_most(100):
        open_source(tmp_path / "bomb.png")[0]


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as if 100 x 100 pixels were a suspicious number to Pillow
    (tmp_path / "x.png").write_bytes(huge(100))
    (tmp_path / "x.tif").write_bytes(tiff(np.zeros((100, 100), np.uint8)))
    COLOUR.save(tmp_path / "x.bmp")
    for name in ("x.png", "x.tif"):
        assert open_source(tmp_path / name)[0].shape == (100, 100, 3)
    for limit, name, message in (
        ("10000", "x.png", ""),
        ("9999", "x.png", r"\(10000 pixels\) exceeds limit of 9999 pixels; "),
        ("64", "x.bmp", r"\d+ bytes, more than 256 .*DNA_MAX_PIXELS"),
        ("many", "x.png", "expected to be a number, but got 'many'"),
    ):
        monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", limit)
        if not message:
            assert open_source(tmp_path / name)[0].shape == (100, 100, 3)
            continue
        with pytest.raises(ValueError, match=message):
            open_source(tmp_path / name)[0]


@pytest.mark.parametrize("honest", [True, False])
def test_zip_members_do_not_unpack_beyond_the_limit(
    honest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", "250000")  # 1 MB
    path, size = tmp_path / "bomb.zip", 64_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("bomb.png", huge(8) + bytes(size - len(huge(8))))
    if not honest:  # the size that is unpacked stands in both headers
        path.write_bytes(path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", 9000)))
    source = open_source(path)
    tracemalloc.start()
    message = "64000000 bytes, more than 1000000 " if honest else "Bad CRC-32"
    with pytest.raises(ValueError, match=rf"Can't read image '.*bomb\.zip/bomb\.png': .*{message}"):
        source[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz"])
def test_an_image_that_goes_on_after_its_end_is_not_unpacked(name: str, tmp_path: Path) -> None:
    """Zeros are packed a thousand times smaller, and stand after the image, where no decoder looks."""
    size = 300_000_000
    image = huge(8)
    (tmp_path / "bomb.png").write_bytes(image)
    with (tmp_path / "bomb.png").open("r+b") as file:
        file.truncate(size)
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(tmp_path / "bomb.png", "bomb.png")
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            archive.add(tmp_path / "bomb.png", "bomb.png")
    (tmp_path / "bomb.png").unlink()
    source = open_source(path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"it would unpack from \d+ to {size} bytes, as a zip bomb does"):
        source[0] if isinstance(source, ImageSource) else [source.decode(entry) for entry in source]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


# remedies, each of which is tried

ZEROS = np.zeros((8, 28, 28, 3), np.uint8)


def floats(low: float, high: float, kind: Callable) -> Any:
    imgs = kind(np.linspace(low, high, 12).reshape(1, 3, 4, 1).astype(np.float32))
    return imgs if kind is np.asarray else imgs.movedim(3, 1)


@pytest.mark.parametrize(
    ("source", "got", "remedy"),
    [
        (ZEROS[..., 0], "shape (8, 28, 28) and type uint8", "imgs[..., None]"),
        (torch.from_numpy(ZEROS), "shape (8, 28, 28, 3) and type torch.uint8", "imgs.permute(0, 3, 1, 2)"),
        (torch.from_numpy(ZEROS[0]), "shape (28, 28, 3) and type torch.uint8", "imgs.permute(2, 0, 1)"),
        (ZEROS.transpose(0, 3, 1, 2), "shape (8, 3, 28, 28) and type uint8", "imgs.transpose(0, 2, 3, 1)"),
        (ZEROS[..., [0, 0, 0, 0]], "shape (8, 28, 28, 4) and type uint8", f"imgs[..., :3]`, or {OWN.format(4)[:-1]}"),
        (ZEROS.astype(np.int64), "shape (8, 28, 28, 3) and type int64", TO_INTEGERS[0]),
        (torch.zeros(8, 1, 28, 28).long(), "shape (8, 1, 28, 28) and type torch.int64", TO_INTEGERS[1]),
        *[
            (floats(low, high, kind), f"{low:g} to {high:g}", remedy)
            for low, high, remedy in (
                (0, 255, "imgs / 255"),
                (-1, 1, "(imgs + 1) / 2"),
                (-4, 4, ""),
                (*[np.nan] * 2, ""),
            )
            for kind in (np.asarray, torch.tensor)
        ],
    ],
)
def test_what_is_no_image_is_told_how_to_become_one(source: Any, got: str, remedy: str) -> None:
    closing = "`" * (remedy.count("`") % 2 == 0)
    ending = f"; .*pass `{re.escape(remedy)}{closing}$" if remedy else "[^;]*$"
    with pytest.raises(ValueError, match=f"but got {re.escape(got)}{ending}"):
        make_dna(source, "properties") if "shape" in got else open_source(source)[0]
    if remedy:
        opened = open_source(eval(remedy.partition("`")[0], {"imgs": source, "torch": torch}))
        if opened[0].dtype == np.float32:
            np.testing.assert_allclose(opened[0][..., 0], np.linspace(0, 1, 12).reshape(3, 4), atol=1e-6)
        else:
            assert (len(opened), opened[0].shape) == (8 if 8 in source.shape else 1, (28, 28, 3))
    if source.ndim == 4 and "shape" in got:
        one = re.escape(got.replace("(8, ", "("))
        with pytest.raises(ValueError, match=rf"^Can't read image 'image 0': it must .* but got {one}; .*pass `imgs"):
            open_source([source[0]])[0]


@pytest.mark.parametrize(
    ("imgs", "remedy"),
    [
        (torch.zeros(4, 4, 28, 28, dtype=torch.uint8), "imgs[:, :3]"),
        (torch.zeros(28, 28, 3, dtype=torch.uint8), "imgs.permute(2, 0, 1)[None]"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8), "imgs[:, None].expand(-1, 3, -1, -1)"),
        (torch.zeros(4, 1, 9, 9, dtype=torch.uint8), "imgs.expand(-1, 3, -1, -1)`, or a DNAExtractor with `channels=1"),
        (torch.linspace(-1, 1, 24).reshape(1, 3, 4, 2), "(imgs + 1) / 2"),
        (torch.linspace(0, 255, 24).reshape(1, 3, 4, 2), "imgs / 255"),
        (torch.linspace(0, 1.01, 24).reshape(1, 3, 4, 2), "imgs.clamp(0, 1)"),
        (torch.linspace(-0.05, 1, 24).reshape(1, 3, 4, 2), "imgs.clamp(0, 1)"),
        (torch.linspace(-2, 7, 24).reshape(1, 3, 4, 2), None),
    ],
)  # fmt: skip
def test_batches_of_metrics_are_told_how_to_become_images(imgs: torch.Tensor, remedy: str | None) -> None:
    normalize = imgs.is_floating_point()
    got = r"\[0, 1\] .* but got values" if normalize else rf"W\), but got {re.escape(str((*imgs.shape,)))}"
    ending = f"; pass `{re.escape(remedy)}`$" if remedy else "[^;]*$"
    with pytest.raises(ValueError, match=f"^Argument `imgs` expected to .*{got}.*{ending}"):
        check_images(imgs, normalize, channels=(3,), values=True)
    if remedy:
        check_images(eval(remedy.partition("`")[0], {"imgs": imgs}), normalize, channels=(3,), values=True)


PICTURES = [Image.fromarray(pixels) for pixels in np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), np.uint8)]


@pytest.mark.parametrize(
    "imgs",
    [
        PICTURES,
        [picture.convert("L") for picture in PICTURES],
        tuple(picture.convert("RGBA") for picture in PICTURES),
        [np.asarray(picture) for picture in PICTURES],
        [np.asarray(picture).transpose(2, 0, 1) for picture in PICTURES],
        [torch.zeros(3, 8, 9, dtype=torch.uint8)] * 2,
        [torch.zeros(2, 3, 8, 9, dtype=torch.uint8)] * 2,
        np.zeros((2, 3, 8, 9), np.uint8)[::-1],
        np.zeros((2, 8, 9, 3), np.uint8),
        np.zeros((2, 3, 8, 9), ">f4"),
    ],
)
@pytest.mark.parametrize("channels", [(3,), (1, 3)])
def test_other_types_of_batches_are_told_how_to_become_tensors(imgs: Any, channels: tuple[int, ...]) -> None:
    """The remedy that the error names works."""
    normalize = isinstance(imgs, np.ndarray) and imgs.dtype.kind == "f"
    with pytest.raises(TypeError, match="^Argument `imgs` expected to be a Tensor, but got .*; pass `.*`$") as told:
        check_images(imgs, normalize, channels, values=True)
    remedy = str(told.value).split("`")[3]
    check_images(eval(remedy, {"imgs": imgs, "torch": torch, "numpy": np}), normalize, channels, values=True)


@pytest.mark.parametrize(
    "imgs",
    [
        [*PICTURES, PICTURES[0].resize((5, 6))],
        [PICTURES[0].convert("L"), PICTURES[0].resize((5, 6)).convert("RGBA")],
        [np.asarray(PICTURES[0]), np.asarray(PICTURES[0])[:5]],
        [np.asarray(PICTURES[0])[::-1], np.asarray(PICTURES[0])[:5]],
        [np.zeros((3, 8, 9), np.uint8), np.zeros((3, 8, 5), np.uint8)],
        [torch.zeros(3, 8, 9, dtype=torch.uint8), torch.zeros(3, 8, 5, dtype=torch.uint8)],
        [torch.zeros(2, 3, 8, 9, dtype=torch.uint8), torch.zeros(1, 3, 8, 5, dtype=torch.uint8)],
    ],
)
@pytest.mark.parametrize("channels", [(3,), (1, 3)])
def test_images_of_several_sizes_can_be_given_one_at_a_time(imgs: Any, channels: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="; their sizes differ: pass one at a time, each as `.*`$") as raised:
        check_images(imgs, False, channels, values=True)
    remedy = str(raised.value).split("`")[3]
    for img in imgs:
        check_images(eval(remedy, {"img": img, "torch": torch, "numpy": np}), False, channels, values=True)


@pytest.mark.parametrize("pictures", [PICTURES, [*PICTURES, PICTURES[0].resize((5, 6))]])
@pytest.mark.parametrize(("normalize", "channels"), [(False, (3,)), (True, (3,)), (False, (1,)), (True, (1,))])
def test_lists_of_pictures_are_told_how_to_keep_their_values(
    pictures: list[Image.Image], normalize: bool, channels: tuple[int, ...]
) -> None:
    with pytest.raises(TypeError, match="^Argument `imgs` expected to be a Tensor, but got list; ") as raised:
        check_images(pictures, normalize, channels, values=True)
    remedy = str(raised.value).split("`")[3]
    names = {"imgs": pictures, "torch": torch, "numpy": np}
    has_one_size = len({picture.size for picture in pictures}) == 1
    if has_one_size:
        batches = list(eval(remedy, names).split(1))
    else:
        batches = [eval(remedy, names | {"img": picture}) for picture in pictures]
    for picture, batch in zip(pictures, batches, strict=True):
        check_images(batch, normalize, channels, values=True)
        expected = decode_image(picture, channels[0]).pixels
        values = batch[0].movedim(0, 2)
        levels = (255 * values).round() if normalize else values
        np.testing.assert_array_equal(levels.numpy(), expected)


@pytest.mark.parametrize("values", [[1 + 9e-4, -1e-7], [1.001, -0.001]])
@pytest.mark.parametrize("make", [np.asarray, torch.tensor, Image.fromarray])
def test_pixels_a_little_beyond_0_to_1_are_clamped(values: list[float], make: Callable[..., Any]) -> None:
    pixels = np.full((8, 9), 0.25, np.float32)
    pixels[0, :2] = values
    expected = pixels.clip(0, 1)[..., None]
    if make is torch.tensor:
        pixels = pixels[None]
    np.testing.assert_array_equal(decode_image(make(pixels), 1).pixels, expected)


def test_pixels_further_beyond_0_to_1_are_told_with_all_digits() -> None:
    with pytest.raises(ValueError, match=r"but got 0 to 1\.0010002; pass `imgs.clip\(0, 1\)`$"):
        decode_image(np.array([[0, 1.0010002]], np.float32), 1)


def test_other_channels_of_metrics_are_told() -> None:
    imgs = torch.zeros(4, 7, 28, 28, dtype=torch.uint8)
    with pytest.raises(ValueError, match=rf"but got \(4, 7, 28, 28\); .*{re.escape(OWN.format(7))}$"):
        check_images(imgs, False, channels=(3,), values=True)
    with pytest.raises(ValueError, match=r"\(B, 1 or 3, H, W\), but got \(4, 7, 28, 28\)$"):
        check_images(imgs, False, (1, 3), values=True)
