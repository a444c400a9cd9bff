"""Command that lists the named extractors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

import torchmetrics_dna.cli.options as o  # noqa: TC001 - typer reads annotations
from torchmetrics_dna.cli.console import out, print_json, talk

if TYPE_CHECKING:
    from torchmetrics_dna.extractors import Preset


def extractors(as_json: o.Json = False) -> None:
    """List the named extractors, their weights and ranges, and what of these is on this machine."""
    from torchmetrics_dna.extractors import PRESETS

    descriptions = [_described(preset) for preset in PRESETS.values()]
    if as_json:
        print_json(descriptions)
        return
    shown = Table(title="Extractors", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("extractor", "layers", "neurons", "input", "weights", "ranges", "licence"):
        number = name in ("layers", "neurons", "input")
        shown.add_column(name, justify="right" if number else "left", no_wrap=name == "extractor", overflow="fold")
    for preset in descriptions:
        marks = {name: " ✓" if preset[f"{name}_here"] else "" for name in ("weights", "ranges")}
        shown.add_row(
            preset["name"],
            str(len(preset["layers"])),
            f"{sum(preset['layers'].values()):,}",
            str(preset["input_size"][0]),
            _place(preset["weights"]) + marks["weights"],
            _place(preset["ranges"]) + marks["ranges"],
            preset["licence"],
        )
    out.print(shown)
    talk.print("✓ is on this machine; the rest is downloaded on first use. Any timm model's name works, too.")


def _described(preset: Preset) -> dict[str, Any]:
    from torchmetrics_dna.extractors.weights import is_here

    ranges = "packaged" if isinstance(preset.ranges, Path) else preset.ranges
    return {
        "name": preset.name,
        "layers": dict(preset.neurons),
        "input_size": preset.input_size,
        "resize": preset.resize,
        "mean": preset.mean,
        "std": preset.std,
        "weights": preset.weights,
        "weights_here": is_here(preset.weights),
        "licence": preset.licence,
        "ranges": ranges,
        "ranges_here": ranges is not None and is_here(ranges),
    }


def _place(source: str | None) -> str:
    """Abbreviate the source of a file: the owner of a repository on the hub, or the host of an address."""
    if source is None:
        return "-"
    if source.startswith("hub:"):
        return source.removeprefix("hub:").split("/")[0]
    return ".".join(source.split("/")[2].split(".")[-2:]) if "://" in source else "packaged"
