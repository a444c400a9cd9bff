"""Collections: states are shared where that is right, and nowhere else; the network runs once."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import pytest
import torch
from accelerator import Accelerator
from makers import (
    EXTRACTOR,
    FAKE,
    MAKERS,
    RANGES,
    REAL,
    activation_range,
    emd,
    fed,
    frechet,
    frechet_of_activations,
    realism,
    with_reference,
)  # fmt: skip
from networks import Convolutions, Pixels
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.wrappers import FeatureShare, MetricTracker
from torchmetrics.wrappers.abstract import WrapperMetric

from torchmetrics_dna import DNAEMD, ActivationRanges, DNAExtractor, DNAFrechet, SharedCollection
from torchmetrics_dna.metrics import CMMD, MIND


def grouped(**metrics: object) -> list[set[str]]:
    collection = MetricCollection(metrics)
    # an empty picture gives most states the same numbers, whatever the settings
    collection.update(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), real=False)
    return [set(group) for group in collection.compute_groups.values() if len(group) > 1]


def of_convolutions(bias: float) -> DNAFrechet:
    net = Convolutions()
    nn.init.constant_(net.classifier.bias, bias)  # not even read by the layer
    return DNAFrechet(DNAExtractor(net, layers=["stem"], input_size=8))


def test_metrics_that_differ_in_how_they_read_a_state_share_it() -> None:
    groups = grouped(
        mean=emd(),
        layer=emd(reduction="layer"),
        weighted=emd(neuron_weights=torch.ones(9)),
        gaussian=frechet_of_activations(),
        means=frechet(),
        means_by_layer=frechet(reduction="layer"),
        auto=emd(ranges="auto"),
        auto_gaussian=MAKERS["self_ranging_frechet"](reduction="none"),
        mind=MIND(EXTRACTOR),
        cmmd=CMMD(EXTRACTOR),
        ranges=activation_range(),
        ranges_again=activation_range(),
        scores=realism(),
        scores_again=realism(),
        network=of_convolutions(0),
        network_again=of_convolutions(0),
    )
    assert {frozenset(group) for group in groups} == {
        frozenset({"mean", "layer", "weighted", "gaussian"}),
        frozenset({"means", "means_by_layer"}),
        frozenset({"auto", "auto_gaussian"}),
        frozenset({"mind", "cmmd"}),
        frozenset({"ranges", "ranges_again"}),
        frozenset({"scores", "scores_again"}),
        frozenset({"network", "network_again"}),
    }


@pytest.mark.parametrize(
    ("make_a", "make_b"),
    [
        (lambda: of_convolutions(0), lambda: of_convolutions(1)),
        (emd, lambda: emd(reset_real_features=False)),
        (frechet, lambda: frechet(reset_real_features=False)),
        (emd, lambda: emd(num_bins=41)),
        (emd, lambda: emd(ranges=ActivationRanges(RANGES.minimum, RANGES.maximum, RANGES.neurons, "scale"))),
        (emd, lambda: emd(ranges="auto")),
        (frechet, lambda: DNAFrechet(Pixels(), layers=["mean", "contrast", "colours"])),
        (lambda: with_reference("emd"), lambda: with_reference("emd", FAKE)),
        (lambda: with_reference("frechet"), lambda: with_reference("frechet", FAKE)),
        (lambda: with_reference("emd"), emd),
        (activation_range, lambda: activation_range(margin="scale")),
        (realism, lambda: realism(neuron_weights=torch.eye(9)[0])),
    ],
)
def test_other_metrics_never_share(make_a: object, make_b: object) -> None:
    assert grouped(a=make_a(), b=make_b()) == []


@pytest.mark.parametrize("kind", [MetricCollection, SharedCollection])
def test_a_collection_gives_what_its_metrics_give_alone(kind: type[MetricCollection]) -> None:
    makers = {**MAKERS, "layers": lambda: emd(reduction="layer")}
    collection = kind({name: make() for name, make in makers.items()})
    for _ in range(2):  # formed groups behave as unformed ones
        collection.reset()
        collection.update(REAL[:4], real=True)
        collection.update(REAL[4:], real=True)
        collection.update(FAKE, real=False)
        results = collection.compute()
        for name, make in MAKERS.items():
            torch.testing.assert_close(results[name], fed(make()).compute(), rtol=1e-12, atol=0)
        layers = fed(emd(reduction="layer")).compute()
        assert {layer: results[layer] for layer in layers} == layers
    values = collection(FAKE, real=False)
    assert values["emd"] == results["emd"]
    assert collection["emd"].to_dna(False).num_images == 2 * len(FAKE)
    assert collection["frechet_of_activations"].to_dna(False).num_images == 2 * len(FAKE)
    clone = collection.clone(prefix="val/")
    assert set(clone.compute()) == {f"val/{key}" for key in collection.compute()}


@pytest.fixture(autouse=True)
def few_objects() -> Iterator[None]:
    """Let the garbage collector look at what a test makes alone, not at all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


