"""Fields of dataclasses that are also options of commands.

This module imports nothing of the package, so that the command line starts quickly.
"""

from __future__ import annotations

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
