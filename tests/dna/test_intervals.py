"""How an interval is written, and when a distance is called smaller than noise."""

from __future__ import annotations

from math import nan

import pytest
import torch

from torchmetrics_dna.dna.evidence import Evidence, Interval, Jackknife


def test_running_text_has_three_digits_and_a_table_four() -> None:
    interval = Interval(1.0, 0.123456, 2.345678, 0.95, 20)
    assert (interval.in_words, interval.ends) == ("95 % interval 0.123 to 2.35", "0.1235 to 2.346")
    without_zero = Interval(1.0, 0.0, 2.345678, 0.9, 20, excludes_zero=True)
    assert without_zero.in_words == "90 % interval above 0 to 2.35"


@pytest.mark.parametrize(
    ("centre", "variance", "is_below"),
    [
        (-4.0, 1.0, True),
        (-1.0, 1.0, False),
        (4.0, 1.0, False),
        (0.0, 1.0, False),
        (-4.0, nan, False),
        (-1e-9, 0.0, True),
    ],
)
def test_below_noise(centre: float, variance: float, is_below: bool) -> None:
    """Four standard errors below 0 are, one is not, and nothing is where the error is unknown."""
    jackknife = Jackknife(centre, variance, 1000.0, (None, None))
    none = torch.zeros(0)
    evidence = Evidence(None, none, (), none, None, None, None, None, None, jackknife, centre, centre, 2)
    assert evidence.is_below_noise == is_below
