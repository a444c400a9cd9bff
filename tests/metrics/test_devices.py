"""Every metric on an accelerator: `update` only queues work, values are the CPU's, and bad batches are told later.

The accelerator is one that the CPU stands in for, and where there is a GPU, that one, under torch's own watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from accelerator import Accelerator
from forms import FORMS, values
from makers import FAKE, REAL, emd, frechet, self_ranging_emd
from shards import CROWD, CROWD_FAKE
from torch import Tensor, nn
from torchmetrics import Metric

from torchmetrics_dna import DNAEMD, DNAExtractor


class Gpu:
    """The same interface for a GPU, by torch's own debug mode."""

    @contextmanager
    def never_waits(self) -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator | Gpu]:
    if request.param == "gpu":
        yield Gpu()
        return
    monkeypatch.setattr("torchmetrics_dna.binning.counting.optional", lambda _: None)  # kernels have tests of their own
    with Accelerator() as accelerator:
        yield accelerator


@pytest.mark.parametrize("form", FORMS)
def test_update_never_waits_and_bad_images_are_an_error_until_reset(form: str, device: Accelerator | Gpu) -> None:
    """Values are the CPU's."""
    make, feed = FORMS[form].make, FORMS[form].feed
    on_device, on_cpu = make(normalize=True).to("cuda"), make(normalize=True)
    bad = FAKE / 255
    bad[1, 2, 3, 4] = 1.5
    good = [(REAL / 255, True), (FAKE / 255, False), (FAKE // 2 / 255, False)]
    for imgs, real in (*good[:2], (bad, False), good[2]):
        sent = imgs.to("cuda")
        on_device.to("cuda")  # again, with what it holds now
        # the first batch of a side sends what stays there
        with nullcontext() if on_device.update_count < 2 else device.never_waits():
            feed(on_device, sent, real)
        if imgs is not bad:
            feed(on_cpu, imgs, real)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Layer '\w+' gave .* batches of 5 images.*must lie in \[0, 1\].*reset"):
            on_device.compute()
    merged = make(normalize=True).to("cuda")
    merged.merge_state(on_device)
    with pytest.raises(ValueError, match="batches of 5 images"):
        merged.compute()
    on_device.reset()
    for imgs, real in good:
        feed(on_device, imgs.to("cuda"), real)
    for value, expected in zip(values(on_device), values(on_cpu), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("make", "weighted"), [(emd, True), (self_ranging_emd, False), (frechet, True)])
def test_evidence_is_that_of_the_cpu(
    make: Callable[..., Metric], weighted: bool, device: Accelerator | Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distances between unions of folds, the jackknife and the test, with weights too."""
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 19)
    weights = torch.linspace(0, 2, make().neurons.total) if weighted else None
    on_device, on_cpu = make(num_folds=5, neuron_weights=weights).to("cuda"), make(num_folds=5, neuron_weights=weights)
    for metric in (on_device, on_cpu):
        for imgs, real in ((CROWD, True), (CROWD_FAKE, False)):
            metric.update(imgs.to(metric.device), real=real)
    evidence, expected = on_device.evidence(), on_cpu.evidence()
    assert evidence.test.p_value == expected.test.p_value
    for name in ("low", "high", "value"):
        assert getattr(evidence.interval, name) == pytest.approx(getattr(expected.interval, name), rel=1e-9)
    torch.testing.assert_close(evidence.neurons.cpu(), expected.neurons, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(evidence.layers.cpu(), expected.layers, rtol=1e-9, atol=1e-12)


class Shifted(nn.Module):
    def forward(self, points: Tensor, step: Tensor) -> Tensor:
        return points * 0.5 + (step % 5)[:, None, None] * 0.25


def test_update_with_other_inputs_never_waits(device: Accelerator | Gpu) -> None:
    batch = {"points": torch.arange(120.0).reshape(5, 6, 4) / 8, "step": torch.arange(5) * 37}
    on_device, on_cpu = (
        DNAEMD(DNAExtractor(Shifted(), inputs="any", example=batch, channels_last=True)) for _ in range(2)
    )
    on_device.to("cuda")
    for turn, real in enumerate((True, False, False)):
        batch["step"] = batch["step"] + turn
        sent = {name: part.to("cuda") for name, part in batch.items()}
        with device.never_waits() if turn == 2 else nullcontext():
            on_device.update(sent, real=real)
        on_cpu.update(batch, real=real)
    torch.testing.assert_close(on_device.compute().cpu(), on_cpu.compute(), rtol=1e-9, atol=1e-12)
