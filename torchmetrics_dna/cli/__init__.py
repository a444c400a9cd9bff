"""The command line: one function per command. Typer parses the options and prints the help."""

from typing import Annotated

import typer

from torchmetrics_dna.cli.compare import compare, demo, diff
from torchmetrics_dna.cli.files import convert, info, make, merge, ranges
from torchmetrics_dna.cli.rank import monitor, rank
from torchmetrics_dna.cli.sources import describe_sources
from torchmetrics_dna.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torchmetrics-dna {__version__}")
        raise typer.Exit


def _print_sources(wanted: bool) -> None:
    if wanted:
        typer.echo(describe_sources())
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    help_sources: Annotated[
        bool,
        typer.Option(
            "--help-sources",
            help="List the formats of images and of DNA files that commands accept.",
            callback=_print_sources,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Visual DNA: compare image sets neuron by neuron."""


# Commands that most people need come first.
app.command(epilog="Example: torchmetrics-dna demo -o demo.png")(demo)
app.command(epilog="Example: torchmetrics-dna compare photos/ generated/ -o report.html")(compare)
app.command(epilog="Example: torchmetrics-dna rank generated/ --reference photos/ --plot sheet.png")(rank)
app.command(epilog="Example: torchmetrics-dna make photos/ -o photos.dna.npz --num-folds 20")(make)
app.command(epilog="Example: torchmetrics-dna monitor photos.dna.npz camera/ --window 100")(monitor)
app.command(epilog="Example: torchmetrics-dna diff v1/ v2/ --format markdown")(diff)
app.command(epilog="Example: torchmetrics-dna merge a.dna.npz b.dna.npz -o both.dna.npz")(merge)
app.command(epilog="Example: torchmetrics-dna info photos.dna.npz")(info)
app.command(epilog="Example: torchmetrics-dna convert official.json photos.dna.npz")(convert)
app.command(epilog="Example: torchmetrics-dna ranges photos/ generated/ -o both.ranges.json")(ranges)
