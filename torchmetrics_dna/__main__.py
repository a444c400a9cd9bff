"""``torchmetrics-dna`` and ``python -m torchmetrics_dna``: errors in one line, exit code 2."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

from torchmetrics_dna.extras import require

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def main() -> None:
    """Run the command line."""
    _keep_freed_memory()
    try:
        require("typer", "cli")
        require("rich", "cli")
        require("torchmetrics_dna.cli", "cli").app(prog_name="torchmetrics-dna")
    except (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError) as err:
        if os.environ.get("RANK", "0") == "0":  # one of several processes speaks for all
            print(f"torchmetrics-dna: {' '.join(str(err).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _keep_freed_memory() -> None:
    """Let glibc keep what a forward pass frees for the next one, which else is mapped anew, page by page."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return  # the user has decided
    with suppress(AttributeError, TypeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 20 << 20)  # a little more than the largest of the default network
        libc.mallopt(_M_TRIM_THRESHOLD, 80 << 20)  # more is faster by little, and costs as much memory


if __name__ == "__main__":
    main()
