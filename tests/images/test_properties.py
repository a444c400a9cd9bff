"""Properties of images: by their formulas in numpy, and by what changes of photographs do to them."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Pixels
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import convolve
from torch import Tensor

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, compare, make_dna, rank
from torchmetrics_dna.demo import blur, jpeg, noise, photographs
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.pixels import FileFacts
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, RECORDS, VERSION, image_properties

PHOTOS = photographs(6)


def as_tensor(*pictures: np.ndarray) -> Tensor:
    return torch.stack([torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in pictures])


def named(picture: np.ndarray) -> dict[str, float]:
    return dict(zip(PROPERTIES, image_properties(as_tensor(picture))[0].tolist(), strict=True))


def test_they_are_their_formulas() -> None:
    picture = PHOTOS[0][:120, :90]
    actual, values = named(picture), picture.astype(float) / 255
    grey = values @ [0.299, 0.587, 0.114]
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    narrow = across.mean() + down.mean()
    wide = np.abs(grey[:, 2:] - grey[:, :-2]).mean() + np.abs(grey[2:] - grey[:-2]).mean()
    laplacian = convolve(grey, [[0, 1, 0], [1, -4, 1], [0, 1, 0]])[1:-1, 1:-1]
    immerkaer = convolve(grey, [[1, -2, 1], [-2, 4, -2], [1, -2, 1]])[1:-1, 1:-1]
    codes = {tuple(pixel) for pixel in (picture // 8).reshape(-1, 3)}
    borders, elsewhere = 0.0, 0.0
    for steps in (across, down.T):
        at = np.arange(steps.shape[1]) % 8 == 7
        borders += steps[:, at].mean()
        elsewhere += steps[:, ~at].mean()
    corners = np.mean([grey[y, x] for y in (slice(15), slice(-15, None)) for x in (slice(11), slice(-11, None))])
    middle = grey[(120 - 15) // 2 : (120 + 15) // 2, (90 - 11) // 2 : (90 + 11) // 2].mean()
    expected = {
        "width": np.log2(90) / 16,
        "height": np.log2(120) / 16,
        "aspect ratio": 0.5 + np.log2(90 / 120) / 8,
        "brightness": grey.mean(),
        "contrast": 2 * grey.std(),
        "dark pixels": (grey < 0.05).mean(),
        "bright pixels": (grey > 0.95).mean(),
        "saturation": (values.max(2) - values.min(2)).mean(),
        "red against green": 0.5 + (values[..., 0] - values[..., 1]).mean() / 2,
        "blue against yellow": 0.5 + (2 * values[..., 2] - values[..., 0] - values[..., 1]).mean() / 4,
        "colours": np.sqrt(len(codes) / (90 * 120)),
        "sharpness": np.maximum(np.abs(laplacian) - 2 / 255, 0).mean() / (4 * narrow),
        "noise": np.abs(immerkaer).mean() * np.sqrt(np.pi / 2) / 6 * 8,
        "fine detail": narrow / (narrow + wide),
        "flat areas": (np.isclose(across, 0).sum() + np.isclose(down, 0).sum()) / (across.size + down.size),
        "blockiness": borders / (borders + elsewhere),
        "dark corners": 0.5 + (middle - corners) / 2,
        "pixelation": 0.0,
        **dict.fromkeys(("JPEG files", "PNG files", "bytes per pixel"), 0.0),
    }
    assert actual == {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()}


def test_the_same_in_any_batch_and_as_floats() -> None:
    imgs = as_tensor(*PHOTOS)
    properties = image_properties(imgs)
    assert torch.equal(properties, torch.cat([image_properties(image[None]) for image in imgs]))
    assert torch.equal(properties, image_properties(imgs / 255))
    assert ((properties >= 0) & (properties <= 1)).all()
    assert image_properties(imgs[:0]).shape == (0, len(PROPERTIES))
    for size in ((1, 1), (2, 9), (8, 8), (9, 2)):
        assert image_properties(torch.zeros(1, 3, *size, dtype=torch.uint8)).isfinite().all()


def test_of_one_channel_as_of_three_equal_ones() -> None:
    """Also of sets for a network that takes one, of which a black image is named, and of its metric."""
    random = np.random.default_rng(0)
    a, b = (random.normal(120, 30, (count, 12, 9, 1)).clip(0, 255).astype(np.uint8) for count in (40, 31))
    b[7] = 0
    of_rgb, of_grey = (
        DNAExtractor(Pixels(), properties=True),
        DNAExtractor(torch.nn.Conv2d(1, 4, 3), channels=1, mean=[0.5], std=[0.5]),
    )
    extractor = of_grey.with_properties()
    for one in (as_tensor(*a), as_tensor(*a).float() / 255):
        assert torch.equal(image_properties(one), image_properties(one.expand(-1, 3, -1, -1)))
        assert torch.equal(extractor(one)[LAYER], image_properties(one))
    options = {"ranges": "auto", "metrics": ["dna-emd"], "causes": False}
    grey, rgb = compare(a, b, of_grey, **options), compare(a.repeat(3, 3), b.repeat(3, 3), of_rgb, **options)
    assert torch.equal(grey.properties["dna-emd"].values, rgb.properties["dna-emd"].values)
    assert re.search(r"1 of 31 images in B is flagged as an outlier.*: image 7 is all black", grey.verdict)
    ranked = rank(b, feature=of_grey).verdict
    assert "1 of 31 images is flagged as an outlier.\nimage 7 is all black." in ranked


@pytest.mark.parametrize(
    ("change", "property_", "sign"),
    [
        (lambda p: blur(p, 3), "sharpness", -1),
        (lambda p: noise(p, 3), "noise", 1),
        (lambda p: jpeg(p, 4), "blockiness", 1),
        (lambda p: np.repeat(p.mean(2, keepdims=True).astype(np.uint8), 3, 2), "saturation", -1),
        (lambda p: p[::4, ::4].repeat(4, 0).repeat(4, 1), "pixelation", 1),
        (lambda p: (p * (1 - np.linspace(-1, 1, 192)[:, None, None] ** 2)).astype(np.uint8), "dark corners", 1),
        (lambda p: p // 128 * 128, "flat areas", 1),
    ],
)
def test_changes_move_the_property_that_is_named(change: object, property_: str, sign: int) -> None:
    moved = [named(change(photo))[property_] - named(photo)[property_] for photo in PHOTOS]
    assert sign * float(np.mean(moved)) > 0.01  # some of the photographs are grey


def page_of_text(seed: int) -> np.ndarray:
    """Black letters of random words on white."""
    letters = np.random.default_rng(seed).choice(list("abcdefgh mnopqrst uvwxyz "), (20, 40))
    page = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(page).multiline_text((4, 4), "\n".join("".join(line) for line in letters), "black")
    return np.asarray(page)


def discs(seed: int) -> np.ndarray:
    """Discs of different colours, as in icons and charts."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (200, 200), tuple(random.integers(0, 256, 3).tolist()))
    for x, y, radius in random.integers(10, 190, (12, 3)).tolist():
        box = (x - radius // 4, y - radius // 4, x + radius // 4, y + radius // 4)
        ImageDraw.Draw(picture).ellipse(box, fill=tuple(random.integers(0, 256, 3).tolist()))
    return np.asarray(picture)


def rough_ground(seed: int) -> np.ndarray:
    """Noise of all scales, as in textures and terrain."""
    random, sizes = np.random.default_rng(seed), (8, 16, 32, 64, 128)
    layers = [random.normal(0, 1, (size, size)).astype(np.float32) for size in sizes]
    large = [np.asarray(Image.fromarray(layer).resize((200, 200), Image.Resampling.BICUBIC)) for layer in layers]
    grey = sum(layer * 64 / 2**i for i, layer in enumerate(large)) + random.normal(0, 4, (200, 200)) + 128
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


SORTS = {
    "photographs": PHOTOS,
    "text": [page_of_text(seed) for seed in range(6)],
    "discs": [discs(seed) for seed in range(6)],
    "rough ground": [rough_ground(seed) for seed in range(6)],
}


@pytest.mark.parametrize("sort", SORTS)
def test_sharpness_falls_with_blur_and_stays_low(sort: str) -> None:
    """Rounding to bytes, which leaves steps of one grey level in a smooth image, does not make it sharp again."""
    medians = []
    for pixels in (0, 1, 2, 4, 8, 16):
        pictures = [
            np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(pixels))) for picture in SORTS[sort]
        ]
        medians.append(np.median([named(picture)["sharpness"] for picture in pictures]))
    assert medians == sorted(medians, reverse=True)
    assert max(medians[3:]) < RECORDS["sharpness"].lower.plain


