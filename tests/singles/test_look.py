"""Cards show the parts of images that excite neurons, of the right neurons, whatever the layout and the crop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from networks import Outputs
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.comparisons.compare import compare_sides
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.sides import Sides, open_sides
from torchmetrics_dna.singles.look import Card, ImageCrop, Pictures, cut_out, look, mixed, move_together

LAYERS = ["block_0", "block_2", "block_3"]
SQUARE = 6  # pixels
PHOTOS = photographs(24)
A, B = PHOTOS[:12], [blur(photo, 4) for photo in PHOTOS[12:]]


def looked(
    a: Any, b: Any, extractor: DNAExtractor, num_images: int = 256, **options: Any
) -> tuple[Comparison, Pictures]:
    sides = open_sides((a, b), Arguments(extractor, **options))
    comparison = compare_sides(sides, ("A", "B"))[0]
    return comparison, look(sides, comparison, num_images)


def with_square(height: int, width: int, top: int, left: int, level: int = 255) -> NDArray[np.uint8]:
    """Noise that is dark, with a bright square."""
    image = np.random.default_rng(top * 1000 + left).integers(0, 60, (height, width, 3), dtype=np.uint8)
    image[top : top + SQUARE, left : left + SQUARE] = level
    return image


def grid(imgs: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"layer": imgs}


def pooled(imgs: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"layer": torch.nn.functional.avg_pool2d(imgs, 2)}


def tokens(imgs: torch.Tensor) -> dict[str, torch.Tensor]:
    """As a transformer: a class token, and the patches, with neurons last."""
    patches = torch.nn.functional.avg_pool2d(imgs, 2).flatten(2).transpose(1, 2)
    return {"layer": torch.cat([0.3 * torch.ones_like(patches[:, :1]), patches], 1)}


PLACES = {
    (60, 60): [(0, 0), (20, 31), (54, 54)],
    (60, 130): [(3, 40), (30, 60), (54, 86)],  # within the central square
    (130, 48): [(50, 0), (60, 20), (80, 42)],
}


@pytest.mark.parametrize("size", PLACES)
@pytest.mark.parametrize(
    ("network", "crop"), [(grid, "none"), (pooled, "none"), (tokens, "none"), (grid, "center"), (tokens, "center")]
)
def test_a_crop_holds_what_excites(network: Any, size: tuple[int, int], crop: Any) -> None:
    extractor = DNAExtractor(Outputs(network), input_size=32, crop=crop)
    images = [with_square(*size, *place) for place in PLACES[size]]
    dark = [with_square(*size, *place, level=5) for place in PLACES[size]]
    _, pictures = looked(images, dark, extractor, num_folds=None)
    assert len(pictures.cards) == 3
    height, width = size
    for card in pictures.cards:
        assert card.higher == "a"
        assert (len(card.most["a"]), len(card.least["a"])) == (2, 1)
        for crop_ in card.most["a"]:
            top, left = PLACES[size][crop_.number]
            box = np.array(crop_.box) * [width, height, width, height]
            assert (box[:2] <= [left, top]).all()
            assert (box[2:] >= [left + SQUARE, top + SQUARE]).all()
            assert (box[2] - box[0]) * (box[3] - box[1]) <= 0.5 * width * height
        assert all(crop_.activation < 0.3 for crop_ in card.least["a"] + card.least["b"])


def test_a_layer_without_positions_shows_whole_images() -> None:
    extractor = DNAExtractor(Outputs(lambda imgs: {"layer": imgs.mean((2, 3))}), input_size=32)
    images = [with_square(40, 80, 0, 0), with_square(40, 80, 9, 9)]
    _, pictures = looked(images, images, extractor, num_folds=None)
    assert {crop.box for card in pictures.cards for crop in card.most["a"]} == {(0, 0, 1, 1)}


@pytest.fixture(scope="module")
def extractor() -> DNAExtractor:
    return DNAExtractor(layers=LAYERS[:1])


@pytest.fixture(scope="module")
def made() -> tuple[Sides, Comparison, Pictures]:
    sides = open_sides((A, B), Arguments(DNAExtractor(layers=LAYERS), causes=False))
    comparison = compare_sides(sides, ("A", "B"))[0]
    return sides, comparison, look(sides, comparison)


def activations(extractor: DNAExtractor, images: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """Activations of each layer, ``(images, neurons, positions)``."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return {layer: values.flatten(2).numpy() for layer, values in extractor(batch).items()}


@pytest.fixture(scope="module")
def excited(made: tuple[Sides, Comparison, Pictures]) -> dict[str, dict[str, NDArray[Any]]]:
    return {side: activations(made[0].extractor, images) for side, images in (("a", A), ("b", B))}


