"""ActivationRange: against numpy, under torchmetrics' contract, in collections and real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN
from makers import EXTRACTOR, FAKE, REAL
from torch import Tensor

from torchmetrics_dna import DNAEMD, ActivationRange, ActivationRanges, DNAExtractor, DNAFrechet
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.resize import resize_image

BRIGHT = FAKE + 128  # reaches further than REAL // 2, and less far at the other end


def learned(*batches: Tensor, **kwargs: object) -> ActivationRange:
    metric = ActivationRange(EXTRACTOR, **kwargs)
    for batch in batches:
        metric.update(batch)
    return metric


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_official_ranges_end_to_end(default_extractor: DNAExtractor) -> None:
    metric = ActivationRange(default_extractor, normalize=True, margin="scale")
    for side in "ab":
        images = [resize_image(image, (224, 224)) for image in open_source(GOLDEN / "endtoend" / side)]
        metric.update(torch.from_numpy(np.stack(images)))
    ranges, official = metric.to_ranges(), ActivationRanges.load(GOLDEN / "endtoend" / "activation_ranges.json")
    assert (ranges.neurons, ranges.margin) == (official.neurons, official.margin)
    for layer, layer_slice in official.neurons.slices.items():
        # another processor's float32 arithmetic
        rounding = 1e-5 * float(official.maximum[layer_slice].abs().max())
        np.testing.assert_allclose(
            ranges.minimum[layer_slice], official.minimum[layer_slice], rtol=0, atol=rounding, err_msg=layer
        )
        np.testing.assert_allclose(
            ranges.maximum[layer_slice], official.maximum[layer_slice], rtol=0, atol=rounding, err_msg=layer
        )


def test_ranges_have_the_margin_and_serve_a_histogram(tmp_path: Path) -> None:
    scaled, widened = (learned(REAL, margin=margin).to_ranges() for margin in ("scale", "widen"))
    assert (scaled.margin, widened.margin) == ("scale", "widen")
    assert torch.equal(scaled.minimum, widened.minimum)
    assert widened.digest == ActivationRanges.observe(EXTRACTOR(REAL)).digest
    assert learned(REAL).to_ranges().margin == "widen"
    scaled.save(tmp_path / "ranges.json")
    metric = DNAEMD(EXTRACTOR, ranges=tmp_path / "ranges.json")
    metric.update(REAL, real=True)
    assert metric.to_dna(True).ranges.digest == scaled.digest
    frechet = DNAFrechet(EXTRACTOR, statistics="activations", ranges=widened)
    frechet.update(REAL, real=True)
    assert frechet.to_dna(True).num_images == 6
    for margin in ("auto", 0.2):
        with pytest.raises(ValueError, match=rf"`margin` .* one of 'scale', 'widen', but got {margin!r}"):
            learned(margin=margin)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_images_are_an_error() -> None:
    for metric in (learned(), learned(REAL)):
        metric.reset()
        for call in (metric.compute, metric.to_ranges):
            with pytest.raises(RuntimeError, match="At least one image is required .* but got 0"):
                call()
    metric.update(BRIGHT)
    assert same(metric.compute(), learned(BRIGHT).compute())