@pytest.mark.slow
def test_a_layer_like_any_other() -> None:
    extractor = DNAExtractor(layers=["block_0"], properties=True)
    assert list(extractor.neurons) == [LAYER, "block_0"]
    assert list(DNAExtractor(layers=["block_0", LAYER]).neurons) == ["block_0", LAYER]
    blurred = [blur(photo, 3) for photo in PHOTOS]
    result = compare(PHOTOS, blurred, extractor)
    properties = [torch.cat([image_properties(as_tensor(p)) for p in photos]).double() for photos in (PHOTOS, blurred)]
    of_pixels = [i for i, record in enumerate(RECORDS.values()) if record.needs != "file"]
    shift = (properties[1].mean(0) - properties[0].mean(0))[of_pixels]
    # the distance is that of the network, and properties are compared by themselves
    assert list(result.neurons) == ["block_0"]
    assert result["dna-emd"].value == pytest.approx(compare(PHOTOS, blurred, layers=["block_0"])["dna-emd"].value)
    assert list(result.properties.neurons) == [LAYER]
    torch.testing.assert_close(result.properties.mean_shift, shift, atol=1e-3, rtol=0)
    assert result.properties.top_neurons(1)[0]["name"] == "sharpness"
    weights = torch.full((extractor.neurons.total,), 1 / extractor.neurons.total)  # which say otherwise
    assert compare(PHOTOS, blurred, extractor, neuron_weights=weights).neurons == extractor.neurons
    # of images as they are given: a metric that gets them whole counts the same
    metric = DNAEMD(extractor)
    metric.update(as_tensor(*PHOTOS), real=True)
    metric.update(as_tensor(*blurred), real=False)
    assert float(metric.compute()) == pytest.approx(result["dna-emd"].value, rel=1e-5)  # resized on its own
    rows = slice(0, len(PROPERTIES))
    dna = make_dna(PHOTOS, extractor)
    assert torch.equal(metric.to_dna(True).counts[rows], dna.counts[rows])
    assert torch.equal(compare(dna, blurred).properties["dna-emd"].values, result.properties["dna-emd"].values)