def test_crops_are_of_the_images_that_excite_most_and_least(made: Any, excited: Any) -> None:
    pictures = made[2]
    assert pictures.num_images == {"a": 12, "b": 12}
    for card in pictures.cards[:3]:
        for side, images in (("a", A), ("b", B)):
            values = excited[side][card.layer][:, card.neuron]
            largest = values.max(1)
            most = np.argsort(-largest, kind="stable")[:6]
            assert [crop.activation for crop in card.most[side]] == pytest.approx(largest[most].tolist(), abs=1e-4)
            assert {crop.number for crop in card.most[side]} == set(most.tolist())
            expected = sorted(np.delete(values.min(1), most).tolist())[:3]
            assert [crop.activation for crop in card.least[side]] == pytest.approx(expected, abs=1e-4)
            crops = card.most[side] + card.least[side]
            assert len({crop.number for crop in crops}) == len(crops)
            for crop in crops:
                assert crop.name == f"image {crop.number}"
                height, width = images[crop.number].shape[:2]
                left, top, right, bottom = (
                    round(share * n) for share, n in zip(crop.box, (width, height) * 2, strict=True)
                )
                part = Image.fromarray(images[crop.number][top:bottom, left:right])
                part.thumbnail((96, 96), Image.Resampling.LANCZOS)
                assert crop.picture == part


def test_cards_are_in_the_order_of_evidence(made: Any) -> None:
    _, comparison, pictures = made
    top = {(neuron["layer"], neuron["neuron"]): neuron for neuron in comparison.top_neurons(comparison.neurons.total)}
    places = [list(top).index((card.layer, card.neuron)) for card in pictures.cards]
    assert places == sorted(places)
    for card in pictures.cards:
        assert card.higher == ("b" if top[card.layer, card.neuron]["shift"] > 0 else "a")
    shown = {place for card in pictures.cards for place in [(card.layer, card.neuron), *card.others]}
    for layer in LAYERS:
        others = [place for place, neuron in top.items() if place[0] != layer and neuron["q"] <= 0.05]
        assert sum(card.layer == layer for card in pictures.cards) <= 6 or shown.issuperset(others)


def test_those_that_move_together_share_a_card(made: Any, excited: Any) -> None:
    def correlation(one: tuple[str, int], other: tuple[str, int]) -> float:
        """Size of the correlation over the images of both sides, centred by side."""
        largest = [[excited[side][layer][:, i].max(1) for side in "ab"] for layer, i in (one, other)]
        return abs(np.corrcoef(*(np.concatenate([side - side.mean() for side in sides]) for sides in largest))[0, 1])

    cards = made[2].cards
    shown = [(card.layer, card.neuron) for card in cards]
    assert all(correlation(one, other) < 0.8 for i, one in enumerate(shown) for other in shown[:i])
    shared = [(one, other) for one, card in zip(shown, cards, strict=True) for other in card.others]
    assert shared
    assert all(correlation(*pair) >= 0.8 - 1e-6 for pair in shared)


def test_groups_and_mixtures() -> None:
    base = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    values = torch.stack([base[:, 0], base[:, 1], -2 * base[:, 0], torch.ones(20), base[:, 1] + 0.01 * base[:, 2]], 1)
    assert move_together([values[:10], values[10:] + 99]) == {0: [2], 1: [4], 3: []}
    assert move_together([values[:7]]) == {i: [] for i in range(5)}  # too few images to say

    neurons = [{"layer": layer, "q": q} for layer, q in [("x", 0.01)] * 5 + [("y", 0.05), ("y", 0.2), ("z", 0.3)]]
    assert [neuron["layer"] for neuron in mixed(neurons, 4)] == ["x", "x", "x", "y"]
    assert mixed(neurons[:5], 4) == neurons[:4]
    assert mixed(neurons, 99) == neurons
    without = [{"layer": layer, "q": None} for layer in "xxxyyz"]
    assert [neuron["layer"] for neuron in mixed(without, 4)] == ["x", "x", "y", "y"]
    assert len(mixed(without, 1)) == 1


def test_draws_and_batches(made: Any) -> None:
    sides, comparison, pictures = made
    in_batches = replace(sides, arguments=replace(sides.arguments, reading=Reading(batch_size=5)))
    assert look(in_batches, comparison).cards == pictures.cards
    few = look(sides, comparison, 4)
    drawn = torch.randperm(12, generator=torch.Generator().manual_seed(0))[:4].tolist()
    numbers = {crop.number for card in few.cards for part in (card.most, card.least) for crop in part["a"]}
    assert numbers == set(drawn)
    assert few.num_images == {"a": 4, "b": 4}


def test_no_image_is_decoded_often(extractor: DNAExtractor) -> None:
    """To be measured, to be looked at, and once to be shown, however many of the page's parts show it."""
    decoded: list[int] = []
    source = ImageSource([f"{i}.png" for i in range(12)], lambda i: decoded.append(i) or A[i], "counted")
    looked(source, B, extractor, reading=Reading(num_workers=0))
    assert set(decoded) == set(range(12))
    assert max(map(decoded.count, range(12))) == 3


