"""The command line: one short function per command. Help has options in named groups, rare ones on request."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from torchmetrics_dna.cli.compare import compare, demo, diff
from torchmetrics_dna.cli.files import convert, info, make, merge, ranges
from torchmetrics_dna.cli.rank import monitor, rank
from torchmetrics_dna.version import __version__

_ALL = "--help-all"
_GROUPS = ("Options", "Images", "Network", "Statistics", "Output", "Machine")


class Command(TyperCommand):
    """A command whose help has its options in groups, and those that few people need only with ``--help-all``."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [word.partition("=")[0] for word in args if word.startswith("-")]
        if twice := [name for name in options if options.count(name) > 1 and name.strip("-")]:
            raise ValueError(f"Option {twice[0]} is given {options.count(twice[0])} times; give it once")
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


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torchmetrics-dna {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Visual DNA: compare image sets neuron by neuron."""


# each with an example; the first five are what most people need
_FIRST: dict[Callable[..., None], str] = {
    demo: "torchmetrics-dna demo -o demo.png",
    compare: "torchmetrics-dna compare photos/ generated/ -o report.html",
    rank: "torchmetrics-dna rank generated/ --reference photos/ --plot sheet.png",
    make: "torchmetrics-dna make photos/ -o photos.dna.npz --num-folds 20",
    monitor: "torchmetrics-dna monitor photos.dna.npz camera/ --window 100",
}
_MORE: dict[Callable[..., None], str] = {
    diff: "torchmetrics-dna diff v1/ v2/ --format markdown",
    merge: "torchmetrics-dna merge a.dna.npz b.dna.npz -o both.dna.npz",
    info: "torchmetrics-dna info photos.dna.npz",
    convert: "torchmetrics-dna convert official.json photos.dna.npz",
    ranges: "torchmetrics-dna ranges photos/ generated/ -o both.ranges.json",
}
for commands, title in ((_FIRST, "Commands"), (_MORE, "More")):
    for command, example in commands.items():
        app.command(cls=Command, epilog=example, rich_help_panel=title)(command)
