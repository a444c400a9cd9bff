"""Reports show the results of compare, and names of files as text; also of grey images and of many bands."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import Outputs, pixels
from numpy.typing import NDArray
from pages import ROOT, Page
from PIL import Image
from torch import nn

from torchmetrics_dna import ActivationRanges, DNAExtractor, __version__, compare, make_dna, rank, report
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.comparisons.measured import compare_measured
from torchmetrics_dna.comparisons.outliers import Outliers
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.files.visible import p_figure, strict_json
from torchmetrics_dna.functional.flagging import Outlier
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.changes import Causes
from torchmetrics_dna.images.properties import RECORDS
from torchmetrics_dna.jobs.make import measure_ranges
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.reporting import write
from torchmetrics_dna.reporting.build import document_of
from torchmetrics_dna.reporting.findings import GROUPS, property_rows, settings_of
from torchmetrics_dna.reporting.page import as_html, top_histograms, with_maps
from torchmetrics_dna.singles.look import Gallery, ShownImage

LAYERS = ["block_0", "block_1"]
EXTRACTOR, RANGES = pixels()
FIXED: dict[str, Any] = {"feature": EXTRACTOR, "ranges": RANGES, "num_bins": 40}
HOSTILE = ("<img src=x onerror=alert(1)>.png", "</script><script>alert(2)</script>.png", "a & \"b\" 'c' {{ 7*7 }}.png")


def noise(count: int, seed: int, red: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    images = random.normal(120, 10, (count, 1, 1, 3)) + random.normal(0, 20, (count, 16, 16, 3))
    images[..., 0] += red
    return images.clip(0, 255).astype(np.uint8)


A, B = noise(24, 0), noise(28, 1, red=60)


def reported(a: Any, b: Any, path: Path, **options: Any) -> tuple[Comparison, Page]:
    comparison = report(a, b, path, **FIXED | options)
    return comparison, Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(A, B, **FIXED)


def alts(page: Page, start: str) -> list[str]:
    """Names of the images of a page whose description begins so."""
    texts = (image["alt"] or "" for image in page.all("img"))
    return [text.removeprefix(start) for text in texts if text.startswith(start)]


def three_digits(value: float) -> str:
    """Format with three significant digits, and with all digits before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def test_figures_are_those_of_compare(compared: Comparison, tmp_path: Path) -> None:
    shown, page = reported(A, B, tmp_path / "x.html", names=("real & true", "made"))
    emd, words = compared["dna-emd"], " ".join(page.text.split())
    rows = {row[0]: row[1:] for row in page.rows if row}
    assert rows["dna-emd"][0] == f"{emd.value:.3g}"
    assert f"{compared.interval.value:.3g} bins, {compared.interval.in_words}," in words
    assert next(row for row in page.rows if row[0] == "null mean")[1] == f"{emd.null_mean:.3g}"
    for layer, figures in compared.layers.items():
        assert rows[layer][0] == str(compared.neurons[layer])
        assert rows[layer][2:] == [
            f"{figures['dna_emd_debiased']:.3g}",
            emd.layers[layer].interval.ends,
            p_figure(figures["dna_emd_p_value"]),
            f"{figures['dna_emd']:.3g}",
            three_digits(figures["dna_fd"]),
        ]
    for neuron in compared.top_neurons(12):
        line = f"{neuron['dna_emd']:.3g} bins, mean {neuron['shift']:+.3g} in B, {p_figure(neuron['q'], 'q')}."
        assert f"{neuron['layer']} neuron {neuron['neuron']}: {line}" in words
    assert "that differ most clearly" in words
    assert all(side in words for side in ("real & true (24 images)", "made (28 images)"))
    assert len(alts(page, "A ")) == len(alts(page, "B ")) == 8
    assert len(alts(page, "Image ")) == 12 + len(shown.outliers.flagged_names[:12])
    assert [alt.partition(":")[0] for alt in alts(page, "Map of ")] == alts(page, "Image ")
    assert not page.all("script")


