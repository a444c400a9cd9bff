"""MIND, CMMD and PRDC as metrics, whose states grow with the images: values, references, processes."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerator import Accelerator
from makers import EXTRACTOR, FAKE, REAL, alone
from networks import Pixels
from processes import run
from shards import MANY, agree
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.functional import cmmd, mind, prdc
from torchmetrics_dna.metrics import CMMD, MIND, PRDC

PRDC_NAMES = ["precision", "recall", "clipped-density", "clipped_coverage", "density", "coverage"]


def fed(metric: Metric, real: Tensor = REAL, fake: Tensor = FAKE) -> Metric:
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(4):
            metric.update(part, real=is_real)
    return metric


@pytest.mark.parametrize("layer", ["contrast", "mean"])
def test_values_are_of_the_spatial_means_of_a_layer(layer: str) -> None:
    def features(images: Tensor) -> Tensor:
        x = images.float()
        return (x[:, :, 1:] - x[:, :, :-1] if layer == "contrast" else x).mean((2, 3))

    sides = features(REAL), features(FAKE)
    for metric, expected in (
        (CMMD(EXTRACTOR, layer=layer), cmmd(*sides)),
        (MIND(EXTRACTOR, layer=layer, num_projections=9, seed=3), mind(*sides, num_projections=9, seed=3)),
        (PRDC(EXTRACTOR, layer=layer, nearest_k=2, metrics=PRDC_NAMES), prdc(*sides, nearest_k=2)),
    ):
        torch.testing.assert_close(fed(metric).compute(), expected, rtol=1e-4, atol=1e-6, check_dtype=False)
        torch.testing.assert_close(metric.features(True), sides[0], rtol=1e-6, atol=1e-5)


def test_a_state_dict_of_an_earlier_version_loads() -> None:
    """Version 0.3.0 saved rows as bytes."""
    metric, restored = fed(CMMD(EXTRACTOR)), CMMD(EXTRACTOR)
    for each in (metric, restored):
        each.persistent(True)
    saved = metric.state_dict()
    texts = [name for name, state in saved.items() if isinstance(state, str)]
    assert texts
    for name in texts:
        saved[name] = base64.b64decode(saved[name])
    restored.load_state_dict(saved)
    assert restored.compute() == metric.compute()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CMMD(EXTRACTOR, layer="edges"), "Unknown layer 'edges'; the layers of the extractor are: colours"),
        (lambda: PRDC(EXTRACTOR, nearest_k=0), "`nearest_k` expected to be an integer of at least 1"),
        (lambda: PRDC(EXTRACTOR, metrics=["density", "kid"]), "`metrics` .*, clipped-density, .*, but got 'kid'"),
        (lambda: PRDC(EXTRACTOR, metrics=[]), "`metrics` .*, clipped-density, .*, but got none"),
        (lambda: MIND(EXTRACTOR, num_projections=0), "`num_projections` expected to be an integer of at least 1"),
        (lambda: MIND(EXTRACTOR, seed=-1), "`seed` expected to be an integer of at least 0"),
        (lambda: MIND(layer="block_9"), "Unknown layer 'block_9'"),
    ],
)
def test_bad_arguments(call: Callable[[], Metric], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_prdc_gives_clipped_values_or_those_that_are_named() -> None:
    values = fed(PRDC(EXTRACTOR, nearest_k=2)).compute()
    assert list(values) == ["precision", "recall", "clipped_density", "clipped_coverage"]
    plain = fed(PRDC(EXTRACTOR, nearest_k=2, metrics=["density", "precision"])).compute()
    assert list(plain) == ["density", "precision"]
    assert plain["precision"] == values["precision"]
    assert fed(PRDC(EXTRACTOR, nearest_k=2, metrics="density")).compute() == plain["density"]


def test_an_empty_metric_takes_states_of_other_devices_to_its_own() -> None:
    with Accelerator():
        there, here = MIND(EXTRACTOR).to("cuda"), MIND(EXTRACTOR)
        there.update(REAL.to("cuda"), real=True)
        here.merge_state(there)
        assert here.features(True).device.type == here.real_features[0].device.type == "cpu"


def share_features(rank: int, world: int) -> None:
    """All three over processes, by a distributed sampler's shards, by shards that are missing, and compared."""
    views = DNAExtractor(Pixels(), layers=["mean", "colours:mean"])
    for kind in (MIND, CMMD, partial(PRDC, nearest_k=2, metrics="clipped_coverage")):

        def make(kind: Callable[..., Metric] = kind, **kwargs: object) -> Metric:
            return kind(views, **kwargs)

        # of 11 and 5 images, so that MIND draws from the larger side, which is in the order of one process
        alone_metric = alone(make, MANY, FAKE)
        for ranks in (world, world - 1):  # the last sees none
            metric = make()
            for images, real in ((MANY, True), (FAKE, False)):
                for part in images[rank::ranks].split(2) if rank < ranks else ():
                    metric.update(part, real=real)
            agree(metric.compute(), alone_metric.compute())
            assert torch.equal(metric.features(True), alone_metric.features(True))
            metric.reset()
            metric.update(MANY[rank : rank + 1], real=True)
            metric.update(FAKE[rank : rank + 1], real=False)
            agree(metric.compute(), alone(make, MANY[:world], FAKE[:world]).compute())
        gathered = make(dist_sync_fn=lambda tensor, group=None: gather_all_tensors(tensor, group))
        gathered.update(MANY[rank::world], real=True)
        gathered.update(FAKE[rank::world], real=False)
        agree(gathered.compute(), alone_metric.compute())
        referred = make(reference=alone_metric.to_features(True))
        referred.update(FAKE[rank::world], real=False)
        agree(referred.compute(), alone_metric.compute())
        on_step = make(dist_sync_on_step=True)
        on_step.update(MANY[rank::world], real=True)
        agree(on_step(FAKE[rank::world], real=False), alone_metric.compute())
    names = ("dna-emd", "mind", "cmmd")
    expected, comparison = (
        compare(MANY, FAKE, views, metrics=names, num_bins=20, distributed=distributed) for distributed in (False, True)
    )
    assert [comparison[name].value for name in names] == [expected[name].value for name in names]


