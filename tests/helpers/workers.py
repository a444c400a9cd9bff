"""What the processes of the distributed tests do; here, so that spawned processes can import it."""

from __future__ import annotations

import pickle
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from makers import EXTRACTOR, FAKE, MAKERS, ONE_SIDED, RANGES, REAL, alone, emd, fed, frechet, with_reference
from networks import Convolutions, Pixels, pixels, random_images
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed import checkpoint
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna import (
    CMMD,
    DNAEMD,
    MIND,
    ActivationRange,
    Checkpoints,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    compare,
    load_dna,
    make_dna,
    report,
)
from torchmetrics_dna import rank as rank_images
from torchmetrics_dna.sets.loading import Loading
from torchmetrics_dna.sets.make_files import make_files
from torchmetrics_dna.sets.measure_ranges import measure_ranges
from torchmetrics_dna.sets.processes import gather, heed, in_step

MANY = random_images(11, 9)
SUMS = ("frechet", "layer_frechet")  # equal to rounding, where counts are equal
CROWD, CROWD_FAKE = random_images(40, 11), random_images(40, 12) // 2


def shard(images: Tensor, rank: int, world: int) -> Tensor:
    """Unequal shards; the last rank gets none."""
    if rank == world - 1:
        return images[:0]
    return images[rank :: world - 1]


def feed_shards(metric: Metric | MetricCollection, rank: int, world: int, both: bool = True) -> None:
    for images, real in ((MANY, True), (FAKE, False)):
        mine = shard(images, rank, world)
        if len(mine) and (both or not real):
            metric.update(mine, real=real)


def equal_everywhere(value: Tensor) -> None:
    assert all(torch.equal(other, value) for other in gather_all_tensors(value))


def agree(value: Tensor, expected: Tensor) -> None:
    """Equal on all processes, to the last bit; equal to one process's value, to the last count."""
    equal_everywhere(value)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def values(rank: int, world: int) -> None:
    for name, make in MAKERS.items():
        expected = alone(make, MANY, FAKE).compute()
        metric = make()
        feed_shards(metric, rank, world)
        local = {state: tensor.clone() for state, tensor in metric.metric_state.items()}
        agree(metric.compute(), expected)
        assert all(torch.equal(metric.metric_state[state], tensor) for state, tensor in local.items())
        assert metric.to_dna(True).num_images == len(MANY)
        assert metric.to_dna(True).digest == alone(make, MANY, FAKE).to_dna(True).digest or name in SUMS
        # counting goes on from the local state; torchmetrics keeps a value until the next update, so all get images
        metric.update(MANY[rank::world], real=True)
        metric.update(FAKE[rank : rank + 1], real=False)
        agree(metric.compute(), alone(make, torch.cat([MANY, MANY]), torch.cat([FAKE, FAKE[:world]])).compute())
        metric.reset()
        feed_shards(metric, rank, world)
        agree(metric.compute(), expected)

        referred = with_reference(name, MANY)
        feed_shards(referred, rank, world, both=False)
        agree(referred.compute(), expected)


def manners(rank: int, world: int) -> None:
    """sync, unsync, sync_context, process_group, sync_on_compute, dist_sync_fn."""
    for make in MAKERS.values():
        expected = alone(make, MANY, FAKE).compute()
        metric = make(sync_on_compute=False)
        metric.update(MANY[rank : rank + 2], real=True)
        metric.update(FAKE, real=False)
        assert metric.compute() == alone(make, MANY[rank : rank + 2], FAKE).compute()

        metric = make()
        feed_shards(metric, rank, world)
        before = {name: state for name, state in metric.metric_state.items() if name != "configuration"}
        metric.sync()
        assert metric.to_dna(False).num_images == len(FAKE)
        with pytest.raises(TorchMetricsUserError, match="already been synced"):
            metric.sync()
        with pytest.raises(TorchMetricsUserError, match="shouldn't be synced"):
            metric(FAKE, real=False)
        metric.unsync()
        assert all(metric.metric_state[name] is state for name, state in before.items())
        with metric.sync_context():
            assert metric.to_dna(False).num_images == len(FAKE)
        assert metric.to_dna(False).num_images == len(FAKE)

        calls: list[int] = []

        def gather(tensor: Tensor, group: object = None, calls: list[int] = calls) -> list[Tensor]:
            calls.append(1)
            return gather_all_tensors(tensor, group)

        metric = make(dist_sync_fn=gather)
        feed_shards(metric, rank, world)
        agree(metric.compute(), expected)
        assert calls

        pair = dist.new_group([0, 1])
        if rank < 2:
            metric = make(process_group=pair)
            metric.update(MANY[rank::2], real=True)
            metric.update(FAKE[rank::2], real=False)
            torch.testing.assert_close(metric.compute(), expected, rtol=1e-12, atol=0)
        dist.barrier()


