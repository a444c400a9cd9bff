"""MIND and CMMD as metrics: what torchmetrics asks of every metric, of states that grow with the images."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from golden import load
from makers import alone
from networks import Outputs, Pixels, pixels, random_images
from processes import run
from shards import MANY, agree
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.distributed import gather_all_tensors

from torchmetrics_dna import CMMD, MIND, DNAExtractor, DNAFrechet, compare
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.functional import cmmd, mind

EXTRACTOR, _ = pixels()
REAL, FAKE, MORE = random_images(6, 0), random_images(5, 1) // 2, random_images(7, 5)
CLASSES = (MIND, CMMD)


@pytest.fixture(params=CLASSES)
def make(request: pytest.FixtureRequest) -> Callable[..., Metric]:
    return lambda **kwargs: request.param(EXTRACTOR, **kwargs)


def fed(metric: Metric, real: Tensor = REAL, fake: Tensor = FAKE) -> Metric:
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(4):
            metric.update(part, real=is_real)
    return metric


def means(images: Tensor) -> Tensor:
    return images.float().mean((2, 3))


def test_it_is_the_function_of_the_features(make: Callable[..., Metric]) -> None:
    function = mind if isinstance(make(), MIND) else cmmd
    torch.testing.assert_close(fed(make()).compute(), function(means(REAL), means(FAKE)), rtol=1e-6, atol=0)
    metric = fed(make(layer="colours"))
    assert torch.equal(metric.features(True), fed(make()).features(True)), "colours are those pixels, before the mean"
    torch.testing.assert_close(metric.features(False), means(FAKE), rtol=1e-6, atol=0)
    contrast = fed(make(layer="contrast"))
    expected = [(x.float()[:, :, 1:] - x.float()[:, :, :-1]).mean((2, 3)) for x in (REAL, FAKE)]
    torch.testing.assert_close(contrast.compute(), function(*expected), rtol=1e-4, atol=0)


class Lookup:
    """Images whose features are those of the golden file, and their extractor."""

    def __init__(self, sides: str) -> None:
        golden = load("published.npz")
        features = [torch.from_numpy(golden[f"features_{side}-{sides}"]) for side in "12"]
        table, numbers = torch.cat(features), torch.arange(sum(map(len, features)))
        digits = torch.stack([numbers % 256, numbers // 256, numbers * 0], 1)
        self.images = digits[:, :, None, None].to(torch.uint8).split([len(side) for side in features])
        self.features = features
        places = torch.tensor([1, 256, 0])[:, None, None]
        self.extractor = DNAExtractor(Outputs(lambda imgs: table[(imgs * places).sum((1, 2, 3))]))


@pytest.mark.parametrize("sides", "ab")
def test_published_values(sides: str) -> None:
    golden, given = load("published.npz"), Lookup(sides)
    metrics = fed(MetricCollection([MIND(given.extractor), CMMD(given.extractor)]), *given.images)
    found = metrics.compute()
    assert float(found["MIND"]) == pytest.approx(float(golden[f"mind-{sides}-M1000"]), rel=1e-6)
    assert float(found["CMMD"]) == pytest.approx(float(golden[f"cmmd-{sides}"]), rel=1e-6)


def test_compare_gives_the_same(make: Callable[..., Metric]) -> None:
    metric = fed(make())
    a, b = (np.ascontiguousarray(images.permute(0, 2, 3, 1)) for images in (REAL, FAKE))
    name = type(metric).__name__.lower()
    found = compare(list(a), list(b), EXTRACTOR, metrics=[name])
    assert found[name].value == pytest.approx(float(metric.compute()), rel=1e-12)


def test_forward_is_update_and_the_distance_of_the_batch(make: Callable[..., Metric]) -> None:
    metric = make()
    assert metric(REAL, real=True).isnan(), "the fake side is empty"
    assert metric(FAKE, real=False) == fed(make()).compute()
    assert metric(MORE, real=False) == fed(make(), REAL, MORE).compute()
    assert torch.equal(metric.features(False), means(torch.cat([FAKE, MORE]))), "in the order in which they came"
    assert metric.compute() == fed(make(), REAL, torch.cat([FAKE, MORE])).compute()
    assert metric.update_count == 3


def test_reset(make: Callable[..., Metric]) -> None:
    metric = fed(make())
    metric.reset()
    assert [len(metric.features(real)) for real in (True, False)] == [0, 0]
    metric.update(REAL, real=True)
    with pytest.raises(RuntimeError, match="At least one image is required .* to compute (mind|cmmd), .* 6 and 0"):
        metric.compute()
    kept = fed(make(reset_real_features=False))
    kept.reset()
    assert [len(kept.features(real)) for real in (True, False)] == [6, 0]
    kept.update(MORE, real=False)
    assert kept.compute() == fed(make(), REAL, MORE).compute()


def test_merging_states_is_updating_with_both(make: Callable[..., Metric]) -> None:
    one, other = fed(make(), REAL, FAKE[:2]), fed(make(), MORE, FAKE[2:])
    expected = fed(make(), torch.cat([REAL, MORE]), FAKE).compute()
    stale = one.compute()
    for incoming in (other, other.metric_state):
        merged = one.clone()
        merged.merge_state(incoming)
        assert merged.compute() == expected != stale
    assert len(other.features(False)) == 3, "the other metric is as it was"
    for wrong in (make(layer="colours"), make(normalize=True), DNAFrechet(EXTRACTOR)):
        with pytest.raises(ValueError, match="Can't merge the states of these metrics, their .* differ"):
            one.merge_state(wrong)


def test_devices_and_precision(make: Callable[..., Metric]) -> None:
    metric = fed(make())
    expected = metric.compute()
    metric.set_dtype(torch.float16)
    assert metric.compute() == expected
    assert metric.features(True).dtype == torch.float32
    assert fed(make(compute_on_cpu=True)).compute() == expected
    moved = metric.to("meta")
    assert all(part.is_meta for part in moved.real_features)
    if torch.cuda.is_available():
        there = fed(make().to("cuda"), REAL.cuda(), FAKE.cuda())
        assert float(there.compute()) == pytest.approx(float(expected), rel=1e-9)


def test_one_pass_and_one_state_for_both() -> None:
    runs: list[int] = []

    def network(imgs: Tensor) -> Tensor:
        runs.append(len(imgs))
        return imgs.float().mean((2, 3))

    extractor = DNAExtractor(Outputs(network))
    runs.clear()
    metrics = MetricCollection({"mind": MIND(extractor), "cmmd": CMMD(extractor), "fd": DNAFrechet(extractor)})
    for _ in range(2):
        metrics.reset()
        fed(metrics)
        assert sum(runs) == 11
        runs.clear()
        found = metrics.compute()
        assert (found["mind"], found["cmmd"]) == (fed(MIND(EXTRACTOR)).compute(), fed(CMMD(EXTRACTOR)).compute())
    assert sorted(map(sorted, metrics.compute_groups.values())) == [["cmmd", "mind"], ["fd"]]


def test_plot(make: Callable[..., Metric]) -> None:
    mpl.use("Agg")
    metric = fed(make())
    assert metric.plot([metric.compute(), metric.compute()])[0] is not None


def test_errors(make: Callable[..., Metric]) -> None:
    metric = fed(make())
    before = metric.compute()
    broken = DNAExtractor(Outputs(lambda x: x.float().mean((2, 3)) / (x.float().amax((1, 2, 3)) > 0)[:, None]))
    other = type(metric)(broken)
    other.update(REAL, real=True)
    with pytest.raises(ValueError, match="'output'"):
        other.update(torch.cat([REAL, REAL * 0]), real=True)
    assert len(other.features(True)) == 6, "nothing was added"
    for call, message in (
        (lambda: metric.update(REAL, real=1), "Argument `real` expected to be a bool"),
        (lambda: metric.update(REAL / 255, real=True), "expected to be uint8"),
        (
            lambda: make(layer="edges"),
            "Unknown layer 'edges'; the layers of the extractor are: colours, contrast",
        ),
        (lambda: make(normalize=1), "`normalize` expected to be a bool"),
        (lambda: make(reset_real_features=1), "`reset_real_features` expected to be a bool"),
        (lambda: MIND(EXTRACTOR, num_projections=0), "`num_projections` expected to be an integer of at least 1"),
        (lambda: MIND(EXTRACTOR, seed=-1), "`seed` expected to be an integer of at least 0"),
        (lambda: MIND(layer="block_9"), "Unknown layer 'block_9'"),
        (lambda: make(foo=1), "Unexpected keyword arguments: `foo`"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert metric.compute() == before


def test_constants(make: Callable[..., Metric]) -> None:
    metric = make()
    assert (metric.higher_is_better, metric.is_differentiable, metric.full_state_update) == (False, False, False)
    assert metric.plot_lower_bound == 0


def share_features(rank: int, world: int) -> None:
    """MIND and CMMD over processes, by a distributed sampler's shards, by shards that are missing, and compared."""
    views = DNAExtractor(Pixels(), layers=["mean", "colours:mean"])
    for kind in (MIND, CMMD):

        def make(kind: type[Metric] = kind, **kwargs: object) -> Metric:
            return kind(views, **kwargs)

        # of 11 and 5 images, so that MIND draws from the larger side, which is in the order of one process
        one = alone(make, MANY, FAKE)
        for ranks in (world, world - 1):  # the last sees none
            metric = make()
            for images, real in ((MANY, True), (FAKE, False)):
                for part in images[rank::ranks].split(2) if rank < ranks else ():
                    metric.update(part, real=real)
            before = {name: list(state) for name, state in metric.metric_state.items()}
            agree(metric.compute(), one.compute())
            assert torch.equal(metric.features(True), one.features(True))
            for name, state in before.items():
                assert all(map(torch.equal, metric.metric_state[name], state)), "the local state is back"
            metric.sync()
            assert len(metric._rows(True)) == len(MANY)
            metric.unsync()
            assert len(metric._rows(True)) == len(MANY[rank::ranks] if rank < ranks else [])
            metric.reset()
            metric.update(MANY[rank : rank + 1], real=True)
            metric.update(FAKE[rank : rank + 1], real=False)
            agree(metric.compute(), alone(make, MANY[:world], FAKE[:world]).compute())
        gathered = make(dist_sync_fn=lambda tensor, group=None: gather_all_tensors(tensor, group))
        gathered.update(MANY[rank::world], real=True)
        gathered.update(FAKE[rank::world], real=False)
        agree(gathered.compute(), one.compute())
        given = make(reference=one.to_features(True))
        given.update(FAKE[rank::world], real=False)
        agree(given.compute(), one.compute())
        on_step = make(dist_sync_on_step=True)
        on_step.update(MANY[rank::world], real=True)
        agree(on_step(FAKE[rank::world], real=False), one.compute())
    with pytest.raises(RuntimeError, match="together, their seeds differ: 2020 and 1"):
        fed(MIND(views, seed=1 if rank else 2020)).compute()
    known = compare(MANY, FAKE, views, metrics=["dna-emd", "mind", "cmmd"], num_bins=20)
    found = compare(MANY, FAKE, views, metrics=["dna-emd", "mind", "cmmd"], num_bins=20, distributed=True)
    assert (found["dna-emd"].value, found["mind"].value, found["cmmd"].value) == (
        known["dna-emd"].value,
        known["mind"].value,
        known["cmmd"].value,
    )
    assert found.layers.keys() == views.neurons.keys()


