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

from torchmetrics_dna.dna.distances import record_of
from torchmetrics_dna.files.visible import ERRORS, in_known_letters, visible
from torchmetrics_dna.images.kinds import unquoted
from torchmetrics_dna.options import meant
from torchmetrics_dna.registry import load_plugins

DEBUG = "TORCHMETRICS_DNA_DEBUG"
_EXPECTED = (ValueError, RuntimeError, OSError, ModuleNotFoundError)
_INTERRUPTED = 130  # exit code of typer, as shells expect
_OF_OPTIONS = ("Option ", "Argument ", "Expected ")  # how errors of type begin that are raised on purpose
_COMMANDS = {  # what is meant by commands of other programs
    "calculate check evaluate eval evaluation explain score test fidelity metrics distance": "compare A B",
    "copies dedup deduplicate duplicates near-duplicates similar nearest search": "rank A --nearest A",
    "anomalies anomaly detect issues outlier outliers odd sort": "rank A --reference B",
    "build compute create dna index": "make A -o A.dna.npz",
    "embed embeddings encode extract features": "rank A --nearest A --save-index A.features.npz",
    "html page report": "compare A B -o page.html",
    "draw figure plot visualize": "compare A B --plot figure.png",
    "extractors list models networks presets": "info",
    "classes": "compare A B --by folder",
    "matrix": "compare A B C --all",
    "version -V -v": "--version",
    "help": "--help",
    "watch stream drift": "monitor A STREAM",
    "versions changes": "diff OLD NEW",
    "combine add": "merge A.dna.npz B.dna.npz -o both.dna.npz",
    "show inspect describe cat": "info A.dna.npz",
}
_OF_SETS = {  # what is meant by more sets than a command takes
    "rank": "the images to rank by go to --reference",
    "make": "make takes one set; merge puts DNAs of several together",
    "diff": "diff takes two versions; compare A B C takes several sets",
    "monitor": "monitor takes a reference and one stream",
    "info": "info takes one file, or none to list the named extractors",
    "demo": "demo takes no images; --num-images says how many of its own",
}
_LISTS = ("metrics", "layers", "kind")
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
    text = _in_options(_misuse(error) if is_misuse else " ".join(str(error).split()))
    text = re.sub(r"^\[Errno \d+\] ", "", text)
    if isinstance(error, FileNotFoundError) and (path := re.match(r"There is no file or folder '(\S+)'$", text)):
        text = "; ".join(filter(None, (text, _before(path[1]))))
    is_expected = isinstance(error, _EXPECTED) or (isinstance(error, TypeError) and text.startswith(_OF_OPTIONS))
    if not is_misuse and not is_expected:
        text = f"{type(error).__name__}: {text} (this is unexpected; {DEBUG}=1 in the environment shows its trace)"
    print(f"torchmetrics-dna: {visible(text)}", file=sys.stderr)  # noqa: T201


def _misuse(error: Any) -> str:
    """Return the text of an error of typer in our form: the option, what it takes, what it got, and where help is."""
    text: str = error.format_message().rstrip(".").replace("Value error, ", "")
    context: Any = getattr(error, "ctx", None)
    command = "" if context is None or context.parent is None else f" {context.info_name}"
    # as typer says it, or click, on which it stood before
    said = r"(?:Input should be (.*?)(?:, unable.*)?$|'.*' is not (a valid \w+)$)?"
    if match := re.match(rf"Invalid value for '([^' ]+)[^']*': {said}", text):
        option, *forms = match.groups()
        expected = forms[0] or forms[1]
        text = text.replace(match[0], f"Option {option}: ")
        if expected is not None:
            got = next((word for name, word in pairwise([*_words(), ""]) if name == option), "")
            expected = expected.replace("a valid integer", "an integer").replace("greater than or equal to", "at least")
            expected = re.sub("valid (number|float)", "number", expected).replace("valid integer", "integer")
            text = f"Option {option} expected to be {expected}" + f", but got {got!r}" * bool(got)
            helps = (each.help for each in _command().params if option in each.opts)
            return text + "".join(f"; {option}: {said.partition(' [default')[0].rstrip('.')}" for said in helps)
    words = _words()
    if context is not None and (match := re.match(r"No such command '(.*?)'", text)):
        calls = [call for names, call in _COMMANDS.items() if match[1] in names.split()]
        calls += [f"compare A B --metrics {match[1]}"] * (record_of(match[1]) is not None)
        sets = [word for word in words if not word.startswith("-")]
        if os.path.lexists(sets[0]):
            calls, text = [f"compare {shlex.join(words)}"], f"{text}; to compare sets of images"
        commands = "" if text.endswith("?") else f"; there are {', '.join(_command().commands)}"
        return text + (f": torchmetrics-dna {calls[0]}" if calls else commands)
    if match := re.match(r"No such option:? '?([^\s']+)", text):  # as typer has it, or click
        whole = (word for word in words if match[1][1] != "-" and word.startswith(match[1]))  # -metrics, of -m
        name = next(whole, match[1])
        return f"No such option: {name}; {_option_meant(context, name, words)}"
    if match := re.match(r"Option '(\S+)' does not take a value", text):
        return f"{text}; --no-{match[1].strip('-')} switches it off"
    if match := re.match(r"Option '(\S+)' requires an argument", text):
        (option,) = [each for each in _command().params if match[1] in each.opts]
        return f"Option {match[1]} takes a value: {_said_of(option)}"
    extra = re.search(r"unexpected extra argument\S* \((.+)\)", text)
    listed = extra[1].split() if extra else []
    more = _before(listed[0]) or unquoted(listed) or _OF_SETS.get(command.strip(), "") if listed else ""
    if text.startswith("Missing") and context is not None and context.command.epilog:
        more = f"as in: {context.command.epilog}"
    return f"{text}; {more or f'torchmetrics-dna{command} --help says more'}"


