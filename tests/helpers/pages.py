"""The pages of the documentation, and html pages as parsed."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


class Page(HTMLParser):
    """Parsed page: its elements with their attributes, and its text without scripts and styles.

    Args:
        html: The page.

    Attributes:
        elements: Name and attributes of each element.
        rows: Texts of the cells of each row of a table.
        texts: Texts of all elements of some names, by name.
        figures: Attributes of each figure with its images (``"img"``) and links (``"a"``), and its ``"caption"``.

    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.texts: dict[str, list[str]] = {name: [] for name in ("title", "h1", "h2", "h3", "dt", "dd", "summary")}
        self.figures: list[dict[str, Any]] = []
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
        elif tag in self.texts:
            self.texts[tag].append("")
        elif tag == "figure":
            self.figures.append({**dict(attrs), "img": [], "a": [], "caption": ""})
        elif "figure" in self._within and tag in ("img", "a"):
            self.figures[-1][tag].append(dict(attrs))

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
            for tag in self._within:
                if tag in self.texts:
                    self.texts[tag][-1] += data
            if "figcaption" in self._within:
                self.figures[-1]["caption"] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]
