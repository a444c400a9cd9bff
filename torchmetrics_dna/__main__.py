"""Entry point of ``torchmetrics-dna`` and ``python -m torchmetrics_dna``.

Errors are printed in one line. The exit code is 2 after an error, and 130 after an interrupt.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import traceback
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torchmetrics_dna.files.visible import ERRORS, in_known_letters, visible
from torchmetrics_dna.options import naming_options
from torchmetrics_dna.registry import load_plugins

DEBUG = "TORCHMETRICS_DNA_DEBUG"
_NAME = "torchmetrics-dna"
_EXPECTED = (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError)
# Typer returns this exit code after Ctrl-C, and shells expect it.
_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit."""
    warnings.formatwarning = _format_warning
    _replace_unknown_characters()
    try:
        _run()
    except KeyboardInterrupt:
        _exit_if_failed(_INTERRUPTED)
    except Exception as error:
        from torchmetrics_dna.cli.console import interrupted

        if interrupted(error):
            _exit_if_failed(_INTERRUPTED)
        _print_error(error)
        sys.exit(2)
    sys.exit(0)


def _replace_unknown_characters() -> None:
    """Replace characters that a terminal or a file can't represent, so that no result is lost by an error."""
    codecs.register_error(ERRORS, in_known_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _run() -> None:
    """Run the command, and exit if it fails."""
    # Plugins are loaded before commands, because the help of options lists the registered entries.
    load_plugins()
    from torchmetrics_dna.cli import app
    from torchmetrics_dna.cli.console import PROCESSES

    processes: AbstractContextManager[None] = nullcontext()
    if PROCESSES > 1:
        from torchmetrics_dna.jobs.processes import joined

        processes = joined(_print_error)
    with naming_options(), processes:
        _exit_if_failed(app(prog_name=_NAME, standalone_mode=False))


def _exit_if_failed(code: int | None) -> None:
    """Exit with this code, unless it is 0 or None."""
    if code == _INTERRUPTED:
        print(f"{_NAME}: interrupted", file=sys.stderr)  # noqa: T201
    if code:
        sys.exit(code)


def _format_warning(message: Warning | str, *_: Any, **__: Any) -> str:
    """Format a warning in one line, without the line of code that caused it."""
    return f"{_NAME}: {visible(' '.join(str(message).split()))}\n"


def _print_error(error: Exception) -> None:
    """Print an error to stderr in one line. Errors of typer print themselves."""
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exception(error)
    # Errors of typer have a method that prints them, with the usage of the command.
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return
    text = " ".join(str(error).split())
    if not isinstance(error, _EXPECTED):
        text = f"{type(error).__name__}: {text} (this is unexpected; {DEBUG}=1 in the environment shows its trace)"
    print(f"{_NAME}: {visible(text)}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
