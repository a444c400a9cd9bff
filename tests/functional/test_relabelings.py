"""The same relabelings are drawn in every version, so that p-values of old reports can be had again."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from torchmetrics_dna.functional.permutation import exchanges_of_pairs, relabelings, relabelings_of_size


def digest(masks: torch.Tensor) -> str:
    return hashlib.sha256(np.packbits(masks.numpy(), axis=1).tobytes()).hexdigest()[:12]


def test_relabelings_stay() -> None:
    sizes = torch.tensor([3, 4, 2, 5, 3, 4]), torch.tensor([11, 8, 9, 12, 10, 7, 9])
    assert digest(relabelings(20, 20)) == "6b550926d761"
    assert digest(relabelings_of_size(*sizes, most=60)) == "d2dea5590d71"
    assert digest(exchanges_of_pairs(30)) == "0b6021aafa25"
