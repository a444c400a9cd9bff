"""The command line: one short function per command."""

from collections.abc import Callable
from typing import Annotated

import typer

from torchmetrics_dna.cli.compare import compare, demo, diff
from torchmetrics_dna.cli.files import convert, info, make, merge, ranges
from torchmetrics_dna.cli.help import Command, Commands
from torchmetrics_dna.cli.monitor import monitor
from torchmetrics_dna.cli.rank import rank
from torchmetrics_dna.version import __version__

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
