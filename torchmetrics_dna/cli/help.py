"""Help texts: options in named groups, rare ones on request, and the commands that most people need first."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

_ALL = "--help-all"
_GROUPS = ("Options", "Images", "Network", "Statistics", "Output", "Machine")


class Command(TyperCommand):
    """A command whose help has its options in groups, and those that few people need only with ``--help-all``."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if _ALL in args:
            for parameter in self.params:
                parameter.hidden = False  # type: ignore[attr-defined]
            args = ["--help"]
        return super().parse_args(ctx, args)

    @override
    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{group: [] for group in _GROUPS}}
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            is_argument = parameter.param_type_name == "argument"
            group = getattr(parameter, "rich_help_panel", None)  # older versions of typer leave --help to click
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections["Arguments" if is_argument else group or "Options"].append(record)
        if any(getattr(parameter, "hidden", False) for parameter in parameters):
            sections["Options"].append((_ALL, "Show the options that few people need, too."))
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    @override
    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            with formatter.section("Example"):
                formatter.write_text(self.epilog)


class Commands(TyperGroup):
    """Group of the commands: its help lists each with a whole sentence, the most needed first."""

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            title = command.rich_help_panel or "More"
            sections.setdefault(title, []).append((name, command.get_short_help_str(1000)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
