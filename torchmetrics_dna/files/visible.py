"""Text from outside (names of files, notes, layers), as it can be shown."""

from __future__ import annotations

import re

# what moves the cursor, colours the terminal, begins lines, or turns the direction of reading; and what no UTF-8 holds
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""The text with each character that would act instead of being shown as its escape.

    Example:
        >>> print(visible("\x1b[2Jred\u202egnp.exe"))
        \x1b[2Jred\u202egnp.exe

    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
