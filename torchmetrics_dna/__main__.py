"""``torchmetrics-dna`` and ``python -m torchmetrics_dna``: errors in one line, exit code 2."""

from __future__ import annotations

import os
import sys

from torchmetrics_dna.extras import require


def main() -> None:
    """Run the command line."""
    try:
        require("typer", "cli")
        require("rich", "cli")
        require("torchmetrics_dna.cli", "cli").app(prog_name="torchmetrics-dna")
    except (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError) as err:
        if os.environ.get("RANK", "0") == "0":  # one of several processes speaks for all
            print(f"torchmetrics-dna: {' '.join(str(err).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
