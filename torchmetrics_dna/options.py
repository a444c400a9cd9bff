"""Fields of dataclasses that are options of commands, too; imports nothing, so that the command line starts at once."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, group: str, text: str, *, rare: bool = False) -> Any:
    """Return a field that the help of a command shows with this text in a group; a rare one in ``--help-all`` alone."""
    return field(default=default, metadata={"group": group, "help": text, "rare": rare})
