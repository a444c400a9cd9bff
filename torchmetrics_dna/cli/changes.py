"""Command that makes a dictionary of changes."""

from __future__ import annotations

from typing import Any

import torchmetrics_dna.cli.options as o  # noqa: TC001 - typer reads annotations when it runs
from torchmetrics_dna.cli.console import PROCESSES, check_output, check_sources, progress, talk
from torchmetrics_dna.cli.measuring import measures_images, with_progress


@measures_images()
def changes(images: o.Images, output: o.Output, **options: Any) -> None:
    """Measure what blur, noise, compression and others do to each neuron, and write it to a .npz file."""
    check_sources(images)
    check_output(output, ".npz")
    from torchmetrics_dna.jobs.make_changes import make_changes
    from torchmetrics_dna.jobs.processes import rank

    with progress() as report:
        dictionary = make_changes(images, distributed=PROCESSES > 1, **with_progress(options, report))
    if rank() == 0:
        dictionary.save(output)
    talk.print(f"{output}: {dictionary!r}")
