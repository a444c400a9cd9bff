"""Cards show the parts of images that excite neurons, of the right neurons, whatever the layout and the crop."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from networks import Outputs, Pixels
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.images import Reading
from torchmetrics_dna.reporting.cards import as_small_file, describe_cards, look_different
from torchmetrics_dna.singles.cards import Card, Cards, ImageCrop, cut_out, make_cards, mixed, move_together

LAYERS = ["block_0", "block_2", "block_4", "head"]
SQUARE = 6  # pixels
PHOTOS = photographs(24)
A, B = PHOTOS[:12], [blur(photo, 4) for photo in PHOTOS[12:]]


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


def no_positions(imgs: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"layer": imgs.mean((2, 3))}


PLACES = {
    (60, 60): [(0, 0), (20, 31), (54, 54)],
    (60, 130): [(3, 40), (30, 60), (54, 86)],  # within the central square
    (130, 48): [(50, 0), (60, 20), (80, 42)],
}


@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("size", PLACES)
@pytest.mark.parametrize("network", [grid, pooled, tokens])
def test_a_crop_holds_what_excites(network: Any, size: tuple[int, int], crop: Any) -> None:
    extractor = DNAExtractor(Outputs(network), input_size=32, crop=crop)
    images = [with_square(*size, *place) for place in PLACES[size]]
    dark = [with_square(*size, *place, level=5) for place in PLACES[size]]
    cards = make_cards(images, dark, compare(images, dark, extractor, num_folds=None), extractor)
    assert len(cards.cards) == 3
    height, width = size
    for card in cards.cards:
        assert card.higher == "a"
        assert len(card.most["a"]) == 2
        assert len(card.least["a"]) == 1
        for crop_ in card.most["a"]:
            top, left = PLACES[size][crop_.number]
            box = np.array(crop_.box) * [width, height, width, height]
            assert box[0] <= left
            assert box[1] <= top
            assert box[2] >= left + SQUARE
            assert box[3] >= top + SQUARE
            assert (box[2] - box[0]) * (box[3] - box[1]) <= 0.5 * width * height
        for crop_ in card.least["a"] + card.least["b"]:
            assert crop_.activation < 0.3


def test_a_layer_without_positions_shows_whole_images() -> None:
    extractor = DNAExtractor(Outputs(no_positions), input_size=32)
    images = [with_square(40, 80, 0, 0), with_square(40, 80, 9, 9)]
    cards = make_cards(images, images, compare(images, images, extractor, num_folds=None), extractor)
    assert {crop.box for card in cards.cards for crop in card.most["a"]} == {(0, 0, 1, 1)}


@pytest.fixture(scope="module")
def extractor() -> DNAExtractor:
    return DNAExtractor(layers=LAYERS)


@pytest.fixture(scope="module")
def made(extractor: DNAExtractor) -> tuple[Any, Cards]:
    comparison = compare(A, B, extractor)
    return comparison, make_cards(A, B, comparison, extractor, num_neurons=6)


def activations(extractor: DNAExtractor, images: list[NDArray[np.uint8]], layer: str, neuron: int) -> NDArray[Any]:
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return extractor(batch)[layer][:, neuron].flatten(1).numpy()


def test_crops_are_of_the_images_that_excite_most_and_least(made: tuple[Any, Cards], extractor: DNAExtractor) -> None:
    _, cards = made
    assert cards.num_images == {"a": 12, "b": 12}
    for card in cards.cards[:3]:
        for side, images in (("a", A), ("b", B)):
            values = activations(extractor, images, card.layer, card.neuron)
            largest = values.max(1)
            most = np.argsort(-largest, kind="stable")[:6]
            assert [crop.activation for crop in card.most[side]] == pytest.approx(largest[most].tolist(), abs=1e-4)
            assert {crop.number for crop in card.most[side]} == set(most.tolist())
            rest = np.delete(values.min(1), most)
            expected = sorted(rest.tolist())[:3]
            assert [crop.activation for crop in card.least[side]] == pytest.approx(expected, abs=1e-4)
            numbers = [crop.number for crop in card.most[side] + card.least[side]]
            assert len(numbers) == len(set(numbers))
            assert card.most[side][0].image == f"image {card.most[side][0].number}"
            for crop in card.most[side] + card.least[side]:
                height, width = images[crop.number].shape[:2]
                left, top, right, bottom = (
                    round(share * n) for share, n in zip(crop.box, (width, height) * 2, strict=True)
                )
                part = Image.fromarray(images[crop.number][top:bottom, left:right])
                part.thumbnail((96, 96), Image.Resampling.LANCZOS)
                assert crop.picture == part


def test_figures_are_those_of_the_comparison(made: tuple[Any, Cards]) -> None:
    comparison, cards = made
    top = {(neuron["layer"], neuron["neuron"]): neuron for neuron in comparison.top_neurons(comparison.neurons.total)}
    places = []
    for card in cards.cards:
        neuron = top[card.layer, card.neuron]
        places.append(list(top).index((card.layer, card.neuron)))
        assert (card.z, card.p_value, card.q) == (neuron["z"], neuron["p_value"], neuron["q"])
        assert card.higher == ("b" if neuron["shift"] > 0 else "a")
    assert places == sorted(places)
    assert max(sum(card.layer == layer for card in cards.cards) for layer in LAYERS) <= 3


def test_those_that_move_together_share_a_card() -> None:
    extractor = DNAExtractor(layers=["block_0"])
    cards = make_cards(A, B, compare(A, B, extractor), extractor)

    def largest(layer: str, neuron: int) -> NDArray[Any]:
        sides = [activations(extractor, images, layer, neuron).max(1) for images in (A, B)]
        return np.concatenate([side - side.mean() for side in sides])

    shown = [largest(card.layer, card.neuron) for card in cards.cards]
    for i, window in enumerate(shown):
        for other in shown[:i]:
            assert abs(np.corrcoef(window, other)[0, 1]) < 0.8
    pairs = [(card, other) for card in cards.cards for other in card.others]
    for card, other in pairs:
        r = np.corrcoef(largest(card.layer, card.neuron), largest(other.layer, other.neuron))[0, 1]
        assert abs(r) >= 0.8 - 1e-6
    assert pairs


def test_groups_and_mixtures() -> None:
    random = torch.Generator().manual_seed(0)
    base = torch.randn(20, 3, generator=random)
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


def test_draws_and_batches(made: tuple[Any, Cards], extractor: DNAExtractor) -> None:
    comparison, cards = made
    assert make_cards(A, B, comparison, extractor, num_neurons=6, reading=Reading(batch_size=5)).cards == cards.cards
    few, other = (make_cards(A, B, comparison, extractor, num_images=4, num_neurons=2, seed=seed) for seed in (0, 1))
    drawn = torch.randperm(12, generator=torch.Generator().manual_seed(0))[:4].tolist()
    numbers = {crop.number for card in few.cards for part in (card.most, card.least) for crop in part["a"]}
    assert numbers == set(drawn)
    assert few.num_images == {"a": 4, "b": 4}
    assert few.cards != other.cards


def test_a_side_may_be_a_dna(made: tuple[Any, Cards], extractor: DNAExtractor) -> None:
    dna = make_dna(A, extractor, num_folds=20)
    cards = make_cards(dna, B, compare(dna, B, extractor), extractor, num_neurons=2)
    assert [set(card.most) for card in cards.cards] == [{"b"}, {"b"}]
    assert "among 12 images of B." in describe_cards(cards, explained=False)["how"]
    with pytest.raises(ValueError, match="A and B are both DNAs; give the images of at least one side"):
        make_cards(dna, dna, compare(dna, dna), extractor)


def test_without_a_test_the_largest_come_first(extractor: DNAExtractor) -> None:
    comparison = compare(A, B, extractor, num_folds=None)
    card = make_cards(A, B, comparison, extractor, num_neurons=1).cards[0]
    first = comparison.top_neurons(1)[0]
    assert (card.layer, card.neuron) == (first["layer"], first["neuron"])
    assert (card.z, card.p_value, card.q) == (None, None, None)


def test_properties_are_left_out() -> None:
    extractor = DNAExtractor(layers=["block_0"], properties=True)
    cards = make_cards(A, B, compare(A, B, extractor), extractor, num_neurons=99)
    assert sum(1 + len(card.others) for card in cards.cards) == 16
    assert {card.layer for card in cards.cards} == {"block_0"}
    alone = DNAExtractor("properties")
    with pytest.raises(ValueError, match="only properties were compared; give an extractor"):
        make_cards(A, B, compare(A, B, alone), alone)


def test_what_is_wrong_is_told(made: tuple[Any, Cards], extractor: DNAExtractor) -> None:
    comparison, _ = made
    for name in ("num_neurons", "num_images"):
        with pytest.raises(ValueError, match=f"Argument `{name}` expected to be at least 1, but got 0"):
            make_cards(A, B, comparison, extractor, **{name: 0})
    with pytest.raises(ValueError, match="but the comparison has kid; add dna-emd to its `metrics`"):
        make_cards(A, B, compare(A, B, extractor, metrics=["kid"]), extractor)
    with pytest.raises(ValueError, match="has layer 'block_0', but the extractor has colours, contrast, mean"):
        make_cards(A, B, comparison, DNAExtractor(Pixels()))


def test_what_a_page_shows_of_cards(made: tuple[Any, Cards]) -> None:
    _, cards = made
    shown = describe_cards(cards, explained=True)
    assert not shown["shown"]  # a named change explains the difference
    described = shown["shown"] + shown["folded"]
    crops = [crop for card in described for side in card["sides"].values() for part in side.values() for crop in part]
    assert len(crops) == 6 * 2 * 9
    assert all(crop["picture"].startswith("data:image/jpeg;base64,") and crop["image"] for crop in crops)
    with Image.open(io.BytesIO(base64.b64decode(crops[0]["picture"].partition(",")[2]))) as picture:
        assert max(picture.size) <= 96
    assert "among 12 images of A and 12 images of B." in shown["how"]
    assert [card["called"] for card in described] == [f"{card.layer} neuron {card.neuron}" for card in cards.cards]


def test_pictures_stay_small_and_show_their_box() -> None:
    pixels = np.zeros((50, 80, 3), np.uint8)
    pixels[20:30, 40:60] = 255
    src = as_small_file(cut_out(pixels, (0.5, 0.4, 0.75, 0.6)))
    with Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) as picture:
        assert picture.size == (20, 10)
        assert np.asarray(picture).min() > 240
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    assert len(as_small_file(cut_out(noise, (0, 0, 1, 1)))) < 8500
    assert cut_out(pixels, (1, 1, 1, 1)).size == (1, 1)


def test_cards_are_shown_whose_crops_look_different() -> None:
    whole = (0.0, 0.0, 1.0, 1.0)

    def card_of(a: list[int], b: list[int]) -> bool:
        """Whether crops of these grey levels look different."""
        crops = {
            side: [ImageCrop("", 0, whole, 1.0, Image.new("RGB", (32, 32), (grey,) * 3)) for grey in greys]
            for side, greys in (("a", a), ("b", b))
        }
        return look_different(Card("head", 0, None, None, None, "b", [], crops, {}))

    assert card_of([10, 20, 30, 40], [60, 70, 80, 90])
    assert card_of([60, 70, 80, 90], [10, 20, 30, 40])
    assert not card_of([10, 20, 30, 60], [50, 70, 80, 90]), "one crop of A is brighter than one of B"
    assert not card_of([10, 20, 30], [60, 70, 80, 90]), "three crops tell nothing"


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    for i, photo in enumerate(A[:4]):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_text("no picture")
    extractor = DNAExtractor(layers=["block_0"])
    comparison = compare(tmp_path, B[:4], extractor, num_folds=None, reading=Reading(skip_unreadable=True))
    with pytest.raises(ValueError, match=r"Can't read image .*1\.png"):
        make_cards(tmp_path, B[:4], comparison, extractor)
    cards = make_cards(tmp_path, B[:4], comparison, extractor, num_neurons=2, reading=Reading(skip_unreadable=True))
    assert cards.num_images == {"a": 3, "b": 4}
    for card in cards.cards:
        for crop in card.most["a"]:
            assert crop.image == str(tmp_path / f"{crop.number}.png")
            largest = activations(extractor, [A[crop.number]], card.layer, card.neuron).max()
            assert crop.activation == pytest.approx(float(largest), abs=1e-4)


def test_a_transformer_of_timm() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224")
    extractor = DNAExtractor(network, layers=["blocks.0"], input_size=224)
    comparison = compare(A[:4], B[:4], extractor, num_folds=None)
    cards = make_cards(A[:4], B[:4], comparison, extractor, num_neurons=3)
    sides = {round(crop.box[2] - crop.box[0], 6) for card in cards.cards for crop in card.most["a"]}
    assert sides <= {0.25, 1}  # a patch and what is around it, or all for the class token
