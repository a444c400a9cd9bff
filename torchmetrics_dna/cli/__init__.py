"""The command line: one short function per command."""

from typing import Annotated

import typer

from torchmetrics_dna.cli.changes import changes
from torchmetrics_dna.cli.compare import compare, demo
from torchmetrics_dna.cli.diff import diff
from torchmetrics_dna.cli.extractors import extractors
from torchmetrics_dna.cli.files import convert, info, make, merge
from torchmetrics_dna.cli.matrix import matrix
from torchmetrics_dna.cli.monitor import monitor
from torchmetrics_dna.cli.ranges import ranges
from torchmetrics_dna.cli.rank import rank, weights
from torchmetrics_dna.cli.report import report
from torchmetrics_dna.version import __version__

app = typer.Typer(
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


for command in (
    compare,
    matrix,
    diff,
    monitor,
    make,
    merge,
    info,
    convert,
    ranges,
    changes,
    rank,
    report,
    extractors,
    demo,
):
    app.command()(command)
app.add_typer(weights, name="weights")
