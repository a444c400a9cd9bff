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

every_form = pytest.mark.parametrize("form", FORMS)


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


@every_form
def test_update_never_waits_and_finds_what_the_cpu_finds(form: str, device: Accelerator | Gpu) -> None:
    make, feed = FORMS[form].make, FORMS[form].feed
    on_device, on_cpu = make().to("cuda"), make()
    for turn, (imgs, real) in enumerate([(REAL, True), (FAKE, False), (FAKE // 2, False)]):
        sent = imgs.to("cuda")
        with device.never_waits() if turn == 2 else nullcontext():  # the first ones send what stays there
            feed(on_device, sent, real)
        feed(on_cpu, imgs, real)
    for value, expected in zip(values(on_device), values(on_cpu), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


@every_form
def test_bad_images_are_left_out_and_told_once_when_the_state_is_read(form: str, device: Accelerator | Gpu) -> None:
    make, feed = FORMS[form].make, FORMS[form].feed
    metric = make(normalize=True).to("cuda")
    for imgs, real in ((REAL, True), (FAKE, False)):
        feed(metric, (imgs / 255).to("cuda"), real)
    good = values(metric)
    before = {name: state.clone() for name, state in metric.metric_state.items() if isinstance(state, Tensor)}
    imgs = FAKE / 255
    imgs[1, 2, 3, 4] = 1.5
    imgs = imgs.to("cuda")
    with device.never_waits():
        feed(metric, imgs, False)
    with pytest.raises(ValueError, match=r"Layer '\w+' gave .* batches of 5 images.*must lie in \[0, 1\].*go on"):
        metric.compute()
    for name, state in before.items():
        assert torch.equal(metric.metric_state[name].cpu(), state.cpu())
    for _ in range(2):
        for value, expected in zip(values(metric), good, strict=True):
            assert torch.equal(value, expected)
        metric.reset()
        for imgs, real in ((REAL, True), (FAKE, False)):
            feed(metric, (imgs / 255).to("cuda"), real)


@pytest.mark.parametrize("make", [emd, self_ranging_emd, frechet])
@pytest.mark.parametrize("weighted", [False, True])
def test_evidence_is_that_of_the_cpu(
    make: Callable[..., Metric], weighted: bool, device: Accelerator | Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distances between unions of folds, the jackknife and the test, with weights too."""
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
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
