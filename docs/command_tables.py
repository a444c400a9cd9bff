"""Sections of the command line's page, one for each command, made from what its ``--help`` lists."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import typer

from torchmetrics_dna.cli import app

_SHARED = ("Images", "Network", "Machine")  # groups of options that all commands have which measure images


class _Record(NamedTuple):
    group: str
    spelling: str
    text: str
    default: str


def commands() -> dict[str, Any]:
    """Return all commands by name."""
    return dict(typer.main.get_command(app).commands)


def as_markdown() -> str:
    """Return a section for each command, and one for the options by which images are measured."""
    records = {name: _records(name, command) for name, command in commands().items()}
    sections = [_section(name, command, records[name]) for name, command in commands().items()]
    return "\n\n".join([*sections, _shared_section(records)])


def _records(name: str, command: Any) -> list[_Record]:
    """Return all arguments and options; those of equal text that follow each other as one."""
    context = typer.Context(command, info_name=name)
    records: list[_Record] = []
    for parameter in command.params:
        spelling, text = parameter.get_help_record(context)
        is_argument = parameter.param_type_name == "argument"
        group = "Arguments" if is_argument else parameter.rich_help_panel or "Options"
        text = re.sub(r"\s*\[x>=\d+\]$", "", text)  # a limit is no default
        # Typer puts a default into brackets. A help text ends with a sentence where the default depends on the input.
        match = re.fullmatch(r"(.*?)\s*(?:\[(?:default: )?([^\[]*)\]|Default: (.*)\.)?", text)
        text, of_typer, of_text = match.groups("")
        record = _Record(group, spelling, text, of_typer or of_text)
        if records and records[-1][2:] == record[2:]:
            record = record._replace(spelling=f"{records.pop().spelling}, {spelling}")
        records.append(record)
    return records


def _section(name: str, command: Any, records: list[_Record]) -> str:
    usage = " ".join(command.collect_usage_pieces(typer.Context(command, info_name=name)))
    usage = usage.replace("{", "").replace("}", "")  # click's mark of what is required
    example = command.epilog.removeprefix("Example: ")
    parts = [f"## {name}", command.help, f"```bash\n{example}\n```", f"Usage: `torchmetrics-dna {name} {usage}`"]
    own = [record for record in records if record.group not in _SHARED]
    for group in dict.fromkeys(record.group for record in own):
        rows = [_cells(record) for record in own if record.group == group]
        parts.append(_table((group, "", "default"), rows))
    if len(own) < len(records):
        parts.append("It also takes the [options for measuring images](#options-for-measuring-images).")
    return "\n\n".join(parts)


def _shared_section(records: dict[str, list[_Record]]) -> str:
    users: dict[_Record, list[str]] = {}
    for name, rows in records.items():
        for record in rows:
            if record.group in _SHARED:
                users.setdefault(record, []).append(name)
    measuring = [name for name, rows in records.items() if any(record.group in _SHARED for record in rows)]
    parts = ["## Options for measuring images", f"Shared by {_code(measuring)}; the last column names exceptions."]
    for group in _SHARED:
        rows = [
            (*_cells(record), "" if names == measuring else f"only {_code(names)}")
            for record, names in users.items()
            if record.group == group
        ]
        parts.append(_table((group, "", "default", "in"), rows))
    return "\n\n".join(parts)


def _cells(record: _Record) -> tuple[str, str, str]:
    return f"`{record.spelling}`".replace("|", "\\|"), _escaped(record.text), _escaped(record.default)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table without the columns that are empty."""
    filled = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
    lines = list(zip(*filled, strict=True))
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], ("---",) * len(filled), *lines[1:]])


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}<>\[\]|])", r"\\\1", text)
