"""A loader whose order may differ from process to process is read by one process."""

from __future__ import annotations

import torch
from networks import pixels, random_images
from torch.utils.data import DataLoader, TensorDataset

from torchmetrics_dna import make_dna

EXTRACTOR, RANGES = pixels()


def test_a_shuffled_loader() -> None:
    images = random_images(9, 0)
    torch.manual_seed(0)
    shuffled = make_dna(DataLoader(TensorDataset(images), 4, shuffle=True), EXTRACTOR, ranges=RANGES)
    assert shuffled.digest == make_dna(images.permute(0, 2, 3, 1).numpy(), EXTRACTOR, ranges=RANGES).digest
