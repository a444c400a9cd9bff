"""Runs programs one after another in one process, since imports take most of their time: ``in_turn.py "a.py -x" b.py``.

A line ``== PROGRAM`` comes before what each says.
"""

from __future__ import annotations

import runpy
import shlex
import sys

for command in sys.argv[1:]:
    print(f"== {command}", flush=True)
    sys.argv = shlex.split(command)
    runpy.run_path(sys.argv[0], run_name="__main__")
