"""``torchmetrics-dna`` and ``python -m torchmetrics_dna``: errors in one line, exit code 2; 130 if interrupted."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import traceback
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torchmetrics_dna.files.visible import ERRORS, in_known_letters, visible
from torchmetrics_dna.registry import load_plugins

DEBUG = "TORCHMETRICS_DNA_DEBUG"
_EXPECTED = (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError)
_INTERRUPTED = 130  # exit code of typer, as shells expect


def main() -> None:
    """Run the command line."""
    warnings.formatwarning = _warning
    codecs.register_error(ERRORS, in_known_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)  # whatever the encoding of a terminal or a file, no result is lost to it
    try:
        load_plugins()  # before commands, whose options list what is registered
        from torchmetrics_dna.cli import app
        from torchmetrics_dna.cli.console import PROCESSES

        processes: AbstractContextManager[None] = nullcontext()
        if PROCESSES > 1:  # of torchrun
            from torchmetrics_dna.jobs.processes import joined

            processes = joined(_tell)
        with processes:
            _end(app(prog_name="torchmetrics-dna", standalone_mode=False))
    except KeyboardInterrupt:  # before typer handles it
        _end(_INTERRUPTED)
    except Exception as err:
        from torchmetrics_dna.cli.console import interrupted

        if interrupted(err):
            _end(_INTERRUPTED)
        _tell(err)
        sys.exit(2)
    sys.exit(0)


def _end(code: int | None) -> None:
    """Exit with a code, if there is one."""
    if code == _INTERRUPTED:
        print("torchmetrics-dna: interrupted", file=sys.stderr)  # noqa: T201
    if code:
        sys.exit(code)


def _warning(message: Warning | str, *_: Any, **__: Any) -> str:
    """Format a warning in one line, without its source."""
    return f"torchmetrics-dna: {visible(' '.join(str(message).split()))}\n"


def _tell(error: Exception) -> None:
    """Print an error to stderr."""
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exception(error)
    # Errors of typer have a method for their text.
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        text = format_message()
    else:
        text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    if format_message is None and not isinstance(error, _EXPECTED):
        text = f"{type(error).__name__}: {text} (this is unexpected; {DEBUG}=1 in the environment shows its trace)"
    print(f"torchmetrics-dna: {visible(text)}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
