"""What a page shows of single images: samples, differences of pairs, odd images, and those least like the other set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import Outputs, pixels
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.comparisons.compare import compare_sides
from torchmetrics_dna.functional.outliers import gaussians_of_means, left_out_scores, outlier_scores
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.changes import Causes, change_image
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.singles.look import Gallery, look
from torchmetrics_dna.words.explanation import Explanation

EXTRACTOR, RANGES = pixels()


def drawn(count: int, seed: int) -> NDArray[np.uint8]:
    """Grey noise, brighter from image to image."""
    random = np.random.default_rng(seed)
    levels = np.linspace(60, 180, count)[:, None, None, None]
    return (levels + random.normal(0, 20, (count, 16, 16, 3))).clip(0, 255).astype(np.uint8)


A, B = drawn(24, 0), drawn(30, 1)
B[:, :, :8, 0] = 255  # the left half is red


def looked(a: Any, b: Any, **options: Any) -> tuple[Comparison, Gallery]:
    settings = {"ranges": RANGES, "num_bins": 40, "metrics": ["dna-emd"]} | options
    sides = open_sides((a, b), Arguments(settings.pop("feature", EXTRACTOR), **settings))
    comparison = compare_sides(sides, ("A", "B"))[0]
    return comparison, look(sides, comparison)


def spatial_means(images: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
    activations = EXTRACTOR(torch.from_numpy(images).permute(0, 3, 1, 2))
    return {layer: values.double().reshape(*values.shape[:2], -1).mean(2) for layer, values in activations.items()}


def names(images: list[Any]) -> list[str]:
    return [image.name for image in images]


@pytest.mark.parametrize("reading", [None, Reading(batch_size=5)])
def test_images_least_like_the_other_set_are_those_of_two_rankings(reading: Reading | None) -> None:
    """By the network's distance to the other set, less that to the rest of their own."""
    _, gallery = looked(A, B, reading=reading)
    means = {side: spatial_means(images) for side, images in (("a", A), ("b", B))}
    for side, other in (("a", "b"), ("b", "a")):
        to_other = outlier_scores(means[side], gaussians_of_means(means[other]))
        order = (to_other - left_out_scores(means[side])).argsort(descending=True)
        assert names(gallery.unlike[side]) == [f"image {i}" for i in order[:6].tolist()]
    for image in gallery.unlike["b"]:
        assert image.heat.shape == (56, 56)
        assert image.heat[:, :28].mean() > image.heat[:, 28:].mean()


def test_images_that_are_off_are_shown_where_the_sets_do_not_differ() -> None:
    a, b = drawn(80, 0), drawn(40, 1)
    b[::7, :, :8, 0] = 255
    comparison, gallery = looked(a, b)
    assert comparison.outliers.flagged_names
    assert names(gallery.outliers) == comparison.outliers.flagged_names[:12]
    assert [image.why for image in gallery.outliers] == [*comparison.outliers.reasons("A").values()][:12]
    assert all(image.heat[:, :28].mean() > image.heat[:, 28:].mean() for image in gallery.outliers)
    same, nothing = looked(a, drawn(80, 2))
    assert same.p_value > 0.05
    assert (nothing.outliers, nothing.unlike) == ([], {})
    assert len(nothing.strips["b"]) == 8


@pytest.mark.parametrize(
    ("sides", "options"),
    [
        ((lambda: make_dna(A, EXTRACTOR, num_folds=20, ranges=RANGES, num_bins=40), lambda: B), {}),
        ((lambda: A, lambda: B), {"num_folds": None}),
        ((lambda: A, lambda: B[:9]), {}),
        ((lambda: A, lambda: B[:24]), {"pairs": True}),
    ],
)
def test_where_no_means_are_kept_no_image_is_least_like_the_other_set(sides: Any, options: Any) -> None:
    _, gallery = looked(*(side() for side in sides), **options)
    assert gallery.unlike == {}
    assert len(gallery.strips["b"]) == 8


