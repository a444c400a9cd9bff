"""Entry of the command line: checks before any work, and the form of errors."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run
from limits import HANG
from PIL import Image

import torchmetrics_dna.dna.load
from torchmetrics_dna import make_dna
from torchmetrics_dna.version import __version__

FILES = Path(__file__).parent / "data" / "format_1"

ALLOCATE = """
import resource
import numpy as np
from torchmetrics_dna.extractors.cpu import keep_freed_memory

keep_freed_memory()
np.full(5_000_000, 1, np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.full(5_000_000, 1, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

LOADED = r"""
import sys, warnings
from torchmetrics_dna.__main__ import main

codes = []
for command in sys.argv[1:]:
    sys.argv = ["torchmetrics-dna", *command.split(" ")]
    try:
        main()
    except SystemExit as exit_:
        codes.append(exit_.code or 0)
warnings.warn("in one\nline")
print(*codes)
print(*({"torch", "timm", "numba", "torchvision", "PIL", "torchmetrics", "numpy", "rich", "typer"} & {*sys.modules}))
"""

# what Windows lacks is gone, processes are spawned, and no text of ours is read or written in the system's encoding
AS_ON_WINDOWS = """
import multiprocessing, os, signal, sys, warnings

sys.modules.update(dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios"]))
for module, name in ((os, "fork"), (os, "geteuid"), (os, "sched_getaffinity"), (signal, "pthread_sigmask")):
    vars(module).pop(name, None)
warnings.simplefilter("ignore", EncodingWarning)
warnings.filterwarnings("error", category=EncodingWarning, module="torchmetrics_dna")
from torchmetrics_dna.__main__ import main

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    for command in sys.argv[1:]:
        sys.argv = ["torchmetrics-dna", *command.split(" ")]
        try:
            main()
        except SystemExit as exit_:
            print(exit_.code, command)
"""


@pytest.mark.outer
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_freed_memory_is_kept() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    process = subprocess.run(
        [sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True, env=environment
    )
    assert int(process.stdout) < 50  # ten times 20 MB, in pages of 4 KiB unless the kernel gives huge ones


@pytest.mark.slow
def test_what_needs_no_network_starts_without_torch(tmp_path: Path) -> None:
    commands = {
        "--version": 0,
        "-h": 0,
        "compare --help": 0,
        "compare a b --nonsense": 2,
        "make a -o x.txt": 2,
        "compare nowhere anywhere": 2,
        "compare . . --metrics lpips": 2,
        "rank . --reference . --batch-size 0": 2,
        "info nowhere": 2,
        "info": 0,
    }
    # a scheduler's shell has some of the variables that torchrun sets, and nobody to wait for
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "head", "MASTER_PORT": "1"}
    process = subprocess.run(
        [sys.executable, "-c", LOADED, *commands],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert f"torchmetrics-dna {__version__}\n" in process.stdout
    assert "Usage: torchmetrics-dna [OPTIONS]" in process.stdout
    codes, loaded = process.stdout.splitlines()[-2:]
    assert codes.split() == [str(code) for code in commands.values()]
    assert process.stderr.splitlines()[-1] == "torchmetrics-dna: in one line"
    assert set(loaded.split()) == {"numpy", "rich", "typer"}, "what would cost seconds"


def test_a_file_that_is_replaced_is_named(
    tmp_path: Path, photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_dna(photos[:2], layers=["block_0"]).save("x.npz")
    for i in range(2):
        for output in ("m.npz", "official"):
            command = ("merge", "x.npz", "-o", output) if output == "m.npz" else ("convert", "x.npz", output)
            assert run(monkeypatch, *command) == 0
        stderr = capsys.readouterr().err
        for name in ("m.npz", "official.json", "official.npz"):
            assert stderr.count(f"Replacing {name}\n") == i


@pytest.mark.parametrize("debug", [None, "0", "1"])
def test_an_unexpected_error_is_one_line_and_its_trace_is_at_hand(
    debug: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def describe(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(torchmetrics_dna.dna.load, "describe", describe)
    if debug is not None:
        monkeypatch.setenv("TORCHMETRICS_DNA_DEBUG", debug)
    assert run(monkeypatch, "info", "x.npz") == 2
    *trace, line = capsys.readouterr().err.splitlines()
    assert line.startswith("torchmetrics-dna: KeyError: 'x' (")
    assert "TORCHMETRICS_DNA_DEBUG=1" in line
    assert any('raise KeyError("x")' in text for text in trace) is (debug == "1")
    assert bool(trace) is (debug == "1")


@pytest.mark.parametrize("fails", [False, True], ids=["", "and a worker is gone"])
def test_an_interrupted_command_ends(
    fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(**_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            if fails:
                raise RuntimeError("a worker is gone")

    monkeypatch.setattr("torchmetrics_dna.cli.app", command)
    assert run(monkeypatch) == 130
    assert capsys.readouterr().err == "torchmetrics-dna: interrupted\n"


@pytest.mark.outer
def test_commands_run_as_on_windows(tmp_path: Path) -> None:
    """A stricter place than Windows, whose modules, processes and encoding of redirected output these are."""
    for shade, folder in enumerate(("Größe", "雪")):
        (tmp_path / folder).mkdir()
        for i in range(3):
            Image.new("RGB", (12, 12), (90 * shade, 40 * i, 99)).save(tmp_path / folder / f"{i} é.png")
    (tmp_path / "script.py").write_text(AS_ON_WINDOWS, encoding="utf-8")
    # under a lock and by a worker; then to a page
    commands = ("make Größe -o é.npz --resume --num-workers 1 --layers block_0", "compare é.npz 雪 -o ☃.html")
    process = subprocess.run(
        [sys.executable, "script.py", *commands],
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONWARNDEFAULTENCODING": "1"},
        cwd=tmp_path, capture_output=True, encoding="cp1252", timeout=HANG,
    )  # fmt: skip
    assert "0 make Größe" in process.stdout, process.stderr
    assert r"0 compare é.npz \u96ea" in process.stdout, process.stderr
    assert "Worker processes" not in process.stderr  # and so are decoded here
    assert "雪" in (tmp_path / "☃.html").read_text(encoding="utf-8")
