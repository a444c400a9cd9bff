"""Run programs one after another in one process, since imports take most of their time: ``in_turn.py "a.py -x" b.py``.

A line ``== PROGRAM`` comes before the output of each.
"""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path

from torchmetrics_dna.dna import evidence

if __name__ == "__main__":  # pytest looks for doctests here, and would take its own arguments for programs
    commands = sys.argv[1:]
    sys.path[0] = ""  # programs import what lies beside them
    relabelings = evidence.NUM_RELABELINGS
    for command in commands:
        print(f"== {command}", flush=True)
        sys.argv = shlex.split(command)
        evidence.NUM_RELABELINGS = relabelings  # which experiments change
        runpy.run_path(str(Path(sys.argv[0]).absolute()), run_name="__main__")