class Passes:
    """Counter of the passes of batches through an extractor's network, with weak references to their outputs."""

    def __init__(self, extractor: DNAExtractor) -> None:
        self.count = 0
        self.alive: list[weakref.ref[np.ndarray]] = []
        extractor.images_at_once = 100  # so that a batch is one pass
        extractor.network.register_forward_hook(self)

    def __call__(self, _module: object, _args: object, output: dict[str, Tensor]) -> dict[str, Tensor]:
        if len(output["mean"]) == 1:  # the input of a fingerprint
            return output
        self.count += 1
        # arrays live exactly as long as the memory of tensors made from them, however many views there are
        arrays = {layer: values.numpy().copy() for layer, values in output.items()}
        self.alive = [weakref.ref(array) for array in arrays.values()]
        return {layer: torch.from_numpy(array) for layer, array in arrays.items()}

    def nothing_is_held(self) -> bool:
        gc.collect()
        return all(value() is None for value in self.alive)


def four_metrics(extractor: DNAExtractor) -> dict[str, object]:
    return {
        "emd": DNAEMD(extractor, ranges=RANGES),
        "frechet": DNAFrechet(extractor),
        "fid": FrechetInceptionDistance(extractor.pooled("contrast")),
        "kid": KernelInceptionDistance(extractor.pooled("colours"), subsets=2, subset_size=3),
    }


