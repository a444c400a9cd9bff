"""Reports in a browser without a network: wide, narrow, dark and printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from torchmetrics_dna import report
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

NAME, MODEL = "</script><img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(2)>"


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
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    blurred = open_source([blur(photo, strength=4) for photo in photographs(24)[12:]])
    blurred.names = [NAME, *blurred.names[1:]]
    report(photographs(12), blurred, path, names=("photos", MODEL), layers=["block_0"])
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as instance:
        yield instance


def test_pictures_are_shown_and_names_are_text(chromium: Any, path: Path) -> None:
    with opened(chromium, path, java_script_enabled=False) as page:
        assert page.locator("#verdict").inner_text().startswith(f"{MODEL} ")
        of_a, changed, of_b, *_ = page.locator(".strip > figcaption").all_inner_texts()
        assert (of_a, of_b) == ("A photos (12 images)", f"B {MODEL} (12 images)")
        assert changed.startswith("The same images of A, blurred by about")
        assert page.locator("[onerror]").count() == 0
    with opened(chromium, path) as page:
        widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        assert len(widths) >= 16
        assert min(widths) > 0


@pytest.mark.parametrize(("size", "scheme"), [((1280, 900), "light"), ((1280, 900), "dark"), ((320, 640), "dark")])
def test_everyone_can_read_it(chromium: Any, path: Path, scheme: str, size: tuple[int, int]) -> None:
    """No finding of axe: contrast, names and roles of all parts, order of headings, landmarks. Nothing overflows."""
    from axe_playwright_python.sync_playwright import Axe

    viewport = {"width": size[0], "height": size[1]}
    with opened(chromium, path, viewport=viewport, color_scheme=scheme) as page:
        for part in page.locator("summary").all():
            part.click()
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


def test_a_click_enlarges_a_picture_and_another_one_closes_it(chromium: Any, path: Path) -> None:
    with opened(chromium, path, viewport={"width": 1280, "height": 900}, java_script_enabled=False) as page:
        picture = page.locator("#a-3 img")
        width = picture.bounding_box()["width"]
        page.locator("#a-3 .enlarge").click()
        assert picture.bounding_box()["width"] > 2 * width
        assert page.locator("#a-3").bounding_box() == {"x": 0, "y": 0, "width": 1280, "height": 900}
        assert page.locator("#a-3 figcaption").is_visible()
        page.mouse.click(640, 300)
        assert picture.bounding_box()["width"] == width
        assert picture.is_visible()


def test_it_prints(chromium: Any, path: Path) -> None:
    with opened(chromium, path, color_scheme="dark") as page:
        assert page.pdf(format="A4").startswith(b"%PDF")
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator("details .grid svg").count() == 12
        heights = page.eval_on_selector_all("details .grid svg", "all => all.map(one => one.checkVisibility())")
        assert all(heights), "what is folded up is printed too"
        may_break = "heads => heads.filter(head => getComputedStyle(head).breakAfter != 'avoid').length"
        assert page.locator("h2, h3").count() >= 5
        assert page.eval_on_selector_all("h2, h3", may_break) == 0, "no heading stays alone at the foot of a page"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
