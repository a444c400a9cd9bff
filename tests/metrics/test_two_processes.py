"""Metrics over two processes of gloo; runs in plain ``pytest`` on every system, so it uses ``spawn``."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from limits import HANG
from two_ranks import FAKE, REAL, values_of, values_of_rank


def test_two_processes_have_the_values_of_one(tmp_path: Path) -> None:
    expected = values_of(REAL, FAKE)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        ranks = [processes.submit(values_of_rank, rank, str(tmp_path / "meeting")) for rank in range(2)]
        values_of_ranks = [rank.result(timeout=HANG) for rank in ranks]
    assert not torch.equal(expected["dna-emd"], values_of(REAL[::2], FAKE[::2])["dna-emd"])
    for values in values_of_ranks:
        torch.testing.assert_close(values, expected, rtol=0, atol=0)
