"""Identity of what the images of a side were counted with, as a state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import identity

_BLOCK = 1024  # bytes of a state, unless bands of images take more
_BEGIN = 16  # of its text, after a digest of it
_OF_LAYER = 30  # of a fingerprint, in base64, with what stands around it
_INCOMPLETE = 255  # each byte of a state whose images are incomplete: no text has it, and it is the largest of all


class CountedWith(NamedTuple):
    """Weights of the network, preparation of images, and settings of the metric, as they were for images of a side.

    As a state it is a tensor of bytes, zeros without images: the largest of equal ones is the same, and of different
    ones is none. So torchmetrics copies, shares, saves, loads, reduces and compares it with what was counted.
    """

    weights_digest: str
    preparation: dict[str, Any]
    settings: dict[str, Any]  # that must be equal to merge states
    fingerprint: dict[str, Any] | None = None  # of a module of the user's, as it was with the first images

    @classmethod
    def of_state(cls, state: Tensor) -> CountedWith | None:
        """Return what is in a state; ValueError if its images are incomplete, or if several unequal ones became it."""
        if is_incomplete(state):
            raise ValueError(
                "An update was interrupted while it added images, so what was counted is incomplete; call `reset`, and"
                " add all images again"
            )
        return _parsed(state.cpu().numpy().tobytes())

    def length_of_state(self, layers: Iterable[str]) -> int:
        """Return how long states of these settings are, with room for a fingerprint of ``layers``."""
        room = _BEGIN + 256 + sum(len(json.dumps(layer)) + _OF_LAYER for layer in layers)  # and for another precision
        return -(-(len(json.dumps(self)) + room) // _BLOCK) * _BLOCK

    def as_state(self, length: int) -> Tensor:
        """Return the state, which stays on the CPU, where updates compare it."""
        text = json.dumps(self).encode()
        return torch.frombuffer(bytearray((_digest(text) + text).ljust(length, b"\0")), dtype=torch.uint8)

    @property
    def identity(self) -> dict[str, Any]:
        """Values that must be equal to count, merge or compare images together."""
        return identity(self.settings["extractors"], **self.origin) | self.settings

    @property
    def origin(self) -> dict[str, Any]:
        """Fields of a DNA of such images."""
        return {"weights_digest": self.weights_digest, "preparation": self.preparation, "fingerprint": self.fingerprint}


def incomplete(state: Tensor) -> Tensor:
    """Return the state in place of another while images are added, so that it stays where that is interrupted."""
    return torch.full_like(state, _INCOMPLETE)


def is_incomplete(state: Tensor) -> bool:
    """Return True if adding images to a side was interrupted."""
    return bool(state[0] == _INCOMPLETE) and bool((state == _INCOMPLETE).all())


@lru_cache(maxsize=64)  # every update asks
def _parsed(content: bytes) -> CountedWith | None:
    text = content[_BEGIN:].rstrip(b"\0")
    if text and _digest(text) != content[:_BEGIN]:
        raise ValueError("Images that were counted with other weights or settings were added without a check")
    return CountedWith(*json.loads(text)) if text else None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()[:_BEGIN]
