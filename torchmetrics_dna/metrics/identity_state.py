"""State of a metric that holds an identity: what the images of a side were counted with.

The state is a tensor of bytes, zeros without images. So torchmetrics copies, shares, saves, loads, reduces and compares
it together with the counts. States are reduced by the maximum of each byte: that of equal states is the same state, and
that of different states is not a valid one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import Identity

# The length of a state is a multiple of this number of bytes. One block is enough, except for images of many bands.
_BLOCK_SIZE = 1024
# A state begins with a digest of its text, of this number of bytes.
_DIGEST_SIZE = 16
# Bytes that one layer of a fingerprint takes in the text, in base64, with its punctuation.
_LAYER_SIZE = 30
# Bytes that are left free, for a fingerprint and for another precision.
_FREE_SIZE = 256
# Value of all bytes of a state whose images are incomplete. No text has this byte, and it is the largest of all.
_INCOMPLETE = 255


def length_of_state(identity: Identity, layers: Iterable[str]) -> int:
    """Return how long the states of such identities are, with room for a fingerprint of ``layers``."""
    fingerprint_size = sum(len(json.dumps(layer)) + _LAYER_SIZE for layer in layers)
    size = _DIGEST_SIZE + len(json.dumps(identity)) + _FREE_SIZE + fingerprint_size
    num_blocks = math.ceil(size / _BLOCK_SIZE)
    return num_blocks * _BLOCK_SIZE


def as_state(identity: Identity, length: int) -> Tensor:
    """Return the state of an identity, which stays on the CPU, where updates compare it."""
    text = json.dumps(identity).encode()
    content = (_digest(text) + text).ljust(length, b"\0")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def from_state(state: Tensor) -> Identity | None:
    """Return the identity that a state holds; None without images.

    Raises:
        ValueError: If the images of the state are incomplete, or if it was reduced from unequal states.

    """
    if is_incomplete(state):
        raise ValueError(
            "An update was interrupted while it added images, so what was counted is incomplete; call `reset`, and"
            " add all images again"
        )
    return _parsed(state.cpu().numpy().tobytes())


def incomplete(state: Tensor) -> Tensor:
    """Return the state in place of another while images are added, so that it stays where that is interrupted."""
    return torch.full_like(state, _INCOMPLETE)


def is_incomplete(state: Tensor) -> bool:
    """Return True if adding images to a side was interrupted."""
    return bool(state[0] == _INCOMPLETE) and bool((state == _INCOMPLETE).all())


# Every update reads the states, which hardly ever change.
@lru_cache(maxsize=64)
def _parsed(content: bytes) -> Identity | None:
    digest = content[:_DIGEST_SIZE]
    text = content[_DIGEST_SIZE:].rstrip(b"\0")
    if not text:
        return None
    if _digest(text) != digest:
        raise ValueError("Images that were counted with other weights or settings were added without a check")
    return Identity(*json.loads(text))


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()[:_DIGEST_SIZE]
