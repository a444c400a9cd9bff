"""Weights of a module that trains on: what was counted with others is never counted, merged or compared together."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from accelerator import Accelerator
from makers import FAKE, REAL
from processes import run
from torch import Tensor, nn
from torchmetrics import Metric

from torchmetrics_dna import (
    DNAEMD,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    make_dna,
)
from torchmetrics_dna.extractors import watch
from torchmetrics_dna.extractors.watch import digest_of
from torchmetrics_dna.metrics import CMMD, MIND

MAKERS: dict[str, Callable[..., Metric]] = {
    "emd": lambda extractor, **kwargs: DNAEMD(extractor, ranges="auto", num_bins=16, **kwargs),
    "frechet": DNAFrechet,
    "layer_frechet": LayerFrechetDistance,
    "mind": MIND,
    "cmmd": CMMD,
}
every_metric = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


class Trained(nn.Module):
    """Network of a convolution and a batch norm, in any precision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, imgs: Tensor) -> Tensor:
        return self.norm(self.conv(imgs.to(self.conv.weight.dtype)))


class Scaled(nn.Module):
    """Network of one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(3))

    def forward(self, imgs: Tensor) -> Tensor:
        return imgs.float().mean((2, 3)) * self.scale


def digest(module: nn.Module) -> str:
    return DNAExtractor(module).weights_digest


def train(module: Trained) -> None:
    module.conv.weight.data.mul_(2)  # unseen by torch's counter, as many moving averages write


def fed(metric: Metric) -> Metric:
    metric.update(REAL, real=True)
    metric.update(FAKE, real=False)
    return metric


@every_metric
def test_what_was_counted_with_other_weights_is_refused_until_reset(make: Callable[..., Metric]) -> None:
    module = Trained()
    metric, one_sided = fed(make(DNAExtractor(module))), make(DNAExtractor(module))
    one_sided.update(REAL, real=True)
    value, before = metric.compute(), digest(module)
    train(module)
    differ = f"weights .* differ: '{before}' and '{digest(module)}'; call `reset`"
    for call in (metric.update, metric):
        with pytest.raises(ValueError, match=f"Images of the fake side .* {differ} first"):
            call(FAKE, real=False)
    metric._computed = None
    assert torch.equal(metric.compute(), value), "nothing was added"
    one_sided.update(FAKE, real=False)
    for copy in (one_sided, one_sided.clone(), pickle.loads(pickle.dumps(one_sided))):
        with pytest.raises(ValueError, match=f"The sides can't be compared, their {differ}"):
            copy.compute()
    for incoming in (metric, metric.metric_state):
        with pytest.raises(ValueError, match=f"their weights .* differ: '{digest(module)}' and '{before}'"):
            fed(make(DNAExtractor(module))).merge_state(incoming)
    metric.reset()
    assert torch.equal(fed(metric).compute(), fed(make(DNAExtractor(module))).compute())


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.conv.weight.detach().mul_(2),
        lambda module: module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()}),
        lambda module: module.norm.running_mean.add_(1),
        lambda module: module.double(),
    ],
)
def test_any_change_of_weights_is_seen(change: Callable[[Trained], object]) -> None:
    module = Trained()
    metric = fed(DNAFrechet(DNAExtractor(module)))
    change(module)
    with pytest.raises(ValueError, match="Images of the fake side .* weights .* differ"):
        metric.update(FAKE, real=False)


def test_a_side_that_reset_keeps_is_of_its_weights() -> None:
    module = Trained()
    metric = fed(DNAFrechet(DNAExtractor(module), reset_real_features=False))
    train(module)
    metric.reset()
    with pytest.raises(ValueError, match="Images of the real side were counted .*; make a new metric"):
        metric.update(REAL, real=True)
    metric.update(FAKE, real=False)
    with pytest.raises(ValueError, match="The sides can't be compared"):
        metric.compute()


def test_a_dna_is_of_the_weights_that_its_images_were_counted_with() -> None:
    module = Trained()
    before, metric = digest(module), DNAEMD(DNAExtractor(module), ranges="auto", num_bins=16, num_folds=5)
    metric.update(REAL, real=True)
    features = MIND(DNAExtractor(module))
    features.update(REAL, real=True)
    metric.persistent(True)
    train(module)
    restored = DNAEMD(DNAExtractor(module), ranges="auto", num_bins=16, num_folds=5)
    restored.load_state_dict(metric.state_dict())
    merged = DNAEMD(DNAExtractor(module), ranges="auto", num_bins=16, num_folds=5)
    merged.merge_state(metric.metric_state)
    for each in (metric, restored, merged):
        dna = each.to_dna(True)
        assert {dna.weights_digest, *(fold.weights_digest for fold in dna.folds)} == {before}
        assert each.to_dna(False).weights_digest == digest(module), "of no images"
        with pytest.raises(ValueError, match=f"differ: '{before}' and '{digest(module)}'"):
            each.update(REAL, real=True)
    assert features.to_features(True).weights_digest == before


def test_states_that_were_reduced_without_a_check_are_an_error() -> None:
    module = Trained()
    old, new = DNAFrechet(DNAExtractor(module)), DNAFrechet(DNAExtractor(module))
    old.update(REAL, real=True)
    train(module)
    new.update(REAL, real=True)
    for a, b in ((new, new), (new, DNAFrechet(DNAExtractor(module)))):
        assert torch.equal(torch.maximum(a.real_identity, b.real_identity), new.real_identity)
    new.real_identity = torch.maximum(old.real_identity, new.real_identity)
    with pytest.raises(ValueError, match="other weights or settings were added without a check"):
        new.to_dna(True)


@pytest.mark.parametrize("kind", ["histogram", "layer-gaussian"])
def test_a_reference_is_of_the_weights_it_was_made_with(kind: str) -> None:
    module = Trained()
    extractor = DNAExtractor(module)
    reference = make_dna(REAL, extractor, kind=kind)
    metrics = [DNARealism(extractor, reference=reference)]
    metrics.append((DNAEMD if kind == "histogram" else LayerFrechetDistance)(extractor, reference=reference))
    train(module)
    for metric in metrics:
        with pytest.raises(ValueError, match="The reference was made with other weights, their weights .* differ"):
            metric.update(FAKE, **({} if isinstance(metric, DNARealism) else {"real": False}))


def test_on_a_device_update_waits_for_no_weights() -> None:
    with Accelerator() as accelerator:
        module = Scaled()
        metric, images = DNAFrechet(DNAExtractor(module)).to("cuda"), REAL.to("cuda")
        metric.update(images, real=True)
        with accelerator.never_waits():
            metric.update(images, real=True)
        assert metric.to_dna(True).num_images == 2 * len(REAL)
        module.scale.mul_(2)
        with pytest.raises(ValueError, match="Images of the real side were counted with other weights"):
            metric.update(images, real=True)


def of_processes(rank: int, world: int) -> None:
    """Ranks of one side each, with other weights; ranks of both, one of which trained in between."""
    module = Trained()
    if rank:
        train(module)
    metric = DNAFrechet(DNAExtractor(module))
    metric.update(REAL, real=rank == 0)
    with pytest.raises(ValueError, match="The sides can't be compared, their weights"):
        metric.compute()
    module = Trained()
    metric = DNAFrechet(DNAExtractor(module))
    metric.update(REAL, real=True)
    if rank == 1:
        train(module)
    metric.update(FAKE, real=False)
    with pytest.raises(RuntimeError, match=r"The sides can't be compared, .*\(process 1\)"):
        metric.compute()
    assert not metric._is_synced


def test_every_process_tells_what_one_counted_with_other_weights() -> None:
    run(2, of_processes)


@pytest.mark.parametrize("has_learned", [False, True])
@every_metric
def test_a_value_needs_no_digest_of_weights(
    make: Callable[..., Metric], has_learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update takes one where weights have changed; `compute` and the like none, in any loop."""
    digests: list[int] = []
    monkeypatch.setattr(watch, "digest_of", lambda tensors: digests.append(1) or digest_of(tensors))
    metric = make(extractor := DNAExtractor(module := Trained()))
    for step in range(3):
        if step:
            train(module)
            metric.reset()
        digests.clear()
        fed(metric)
        assert len(digests) == min(step, 1), "the first was taken when the metric was made"
        digests.clear()
        if has_learned:
            train(module)
        metric.compute()
        metric(FAKE, real=False) if not has_learned else None
        metric.compute()
        with metric.sync_context():
            pass
        assert not digests
    assert extractor.weights_digest == digest(module)
