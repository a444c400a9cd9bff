"""What the images of a side were counted with, as a state."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from torchmetrics_dna.dna.identity import identity

if TYPE_CHECKING:
    from torch import Tensor


class CountedWith(NamedTuple):
    """Weights of the network, preparation of images, and settings of the metric, as they were for images of a side.

    As a state it is a list of one text, or of none without images: so torchmetrics copies, shares, saves and compares
    it with what was counted.
    """

    weights_digest: str
    preparation: dict[str, Any]
    settings: dict[str, Any]  # that must be equal to merge states
    reset_real_features: bool  # which must be equal to share them in a compute group

    @classmethod
    def of_state(cls, state: list[Tensor]) -> CountedWith | None:
        """Return what is in a state."""
        return _parsed(state[0].cpu().numpy().tobytes()) if state else None

    def as_state(self) -> list[Tensor]:
        """Return the state, whose text stays on the CPU, where updates compare it."""
        return [torch.frombuffer(bytearray(json.dumps(self).encode()), dtype=torch.uint8)]

    @property
    def identity(self) -> dict[str, Any]:
        """Values that must be equal to count, merge or compare images together."""
        return identity(self.settings["extractors"], self.weights_digest, self.preparation) | self.settings

    @property
    def origin(self) -> dict[str, Any]:
        """Fields of a DNA of such images."""
        return {"weights_digest": self.weights_digest, "preparation": self.preparation}


@lru_cache(maxsize=64)  # every update asks
def _parsed(text: bytes) -> CountedWith:
    return CountedWith(*json.loads(text))
