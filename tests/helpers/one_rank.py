"""The command line in one of several processes, of which one meets with an error, or dies."""

from __future__ import annotations

import os
import signal
import sys

from torchmetrics_dna.__main__ import main


def meet(with_what: str) -> None:
    if with_what == "folder":
        sys.argv = [word.replace("shared", "elsewhere") for word in sys.argv]
        return
    from torchmetrics_dna.extractors import DNAExtractor

    def forward(self: DNAExtractor, imgs: object, **_: object) -> None:
        if with_what == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        raise TypeError("unsupported operand")

    DNAExtractor.forward = forward


if __name__ == "__main__":
    what = sys.argv.pop(1)
    if os.environ["RANK"] == os.environ.get("VICTIM", "1"):
        meet(what)
    main()
