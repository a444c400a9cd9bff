"""Every metric on an accelerator: `update` only queues work, values are the CPU's, and bad batches are told later.

The accelerator is one that the CPU stands in for, and where there is a GPU, that one, under torch's own watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from accelerator import Accelerator
from makers import EXTRACTOR, FAKE, MAKERS, ONE_SIDED, REAL, emd, frechet, realism, with_reference
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import CMMD, MIND, make_dna
from torchmetrics_dna.metrics import PRDC

CLASSES = ["a", "b", "a", "c", "c", "a"]
Feed = Callable[[Metric, Tensor, bool], None]


def plainly(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=real)


def one_sided(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs)


def only_fake(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=False)


def in_order(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, indices=torch.arange(len(imgs)) + 100 * real)


def classed(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=real, classes=CLASSES[: len(imgs)])


def grouped(metric: Metric, imgs: Tensor, real: bool) -> None:
    metric.update(imgs, real=real, groups=list("aabbca")[: len(imgs)])


def contrasted(**kwargs: object) -> Metric:
    return realism(contrast=make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=realism().reference.ranges), **kwargs)


def some_neurons(**kwargs: object) -> Metric:
    return realism(neuron_weights=torch.tensor([0, 0.5, 0, 0, 0, 0, 0.2, 0, 0.3]), **kwargs)


FORMS: dict[str, tuple[Callable[..., Metric], Feed]] = {
    **{name: (make, plainly) for name, make in MAKERS.items()},
    **{name: (make, one_sided) for name, make in ONE_SIDED.items()},
    "emd with reference": (lambda **kwargs: with_reference("emd", **kwargs), only_fake),
    "realism with indices": (ONE_SIDED["contrasted_realism"], in_order),
    "realism, contrast": (contrasted, one_sided),
    "realism, some neurons": (some_neurons, one_sided),
    "emd by class": (lambda **kwargs: emd(classes=list("abc"), reduction="class", **kwargs), classed),
    "auto emd by class": (lambda **kwargs: emd(classes=list("abc"), ranges="auto", **kwargs), classed),
    "frechet by class": (lambda **kwargs: frechet(classes=list("abc"), **kwargs), classed),
    "emd in folds": (lambda **kwargs: emd(num_folds=5, **kwargs), grouped),
    "auto emd in folds": (lambda **kwargs: emd(num_folds=5, ranges="auto", **kwargs), grouped),
    "frechet in folds": (lambda **kwargs: frechet(num_folds=5, **kwargs), grouped),
    "mind": (lambda **kwargs: MIND(EXTRACTOR, layer="contrast", num_projections=5, **kwargs), plainly),
    "mind of histograms": (lambda **kwargs: MIND(EXTRACTOR, num_projections=5, num_bins=50, **kwargs), plainly),
    "cmmd": (lambda **kwargs: CMMD(EXTRACTOR, **kwargs), plainly),
    "prdc": (lambda **kwargs: PRDC(EXTRACTOR, nearest_k=2, **kwargs), plainly),
}
every_form = pytest.mark.parametrize("form", FORMS)


class Gpu:
    """The same watch over a real one."""

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


def values(metric: Metric) -> list[Tensor]:
    found = metric.compute()
    return [value.cpu() for value in found.values()] if isinstance(found, dict) else [found.cpu()]


@every_form
def test_update_never_waits_and_finds_what_the_cpu_finds(form: str, device: Accelerator | Gpu) -> None:
    make, feed = FORMS[form]
    there, here = make().to("cuda"), make()
    for turn, (imgs, real) in enumerate([(REAL, True), (FAKE, False), (FAKE // 2, False)]):
        sent = imgs.to("cuda")
        with device.never_waits() if turn == 2 else nullcontext():  # the first ones send what stays there
            feed(there, sent, real)
        feed(here, imgs, real)
    for value, expected in zip(values(there), values(here), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"emd with reference", "self_ranging_frechet", "cmmd", "prdc"}))
def test_bad_images_are_left_out_and_told_when_the_state_is_read(form: str, device: Accelerator | Gpu) -> None:
    make, feed = FORMS[form]
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
    for _ in range(2):
        with pytest.raises(ValueError, match=r"NaN or infin.*must lie in \[0, 1\].*reset|Expected finite features"):
            metric.compute()
    for name, state in before.items():  # nothing but the notes: one for each layer, in three classes or folds
        changed = int((metric.metric_state[name] != state).sum())
        assert changed == 0 or (changed in (1, 3, 9) and name.startswith(("fake", "seen")))
    metric.reset()
    for imgs, real in ((REAL, True), (FAKE, False)):
        feed(metric, (imgs / 255).to("cuda"), real)
    for value, expected in zip(values(metric), good, strict=True):
        assert torch.equal(value, expected)
