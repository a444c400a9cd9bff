"""Published metrics by layers of the packaged network, instead of three large ones that are not at hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchmetrics_dna.dna.distances import DISTANCES, Protocol, all_published


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Let all protocols take the packaged network, with and without a crop."""
    layers = {"inception_fid": {"block_3": "block_1", "spatial": "block_0", "logits": "head"}}
    for name, record in all_published().items():
        feature, layer, crop = record.protocol
        protocol = Protocol("efficientnet_lite0", layers.get(feature, {}).get(layer, "block_2"), crop)
        small, of_any = replace(record, protocol=protocol), DISTANCES[name]
        patch.setitem(DISTANCES, name, small if of_any is record else replace(of_any, published=small))