def test_a_side_may_be_a_dna(extractor: DNAExtractor) -> None:
    dna = make_dna(A, extractor, num_folds=20)
    pictures = looked(dna, B, extractor)[1]
    assert all(set(card.most) == {"b"} for card in pictures.cards)
    assert (set(pictures.strips), set(pictures.unlike), pictures.num_images) == ({"b"}, {"b"}, {"b": 12})
    none = looked(dna, dna, extractor)[1]
    assert (none.cards, none.strips, none.unlike) == ([], {}, {})


def test_without_a_test_the_largest_come_first(extractor: DNAExtractor) -> None:
    comparison, pictures = looked(A[:6], B[:6], extractor, num_folds=None)
    first = comparison.top_neurons(1)[0]
    assert (pictures.cards[0].layer, pictures.cards[0].neuron) == (first["layer"], first["neuron"])


def test_properties_have_no_cards() -> None:
    cards = looked(A[:8], B[:8], DNAExtractor(layers=["block_0"], properties=True))[1].cards
    assert {card.layer for card in cards} == {"block_0"}
    alone = looked(A, B, DNAExtractor("properties"))[1]
    assert alone.cards == []
    assert len(alone.unlike["a"]) == 6


def test_what_is_wrong_is_told(extractor: DNAExtractor) -> None:
    with pytest.raises(ValueError, match="Argument `num_images` expected to be at least 1, but got 0"):
        looked(A[:2], B[:2], extractor, num_images=0)
    with pytest.raises(ValueError, match="by dna-emd, but got a comparison by dna-fd"):
        looked(A[:2], B[:2], extractor, metrics=["dna-fd"])
    with pytest.raises(ValueError, match="A report takes images by number"):
        looked(iter(A[:2]), B[:2], extractor)


def test_a_crop_shows_its_box() -> None:
    pixels = np.zeros((50, 80, 3), np.uint8)
    pixels[20:30, 40:60] = 255
    picture = cut_out(pixels, (0.5, 0.4, 0.75, 0.6))
    assert picture.size == (20, 10)
    assert np.asarray(picture).min() == 255
    assert cut_out(pixels, (1, 1, 1, 1)).size == (1, 1)


@pytest.mark.parametrize(
    ("a", "b", "different"),
    [
        ([10, 20, 30, 40], [60, 70, 80, 90], True),
        ([60, 70, 80, 90], [10, 20, 30, 40], True),
        ([10, 20, 30, 60], [50, 70, 80, 90], False),  # one crop of A is brighter than one of B
        ([10, 20, 30], [60, 70, 80, 90], False),  # three crops tell nothing
    ],
)
def test_crops_look_different(a: list[int], b: list[int], different: bool) -> None:
    crops = {
        side: [ImageCrop("", 0, (0, 0, 1, 1), 1.0, Image.new("RGB", (32, 32), (grey,) * 3)) for grey in greys]
        for side, greys in (("a", a), ("b", b))
    }
    assert Card("head", 0, "b", [], crops, {}).look_different == different


def test_a_difference_has_the_size_of_the_image_of_fewer_pixels() -> None:
    a, b = ([np.full((*size, 3), 9 * i, np.uint8) for i in range(6)] for size in ((20, 20), (10, 60)))
    _, pictures = looked(a, b, DNAExtractor(Outputs(grid), input_size=8), ranges="auto", pairs=True)
    assert [difference.picture.size for difference in pictures.differences] == [(20, 20)] * 6


def test_unreadable_images_are_left_out(extractor: DNAExtractor, tmp_path: Path) -> None:
    for i, photo in enumerate(A[:4]):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_text("no picture")
    _, pictures = looked(tmp_path, B[:4], extractor, num_folds=None, reading=Reading(skip_unreadable=True))
    assert pictures.num_images == {"a": 3, "b": 4}
    assert sorted(picture.name for picture in pictures.strips["a"]) == ["0.png", "2.png", "3.png"]
    values = activations(extractor, A[:4])
    for card in pictures.cards:
        for crop in card.most["a"]:
            assert crop.name == f"{crop.number}.png"
            assert crop.activation == pytest.approx(values[card.layer][crop.number, card.neuron].max(), abs=1e-4)


def test_a_transformer_of_timm() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    _, pictures = looked(A[:4], B[:4], DNAExtractor(network, layers=["blocks.0"], input_size=64), num_folds=None)
    sides = {round(crop.box[2] - crop.box[0], 6) for card in pictures.cards for crop in card.most["a"]}
    assert sides <= {0.5, 0.75, 1}  # a patch of 4 x 4 and what is around it, or all for the class token
