"""Arguments that are also options of commands: fields of dataclasses, and how messages write them.

This module imports nothing of the package, so that the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

# Whether messages are for users of the command line. It holds for all threads of the process.
_for_command_line = False


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


@contextmanager
def naming_options() -> Iterator[None]:
    """Let :func:`written` and :func:`argument` name options of the command line in this block."""
    global _for_command_line
    before = _for_command_line
    _for_command_line = True
    try:
        yield
    finally:
        _for_command_line = before


def written(name: str, *value: Any) -> str:
    """Return an argument as the user of a message writes it: in Python, or as an option of the command line.

    Args:
        name: Name of the argument in Python.
        value: Its value, if the message names one.

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
    """Return the subject of a sentence about an argument.

    Example:
        >>> argument("num_folds")
        'Argument `num_folds`'
        >>> with naming_options():
        ...     argument("num_folds")
        'Option --num-folds'

    """
    return f"Option {written(name)}" if _for_command_line else f"Argument {written(name)}"


def option_name(name: str) -> str:
    """Return the option of an argument, such as ``--num-folds``."""
    return f"--{name.replace('_', '-')}"


def typed_option(name: str, value: Any) -> list[str]:
    """Return an option with its value, as the words that are typed.

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
