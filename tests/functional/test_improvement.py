from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from torchmetrics_dna.functional import last_improvement
from torchmetrics_dna.functional.improvement import Improvement, improvement_of


def by_distance(distances: list[float]) -> object:
    """Return p-values of a test that detects a difference of 1, and no smaller one."""
    return lambda earlier, later: 0.001 if distances[later] <= distances[earlier] - 1 else 0.5


def test_slight_improvements_add_up() -> None:
    found = last_improvement(by_distance([5.0, 4.6, 4.2, 3.8, 3.4, 3.0]), 6)
    assert (found.step, found.before) == (3, 0)
    assert found.p_value == pytest.approx(0.001 * 3 * 4)
    assert found.least_p_value == 1


def test_a_step_that_is_worse_is_passed_over() -> None:
    found = last_improvement(by_distance([5.0, 9.0, 3.0, 8.0, 2.5]), 5)
    assert (found.step, found.before, found.p_value) == (2, 0, pytest.approx(0.006))
    assert last_improvement(by_distance([5.0]), 1) == (0, None, None, None)
    assert last_improvement(by_distance([5.0, 3.0]), 2) == (1, 0, pytest.approx(0.002), None)


def test_steps_without_a_test_are_not_counted() -> None:
    def p_value(earlier: int, later: int) -> float | None:
        return None if later < 3 else 0.01

    assert last_improvement(p_value, 4) == (3, 0, pytest.approx(0.02), None)
    assert last_improvement(p_value, 3) == (0, None, None, None)


def test_what_was_found_stays() -> None:
    """A longer sequence never takes an improvement back."""
    random = np.random.default_rng(0)
    for _ in range(200):
        p_values = random.uniform(size=(12, 12)) ** 3
        steps = [last_improvement(lambda i, j: p_values[i, j], length).step for length in range(1, 13)]  # noqa: B023
        assert steps == sorted(steps)


def test_equal_steps_are_rarely_improvements() -> None:
    """At most 5 % of sequences of 40 equal steps, whose estimates share no noise but that of the anchor."""
    random = np.random.default_rng(1)
    num_false = 0
    num_draws = 1000
    for _ in range(num_draws):
        x = random.normal(size=40)

        def p_value(earlier: int, later: int) -> float:
            return float(2 * stats.norm.sf(abs(x[earlier] - x[later]) / 2**0.5)) if x[later] < x[earlier] else 1.0  # noqa: B023

        num_false += last_improvement(p_value, 40).step > 0
    assert num_false <= 0.05 * num_draws


def test_names_are_ordered_by_their_numbers() -> None:
    distances = {"c": 3.0, "a": 9.0, "d": 3.5, "b": 6.0}
    positions = {"c": 30.0, "a": 10.0, "d": 40.0, "b": 20.0}

    def p_value(near: str, far: str) -> float | None:
        return 0.01 if distances[near] < distances[far] - 1 else 0.4

    found = improvement_of(positions, p_value, distances.__getitem__)
    assert found == Improvement("c", 30.0, "b", pytest.approx(0.02), pytest.approx(0.8), 0.4, 4)
    assert improvement_of({}, p_value, distances.__getitem__) is None
    assert improvement_of(positions, lambda near, far: None, distances.__getitem__) is None