def test_strips_hold_the_same_random_numbers() -> None:
    _, gallery = looked(A, B[:24])
    assert names(gallery.strips["a"]) == names(gallery.strips["b"])
    assert len(set(names(gallery.strips["a"]))) == 8
    for image in gallery.strips["b"]:
        assert np.array_equal(image.picture, B[int(image.name.split()[1])])
    few = looked(A, B[:3])[1].strips
    assert (len(few["a"]), sorted(names(few["b"]))) == (8, ["image 0", "image 1", "image 2"])


def test_a_side_may_be_one_image() -> None:
    """Of which there is no covariance."""
    _, gallery = looked(A, B[:1])
    assert (len(gallery.strips["a"]), names(gallery.strips["b"]), gallery.unlike) == (8, ["image 0"], {})


def test_a_side_may_be_a_dna() -> None:
    dna = make_dna(A, EXTRACTOR, num_folds=20, ranges=RANGES, num_bins=40)
    assert set(looked(dna, B)[1].strips) == {"b"}
    assert looked(dna, dna)[1].strips == {}


@pytest.mark.parametrize("same_size", [True, False])
def test_pairs_are_shown_with_their_difference(same_size: bool) -> None:
    """A difference of 20 grey levels is doubled three times; it has the size of the image of fewer pixels."""
    a = [np.full((20, 20, 3), 9 * i, np.uint8) for i in range(6)]
    b = [np.full((20, 20) if same_size else (10, 60), 9 * i + 20, np.uint8) for i in range(6)]
    b = [np.repeat(image[..., None], 3, 2) for image in b]
    gallery = looked(a, b, pairs=True)[1]
    assert names(gallery.strips["a"]) == names(gallery.strips["b"])
    assert gallery.gain == 8
    for difference in gallery.differences:
        assert np.array_equal(difference.picture, np.full((20, 20, 3), 160))


def test_images_of_a_are_shown_as_the_causes_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One change after the other, with the noise of the image's number."""
    found = Explanation(0.01, [], causes=Causes(("noise", "darker"), (8.0, 20.0), (1.0, 0.5, 0.2), 30))
    monkeypatch.setattr(Comparison, "explain", lambda _: found)
    _, gallery = looked(A, B[:9])
    assert names(gallery.changed) == names(gallery.strips["a"])
    for image in gallery.changed:
        number = int(image.name.split()[1])
        expected = change_image(change_image(A[number], "noise", 8.0, number), "darker", 20.0, number)
        assert np.array_equal(image.picture, expected)


def test_no_image_is_decoded_often() -> None:
    """To be measured, and once to be shown, however many of the page's parts show it."""
    decoded: list[int] = []
    source = ImageSource([f"{i}.png" for i in range(24)], lambda i: decoded.append(i) or A[i], "counted")
    gallery = looked(source, B, reading=Reading(num_workers=0))[1]
    assert len(gallery.unlike["a"]) == 6
    assert set(decoded) == set(range(24))
    assert max(map(decoded.count, range(24))) == 2


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    for i, image in enumerate(A[:12]):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    (tmp_path / "01.png").write_text("no picture")
    _, gallery = looked(tmp_path, B, reading=Reading(skip_unreadable=True))
    shown = [*names(gallery.strips["a"]), *names(gallery.unlike["a"])]
    assert len(shown) == 14
    assert set(shown) <= {f"{i:02}.png" for i in range(12) if i != 1}


def test_a_stream_has_no_images_to_show() -> None:
    with pytest.raises(ValueError, match="A report takes images by number"):
        looked(iter(A), B)


def test_layers_without_positions_have_flat_maps() -> None:
    flat = DNAExtractor(Outputs(lambda imgs: {"mean": imgs.mean((2, 3))}), input_size=16)
    _, gallery = looked(A, B, feature=flat, ranges="auto")
    heats = torch.stack([image.heat for image in gallery.unlike["b"]])
    assert float((heats.amax((1, 2)) - heats.amin((1, 2))).max()) < 1e-9 * float(heats.abs().max())
