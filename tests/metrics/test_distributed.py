from __future__ import annotations

import sys
from pathlib import Path

import pytest
import workers
from processes import run


@pytest.mark.parametrize("world", [2, 4])
def test_every_process_gets_the_value_of_one(world: int, tmp_path: Path) -> None:
    run(world, workers.values, tmp_path)


def test_all_ways_of_syncing(tmp_path: Path) -> None:
    run(3, workers.manners, tmp_path)


def test_torchmetrics_contract_over_processes_and_in_checkpoints(tmp_path: Path) -> None:
    run(2, workers.contract, tmp_path, str(tmp_path))


def test_compute_groups_over_processes(tmp_path: Path) -> None:
    run(2, workers.groups, tmp_path)


def test_ddp_and_fsdp_do_not_see_the_network(tmp_path: Path) -> None:
    run(2, workers.wrappers, tmp_path)


def test_processes_that_disagree_all_raise(tmp_path: Path) -> None:
    run(3, workers.disagreements, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_sync_takes_two_copies_of_the_state_at_most(tmp_path: Path) -> None:
    run(4, workers.memory, tmp_path, str(tmp_path / "found"))
    state, ours, upstream = map(float, (tmp_path / "found").read_text().split())
    print(f"State {state / 2**20:.0f} MiB: ours {ours:.2f} states, torchmetrics {upstream:.2f}")
    assert state > 75 * 2**20
    assert ours <= 2.2
    assert upstream > ours
