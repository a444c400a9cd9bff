"""What activations depend on is part of their identity, and what is not leaves them as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from threading import Event
from typing import Any

import numpy as np
import pytest
import timm
import torch
from limits import HANG
from networks import random_images
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, LayerFrechetDistance, make_dna
from torchmetrics_dna.dna import HistogramDNA

IMAGES = random_images(4, 0, (20, 30))
OPTIONS: dict[str, Any] = {"layers": ["stem", "body"], "input_size": 16, "mean": (0.5,) * 3, "std": (0.5,) * 3}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.stem, self.body = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.register_buffer("shift", torch.zeros(4))
        self.register_buffer("factor", torch.ones(4), persistent=False)

    def forward(self, imgs: Tensor) -> Tensor:
        return self.body((self.stem(imgs).mean((2, 3)) + self.shift) * self.factor)


def changed(change: Callable[[Net], object] | None = None, **options: Any) -> DNAExtractor:
    """The extractor of the reference, but for one thing."""
    network = Net()
    if change is not None:
        change(network)
    return DNAExtractor(network, **OPTIONS | options)


CHANGES: dict[str, tuple[Callable[[], DNAExtractor], str, str]] = {
    "weights": (lambda: changed(lambda net: net.stem.weight.data.mul_(2)), "weights (digest)", ""),
    "buffer": (lambda: changed(lambda net: net.shift.add_(1)), "weights (digest)", ""),
    "buffer that is not saved": (lambda: changed(lambda net: net.factor.mul_(2)), "weights (digest)", ""),
    "bfloat16": (lambda: changed(lambda net: net.bfloat16()), "weights (digest)", "bfloat16 weights"),
    "double": (lambda: changed(lambda net: net.double()), "weights (digest)", "float64 weights"),
    "autocast": (lambda: changed(dtype="bfloat16"), "(dtype)", "'none' and 'bfloat16'"),
    "size": (lambda: changed(input_size=(16, 15)), "(input_size)", "[16, 16] and [16, 15]"),
    "crop": (lambda: changed(crop="center"), "(crop)", "'none' and 'center'"),
    "resize": (lambda: changed(resize="pillow"), "(resize)", "'clean' and 'pillow'"),
    "mean": (lambda: changed(mean=(0.5, 0.5, 0.4)), "(mean)", "[0.5, 0.5, 0.5] and [0.5, 0.5, 0.4]"),
    "std": (lambda: changed(std=(0.5, 0.4, 0.5)), "(std)", "[0.5, 0.5, 0.5] and [0.5, 0.4, 0.5]"),
    "no mean": (lambda: changed(mean=None), "(mean)", "[0.5, 0.5, 0.5] and 'none'"),
    "view": (lambda: changed(layers=["stem:mean", "body"]), "", "stem:mean"),
    "layer": (lambda: changed(layers=["stem"]), "", "body"),
    "class": (lambda: DNAExtractor(nn.Sequential(Net()), **OPTIONS | {"layers": ["0.stem"]}), "", "'Sequential'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_activations_depend_on_is_never_compared_with_another(name: str) -> None:
    make, word, values = CHANGES[name]
    reference = make_dna(IMAGES, changed(), ranges="auto", num_bins=16)
    other = make()
    if "digest" in word:
        assert values in (str(other.preparation["dtype"]), "")
        values = f"'{reference.weights_digest}' and '{other.weights_digest}'"
    fakes = make_dna(IMAGES, other, ranges="auto", num_bins=16)
    message = f"{re.escape(word)}.*{re.escape(values)}"
    with pytest.raises(ValueError, match=message):
        reference.distances(fakes)
    if name not in ("view", "layer"):  # layers are taken from the reference
        with pytest.raises(ValueError, match=message):
            DNAEMD(other, reference=reference)
    metric, other_metric = (DNAEMD(each, ranges="auto", num_bins=16) for each in (changed(), other))
    for each in (metric, other_metric):
        each.update(IMAGES, real=True)
    with pytest.raises(ValueError, match="Can't merge the states of these metrics, their "):
        metric.merge_state(other_metric)


def test_the_same_is_compared_with_the_same() -> None:
    reference = make_dna(IMAGES, changed(), ranges="auto", num_bins=16)
    again = changed(mean=torch.tensor([0.5, 0.5, 0.5]), std=np.full(3, 0.5), input_size=np.int64(16))
    assert again.preparation == changed().preparation
    assert not reference.distances(make_dna(IMAGES, again, ranges="auto", num_bins=16)).any()


@contextmanager
def _set(function: Callable[[Any], object], value: object, before: object) -> Iterator[None]:
    function(value)
    try:
        yield
    finally:
        function(before)


def _set_backends(precisions: Iterable[str]) -> None:
    backends: Any = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    for backend, precision in zip(backends, precisions, strict=True):
        backend.fp32_precision = precision


def _by_backend() -> AbstractContextManager[None]:
    backends: Any = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    return _set(_set_backends, ["bf16"] * 2, [backend.fp32_precision for backend in backends])


def _precision(name: str) -> AbstractContextManager[None]:
    return _set(torch.set_float32_matmul_precision, name, torch.get_float32_matmul_precision())


def _matmul() -> object:
    """The precision that the process is set to."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return torch.backends.mkldnn.matmul.fp32_precision


