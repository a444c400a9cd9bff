"""The pages of the documentation, and html pages, read and shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt-get install chromium")


class Page(HTMLParser):
    """Parsed page: its elements with their attributes, and its text without scripts and styles.

    Args:
        html: The page.

    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.data: dict[str, Any] = {}
        self._within: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._within:
            if dict(self.elements[-1][1]).get("id") == "data":
                self.data = json.loads(data)
        elif "style" not in self._within:
            self.text += data
            if "td" in self._within or "th" in self._within:
                self.rows[-1][-1] += " ".join(data.split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]


@contextmanager
def browser() -> Iterator[Any]:
    """Start headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS.split())
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
