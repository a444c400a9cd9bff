"""Gates of the command ``compare``: a line for each, and exit code 1 where one fails."""

from __future__ import annotations

import numpy as np
import pytest
from pixel_sets import EXTRACTOR, A, B
from scipy.stats import t as student

from torchmetrics_dna import compare
from torchmetrics_dna.cli.gates import gates_of
from torchmetrics_dna.files.visible import p_figure

pytestmark = pytest.mark.usefixtures("of_any_value")


def test_a_set_must_be_shown_to_be_near() -> None:
    """Each at the full level: the p-value is that of Student's test of the jackknife, on the squared distance."""
    comparison = compare(A, B, EXTRACTOR, metrics=["dna-emd"])
    evidence, interval = comparison["dna-emd"].evidence, comparison.interval
    for limit, passes in ((1.02 * interval.high, True), (0.5 * interval.high, False)):
        statistic = (limit**2 - evidence.upper) / evidence.jackknife.variance**0.5
        p = float(student.sf(statistic, evidence.jackknife.freedom))
        (gate,) = gates_of({"B": comparison}, 0.05, {"fail_unless_below": limit})
        assert gate.passed is passes is (p <= 0.05)
        assert f"more has {p_figure(p, 'p')}" in gate.lines[0]
    (gate,) = gates_of({"near": comparison, "far": comparison}, 0.05, {"fail_unless_below": 0.5 * interval.high})
    assert len(gate.lines) == 2


def test_the_reference_itself_is_as_near_as_can_be() -> None:
    comparison = compare(A, A, EXTRACTOR, metrics=["dna-emd"])
    assert gates_of({"A": comparison}, 0.05, {"fail_unless_below": 900.0})[0].passed


def test_the_figure_of_what_shares_images_keeps_its_noise() -> None:
    """Half of B are A's own images: what is left of the distance without noise is too small."""
    images = np.random.default_rng(0).integers(0, 200, (60, 8, 8, 3)).astype(np.uint8)
    shared, apart = (compare(images[:40], images[part], EXTRACTOR) for part in (slice(20, 60), slice(40, 60)))
    assert [shared.shares_images, apart.shares_images] == [True, False]
    for comparison, name in ((shared, "dna-emd of B"), (apart, "dna-emd without noise of B")):
        result = comparison["dna-emd"]
        assert result.debiased < result.value
        (gate,) = gates_of({"B": comparison}, 0.05, {"fail_above": (result.debiased + result.value) / 2})
        assert gate.passed is (comparison is apart)
        assert f"{name} is " in gate.lines[0]
