"""Warnings that show the line of the user's code."""

from __future__ import annotations

import sys
import warnings


def warn(text: str) -> None:
    """Warn at the line of the user's code that called this package.

    Python shows equal warnings of one line only once.
    """
    frame = sys._getframe(1)
    level = 2
    while frame.f_back and _is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
        level += 1
    warnings.warn(text, stacklevel=level)


def _is_ours(module: object) -> bool:
    """Return whether a module belongs to this package."""
    return str(module).partition(".")[0] == __package__
