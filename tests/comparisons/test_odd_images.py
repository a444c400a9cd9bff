"""The second question of a comparison: are a few images of B unlike A's own?"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from networks import pixels
from numpy.typing import NDArray
from pages import Page
from PIL import Image
from scipy.stats import hypergeom

from torchmetrics_dna import compare, make_dna, rank
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.comparisons.odd_images import OddImages
from torchmetrics_dna.functional import Odd, few_are_off, odd_by_properties
from torchmetrics_dna.functional.odd import standard_properties
from torchmetrics_dna.functional.outliers import gaussians_of_means, left_out_scores, outlier_scores
from torchmetrics_dna.images.changes import CHANGES, Causes
from torchmetrics_dna.images.properties import FAULTS, image_properties
from torchmetrics_dna.words.verdict import which_are_off

EXTRACTOR, RANGES = pixels()
FIXED: dict[str, Any] = {"ranges": RANGES, "num_bins": 40}
SETTINGS = FIXED | {"metrics": ["dna-emd"]}


def drawn(count: int, seed: int, odd: int = 0) -> NDArray[np.uint8]:
    """Grey noise, of which the last so many images are red."""
    random = np.random.default_rng(seed)
    images = random.normal(120, 10, (count, 1, 1, 3)) + random.normal(0, 20, (count, 8, 8, 3))
    images[count - odd :, ..., 0] += 90
    return images.clip(0, 255).astype(np.uint8)


A, CLEAN, ODD = drawn(80, 0), drawn(40, 1), drawn(40, 2, odd=6)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(A, ODD, EXTRACTOR, **SETTINGS)


def test_it_says_what_a_ranking_says(compared: Comparison) -> None:
    odd, same = compared.odd, rank(ODD, A, EXTRACTOR).odd
    torch.testing.assert_close(odd.scores, same.scores, rtol=1e-6, atol=0)
    torch.testing.assert_close(odd.typical, same.typical, rtol=1e-6, atol=0)
    assert (odd.names, odd.few_off, odd.single, odd.beyond) == (same.names, same.few_off, same.single, same.beyond)
    assert sorted(odd.numbers[:6]) == list(range(34, 40))
    assert compared.to_dict()["few_off"] == {
        "p_value": odd.few_off.p_value, "fewest": odd.few_off.fewest, "images": odd.off,
        "reasons": [odd.reasons()[odd.numbers[each.image]] for each in odd.named],
    }  # fmt: skip


def test_scores_are_of_network_and_properties(compared: Comparison) -> None:
    """The root of the mean of both squares; properties are a layer of their own, of deviations of the reference."""
    ranking, odd = rank(ODD, A, EXTRACTOR), compared.odd
    sides = [torch.cat([image_properties(torch.from_numpy(i).permute(2, 0, 1)[None]) for i in s]) for s in (A, ODD)]
    of_a, of_b = ({"properties": side} for side in standard_properties(*sides))
    network = {number: float(score) for number, score in zip(ranking.numbers, ranking.scores, strict=True)}
    properties = outlier_scores(of_b, gaussians_of_means(of_a)).tolist()
    for number, score in zip(odd.numbers, odd.scores.tolist(), strict=True):
        assert score == pytest.approx(((network[number] ** 2 + properties[number] ** 2) / 2) ** 0.5, rel=1e-6)
    typical = ((ranking.typical.square() + left_out_scores(of_a).square()) / 2).sqrt()
    torch.testing.assert_close(odd.typical, typical, rtol=1e-6, atol=0)
    assert {odd.numbers[each.image] for each in odd.single} == {each.image for each in odd_by_properties(*sides)}
    without = compare(A, ODD, pixels(properties=False)[0], **SETTINGS).odd
    torch.testing.assert_close(without.scores, ranking.scores, rtol=1e-6, atol=0)
    assert (without.single, without.has_properties) == ([], False)


def test_only_images_beyond_all_of_the_reference_are_named() -> None:
    scores = torch.tensor([9.0, 3.0, 2.2, *[1.0] * 37])
    typical = torch.linspace(0.5, 2, 200).double()
    names = [str(i) for i in range(40)]
    beyond = [Odd(place, "head", 0, 0, 0) for place in range(3)]
    odd = OddImages(names, list(range(40)), scores, typical, [Odd(0, "all black", 0, 0.1, 1)], beyond[1:])
    few = few_are_off(scores[1:], typical)
    assert odd.few_off.share == few.share
    assert odd.few_off.p_value > 0.05  # two of 39 can't be shown
    assert (odd.off, odd._figures.by_test) == (["0"], 0)
    for has_properties, least in (({}, None), ({"has_properties": True}, 40)):
        few_references = OddImages(names, list(range(40)), scores, typical[:39], **has_properties)
        assert few_references._figures.least == least
    far = OddImages(names, list(range(40)), scores, typical / 9, [], beyond)
    assert far.few_off.p_value <= 0.05
    assert far.off == names[:3]
    near = replace(far, beyond=[])
    assert (near.off, near._figures.by_test) == ([], 0)
    assert near._figures.maybe[0] == "0"
    assert replace(odd, single=beyond[:1] * 40, names=names[:1]).few_off is None  # which leaves none to test


@pytest.mark.parametrize(("p", "alone", "beside_one"), [(0.004, 0.04, 0.02 / 3), (0.02, 0.2, 0.1 / 3), (0.9, 1, 1)])
def test_a_question_of_several_pays_for_them(
    p: float, alone: float, beside_one: float, compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = few_are_off(compared.odd.scores, compared.odd.typical)._replace(p_value=p)
    monkeypatch.setattr("torchmetrics_dna.comparisons.odd_images.few_are_off", lambda *_: few)
    names = compared.odd.names
    for single, corrected, level in (([], alone, 0.005), ([Odd(9, "all black", 0, 0.1, 1)], beside_one, 0.03)):
        odd = replace(compared.odd, single=single, beyond=[Odd(0, "colours", 0, 0, 0)])
        assert odd.few_off.p_value == pytest.approx(corrected)
        assert odd.off == [names[each.image] for each in single] + [names[0]] * (p <= level)  # of one colour first
        others = 40 - len(single)
        shown = (n for n in range(1, 41) if hypergeom(80 + others, n, others).pmf(n) <= level)
        assert odd.few_off.fewest == next(shown)


def test_the_first_question_is_as_it_is_alone(compared: Comparison) -> None:
    alone = compare(A, ODD, EXTRACTOR, groups=([str(i) for i in range(80)], [str(i) for i in range(40)]), **SETTINGS)
    assert alone.odd is None
    assert compared.p_value == compared["dna-emd"].p_value


def test_all_name_the_same_images_in_one_order(tmp_path: Path) -> None:
    """A verdict, a ranking, json and a contact sheet, of an album with a black, a plain and two blurred images."""
    album = drawn(30, 3)
    for number, image in ((4, 0), (11, 130), (17, album[17].mean((0, 1), keepdims=True)), (23, 0)):
        album[number] = image
    odd, ranking = compare(A, album, EXTRACTOR, **SETTINGS), rank(album, A, EXTRACTOR)
    off = odd.odd.off
    assert {4, 11, 17, 23} <= {int(name.split()[-1]) for name in off}
    assert ranking.off == off == odd.to_dict()["few_off"]["images"] == ranking.to_dict()["few_off"]["images"]
    first = [odd.odd.names[each.image] for each in odd.odd.named if each.is_fact]  # of one colour, then the furthest
    assert len(first) >= 2
    assert [*first, *(name for name in ranking.names if name in off and name not in first)] == off
    said = [
        line for line in (*odd.verdict_lines, *ranking.verdict.splitlines()) if line.startswith(f"{len(off)} of 30")
    ]
    assert len(said) == 2
    for line in said:
        names = re.findall(r"image \d+", line)
        assert names == off[: len(names)]
        assert line.endswith(f"; and {len(off) - len(names)} more.") or names == off
    sheet = [
        axis.get_xlabel().splitlines()[0] for axis in ranking.plot(columns=3).axes if axis.get_title()[:1].isdigit()
    ]
    assert sheet[: len(off)] == off[:6]


def test_most_of_an_album_is_said_once(compared: Comparison) -> None:
    many = [Odd(place, "sharpness -" if place % 4 else "all black", 0, 0.1, 1) for place in range(11)]
    some = replace(compared.odd, single=many[:10], beyond=[])
    assert some._figures.total == 40
    assert which_are_off(some._figures, "A")[0].startswith("10 of 40 images are odd: image ")
    every = replace(compared.odd, single=many, beyond=[])
    assert which_are_off(every._figures, "A")[0] == ("11 of 40 images are odd: 8 are much more blurred.")


# what makes an image odd by each change, as a photographer would say; of the others nothing that a change moves
BY_CHANGE: dict[str, tuple[str, ...]] = {
    "brighter": ("brightness +", "bright pixels +"),
    "darker": ("brightness -", "contrast -", "saturation -", "dark pixels +", "colours -", "no colour"),
    "more contrast": ("saturation +", "dark pixels +", "bright pixels +"),
    "less contrast": ("contrast -", "saturation -", "colours -", "no colour"),
    "more saturation": ("saturation +",), "less saturation": ("saturation -", "no colour"), "hue": (), "warmer": (),
    "cooler": (), "blur": ("sharpness -",), "resize": (), "sharper": (), "noise": ("noise +",),
    "grey noise": ("noise +",), "fewer colours": ("colours -",), "JPEG compression": ("blockiness +",),
}  # fmt: skip


def dark() -> NDArray[np.uint8]:
    """Images that are all darker than A, one of them black."""
    images = (CLEAN * 0.4).astype(np.uint8)
    images[7] = 0
    return images


@pytest.fixture(scope="module")
def darkened() -> Comparison:
    return compare(A, dark(), EXTRACTOR, **SETTINGS | {"causes": False})


@pytest.mark.parametrize("cause", CHANGES)
def test_images_are_not_odd_by_what_a_named_cause_moves(cause: str, darkened: Comparison) -> None:
    """A verdict, json, reasons and the page's strip, which takes these, beside each reason that there is."""
    reasons = [*FAULTS, "no colour", "all black", "all white", "one colour", "block_0"]
    expected = [each for each in reasons[:-1] if each not in BY_CHANGE[cause]]  # the scores of all are of the cause
    first = ["all black", "all white", "one colour"]
    odd = OddImages(
        [f"{place}.png" for place in range(40)], list(range(40)), darkened.odd.scores, darkened.odd.typical / 9,
        [Odd(place, each, 0.1, 0.2, 0.3) for place, each in enumerate(reasons[:-1])],
        [Odd(len(reasons) - 1, "block_0", 0, 0, 0)],
    )  # fmt: skip
    assert odd.few_off.p_value <= 0.05
    amount = CHANGES[cause].most
    for share, is_named in ((0.0, True), (0.3, True), (0.0, False)):
        causes = Causes((cause,) * is_named, (amount,) * is_named, (10.0, 10 * share), 40)
        # without properties, of which one might contradict the cause
        result = replace(darkened, properties=None, odd=odd)._with_causes(causes)
        assert result.differs
        assert (CHANGES[cause].in_words(amount) in result.verdict) is is_named
        named = sorted(expected if is_named else reasons, key=lambda each: each not in first)
        assert [each.reason for each in result.odd.named] == named
        assert (
            result.odd.off == result.to_dict()["few_off"]["images"] == [f"{reasons.index(each)}.png" for each in named]
        )
        assert list(result.odd.reasons()) == [reasons.index(each) for each in named]
        assert result.verdict_lines[-1].startswith(f"{len(named)} of 40 images of")
        assert result.odd._figures.by_test == (not is_named)
    two = Causes((cause, "noise"), (amount, 9.0), (10.0, 5.0, 0.0), 40)
    named = replace(darkened, properties=None, odd=odd)._with_causes(two).odd.named
    assert sorted(each.reason for each in named) == sorted(each for each in expected if each != "noise +")


