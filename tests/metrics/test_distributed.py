from __future__ import annotations

import pickle
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from makers import (
    EXTRACTOR,
    FAKE,
    MAKERS,
    ONE_SIDED,
    RANGES,
    REAL,
    activation_range,
    alone,
    emd,
    fed,
    frechet,
    with_reference,
)  # fmt: skip
from networks import Convolutions, Outputs, random_images
from processes import run
from shards import MANY, agree, equal_everywhere, shard
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed import checkpoint, fsdp
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet
from torchmetrics_dna.metrics import CMMD, MIND

SUMS = ("frechet", "layer_frechet")  # equal to rounding, where counts are equal


# of each state that is summed, merged or gathered in a way of its own
EACH_STATE = {name: MAKERS[name] for name in ("emd", "self_ranging_emd", *SUMS)}


def feed_shards(metric: Metric | MetricCollection, rank: int, world: int, both: bool = True) -> None:
    for images, real in ((MANY, True), (FAKE, False)):
        own = shard(images, rank, world)
        if len(own) and (both or not real):
            metric.update(own, real=real)


def values(rank: int, world: int) -> None:
    for name, make in EACH_STATE.items():
        expected = alone(make, MANY, FAKE).compute()
        metric = make()
        feed_shards(metric, rank, world)
        local = deepcopy(metric.metric_state)
        agree(metric.compute(), expected)
        torch.testing.assert_close(metric.metric_state, local, rtol=0, atol=0)
        assert metric.to_dna(True).num_images == len(MANY)
        assert metric.to_dna(True).digest == alone(make, MANY, FAKE).to_dna(True).digest or name in SUMS
        # counting goes on from the local state, in one process alone
        if rank == 0:
            metric.update(MANY, real=True)
            metric.update(FAKE[:3], real=False)
        agree(metric.compute(), alone(make, torch.cat([MANY, MANY]), torch.cat([FAKE, FAKE[:3]])).compute())
        metric.reset()
        feed_shards(metric, rank, world)
        agree(metric.compute(), expected)

        referred = with_reference(name, MANY)
        feed_shards(referred, rank, world, both=False)
        agree(referred.compute(), expected)
    for dist_sync_fn in (None, lambda tensor, group: gather_all_tensors(tensor, group)):
        ranges, whole = activation_range(dist_sync_fn=dist_sync_fn), activation_range(sync_on_compute=False)
        if len(own := shard(MANY, rank, world)):
            ranges.update(own)
        whole.update(MANY)
        assert ranges.to_ranges().digest == whole.to_ranges().digest
        with ranges.sync_context():
            assert ranges.seen_images[-1] == len(MANY)


def test_every_process_gets_the_value_of_one(tmp_path: Path) -> None:
    run(3, values)


def manners(rank: int, world: int) -> None:
    """sync, unsync, sync_context, process_group, sync_on_compute, dist_sync_fn."""
    for make in EACH_STATE.values():
        expected = alone(make, MANY, FAKE).compute()
        metric = make(sync_on_compute=False)
        metric.update(MANY[rank : rank + 2], real=True)
        metric.update(FAKE, real=False)
        assert metric.compute() == alone(make, MANY[rank : rank + 2], FAKE).compute()

        metric = make()
        feed_shards(metric, rank, world)
        before = metric.metric_state
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


def test_all_ways_of_syncing(tmp_path: Path) -> None:
    run(3, manners)


