"""The second question of a comparison: are a few images of B unlike A's own?"""

from __future__ import annotations

import re
import shutil
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

from torchmetrics_dna import compare, make_dna, rank, report
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.comparisons.outliers import Outliers
from torchmetrics_dna.functional import Outlier, outlier_test, outliers_by_properties
from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.reporting.outliers import flagged_beside_reference, outlier_sentences

EXTRACTOR, RANGES = pixels()
FIXED: dict[str, Any] = {"ranges": RANGES, "num_bins": 40}
SETTINGS = FIXED | {"metrics": ["dna-emd"]}


def drawn(count: int, seed: int, num_outliers: int = 0) -> NDArray[np.uint8]:
    """Grey noise, of which the last so many images are red."""
    random = np.random.default_rng(seed)
    images = random.normal(120, 10, (count, 1, 1, 3)) + random.normal(0, 20, (count, 8, 8, 3))
    images[count - num_outliers :, ..., 0] += 90
    return images.clip(0, 255).astype(np.uint8)


A, CLEAN, ODD = drawn(80, 0), drawn(40, 1), drawn(40, 2, num_outliers=6)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(A, ODD, EXTRACTOR, **SETTINGS)


def test_it_says_what_a_ranking_says(compared: Comparison) -> None:
    odd, same = compared.outliers, rank(ODD, A, EXTRACTOR).outliers
    torch.testing.assert_close(odd.scores, same.scores, rtol=1e-6, atol=0)
    torch.testing.assert_close(odd.typical, same.typical, rtol=1e-6, atol=0)
    assert (odd.names, odd.outlier_test, odd.single) == (same.names, same.outlier_test, same.single)
    assert [each[:2] for each in odd.beyond] == [each[:2] for each in same.beyond]
    assert [each[:2] for each in odd.extremes] == [each[:2] for each in same.extremes]
    assert sorted(odd.numbers[:6]) == list(range(34, 40))
    assert compared.to_dict()["outliers"] == {
        "p_value": odd.outlier_test.p_value, "fewest": odd.outlier_test.fewest, "images": odd.flagged_names,
        "reasons": [odd.reasons()[odd.numbers[each.image]] for each in odd.named],
    }  # fmt: skip


def test_properties_are_judged_one_by_one(compared: Comparison) -> None:
    sides = [torch.cat([image_properties(torch.from_numpy(i).permute(2, 0, 1)[None]) for i in s]) for s in (A, ODD)]
    odd = compared.outliers
    assert {odd.numbers[each.image] for each in odd.single} == {each.image for each in outliers_by_properties(*sides)}
    without = compare(A, ODD, pixels(properties=False)[0], **SETTINGS).outliers
    by_network = rank(ODD, A, pixels(properties=False)[0])
    torch.testing.assert_close(without.scores, by_network.scores, rtol=1e-6, atol=0)
    assert (without.single, without.has_properties) == ([], False)


def test_only_images_beyond_all_of_the_reference_are_named() -> None:
    scores = torch.tensor([9.0, 3.0, 2.2, *[1.0] * 37])
    typical = torch.linspace(0.5, 2, 200).double()
    names = [str(i) for i in range(40)]
    beyond = [Outlier(place, "head", 0, 0, 0) for place in range(3)]
    odd = Outliers(names, list(range(40)), scores, typical, [Outlier(0, "all black", 0, 0.1, 1)], beyond[1:])
    few = outlier_test(scores[1:], typical)
    assert odd.outlier_test.share == few.share
    assert odd.outlier_test.p_value > 0.05  # two of 39 can't be shown
    assert (odd.flagged_names, odd.num_by_test) == (["0"], 0)
    for has_properties, least in (({}, None), ({"has_properties": True}, 40)):
        few_references = Outliers(names, list(range(40)), scores, typical[:39], **has_properties)
        assert ("With fewer than 40" in " ".join(flagged_beside_reference(few_references, "A", "image"))) is bool(least)
    far = Outliers(names, list(range(40)), scores, typical / 9, [], beyond)
    assert far.outlier_test.p_value <= 0.05
    assert far.flagged_names == names[:3]
    near = replace(far, beyond=[])
    assert (near.flagged_names, near.num_by_test) == ([], 0)
    assert near.candidates[0] == "0"
    assert replace(odd, single=beyond[:1] * 40, names=names[:1]).outlier_test is None  # which leaves none to test


