"""MIND and CMMD, against the values of their published code and against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import load
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from torch import Tensor

import torchmetrics_dna.functional.mean_discrepancy as of_cmmd
import torchmetrics_dna.functional.monge as of_mind
from torchmetrics_dna.functional import cmmd, mind, prdc
from torchmetrics_dna.functional.inception_score import inception_score
from torchmetrics_dna.functional.kernel import kernel_distance

GOLDEN = load("published.npz")
# of equal sizes, and one whose larger side is subsampled
A, B = ([torch.from_numpy(GOLDEN[f"features_{side}-{name}"]) for side in "12"] for name in "ab")
_seeds = st.integers(0, 2**32)


def features(seed: int, images: int, width: int = 5) -> Tensor:
    return torch.randn(images, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("projections", [50, 1000])
@pytest.mark.parametrize(("name", "sets"), [("a", A), ("b", B)])
def test_published_values_of_mind(name: str, sets: list[Tensor], projections: int) -> None:
    expected = float(GOLDEN[f"mind-{name}-M{projections}"])
    assert float(mind(*sets, num_projections=projections)) == pytest.approx(expected, rel=1e-6)
    if projections == 1000:
        assert mind(*sets) == mind(*sets, num_projections=1000, seed=2020), "the published settings are the default"


def test_the_smaller_side_may_come_first() -> None:
    larger, smaller = B
    generator = torch.Generator().manual_seed(2020)
    drawn = larger[torch.randperm(300, generator=generator)[:260]]
    directions = torch.randn(1000, 24, generator=generator).double()
    directions /= directions.norm(dim=1, keepdim=True)
    ends = ((x.double() @ directions.T).sort(0).values.numpy() for x in (drawn, smaller))
    expected = 72 * np.square(np.subtract(*ends)).mean()
    assert float(mind(larger, smaller)) == pytest.approx(expected, rel=1e-6)
    assert float(mind(smaller, larger)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "sets"), [("a", A), ("b", B)])
def test_published_values_of_cmmd(name: str, sets: list[Tensor]) -> None:
    assert float(cmmd(*sets)) == pytest.approx(float(GOLDEN[f"cmmd-{name}"]), rel=1e-6)
    # float32 leaves three digits of them
    assert float(cmmd(*sets)) == pytest.approx(float(GOLDEN[f"cmmd32-{name}"]), rel=5e-3)


def test_cmmd_is_its_formula() -> None:
    a, b = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in B)
    aa, bb, ab = (np.exp(-cdist(x, y, "sqeuclidean") / 200).mean() for x, y in ((a, a), (b, b), (a, b)))
    assert float(cmmd(*B)) == pytest.approx(1000 * (aa + bb - 2 * ab), rel=1e-9)


def test_mind_along_one_neuron_is_a_wasserstein_distance() -> None:
    a, b = features(0, 40, 1), features(1, 40, 1) + 2
    # of sets that lie apart, every image of A is moved by as much as the means differ, plus what spreads differ
    shift = a.sort(0).values - b.sort(0).values
    assert float(mind(a, b)) == pytest.approx(3 * float(shift.square().mean()), rel=1e-6)
    far = b + 100
    moved = wasserstein_distance(a[:, 0], far[:, 0])
    assert float(mind(a, far)) == pytest.approx(3 * moved**2, rel=1e-3)


@settings(max_examples=20)
@given(_seeds, st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 100))
def test_laws(seed: int, images_a: int, images_b: int, scale: float) -> None:
    a, b = features(seed, images_a), features(seed + 1, images_b)
    for distance in (lambda x, y: mind(x, y, num_projections=20), cmmd):
        assert distance(a, b) >= 0
        assert distance(a, a) == pytest.approx(0, abs=1e-12)
        assert float(distance(a, b)) == pytest.approx(float(distance(b, a)), rel=1e-9, abs=1e-12)
    assert float(cmmd(a * scale, b)) == pytest.approx(float(cmmd(a, b)), rel=1e-9, abs=1e-12)
    if images_a == images_b:
        value = float(mind(a, b, num_projections=20))
        scaled = float(mind(a * scale, b * scale, num_projections=20))
        assert scaled == pytest.approx(scale**2 * value, rel=1e-9)
        assert float(mind(a.flip(0), b, num_projections=20)) == pytest.approx(value, rel=1e-12)


def test_a_shift_costs_its_square() -> None:
    """The mean over directions of 3 n (shift . direction)^2 is 3 |shift|^2."""
    a, shift = features(0, 30, 8), features(1, 1, 8)
    distance = float(mind(a, a + shift, num_projections=20_000))
    assert distance == pytest.approx(3 * float(shift.square().sum()), rel=0.02)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = mind(*A), cmmd(*B)
    monkeypatch.setattr(of_mind, "_CELLS", 300 * 7)
    monkeypatch.setattr(of_cmmd, "_CELLS", 300 * 7)
    for actual, expected in zip((mind(*A), cmmd(*B)), values, strict=True):
        assert float(actual) == pytest.approx(float(expected), rel=1e-12)


def test_the_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    mind(*B, num_projections=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("distance", [mind, cmmd])
def test_errors(distance: object) -> None:
    a = features(0, 4)
    for bad, message in (
        (a[0], r"each \(images, n\), but got shapes \(4, 5\) and \(5,\)"),
        (a[:, :3], r"but got shapes \(4, 5\) and \(4, 3\)"),
        (a.long(), r"floating point, but got torch\.float64 and torch\.int64"),
        (a / 0, "Expected finite features"),
    ):
        with pytest.raises(ValueError, match=message):
            distance(a, bad)
    with pytest.raises(RuntimeError, match=rf"At least one image .* compute {distance.__name__}, but got 4 and 0"):
        distance(a, a[:0])


def _of_images(name: str) -> object:
    others = features(1, 20)
    return {
        "is": inception_score,
        "kid": lambda rows: kernel_distance(others, rows),
        "cmmd": lambda rows: cmmd(rows, others),
        "mind": lambda rows: mind(others, rows),
        "prdc": lambda rows: prdc(rows, others),
    }[name]


@pytest.mark.parametrize("name", ["is", "kid", "cmmd", "mind", "prdc"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_no_figure_of_features_that_are_not_finite(name: str, value: float) -> None:
    bad = features(0, 20)
    bad[[7, 12], 2] = value
    with pytest.raises(ValueError, match=f"finite features to compute {name}, .* in 2 of 20 images, first in image 7"):
        _of_images(name)(bad)


@pytest.mark.parametrize("seed", range(3))
def test_cmmd_does_not_depend_on_the_order_of_images(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = features(seed, 200, 40), features(seed + 1, 170, 40)
    orders = [(torch.randperm(200, generator=generator), torch.randperm(170, generator=generator)) for _ in range(10)]
    assert {float(cmmd(a[of_a], b[of_b])) for of_a, of_b in orders} == {float(cmmd(a, b))}


def test_errors_of_one() -> None:
    a = features(0, 4)
    with pytest.raises(ValueError, match="a row of zeros"):
        cmmd(a, a * 0)
    for bad in (0, 2.5, True):
        with pytest.raises(
            ValueError, match=f"`num_projections` expected to be an integer of at least 1, but got {bad}"
        ):
            mind(a, a, num_projections=bad)
    with pytest.raises(ValueError, match="`seed` expected to be an integer of at least 0, but got -1"):
        mind(a, a, seed=-1)