def _words() -> list[str]:
    """Return the words of the command line, a value after "=" as one of its own."""
    return [part for word in sys.argv[1:] for part in (word.split("=", 1) if word.startswith("--") else [word])]


def _before(word: str) -> str:
    """Return what the option before a word that is no set takes instead: nothing, or names with commas."""
    words = _words()
    before = words[: words.index(word)] if word in words else []
    name = next((each for each in reversed(before) if each.startswith("-")), "")
    option = next((each for each in _command().params if name in each.opts), None)
    if option is None or option.nargs == -1:
        return ""
    if before[-1] == name and not option.is_flag:
        return f"{name} takes a value: {_said_of(option)}"
    if option.is_flag:
        return f"{name} takes no value"
    values = [*before[before.index(name) + 1 :], word]
    has_more = option.name in _LISTS and len(values) > 1
    return f"{name[2:]} are separated by commas: {name} {','.join(values)}" if has_more else ""


def _said_of(option: Any) -> str:
    """Return the first part of the help of an option."""
    return str(option.help).partition(";")[0].partition(". ")[0].rstrip(".")


def _option_meant(context: Any, name: str, words: list[str]) -> str:
    """Return what is meant by an option that a command does not take: another option, command or place."""
    root = context.find_root().command
    longest = [max(each.opts, key=len) for each in context.command.params if each.opts[0].startswith("-")]
    taken = {option.strip("-").replace("-", "_"): option for option in longest}
    sets = {each.name: each.metavar for each in context.command.params if not each.opts[0].startswith("-")}
    taken |= dict.fromkeys((each for each in sets if len(each) > 1), " ".join([context.info_name, *sets.values()]))
    others = [other for other, each in root.commands.items() if any(name in of.opts for of in each.params)]
    place = next((k for k, word in enumerate(words) if word in root.commands), None)
    if context.command is root:
        call = shlex.join(["compare", "A", "B"] if place is None else [*words[place:], *words[:place]])
        return f"options come after the command: torchmetrics-dna {call}"
    if (flag := name.strip("-").removeprefix("no-").replace("-", "_")) in taken and name.startswith("--no-"):
        return f"leave out {taken[flag]}"
    more = f"; {_OF_SETS['info']}; in Python, any by `DNAExtractor(NAME).neurons`" * (context.info_name == "info")
    elsewhere = f"{' and '.join(others)} {'take' if len(others) > 1 else 'takes'} it{more}" if others else ""
    remedy = meant(
        name, taken, lambda ours, value: f"did you mean {f'{taken[ours]} {value}'.rstrip()}?", elsewhere=elsewhere
    )
    shown = ", ".join(max(each.opts, key=len) for each in context.command.params if not getattr(each, "hidden", True))
    return remedy or f"{context.info_name} takes {shown}; --help-all lists rare ones"


def _command() -> Any:
    """Return the current command."""
    import typer

    from torchmetrics_dna.cli import app

    command: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    return command


def _in_options(text: str) -> str:
    """Replace arguments of Python functions in a message by the options of the current command."""
    options = {each.name: each.opts[-1] for each in _command().params if each.opts[-1][0] == "-"}

    def to_option(match: re.Match[str]) -> str:
        word, name, value = match.groups("")
        option = options.get(name)
        return f"{_OPTION.get(word, '')}{option} {value}".rstrip() if option else match[0]

    return re.sub(r"([Aa]rgument )?`(\w+)(?:='([\w,-]+)'|=True)?`", to_option, text)


if __name__ == "__main__":
    main()
