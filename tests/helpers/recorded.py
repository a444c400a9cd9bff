"""Records of what people have read or looked at: a change that was not meant is seen, one that was is read as a diff.

After a change that was meant: ``RECORD=1 pytest -n 0 tests/test_said.py``, and look at ``git diff tests/data``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data"


def check(record: str, name: str, lines: Iterable[str]) -> None:
    """Compare lines with those of a section of a record, or write them if the environment has ``RECORD``."""
    path, current = FOLDER / f"{record}.txt", "\n".join(lines).splitlines()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = re.split(r"^=== (.*)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if os.environ.get("RECORD"):
        sections[name] = "\n".join(current) + "\n"
        path.write_text("".join(f"=== {key}\n{section}" for key, section in sections.items()), encoding="utf-8")
    assert current == sections.get(name, "").splitlines(), f"see {__name__}.py after a change that was meant"