@pytest.mark.causes
def test_a_few_odd_images_of_a_set_that_was_changed(tmp_path: Path) -> None:
    """All of B are darker, as is said; of these the black one is odd, those that are very dark are not."""
    result = compare(A, dark(), EXTRACTOR, **SETTINGS)
    assert "darkened by about" in result.verdict_lines[0]
    assert {"brightness -", "contrast -"} & {odd.reason for odd in result.odd.single}
    assert [result.odd.numbers[odd.image] for odd in result.odd.named if odd.reason == "all black"] == [7]
    assert not {"brightness -", "contrast -"} & {odd.reason for odd in result.odd.named}
    assert not any("darker" in line for line in result.verdict_lines[1:])
    result.save(tmp_path / "x.result.npz")
    assert Comparison.load(tmp_path / "x.result.npz").odd.off == result.odd.off


def test_where_it_is_not_asked(compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for a, b, options in (
        (A[:40], ODD, {"pairs": True}),
        (A[:40], ODD, {"num_folds": None}),
        (A[:40], ODD, {"neuron_weights": torch.ones(9)}),
        (A[:40], ODD, {"metrics": ["fd"], "num_folds": 6}),
        (A[:9], ODD, {}),
        (ODD, ODD, {}),
        (make_dna(A[:40], EXTRACTOR, num_folds=20, **FIXED), ODD, {}),
        (A[:40], make_dna(ODD, EXTRACTOR, num_folds=20, **FIXED), {}),
    ):
        comparison = compare(a, b, EXTRACTOR, **SETTINGS | options)
        assert comparison.odd is comparison.to_dict()["few_off"] is None
        assert not any("not asked" in notice for notice in comparison.notices)
    stream = compare(iter(A[:40]), ODD, EXTRACTOR, **SETTINGS)
    assert "does not say how long" in stream.notices[-1]
    monkeypatch.setattr("torchmetrics_dna.dna.folded._BYTES", 4 * 9 * 120 - 1)
    large = compare(A, ODD, EXTRACTOR, **SETTINGS)
    assert "9 numbers of each" in large.notices[-1]
    assert (stream.odd, large.odd, large.p_value) == (None, None, compared.p_value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd")
    for name, images in {"a": A, "clean": CLEAN[:20], "odd": ODD[20:]}.items():
        (root / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).resize((48, 48), 0).save(root / name / f"{i:02}.png")
    return root


@pytest.mark.usefixtures("of_any_value")
def test_a_gate_and_a_page(folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folders)
    options, named = ("--layers", "block_0", "--fail-if-odd"), ""
    for sets, code, line in (
        (["clean"], 0, "Passed: no image of clean is named as odd"),
        (["clean", "odd"], 1, "Failed: odd has 6 odd images"),
        (["clean", "--num-folds", "0"], 2, "Option --fail-if-odd was not asked of clean"),
        (["clean", "--groups", "folder"], 2, "is for independent images of whole sets; leave out --groups"),
        (["odd", "-o", "page.html"], 1, "Failed: odd has 6 odd images"),
    ):
        assert run(monkeypatch, "compare", "a", *sets, *options) == code
        named, said = (" ".join(text.split()) for text in capsys.readouterr())
        assert line in said
    page = Page(Path("page.html").read_text(encoding="utf-8"))
    strip, maps = (
        [image["alt"] for image in page.all("img") if (image["alt"] or "").startswith(start)]
        for start in ("Off in B ", "Map of ")
    )
    off = [alt.removeprefix("Off in B ") for alt in strip]
    assert set(off) == {f"{number}.png" for number in range(14, 20)}
    assert named.count("has stronger colours") + named.count("have stronger colours") >= 1
    assert [alt.removeprefix("Map of ").partition(":")[0] for alt in maps[: len(off)]] == off


def test_a_set_that_shares_images_is_judged_beside_itself() -> None:
    """A reference with the same images, and so with the same faults, can't tell."""
    both = np.concatenate([CLEAN, drawn(1, 5) * 0])
    shared = compare(both, both[1:], EXTRACTOR, **SETTINGS)
    assert shared.shares_images
    assert (shared.odd.off, shared.odd.surely_off, shared.odd.few_off) == (["image 39"], ["image 39"], None)
    assert shared.verdict_lines[-1] == "1 of 40 images of B is odd beside its others: image 39 is all black."
    assert rank(both[1:], both, EXTRACTOR).reasons == {39: "is all black"}
