"""What several processes have counted adds up to what one has, whatever each has seen; threads stand for processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, local
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from limits import HANG
from makers import FAKE, MAKERS, REAL, alone
from torch import Tensor
from torch.distributed import ReduceOp

WORLD = 3


class Ranks:
    """Threads, and what ``torch.distributed`` does between processes."""

    def __init__(self) -> None:
        self.here, self.barrier, self.given = local(), Barrier(WORLD, timeout=HANG), [torch.empty(0)] * WORLD
        self.reductions = 0

    def gather(self, tensor: Tensor, group: object = None) -> list[Tensor]:
        self.given[self.here.rank] = tensor.clone()
        self.barrier.wait()
        gathered = [given.clone() for given in self.given]
        self.barrier.wait()
        return gathered

    def all_reduce(self, tensor: Tensor, operation: Any, group: object = None) -> None:
        self.reductions += 1
        together = torch.stack(self.gather(tensor))
        tensor.copy_({ReduceOp.SUM: torch.sum, ReduceOp.MAX: torch.amax}[operation](together, 0))

    def run(self, work: Callable[[int], object]) -> None:
        def in_thread(rank: int) -> None:
            self.here.rank = rank
            work(rank)

        with ThreadPoolExecutor(WORLD) as pool:
            list(pool.map(in_thread, range(WORLD)))


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_several_processes_have_the_value_of_one(name: str, gathers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, metrics = Ranks(), [MAKERS[name](sync_on_compute=False) for _ in range(WORLD)]
    talk = SimpleNamespace(all_reduce=ranks.all_reduce, get_rank=lambda _: ranks.here.rank, ReduceOp=ReduceOp)
    monkeypatch.setattr("torchmetrics_dna.statistics.base.dist", talk)
    if not gathers:  # but reduces in place, as with torchmetrics' own function
        monkeypatch.setattr("torchmetrics_dna.metrics.checked.gather_all_tensors", gather := ranks.gather)
    else:
        gather = lambda tensor, group: ranks.gather(tensor)  # noqa: E731
    for images, real, shares in ((REAL, True, metrics), (FAKE, False, metrics[::-1])):
        for metric, own in zip(shares, torch.split(images, [0, 2, len(images) - 2]), strict=True):
            if len(own):
                metric.update(own, real=real)
    before = [{key: state.clone() for key, state in metric.metric_state.items()} for metric in metrics]
    ranks.run(lambda rank: metrics[rank].sync(gather, distributed_available=lambda: True))
    assert bool(ranks.reductions) != gathers
    expected = alone(MAKERS[name]).compute()
    for metric, states in zip(metrics, before, strict=True):
        torch.testing.assert_close(metric.compute(), expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(metric.metric_state, states, rtol=0, atol=0)  # of this process, as they were


def test_what_one_process_can_not_read_is_an_error_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, metrics = Ranks(), [MAKERS["emd"](sync_on_compute=False) for _ in range(WORLD)]
    for metric in metrics:
        metric.update(REAL, real=True)
    metrics[1].real_identity = metrics[1].real_identity.clone().fill_(255)

    def sync(rank: int) -> None:
        with pytest.raises(RuntimeError, match=r"^An update was interrupted .* \(process 1\)$"):
            metrics[rank].sync(lambda tensor, group: ranks.gather(tensor), distributed_available=lambda: True)

    ranks.run(sync)
