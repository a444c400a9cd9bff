"""Reports in a browser without a network: by mouse, by keyboard, wide, narrow, dark and printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from torchmetrics_dna import report
from torchmetrics_dna.comparisons import Comparison
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.images import open_source

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
pytestmark = [
    pytest.mark.outer,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt-get install chromium"),
]

NAME = "</script><img src=x onerror=alert(1)>.png"


@contextmanager
def browser() -> Iterator[Any]:
    """Start headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(chromium: Any, path: Path, **settings: Any) -> Iterator[Any]:
    """Open a page offline; assert that it logs nothing and requests nothing but itself."""
    context = chromium.new_context(offline=True, **settings)
    page, messages, requests = context.new_page(), [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: (messages.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    try:
        yield page
    finally:
        context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]


@pytest.fixture(scope="module")
def report_and_comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    blurred = open_source([blur(photo, strength=4) for photo in photographs(24)[12:]])
    blurred.names = [NAME, *blurred.names[1:]]
    return path, report(photographs(12), blurred, path, names=("photos", "<img src=x onerror=alert(2)>"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as instance:
        yield instance


def neuron_line(comparison: Comparison, layer: str, rank: int) -> str:
    """Line of the page about the neuron of a layer with this rank by distance."""
    emd = comparison.neurons.split(comparison["dna-emd"].values)[layer]
    number = int(emd.argsort(descending=True)[rank - 1])
    return f"{layer}, neuron {number}: {float(f'{float(emd[number]):.4g}'):g} bins, number {rank} of {len(emd)}"


def test_pictures_are_shown_and_names_are_text(chromium: Any, report_and_comparison: tuple[Path, Comparison]) -> None:
    with opened(chromium, report_and_comparison[0]) as page:
        widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        crops = page.locator("article img").count()
        assert crops >= 12 * 12
        assert len(widths) == 1 + 8 + 16 + (2 + 2 * 12) + crops
        assert min(widths) > 0
        assert page.locator("figcaption", has_text=NAME).count() == 1
        caption = page.locator(".strip figcaption").nth(1).inner_text()
        assert caption == "B <img src=x onerror=alert(2)> (12 images)"
        assert page.locator("[onerror]").count() == 0
        assert page.locator("#verdict").inner_text().startswith("<img src=x onerror=alert(2)> differs from photos")


def test_the_map_answers_to_the_mouse(chromium: Any, report_and_comparison: tuple[Path, Comparison]) -> None:
    path, comparison = report_and_comparison
    with opened(chromium, path) as page:
        top = comparison.top_neurons(1, by="distance")[0]
        first = page.locator("#neuron").inner_text()
        assert first.startswith(f"{top['layer']}, neuron {top['neuron']}: {top['dna_emd']:.4g} bins, number 1 of ")
        before = page.locator("#pair").inner_html()
        cells = page.locator(".cells").nth(3)  # block_3: 80 neurons, 64 in a row
        box = cells.bounding_box()
        at = {"x": box["width"] * 15.5 / 64, "y": box["height"] * 0.75}
        cells.hover(position=at)
        assert page.locator("#neuron").inner_text().startswith(neuron_line(comparison, "block_3", 80))
        assert page.locator("#pair").inner_html() != before
        page.mouse.move(1, 1)
        assert page.locator("#neuron").inner_text() == first, "pointing at a neuron does not keep it"
        cells.click(position=at)
        page.mouse.move(1, 1)
        assert page.locator("#neuron").inner_text().startswith(neuron_line(comparison, "block_3", 80))
        cells.click(position={"x": box["width"] * 40 / 64, "y": box["height"] * 0.75})  # beyond the last one
        assert page.locator("#neuron").inner_text().startswith(neuron_line(comparison, "block_3", 80))


def test_the_map_answers_to_the_keyboard(chromium: Any, report_and_comparison: tuple[Path, Comparison]) -> None:
    path, comparison = report_and_comparison
    with opened(chromium, path) as page:
        reached = []
        for _ in range(7):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert reached == [*["A"] * 4, *["SUMMARY"] * 2, "neurons"]
        steps = (
            ("PageUp PageUp PageUp PageUp PageUp PageUp PageUp PageUp", "block_0", 1),
            ("ArrowLeft", "block_0", 1),
            ("ArrowUp", "block_0", 1),
            ("ArrowRight", "block_0", 2),
            ("End", "block_0", 16),
            ("ArrowRight", "block_1", 1),
            ("PageDown PageDown", "block_3", 1),
            ("ArrowRight ArrowDown", "block_3", 66),
            ("ArrowDown", "block_4", 2),
            ("ArrowUp", "block_3", 66),
            ("ArrowUp ArrowUp", "block_2", 2),
            ("End ArrowDown", "block_3", 40),
            ("ArrowDown", "block_3", 80),
            ("Home", "block_3", 1),
            ("PageDown PageDown PageDown PageDown PageDown End ArrowDown ArrowRight", "head", 1280),
        )
        for keys, layer, rank in steps:
            for key in keys.split():
                page.keyboard.press(key)
            assert page.locator("#neuron").inner_text().startswith(neuron_line(comparison, layer, rank)), keys
        assert page.locator("#neuron").get_attribute("role") == "status"


@pytest.mark.parametrize(("size", "scheme"), [((1280, 900), "light"), ((1280, 900), "dark"), ((320, 640), "dark")])
def test_everyone_can_read_it(
    chromium: Any, report_and_comparison: tuple[Path, Comparison], scheme: str, size: tuple[int, int]
) -> None:
    """No finding of axe: contrast, names and roles of all parts, order of headings, landmarks. Nothing overflows."""
    from axe_playwright_python.sync_playwright import Axe

    viewport = {"width": size[0], "height": size[1]}
    with opened(chromium, report_and_comparison[0], viewport=viewport, color_scheme=scheme) as page:
        for part in page.locator("summary").all():
            part.click()
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


def test_it_prints(chromium: Any, report_and_comparison: tuple[Path, Comparison]) -> None:
    with opened(chromium, report_and_comparison[0], color_scheme="dark") as page:
        assert page.pdf(format="A4").startswith(b"%PDF")
        folded = [part.get_attribute("open") for part in page.locator("details").all()]
        assert None not in folded, "what is folded up is printed too"
        page.emulate_media(media="print", color_scheme="dark")
        may_break = "heads => heads.filter(head => getComputedStyle(head).breakAfter != 'avoid').length"
        outside = ":is(h2, h3, h4, h5):not(.card *)"
        assert page.locator(outside).count() >= 10
        assert page.eval_on_selector_all(outside, may_break) == 0, "no heading stays alone at the foot of a page"
        assert (
            page.eval_on_selector_all(".card *", may_break) == page.locator(".card *").count()
        )  # else cards are broken
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_it_can_be_read_without_scripts(chromium: Any, report_and_comparison: tuple[Path, Comparison]) -> None:
    with opened(chromium, report_and_comparison[0], java_script_enabled=False) as page:
        assert page.locator("#verdict").is_visible()
        assert page.locator(".cells img").count() == 8
        assert page.locator("#top ~ .grid svg").count() == 12
