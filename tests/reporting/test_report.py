"""Reports show the results of compare and rank, and names of files as text."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import Page
from PIL import Image
from small_protocols import make_small
from torch import nn
from torchmetrics_dna.reporting.drawing import GROUPS, small_histograms, spikes
from torchmetrics_dna.reporting.drawing import jpeg as jpeg_uri

from torchmetrics_dna import ActivationRanges, DNAExtractor, compare, make_dna, rank, report
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.comparisons.compare import compare_sides
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.evidence import Evidence
from torchmetrics_dna.files.visible import p_figure, strict_json
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.properties import PROPERTIES
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.causes import Causes
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.reporting import write
from torchmetrics_dna.reporting.findings import property_rows
from torchmetrics_dna.reporting.page import as_html
from torchmetrics_dna.singles.look import Picture, Pictures, look

LAYERS = ["block_0", "block_1"]
PHOTOS = photographs(12)
BLURRED = [blur(photo, strength=4) for photo in photographs(26)[12:]]
HOSTILE = ("<img src=x onerror=alert(1)>.png", "</script><script>alert(2)</script>.png", "a & \"b\" 'c' {{ 7*7 }}.png")


@pytest.fixture(scope="module")
def extractor() -> DNAExtractor:
    return DNAExtractor(layers=LAYERS)


@pytest.fixture(scope="module")
def reported(extractor: DNAExtractor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Comparison, str]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    comparison = report(PHOTOS, BLURRED, path, extractor, names=("real & true", "made"), num_scored=9, causes=False)
    html = path.read_text(encoding="utf-8")
    return Page(html), comparison, html


def with_evidence(comparison: Comparison, evidence: Evidence) -> Comparison:
    """The comparison with other evidence for dna-emd, and none for other distances."""
    results = {name: replace(result, evidence=None) for name, result in comparison.items()}
    return replace(comparison, results=results | {"dna-emd": replace(comparison["dna-emd"], evidence=evidence)})


def test_figures_are_those_of_compare(reported: tuple[Page, Comparison, str], extractor: DNAExtractor) -> None:
    page, _, _ = reported
    expected = compare(PHOTOS, BLURRED, extractor, confidence=0.95)
    interval = expected.interval
    assert next(row for row in page.rows if row[0] == "dna-emd")[1] == f"{expected['dna-emd'].value:.4g}"
    assert f"dna-emd, corrected for sampling noise: {interval.value:.3g} bins ({interval.in_words})" in page.text
    assert next(row for row in page.rows if row[0] == "by chance")[1] == f"{expected['dna-emd'].by_chance:.4g}"
    for layer, figures in expected.layers.items():
        row = next(row for row in page.rows if row[0] == layer)
        assert row[1] == str(expected.neurons[layer])
        ends = expected["dna-emd"].layers[layer].interval.ends
        assert row[3:] == [
            f"{figures['dna_emd_debiased']:.4g}",
            ends,
            p_figure(figures["dna_emd_p_value"]),
            f"{figures['dna_emd']:.4g}",
            f"{figures['dna_frechet']:.4g}",
        ]
    for neuron in expected.top_neurons(12):
        line = f"{neuron['dna_emd']:.4g} bins, mean {neuron['shift']:+.3g}, q {p_figure(neuron['q'])}"
        assert f"{neuron['layer']} neuron {neuron['neuron']}: {line}" in page.text
    assert "Histograms of the neurons that differ most clearly" in page.text
    assert "real & true (12 images)" in " ".join(page.text.split())
    assert "made (14 images)" in " ".join(page.text.split())


def test_the_map_holds_every_neuron(reported: tuple[Page, Comparison, str]) -> None:
    page, comparison, _ = reported
    emd = comparison["dna-emd"].values
    for layer, first, count in page.data["layers"]:
        values = page.data["emd"][first : first + count]
        assert values == sorted(values, reverse=True)
        for number, value in zip(page.data["number"][first : first + count], values, strict=True):
            assert value == pytest.approx(float(emd[comparison.neurons.index(layer, number)]), rel=1e-3)
    assert len(page.data["emd"]) == comparison.neurons.total
    pictures = [image for image in page.all("img") if "neurons, which differ by" in (image["alt"] or "")]
    assert len(pictures) == len(LAYERS)
    # the lightest pixel is the neuron that differs most; what lies beyond the last neuron can't be seen
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]["src"].partition(",")[2]))))
    assert (first[0, :16, 3] == 255).all()
    assert (first[0, 16:, 3] == 0).all()
    brightness = first[0, :16, :3].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) <= 0.5).all()


def test_images_are_those_of_rank(reported: tuple[Page, Comparison, str], extractor: DNAExtractor) -> None:
    """Those least like the other side, by the distance to it less that to their own, from two rankings."""
    page, comparison, _ = reported
    assert "Of 9 images drawn at random from the 12" in page.text
    assert "Of 9 images drawn at random from the 14" in page.text
    shown = [(image["alt"] or "").removeprefix("Image ") for image in page.all("img")]
    shown = [name for name in shown if name.startswith("image ")]
    assert len(shown) == 12
    for images, side, names in ((PHOTOS, 0, shown[:6]), (BLURRED, 1, shown[6:])):
        scores = dict.fromkeys(names, 0.0)
        for sign, other in ((1, 1 - side), (-1, side)):
            ranking = rank(images, comparison.measured[other].first, extractor, score="distance")
            distances = dict(zip(ranking.names, ranking.scores.tolist(), strict=True))
            scores = {name: score + sign * distances[name] for name, score in scores.items()}
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_maps_show_where_images_are_unlike_the_other_set(extractor: DNAExtractor, tmp_path: Path) -> None:
    """Of photographs whose lower quarter is noise; the mean of a map is the image's score, from two rankings."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 192, 3), np.uint8)
    spoilt = [np.concatenate([photo[:144], noise]) for photo in photographs(24)[12:]]
    sides = open_sides((PHOTOS, spoilt), Arguments(extractor))
    comparison = compare_sides(sides, ("A", "B"))[0]
    pictures = look(sides, comparison)
    names, heats = [image.name for image in pictures.unlike["b"]], [image.heat for image in pictures.unlike["b"]]
    scores = torch.zeros(6, dtype=torch.float64)
    for sign, side in ((1, 0), (-1, 1)):
        ranking = rank(spoilt, comparison.measured[side].first, extractor, score="distance")
        distances = dict(zip(ranking.names, ranking.scores, strict=True))
        scores += sign * torch.stack([distances[name] for name in names])
    torch.testing.assert_close(torch.stack(heats).mean((1, 2)), scores)
    page = Page(as_html(comparison, pictures))
    maps = [image["alt"] for image in page.all("img") if (image["alt"] or "").startswith("Map of ")]
    assert len(maps) == 12
    assert sum(": most in the lower " in alt for alt in maps[6:]) >= 5
    assert [alt.removeprefix("Map of ").partition(":")[0] for alt in maps[6:]] == names
    low, high = np.quantile(torch.stack(heats), (0.01, 0.99))
    for alt, heat in zip(maps[6:], heats, strict=True):
        red, _, blue = pixels_of(page, alt).transpose(2, 0, 1)
        yellow = (red - blue).mean(1)  # 0 of grey, and at most 0.85 of (254, 232, 56)
        rows = (((heat.numpy() - low) / (high - low)).clip(0, 1) * 0.85 * (254 - 56)).mean(1)
        expected = np.interp((np.arange(160) + 0.5) * 56 / 160 - 0.5, np.arange(56), rows)
        assert np.abs(yellow - expected).mean() < 4
        assert yellow[120:].mean() > 1.5 * yellow[:100].mean()


