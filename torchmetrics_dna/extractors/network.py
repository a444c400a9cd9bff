"""Options of an extractor that is yet to be built; imports no torch, so that the command line starts without it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.options import option

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import torch
    from torch import nn

    from torchmetrics_dna.images.cells import Crop


@dataclass(frozen=True, eq=False)
class Network:
    """Arguments of a :class:`DNAExtractor` that is built later, once the DNAs that it must fit are known.

    Metadata of a field says what the command line says of it, and in which group of options.
    """

    feature: str | nn.Module | None = option(
        None,
        "Network",
        "Extractor: a preset, or a timm model's name. [default: efficientnet_lite0, or that of a given DNA]",
    )
    weights_path: str | os.PathLike[str] | None = option(
        None, "Network", "Local file of the extractor's weights.", rare=True
    )
    layers: Sequence[str] | None = option(None, "Network", "Layers, separated by commas. [default: the extractor's]")
    crop: Crop | None = option(None, "Images", "Cut out of images before they are resized. [default: none]", rare=True)
    properties: bool | None = option(
        None,
        "Network",
        "Watch sharpness, noise, size and other properties of images, too. [default: compare does for two sets]",
        rare=True,
    )
    device: str | torch.device | None = option(
        None, "Machine", "Such as cpu or cuda:1. [default: CUDA if there is one]"
    )

    @property
    def settings(self) -> dict[str, Any]:
        """Given options except the feature."""
        options = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {name: value for name, value in options.items() if value is not None}
