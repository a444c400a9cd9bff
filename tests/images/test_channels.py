"""Images of other channels than RGB: what a network takes is what is decoded, as it was saved, or refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from networks import Pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, Reading, make_dna
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.resize import RESIZES, resize_image, resize_tensor

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (4, 9, 7, 3), np.uint8)
GREYS = COLOURS[..., 0]
DEEP = RNG.integers(0, 65536, (4, 9, 7, 5), np.uint16)
BANDS = RNG.random((4, 9, 7, 5), np.float32)
SHIFTED = ((COLOURS.astype(int) * [19595, 38470, 7471]).sum(-1) + 32768 >> 16).astype(np.uint8)  # Pillow's L


def read(source: object, channels: int, **options: object) -> np.ndarray:
    """The images of a source as a network gets them, ``(B, H, W, C)``."""
    reading = Reading(2, **options)
    batches = list(load_batches(open_source(source, reading), None, channels=channels, reading=reading))
    return torch.cat([batch.images for batch in batches]).movedim(1, 3).numpy()


def tiff(pixels: np.ndarray, extra: int = 0, order: str = "<", separate: bool = False) -> bytes:
    """An uncompressed TIFF of ``(H, W, samples)``, of RGB and a fourth sample of a kind, or of bands."""
    file, samples = BytesIO(), pixels.shape[2]
    tifffile.imwrite(
        file, np.moveaxis(pixels, 2, 0) if separate else pixels, byteorder=order, metadata=None,
        photometric="rgb" if samples == 4 else "minisblack", planarconfig="separate" if separate else "contig",
        extrasamples=[extra] * (1 if samples == 4 else samples - 1),
    )  # fmt: skip
    return file.getvalue()


def saved(images: np.ndarray, name: str, folder: Path) -> Path:
    """Save arrays as one file, or pictures in a folder."""
    if name == "x.npy":
        np.save(folder / name, images)
    elif name == "x.npz":
        np.savez_compressed(folder / name, images)
    if name.startswith("x."):
        return folder / name
    for number, image in enumerate(images):
        path = folder / f"{number}.{name}"
        if name == "tif" and image.ndim == 3 and image.shape[2] != 3:
            path.write_bytes(tiff(image))
        else:
            Image.fromarray(image).save(path)
    return folder


@pytest.mark.parametrize(
    ("images", "name", "channels", "expected"),
    [
        (GREYS, "png", 1, GREYS[..., None]),
        (DEEP[..., 0], "png", 1, DEEP[..., :1] / 65535),
        (BANDS[..., 0], "tif", 1, BANDS[..., :1]),
        (COLOURS, "png", 1, SHIFTED[..., None]),
        (GREYS, "png", 3, GREYS[..., None].repeat(3, 3)),
        (GREYS[..., None], "x.npz", 1, GREYS[..., None]),
        (DEEP[..., :3], "x.npy", 3, DEEP[..., :3] / 65535),
        (DEEP.astype(">u2"), "x.npy", 5, DEEP / 65535),
        (BANDS, "x.npz", 5, BANDS),
        (BANDS.astype(np.float64), "x.npy", 5, BANDS),
        (DEEP.view(np.uint8)[..., :4], "x.npz", 4, DEEP.view(np.uint8)[..., :4]),
        (DEEP, "tif", 5, DEEP / 65535),
        (BANDS[..., :2], "tif", 2, BANDS[..., :2]),
        (DEEP.view(np.uint8)[..., :4], "tif", 4, DEEP.view(np.uint8)[..., :4]),
        (DEEP.view(np.uint8)[..., :4], "png", 4, DEEP.view(np.uint8)[..., :4]),
        (DEEP.view(np.uint8)[..., :2], "png", 2, DEEP.view(np.uint8)[..., :2]),
    ],
)
def test_what_a_network_gets(
    images: np.ndarray, name: str, channels: int, expected: np.ndarray, tmp_path: Path
) -> None:
    expected = expected if expected.dtype == np.uint8 else expected.astype(np.float32)
    pixels = read(saved(images, name, tmp_path), channels)
    assert pixels.dtype == expected.dtype
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_images_in_memory(kind: Callable, one_by_one: bool) -> None:
    for images, channels, expected in (
        (BANDS, 5, BANDS),
        (DEEP, 5, (DEEP / 65535).astype(np.float32)),
        (GREYS[..., None], 1, GREYS[..., None]),
        (COLOURS / np.float32(255), 1, (COLOURS @ [0.299, 0.587, 0.114] / 255)[..., None]),
    ):
        source = kind(images if kind is np.asarray else np.moveaxis(images, 3, 1))
        np.testing.assert_allclose(read(list(source) if one_by_one else source, channels), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
def test_tiffs_of_bands(order: str, separate: bool) -> None:
    for pixels, expected in ((DEEP[0], DEEP[0] / 65535), (BANDS[0], BANDS[0])):
        np.testing.assert_allclose(read([tiff(pixels, 0, order, separate)], 5)[0], expected, rtol=0, atol=1e-7)


def test_every_picture_becomes_grey_as_pillow_makes_it() -> None:
    colour, grey = Image.fromarray(COLOURS[0]), Image.fromarray(GREYS[0])
    palette = colour.quantize(256)
    for image, expected in (
        (colour, colour.convert("L")),
        (colour.convert("CMYK"), colour.convert("L")),
        (colour.convert("HSV"), colour.convert("HSV").convert("RGB").convert("L")),
        (palette, palette.convert("RGB").convert("L")),
        (grey.convert("LA"), grey),
        (grey.convert("LA").convert("La"), grey),
        (grey.convert("1"), grey.convert("1").convert("L")),
    ):
        np.testing.assert_array_equal(read([image], 1)[0, ..., 0], np.asarray(expected))


FOUR = DEEP.view(np.uint8)[0, ..., :4]
NO_ALPHA = "it is a TIFF with a fourth channel that is no alpha"
GIVE = "give images of {} channels, or "
OWN = "a DNAExtractor of your own network with `channels={}`"


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        (FOUR, 3, f"give `imgs[..., :3]`, or {OWN.format(4)}"),
        (BANDS[0], 3, f"give images of 1 or 3 channels, or {OWN.format(5)}"),
        (BANDS[0], 4, f"with C = 4, but got shape (9, 7, 5) and type float32; {GIVE.format(4)}{OWN.format(5)}"),
        (GREYS[0], 5, f"with C = 5, but got shape (9, 7) and type uint8; {GIVE.format(5)}{OWN.format(1)}"),
        (BANDS[0] * 300, 5, "floating point pixels must lie in [0, 1]"),
        (Image.fromarray(COLOURS[0]), 5, "3 channels (RGB), but the network takes 5; give arrays or TIFFs of 5 "),
        (Image.fromarray(GREYS[0]), 2, "1 channel (L), but the network takes 2; give arrays or TIFFs of 2 channels,"),
        (tiff(FOUR), 3, f"{NO_ALPHA}; save it without, or give {OWN.format(4)}"),
        (tiff(FOUR), 1, NO_ALPHA),
        (tiff(BANDS[0]), 4, f"5 channels, but the network takes 4; {GIVE.format(4)}{OWN.format(5)}"),
        (tiff(DEEP[0].view(np.int16)), 5, "bands of type int16; save them as uint8, uint16 or floats in [0, 1]"),
        (tiff(DEEP[0])[:-200], 5, ""),
    ],
)  # fmt: skip
def test_other_channels_are_refused_in_one_line(image: object, channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^Can't read image 'image 0': .*{re.escape(message)}") as caught:
        read([BytesIO(image).getvalue() if isinstance(image, bytes) else image], channels)
    assert "\n" not in str(caught.value)


def test_a_tiff_of_pages_or_turned_is_no_image_of_bands(tmp_path: Path) -> None:
    pages = [Image.fromarray(grey) for grey in GREYS]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match="it is a TIFF with 4 pages; save one that has all bands"):
        read(tmp_path / "x.tif", 4)
    Image.fromarray(DEEP.view(np.uint8)[0, ..., :4]).save(tmp_path / "y.tif", tiffinfo={274: 3})
    assert read(tmp_path / "y.tif", 4).shape == (1, 9, 7, 4)
    with pytest.raises(ValueError, match="it is a TIFF with bands that its orientation tag turns; save it upright"):
        read(tmp_path / "y.tif", 4, exif_orientation=True)


def test_the_package_for_tiffs_of_bands_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match="it is a TIFF of bands, which takes another package: `pip install tifffile`"):
        read([tiff(BANDS[0])], 5)
    opaque = np.dstack([COLOURS[0], np.full((9, 7), 255, np.uint8)])
    np.testing.assert_array_equal(read([tiff(opaque, extra=2)], 3)[0], COLOURS[0])


@pytest.mark.filterwarnings("default")
def test_alpha_that_is_dropped_is_told_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    alpha = np.full((9, 7), 255, np.uint8)
    opaque = Image.fromarray(np.dstack([COLOURS[0], alpha]))
    alpha[3, 3] = 254
    through = Image.fromarray(np.dstack([COLOURS[0], alpha]))
    keyed = Image.fromarray(COLOURS[0])
    keyed.save(tmp_path / "a.png", transparency=tuple(COLOURS[0, 2, 2].tolist()))
    through.save(tmp_path / "b.tif")
    through.quantize(64).save(tmp_path / "c.png")
    Image.fromarray(np.dstack([GREYS[0], alpha])).save(tmp_path / "d.png")
    told = "Images of {!r} have an alpha channel, which is dropped"
    for source in (*sorted(tmp_path.iterdir()), tmp_path):
        for channels, workers in ((3, 2 if source == tmp_path else 0), (1, 0)):
            assert list(load_batches(open_source(source), (8, 8), channels=channels, reading=Reading(2, workers)))
            assert str(recwarn.pop(UserWarning).message) == told.format(str(source))
    assert list(load_batches(open_source([through]), (8, 8), channels=4))
    assert list(load_batches(open_source([opaque, Image.fromarray(DEEP[0, ..., 0])]), (8, 8)))
    # Python 3.12 warns, too, where workers are forked beside threads
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_band_is_resized_by_itself(resize: str, channels: int, dtype: type) -> None:
    image = (BANDS[0] * (255 if dtype is np.uint8 else 1)).astype(dtype)[..., :channels]
    expected = [
        resize_image(band[..., None].repeat(3, 2), (5, 6), resize=resize)[0] for band in np.moveaxis(image, 2, 0)
    ]
    np.testing.assert_array_equal(resize_image(image, (5, 6), resize=resize), np.stack(expected))
    batch = torch.from_numpy(np.moveaxis(image, 2, 0).copy())[None]
    np.testing.assert_allclose(resize_tensor(batch, (5, 6), resize=resize)[0], np.stack(expected), rtol=0, atol=1e-5)


def test_types_that_differ_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Images differ in type \(float32 and uint8\); give the extractor an"):
        read([GREYS[0], DEEP[0, ..., 0]], 1)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_that_do_not_fit_are_refused_before_any_image(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, BANDS)
    done: list[int] = []
    reading = Reading(progress=lambda label, number, total: done.append(number))
    with pytest.raises(ValueError, match=r"^Can't read '.*x\.npz' as an array of images: Images must have shape \(B"):
        make_dna(path, DNAExtractor(Pixels(), channels=4), reading=reading)
    assert not done
    assert make_dna(path, DNAExtractor(Pixels(), channels=5), reading=reading).num_images == 4
