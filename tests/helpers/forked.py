"""Code in processes of its own that have torch already: they are forked from one that has imported nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

SERVER = """
import json, os, sys, traceback
import torch
for line in sys.stdin:
    code, arguments, environment = json.loads(line)
    child = os.fork()
    if not child:
        try:
            os.environ |= environment
            sys.argv[1:] = arguments
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(child, 0)
    print("\\x04", flush=True)
"""


class Forked:
    """A process with torch; close it in the end."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, code: str, *arguments: str, **environment: str) -> str:
        """What the code prints, with these arguments, and these variables beside those of the environment."""
        self._process.stdin.write(json.dumps([code, arguments, environment]) + "\n")
        self._process.stdin.flush()
        lines = []
        while (line := self._process.stdout.readline()) != "\x04\n":
            assert line, "the process is gone"
            lines.append(line)
        return "".join(lines).strip()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