def contract(rank: int, world: int, folder: str) -> None:
    """What torchmetrics' own tester asks of a metric over processes, of all of ours; and distributed checkpoints."""
    batches = [(random_images(3, seed), random_images(3, seed + 100) // 2) for seed in range(2 * world)]
    for name, make in {**MAKERS, **ONE_SIDED}.items():

        def value(some: list[tuple[Tensor, Tensor]], name: str = name, make: object = make) -> Tensor:
            """Of one process that got all these batches."""
            metric = make(sync_on_compute=False)
            if name in MAKERS:
                return tensor_of(fed(metric, *(torch.cat(side) for side in zip(*some, strict=True))).compute())
            metric.update(torch.cat([fake for _, fake in some]))
            return tensor_of(metric.compute())

        for on_step in (False, True):
            metric = pickle.loads(pickle.dumps(make(dist_sync_on_step=on_step)))
            for step in range(2):
                now = batches[step * world : (step + 1) * world]
                real, fake = now[rank]
                if name in MAKERS:
                    # the reals of all steps so far are the other side
                    metric.update(real, real=True)
                    seen = batches[: (step + 1) * world]
                    other = torch.cat([real for real, _ in (seen if on_step else seen[rank::world])])
                    mine = torch.cat([fake for _, fake in now]) if on_step else fake
                    expected = fed(make(sync_on_compute=False), other, mine).compute()
                else:
                    expected = value(now if on_step else [now[rank]])
                found = metric(fake, **({"real": False} if name in MAKERS else {}))
                torch.testing.assert_close(tensor_of(found), tensor_of(expected), rtol=1e-12, atol=0)
                assert metric._cache is None
                assert metric._is_synced is False
            assert metric.state_dict() == {}
            in_turn = [batches[step * world + r] for r in range(world) for step in range(2)]
            agree(tensor_of(metric.compute()), value(in_turn if "realism" in name else batches))

        metric.persistent(True)
        with metric.sync_context():
            checkpoint.save({"metric": metric.state_dict()}, checkpoint_id=f"{folder}/{name}")
        loaded = make(sync_on_compute=False)
        loaded.persistent(True)
        saved = {"metric": loaded.state_dict()}
        checkpoint.load(saved, checkpoint_id=f"{folder}/{name}")
        loaded.load_state_dict(saved["metric"])
        agree(tensor_of(loaded.compute()), value(in_turn if "realism" in name else batches))


def tensor_of(value: Tensor | dict[str, Tensor]) -> Tensor:
    return torch.cat(list(value.values())) if isinstance(value, dict) else value


def groups(rank: int, world: int) -> None:
    """Compute groups share tensors, which a sync must not change."""
    collection = MetricCollection(
        {**{name: make() for name, make in MAKERS.items()}, "again": emd(), "layers": emd(reduction="layer")}
    )
    # groups are formed at the first update, so every rank needs one
    for _ in range(2):
        collection.reset()
        collection.update(MANY[rank::world], real=True)
        collection.update(FAKE[rank::world] if rank < len(FAKE) else FAKE, real=False)
        found = collection.compute()
        for name, make in MAKERS.items():
            agree(found[name], alone(make, MANY, FAKE).compute())
        assert found["again"] == found["emd"]
        assert collection.compute()["again"] == found["emd"]


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(4, 4)
        self.metrics = nn.ModuleList([DNAEMD(DNAExtractor(Convolutions(), layers=["stem"], input_size=8)), emd()])

    def forward(self, values: Tensor) -> Tensor:
        return self.backbone(values)


def wrappers(rank: int, world: int) -> None:
    """DDP and FSDP around a module that holds metrics see the module's own parameters alone."""
    holder = Holder()
    network = holder.metrics[0].extractor.network.stem.weight
    wrapped = nn.parallel.DistributedDataParallel(holder)
    wrapped(torch.ones(2, 4)).sum().backward()
    assert set(wrapped.state_dict()) == {"module.backbone.weight", "module.backbone.bias"}
    sharded = fully_shard(Holder())
    sharded(torch.ones(2, 4)).sum().backward()
    assert {name for name, _ in sharded.named_parameters()} == {"backbone.weight", "backbone.bias"}
    assert type(sharded.metrics[0].extractor.network.stem.weight) is type(network)
    for module in (wrapped.module, sharded):
        for metric in module.metrics:
            metric.update(MANY[rank::world], real=True)
            metric.update(FAKE[rank::world], real=False)
        own = module.metrics[0]
        equal_everywhere(own.compute())
        # convolutions round a little differently in other batches
        expected = fed(DNAEMD(own.extractor, sync_on_compute=False), MANY, FAKE).compute()
        torch.testing.assert_close(own.compute(), expected, rtol=1e-2, atol=0)
        agree(module.metrics[1].compute(), alone(emd, MANY, FAKE).compute())


def disagreements(rank: int, world: int) -> None:
    """Every process raises, none waits for ever."""

    def network(seed: int) -> DNAExtractor:
        net = Convolutions()
        torch.nn.init.constant_(net.stem.bias, seed)
        return DNAExtractor(net, layers=["stem"], input_size=8)

    mixed = {
        "numbers of bins differ: 40 and 41": emd(num_bins=40 + (rank == 1)),
        r"activation ranges \(digest\) differ: ": emd(ranges=RANGES if rank else "auto"),
        r"weights \(digest\) differ: '\w{16}' and '\w{16}'": DNAFrechet(network(rank == 1)),
        "kinds differ: '\\w+' and '\\w+'": frechet() if rank else emd(),
        "references differ: ": with_reference("emd", REAL[: 3 + rank]),
    }
    for message, metric in mixed.items():
        if "references" not in message:
            metric.update(REAL, real=True)
        metric.update(REAL, real=False)
        with pytest.raises(RuntimeError, match=f"^Processes hold .* can't be reduced together, their {message}"):
            metric.compute()
        assert metric._cache is None
        assert not metric._is_synced

    for make in (*MAKERS.values(), *ONE_SIDED.values()):
        metric = make(normalize=rank == 1)
        images = REAL / 255 if rank == 1 else REAL
        for real in (True, False):
            metric.update(images, **({} if make in ONE_SIDED.values() else {"real": real}))
        with pytest.raises(RuntimeError, match="together, their values of `normalize` differ: False and True"):
            metric.compute()
        assert metric._cache is None
        assert not metric._is_synced
    weighted = emd(neuron_weights=torch.full((9,), 1 + (rank == 1)))
    with pytest.raises(RuntimeError, match=r"can't be reduced together, their neuron weights \(digest\) differ: "):
        fed(weighted).compute()

    custom = emd(num_bins=40 + (rank == 1), dist_sync_fn=lambda tensor, group=None: [tensor, tensor])
    fed(custom).compute()  # a function that brings no other rank's state is believed

    one_sided = emd()
    one_sided.update(MANY[rank : rank + 1], real=True)
    with pytest.raises(RuntimeError, match=f"but got {world} and 0"):
        one_sided.compute()
    assert not one_sided._is_synced, "an error leaves no metric synced"
    one_sided.update(FAKE[rank : rank + 1], real=False)
    agree(one_sided.compute(), alone(emd, MANY[:world], FAKE[:world]).compute())


def memory(rank: int, world: int, found: str) -> None:
    """Most memory that a sync takes beyond the state, in states; ours, and torchmetrics' way beside it."""
    from networks import Outputs
    from torchmetrics.metric import Metric as Upstream

    from torchmetrics_dna.metrics.state import TalliedMetric

    network = DNAExtractor(Outputs(lambda imgs: imgs.float().mean((2, 3)).repeat(1, 1664)))
    metric = DNAEMD(network, num_bins=1000)
    fed(metric)
    state = sum(tensor.nbytes for tensor in metric.metric_state.values())

    def peak(call: object) -> float:
        with Path("/proc/self/clear_refs").open("w", encoding="ascii") as file:
            file.write("5")
        before = status("VmRSS")
        call()
        return (status("VmHWM") - before) / state

    ours = peak(metric.sync)
    metric.unsync()
    gathered = peak(lambda: Upstream._sync_dist(_upstream(metric)))
    assert TalliedMetric._sync_dist is not Upstream._sync_dist
    if rank == 0:
        with Path(found).open("w", encoding="ascii") as file:
            file.write(f"{state} {ours} {gathered}")


def _upstream(metric: Metric) -> Metric:
    for name, reduction in metric._reductions.items():
        metric._reductions[name] = reduction or (lambda stacked: stacked.sum(0))
    return metric


def status(key: str) -> int:
    """Bytes, from /proc/self/status."""
    with Path("/proc/self/status").open(encoding="ascii") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1024


def cross_moments(rank: int, world: int) -> None:
    """Covariances of large means over processes, the last of which saw nothing, are those that numpy finds."""
    from large_means import SAMPLES, agrees, side_of, tally

    mine = SAMPLES[:0] if rank == world - 1 else SAMPLES[rank :: world - 1]
    side = side_of(mine, 7)
    address = side["cross_moments"].data_ptr()
    tally.all_reduce_(side)
    assert side["cross_moments"].data_ptr() == address
    agrees(side, SAMPLES)
    for tensor in side.values():
        assert all(torch.equal(other, tensor) for other in gather_all_tensors(tensor))
    nothing = tally.empty("cpu")
    tally.all_reduce_(nothing)
    assert tally.value(nothing).num_images == 0


def score_shard(metric: Metric, images: Tensor, rank: int, busy: int) -> Tensor:
    """Score what a distributed sampler with padding gives one of the busy processes; gives the images' indices."""
    padded = [*range(len(images)), *range(-len(images) % busy)]
    mine = torch.tensor(padded[rank::busy] if rank < busy else []).long()
    for part in mine.split(2 + rank):
        if len(part):
            metric.update(images[part], indices=part)
    return mine


def realism(rank: int, world: int, expected: str) -> None:
    """Every rank scores its shard, as a distributed sampler with padding gives it; the last one has none."""
    images = random_images(9, 7)
    reference = make_dna(REAL, EXTRACTOR, num_bins=40, ranges=RANGES)
    metric = DNARealism(EXTRACTOR, reference=reference)
    busy = world - 1
    score_shard(metric, images, rank, busy)
    scores = metric.compute()
    assert torch.equal(scores, torch.load(expected))
    # and the shard goes on where it was
    metric.update(images[:1], indices=[0])
    assert torch.equal(metric.compute(), scores)


def contrasted_realism(rank: int, world: int, expected: str) -> None:
    """Likewise, contrasted with all images of all ranks, each once."""
    images = random_images(9, 7)
    make = ONE_SIDED["contrasted_realism"]
    metric = make()
    busy = max(1, world - 1)
    mine = score_shard(metric, images, rank, busy)
    scores = metric.compute()
    torch.testing.assert_close(scores, torch.load(expected), rtol=0, atol=1e-9)
    assert torch.equal(scores, make(sync_on_compute=False)(images))
    metric.update(images[:1], indices=[0])
    assert torch.equal(metric.compute(), scores)
    # a function of the user's gathers what each process has
    gathered = make(dist_sync_fn=lambda tensor, group: gather_all_tensors(tensor, group))
    if rank < busy:
        gathered.update(images[mine], indices=mine)
    assert torch.equal(gathered.compute(), scores)
    # without indices as they came, rank by rank
    plain = make()
    plain.update(images[:2] if rank else images)
    together = torch.cat([images, *[images[:2]] * (world - 1)])
    assert torch.equal(plain.compute(), make(sync_on_compute=False)(together))


def folds(rank: int, world: int, expected: str) -> None:
    """Evidence is that of one process, whichever images a process saw."""
    metric = emd(num_folds=5)
    for images, real in ((CROWD, True), (CROWD_FAKE, False)):
        mine = shard(images, rank, world)
        if len(mine):
            metric.update(mine, real=real)
    one = torch.load(expected, weights_only=False)
    found = metric.evidence()
    told = {"value": float(metric.compute()), "interval": found.interval, "null": found.null, "p": found.test.p_value}
    assert told == one[0]
    assert torch.equal(found.neurons, one[1])
    assert torch.equal(found.test.z, one[2])


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def ranges(rank: int, world: int) -> None:
    """Ranges are those of one process, to the last bit, whichever images a process saw; the last one sees none."""

    def learned(*batches: Tensor, **kwargs: object) -> ActivationRange:
        metric = ActivationRange(EXTRACTOR, **kwargs)
        for batch in batches:
            metric.update(batch)
        return metric

    def check(metric: ActivationRange, images: Tensor) -> None:
        alone = learned(images, sync_on_compute=False)
        for name, values in alone.compute().items():
            agree(metric.compute()[name], values)
            assert torch.equal(metric.compute()[name], values)
        assert metric.to_ranges().digest == alone.to_ranges().digest

    mine = shard(MANY, rank, world)
    for kwargs in ({}, {"dist_sync_fn": lambda tensor, group: gather_all_tensors(tensor, group)}):
        metric = learned(*([mine] if len(mine) else []), **kwargs)
        local = {state: tensor.clone() for state, tensor in metric.metric_state.items()}
        check(metric, MANY)
        assert all(torch.equal(metric.metric_state[state], tensor) for state, tensor in local.items())
        with metric.sync_context():
            assert metric.seen_images[-1] == len(MANY)
        metric.update(FAKE[rank : rank + 1] + 128)
        check(metric, torch.cat([MANY, FAKE[:world] + 128]))

    with pytest.raises(RuntimeError, match="can't be reduced together, their margins differ: 'widen' and 'scale'"):
        learned(MANY, margin="scale" if rank else "widen").to_ranges()


def measured_ranges(rank: int, world: int, folder: str) -> None:
    """The images of several sources are shared, also where there are fewer than processes."""
    for sources in ([MANY, FAKE + 128], [MANY[:1]], [MANY, RANGES]):
        alone = measure_ranges(sources, EXTRACTOR, "widen", Loading())
        shared = measure_ranges(sources, EXTRACTOR, "widen", Loading(batch_size=2, distributed=True))
        assert shared.ranges.digest == alone.ranges.digest
        assert shared.num_images == alone.num_images
    skipping = Loading(skip_unreadable=True, distributed=True)
    found = measure_ranges([folder], DNAExtractor(Pixels(), input_size=8), "widen", skipping)
    assert found.num_images == 2
    assert [line.split(":")[0] for line in found.unreadable] == [f"Can't read image '{folder}/1.png'"]
    with pytest.raises(ValueError, match=r"^rank 1: .*1\.png': it is not an image file"):
        measure_ranges([folder], EXTRACTOR, "widen", Loading(distributed=True))


class OddError(KeyError):
    """What other processes may not know, and no message alone makes."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one, other)


def failures(rank: int, world: int) -> None:
    """All raise the first error of any, also those who wait or are busy; and go on together after it."""

    class LocalError(ValueError):
        pass

    def busy() -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(0.01)
            heed()
        pytest.fail("never told that another process has failed")

    def waiting() -> None:
        gather(None)
        gather(None)

    errors = (
        (FileNotFoundError(2, "no such file", "x"), FileNotFoundError, r"rank 1: \[Errno 2\] no such file: 'x'"),
        (TypeError("unsupported"), TypeError, "rank 1: unsupported"),
        (OddError("a", "b"), LookupError, r"rank 1: OddError: \('a', 'b'\)"),
        (LocalError("x"), ValueError, "rank 1: x"),
        (MemoryError(), MemoryError, "rank 1: MemoryError"),
        (Exception("x"), RuntimeError, "rank 1: x"),
    )
    for others, (error, kind, message) in zip((busy, *[waiting] * 5), errors, strict=True):
        with pytest.raises(kind, match=f"^{message}$") as caught, in_step():  # noqa: PT012
            with in_step():
                if rank == 1:
                    raise error
            others()
        assert (type(caught.value), caught.value.from_rank) == (kind, 1)
        assert caught.value.__cause__ is (error if rank == 1 else None)
    with pytest.raises(ValueError, match="^all alike$"), in_step():
        raise ValueError("all alike")
    with pytest.raises(ValueError, match="^rank 0: not alike 0$"), in_step():
        raise ValueError(f"not alike {rank}")
    if rank == 1:
        with pytest.raises(ValueError, match="^alone$"), in_step(shared=False):
            raise ValueError("alone")
    assert gather(rank) == list(range(world))

    nowhere = "nowhere" if rank == 1 else REAL
    for call in (
        lambda: compare(REAL, nowhere, EXTRACTOR, distributed=True),
        lambda: make_dna(nowhere, EXTRACTOR, distributed=True),
        lambda: rank_images(nowhere, REAL, EXTRACTOR, distributed=True),
        lambda: measure_ranges([REAL, nowhere], EXTRACTOR, "widen", Loading(distributed=True)),
        lambda: report(REAL, nowhere, "x.html", EXTRACTOR, distributed=True),
    ):
        with pytest.raises(FileNotFoundError, match="^rank 1: There is no file or folder 'nowhere'$"):
            call()
    with pytest.raises(ValueError, match="^rank 1: Argument `kind`"):
        make_dna(REAL, EXTRACTOR, kind="histogram" if rank == 0 else "x", distributed=True)
    assert compare(REAL, FAKE, EXTRACTOR, distributed=True).num_images == {"a": len(REAL), "b": len(FAKE)}


def distances(rank: int, world: int, expected: str) -> None:
    """All distances of a comparison are those of one process."""
    from pixel_sets import ALL, A, B, figures

    found = compare(A, B, EXTRACTOR, metrics=ALL, batch_size=3, distributed=True)
    told = {"deviation": found.kid_std, "p": found.p_value_of("fd"), "debiased": found.debiased("fd")}
    assert figures(found) | told == pytest.approx(torch.load(expected), rel=1e-9)
    equal_everywhere(torch.tensor([found.fd, found.kid]))


def streams(rank: int, world: int, *sources: str) -> None:
    """Processes share shards, or else images; names and scores are those of one process."""
    extractor = DNAExtractor(Pixels(), input_size=8)
    options = {"ranges": "auto", "num_bins": 20}
    for source in sources:
        alone = make_dna(source, extractor, num_folds=5, **options)
        shared = make_dna(source, extractor, num_folds=5, distributed=True, batch_size=2, **options)
        assert shared.digest == alone.digest
        assert [fold.digest for fold in shared.folds] == [fold.digest for fold in alone.folds]
        found, known = (
            rank_images(source, REAL, extractor, nearest=source, distributed=distributed, **options)
            for distributed in (True, False)
        )
        assert (found.names, found.numbers, found.nearest.names) == (known.names, known.numbers, known.nearest.names)
        assert torch.equal(found.scores, known.scores)
    with pytest.raises(ValueError, match="There are no images in"):
        make_dna(iter(()), extractor, distributed=True, **options)


def shards(rank: int, world: int, source: str, folder: Path) -> None:
    extractor, ranges = pixels()
    kinds = ("histogram", "gaussian", "layer-gaussian")
    make_files(source, folder / "x.dna.npz", extractor, kinds, 40, ranges, Loading(4, rank))


def checkpoints(rank: int, world: int, folder: Path) -> None:
    """Each process gives images of its own, or none; figures and files are those of one process."""
    with pytest.raises(ValueError, match="This is process 1 of 2.*; give distributed=True") if rank else nullcontext():
        Checkpoints(REAL, folder / "alone", EXTRACTOR)  # process 0 may well do it by itself
    kept = Checkpoints(CROWD, folder if rank == 0 else "not asked", EXTRACTOR, num_bins=20, distributed=True)
    dnas = [make_dna(images, EXTRACTOR, num_bins=20, num_folds=20) for images in (CROWD, CROWD_FAKE)]
    for step, mine in ((500, CROWD_FAKE[rank::world]), (1000, CROWD_FAKE if rank else CROWD_FAKE[:0])):
        assert kept.add(step, mine).scalars() == compare(*dnas).scalars()
        assert list(kept.comparisons.found)[-1] == f"step_{step:06}"
    for name, dna in zip(("reference", "step_000500", "step_001000"), (*dnas, dnas[1]), strict=True):
        assert load_dna(folder / f"{name}.dna.npz").digest == dna.digest
    with pytest.raises(ValueError, match="There are no images in"):
        kept.add(2000, CROWD[:0])


def shared_loader(rank: int, world: int) -> None:
    dataset = TensorDataset(MANY)
    loader = DataLoader(dataset, sampler=DistributedSampler(dataset))
    with pytest.raises(
        ValueError, match="can't be shared among processes, since its DataLoader has a DistributedSampler"
    ):
        make_dna(loader, EXTRACTOR, distributed=True)
    alone = make_dna(DataLoader(dataset, batch_size=3), EXTRACTOR, num_bins=20)
    assert make_dna(DataLoader(dataset, batch_size=3), EXTRACTOR, num_bins=20, distributed=True).digest == alone.digest


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def features(rank: int, world: int) -> None:
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
    assert (found.dna_emd, found.mind, found.cmmd) == (known.dna_emd, known.mind, known.cmmd)
    assert found.layers.keys() == views.neurons.keys()
