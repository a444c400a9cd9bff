"""State of a metric that contains an identity: the weights and settings with which the images of a side were counted.

The state is a tensor of bytes, which are zeros without images. So torchmetrics copies, shares, saves, loads, reduces
and compares the identity together with the counts. The reduction is the maximum of each byte. For equal states, the
maximum is the same state. For different states, it is not a valid state.
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

# The length of a state is a multiple of this number of bytes. One block is enough unless images have many channels.
_BLOCK_SIZE = 1024
# Number of bytes of the digest with which a state begins. It is the digest of the text that follows.
_DIGEST_SIZE = 16
# Number of bytes of one layer of a fingerprint in the text, in base64, with punctuation.
_LAYER_SIZE = 30
# Number of bytes that are reserved for the rest of a fingerprint, and for the name of another precision.
_FREE_SIZE = 256
# Value of all bytes of a state whose images are incomplete. This byte never occurs in text. It is the largest byte, so
# a maximum with another state keeps it.
_INCOMPLETE = 255


def length_of_state(identity: Identity, layers: Iterable[str]) -> int:
    """Return the length of the states of a metric.

    Args:
        identity: Identity of images that are counted now, without a fingerprint.
        layers: Layers of the fingerprint; empty if there is none.

    """
    fingerprint_size = sum(len(json.dumps(layer)) + _LAYER_SIZE for layer in layers)
    size = _DIGEST_SIZE + len(json.dumps(identity)) + _FREE_SIZE + fingerprint_size
    num_blocks = math.ceil(size / _BLOCK_SIZE)
    return num_blocks * _BLOCK_SIZE


def as_state(identity: Identity, length: int) -> Tensor:
    """Return the state of an identity, on the CPU, where updates compare it."""
    text = json.dumps(identity).encode()
    content = (_digest(text) + text).ljust(length, b"\0")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def from_state(state: Tensor) -> Identity | None:
    """Return the identity that a state contains; None without images.

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
    """Return the state that replaces another one while images are added.

    If the addition is interrupted, this state remains.
    """
    return torch.full_like(state, _INCOMPLETE)


def is_incomplete(state: Tensor) -> bool:
    """Return True if adding images to a side was interrupted."""
    return bool(state[0] == _INCOMPLETE) and bool((state == _INCOMPLETE).all())


# The result is cached, because every update reads the states, and they hardly ever change.
@lru_cache(maxsize=64)
def _parsed(content: bytes) -> Identity | None:
    """Return the identity in the bytes of a state; None if all bytes are 0. ValueError if the digest is wrong."""
    digest = content[:_DIGEST_SIZE]
    text = content[_DIGEST_SIZE:].rstrip(b"\0")
    if not text:
        return None
    if _digest(text) != digest:
        raise ValueError("Images that were counted with other weights or settings were added without a check")
    return Identity(*json.loads(text))


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()[:_DIGEST_SIZE]
