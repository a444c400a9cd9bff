"""Threads and forks: metrics of each give what they give alone, on one extractor, and on several of one network."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread, current_thread, main_thread

import pytest
import torch
from limits import HANG
from networks import Convolutions, Pixels, random_images
from torch import Tensor

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, LayerFrechetDistance
from torchmetrics_dna.binning import cpu

IMAGES = [random_images(16, seed, (16, 16)) // (seed + 1) for seed in range(2)]


def score(extractor: DNAExtractor, images: Tensor) -> list[Tensor]:
    metrics = [DNAFrechet(extractor), DNAFrechet(extractor, reduction="none"), LayerFrechetDistance(extractor)]
    for i, batch in enumerate(images.split(2)):
        for metric in metrics:
            metric.update(batch, real=bool(i % 2))
    return [metric.compute() for metric in metrics]


@pytest.fixture
def extractors() -> list[DNAExtractor]:
    """Two extractors of one network, which is in training mode."""
    network = Convolutions()
    return [DNAExtractor(network, layers=["stem", "body"], input_size=16) for _ in range(2)]


@pytest.mark.parametrize("several", [False, True])
def test_each_thread_gets_its_own(extractors: list[DNAExtractor], several: bool) -> None:
    pair = extractors if several else extractors[:1] * 2
    expected = [score(extractor, images) for extractor, images in zip(pair, IMAGES, strict=True)]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            for scores, values in zip(threads.map(score, pair, IMAGES), expected, strict=True):
                assert all(map(torch.equal, scores, values))
    assert extractors[0].network.training
    assert extractors[0].network.body[2].num_batches_tracked == 0


def test_nothing_goes_on_counting_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would write to a state that was put back, and read activations that are gone."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    ended: list[int] = []
    other_began = Event()

    def count(task: int) -> bool:
        if task == 0:
            other_began.wait(HANG)
            raise KeyboardInterrupt
        other_began.set()
        time.sleep(0.1)
        ended.append(task)
        return True

    with pytest.raises(KeyboardInterrupt):
        cpu._all(count, [(0,), (1,)])
    after = list(ended)
    time.sleep(0.2)
    assert ended == after


class Waiting(Pixels):
    """Network that waits in all threads but the first."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may_end = Event(), Event()

    def forward(self, imgs: Tensor) -> dict[str, Tensor]:
        if current_thread() is not main_thread():
            self.began.set()
            assert self.may_end.wait(HANG)
        return super().forward(imgs)


def forked(function: Callable[[], bool]) -> int:
    """Return the exit code of a forked process: 0 if a function returns True there, -14 if it hangs."""
    process = os.fork()
    if process == 0:
        code = 2
        try:
            signal.alarm(30)
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
in_threads = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@can_fork
@in_threads
@pytest.mark.usefixtures("one_thread")
def test_a_fork_while_another_thread_runs_the_network() -> None:
    network = Waiting()
    metric = DNAEMD(DNAExtractor(network), num_bins=10)
    metric.update(IMAGES[0], real=True)

    def use() -> bool:
        as_before = torch.get_float32_matmul_precision() == "high"
        metric.update(IMAGES[1], real=False)  # of the very metric that the other thread was using
        other = DNAFrechet(DNAExtractor(network))
        other.update(IMAGES[1], real=True)
        return as_before and (metric.to_dna(True).num_images, other.to_dna(True).num_images) == (16, 16)

    thread = Thread(target=metric.update, args=(IMAGES[0],), kwargs={"real": True})
    torch.set_float32_matmul_precision("high")
    try:
        thread.start()
        network.began.wait()
        code = forked(use)
        network.may_end.set()
        thread.join()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert code == 0
    assert metric.to_dna(True).num_images == 32
