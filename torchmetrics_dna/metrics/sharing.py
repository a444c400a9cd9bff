"""What metrics on an extractor have in common: one network for all of them, in nobody's hands but the extractor's."""

from __future__ import annotations

from typing import Any

from torchmetrics import Metric

from torchmetrics_dna.extractors import DNAExtractor


class ExtractorMetric(Metric):
    """A metric over the activations of an extractor, whose forward pass others may share."""

    higher_is_better: bool = False
    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float = 0.0
    feature_network: str = "extractor"
    extractor: DNAExtractor

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.extractor.share_with(self)

    def __setattr__(self, name: str, value: Any) -> None:
        # torchmetrics' FeatureShare would put another metric's network here; the extractor shares its passes itself
        if name == self.feature_network and not isinstance(value, DNAExtractor):
            return
        super().__setattr__(name, value)
