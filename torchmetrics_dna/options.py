"""Declare arguments that are also options of commands, and write their names in messages.

This module imports no other module of the package, so that the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

# True if messages are for users of the command line. All threads of the process share this value.
_for_command_line = False


def option(default: Any, group: str, text: str) -> Any:
    """Return a field of a dataclass that is also an option of commands.

    Args:
        default: Default of the field and of the option.
        group: Name of the group that contains the option, in ``--help`` and in the documentation.
        text: Help text of the option.

    """
    return field(default=default, metadata={"group": group, "help": text})


def names_in(text: str) -> list[str]:
    """Split a list of names at commas and spaces.

    Example:
        >>> names_in("dna-emd, fd kid")
        ['dna-emd', 'fd', 'kid']

    """
    return text.replace(",", " ").split()


@contextmanager
def naming_options() -> Iterator[None]:
    """Return a context in which :func:`written` and :func:`argument` return options of the command line."""
    global _for_command_line
    before = _for_command_line
    _for_command_line = True
    try:
        yield
    finally:
        _for_command_line = before


def written(name: str, *value: Any) -> str:
    """Return an argument as the reader of a message would write it, in Python or on the command line.

    Args:
        name: Name of the argument in Python.
        value: Its value, if the message contains a value.

    Example:
        >>> written("num_folds"), written("num_folds", 20)
        ('`num_folds`', '`num_folds=20`')
        >>> with naming_options():
        ...     written("num_folds"), written("num_folds", 20), written("copies", False)
        ('--num-folds', '--num-folds 20', '--no-copies')

    """
    if not value:
        return option_name(name) if _for_command_line else f"`{name}`"
    return " ".join(typed_option(name, *value)) if _for_command_line else f"`{name}={value[0]!r}`"


def argument(name: str) -> str:
    """Return the beginning of a sentence about an argument.

    Example:
        >>> argument("num_folds")
        'Argument `num_folds`'
        >>> with naming_options():
        ...     argument("num_folds")
        'Option --num-folds'

    """
    return f"Option {written(name)}" if _for_command_line else f"Argument {written(name)}"


def option_name(name: str) -> str:
    """Return the name of an argument as an option, such as ``--num-folds``."""
    return f"--{name.replace('_', '-')}"


def typed_option(name: str, value: Any) -> list[str]:
    """Return an option with its value, as a list of the words to type on the command line.

    Example:
        >>> typed_option("num_folds", None), typed_option("metrics", ["fd", "kid"]), typed_option("pairs", True)
        (['--num-folds', '0'], ['--metrics', 'fd,kid'], ['--pairs', 'order'])

    """
    spelled = option_name(name)
    if name == "pairs" and value is True:
        return [spelled, "order"]
    if value is True:
        return [spelled]
    if value is False:
        return [f"--no-{spelled.removeprefix('--')}"]
    if value is None:
        return [spelled, "0"]
    if isinstance(value, list):
        return [spelled, ",".join(value)]
    return [spelled, str(value)]
