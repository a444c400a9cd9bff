"""Half precision: what it changes, and what it must not."""

from __future__ import annotations

import pytest
import skimage.data
import torch

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.functional import dna_emd
from torchmetrics_dna.statistics.setup import extractor_of

LAYERS = ["block_0", "block_6"]


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_half_precision_is_autocast(dtype: str | torch.dtype) -> None:
    photograph = torch.from_numpy(skimage.data.astronaut()).movedim(2, 0)[None]
    full, half = DNAExtractor(layers=LAYERS), DNAExtractor(layers=LAYERS, dtype=dtype)
    activations = half(photograph)
    for layer, values in full(photograph).items():
        assert activations[layer].dtype == getattr(torch, str(dtype).removeprefix("torch."))
        assert 1e-5 < float((activations[layer].float() - values).norm() / values.norm()) < 0.05
    assert half.weights_digest == full.weights_digest
    assert half.digest != full.digest
    dna_full, dna_half = make_dna(photograph, full), make_dna(photograph, half)
    assert 0 < float(dna_emd(dna_full.counts, dna_half.counts)) < 10
    with pytest.raises(ValueError, match="preparation"):
        dna_full.distances(dna_half)
    assert extractor_of(dna_half).digest == half.digest


@pytest.mark.parametrize("dtype", ["float64", torch.float32, "double", 16])
def test_other_precisions_are_refused(dtype: object) -> None:
    with pytest.raises(ValueError, match="`dtype` expected to be 'float16', 'bfloat16' or None, but got"):
        DNAExtractor(dtype=dtype)
