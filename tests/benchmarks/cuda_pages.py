"""Results of cuda.py as tables and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]


def write_pages(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write cuda.md, and cuda.png where matplotlib is installed."""
    page = folder / "cuda.md"
    page.write_text(
        "\n\n".join([_machine(results["machine"]), _checks(results["checks"]), *_figures(results["figures"])]) + "\n"
    )
    picture = folder / "cuda.png"
    return (
        [page, picture] if find_spec("matplotlib") and _draw(_of(results["figures"], "counting"), picture) else [page]
    )


def _machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    missing = f" Not installed: {', '.join(machine['missing'])}." if machine["missing"] else ""
    return f"{machine['device']}, CUDA {machine['cuda']}, Python {machine['python']}, {versions}.{missing}"


def _checks(checks: Rows) -> str:
    verdicts = {True: "right", False: "wrong"}
    lines = [
        f"| {name} | {'left out' if 'left out' in result else verdicts[result['passed']]} |"
        f" {result.get('error', result.get('left out', ''))} | {result.get('seconds', '')} |"
        for name, result in checks.items()
    ]
    return "\n".join(["| check | | why | seconds |", "|---|---|---|---|", *lines])


def _figures(figures: Rows) -> list[str]:
    tables = []
    for kind in ("counting", "updates", "computing"):
        rows = _of(figures, kind)
        # what a row has of single numbers; variants and profiles are in the json
        columns = list(
            dict.fromkeys(key for row in rows.values() for key in row if "with" not in key and "profile" not in key)
        )
        if rows:
            lines = [
                f"| {label} | {' | '.join(str(row.get(key, '')) for key in columns)} |" for label, row in rows.items()
            ]
            tables.append("\n".join([f"| {kind} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *lines]))
    return tables


def _of(figures: Rows, kind: str) -> Rows:
    """The figures of one kind that were taken."""
    named = {name.partition(": ")[2]: row for name, row in figures.items() if name.partition(": ")[0] == kind}
    return {name: row for name, row in named.items() if not row.keys() & {"error", "left out"}}


def _draw(rows: Rows, path: Path) -> bool:
    """Bars of nanoseconds an activation, for each layer and way; False if there are none."""
    if not rows:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ways = ("copy", "aminmax", "triton", "torch", "histc")
    figure = Figure(figsize=(8, 1.2 + 0.75 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for i, way in enumerate(ways):
        places = [row + 0.16 * (i - 2) for row in range(len(rows))]
        axis.barh(places, [times[way] for times in rows.values()], height=0.15, label=way)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("nanoseconds an activation")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)
    return True
