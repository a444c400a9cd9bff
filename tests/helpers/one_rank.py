"""Failures of one of several processes: an error, or its death."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from torchmetrics_dna.__main__ import main


def bug() -> None:
    """Raise an unexpected error in this process."""
    from torchmetrics_dna.extractors import DNAExtractor

    def forward(self: DNAExtractor, imgs: object, *_: object, **__: object) -> NoReturn:
        raise TypeError("unsupported operand")

    DNAExtractor.forward = forward


def death() -> None:
    """Kill this process in the middle of the work."""
    from torchmetrics_dna.extractors import DNAExtractor

    DNAExtractor.forward = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)


def without(victim: str) -> None:
    """Run the command line; the process of this rank dies."""
    if os.environ["RANK"] == victim:
        death()
    main()


if __name__ == "__main__":
    without("1")