def contract(rank: int, world: int, folder: str) -> None:
    """Checks of torchmetrics' own tester over processes, for all metrics, and distributed checkpoints."""
    batches = [(random_images(3, seed), random_images(3, seed + 100) // 2) for seed in range(2 * world)]
    for name, make in {**EACH_STATE, **ONE_SIDED}.items():

        def value(pairs: list[tuple[Tensor, Tensor]], name: str = name, make: object = make) -> Tensor:
            """Value of one process that got all these batches."""
            metric = make(sync_on_compute=False)
            if name in MAKERS:
                return tensor_of(fed(metric, *(torch.cat(side) for side in zip(*pairs, strict=True))).compute())
            metric.update(torch.cat([fake for _, fake in pairs]))
            return tensor_of(metric.compute())

        for on_step in (False, True):
            metric = pickle.loads(pickle.dumps(make(dist_sync_on_step=on_step)))
            for step in range(2):
                current = batches[step * world : (step + 1) * world]
                real, fake = current[rank]
                if name in MAKERS:
                    # the reals of all steps so far are the other side
                    metric.update(real, real=True)
                    batches_so_far = batches[: (step + 1) * world]
                    reals = torch.cat(
                        [real for real, _ in (batches_so_far if on_step else batches_so_far[rank::world])]
                    )
                    fakes = torch.cat([fake for _, fake in current]) if on_step else fake
                    expected = fed(make(sync_on_compute=False), reals, fakes).compute()
                else:
                    expected = value(current if on_step else [current[rank]])
                value_of_batch = metric(fake, **({"real": False} if name in MAKERS else {}))
                torch.testing.assert_close(tensor_of(value_of_batch), tensor_of(expected), rtol=1e-12, atol=0)
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


def test_torchmetrics_contract_over_processes_and_in_checkpoints(tmp_path: Path) -> None:
    run(2, contract, str(tmp_path))


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
        results = collection.compute()
        for name, make in MAKERS.items():
            agree(results[name], alone(make, MANY, FAKE).compute())
        assert results["again"] == results["emd"]
        assert collection.compute()["again"] == results["emd"]


def test_compute_groups_over_processes(tmp_path: Path) -> None:
    run(2, groups)


def check_metrics(module: Any, rank: int, world: int) -> None:
    """The metrics of a wrapped module have the values of one process."""
    for metric in module.metrics:
        metric.update(MANY[rank::world], real=True)
        metric.update(FAKE[rank::world], real=False)
    own = module.metrics[0]
    equal_everywhere(own.compute())
    # convolutions round a little differently in other batches
    expected = fed(DNAEMD(own.extractor, sync_on_compute=False), MANY, FAKE).compute()
    torch.testing.assert_close(own.compute(), expected, rtol=1e-2, atol=0)
    agree(module.metrics[1].compute(), alone(emd, MANY, FAKE).compute())


def data_parallel(rank: int, world: int) -> None:
    """DDP around a module that holds metrics sees the module's own parameters alone."""
    wrapped = nn.parallel.DistributedDataParallel(Holder())
    wrapped(torch.ones(2, 4)).sum().backward()
    assert set(wrapped.state_dict()) == {"module.backbone.weight", "module.backbone.bias"}
    check_metrics(wrapped.module, rank, world)


def test_ddp_does_not_see_the_network(tmp_path: Path) -> None:
    run(2, data_parallel)


def fully_sharded(rank: int, world: int) -> None:
    """FSDP around a module that holds metrics sees the module's own parameters alone."""
    holder = Holder()
    network = holder.metrics[0].extractor.network.stem.weight
    sharded = fsdp.fully_shard(holder)
    sharded(torch.ones(2, 4)).sum().backward()
    assert {name for name, _ in sharded.named_parameters()} == {"backbone.weight", "backbone.bias"}
    assert type(sharded.metrics[0].extractor.network.stem.weight) is type(network)
    check_metrics(sharded, rank, world)


@pytest.mark.skipif(not hasattr(fsdp, "fully_shard"), reason="torch shards modules only on a GPU before 2.6")
def test_fsdp_does_not_see_the_network(tmp_path: Path) -> None:
    run(2, fully_sharded)


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
        r"neuron weights \(digest\) differ: ": emd(neuron_weights=torch.full((9,), 1 + (rank == 1))),
        "values of `debias` differ: ": emd(num_folds=5, debias=rank == 1),
        "values of `reduction` differ: ": frechet(reduction="layer" if rank else "mean"),
        "values of `reset_real_features` differ: ": CMMD(EXTRACTOR, reset_real_features=rank == 1),
        "metrics differ: 'CMMD' and 'MIND'": (MIND if rank == 1 else CMMD)(EXTRACTOR),
        "numbers of projections differ: ": MIND(EXTRACTOR, num_projections=5 + (rank == 1)),
        "seeds differ: ": MIND(EXTRACTOR, seed=rank),
        "references differ: ": with_reference("emd", REAL[: 3 + rank]),
    }
    for message, metric in mixed.items():
        if "references" not in message:
            metric.update(REAL, real=True)
        metric.update(REAL, real=False)
        with pytest.raises(RuntimeError, match=f"^Processes hold .* can't be reduced together, their {message}"):
            metric.compute()
        assert not metric._is_synced

    ranges = activation_range(margin="scale" if rank else "widen")
    ranges.update(REAL)
    with pytest.raises(RuntimeError, match="together, their margins differ: 'widen' and 'scale'"):
        ranges.to_ranges()
    for make in (*MAKERS.values(), *ONE_SIDED.values()):
        metric = make(normalize=rank == 1)
        images = REAL / 255 if rank == 1 else REAL
        for real in (True, False):
            metric.update(images, **({} if make in ONE_SIDED.values() else {"real": real}))
        with pytest.raises(RuntimeError, match="together, their values of `normalize` differ: False and True"):
            metric.compute()
        assert not metric._is_synced
    custom = emd(num_bins=40 + (rank == 1), dist_sync_fn=lambda tensor, group=None: [tensor, tensor])
    fed(custom).compute()  # a function that brings no other rank's state is believed

    one_sided = emd()
    one_sided.update(MANY[rank : rank + 1], real=True)
    with pytest.raises(RuntimeError, match=f"but got {world} and 0"):
        one_sided.compute()
    assert not one_sided._is_synced, "an error leaves no metric synced"
    one_sided.update(FAKE[rank : rank + 1], real=False)
    agree(one_sided.compute(), alone(emd, MANY[:world], FAKE[:world]).compute())


def test_processes_that_disagree_all_raise(tmp_path: Path) -> None:
    run(3, disagreements)


def collectives(rank: int, world: int) -> None:
    """Once settings are compared, one all-reduce a side, or two with extremes, also with folds."""
    called: list[str] = []
    for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast", "reduce", "gather"):
        collective = getattr(dist, name)

        def counted(*args: object, name: str = name, collective: object = collective, **kwargs: object) -> object:
            called.append(name)
            return collective(*args, **kwargs)

        setattr(dist, name, counted)
    auto = {"ranges": "auto"}
    for metric, number in (
        (emd(), 1), (emd(num_folds=20), 1), (emd(**auto), 2), (emd(num_folds=20, **auto), 2),
        (frechet(num_folds=20), 1), (MAKERS["layer_frechet"](), 2),
    ):  # fmt: skip
        called.clear()
        feed_shards(metric, rank, world)
        value = metric.compute()
        assert called.count("all_reduce") == number * 2
        assert called[-number * 2 :] == ["all_reduce"] * number * 2, "settings are compared before"
        equal_everywhere(value)


def test_a_sync_is_one_reduction_a_side(tmp_path: Path) -> None:
    run(2, collectives)


def memory(rank: int, world: int, path: str) -> None:
    """Peak memory of a sync beyond the state, in states."""
    network = DNAExtractor(Outputs(lambda imgs: imgs.float().mean((2, 3)).repeat(1, 1664)))
    metric = DNAEMD(network, num_bins=1000)
    fed(metric)
    state = sum(state.nbytes for state in metric.metric_state.values() if isinstance(state, Tensor))

    def peak(call: object) -> float:
        with Path("/proc/self/clear_refs").open("w", encoding="ascii") as file:
            file.write("5")
        before = status("VmRSS")
        call()
        return (status("VmHWM") - before) / state

    copies = peak(metric.sync)
    if rank == 0:
        Path(path).write_text(f"{state} {copies}", encoding="ascii")


@pytest.mark.outer
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_sync_takes_two_copies_of_the_state_at_most(tmp_path: Path) -> None:
    run(3, memory, str(tmp_path / "found"))
    state, copies = map(float, (tmp_path / "found").read_text().split())
    print(f"State {state / 2**20:.0f} MiB: {copies:.2f} states")
    assert state > 75 * 2**20
    assert copies <= 2.2


def tensor_of(value: Tensor | dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in value.values()]) if isinstance(value, dict) else value


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(4, 4)
        self.metrics = nn.ModuleList([DNAEMD(DNAExtractor(Convolutions(), layers=["stem"], input_size=8)), emd()])

    def forward(self, values: Tensor) -> Tensor:
        return self.backbone(values)


def status(key: str) -> int:
    """Read a number of bytes from /proc/self/status."""
    with Path("/proc/self/status").open(encoding="ascii") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1024
