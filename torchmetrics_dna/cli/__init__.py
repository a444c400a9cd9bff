"""The command line: one short function per command."""

import typer

from torchmetrics_dna.cli.compare import compare, demo
from torchmetrics_dna.cli.extractors import extractors
from torchmetrics_dna.cli.files import convert, info, make, merge
from torchmetrics_dna.cli.ranges import ranges
from torchmetrics_dna.cli.rank import rank, weights
from torchmetrics_dna.cli.report import report

app = typer.Typer(
    help="Visual DNA: compare image sets neuron by neuron.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (compare, make, merge, info, convert, ranges, rank, report, extractors, demo):
    app.command()(command)
app.add_typer(weights, name="weights")
