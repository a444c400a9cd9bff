"""Fits of changes: by brute force, and what must hold of any fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_dna.functional.changes import fit_changes

RNG = np.random.default_rng(0)
PATHS = torch.from_numpy(RNG.normal(size=(4, 3, 12))).cumsum(1)
NONE = torch.zeros(0, 12).double()


def at(change: int, strength: float) -> np.ndarray:
    path = np.concatenate([np.zeros((1, 12)), PATHS[change].numpy()])
    return np.stack([np.interp(strength, range(4), column) for column in path.T])


@settings(max_examples=30)
@given(st.integers(0, 3), st.floats(0.1, 3))
def test_a_change_is_found_with_its_strength(change: int, strength: float) -> None:
    fit = fit_changes(torch.from_numpy(at(change, strength)), PATHS, NONE)
    assert fit.changes == [(change, pytest.approx(strength, abs=1e-6))]
    assert fit.unexplained == pytest.approx(0, abs=1e-9)
    assert fit.alone.argmin() == change


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_each_alone_is_the_best_by_brute_force(seed: int) -> None:
    shift = np.random.default_rng(seed).normal(size=12)
    fit = fit_changes(torch.from_numpy(shift), PATHS, NONE, least_gain=0)
    for change in range(4):
        grid = min(((shift - at(change, s)) ** 2).sum() for s in np.linspace(0, 3, 601))
        assert float(fit.alone[change]) * (shift @ shift) == pytest.approx(grid, rel=1e-3)
        assert float(fit.alone[change]) <= 1 + 1e-12
    assert fit.unexplained <= float(fit.alone.min()) + 1e-12
    assert all(0 <= strength <= 3 for _, strength in fit.changes)


def test_two_changes_add_up() -> None:
    for first, second in itertools.combinations(range(4), 2):
        shift = torch.from_numpy(at(first, 2.5) + at(second, 1.5))
        fit = fit_changes(shift, PATHS, NONE, least_gain=0.01)
        assert fit.unexplained < 0.05
        assert {first, second} <= {change for change, _ in fit.changes}


def test_content_is_taken_from_both_sides() -> None:
    content = torch.from_numpy(RNG.normal(size=(2, 12)))
    shift = torch.from_numpy(at(1, 2))
    plain = fit_changes(shift, PATHS, content)
    moved = fit_changes(shift + 100 * content[0] - 50 * content[1], PATHS, content)
    assert moved.changes == [(1, pytest.approx(2, abs=1e-6))]
    torch.testing.assert_close(moved.alone, plain.alone)
    content_only = fit_changes(3 * content[0], PATHS, content)
    assert content_only.unexplained == pytest.approx(1)


def test_nothing_is_made_of_nothing() -> None:
    fit = fit_changes(torch.zeros(12).double(), PATHS, NONE)
    assert (fit.changes, fit.unexplained, fit.alone.tolist()) == ([], 1.0, [1.0] * 4)
    # and the opposite of a change is not that change
    assert fit_changes(-PATHS[0, 2], PATHS[:1], NONE).changes == []