def test_every_process_gets_the_value_of_one(tmp_path: Path) -> None:
    run(3, share_features)


def test_a_reference_is_the_real_side(make: Callable[..., Metric], tmp_path: Path) -> None:
    metric = fed(make(layer="colours"))
    kept = metric.to_features(True)
    kept.save(tmp_path / "real.features.npz")
    assert Features.load(tmp_path / "real.features.npz").digest == kept.digest
    assert torch.equal(kept.values, metric.features(True))
    for reference in (kept, tmp_path / "real.features.npz"):
        other = make(reference=reference)
        assert (other.layer, other.reference.digest) == ("colours", kept.digest)
        assert torch.equal(other.features(True), kept.values)
        for part in FAKE.split(2):
            other.update(part, real=False)
        assert other.compute() == metric.compute()
        other.reset()
        assert other(FAKE, real=False) == metric.compute()
    assert pickle.loads(pickle.dumps(other)).compute() == metric.compute()
    with pytest.raises(ValueError, match="images can only be added with `real=False`"):
        other.update(REAL, real=True)
    with pytest.raises(ValueError, match="`layer` is 'mean', but `reference` is of 'colours'"):
        make(layer="mean", reference=kept)
    with pytest.raises(TypeError, match="expected to be Features or the path of a file of them, but got 3"):
        make(reference=3)
    with pytest.raises(ValueError, match="expected 'features'"):
        make(reference=Path(__file__).parents[1] / "data" / "format_1" / "histogram.dna.npz")


def test_a_reference_brings_its_extractor() -> None:
    shallow = DNAExtractor(layers=["block_0"])
    metric = fed(MIND(shallow, num_projections=50))
    kept = metric.to_features(True)
    other = MIND(reference=kept, num_projections=50)
    assert list(other.extractor.neurons) == ["block_0"]
    with pytest.raises(ValueError, match="The given DNA and `feature` don't fit"):
        MIND(DNAExtractor(layers=["block_0"], crop="center"), reference=kept)
    other.update(FAKE, real=False)
    assert other.compute() == metric.compute()
