"""Options of an extractor that is yet to be built; imports no torch, so that the command line starts without it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import torch
    from torch import nn

    from torchmetrics_dna.images.cells import Crop


@dataclass(frozen=True, eq=False)
class Network:
    """Arguments of a :class:`DNAExtractor` that is built later, once the DNAs that it must fit are known."""

    feature: str | nn.Module | None = None
    weights_path: str | os.PathLike[str] | None = None
    crop: Crop | None = None
    properties: bool | None = None
    layers: Sequence[str] | None = None
    device: str | torch.device | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Given options except the feature."""
        options = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {name: value for name, value in options.items() if value is not None}