@pytest.mark.parametrize("feature", ["properties", {"layers": ["block_0"], "properties": True}])
def test_files_by_other_definitions_are_refused(feature: object, tmp_path: Path) -> None:
    extractor = DNAExtractor(feature) if isinstance(feature, str) else DNAExtractor(**feature)
    dna = make_dna(PHOTOS, extractor)
    assert dna.preparation["properties"] == VERSION
    older = replace(dna, preparation=dna.preparation | {"properties": VERSION - 1})
    older.save(tmp_path / "older.dna.npz")
    words = f"image properties by version {VERSION - 1} of their definitions, but .* version {VERSION}"
    with pytest.raises(ValueError, match=words):
        compare(tmp_path / "older.dna.npz", PHOTOS)
    with pytest.raises(ValueError, match=words):
        DNAEMD(extractor, reference=older)
    with pytest.raises(ValueError, match=rf"\(properties\) differ: {VERSION - 1} and {VERSION}"):
        compare(older, dna)


def test_a_file_has_a_format_and_a_size(tmp_path: Path) -> None:
    for name in ("x.png", "x.jpg", "x.bmp"):
        Image.fromarray(PHOTOS[0]).save(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x.png", "x.png")
    for name, file, of_format in (
        ("x.png", "x.png", "PNG"), ("x.jpg", "x.jpg", "JPEG"), ("x.bmp", "x.bmp", "BMP"), ("x.zip", "x.png", "PNG"),
    ):  # fmt: skip
        decoded = open_source(tmp_path / name).decode(0)
        pixels, facts = decoded.pixels, decoded.file
        assert facts == FileFacts(of_format, (tmp_path / file).stat().st_size)
        values = dict(zip(PROPERTIES, image_properties(as_tensor(pixels), facts)[0].tolist(), strict=True))
        assert (values["JPEG files"], values["PNG files"]) == (of_format == "JPEG", of_format == "PNG")
        assert values["bytes per pixel"] == pytest.approx(min(1, facts.num_bytes / PHOTOS[0][..., 0].size / 8))
    assert open_source(PHOTOS).decode(0).file is None
    # they are counted when a folder is measured
    counts = make_dna(tmp_path / "x.jpg", LAYER).counts[PROPERTIES.index("JPEG files")]
    assert int(counts[len(counts) // 2 :].sum()) == 1


@pytest.mark.parametrize("folds", [None, 20])
@pytest.mark.parametrize("brighter", [0, 40])
def test_a_metric_explains_no_difference_by_files_that_one_side_lacks(
    folds: int | None, brighter: int, tmp_path: Path
) -> None:
    """A reference of files and images in memory: as with a reference in memory."""
    a, b = np.random.default_rng(0).normal(120, 30, (2, 40, 12, 9, 3)).clip(0, 255).astype(np.uint8)
    for i, image in enumerate(a):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    extractor, said = DNAExtractor(Pixels(), properties=True), []
    for source in (tmp_path, list(a)):
        reference = make_dna(source, extractor, num_folds=folds, ranges="auto")
        metric = DNAEMD(extractor, ranges="auto", reference=reference, num_folds=folds)
        metric.update(as_tensor(*np.clip(b.astype(int) + brighter, 0, 255).astype(np.uint8)), real=False)
        said.append(str(metric.explain()))
    assert said[0] == said[1]
    change = re.search(r"brightness ([\d.]+) → ([\d.]+\d)", said[0])
    assert (change is not None) is bool(brighter)
    assert change is None or float(change[1]) < float(change[2])


def test_without_a_network() -> None:
    extractor = DNAExtractor(LAYER)
    assert dict(extractor.neurons) == {LAYER: len(PROPERTIES)}
    small = [photo[: 40 + 10 * i, :60] for i, photo in enumerate(PHOTOS)]
    dna = make_dna(small, LAYER)
    assert dna.num_images == 6
    assert compare(dna, small)["dna-emd"].value == 0
    dna_of_layer = make_dna(PHOTOS, layers=[LAYER])
    assert torch.equal(dna_of_layer.counts, make_dna(PHOTOS, LAYER).counts)
    with pytest.raises(ValueError, match="Feature 'properties' has no layers but 'properties', but got"):
        DNAExtractor(LAYER, layers=["head"])


def test_ranges_of_the_network_alone_will_do() -> None:
    extractor = DNAExtractor(layers=["head"], properties=True)
    head = DNAExtractor(layers=["head"]).ranges
    assert isinstance(head, ActivationRanges)
    ranges = extractor.resolve_ranges(head)
    assert ranges is not None
    assert ranges.digest == extractor.ranges.digest
    assert ranges.maximum[: len(PROPERTIES)].tolist() == [1] * len(PROPERTIES)
