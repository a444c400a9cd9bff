"""Compiling is postponed until it is worth its time, with equal results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
import torch

from torchmetrics_dna.binning import Activations, bins_within, counting
from torchmetrics_dna.compiled import Postponed, has_machine_code
from torchmetrics_dna.extras import optional

FIRST_UPDATE = """
import torch
from torchmetrics_dna.binning import activation_histogram, cpu
from torchmetrics_dna.compiled import has_machine_code
from torchmetrics_dna.images.fast import compiled_images

values = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0))
counts = activation_histogram(values, torch.full((3,), -3.0), torch.full((3,), 3.0), 40)
print(int(counts.sum()))
print(bool(cpu._count.signatures), has_machine_code(cpu._count), compiled_images() is not None)
"""


def double(value: int) -> int:
    return 2 * value


def test_torch_does_the_first_work_while_there_is_no_machine_code() -> None:
    postponed = Postponed(numba.njit(double), work_without=10)
    assert [postponed.is_due(work) for work in (4, 5, 4, 1)] == [False, False, False, True]


def test_machine_code_of_this_process_is_used_at_once() -> None:
    function = numba.njit(double)
    postponed = Postponed(function, work_without=10)
    assert not postponed.is_due(1)
    assert function(3) == 6
    assert postponed.is_due(1)


def test_machine_code_of_an_earlier_process_is_used_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert not has_machine_code(numba.njit(cache=True)(double))
    numba.njit(cache=True)(double)(3)
    later = numba.njit(cache=True)(double)
    assert not later.signatures
    assert has_machine_code(later)
    assert not has_machine_code(numba.njit(double))


def test_a_function_that_numba_leaves_as_it_is_needs_no_machine_code() -> None:
    assert has_machine_code(double)


def test_counts_do_not_change_when_compiled_code_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = optional("binning.cpu")
    values = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0))
    bins = bins_within(torch.full((3,), -3.0), torch.full((3,), 3.0), 40)
    postponed = Postponed(numba.njit(double), work_without=values.numel())
    monkeypatch.setattr(cpu, "_COUNTING", postponed)
    all_counts = []
    for _ in range(3):
        counts = torch.zeros(3, 40, dtype=torch.int64)
        counting.add_counts_(counts, Activations({"layer": values}), bins)
        all_counts.append(counts)
    assert postponed.is_due(0)
    assert torch.equal(all_counts[0], all_counts[1])
    assert torch.equal(all_counts[0], all_counts[2])


@pytest.mark.slow
def test_the_first_update_after_an_install_compiles_no_counting(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", FIRST_UPDATE], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["600", "False", "False", "False"]
    assert not list(tmp_path.rglob("*.nbi"))
