"""Images of one channel are repeated where a network takes RGB; a user's own network gets what it takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchmetrics_dna import DNAEMD, DNAExtractor, DNARealism, compare
from torchmetrics_dna.demo import photographs

GREY = torch.from_numpy(photographs(8)[0]).permute(2, 0, 1)[:1].unfold(2, 64, 16).permute(2, 0, 1, 3)[:6].contiguous()


def test_grey_images_are_those_with_three_equal_channels() -> None:
    extractor, plain = (DNAExtractor(layers=["block_0"], input_size=64, **one) for one in ({"channels": 1}, {}))
    assert extractor.digest == plain.digest
    rgb = GREY.expand(-1, 3, -1, -1)
    expected = plain(rgb)["block_0"]
    assert torch.equal(extractor(GREY)["block_0"], expected)
    assert torch.equal(extractor(rgb)["block_0"], expected)  # as files are read
    with_properties = DNAExtractor(layers=["block_0"], input_size=64, channels=1, properties=True)
    assert torch.equal(with_properties(GREY)["properties"], with_properties(rgb)["properties"])
    grey, colour = DNAEMD(extractor), DNAEMD(plain)
    for metric, images in ((grey, GREY), (colour, rgb)):
        metric.update(images[:3], real=True)
        metric.update(images[3:], real=False)
    assert grey.compute() == colour.compute()
    assert (grey.to_dna(real=True) + colour.to_dna(real=True)).num_images
    scores = DNARealism(extractor, reference=colour.to_dna(real=True))
    scores.update(GREY)
    assert len(scores.compute()) == 6
    assert compare(rgb, colour.to_dna(real=True), extractor, metrics=["dna-emd"], num_folds=None).num_images["a"] == 6


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("size", [None, 8])
def test_own_networks_get_what_they_take(channels: int, size: int | None) -> None:
    network = nn.Conv2d(channels, 4, 3, bias=False)
    extractor = DNAExtractor(network, channels=channels, input_size=size, mean=[0.5] * channels, std=[2.0] * channels)
    images = torch.rand(3, channels, 8, 8)
    (output,) = extractor(images).values()
    torch.testing.assert_close(output, network((images - 0.5) / 2).detach(), rtol=1e-5, atol=1e-6)
    metric = DNAEMD(extractor, normalize=True, ranges="auto")
    metric.update(images, real=True)
    metric.update(images, real=False)
    assert metric.compute() == 0
    assert extractor.preparation["channels"] == channels
    with pytest.raises(ValueError, match=rf"\(B, {channels}, H, W\), but got \(3, 7, 8, 8\)"):
        metric.update(torch.rand(3, 7, 8, 8), real=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 4}, "`channels` expected to be 1 or 3 for efficientnet_lite0, which takes RGB, but got 4; give"),
        ({"channels": 0}, "`channels` expected to be a positive integer, but got 0"),
        ({"feature": nn.Conv2d(2, 3, 1), "channels": 2, "properties": True}, "`properties` is for RGB images, but"),
        ({"feature": nn.Conv2d(2, 3, 1), "channels": 2, "mean": [1.0]}, r"`mean` expected to have 2 numbers, but got"),
    ],
)
def test_channels_that_do_not_fit(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DNAExtractor(**arguments)  # type: ignore[arg-type]
