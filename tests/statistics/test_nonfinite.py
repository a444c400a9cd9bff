"""Batches that an accelerator refuses by itself: their error, and the merging of notes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerator import Accelerator
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, DNAFrechet, LayerFrechetDistance


class Spoilt(nn.Module):
    """Network that gives NaN for images that are all white."""

    def forward(self, imgs: Tensor) -> dict[str, Tensor]:
        means = imgs.float().mean((2, 3)) / 255
        return {"fine": means, "spoilt": torch.where(means < 1, means, torch.nan)}


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
    monkeypatch.setattr("torchmetrics_dna.binning.counting.optional", lambda _: None)
    with Accelerator() as accelerator:
        yield accelerator


@pytest.fixture(
    params=[lambda: DNAEMD(Spoilt(), num_bins=20), lambda: DNAFrechet(Spoilt()), lambda: LayerFrechetDistance(Spoilt())]
)
def metric(request: pytest.FixtureRequest, accelerator: Accelerator) -> DNAEMD:
    return request.param().to("cuda")


def images(seed: int, count: int = 4) -> Tensor:
    values = torch.randint(0, 255, (count, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return values.to("cuda")


def white(count: int) -> Tensor:
    return torch.full((count, 3, 4, 4), 255, dtype=torch.uint8, device="cuda")


def test_merging_keeps_the_note(metric: DNAEMD) -> None:
    other = metric.clone()
    metric.update(images(0), real=True)
    metric.update(images(1), real=False)
    other.update(white(2), real=False)
    metric.merge_state(other)
    with pytest.raises(ValueError, match="batches of 2 images"):
        metric.compute()


def test_more_images_than_counts_of_64_bits_hold_are_an_error() -> None:
    metric = DNAEMD(Spoilt(), num_bins=20, ranges="auto")
    for real in (True, False):
        metric.update(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8), real=real)
    for doublings in (45, 18, 20):  # past 2**45, 2**63 and 2**64 images
        for _ in range(doublings):
            metric.merge_state(metric)
        with pytest.raises((OverflowError, RuntimeError), match=r"At most 1,099,511,627,776 images|but got 0 and 0"):
            metric.compute()