def test_layers_without_positions_have_no_maps(tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    extractor = DNAExtractor(network, layers=["1"], mean=(0.5,) * 3, std=(0.5,) * 3)
    report(PHOTOS[:4], BLURRED[:4], tmp_path / "x.html", extractor, ranges="auto")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    texts = [image["alt"] or "" for image in page.all("img")]
    assert sum(text.startswith("Image ") for text in texts) == 8
    assert not any(text.startswith("Map of ") for text in texts)
    assert "Below each image is its map" not in page.text


def test_the_verdict(reported: tuple[Page, Comparison, str]) -> None:
    _, comparison, _ = reported
    evidence = comparison["dna-emd"].evidence
    caused = replace(comparison, causes=Causes(("blur",), (1.1,), (11.2, 2.1), 30))

    def verdict_of(p: float, *layers: float, comparison: Comparison = comparison) -> str:
        test = replace(evidence.test, p_value=p, layers=torch.tensor(layers))
        interval = replace(evidence.interval, value=3, low=0, high=4, excludes_zero=p <= 0.05)
        changed = with_evidence(comparison, replace(evidence, test=test, interval=interval))
        return replace(changed, properties=None).verdict

    for verdict, words in (
        (
            verdict_of(0.001, 0.01, 0.02, comparison=caused),
            ("made differs from real & true: real & true after a blur of", "3 bins", "above 0 to 4", "p ≤ 0.001."),
        ),
        (verdict_of(0.02, 0.5, 0.04), ("made differs from real & true", "most clearly in block_1; p = 0.02.")),
        (verdict_of(0.02, 0.5, 0.5), ("made differs from real & true", "in a few neurons and in no layer as a whole")),
        (verdict_of(0.051, 0.5, 0.5), ("No difference", "can be shown. dna-emd is", "is at most 4 bins", "p = 0.051.")),
    ):
        assert [word for word in words if word not in verdict] == []
    page = Page(as_html(caused, Pictures({})))
    assert caused.headline_and_figures[0] in " ".join(page.text.split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs, and others that were blurred and saved as JPEG."""
    folder = tmp_path_factory.mktemp("folders")
    for name, pictures, end in (("a|b", photographs(24), "png"), ("<c>", BLURRED + BLURRED[::-1], "jpg")):
        (folder / name).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(np.roll(picture, i, 1)).save(folder / name / f"{i:02}.{end}")
    return folder / "a|b", folder / "<c>"


def check_two_tests(comparison: Comparison) -> None:
    """The test of properties is one of its own, and leaves that of the network alone."""

    def with_p(part: Comparison, p: float) -> Comparison:
        evidence = part["dna-emd"].evidence
        return with_evidence(part, replace(evidence, test=replace(evidence.test, p_value=p)))

    for network, properties in ((0.04, 0.5), (0.04, 0.02), (0.5, 0.06), (0.5, 0.04)):
        tested = replace(with_p(comparison, network), properties=with_p(comparison.properties, properties))
        assert (tested.p_value, tested.p_value_of_properties) == (network, properties)
        assert (" differs from " not in tested.verdict) == (network > 0.05) == (tested.explain().differs is False)
        named, clear = bool(tested.explain().properties), any(row["clear"] for row in property_rows(tested))
        assert named == clear == (properties <= 0.05)


@pytest.mark.slow
def test_all_formats_say_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = report(*folders, tmp_path / "report.html", layers=LAYERS)
    # properties are watched where both sides are images, and the distance is none of theirs
    assert list(comparison.neurons) == LAYERS
    assert comparison["dna-emd"].value == pytest.approx(
        compare(*folders, layers=LAYERS, num_folds=None)["dna-emd"].value
    )
    sentences = comparison.explain().property_sentences
    assert sentences[0].startswith("Measured in <c> against a|b: ")
    assert "more JPEG files (0 % to 100 %)" in sentences[0]
    check_two_tests(comparison)
    write(tmp_path / "x.json", comparison)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == json.loads(
        strict_json(comparison.to_dict())
    )
    write(tmp_path / "x.md", comparison)
    markdown = (tmp_path / "x.md").read_text(encoding="utf-8")
    plain = markdown.replace("\\", "")
    assert all(part in plain for part in (*comparison.headline_and_figures, *sentences))
    assert markdown.startswith(r"\<c\> differs from a\|b."), "nothing that it is given acts as Markdown or html"
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in markdown.splitlines() if line.startswith("|"))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    words = " ".join(page.text.split())
    headline, figures = comparison.headline_and_figures
    parts = [headline, "A a|b (24 images)", "B <c> (28 images)", *sentences, figures, "Properties of the images"]
    parts += ["Images least like", "Where in the network", "Which neurons", "Parts of images that excite"]
    places = [words.index(part) for part in [*parts, "What was done"]]
    assert places == sorted(places)
    assert [words.count(part) for part in (headline, figures)] == [1, 1], "each fact once"
    assert sorted(row[0] for row in page.rows if row and row[0] in PROPERTIES) == sorted(PROPERTIES)
    assert next(row for row in page.rows if row[0] == "JPEG files")[1:3] == ["0 %", "100 %"]
    assert not any(row[0] in ("made on", "ran on") for row in page.rows if row), "nothing of the machine"
    crops = [image for image in page.all("img") if (image["alt"] or "").startswith("Part of ")]
    assert len(crops) >= 12 * 9
    assert len(html.encode()) < 2e6


def strip_of(page: Page, letter: str) -> list[str]:
    """Names of the images in the strip of a side."""
    return [image["alt"][2:] for image in page.all("img") if (image["alt"] or "").startswith(f"{letter} ")]


def pixels_of(page: Page, alt: str) -> np.ndarray:
    """Pixels of the first image of the page with this description."""
    uri = next(image["src"] for image in page.all("img") if image["alt"] == alt)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), dtype=float)


def test_the_strips_show_the_same_random_numbers(extractor: DNAExtractor, tmp_path: Path) -> None:
    photos = photographs(24)
    report(photos[:12], photos[12:], tmp_path / "x.html", extractor)
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    a, b = strip_of(page, "A"), strip_of(page, "B")
    assert a == b
    assert len(set(a)) == 8
    assert a != sorted(a, key=lambda name: int(name.split()[1])), "in random order"
    for letter, sources in (("A", photos[:12]), ("B", photos[12:])):
        for name in a:
            expected = np.asarray(Image.fromarray(sources[int(name.split()[1])]).resize((160, 160)), float)
            shown = pixels_of(page, f"{letter} {name}")
            assert shown.shape == (160, 160, 3)
            assert np.abs(shown - expected).mean() < 12
    assert "by the same numbers on both sides" in " ".join(page.text.split())
    assert not any((image["alt"] or "").startswith("Difference") for image in page.all("img"))
    report(photos[:12], photos[12:15], tmp_path / "x.html", extractor)
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert sorted(strip_of(page, "B")) == ["image 0", "image 1", "image 2"]
    assert "same numbers" not in page.text


def test_pairs_are_shown_with_their_difference(extractor: DNAExtractor, tmp_path: Path) -> None:
    """Partners stand below each other, though their files are in another order and of another size."""
    photos = photographs(12)
    for i, photo in enumerate(photos):
        for name, number, picture in (("a", i, photo), ("b", i, np.clip(photo.astype(int) + 20, 0, 255))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / name / f"{number:02}.png")

    def key(name: str) -> int:
        return int(re.search(r"(\d+)\.png$", name)[1])

    backwards = [str(tmp_path / "b" / f"{i:02}.png") for i in reversed(range(12))]
    report(tmp_path / "a", backwards, tmp_path / "x.html", extractor, pairs=key)
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    a, b = (list(map(key, strip_of(page, letter))) for letter in "AB")
    assert a == b
    assert len(a) == 8
    gain = int(re.search(r"Difference of each pair, (\d+) times as bright", page.text)[1])
    assert gain == 8, "a difference of 20 grey levels can be doubled three times"
    alt = next(image["alt"] for image in page.all("img") if (image["alt"] or "").startswith("Difference"))
    photo = photos[key(alt)]
    expected = gain * (np.clip(photo.astype(int) + 20, 0, 255) - photo)
    assert pixels_of(page, alt).mean() == pytest.approx(expected.clip(0, 255).mean(), abs=3)


def test_nothing_is_named_without_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://me:SECRET@host/a.zip?X-Signature=SECRET"
    monkeypatch.setattr("sys.argv", ["torchmetrics-dna", "compare", address, "b", "-o", "x.html"])
    comparison = report(PHOTOS[:4], [*PHOTOS[:1], *BLURRED[:3]], tmp_path / "x.html", layers=["block_0"])
    assert comparison.p_value is None
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "https://host/a.zip" in html
    assert "SECRET" not in html, "no signature of an address"
    words = " ".join(Page(html).text.split())
    assert "21 properties; whether they differ was not tested" in words
    assert " after " not in words
    assert "significantly" not in words
    assert comparison.notices
    assert all(f"{notice}." in words for notice in comparison.notices)


def test_no_single_image_is_shown_where_nothing_differs(extractor: DNAExtractor, tmp_path: Path) -> None:
    photos = photographs(48)
    assert report(photos[:24], photos[24:], tmp_path / "x.html", extractor).p_value > 0.05
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert not page.all("article")
    assert "least like" not in page.text
    assert len(strip_of(page, "A")) == 8


def test_small_histograms_hold_the_shares(reported: tuple[Page, Comparison, str]) -> None:
    _, comparison, _ = reported
    small = small_histograms(*comparison.aligned())
    for i in (0, 7, comparison.neurons.total - 1):
        share_a, share_b, edges = comparison.histograms(*comparison.neurons.locate(i))
        filled = (share_a + share_b).nonzero().flatten()
        size = -(-int(filled[-1] - filled[0] + 1) // GROUPS)
        for side, share in enumerate((share_a, share_b)):
            groups = torch.nn.functional.pad(share[filled[0] :], (0, GROUPS * size))[: GROUPS * size].view(GROUPS, size)
            expected = (255 * (1 + groups.sum(1).log10() / 5)).clamp(min=1).round()
            expected[groups.sum(1) == 0] = 0
            assert small.levels[i, side].tolist() == expected.tolist()
        assert float(small.ends[i, 0]) == pytest.approx(float(edges[filled[0]]))
        assert float(small.ends[i, 1]) >= float(edges[filled[-1] + 1]) - 1e-9
        assert 0 < int(small.used[i]) <= GROUPS


def test_the_fullest_bin_is_told_apart(reported: tuple[Page, Comparison, str]) -> None:
    page, comparison, _ = reported
    lines = spikes(*comparison.aligned())
    for i in range(comparison.neurons.total):
        share_a, share_b, edges = comparison.histograms(*comparison.neurons.locate(i))
        place = int((share_a + share_b).argmax())
        if max(share_a[place], share_b[place]) < 0.1:
            assert not lines[i]
            continue
        position = "of 0" if edges[place] <= 0 < edges[place + 1] else f"from {edges[place]:.3g}"
        in_a, in_b = (f"{100 * share[place]:.0f} %" for share in (share_a, share_b))
        assert lines[i] == f"one bin, {position}, holds {in_a} of A and {in_b} of B"
    assert 0 < sum(map(bool, lines)) < len(lines)
    assert sorted(page.data["spike"]) == sorted(lines)


def test_names_of_files_are_text(extractor: DNAExtractor, tmp_path: Path) -> None:
    folder = tmp_path / "<i>a"
    folder.mkdir()
    for i, name in enumerate(HOSTILE):
        Image.fromarray(PHOTOS[i]).save(folder / name.replace("/", "∕"))  # noqa: RUF001 - a slash that a name can hold
    pictures = [(name, photo) for name, photo in zip(HOSTILE, PHOTOS, strict=False)]
    source = open_source([photo for _, photo in pictures])
    source.names = [name for name, _ in pictures]  # also those that no file system allows
    for images in (folder, source):
        report(images, BLURRED[:3], tmp_path / "x.html", extractor, names=("<script>alert(3)</script>", "b\u202ex\x1b"))
        html = (tmp_path / "x.html").read_text(encoding="utf-8")
        page = Page(html)
        assert len(page.all("script")) == 2
        assert not page.all("i")
        assert not any("onerror" in attributes for _, attributes in page.elements)
        assert "<script>alert" not in html
        assert not {"\u202e", "\x1b"} & set(html)
        assert r"b\u202ex\x1b" in page.text
        assert "<img src=x onerror=alert(1)>.png" in page.text
        assert "{{ 7*7 }}" in page.text
        assert "Image <img src=x onerror=alert(1)>.png" in [image["alt"] for image in page.all("img")]


def test_layers_whose_names_are_markup(tmp_path: Path) -> None:
    neurons = Neurons({"</script><script>alert(1)</script>": 3, "<img src=x onerror=alert(2)>\u202e": 2})
    ranges = ActivationRanges(torch.zeros(5), torch.ones(5), neurons)
    a, b = (
        HistogramDNA(torch.randint(0, 9, (5, 40)) + 1, neurons, ranges, num_images=3, extractor="<i>tiny</i>")
        for _ in range(2)
    )
    counts = [torch.full((5, 40), k, dtype=torch.int64) for k in (1, 2)]
    a, b = replace(a, counts=counts[0]), replace(b, counts=counts[1])
    comparison = report(a, b, tmp_path / "x.html")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert comparison["dna-emd"].value == 0
    assert len(page.all("script")) == 2
    assert not page.all("i")
    assert page.data["layers"][0][0] == "</script><script>alert(1)</script>"
    assert page.data["layers"][1][0] == r"<img src=x onerror=alert(2)>\u202e"
    assert "\u202e" not in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "their histograms are equal" in page.text
    assert "Images of" not in page.text


def test_fifty_thousand_images_stay_under_five_megabytes() -> None:
    total = 25_600
    neurons = Neurons({f"block_{i}": total // 8 for i in range(8)})
    ranges = ActivationRanges(torch.zeros(total), torch.ones(total), neurons)
    generator = torch.Generator().manual_seed(0)
    origin = {"num_images": 50_000, "extractor": "x"}
    dnas = [
        HistogramDNA(torch.randint(0, 10**6, (total, 100), generator=generator), neurons, ranges, **origin)
        for _ in range(2)
    ]
    names = [f"/a/long/path/to/the/images/of/a/data/set/{i:012}.jpg" for i in range(50_000)]
    measured = [Measured({"histogram": dna}, [f"Can't read image {name!r}" for name in names]) for dna in dnas]
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)  # what JPEG can't make small
    shown = [Picture(name, Image.fromarray(noise), torch.rand(56, 56, generator=generator)) for name in names[:8]]
    images = {"strips": dict.fromkeys("ab", shown), "unlike": dict.fromkeys("ab", shown[:6])}
    pictures = Pictures({}, **images, num_images={"a": 256, "b": 256})
    html = as_html(compare_measured(*measured), pictures)
    assert len(html.encode()) < 5e6
    assert "and 99,900 more" in html
    assert len(jpeg_uri(Image.fromarray(noise[:96, :96]), 6000)) < 8500, "of each of up to 216 crops"


def test_published_metrics_are_on_the_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    metrics = ["dna-emd", "fid"]
    reported = report(PHOTOS[:6], BLURRED[:6], tmp_path / "x.html", metrics=metrics, num_scored=2)
    compared = compare(PHOTOS[:6], BLURRED[:6], metrics=metrics)
    assert {name: result.value for name, result in reported.items()} == {
        name: pytest.approx(result.value) for name, result in compared.items()
    }
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    shown = {row[0]: float(row[1]) for row in page.rows if row[0] in metrics}
    assert shown == {name: pytest.approx(compared[name].value, rel=1e-3) for name in metrics}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_scored": 0}, ValueError, "`num_scored` expected to be at least 1, but got 0"),
        (
            {"format": "pdf"},
            ValueError,
            "`format` expected to be one of json, csv, markdown, latex, html, but got 'pdf'",
        ),
        ({"batchsize": 3}, TypeError, r"^report\(\) got an unexpected keyword argument 'batchsize'"),
        ({"output": "nowhere/x.html"}, FileNotFoundError, "There is no folder"),
    ],
)
def test_mistakes_are_told_before_any_work(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    arguments = {name: value() if callable(value) else value for name, value in arguments.items()}
    output = tmp_path / arguments.pop("output", "x.html")
    with pytest.raises(error, match=message):
        report(reading=Reading(progress=pytest.fail), **{"a": PHOTOS, "b": BLURRED, "output": output} | arguments)
    assert not list(tmp_path.iterdir())


def test_a_dna_and_few_images(extractor: DNAExtractor, tmp_path: Path) -> None:
    dna = make_dna(PHOTOS, extractor)
    comparison = report(dna, BLURRED[:5], tmp_path / "x.html")
    assert comparison.interval is not None
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "can't be tested, since one side has no folds" in page.text
    assert not any(row[0] == "by chance" for row in page.rows)
    assert "Images of B" in page.text
    assert "Images of A" not in page.text
    assert (len(strip_of(page, "A")), len(strip_of(page, "B"))) == (0, 5)
    report(dna, BLURRED[:1], tmp_path / "x.html", extractor, neuron_weights=torch.full((40,), 1 / 40))
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "Furthest from" not in page.text
    assert "B 1 image" in " ".join(page.text.split())
    assert ["weights of neurons", "40 neurons other than 0"] in page.rows
