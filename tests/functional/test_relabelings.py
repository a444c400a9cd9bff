"""The same relabelings are drawn in every version, so that p-values of old reports can be had again."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from torchmetrics_dna.functional.features import kernel_distance
from torchmetrics_dna.functional.permutation import exchanges_of_pairs, relabelings, relabelings_of_size


def digest(masks: torch.Tensor) -> str:
    return hashlib.sha256(np.packbits(masks.numpy(), axis=1).tobytes()).hexdigest()[:12]


def test_relabelings_stay() -> None:
    sizes = torch.tensor([3, 4, 2, 5, 3, 4]), torch.tensor([11, 8, 9, 12, 10, 7, 9])
    assert digest(relabelings(20, 20)) == "6b550926d761"
    assert digest(relabelings_of_size(*sizes, most=60)) == "d2dea5590d71"
    assert digest(exchanges_of_pairs(30)) == "0b6021aafa25"


def test_two_images_on_each_side_are_enough_for_kid() -> None:
    a, b = torch.tensor([[0.3, 1.1], [0.7, -0.2]]), torch.tensor([[1.3, 0.4], [-0.6, 0.9]])

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x.double() @ y.double() / 2 + 1) ** 3)

    across = sum(kernel(x, y) for x in a for y in b) / 4
    mean, deviation = kernel_distance(a, b)
    np.testing.assert_allclose(mean, kernel(*a) + kernel(*b) - 2 * across, rtol=1e-6)
    assert deviation == 0