def test_every_process_gets_the_value_of_one(tmp_path: Path) -> None:
    run(3, share_features)


@pytest.mark.parametrize("kind", [MIND, CMMD, partial(PRDC, nearest_k=2)])
def test_a_reference_is_the_real_side(kind: Callable[..., Metric], tmp_path: Path) -> None:
    make = partial(kind, EXTRACTOR)
    metric = fed(make(layer="colours"))
    features = metric.to_features(True)
    features.save(tmp_path / "real.features.npz")
    assert Features.load(tmp_path / "real.features.npz").digest == features.digest
    assert torch.equal(features.values, metric.features(True))
    for reference in (features, tmp_path / "real.features.npz"):
        other = make(reference=reference)
        assert (other.layer, other.reference.digest) == ("colours", features.digest)
        assert torch.equal(other.features(True), features.values)
        assert other.to_features(True) is other.reference
        for part in FAKE.split(2):
            other.update(part, real=False)
        assert other.compute() == metric.compute()
        other.reset()
        assert other(FAKE, real=False) == metric.compute()
    assert pickle.loads(pickle.dumps(other)).compute() == metric.compute()
    with pytest.raises(ValueError, match="images can only be added with `real=False`"):
        other.update(REAL, real=True)
    with pytest.raises(ValueError, match="`layer` is 'mean', but `reference` is of 'colours'"):
        make(layer="mean", reference=features)
    with pytest.raises(TypeError, match="`reference` expected to be Features"):
        make(reference=3)
    with pytest.raises(ValueError, match="expected 'features'"):
        make(reference=Path(__file__).parents[1] / "data" / "format_1" / "histogram.dna.npz")


def test_a_reference_brings_its_extractor() -> None:
    shallow = DNAExtractor(layers=["block_0"], input_size=32)
    metric = fed(MIND(shallow, num_projections=50))
    features = metric.to_features(True)
    other = MIND(reference=features, num_projections=50)
    assert list(other.extractor.neurons) == ["block_0"]
    with pytest.raises(ValueError, match="The given DNA and `feature` don't fit"):
        MIND(DNAExtractor(layers=["block_0"], input_size=32, crop="center"), reference=features)
    other.update(FAKE, real=False)
    assert other.compute() == metric.compute()
