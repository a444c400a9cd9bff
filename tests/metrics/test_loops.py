"""Metrics in users' loops that torch compiles, or runs in inference mode, or captures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from accelerator import Accelerator
from makers import CLASSES, EXTRACTOR, FAKE, MAKERS, REAL, emd, fed, realism
from torch import Tensor, nn
from torchmetrics import Metric

from torchmetrics_dna import DNAFrechet
from torchmetrics_dna.metrics import CMMD


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
    monkeypatch.setattr("torchmetrics_dna.binning.counting.optional", lambda _: None)
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
    monkeypatch.setattr("torchmetrics_dna.binning.counting.optional", lambda _: None)
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
