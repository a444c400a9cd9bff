"""Presets, distances and kinds of files of other packages, registered by their code or by an entry point.

A package whose ``pyproject.toml`` has an entry point of the group ``torchmetrics_dna`` is loaded before any command::

    [project.entry-points.torchmetrics_dna]
    mine = "my_package.visual_dna"

In Python, import the module that registers.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.extractors.presets import Preset
    from torchmetrics_dna.images.sources import FileKind

GROUP = "torchmetrics_dna"
DISTANCE_NAMES: list[str] = []  # that were registered, known without loading all distances


def register_preset(preset: Preset) -> None:
    """Make a network known by a name, as ``feature`` and ``--feature``; ValueError if it is taken."""
    from torchmetrics_dna.extractors.presets import PRESETS

    _check_new("preset", preset.name, PRESETS)
    PRESETS[preset.name] = preset


def register_distance(distance: Distance) -> None:
    """Make a distance known by its name, in ``metrics`` and ``--metrics``; ValueError if it is taken."""
    from torchmetrics_dna.dna.distances import DISTANCES, PROTOCOLS

    _check_new("distance", distance.name, DISTANCES | PROTOCOLS)
    DISTANCES[distance.name] = distance
    DISTANCE_NAMES.append(distance.name)


def register_source(kind: FileKind) -> None:
    """Make files of some suffixes images, wherever images are given; ValueError if a suffix is taken."""
    from torchmetrics_dna.images.sources import KINDS

    for suffix in kind.suffixes:
        _check_new("suffix", suffix, [suffix for other_kind in KINDS for suffix in other_kind.suffixes])
    KINDS.append(kind)


def load_plugins() -> None:
    """Load what installed packages register."""
    for point in entry_points(group=GROUP):
        point.load()


def _check_new(what: str, name: str, taken: Container[str]) -> None:
    if name in taken:
        raise ValueError(f"The {what} {name!r} is there already; register another name")
