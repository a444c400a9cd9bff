"""Features of images, as a statistic of a job."""

from __future__ import annotations

import torch

from torchmetrics_dna.jobs.features import SpatialMeans
from torchmetrics_dna.neurons import Neurons


def test_features_are_means_of_the_last_layer() -> None:
    features = SpatialMeans.of_last_layer(Neurons({"first": 3, "last": 3}))
    images, side = torch.rand(5, 3, 4, 2), features.empty("cpu")
    for batch in images.split(2):
        features.add_(side, [{"first": batch * 0, "last": batch}], len(batch))
    torch.testing.assert_close(features.value(side), images.mean((2, 3)))
    assert features.value(side).dtype == torch.float32
