"""The second question of a comparison: are a few images of B unlike A's own?"""

from __future__ import annotations

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
    ranking = rank(ODD, A, EXTRACTOR)
    odd = compared.odd
    torch.testing.assert_close(odd.scores, ranking.scores, rtol=1e-6, atol=0)
    torch.testing.assert_close(odd.typical, ranking.typical, rtol=1e-6, atol=0)
    assert (odd.names, odd.few_off) == (ranking.names, ranking.few_off)
    assert sorted(odd.numbers[:6]) == list(range(34, 40))
    assert compared.to_dict()["few_off"] == {
        **ranking.few_off._asdict(), "p_value": odd.p_value, "fewest": odd.fewest, "images": odd.off,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("p", "whole", "corrected"),
    [(0.01, 0.5, 0.03), (0.03, 0.5, 0.09), (0.03, 0.04, 0.04), (0.04, 0.01, 0.04), (0.02, 0.05, 0.05), (0.9, 1, 1)],
)
def test_only_the_second_question_pays_for_both(
    p: float, whole: float, corrected: float, compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = compared.odd.few_off._replace(p_value=p)
    monkeypatch.setattr("torchmetrics_dna.comparisons.odd_images.few_are_off", lambda *_: few)
    odd = replace(compared.odd, whole=whole)
    assert odd.p_value == pytest.approx(corrected)
    assert bool(odd.off) == (corrected <= 0.05)
    level = 0.05 if whole <= 0.05 else 0.05 / 3
    assert odd.fewest == next(count for count in range(1, 41) if hypergeom(120, count, 40).pmf(count) <= level)
    assert replace(odd, whole=None).p_value == p


def test_the_first_question_is_as_it_is_alone(compared: Comparison) -> None:
    alone = compare(A, ODD, EXTRACTOR, groups=([str(i) for i in range(80)], [str(i) for i in range(40)]), **SETTINGS)
    assert alone.odd is None
    assert compared.p_value == compared["dna-emd"].p_value
    assert compared.odd.whole == compared.p_value


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
    for name, images in {"a": A[:40], "clean": CLEAN[:20], "odd": ODD[20:]}.items():
        (root / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).resize((48, 48), 0).save(root / name / f"{i:02}.png")
    return root


@pytest.mark.usefixtures("of_any_value")
def test_a_gate_and_a_page(folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folders)
    options, named = ("--layers", "block_0", "--fail-if-odd"), ""
    for sets, code, line in (
        (["clean"], 0, "Passed: no odd image of clean is shown, p"),
        (["clean", "odd"], 1, "Failed: odd has odd images, p (Holm)"),
        (["clean", "--num-folds", "0"], 2, "Option --fail-if-odd takes images, at least 10 of the reference"),
        (["clean", "--groups", "folder"], 2, "is for independent images of whole sets; leave out --groups"),
        (["odd", "-o", "page.html"], 1, "Failed: odd has odd images, p"),
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
    assert len(off) >= 3
    assert set(off) <= {f"{number}.png" for number in range(14, 20)}
    assert ", ".join(off[:5]) in named
    assert [alt.removeprefix("Map of ").partition(":")[0] for alt in maps[: len(off)]] == off
