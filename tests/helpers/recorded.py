"""Records of what people have read or looked at: a change that was not meant is seen, one that was is read as a diff.

After a change that was meant: ``RECORD=1 pytest -n 0 tests/test_said.py``, and look at ``git diff tests/data``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "data"


NUMBER = re.compile(r"(?<![\w#])[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?(·10[⁻⁰¹²³⁴-⁹]+)?")
_CLOSE = {"rel": 0.02, "abs": 1e-6}  # other computers and libraries have given .002 and less


def check(record: str, name: str, lines: Iterable[str], *, is_rounded: bool = False) -> None:
    """Compare lines with those of a section of a record, or write them if the environment has ``RECORD``.

    Args:
        record: Name of the file.
        name: The section.
        lines: What is compared.
        is_rounded: If numbers of the lines may be a little off.

    """
    path, current = FOLDER / f"{record}.txt", "\n".join(lines).splitlines()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = re.split(r"^=== (.*)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if os.environ.get("RECORD"):
        sections[name] = "\n".join(current) + "\n"
        path.write_text("".join(f"=== {key}\n{section}" for key, section in sections.items()), encoding="utf-8")
    stored, advice = sections.get(name, "").splitlines(), f"see {__name__}.py after a change that was meant"
    if not is_rounded:
        assert current == stored, advice
        return
    assert [NUMBER.sub("#", line) for line in current] == [NUMBER.sub("#", line) for line in stored], advice
    for line, recorded in zip(current, stored, strict=True):
        values, expected = ([float(x[0]) for x in NUMBER.finditer(each)] for each in (line, recorded))
        assert values == pytest.approx(expected, **_CLOSE), f"{line} for {recorded}; {advice}"
