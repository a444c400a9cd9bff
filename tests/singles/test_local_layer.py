"""Which layer local scores look at, where images are not square."""

from __future__ import annotations

import torch
from networks import Outputs
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.statistics.outliers import local_layer


def grids(imgs: Tensor) -> dict[str, Tensor]:
    """One layer whose rows are 8 pixels apart, and one whose columns are by another measure."""
    pixels = imgs.float()
    return {"pooled": pixels.mean((2, 3)), "wide": pixels[:, :, ::8, ::4], "tall": pixels[:, :, ::2, ::32]}


def test_rows_are_measured_by_the_height() -> None:
    extractor = DNAExtractor(Outputs(grids), input_size=(40, 160), layers=["pooled", "tall", "wide"])
    layers = extractor(torch.zeros(1, 3, 40, 160, dtype=torch.uint8))
    assert [tuple(values.shape[2:]) for values in layers.values()] == [(), (20, 5), (5, 40)]
    assert local_layer(extractor) == "wide"


def test_a_network_may_take_floats_alone() -> None:
    assert local_layer(DNAExtractor(nn.Conv2d(5, 4, 3), channels=5)) == "output"