@pytest.mark.parametrize(("p", "alone", "beside_one"), [(0.004, 0.02, 0.02 / 3), (0.02, 0.1, 0.1 / 3), (0.9, 1, 1)])
def test_a_question_of_several_pays_for_them(
    p: float, alone: float, beside_one: float, compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = outlier_test(compared.outliers.scores, compared.outliers.typical)._replace(p_value=p)
    monkeypatch.setattr("torchmetrics_dna.comparisons.outliers.outlier_test", lambda *_: few)
    names = compared.outliers.names
    for single, corrected, level in (([], alone, 0.01), ([Outlier(9, "all black", 0, 0.1, 1)], beside_one, 0.03)):
        odd = replace(compared.outliers, single=single, beyond=[Outlier(0, "colours", 0, 0, 0)])
        assert odd.outlier_test.p_value == pytest.approx(corrected)
        assert odd.flagged_names == [names[0]] * (p <= level) + [names[each.image] for each in single]  # as they stand
        others = 40 - len(single)
        shown = (n for n in range(1, 41) if hypergeom(80 + others, n, others).pmf(n) <= level)
        assert odd.outlier_test.fewest == next(shown)


def test_the_first_question_is_as_it_is_alone(compared: Comparison) -> None:
    alone = compare(A, ODD, EXTRACTOR, groups=([str(i) for i in range(80)], [str(i) for i in range(40)]), **SETTINGS)
    assert alone.outliers is None
    assert compared.p_value == compared["dna-emd"].p_value


def album(kind: str) -> NDArray[np.uint8]:
    """Images of A's kind with two black, a plain and a blurred one; or all darkened, and one black."""
    images = drawn(30, 3)
    if kind == "darkened":
        images = (images * 0.4).astype(np.uint8)
    for number, image in ((4, 0), (11, 130), (17, images[17].mean((0, 1), keepdims=True)), (23, 0)):
        images[number] = image if kind == "spoilt" or number == 4 else images[number]
    return images


def given_as(form: str, images: NDArray[np.uint8], root: Path) -> tuple[Any, list[str]]:
    """A set as it may be given, and the names of its images below it."""
    if form == "arrays":
        return images, [f"image {i}" for i in range(len(images))]
    names = [f"{'even' if form == 'nested' and i % 2 == 0 else 'odd'}/{i:02}.png" for i in range(len(images))]
    names = names if form in ("nested", "files") else [name.rpartition("/")[2] for name in names]
    for name, image in zip(names, images, strict=True):
        (root / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((48, 48), 0).save(root / "b" / name)
    if form == "files":
        return [root / "b" / name for name in names], [name.removeprefix("odd/") for name in names]
    if form == "zip":
        return shutil.make_archive(str(root / "b"), "zip", root / "b"), names
    return root / "b", names


@pytest.mark.causes
@pytest.mark.parametrize(
    ("form", "kind"),
    [("arrays", "spoilt"), ("nested", "spoilt"), ("folder", "darkened"),
     *(pytest.param(*row, marks=pytest.mark.slow)
       for row in (("files", "spoilt"), ("zip", "spoilt"), ("arrays", "clean")))],
)  # fmt: skip
def test_all_name_the_same_images_in_one_order(form: str, kind: str, tmp_path: Path) -> None:
    """A verdict, its json, its page, a ranking, its json, rows and contact sheet: by the names below the set."""
    b, names = given_as(form, album(kind), tmp_path)
    a = A if form == "arrays" else [Image.fromarray(image).resize((48, 48), 0) for image in A]
    odd = report(a, b, tmp_path / "x.html", EXTRACTOR, names=("A", "B"), **SETTINGS)
    ranking = rank(b, a, EXTRACTOR)
    off = ranking.flagged_names
    assert set(off) <= set(names)
    assert {names[i] for i in {"spoilt": (4, 11, 17, 23), "darkened": (4,), "clean": ()}[kind]} <= {*off}
    assert off == odd.outliers.flagged_names == odd.to_dict()["outliers"]["images"]
    assert off == ranking.to_dict()["flagged"] == ranking.to_dict()["outliers"]["images"]
    assert odd.to_dict()["outliers"]["reasons"] == list(ranking.reasons.values())
    flagged = [row["image"] for row in ranking.rows() if row.get("reason")]
    assert len(flagged) == len(off)
    assert all(str(row).endswith(name) for row, name in zip(flagged, off, strict=True))
    lines = [line for line in odd.verdict_lines if line.startswith(f"{len(off)} of")]
    assert len(lines) == (1 if off else 0)
    assert bool(odd.causes and odd.causes.names) == (kind == "darkened")
    assert all((" relative to the original A: " in line) == (kind == "darkened") for line in lines)
    for text in [*lines, *[ranking.verdict] * bool(off)]:
        in_text = re.findall("|".join(sorted(map(re.escape, names), key=len, reverse=True)), text)
        assert in_text
        assert {*in_text} <= {*off}
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    alts = [image["alt"] or "" for image in page.all("img")]
    captions = [figure["caption"] for figure in page.figures if figure.get("id", "").startswith("outlier-")]
    reasons = odd.outliers.reasons("A").values()
    assert captions == [f"{name} {reason}" for name, reason in zip(off, reasons, strict=True)][:12]
    assert [alt.removeprefix("Image ") for alt in alts if alt.startswith("Image ")][: len(off)] == off[:12]
    sheet = [axis for axis in ranking.plot(columns=3).axes if axis.get_title()[:1].isdigit()]
    labels = [axis.get_xlabel().splitlines()[0] for axis in sheet]
    assert labels
    assert all(name.endswith(label[-8:]) for label, name in zip(labels, ranking.names, strict=False))


def test_each_flagged_image_is_named_or_counted(compared: Comparison) -> None:
    blurred = [Outlier(place, "sharpness -", 0, 0.1, 1) for place in (1, 2, 3, 5, 6)]
    flagged = replace(compared.outliers, single=[Outlier(0, "all black", 0, 0.1, 1), *blurred], beyond=[])
    names = flagged.names
    lines = flagged_beside_reference(flagged, "A", "image")
    assert "6 of 40 images are flagged as outliers." in lines
    assert f"{names[0]} is all black." in lines
    shown = ", ".join(names[place] for place in (1, 2, 3))
    assert f"5 are much more blurred than all of A: {shown} and 2 more." in lines


def test_the_share_of_outliers_comes_first() -> None:
    typical = torch.linspace(0.5, 2, 200).double()
    names = [str(i) for i in range(100)]
    many = torch.cat([torch.full((24,), 30.0), torch.linspace(0.5, 2, 76)]).double()
    odd = Outliers(names, list(range(100)), many, typical, [], [Outlier(place, "head", 0, 0, 0) for place in range(24)])
    few = outlier_test(many, typical)
    first = outlier_sentences(odd, "the reference", "image")[0]
    assert (
        first == f"An estimated {few.share:.0%} of these images are outliers (95% CI [{few.low:.0%}, {few.high:.0%}])."
    )
    assert few.low < 0.24 < few.high
    equal = replace(odd, scores=torch.linspace(0.5, 2, 100).double(), beyond=[])
    assert equal.share is None
    assert outlier_sentences(equal, "the reference", "image")[0].startswith("No evidence of outliers")


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
        assert comparison.outliers is comparison.to_dict()["outliers"] is None
        assert not any("not asked" in notice for notice in comparison.notices)
    stream = compare(iter(A[:40]), ODD, EXTRACTOR, **SETTINGS)
    assert "does not say how long" in stream.notices[-1]
    monkeypatch.setattr("torchmetrics_dna.dna.folded._MOST_BYTES", 4 * 9 * 120 - 1)
    large = compare(A, ODD, EXTRACTOR, **SETTINGS)
    assert "9 numbers per image for 120 images" in large.notices[-1]
    assert (stream.outliers, large.outliers, large.p_value) == (None, None, compared.p_value)


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
    options, named = ("--layers", "block_0", "--fail-if-outliers"), ""
    for sets, code, line in (
        (["clean"], 0, "Passed: no image of clean is flagged as an outlier."),
        (["clean", "odd"], 1, "Failed: odd has 6 outliers."),
        (["clean", "--num-folds", "0"], 2, "Option --fail-if-outliers can't be used for clean"),
        (["clean", "--groups", "folder"], 2, "is for independent images of whole sets, but got --groups"),
        (["odd", "-o", "page.html"], 1, "Failed: odd has 6 outliers."),
    ):
        assert run(monkeypatch, "compare", "a", *sets, *options) == code
        named, said = (" ".join(text.split()) for text in capsys.readouterr())
        assert line in said
    page = Page(Path("page.html").read_text(encoding="utf-8"))
    outliers = [figure["img"] for figure in page.figures if figure.get("id", "").startswith("outlier-")]
    maps = [alt["alt"] for _, alt in outliers]
    off = [image["alt"].removeprefix("Image ") for image, _ in outliers]
    assert set(off) == {f"{number}.png" for number in range(14, 20)}
    assert named.count("has stronger colours") + named.count("have stronger colours") >= 1
    assert [alt.removeprefix("Map of ").partition(":")[0] for alt in maps[: len(off)]] == off


def test_a_set_that_shares_images_is_judged_beside_itself() -> None:
    """A reference with the same images, and so with the same faults, can't tell."""
    both = np.concatenate([CLEAN, drawn(1, 5) * 0])
    shared = compare(both, both[1:], EXTRACTOR, **SETTINGS)
    assert shared.shares_images
    assert (shared.outliers.flagged_names, shared.outliers.surely_flagged, shared.outliers.outlier_test) == (
        ["image 39"],
        ["image 39"],
        None,
    )
    assert shared.verdict_lines[-1].startswith("1 of 40 images in B ")
    assert "image 39 is all black" in shared.verdict_lines[-1]
    assert rank(both[1:], both, EXTRACTOR).reasons == {39: "is all black"}
