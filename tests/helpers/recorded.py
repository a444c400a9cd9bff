"""Snapshot of the printed results that people read, in ``tests/data/said.txt``.

After an intended change, run ``RECORD=1 pytest -n 0 tests/test_said.py tests/words`` and read ``git diff tests/data``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

SNAPSHOT = Path(__file__).parents[1] / "data" / "said.txt"
NUMBER = re.compile(r"(?<![\w#])[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?(·10[⁻⁰¹²³⁴-⁹]+)?")


def check(name: str, lines: Iterable[str]) -> None:
    """Compare lines with a section of the snapshot, or write the section if the environment has ``RECORD``."""
    current = "\n".join(lines).splitlines()
    sections = _read_sections()
    if os.environ.get("RECORD"):
        sections[name] = "\n".join(current) + "\n"
        SNAPSHOT.write_text("".join(f"=== {key}\n{section}" for key, section in sections.items()), encoding="utf-8")
    stored = sections.get(name, "").splitlines()
    assert current == stored, f"{__name__}.py explains how to update the snapshot after an intended change"


def _read_sections() -> dict[str, str]:
    parts = re.split(r"^=== (.*)\n", SNAPSHOT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