CONTEXTS = {
    "medium": lambda _: _precision("medium"),
    "high": lambda _: _precision("high"),
    "by backend": lambda _: _by_backend(),
    "autocast": lambda _: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda _: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "training": lambda network: _set(network.train, True, False),
    "grad": lambda _: torch.enable_grad(),
    "inference": lambda _: torch.inference_mode(),
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("of_timm", [False, True])
def test_what_the_process_is_set_to_changes_no_activation(context: str, of_timm: bool) -> None:
    if context == "by backend" and not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("torch has no settings by backend yet")
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=2)
    extractor = DNAExtractor(network, layers=["blocks.0", "norm"]) if of_timm else changed()
    expected, digest = extractor(IMAGES), extractor.digest
    within: list[object] = []
    extractor.network.register_forward_hook(lambda *_: within.append(_matmul()))
    with CONTEXTS[context](extractor.network):
        before = _matmul()
        again = DNAEMD(extractor, ranges="auto", num_bins=16)
        again.update(IMAGES, real=True)
        activations = extractor(IMAGES)
        assert extractor.digest == digest
        assert _matmul() == before
    assert set(within) <= {"highest", "ieee", "none"}  # also where the processor has nothing faster
    assert within
    for layer, values in activations.items():
        assert values.dtype == torch.float32
        assert torch.equal(values, expected[layer])


def test_a_model_of_timm_has_one_identity_by_name_tag_or_as_a_module() -> None:
    network = timm.create_model("resnet10t", pretrained=False)
    module = DNAExtractor(network, layers=["layer1"])
    by_tag = DNAExtractor(deepcopy(network), layers=["layer1"])
    by_tag.name = "resnet10t.c3_in1k"  # whose weights are not here
    a, b = (dna_of(extractor) for extractor in (module, by_tag))
    assert not a.distances(b).any()
    metric = DNAEMD(module, reference=b)
    metric.update(IMAGES, real=False)
    assert metric.compute() == 0
    by_timm = DNAExtractor(timm.create_model("resnet10t", pretrained=False), layers=["layer1"])
    with pytest.raises(ValueError, match="weights"):
        a.distances(dna_of(by_timm))


def dna_of(extractor: DNAExtractor) -> HistogramDNA:
    metric = DNAEMD(extractor, ranges="auto", num_bins=16)
    metric.update(IMAGES, real=True)
    return metric.to_dna(True)


def test_moments_of_a_layer_are_a_reference_for_those_of_neurons() -> None:
    full, plain = LayerFrechetDistance(changed()), DNAFrechet(changed())
    for metric in (full, plain):
        metric.update(IMAGES, real=True)
        metric.update(IMAGES // 2, real=False)
    with_reference = DNAFrechet(changed(), reference=full.to_dna(True))
    with_reference.update(IMAGES // 2, real=False)
    torch.testing.assert_close(with_reference.compute(), plain.compute(), rtol=1e-6, atol=0)


class _Waiting(Net):
    def __init__(self, before: Event, after: Event) -> None:
        super().__init__()
        self.events = before, after

    def forward(self, imgs: Tensor) -> Tensor:
        before, after = self.events
        if len(imgs) > 1:
            before.set()
            assert after.wait(HANG)
        return super().forward(imgs)


def test_settings_of_the_process_are_restored_whatever_threads_do() -> None:
    """Each network has a lock of its own, so passes of two overlap."""

    def settings() -> list[object]:
        backends: Any = torch.backends
        each = [backends.cuda.matmul]
        # torch has these since 2.9
        for backend, operator in ((backends.cudnn, "conv"), (backends.mkldnn, "matmul"), (backends.mkldnn, "conv")):
            each.append(getattr(backend, operator, None))
        return [_matmul(), backends.cudnn.allow_tf32, *(getattr(backend, "fp32_precision", "") for backend in each)]

    first, second, done = Event(), Event(), Event()
    with _precision("medium"):
        before = settings()
        expected = changed()(IMAGES)
        # `one` begins, `two` begins, `one` ends, `two` runs and ends
        one = DNAExtractor(_Waiting(first, second), **OPTIONS)
        two = DNAExtractor(_Waiting(second, done), **OPTIONS)
        with ThreadPoolExecutor(2) as threads:
            a = threads.submit(one, IMAGES)
            assert first.wait(HANG)
            b = threads.submit(two, IMAGES)
            outputs = [a.result()]
            done.set()
            outputs.append(b.result())
        assert settings() == before
    for activations in outputs:
        assert all(torch.equal(values, expected[layer]) for layer, values in activations.items())


def test_a_named_network_is_float32_whatever_its_parent_is_built_in() -> None:
    expected = DNAExtractor(layers=["block_0"])
    torch.set_default_dtype(torch.bfloat16)
    try:
        extractor = DNAExtractor(layers=["block_0"])
    finally:
        torch.set_default_dtype(torch.float32)
    assert extractor.digest == expected.digest
