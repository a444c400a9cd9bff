"""Every metric on an accelerator, which the CPU stands in for, and on a GPU; in loops that are compiled or captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from accelerator import Accelerator
from forms import FORMS, values
from makers import CLASSES, EXTRACTOR, FAKE, MAKERS, REAL, emd, fed, frechet, realism, self_ranging_emd
from shards import CROWD, CROWD_FAKE
from torch import Tensor, nn
from torchmetrics import Metric

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet
from torchmetrics_dna.metrics import CMMD


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
def device(request: pytest.FixtureRequest) -> Iterator[Accelerator | Gpu]:
    if request.param == "gpu":
        yield Gpu()
        return
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


@pytest.mark.outer  # importing torch's compiler takes seconds
def test_a_compiled_loop_goes_around_update_and_compute() -> None:
    metric, expected = emd(), fed(emd())

    def step(images: Tensor, real: bool) -> Tensor:
        brighter = images + 1
        metric.update(brighter - 1, real=real)
        return brighter.float().mean()

    with pytest.raises(torch._dynamo.exc.Unsupported, match="torch.compiler.disable"):
        torch.compile(step, backend="eager", fullgraph=True)(REAL, True)
    torch._dynamo.reset()
    compiled = torch.compile(step, backend="eager")
    for images, real in ((REAL, True), (FAKE, False)):
        assert compiled(images, real) == (images + 1).float().mean()
    assert torch.equal(metric.real_counts, expected.real_counts)
    assert metric.compute() == expected.compute()


@pytest.mark.parametrize("make", CLASSES.values())
def test_in_inference_mode_and_out_of_it(make: Callable[..., Metric]) -> None:
    with torch.inference_mode():
        metric = make()
        metric.update(REAL.clone(), real=True)
    metric.update(FAKE, real=False)
    expected = fed(make()).compute()
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-12, atol=0)
    with torch.inference_mode():
        metric.reset()
        metric(REAL.clone(), real=True)
    metric(FAKE, real=False)
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("make", "more"),
    [(realism, {}), (lambda: CMMD(EXTRACTOR), {"real": True}), (lambda: emd(num_folds=5), {"real": True})],
)
def test_a_graph_does_not_capture_what_the_host_does(
    make: Callable[[], Metric], more: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = make()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"A CUDA graph can't capture `update`.*call `update` outside of the graph"):
        metric.update(REAL, **more)
    emd().update(REAL, real=True)  # which is captured


def test_folds_by_content_wait_once_and_before_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with Accelerator() as accelerator:
        metric, images = emd(num_folds=5).to("cuda"), REAL.to("cuda")
        metric.update(images, real=True)
        waits_before: list[int] = []

        def watched(_: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
            waits_before.append(len(accelerator.waits))
            return outputs

        monkeypatch.setattr(metric.extractor.network, "each_pass", watched)
        accelerator.waits.clear()
        metric.update(FAKE.to("cuda", non_blocking=True), real=False)
    assert accelerator.waits == ["_to_copy between host and device"]
    assert waits_before == [1, 1]  # of the fingerprint, and of the batch


@pytest.mark.parametrize("name", ["emd", "self_ranging_frechet", "layer_frechet"])
def test_without_float64_the_network_runs_there_and_the_cpu_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("metrics.base", "images.properties", "images.resize"):
        monkeypatch.setattr(f"torchmetrics_dna.{module}.lacks_float64", lambda device: device.type == "cuda")
    expected = fed(MAKERS[name]()).compute()
    with Accelerator(float64=False):
        metric = MAKERS[name]().to("cuda")
        assert metric.device.type == "cpu"
        devices: list[tuple[int, str]] = []

        def watched(imgs: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
            devices.append((len(imgs), imgs.device.type))
            return outputs

        monkeypatch.setattr(metric.extractor.network, "each_pass", watched)
        fed(metric, REAL.to("cuda"), FAKE.to("cuda"))
        assert metric.compute() == expected
        network = nn.Conv2d(3, 4, 3)
        moved = DNAFrechet(network, normalize=True).to("cuda")
        assert (network.weight.device.type, moved.device.type) == ("cuda", "cpu")
    fingerprints = [(1, "cpu")]  # of a network without tensors
    assert devices == [*fingerprints, (len(REAL), "cuda"), *fingerprints, (len(FAKE), "cuda"), *fingerprints]


@pytest.mark.parametrize("name", ["emd", "self_ranging_emd", "layer_frechet"])
def test_counting_takes_little_beside_activations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.binning.activations._DEVICE_CHUNK", 1 << 14)  # a 256th of what it is
    images = torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8)
    with Accelerator() as accelerator:
        metric, on_device = MAKERS[name]().to("cuda"), images.to("cuda")
        metric.update(on_device, real=True)
        activations = sum(x.untyped_storage().nbytes() for x in metric.extractor(on_device).values())
        accelerator.rest()
        metric.update(on_device, real=False)
        extra = accelerator.peak - activations
    assert activations > 0
    assert extra < 3 * 8 * (1 << 14) + 2e5  # three numbers of 64 bits for each value of a chunk
