"""Batches that an accelerator refuses by itself, here with the CPU in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, DNAFrechet
from torchmetrics_dna.binning.histogram import finite_layers


class Spoilt(nn.Module):
    """Gives NaN for images that are all white."""

    def forward(self, imgs: Tensor) -> dict[str, Tensor]:
        means = imgs.float().mean((2, 3)) / 255
        return {"fine": means, "spoilt": torch.where(means < 1, means, torch.nan)}


def emd() -> DNAEMD:
    extractor = DNAExtractor(Spoilt())
    ends = torch.zeros(6).double(), torch.ones(6).double()
    return DNAEMD(extractor, num_bins=20, ranges=ActivationRanges(*ends, extractor.neurons))


METRICS = {"emd": emd, "frechet": lambda: DNAFrechet(Spoilt())}


@pytest.fixture(params=METRICS)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], DNAEMD | DNAFrechet]:
    for module in ("histogram", "moments"):
        monkeypatch.setattr(
            f"torchmetrics_dna.tally.{module}.screen", lambda activations, _: finite_layers(activations)
        )
    return METRICS[request.param]


def images(seed: int, count: int = 4) -> Tensor:
    return torch.randint(0, 255, (count, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_what_is_fine_counts_as_on_the_cpu(make: Callable[[], DNAEMD], monkeypatch: pytest.MonkeyPatch) -> None:
    screened = make()
    screened.update(images(0), real=True)
    screened.update(images(1), real=False)
    monkeypatch.undo()
    plain = make()
    plain.update(images(0), real=True)
    plain.update(images(1), real=False)
    assert torch.equal(screened.compute(), plain.compute())
    assert screened.to_dna(True).num_images == 4


def test_a_bad_batch_is_left_out_and_told_when_the_state_is_read(make: Callable[[], DNAEMD]) -> None:
    metric = make()
    metric.update(images(0), real=True)
    metric.update(images(1), real=False)
    good = metric.compute()
    before = {name: state.clone() for name, state in metric.metric_state.items()}
    bad = torch.cat([images(2), torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)])
    metric.update(bad, real=False)  # no error yet
    for _ in range(2):
        with pytest.raises(
            ValueError, match="Layer 'spoilt' gave activations that are NaN or infinite for batches of 5 "
        ):
            metric.compute()
    assert metric.to_dna(True).num_images == 4
    with pytest.raises(ValueError, match="and reset"):
        metric.to_dna(False)
    for name, state in metric.metric_state.items():  # nothing but the note has changed
        changed = (state != before[name]).sum()
        assert changed == (1 if name.startswith("fake") else 0)
    metric.reset()
    metric.update(images(0), real=True)
    metric.update(images(1), real=False)
    assert torch.equal(metric.compute(), good)


def test_merging_keeps_the_note(make: Callable[[], DNAEMD]) -> None:
    one, other = make(), make()
    one.update(images(0), real=True)
    one.update(images(1), real=False)
    other.update(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8), real=False)
    one.merge_state(other)
    with pytest.raises(ValueError, match="batches of 2 images"):
        one.compute()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [DNAEMD, DNAFrechet])
def test_update_never_waits_for_the_device(make: Callable[..., DNAEMD]) -> None:
    metric = make().to("cuda")
    batch = images(0).cuda()
    metric.update(batch, real=True)  # the first one moves what stays there
    torch.cuda.set_sync_debug_mode("error")
    try:
        metric.update(batch, real=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert metric.compute() >= 0
