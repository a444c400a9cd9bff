"""One image, whatever it is: read right, or refused in one line."""

from __future__ import annotations

import os
import re
import socket
import struct
import tracemalloc
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from address_space import at_most
from PIL import Image

from torchmetrics_dna import make_dna
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.tensors import check_images

RNG = np.random.default_rng(0)
SHADES = RNG.random((9, 7), np.float32)
BYTES = RNG.integers(0, 256, (9, 7, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (9, 7, 3), np.uint16)


FOURTH = "a fourth channel that is no alpha; save it without, or give a DNAExtractor .* with `channels=4`"


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (SHADES, {}, SHADES[..., None]),
        (DEEP[..., 0], {}, DEEP[..., :1] / 65535),
        (DEEP[..., 0], {"byteorder": ">"}, DEEP[..., :1] / 65535),
        (BYTES, {"photometric": "rgb"}, BYTES),
        (np.moveaxis(BYTES, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, BYTES),
        (np.dstack([BYTES, BYTES[..., 0]]), {"photometric": "rgb"}, BYTES),
        (BYTES[..., 0], {"photometric": "miniswhite"}, 255 - BYTES[..., :1]),
        (SHADES > 0.5, {"photometric": "minisblack"}, np.uint8(255) * (SHADES > 0.5)[..., None]),
    ],
)
def test_tiffs_that_are_read(pixels: np.ndarray, options: dict, expected: np.ndarray, tmp_path: Path) -> None:
    image = open_source(saved(tmp_path / "x.tif", pixels, **options))[0]
    assert image.dtype == (np.uint8 if expected.dtype in (np.uint8, np.uint16) else np.float32)
    np.testing.assert_allclose(image, np.broadcast_to(expected, (9, 7, 3)), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (SHADES * 300, {}, rf"must lie in \[0, 1\], but got {300 * SHADES.min():g} to {300 * SHADES.max():g}$"),
        (SHADES, {"photometric": "miniswhite"}, "white is 0"),
        (np.stack([BYTES[..., 0]] * 6), {}, "6 pages; save the one that is meant"),
        (BYTES[:, :, [0, 1, 2, 0, 1, 2]], {"photometric": "rgb"}, "6 channels; expected 1, 3 or 4"),
        # older Pillow does not read it
        (
            BYTES[:, :, :2],
            {"photometric": "minisblack", "planarconfig": "contig"},
            "(2 channels|not a TIFF that Pillow)",
        ),
        (DEEP, {"photometric": "rgb"}, "colours of 16 bits, of which Pillow reads 8"),
        (BYTES[:, :, [0, 1, 2, 0]], {"photometric": "rgb", "extrasamples": ["unspecified"]}, FOURTH),
        (BYTES[..., 0].view(np.int8), {}, "8-bit signed integers; expected"),
        (DEEP[..., 0].astype(np.uint32) * 1000, {}, "32-bit integers"),
        (SHADES.astype(np.float64), {}, "not a TIFF that Pillow reads; save"),
    ],
)
def test_tiffs_that_are_refused(pixels: np.ndarray, options: dict, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", pixels, **options)
    with pytest.raises(ValueError, match=rf"^Can't read image '.*x\.tif': .*{message}") as caught:
        open_source([path])[0]
    assert "\n" not in str(caught.value)


def test_12_bit_shades_are_refused(tmp_path: Path) -> None:
    # a TIFF by hand, since tifffile packs no 12 bits without a codec: two pixels, 4095 and 0
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 12) + b"\xff\xf0\x00\x00"
    (tmp_path / "x.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    with pytest.raises(ValueError, match="12-bit integers"):
        open_source(tmp_path / "x.tif")[0]


COLOUR = Image.fromarray(BYTES)
SEE_THROUGH = COLOUR.quantize(256)
SEE_THROUGH.info["transparency"] = bytes(256)
GREY = Image.fromarray(BYTES[..., 0])
DEEPENED = BYTES[..., 0] * np.uint16(257)


@pytest.mark.parametrize(
    ("image", "tolerance"),
    [
        (COLOUR.convert("RGBA"), 0),
        (COLOUR.convert("RGBA").convert("RGBa"), 0),
        (COLOUR.convert("RGBX"), 0),
        (COLOUR.convert("CMYK"), 0),
        (COLOUR.convert("YCbCr"), 3),
        (COLOUR.convert("HSV"), 8),
        (COLOUR.quantize(256), 1),
        (SEE_THROUGH, 1),
        (GREY, 0),
        (GREY.convert("LA"), 0),
        (GREY.convert("LA").convert("La"), 0),
        (GREY.convert("LA").convert("PA"), 0),
        (Image.fromarray(DEEPENED), 1e-4),
        (Image.fromarray(DEEPENED).convert("I"), 1e-4),
        (Image.frombytes("I;16L", (7, 9), DEEPENED.astype("<u2").tobytes()), 1e-4),
        (Image.frombytes("I;16B", (7, 9), DEEPENED.astype(">u2").tobytes()), 1e-4),
        (Image.fromarray(BYTES[..., 0] / np.float32(255)), 1e-4),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_gives_the_same_picture(image: Image.Image, tolerance: float) -> None:
    pixels = open_source([image])[0]
    expected = BYTES if len(image.getbands()) > 2 or image.mode == "P" else BYTES[..., :1].repeat(3, 2)
    pixels = pixels * 255 if pixels.dtype == np.float32 else pixels.astype(int)
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=tolerance)


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo(tmp_path / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.png")
    (tmp_path / "folder.png").mkdir()
    for path, fault in (
        (tmp_path / "folder.png", "it is a folder, not an image; give a folder by itself"),
        *((path, "it is not a regular file$") for path in (tmp_path / "fifo.png", tmp_path / "s.png", "/dev/zero")),
    ):
        with pytest.raises(ValueError, match=f"^Can't read image '{path}': {fault}"):
            open_source([path])[0]
    for name in ("fifo.png", "fifo.zip", "fifo.txt"):
        Path(name).exists() or os.mkfifo(name)
        with pytest.raises(ValueError, match=f"^'{tmp_path / name}' is not a regular file; give a folder"):
            open_source(tmp_path / name)
    assert len(open_source(tmp_path)) == 2  # named like images, so they are refused when read, or left out


def huge(side: int) -> bytes:
    """A small PNG file of many black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compress(bytes((1 + (side + 7) // 8) * side))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.png").write_bytes(huge(13_000))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.write(tmp_path / "bomb.png", "bomb.png")
    pillows = Image.MAX_IMAGE_PIXELS
    message = r"Image size \(169000000 pixels\) exceeds limit of 160000000 .*TORCHMETRICS_DNA_MAX_PIXELS"
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
    assert open_source(tmp_path / "x.png")[0].shape == (100, 100, 3)
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((100, 100), np.uint8))
    assert open_source(tmp_path / "x.tif")[0].shape == (100, 100, 3)
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", "10000")
    assert open_source(tmp_path / "x.png")[0].shape == (100, 100, 3)
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", "9999")
    with pytest.raises(ValueError, match=r"\(10000 pixels\) exceeds limit of 9999 pixels; "):
        open_source(tmp_path / "x.png")[0]
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", "64")
    Image.fromarray(BYTES).save(tmp_path / "x.bmp")
    with pytest.raises(ValueError, match=r"it has \d+ bytes, more than 256 .4 for each pixel.*DNA_MAX_PIXELS"):
        open_source(tmp_path / "x.bmp")[0]
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="TORCHMETRICS_DNA_MAX_PIXELS expected to be a number, but got 'many'"):
        open_source(tmp_path / "x.png")[0]


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
    message = r"it has 64000000 bytes, more than 1000000 .*TORCHMETRICS_DNA_MAX_PIXELS" if honest else "Bad CRC-32"
    with pytest.raises(ValueError, match=rf"Can't read image '.*bomb\.zip/bomb\.png': {message}"):
        source[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Image.new("I", (4, 3), 70000), r"must lie in \[0, 65535\], but got 70000 to 70000"),
        (Image.new("I", (4, 3), -1), "but got -1 to -1"),
        (Image.new("F", (4, 3), 128), r"must lie in \[0, 1\], but got 128 to 128"),
        (np.zeros((8, 28, 28, 3), np.uint8), r"\(8, 28, 28, 3\) and type uint8; give one image at a time"),
    ],
)
def test_shades_without_a_known_white_and_batches_are_no_images(source: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_source([source])[0]


OWN = "or a DNAExtractor of your own network with `channels=4"
GREYS, COLOURS = np.zeros((8, 28, 28), np.uint8), np.zeros((8, 28, 28, 3), np.uint8)


@pytest.mark.parametrize(
    ("source", "got", "remedy"),
    [
        (GREYS, "shape (8, 28, 28) and type uint8", "imgs[..., None]"),
        (torch.from_numpy(COLOURS), "shape (8, 28, 28, 3) and type torch.uint8", "imgs.permute(0, 3, 1, 2)"),
        (torch.from_numpy(COLOURS[0]), "shape (28, 28, 3) and type torch.uint8", "imgs.permute(2, 0, 1)"),
        (COLOURS.transpose(0, 3, 1, 2), "shape (8, 3, 28, 28) and type uint8", "imgs.transpose(0, 2, 3, 1)"),
        (COLOURS[..., [0, 0, 0, 0]], "shape (8, 28, 28, 4) and type uint8", f"imgs[..., :3]`, {OWN}"),
        (COLOURS.astype(np.int64), "shape (8, 28, 28, 3) and type int64", 'imgs.astype("uint8")'),
        (torch.from_numpy(GREYS)[:, None].long(), "shape (8, 1, 28, 28) and type torch.int64", "imgs.to(torch.uint8)"),
    ],
)
def test_arrays_of_another_layout_or_type_are_told_how_to_become_images(
    source: np.ndarray | torch.Tensor, got: str, remedy: str
) -> None:
    with pytest.raises(ValueError, match=rf"^Images must .* but got {re.escape(got)}; .*give `{re.escape(remedy)}`$"):
        make_dna(source, "properties")
    image = source[0] if source.ndim == 4 else source
    got = re.escape(got.replace("(8, ", "(") if source.ndim == 4 else got)
    with pytest.raises(ValueError, match=rf"^Can't read image 'image 0': it must .* but got {got}; .*give `imgs"):
        open_source([image])[0]
    opened = open_source(eval(remedy.partition("`")[0], {"imgs": source, "torch": torch}))
    assert len(opened) == (8 if 8 in source.shape else 1)
    assert opened[0].shape == (28, 28, 3)


@pytest.mark.parametrize(
    ("low", "high", "remedy"), [(0, 255, "imgs / 255"), (-1, 1, "(imgs + 1) / 2"), (-3, 3, None), (0, np.nan, None)]
)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_floats_of_another_scale_are_told_how_to_become_images(
    low: float, high: float, remedy: str | None, kind: type
) -> None:
    imgs = kind(np.linspace(low, high, 12).reshape(1, 3, 4, 1).astype(np.float32))
    imgs = imgs if kind is np.asarray else imgs.movedim(3, 1)
    with pytest.raises(ValueError, match=r"pixels must lie in \[0, 1\], but got") as caught:
        open_source(imgs)[0]
    assert ("; give" in str(caught.value)) == (remedy is not None)
    if remedy:
        assert str(caught.value).endswith(f"but got {low:g} to {high:g}; give `{remedy}`")
        image = open_source(eval(remedy, {"imgs": imgs}))[0]
        np.testing.assert_allclose(image[..., 0], np.linspace(0, 1, 12).reshape(3, 4), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_floats_of_any_width_are_read(dtype: torch.dtype) -> None:
    imgs = torch.linspace(0, 1, 12).reshape(1, 1, 3, 4).to(dtype)
    image = open_source(imgs)[0]
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., 1], imgs[0, 0].float())


@pytest.mark.parametrize(
    ("imgs", "remedy"),
    [
        (torch.zeros(4, 4, 28, 28, dtype=torch.uint8), "imgs[:, :3]"),
        (torch.zeros(28, 28, 3, dtype=torch.uint8), "imgs.permute(2, 0, 1)[None]"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8), "imgs[:, None].expand(-1, 3, -1, -1)"),
        (torch.linspace(-1, 1, 24).reshape(1, 3, 4, 2), "(imgs + 1) / 2"),
        (torch.linspace(0, 255, 24).reshape(1, 3, 4, 2), "imgs / 255"),
        (torch.linspace(0, 1.01, 24).reshape(1, 3, 4, 2), None),
    ],
)
def test_batches_of_metrics_are_told_how_to_become_images(imgs: torch.Tensor, remedy: str | None) -> None:
    normalize = imgs.is_floating_point()
    got = r"\[0, 1\] .* but got values" if normalize else rf"W\), but got {re.escape(str((*imgs.shape,)))}"
    ending = f"; give `{re.escape(remedy)}`$" if remedy else "[^;]*$"
    with pytest.raises(ValueError, match=f"^Argument `imgs` expected to .*{got}.*{ending}"):
        check_images(imgs, normalize)
    if remedy:
        check_images(eval(remedy, {"imgs": imgs}), normalize)


def test_other_channels_are_told_of_the_argument() -> None:
    for channels, remedy in (
        (1, r"give `imgs.expand\(-1, 3, -1, -1\)`, or a DNAExtractor with `channels=1`"),
        (7, "for other images than RGB, give a DNAExtractor of your own network with `channels=7`"),
    ):
        with pytest.raises(ValueError, match=rf"\(B, 3, H, W\), but got \(4, {channels}, 28, 28\); {remedy}$"):
            check_images(torch.zeros(4, channels, 28, 28, dtype=torch.uint8), False)
    with pytest.raises(ValueError, match=r"expected to have shape \(B, 1 or 3, H, W\), but got \(4, 2, 8, 8\)$"):
        check_images(torch.zeros(4, 2, 8, 8, dtype=torch.uint8), False, (1, 3))


def png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kinds[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    sums = ((kind, data, zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", s) for k, d, s in sums)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_are_not_cut_to_8(channels: int) -> None:
    deep = np.dstack([DEEP, DEEP])[..., :channels]
    ppms = [b"P6 7 9 %d\n" % most + deep.clip(0, most).astype(">u2").tobytes() for most in (256, 65535)]
    files = [png(deep), *(ppms if channels == 3 else [])]
    for file in files:
        with pytest.raises(ValueError, match="it has colours of 16 bits, of which Pillow reads 8; save it with 8 bits"):
            open_source([file])[0]
    shallow = np.array(open_source([b"P6 7 9 255\n" + BYTES.tobytes()])[0])
    np.testing.assert_array_equal(shallow, BYTES)
    if channels == 3:
        np.testing.assert_allclose(open_source(deep)[0], DEEP / 65535, rtol=0, atol=1e-7)  # as the message says
    np.testing.assert_allclose(open_source([png(DEEP[..., :1])])[0][..., 0], DEEP[..., 0] / 65535, rtol=0, atol=1e-7)
