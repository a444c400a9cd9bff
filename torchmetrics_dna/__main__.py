"""``torchmetrics-dna`` and ``python -m torchmetrics_dna``: errors in one line, exit code 2; 130 if interrupted."""

from __future__ import annotations

import codecs
import io
import os
import re
import shlex
import sys
import traceback
import warnings
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

from torchmetrics_dna.files.visible import ERRORS, in_known_letters, visible
from torchmetrics_dna.registry import load_plugins

DEBUG = "TORCHMETRICS_DNA_DEBUG"
_EXPECTED = (ValueError, RuntimeError, OSError, ModuleNotFoundError)
_INTERRUPTED = 130  # exit code of typer, as shells expect
_OF_OPTIONS = ("Option ", "Argument ", "Expected ")  # how errors of type begin that are raised on purpose
# what is meant by calls that other programs, other commands or Python take: the beginning of an error, with its command
_MEANT = {
    r": No such command 'report'": "for a page of pictures: torchmetrics-dna compare A B -o page.html",
    r" rank: .*unexpected extra": "the images to rank by go to --reference",
    r" make: .*unexpected extra": "make takes one set; merge puts DNAs of several together",
    r" compare: No such option: --reference": "A is the reference: torchmetrics-dna compare A B",
    r" compare: No such option: --(fid|kid|ssim|lpips)": "distances are named by --metrics, such as --metrics fid,kid",
    r" compare: No such option: --thresh": "a limit is given by --fail-above",
}
_OPTION = {"Argument ": "Option ", "argument ": "option "}


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
    return f"torchmetrics-dna: {visible(_in_options(' '.join(str(message).split())))}\n"


def _tell(error: Exception) -> None:
    """Print an error to stderr."""
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exception(error)
    is_misuse = hasattr(error, "format_message")  # typer's errors
    text = _misuse(error) if is_misuse else _in_options(" ".join(str(error).split()))
    is_expected = isinstance(error, _EXPECTED) or (isinstance(error, TypeError) and text.startswith(_OF_OPTIONS))
    if not is_misuse and not is_expected:
        text = f"{type(error).__name__}: {text} (this is unexpected; {DEBUG}=1 in the environment shows its trace)"
    print(f"torchmetrics-dna: {visible(text)}", file=sys.stderr)  # noqa: T201


def _misuse(error: Any) -> str:
    """Return the text of an error of typer in our form: the option, what it takes, what it got, and where help is."""
    text = error.format_message().rstrip(".").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = "" if context is None or context.parent is None else f" {context.info_name}"
    if match := re.match(r"Invalid value for '([^' ]+)[^']*': (?:Input should be (.*?)(?:, unable.*)?$)?", text):
        option, expected = match.groups()
        text = text.replace(match[0], f"Option {option}: ")
        if expected is not None:
            got = next((word for name, word in pairwise([*sys.argv, ""]) if name == option), "")
            expected = expected.replace("valid integer", "integer").replace("a integer", "an integer")
            expected = expected.replace("valid number", "number").replace("greater than or equal to", "at least")
            text = f"Option {option} expected to be {expected}" + f", but got {got!r}" * bool(got)
    sets = [word for word in sys.argv[1:] if not word.startswith("-")]
    if text.startswith("No such command") and os.path.lexists(sets[0]):
        return f"{text}; to compare sets of images: torchmetrics-dna compare {shlex.join(sys.argv[1:])}"
    meant = [remedy for pattern, remedy in _MEANT.items() if re.match(pattern, f"{command}: {text}")]
    return f"{text}; {meant[0] if meant else f'torchmetrics-dna{command} --help says more'}"


def _in_options(text: str) -> str:
    """Replace arguments of Python functions in a message by the options of the current command."""
    import typer

    from torchmetrics_dna.cli import app

    command: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    options = {parameter.name: parameter.opts[-1] for parameter in command.params if parameter.opts[-1][0] == "-"}

    def to_option(match: re.Match[str]) -> str:
        word, name, value = match.groups("")
        option = options.get(name)
        return f"{_OPTION.get(word, '')}{option} {value}".rstrip() if option else match[0]

    return re.sub(r"([Aa]rgument )?`(\w+)(?:='(\w+)'|=True)?`", to_option, text)


if __name__ == "__main__":
    main()
