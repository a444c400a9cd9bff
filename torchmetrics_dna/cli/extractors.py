"""Command that lists the named extractors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.cli.console import rich_table, talk
from torchmetrics_dna.cli.output import FormatOption, Printout, ResultFile, format_for, write
from torchmetrics_dna.files.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.extractors import Preset


def extractors(form: FormatOption = None, output: ResultFile = None) -> None:
    """List the named extractors, their weights and ranges, and what of these is on this machine."""
    form = format_for(form, output)
    from torchmetrics_dna.extractors import PRESETS

    descriptions = [_described(preset) for preset in PRESETS.values()]
    records = [_record(description) for description in descriptions]
    table = Table(list(records[0]), [[*record.values()] for record in records], "Extractors")
    text = [rich_table(table.header, table.rows, table.title, compact=True)]  # 80 columns wide
    write(Printout(lambda: descriptions, lambda: records, [], [table], text), form, output)
    talk.print("✓ is on this machine; the rest is downloaded on first use. Any timm model's name works, too.")


def _record(description: Mapping[str, Any]) -> dict[str, Any]:
    marks = {name: " ✓" if description[f"{name}_here"] else "" for name in ("weights", "ranges")}
    return {
        "extractor": description["name"],
        "layers": len(description["layers"]),
        "neurons": sum(description["layers"].values()),
        "input": description["input_size"][0],
        "weights": _place(description["weights"]) + marks["weights"],
        "ranges": _place(description["ranges"]) + marks["ranges"],
        "licence": description["licence"],
    }


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
