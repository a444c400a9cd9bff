from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import load
from torch import Tensor

from torchmetrics_dna.functional import layer_frechet_distance

GOLDEN, END_TO_END = load("distances.npz"), load("endtoend/endtoend.npz")
END_TO_END_RANK = [bool(END_TO_END[f"fdset_full_rank-{layer}"]) for layer in END_TO_END["layers"]]


def moments(samples: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(samples.mean(0)), torch.from_numpy(np.atleast_2d(np.cov(samples.T)))


def samples(seed: int, count: int, width: int, rank: int | None = None) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, rank or width))
    return values @ random.normal(size=(rank or width, width)) + random.normal(size=width)


def official(names: str, golden: dict[str, np.ndarray]) -> float:
    """Our distance for means and covariances of a file, whose names have ``{moment}`` and ``{side}``."""
    sides = ("a", "b") if golden is END_TO_END else ("A", "B")
    fields = [names.format(moment=moment, side=side) for side in sides for moment in ("mu", "sigma")]
    return float(layer_frechet_distance(*(torch.from_numpy(golden[name]) for name in fields)))


def test_official_values() -> None:
    for layer in GOLDEN["layers"]:
        expected = float(GOLDEN[f"fd_layer-{layer}"])
        assert official(f"lg_{{moment}}_{{side}}-{layer}", GOLDEN) == pytest.approx(expected, rel=1e-9)
    for layer in GOLDEN["special-layers"]:  # singular
        expected = float(GOLDEN[f"special-fd_layer-{layer}"])
        assert official(f"special-lg_{{moment}}_{{side}}-{layer}", GOLDEN) == pytest.approx(expected, rel=1e-5)
    for layer in END_TO_END["layers"][END_TO_END_RANK]:
        value = official(f"fdset_{{moment}}_fd_{{side}}-{layer}", END_TO_END)
        for kind in ("vdna", "exact"):
            assert value == pytest.approx(float(END_TO_END[f"fdset_fd_layer_{kind}-{layer}"]), rel=1e-6)


def test_covariances_of_few_images_need_no_offset() -> None:
    a, b = (moments(GOLDEN[f"singular-acts_{s}"].astype(np.float64)) for s in "AB")
    assert float(layer_frechet_distance(*a, *b)) == pytest.approx(float(GOLDEN["singular-fd_exact"]), rel=1e-12)
    # the official code adds 1e-6 to the diagonals there
    assert float(layer_frechet_distance(*a, *b)) == pytest.approx(float(GOLDEN["singular-fd_layer_vdna"]), rel=1e-2)
    one = torch.from_numpy(GOLDEN["one_image-acts_A"][0].astype(np.float64)), torch.zeros(8, 8)
    b = moments(GOLDEN["one_image-acts_B"].astype(np.float64))
    assert float(layer_frechet_distance(*one, *b)) == pytest.approx(float(GOLDEN["one_image-fd"]), rel=1e-6)
    for layer in END_TO_END["layers"]:
        a, b = (moments(END_TO_END[f"spatial_mean_{s}-{layer}"].astype(np.float64)) for s in "ab")
        exact = float(END_TO_END[f"fd_layer_exact-{layer}"])
        assert float(layer_frechet_distance(*a, *b)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("count_a", "count_b", "spectrum"),
    [(90, 100, 0), (90, 700, -3), (140, 150, -8), (900, 800, 0), (900, 800, -3), (900, 800, -8)],
)
def test_every_way_to_a_root_loses_nothing(count_a: int, count_b: int, spectrum: int) -> None:
    """Low, full and in-between ranks, and eigenvalues that fall off, against singular values of the samples."""
    random = np.random.default_rng(0)
    scales = np.logspace(0, spectrum, 520) * np.linalg.qr(random.normal(size=(520, 520)))[0]
    a, b = (random.normal(size=(count, 520)) @ scales + side for side, count in ((0, count_a), (0.01, count_b)))
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    roots = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    exact = np.square(a.mean(0) - b.mean(0)).sum() + sum(np.square(c).sum() for c in centred) - 2 * roots
    assert float(layer_frechet_distance(*moments(a), *moments(b))) == pytest.approx(exact, rel=1e-6)
    same = moments(a)
    assert float(layer_frechet_distance(*same, *same)) <= 1e-9 * float(same[1].trace())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3)), r"Expected means \(n,\) and covariances"),
        ((torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(2) * torch.nan), "Expected finite means"),
    ],
)
def test_bad_moments(arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_frechet_distance(*arguments)
