"""Resized images are those of the official code, of Pillow, torch and TensorFlow; boxes in images."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from golden import GOLDEN, load
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Outputs
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from without_numba import without_numba

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.extras import optional
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.cells import WHOLE, cells_of
from torchmetrics_dna.images.properties import PROPERTIES, properties_of
from torchmetrics_dna.images.resize import RESIZES, resize_image, resize_tensor


@pytest.mark.parametrize("crop", ["none", "center"])
def test_files_become_what_the_official_code_makes_of_them(crop: str) -> None:
    golden = load("resize.npz")
    for i, name in enumerate(golden["files"]):
        image = open_source(GOLDEN / "resize_images" / str(name))[0]
        assert hashlib.sha256(image.tobytes()).hexdigest() == golden["decoded_sha256"][i], name
        resized = resize_image(image, (224, 224), crop)
        grid = resized[:, golden["rows"]][:, :, golden["cols"]]
        np.testing.assert_allclose(grid, golden[f"grid-clean-{crop}"][i], rtol=0, atol=1e-6, err_msg=str(name))
        for statistic in ("mean", "std", "min", "max"):
            value = getattr(resized.astype(np.float64), statistic)(axis=(1, 2))
            np.testing.assert_allclose(value, golden[f"{statistic}-clean-{crop}"][i], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("crop", "size", "floating"),
    [
        ("none", (224, 224), False),
        ("center", (64, 96), False),
        ("none", (299, 299), True),
        ("center", (224, 224), True),
    ],
)
def test_tensors_become_what_files_become(crop: str, size: tuple[int, int], floating: bool) -> None:
    for name in load("resize.npz")["files"]:
        image = open_source(GOLDEN / "resize_images" / str(name))[0]
        batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        batch = batch / 255 if floating else batch
        np.testing.assert_allclose(
            resize_tensor(batch, size, crop, resize="clean")[0],
            resize_image(image, size, crop),
            rtol=0,
            atol=1e-4,
            err_msg=str(name),
        )


@pytest.mark.parametrize("size", [(192, 192), (90, 70), (300, 200)])
@pytest.mark.parametrize("floating", [False, True])
def test_files_are_resized_by_pillow_alone_to_the_last_bit(
    size: tuple[int, int], floating: bool, photos: list[np.ndarray]
) -> None:
    height, width = size
    for photo in (*photos[:3], photos[0].transpose(1, 0, 2)):
        scaled = (photo.astype(np.float32) / 255).transpose(2, 0, 1)
        planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in scaled]
        # rows first: newer versions of Pillow take columns first where that is cheaper
        rows = [plane.resize((width, plane.height), Image.Resampling.BICUBIC) for plane in planes]
        resized = [np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC)) for plane in rows]
        image = np.ascontiguousarray(scaled.transpose(1, 2, 0)) if floating else photo
        np.testing.assert_array_equal(resize_image(image, size), np.stack(resized).clip(0, 1))


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(0, 2**32), st.booleans())
def test_numba_resizes_and_measures_as_pillow_and_torch_do_to_the_last_bit(
    sizes: tuple[int, ...], seed: int, extreme: bool
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*sizes[:2], 3)).astype(np.uint8)
    if extreme:  # whose overshoot is cut, and whose pixels are enlarged
        image = (image // 128 * 255).repeat(3, 0).repeat(3, 1)
    check_compiled(image, sizes[2:])


@pytest.mark.parametrize("view", ["turned", "mirrored", "every other", "read-only", "channels apart"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (2, 2), (2, 900), (3, 3), (9, 3000), (1400, 5), (333, 500)])
def test_so_they_do_for_any_form_and_memory(shape: tuple[int, int], view: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    if view == "turned":
        image = image.transpose(1, 0, 2)
    elif view == "mirrored":
        image = image[:, ::-1, ::-1]
    elif view == "every other":
        image = image[::2, ::2]
    elif view == "channels apart":
        image = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    image.flags.writeable = view != "read-only"
    check_compiled(image, (24, 20))


def check_compiled(image: np.ndarray, size: tuple[int, int]) -> None:
    compiled = optional("images.cpu")
    compiled.prepare()
    assert {*compiled.colours_and_texture(np.zeros((9, 9, 3), np.uint8))} < {*PROPERTIES}
    ours = resize_image(image, size), properties_of(image)
    with without_numba():
        theirs = resize_image(image, size), properties_of(image)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(own).view(np.uint32), np.asarray(other).view(np.uint32))


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(0, 2**32), st.booleans())
def test_bytes_are_resized_as_by_pillow_to_the_last_bit(sizes: tuple[int, ...], seed: int, extreme: bool) -> None:
    height, width, *size = sizes
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    if extreme:  # whose overshoot is cut
        image = image // 128 * 255
    columns = Image.fromarray(image).resize((size[1], height), Image.Resampling.BICUBIC)
    expected = np.asarray(columns.resize((size[1], size[0]), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    for floating in (False, True):
        source = (image / 255).astype(np.float32) if floating else image
        actual = resize_image(source, (size[0], size[1]), resize="pillow")
        np.testing.assert_array_equal(actual, expected / np.float32(255))
        actual = resize_tensor(batch / 255 if floating else batch, (size[0], size[1]), resize="pillow")
        np.testing.assert_array_equal(actual[0], expected / np.float32(255))


@pytest.mark.parametrize("floating", [False, True])
def test_torch_does_not_clip(floating: bool) -> None:
    image = np.random.default_rng(0).integers(0, 2, (50, 40, 3)).astype(np.uint8) * 255
    batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    expected = torch.nn.functional.interpolate(batch.float(), (30, 60), mode="bicubic", antialias=True) / 255
    actual = resize_tensor(batch / 255 if floating else batch, (30, 60), resize="torch")
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    assert actual.min() < -0.01
    assert actual.max() > 1.01
    source = (image / 255).astype(np.float32) if floating else image
    np.testing.assert_allclose(resize_image(source, (30, 60), resize="torch"), actual[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(actual.clamp(0, 1), resize_tensor(batch, (30, 60), resize="clean"), rtol=0, atol=1e-6)


@settings(max_examples=30)
@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(0, 2**32))
def test_tensorflow_is_as_torch_fidelity_has_it(sizes: tuple[int, ...], seed: int) -> None:
    height, width, *size = sizes
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    expected = interpolate_bilinear_2d_like_tensorflow1x(batch.float(), size, align_corners=False) / 255
    assert torch.equal(resize_tensor(batch, (size[0], size[1]), resize="tensorflow"), expected)
    np.testing.assert_array_equal(resize_image(image, (size[0], size[1]), resize="tensorflow"), expected[0])
    torch.testing.assert_close(resize_tensor(batch / 255, (size[0], size[1]), resize="tensorflow"), expected)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_band_is_resized_by_itself(resize: str, channels: int, dtype: type) -> None:
    bands = np.random.default_rng(0).random((9, 7, channels), np.float32)
    image = (bands * (255 if dtype is np.uint8 else 1)).astype(dtype)
    expected = [
        resize_image(band[..., None].repeat(3, 2), (5, 6), resize=resize)[0] for band in np.moveaxis(image, 2, 0)
    ]
    np.testing.assert_array_equal(resize_image(image, (5, 6), resize=resize), np.stack(expected))
    batch = torch.from_numpy(np.moveaxis(image, 2, 0).copy())[None]
    np.testing.assert_allclose(resize_tensor(batch, (5, 6), resize=resize)[0], np.stack(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("resize", ["torch", "pillow"])
def test_an_extractor_resizes_in_the_way_it_is_told(resize: str, photos: list[np.ndarray]) -> None:
    extractor = DNAExtractor(Outputs(lambda x: x), input_size=(50, 60), resize=resize)
    batch = torch.from_numpy(np.stack(photos[:3])).movedim(3, 1)
    expected = resize_tensor(batch, (50, 60), resize=resize)
    assert torch.equal(extractor(batch)["output"], expected)
    dna = make_dna(photos[:3], extractor, kind="gaussian")
    torch.testing.assert_close(dna.mean, expected.double().mean((0, 2, 3)), rtol=1e-6, atol=0)
    for arguments in ({"resize": "bicubic", "input_size": 8}, {"resize": resize}):
        with pytest.raises(
            ValueError, match="`resize` (expected to be one of 'clean', 'torch', 'pillow', 'tensorflow'|requires)"
        ):
            DNAExtractor(Outputs(lambda x: x), **arguments)


def test_a_grid_divides_the_image() -> None:
    cells = cells_of((3, 5), size=None)
    assert cells.shape == (15, 4)
    for row in range(3):
        for column in range(5):
            expected = torch.tensor([column / 5, row / 3, (column + 1) / 5, (row + 1) / 3])
            assert torch.allclose(cells[row * 5 + column], expected)


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (197, (224, 224), (14, 14)),
        (261, (256, 256), (16, 16)),  # a class token and four registers
        (50, None, (7, 7)),
        (8 + 49, None, (7, 7)),
        (1 + 4 * 6, (64, 96), (4, 6)),
        (1 + 6 * 4, (96, 64), (6, 4)),
    ],
)
def test_tokens_are_a_grid_after_some_others(tokens: int, size: tuple[int, int] | None, grid: tuple[int, int]) -> None:
    cells = cells_of((tokens,), size)
    count = grid[0] * grid[1]
    assert torch.equal(cells[tokens - count :], cells_of(grid, size=None))
    assert torch.equal(cells[: tokens - count], torch.tensor([WHOLE]).expand(tokens - count, 4))
