"""Fields of dataclasses that are options of commands, too, and helpers for arguments.

It imports nothing of this package, so that the command line starts at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import field
from typing import Any


def option(default: Any, group: str, text: str) -> Any:
    """Return a field that is also an option of commands, with this help text.

    Args:
        default: Default of the field and of the option.
        group: Panel of the help, and table of the documentation, that lists the option.
        text: Help text.

    """
    return field(default=default, metadata={"group": group, "help": text})


def names_in(text: str) -> list[str]:
    """Split a list of names at commas and spaces.

    Example:
        >>> names_in("dna-emd, fd kid")
        ['dna-emd', 'fd', 'kid']

    """
    return text.replace(",", " ").split()


def warn(text: str) -> None:
    """Warn at the line by which a user called this package, for which Python shows equal warnings once."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package that imports names of its stub on first use."""
    import lazy_loader  # type: ignore[import-untyped]

    attached: tuple[Any, Any, list[str]] = lazy_loader.attach_stub(package, file)
    return attached