def test_histograms_hold_the_shares_and_the_fullest_bin_is_told(compared: Comparison) -> None:
    spikes = 0
    for row in top_histograms(compared):
        share_a, share_b, edges = compared.histograms(row["layer"], row["neuron"])
        filled = (share_a + share_b).nonzero().flatten()
        size = -(-int(filled[-1] - filled[0] + 1) // GROUPS)
        for levels, share in zip(row["heights"], (share_a, share_b), strict=True):
            groups = torch.nn.functional.pad(share[filled[0] :], (0, GROUPS * size))[: GROUPS * size].view(GROUPS, size)
            expected = (255 * (1 + groups.sum(1).log10() / 5)).clamp(min=1).round()
            expected[groups.sum(1) == 0] = 0
            assert levels == expected[: len(levels)].tolist()
            assert not expected[len(levels) :].any()
        assert row["low"] == pytest.approx(float(edges[filled[0]]))
        assert row["high"] >= float(edges[filled[-1] + 1]) - 1e-9
        place = int((share_a + share_b).argmax())
        stands_out = max(share_a[place], share_b[place]) >= 0.1
        assert bool(row["spike"]) == stands_out
        if stands_out:
            spikes += 1
            where = "at 0" if edges[place] <= 0 < edges[place + 1] else f"from {edges[place]:.3g}"
            in_a, in_b = (f"{100 * share[place]:.0f}%" for share in (share_a, share_b))
            assert row["spike"] == f"The bin {where} contains {in_a} of the activations of A and {in_b} of B."
    assert spikes


@pytest.mark.parametrize("crop", ["none", "center"])
def test_maps_are_yellow_where_heat_is(crop: Any) -> None:
    heat = torch.zeros(56, 56)
    heat[42:] = 1
    grey = Image.new("RGB", (160, 80), (100, 100, 100))
    ((_, drawn, where),) = with_maps([ShownImage("x", grey, heat)], crop)
    assert where.startswith("lower")
    yellow = np.asarray(drawn, float)[..., 0] - np.asarray(drawn, float)[..., 2]
    seen = slice(40, 120) if crop == "center" else slice(None)
    np.testing.assert_allclose(yellow[65:, seen], 0.85 * (254 - 56), atol=2)
    assert not yellow[:55].any()
    assert crop == "none" or not yellow[:, :40].any()
    assert [drawn for _, drawn, _ in with_maps([ShownImage("x", grey, torch.ones(9, 9))], crop)] == [None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs, and others that were blurred and saved as JPEG."""
    folder, photos = tmp_path_factory.mktemp("folders"), photographs(26)
    blurred = [blur(photo, strength=4) for photo in photos[12:]]
    for name, pictures, end in (("a|b", photos[:24], "png"), ("<c>", blurred + blurred[::-1], "jpg")):
        (folder / name).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(np.roll(picture, i, 1)).save(folder / name / f"{i:02}.{end}")
    return folder / "a|b", folder / "<c>"


@pytest.mark.slow
def network(seed: int, **options: Any) -> DNAExtractor:
    torch.manual_seed(seed)
    usual = {"layers": ["0", "1"], "mean": (0.5,) * 3, "std": (0.5,) * 3, "properties": False}
    return DNAExtractor(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)), **usual | options)


WEIGHTS = f"neuron weights (digest) {sha256(repr([0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).encode()).hexdigest()[:16]}"


@pytest.mark.parametrize(
    ("options", "setting", "words"),
    [
        ({"feature": network(1)}, "weights of the network", network(1).weights_digest),
        ({"feature": network(0, input_size=12)}, "preparation of images", "12"),
        ({"feature": network(0, layers=["1"])}, "neurons", "2 in 1 layers"),
        ({"num_bins": 50}, "bins per neuron", "50"),
        ({"ranges": "ranges"}, "activation ranges", "margin widen"),
        ({"neuron_weights": torch.tensor([0, 1, 1, 0, 1, 1.0])}, "average", f"weighted sum over neurons, {WEIGHTS}"),
        ({"num_folds": 6}, "folds of images", "6"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_setting_of_a_page_is_that_of_the_comparison(options: dict[str, Any], setting: str, words: str) -> None:
    base: dict[str, Any] = {"feature": network(0), "causes": False}
    if "ranges" in options:
        options = {"ranges": measure_ranges(A, network(0)).ranges}
    plain, other = (settings_of(compare(A, B, **base | each), gallery=None) for each in ({}, options))
    assert {name for name in plain | other if plain.get(name) != other.get(name)} - {"created"} == {setting}
    assert words in other[setting]
    assert plain["weights of the network"] == network(0).weights_digest


@pytest.mark.parametrize(("q", "p", "clear"), [(0.05, 0.05, True), (0.051, 0.05, False), (0.05, 0.051, False)])
def test_a_property_at_the_level_is_clear(
    q: float, p: float, clear: bool, compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row | {"q": q} for row in compared.properties.top_neurons(3)]
    monkeypatch.setattr(Comparison, "top_neurons", lambda *_: rows)
    monkeypatch.setattr(Comparison, "p_value_of_properties", p)
    assert [row.is_clear for row in property_rows(compared)] == [clear] * 3


def test_all_formats_say_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = report(*folders, tmp_path / "report.html", layers=LAYERS)
    assert list(comparison.neurons) == LAYERS, "properties are beside them"
    assert "JPEG files 0% → " in comparison.verdict
    write(tmp_path / "x.json", comparison)
    expected = comparison.to_dict() | {"version": __version__}
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == json.loads(strict_json(expected))
    write(tmp_path / "x.md", comparison)
    markdown = (tmp_path / "x.md").read_text(encoding="utf-8")
    plain = markdown.replace("\\", "")
    assert all(part in plain for part in comparison.verdict_lines)
    assert {r"\<c\>", r"a\|b."} <= set(markdown.splitlines()[0].split()), "no name acts as Markdown or html"
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in markdown.splitlines() if line.startswith("|"))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    words = " ".join(page.text.split())
    sides = ["A a|b (24 images)", "B <c> (28 images)"]
    places = [words.index(part) for part in ("<c> compared with a|b", *comparison.verdict_lines, *sides)]
    assert places == sorted(places)
    assert [words.count(part) for part in comparison.verdict_lines] == [1] * len(comparison.verdict_lines), "once"
    least_similar = "Images that are least similar to the other set"
    assert page.texts["h2"] == ["Properties of the images", least_similar, "Distances", "Terms", "Settings"]
    assert "neurons that differ most" in words
    headings = {name: f"{name}{record.meaning}" for name, record in RECORDS.items()}
    assert sorted(row[0] for row in page.rows if row and row[0] in headings.values()) == sorted(headings.values())
    assert next(row for row in page.rows if row[0] == headings["JPEG files"])[1:3] == ["0%", "100%"]
    assert not any(row[0] in ("made on", "ran on") for row in page.rows if row), "nothing of the machine"
    assert {row.is_clear for row in property_rows(comparison)} == {True, False}
    assert len(html.encode()) < 1e6


def test_images_that_need_not_show_a_cause_are_left_out(compared: Comparison) -> None:
    caused = replace(compared, causes=Causes(("blur",), (1.1,), (11.2, 2.1), 30))
    shown = [ShownImage("x", Image.new("RGB", (8, 8)), torch.rand(9, 9))]
    pages = [
        Page(as_html(each, Gallery({}, unlike={"a": shown, "b": shown})))
        for each in (replace(compared, causes=None), caused)
    ]
    assert ["least similar" in page.text for page in pages] == [True, False]
    assert caused.verdict_lines[0] in " ".join(pages[1].text.split())


def odd_in(comparison: Comparison, count: int) -> Outliers:
    """Outliers of a comparison, as if so many were found in its images."""
    reasons = ("brightness -", "sharpness -", "all black")
    single = [Outlier(i, reasons[i % len(reasons)], 0.01 * i, 0.5, 0.9) for i in range(count)]
    return replace(comparison.outliers, single=single, beyond=[])


def test_each_picture_has_its_name_as_caption_and_is_enlarged_by_a_click(compared: Comparison, tmp_path: Path) -> None:
    odd = odd_in(compared, 4)
    shown = [ShownImage(f"deep/{i}.png", Image.new("RGB", (8, 8)), torch.rand(9, 9)) for i in range(4)]
    flagged = [image._replace(why=f"is {i}") for i, image in enumerate(shown)]
    lists = {"a": shown, "b": shown[:3]}
    gallery = Gallery({}, lists, changed=shown, twins=dict.fromkeys("ab", shown[:2]), outliers=flagged, unlike=lists)
    page = Page(as_html(replace(compared, causes=None, outliers=odd), gallery))
    pictures = [figure for figure in page.figures if figure["img"]]
    assert sum(len(figure["img"]) for figure in pictures) == len(page.all("img")) == 4 + 3 + 4 + 4 + 8 + 8 + 6
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    for figure in pictures:
        enlarge, close = figure["a"]
        assert enlarge["href"] == f"#{figure['id']}", "a figure that is the target covers the page"
        assert close["href"].removeprefix("#") in ids
        names = {re.search(r"deep/\d\.png", image["alt"])[0] for image in figure["img"]}
        assert names == set(re.findall(r"deep/\d\.png", figure["caption"]))
    outliers = [figure["caption"] for figure in pictures if figure["id"].startswith("outlier-")]
    assert outliers == [f"deep/{i}.png is {i}" for i in range(4)]


@pytest.mark.parametrize("has_pictures", [True, False])
def test_each_flagged_image_has_its_reason(has_pictures: bool, compared: Comparison) -> None:
    flagged = replace(compared, outliers=odd_in(compared, 15))
    reasons = list(flagged.outliers.reasons("A").values())
    shown = [
        ShownImage(name, Image.new("RGB", (8, 8)), torch.rand(9, 9)) for name in flagged.outliers.flagged_names[:12]
    ]
    page = Page(as_html(flagged, Gallery({}, outliers=shown) if has_pictures else None))
    assert page.texts["h2"][0] == "Outliers in B"
    assert page.texts["summary"][0] == "All 15 flagged images, with the reasons"
    assert [row for row in page.rows if row[1:] and row[1] in reasons] == [
        list(pair) for pair in zip(flagged.outliers.flagged_names, reasons, strict=True)
    ]


def test_a_page_of_a_ranking_has_the_reason_for_each_flagged_image(tmp_path: Path) -> None:
    images = [*noise(60, 3), *[np.zeros((16, 16, 3), np.uint8)] * 15]
    ranking = rank(images, noise(60, 4), EXTRACTOR)
    write(tmp_path / "x.html", ranking)
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert page.texts["title"] == page.texts["h1"] == ["Ranking of 75 images"]
    flagged = {row["image"]: row["reason"] for row in ranking.rows() if row["reason"]}
    assert len(flagged) >= 15
    assert {row[0]: row[1] for row in page.rows if len(row) == 2} == {"image": "reason"} | flagged
    assert {"layer", "p", "percentile"} <= set(page.texts["dt"])


def test_a_page_has_one_title_and_explains_its_terms(tmp_path: Path) -> None:
    several = compare(A, {"b": B, "c": noise(24, 7)}, **FIXED)
    document = document_of(several)
    assert {"layer", "neuron", "bin", "p", "debiased"} <= {term.name for term in document.terms}
    write(tmp_path / "several.html", several)
    _, of_two = reported(A, B, tmp_path / "two.html", names=("real", "made"))
    several_page = Page((tmp_path / "several.html").read_text(encoding="utf-8"))
    assert "null mean" in of_two.texts["dt"]
    for page, title in ((of_two, "made compared with real"), (several_page, "2 sets compared with the reference")):
        assert page.texts["title"] == page.texts["h1"] == [title]
        ids = {attributes.get("id") for _, attributes in page.elements}
        links = [link["href"].removeprefix("#") for link in page.all("a")]
        assert {f"term-{name}" for name in ("layer", "neuron", "bin", "p", "debiased")} <= set(links)
        assert set(links) <= ids
        sentences = [meaning.strip() for meaning in page.texts["dd"]]
        assert all(sentence.count(". ") == 0 and sentence.endswith(".") for sentence in sentences)


def test_the_overall_error_rate_is_the_measured_one(compared: Comparison) -> None:
    table = (ROOT / "docs" / "experiments" / "one_level.txt").read_text(encoding="utf-8")
    share = re.search(r"^[|] any [|] ([\d.]+) ", table, re.MULTILINE)[1]
    rate = f"about {100 * float(share):.0f} in 100"
    reading = " ".join((ROOT / "docs" / "reading.md").read_text(encoding="utf-8").split())
    page = " ".join(Page(as_html(compared)).text.split())
    for text in (reading, page):
        assert re.findall(r"about \d+ in 100", text) == [rate]


def test_values_and_meanings_of_properties_have_one_scale(compared: Comparison) -> None:
    rows = {row.name: row for row in property_rows(compared)}
    assert (rows["width"].a, rows["aspect ratio"].a) == ("16 pixels", "1")
    for name in ("width", "height", "aspect ratio", "bytes per pixel"):
        assert not re.search(r"\d", RECORDS[name].meaning), "a number there would be on another scale than the value"


def test_pairs_are_shown_with_their_difference(tmp_path: Path) -> None:
    photos = noise(12, 0)
    _, page = reported(photos, np.minimum(photos, 235) + 20, tmp_path / "x.html", pairs=True)
    assert alts(page, "A ") == alts(page, "B ") == alts(page, "Difference of ")
    assert "8 times as bright" in page.text
    uri = next(image["src"] for image in page.all("img") if (image["alt"] or "").startswith("Difference"))
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert np.asarray(picture).mean() == pytest.approx(160, abs=3)


def test_nothing_is_named_without_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://me:SECRET@host/a.zip?X-Signature=SECRET"
    monkeypatch.setattr("sys.argv", ["torchmetrics-dna", "compare", address, "b", "-o", "x.html"])
    comparison, page = reported(A[:4], [*A[:1], *B[:3]], tmp_path / "x.html")
    assert comparison.p_value is None
    html, words = (tmp_path / "x.html").read_text(encoding="utf-8"), " ".join(page.text.split())
    assert "https://host/a.zip" in html
    assert "SECRET" not in html
    monkeypatch.setattr("sys.argv", ["/lib/pytest/__main__.py", "-q"])
    assert "torchmetrics-dna -q" not in reported(A[:4], B[:3], tmp_path / "y.html")[1].text  # a program of its own
    of_pixels = [record for record in RECORDS.values() if record.needs != "file"]  # the images are in memory
    assert f"{len(of_pixels)} properties that were not tested" in words
    assert " after " not in words
    assert "significantly" not in words
    assert comparison.notices
    notices = [f"{escape(notice, quote=True)}." for notice in comparison.notices]
    assert any("`" in notice for notice in notices)
    assert all(re.sub("`([^`]*)`", r"<code>\1</code>", notice) in html for notice in notices)


def test_no_neuron_is_shown_where_nothing_differs(tmp_path: Path) -> None:
    comparison, page = reported(noise(24, 0), noise(24, 5), tmp_path / "x.html")
    assert comparison.p_value > 0.05
    assert not any(part in page.text for part in ("least similar", "Layers and neurons"))
    headings = [heading for tag in ("title", "h1", "h2", "h3", "summary") for heading in page.texts[tag]]
    assert [heading for heading in headings if "differ" in heading] == [
        "18 properties that do not differ significantly"
    ]
    assert len(alts(page, "A ")) == 8


def test_names_of_files_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "<i>a"
    folder.mkdir()
    for i, name in enumerate(HOSTILE):
        Image.fromarray(A[i]).save(folder / name.replace("/", "∕"))  # noqa: RUF001 - a slash that a name can hold
    source = open_source([*A[: len(HOSTILE)]])
    source.names = list(HOSTILE)  # also those that no file system allows
    for images in (folder, source):
        _, page = reported(images, B[:3], tmp_path / "x.html", names=("<script>alert(3)</script>", "b\u202ex\x1b"))
        html = (tmp_path / "x.html").read_text(encoding="utf-8")
        assert not page.all("script")
        assert not page.all("i")
        assert not any("onerror" in attributes for _, attributes in page.elements)
        assert not {"\u202e", "\x1b"} & set(html)
        assert r"b\u202ex\x1b" in page.text
        assert "<img src=x onerror=alert(1)>.png" in alts(page, "A ")
        assert any("{{ 7*7 }}" in name for name in alts(page, "A "))


def test_layers_whose_names_are_markup(tmp_path: Path) -> None:
    neurons = Neurons({"</script><script>alert(1)</script>": 3, "<img src=x onerror=alert(2)>\u202e": 2})
    ranges = ActivationRanges(torch.zeros(5), torch.ones(5), neurons)
    counts = torch.full((5, 40), 1), torch.full((5, 40), 2), torch.arange(200).reshape(5, 40)
    a, b, c = (HistogramDNA(each, neurons, ranges, num_images=3, extractor="<i>tiny</i>") for each in counts)
    comparison = report(a, b, tmp_path / "x.html")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert comparison["dna-emd"].value == 0
    assert not page.all("script") + page.all("i") + page.all("img")
    layers = {"</script><script>alert(1)</script>", r"<img src=x onerror=alert(2)>\u202e"}
    assert not layers & {row[0] for row in page.rows}, "nothing differs"
    rows = {
        row[0]
        for row in Page(
            as_html(compare_measured(*(Measured({"histogram": dna}, []) for dna in (a, c)), plan=None))
        ).rows
    }
    assert layers <= rows
    assert "\u202e" not in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "Images of" not in page.text


def test_fifty_thousand_images_stay_under_a_megabyte() -> None:
    neurons = Neurons({f"block_{i}": 3200 for i in range(8)})
    ranges = ActivationRanges(torch.zeros(neurons.total), torch.ones(neurons.total), neurons)
    generator = torch.Generator().manual_seed(0)
    names = [f"/a/long/path/to/the/images/of/a/data/set/{i:012}.jpg" for i in range(50_000)]
    a, b = (
        HistogramDNA(
            torch.randint(0, 10**6, (neurons.total, 20), generator=generator),
            neurons,
            ranges,
            num_images=50_000,
            extractor="x",
        )
        for _ in range(2)
    )
    measured = [Measured({"histogram": dna}, [f"Can't read image {name!r}" for name in names]) for dna in (a, b)]
    random = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)  # what JPEG can't make small
    shown = [ShownImage(name, Image.fromarray(random), torch.rand(56, 56, generator=generator)) for name in names[:8]]
    gallery = Gallery({}, strips=dict.fromkeys("ab", shown), unlike=dict.fromkeys("ab", shown[:6]))
    html = as_html(compare_measured(*measured, plan=None), gallery)
    assert len(html.encode()) < 1e6
    assert "and 99,900 more" in html


def test_a_dna_and_few_images(tmp_path: Path) -> None:
    dna = make_dna(A, **FIXED)
    comparison, page = reported(dna, B[:5], tmp_path / "x.html")
    assert comparison.interval is not None
    assert "not tested" in page.text
    assert not any(row[0] == "by chance" for row in page.rows)
    assert (alts(page, "A "), len(alts(page, "B "))) == ([], 5)
    assert not alts(page, "Image ")
    _, page = reported(dna, B[:1], tmp_path / "x.html", neuron_weights=torch.full((9,), 1 / 9))
    assert "B 1 image" in " ".join(page.text.split())
    assert [row[1].startswith("weighted sum over neurons") for row in page.rows if row[0] == "average"] == [True]


RNG = np.random.default_rng(0)


def extractor(channels: int) -> DNAExtractor:
    """A network whose neurons are the channels."""
    return DNAExtractor(Outputs(lambda imgs: imgs.float()), channels=channels)


def grey_folders(folder: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """PNGs of 16 bits whose difference is far below a level of 8 bits."""
    pixels = 20_000 + RNG.integers(0, 100, (2, 40, 12, 10)) + np.array([0, 5])[:, None, None, None]
    for side, images in zip("ab", pixels, strict=True):
        (folder / side).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.astype(np.uint16)).save(folder / side / f"{number:02}.png")
    return folder / "a", folder / "b", *(pixels[..., None] / 65535)


def arrays_of_bands(folder: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """Arrays of five bands, one of them packed; a band is darker in the other set."""
    a, b = RNG.random((2, 40, 12, 10, 5), np.float32)
    b[..., 3] *= 0.9
    np.savez(folder / "a.npz", a)
    np.savez_compressed(folder / "b.npz", b)
    return folder / "a.npz", folder / "b.npz", a, b


@pytest.mark.parametrize(("make", "channels"), [(grey_folders, 1), (arrays_of_bands, 5)])
def test_two_sets_are_compared_by_what_was_saved(make: Callable, channels: int, tmp_path: Path) -> None:
    a, b, *pixels = make(tmp_path)
    comparison = compare(a, b, extractor(channels))
    means = [images.astype(float).mean((1, 2)) for images in pixels]  # (images, channels)
    expected = np.square(means[0].mean(0) - means[1].mean(0)) + np.square(
        means[0].std(0, ddof=1) - means[1].std(0, ddof=1)
    )
    assert comparison["dna-fd"].value == pytest.approx(expected.mean(), rel=1e-3)
    assert comparison.p_value < 0.01
    assert rank(b, pixels[0].astype(np.float32), extractor(channels)).scores.numel() == 40
    same = compare(a, pixels[0].astype(np.float32), extractor(channels), metrics=["dna-emd"], num_folds=None)
    assert same["dna-emd"].value == pytest.approx(0, abs=1e-3)


def test_reports_of_grey_images_have_pictures_and_those_of_bands_say_that_they_have_none(tmp_path: Path) -> None:
    for make, channels in ((grey_folders, 1), (arrays_of_bands, 5)):
        a, b, *_ = make(tmp_path)
        if channels == 5:
            np.savez(tmp_path / "b.npz", np.load(tmp_path / "b.npz")["arr_0"])  # by number
        report(a, b, tmp_path / f"{channels}.html", extractor(channels))
    grey, bands = ((tmp_path / f"{channels}.html").read_text() for channels in (1, 5))
    assert "data:image/jpeg" in grey
    assert "data:image/jpeg" not in bands
    assert "images have 5 channels" in bands
    with pytest.raises(ValueError, match="A contact sheet takes grey or RGB images, but images have 5 channels"):
        rank(b, a, extractor(5)).plot()
