"""Images beyond all others by a property: by the formula in numpy, and by what spoils an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchmetrics_dna.demo import blur, jpeg, photographs
from torchmetrics_dna.functional import outliers_by_properties
from torchmetrics_dna.functional.flagging import outliers_in_folder, standardized_properties
from torchmetrics_dna.images.properties import OF_PIXELS, PROPERTIES, image_properties

LOGS = {"contrast": 0.02, "saturation": 0.01, "colours": 0.0, "sharpness": 0.01, "noise": 0.005}
ODDS = {"brightness": 0.02} | dict.fromkeys(("dark pixels", "bright pixels", "flat areas", "pixelation"), 0.05)
# direction: least distance from the others, value that is plainly a fault, value that may be one
DIRECTIONS: dict[str, tuple[float, float | None, float]] = {
    "brightness +": (0.1, None, 0.7), "brightness -": (0.1, 0.08, 0.15), "contrast -": (0.1, None, 0.06),
    "dark pixels +": (0.2, 0.9, 0.3), "bright pixels +": (0.2, None, 0.5), "saturation -": (0.5, 0.002, 0.01),
    "sharpness -": (0.05, 0.05, 0.07), "noise +": (0.1, 0.5, 0.4), "pixelation +": (0.5, 0.42, 0.35),
    "blockiness +": (0.01, None, 0.6),
}  # fmt: skip


def column(side: Tensor, name: str) -> NDArray[np.float64]:
    values = side[:, PROPERTIES.index(name)].double().numpy()
    if name in LOGS:
        return np.log(values + LOGS[name])
    return np.log((values + ODDS[name]) / (1 - values + ODDS[name])) if name in ODDS else values


def chance(value: float, others: NDArray[np.float64], floor: float) -> tuple[float, float]:
    """p of a value beside others, all turned so that larger is worse, and how far it is beyond them."""
    count, ordered = len(others), np.sort(others)
    tail = max(5, round(count / 20))
    limit, extreme = ordered[count - tail - 1], ordered[-1]
    excess = max(np.mean(ordered[-tail:]) - limit, floor / 3)
    p = tail / count / (1 + max(0, value - limit) / (tail * excess)) ** tail
    return p, (value - extreme) / max(extreme - np.median(ordered), floor)


def turned(side: Tensor, key: str, others: Tensor) -> NDArray[np.float64]:
    """A column in which larger is worse; where nearly all is flat, sharpness says nothing."""
    side, sharpness, flat = side.clone(), PROPERTIES.index("sharpness"), PROPERTIES.index("flat areas")
    side[side[:, flat] > 0.95, sharpness] = float(np.median(others[:, sharpness].double().numpy()))
    return (1 if key[-1] == "+" else -1) * column(side, key[:-2])


def reaches(side: Tensor, row: int, key: str, limit: float | None) -> bool:
    value = float(side[row, PROPERTIES.index(key[:-2])])
    return limit is not None and (value >= limit if key[-1] == "+" else value <= limit)


def by_numpy(reference: Tensor, images: Tensor) -> list[tuple[int, str]]:
    """Rows of named images, and their directions, without facts; one direction and image after the other."""
    found: list[tuple[float, int, str, bool]] = []
    for key, (floor, plain, also) in DIRECTIONS.items():
        others, values = (turned(side, key, reference) for side in (reference, images))
        for row, value in enumerate(values):
            p, gap = chance(value, others, floor)
            c, is_plain = p * len(DIRECTIONS) * len(values), reaches(images, row, key, plain) and gap > 1
            if (is_plain and c <= 0.05) or (reaches(images, row, key, also) and gap > 1.5):
                found.append((c, row, key, is_plain and c <= 0.05))
    level = 0.02 if any(is_plain or c <= 0.005 for c, *_, is_plain in found) else 0.005
    named = {row: key for c, row, key, is_plain in sorted(found, reverse=True) if is_plain or c <= level}
    return sorted(named.items())


def in_folder_by_numpy(images: Tensor, level: float) -> dict[int, str]:
    """Each number of images together, in each direction, against all others; without facts."""
    named: dict[int, str] = {}
    for _ in range(3):
        rest = [row for row in range(len(images)) if row not in named]
        found: dict[int, list[tuple[float, str]]] = {}
        for key, (floor, plain, also) in DIRECTIONS.items():
            values = turned(images, key, images)[rest]
            order, best = np.argsort(-values, kind="stable"), 0
            for most in range(1, len(rest) // 10 + 1):
                row = order[most - 1]
                p, gap = chance(values[row], np.delete(values, order[:most]), floor)
                c, of = p * len(rest) * len(DIRECTIONS), rest[row]
                is_plain = reaches(images, of, key, plain) and gap > 1 and c <= level
                is_far = most == 1 and reaches(images, of, key, also) and gap > 1.5 and c <= 0.02
                best = most if is_plain or is_far else best
            for row in order[:best]:
                p, _ = chance(values[row], np.delete(values, order[:best]), floor)
                found.setdefault(rest[row], []).append((p, key))
        if len(rest) < 15 or not found:
            break
        named |= {row: min(reasons)[1] for row, reasons in found.items()}
    return named


def drawn(count: int, seed: int) -> Tensor:
    """Properties of coloured images, none of which is one of the facts."""
    random = torch.Generator().manual_seed(seed)
    return 0.3 + 0.1 * torch.rand(count, len(PROPERTIES), generator=random)


@pytest.mark.parametrize(("count", "num_images"), [(40, 1), (57, 30), (150, 40), (230, 3)])
def test_it_is_the_formula(count: int, num_images: int) -> None:
    reference, images = drawn(count, 0), drawn(num_images, 1)
    random = np.random.default_rng(2)
    for row in range(0, num_images, 2):  # half of them far away in some property
        images[row, random.integers(3, 18)] = float(random.choice([0.02, 0.15, 0.6, 0.98]))
    odd = outliers_by_properties(reference, images)
    assert [(each.image, each.reason) for each in odd] == by_numpy(reference, images)
    for each in odd:
        name = each.reason[:-2]
        of_reference = reference[:, PROPERTIES.index(name)]
        assert each[2:] == (float(images[each.image, PROPERTIES.index(name)]), of_reference.min(), of_reference.max())
    assert outliers_by_properties(reference, images[:0]) == outliers_by_properties(reference, reference[:20]) == []


@pytest.mark.parametrize(("count", "share"), [(15, 0), (31, 1), (60, 0), (60, 2), (90, 3), (200, 5)])
def test_in_a_folder_it_is_the_formula(count: int, share: int) -> None:
    """Of several faults, up to so many images have the same one, also with others, and two have no edges."""
    random = np.random.default_rng(count + share)
    images = drawn(count, count)
    images[:, PROPERTIES.index("noise")] /= 4
    for name, value in [("sharpness", 0.06), ("pixelation", 0.8), ("brightness", 0.05), ("noise", 0.7)] * bool(share):
        rows = random.permutation(count)[: random.integers(1, share + 1)]
        images[rows, PROPERTIES.index(name)] = torch.tensor(value * random.uniform(0.97, 1.03, len(rows))).float()
    images[: 2 * (share > 2), PROPERTIES.index("flat areas")] = 0.97
    images[: 2 * (share > 2), PROPERTIES.index("sharpness")] = 0.0
    for level in (1.0, 0.2, 0.05):
        odd = outliers_in_folder(images, level)
        assert {each.image: each.reason for each in odd} == in_folder_by_numpy(images, level)
        others = np.delete(images.numpy(), [each.image for each in odd], 0)
        for each in odd:
            of = PROPERTIES.index(each.reason[:-2])
            assert each[2:] == (images[each.image, of], others[:, of].min(), others[:, of].max())
    assert bool(odd) == (share > 0)
    assert outliers_in_folder(images, level=None) == outliers_in_folder(images, 0.2 if count >= 40 else 0.05)


def test_images_of_one_colour_are_named_in_any_folder() -> None:
    for count in (1, 4, 60):
        images = drawn(count, 0)
        images[::3, PROPERTIES.index("contrast")] = 0.0
        images[0, PROPERTIES.index("brightness")] = 0.01
        reasons = ["all black", *["one colour"] * (len(images[::3]) - 1)]
        assert [each.reason for each in outliers_in_folder(images, level=None)] == reasons


PLAIN, BLACK = {"contrast": 0.009}, {"contrast": 0.009, "brightness": 0.01, "saturation": 0.0}
FACTS = [  # of three images beside some of the reference: the fact beside ten and beside forty
    (BLACK, {}, "all black", "all black"),
    (PLAIN | {"brightness": 0.96}, {}, "all white", "all white"),
    (PLAIN, {}, "one colour", "one colour"),
    (PLAIN | {"saturation": 0.0}, {}, "one colour", "one colour"),
    (BLACK, {"contrast": 0.02}, "all black", "all black"),  # beside a plain tile
    (BLACK, {"contrast": 0.02, "brightness": 0.09}, None, "no colour"),  # beside a nearly black one
    (BLACK | {"saturation": 0.3}, {"contrast": 0.02, "brightness": 0.09}, None, None),
    (PLAIN | {"brightness": 0.96}, {"contrast": 0.02, "brightness": 0.91}, None, None),
    (PLAIN, {"contrast": 0.02, "brightness": 0.01}, None, None),  # black is one colour, too
    (PLAIN, {"contrast": 0.02}, None, None),
    ({"saturation": 0.003}, {}, None, "no colour"),
    ({"saturation": 0.003}, {"saturation": 0.011}, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "in_reference", "beside_ten", "beside_forty"), FACTS)
def test_facts(
    changed: dict[str, float], in_reference: dict[str, float], beside_ten: str | None, beside_forty: str | None
) -> None:
    for count, fact in ((10, beside_ten), (39, beside_ten), (40, beside_forty)):
        reference = drawn(count, 0)
        images = reference[:4].clone()
        for side, values in ((images[1:], changed), (reference[:8], in_reference)):  # eight hide the tail
            for name, value in values.items():
                side[:, PROPERTIES.index(name)] = value
        facts = [(odd.image, odd.reason) for odd in outliers_by_properties(reference, images)]
        assert facts == ([] if fact is None else [(row, fact) for row in (1, 2, 3)])
        of_two = {odd.reason for odd in outliers_by_properties(reference, images[:3])}  # which may be grey by chance
        assert of_two - {"saturation -"} == {fact} - {None, "no colour"}


def test_others_take_less_once_an_image_is_named() -> None:
    reference, column = drawn(60, 0), PROPERTIES.index("sharpness")
    # Move the reference in its logarithm, so that a value between both limits has 10 * 60 * p between the two levels.
    reference[:, column] = (reference[:, column] + 0.02) * 0.0795 / 0.1595 - 0.01
    images = reference.clone()
    images[0, column] = 0.0695
    assert outliers_by_properties(reference, images) == []
    for name, value in (("sharpness", 0.01), ("contrast", 0.0)):
        images[1] = reference[1]
        images[1, PROPERTIES.index(name)] = value
        assert [odd.image for odd in outliers_by_properties(reference, images)] == [0, 1]


def test_spoilt_photographs() -> None:
    photos = [photo for photo in photographs(120) if photo.std() > 20 and np.ptp(photo, 2).mean() > 12]
    album = photos[:4]
    spoilt = {
        "all black": album[0] * 0,
        "no colour": np.repeat(album[3].mean(2, keepdims=True).astype(np.uint8), 3, 2),
        "sharpness -": blur(album[2], 4),
        "blockiness +": jpeg(album[1], 5),
    }
    reference, images = (
        torch.cat([image_properties(torch.from_numpy(image.copy()).permute(2, 0, 1)[None]) for image in side])
        for side in (photos[4:], [*spoilt.values(), *album])
    )
    named = [
        outliers_by_properties(reference, images[rows]) for rows in ([0, 1, 1, 1], [0, 2], [0, 3], [0, 4, 5, 6, 7])
    ]
    reasons = [[odd.reason for odd in of_images] for of_images in named]
    black, grey, *others = spoilt
    assert reasons == [[black, grey, grey, grey], *([black, key] for key in others), [black]]


def test_deviations_of_the_reference() -> None:
    reference, images = drawn(40, 0), drawn(5, 1)
    names = OF_PIXELS
    deviations = np.array([column(reference, name).std(ddof=1) for name in names]).clip(0.01)
    standardized, unit = standardized_properties(reference)
    of_images, same_unit = standardized_properties(images, unit)
    assert same_unit is unit
    for side, given in ((standardized, reference), (of_images, images)):
        expected = np.stack([column(given, name) for name in names], 1) / deviations
        np.testing.assert_allclose(side, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("reference", "images", "words"),
    [
        (drawn(9, 0), drawn(2, 1), f"`reference` expected .* of 10 images or more.*\\(9, {len(PROPERTIES)}\\)"),
        (drawn(40, 0), drawn(2, 1)[:, 1:], f"`images` .*\\(2, {len(PROPERTIES) - 1}\\)"),
        (drawn(40, 0), drawn(2, 1) / 0, "finite"),
    ],
)
def test_mistakes(reference: Tensor, images: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        outliers_by_properties(reference, images)
