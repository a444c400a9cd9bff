"""dna-emd and dna-fd as metrics of pyiqa, of two folders or of two batches of any numbers of images.

    import pyiqa, pyiqa_dna

    metric = pyiqa.create_metric("dna_emd")  # or with feature=, layers= of DNAExtractor
    print(metric("generated/", "photos/"), metric(generated, photos))  # tensors (B, 3, H, W) from 0 to 1
    print(metric.net.comparison.verdict)  # in words, with p-value and interval

The command `pyiqa` passes folders to its own fid only, and the images of others one by one: use `torchmetrics-dna`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pyiqa.default_model_configs import DEFAULT_CONFIGS
from pyiqa.models.inference_model import InferenceModel
from pyiqa.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor, compare

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison

of_images = InferenceModel.forward


@ARCH_REGISTRY.register()
class DNADistance(nn.Module):
    """A distance of two sets of images; `comparison` is the last result."""

    def __init__(self, distance: str, **network: Any) -> None:
        super().__init__()
        self.distance = distance
        self.extractor = DNAExtractor(**network)
        self.comparison: Comparison | None = None

    def forward(self, images: str | Tensor, reference: str | Tensor, **options: Any) -> Tensor:
        """Compare images with a reference; options are those of `compare`."""
        self.comparison = compare(reference, images, self.extractor, metrics=self.distance, **options)
        return torch.tensor(self.comparison[self.distance].value, dtype=torch.float64)


def of_sets(self: InferenceModel, target: Any, ref: Any = None, **options: Any) -> Any:
    """Pass folders on: pyiqa opens them as images, unless the metric's name contains fid."""
    if isinstance(self.net, DNADistance) and not isinstance(target, Tensor):
        return self.net(target, ref, **options)
    return of_images(self, target, ref, **options)


InferenceModel.forward = of_sets
for name in ("dna_emd", "dna_fd"):
    DEFAULT_CONFIGS[name] = {
        "metric_opts": {"type": "DNADistance", "distance": name.replace("_", "-")},
        "metric_mode": "FR",
        "lower_better": True,
        "score_range": "0, ~",
    }
