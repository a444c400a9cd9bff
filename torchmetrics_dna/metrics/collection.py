"""SharedCollection: a collection whose metrics share the forward passes of their extractors."""

from __future__ import annotations

from typing import Any

from torchmetrics import MetricCollection

from torchmetrics_dna.extractors.sharing import leaders, one_pass


class SharedCollection(MetricCollection):
    """Collection of metrics, as torchmetrics' own, in which each extractor runs its network once a call, for all.

    Members share the passes of a :class:`DNAExtractor` that they were all given, and torchmetrics' FID, KID and others
    those of its ``pooled`` layers. Values are those of the metrics alone, and nothing is kept after a call.

    Example:
        >>> import torch
        >>> from torchmetrics.image.fid import FrechetInceptionDistance
        >>> from torchmetrics_dna import DNAEMD, DNAExtractor, SharedCollection
        >>> extractor = DNAExtractor(layers=["block_0"])
        >>> fid = FrechetInceptionDistance(extractor.pooled("block_0"))
        >>> metrics = SharedCollection({"dna-emd": DNAEMD(extractor), "fid_block_0": fid})
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> metrics.update(images, real=True)
        >>> metrics.update(images // 2, real=False)
        >>> sorted(metrics.compute())
        ['dna-emd', 'fid_block_0']

    """

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update each metric, or the first of each compute group."""
        with one_pass(leaders(self)):
            super().update(*args, **kwargs)

    def compute(self) -> dict[str, Any]:
        """Compute the value of each metric."""
        with one_pass(()):
            return super().compute()

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call ``forward`` of each metric, and return their values."""
        with one_pass(self.children()):
            values: dict[str, Any] = super().forward(*args, **kwargs)
        return values