def test_one_pass_for_all_members_and_nothing_is_held_after_it() -> None:
    extractor = DNAExtractor(Pixels())
    passes = Passes(extractor)
    metrics = four_metrics(extractor)
    collection = SharedCollection(metrics | {"again": DNAEMD(extractor, ranges=RANGES)})
    buffer = torch.empty_like(REAL)
    for i, (imgs, real) in enumerate([(REAL, True), (REAL // 2, False), (REAL // 3, False)], start=1):
        buffer.copy_(imgs)
        collection.update(buffer, real=real)
        assert passes.count == i
        assert passes.nothing_is_held()
    assert {"emd", "again"} in map(set, collection.compute_groups.values())
    clones = {name: metric.clone() for name, metric in four_metrics(DNAExtractor(Pixels())).items()}
    for name, metric in clones.items():
        metric.update(REAL, real=True)
        metric.update(torch.cat([REAL // 2, REAL // 3]), real=False)
        if name != "kid":  # draws subsets
            torch.testing.assert_close(collection[name].compute(), metric.compute(), rtol=1e-6, atol=1e-9)


def test_a_collection_instead_of_metrics_needs_a_newer_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = SharedCollection({"emd": DNAEMD(DNAExtractor(Pixels()), ranges=RANGES)})
    monkeypatch.setattr("torchmetrics_dna.metrics.collection._TORCHMETRICS", (1, 6))
    assert list(SharedCollection([inner])) == ["emd"]
    with pytest.raises(ValueError, match="needs torchmetrics 1.8 or newer, but .* pass a list"):
        SharedCollection(inner)


class Beside(WrapperMetric):
    """Member of a collection that does something else than asking for activations."""

    def __init__(self, act: Callable[[Tensor], object], metric: Metric | None = None) -> None:
        super().__init__()
        self.act, self.metric = act, metric

    def update(self, imgs: Tensor, real: bool) -> None:
        self.act(imgs)

    def compute(self) -> Tensor:
        return torch.zeros(())


@pytest.mark.parametrize(
    "other",
    [lambda _: Beside(lambda _: 1 / 0), lambda extractor: Beside(lambda _: None, DNAFrechet(extractor))],
    ids=["fails", "skips"],
)
def test_nothing_is_held_where_a_member_never_asks(other: Callable[[DNAExtractor], Metric]) -> None:
    extractor = DNAExtractor(Pixels())
    passes = Passes(extractor)
    members = {"a": DNAEMD(extractor, ranges=RANGES), "b": other(extractor), "c": DNAFrechet(extractor)}
    collection = SharedCollection(members, compute_groups=False)
    for turn in range(1, 3):
        with suppress(ZeroDivisionError):
            collection.update(REAL, real=True)
        assert passes.nothing_is_held()
        assert passes.count == turn
        members["c"].update(REAL, real=True)
        assert passes.nothing_is_held()
        extractor(REAL)
        assert passes.nothing_is_held()
        passes.count = turn


@pytest.mark.parametrize(
    ("wrapped", "on_device"), [(SharedCollection, False), (SharedCollection, True), (MetricTracker, False)]
)
def test_images_rewritten_unseen_are_other_images(wrapped: Callable[[Any], SharedCollection], on_device: bool) -> None:
    with Accelerator() if on_device else nullcontext():
        extractor = DNAExtractor(Pixels())
        metrics = {"mean": DNAEMD(extractor, ranges=RANGES), "gaussian": DNAFrechet(extractor)}
        collection = SharedCollection(metrics).to("cuda" if on_device else "cpu")
        tracked: Any = wrapped(collection if wrapped is MetricTracker else [collection])
        if isinstance(tracked, MetricTracker):
            tracked.increment()
        separate = DNAEMD(EXTRACTOR, ranges=RANGES)
        separate.update(REAL[:5], real=True)
        separate.update(FAKE, real=False)
        buffer = REAL[:5].clone().to("cuda" if on_device else "cpu")
        tracked.update(buffer, real=True)
        memory = buffer.on_cpu if on_device else buffer
        with torch.inference_mode():
            memory.numpy()[:] = FAKE.numpy()  # as DLPack, a CUDA graph or `.data` would
        tracked.update(buffer, real=False)
        expected = separate.compute().item()
        assert expected > 1
        assert tracked.compute()["mean"].item() == pytest.approx(expected, rel=1e-12)


def test_weights_that_change_are_seen() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, imgs: Tensor) -> Tensor:
            return imgs.float().mean((2, 3)) * self.factor

    network = Scaled()
    extractor = DNAExtractor(network)

    def double(_: Tensor) -> None:
        network.factor.data.mul_(2)

    first, second = DNAFrechet(extractor), DNAFrechet(extractor)
    collection = SharedCollection({"a": first, "b": Beside(double), "c": second}, compute_groups=False)
    collection.update(REAL, real=True)
    means = [metric.to_dna(True).mean for metric in (first, second)]
    torch.testing.assert_close(2 * means[0], means[1])


def test_forward_and_copies_share_as_well() -> None:
    extractor = DNAExtractor(Pixels())
    passes = Passes(extractor)
    collection = SharedCollection(four_metrics(extractor))
    collection.update(REAL, real=True)
    for turn, each in enumerate((collection, collection.clone()), start=2):
        each.update(FAKE, real=False)
        assert passes.count == turn
    extractor.network._forward_hooks.clear()
    loaded = pickle.loads(pickle.dumps(collection))
    passes = Passes(loaded["emd"].extractor)
    loaded.update(FAKE, real=False)
    assert passes.count == 1
    passes = Passes(extractor)
    SharedCollection({"emd": DNAEMD(extractor, ranges=RANGES), "frechet": DNAFrechet(extractor)})(REAL, real=True)
    assert passes.count == 1
    growing = SharedCollection([])
    with pytest.raises(ValueError, match="has no metrics"):
        growing.update(REAL, real=True)
    growing.add_metrics([DNAFrechet(extractor)])
    growing.update(REAL, real=True)  # of one, which shares with none
    assert passes.count == 2
    assert passes.nothing_is_held()


@pytest.mark.filterwarnings("ignore:The network to share between the metrics is not the same")
def test_feature_share_is_an_error_that_names_the_remedy() -> None:
    metrics = four_metrics(DNAExtractor(Pixels()))
    for names in (("fid", "kid"), ("emd", "frechet"), ("fid", "emd")):
        with pytest.raises(RuntimeError, match="use `torchmetrics_dna.SharedCollection`"):
            FeatureShare([metrics[name] for name in names])


def test_importing_changes_no_class_of_torchmetrics() -> None:
    assert MetricCollection.update.__module__ == MetricCollection.forward.__module__ == "torchmetrics.collections"
    assert not hasattr(MetricCollection.update, "__wrapped__")
