"""Precision, recall, density and coverage, against their definitions by scikit-learn's neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

import torchmetrics_dna.functional.neighbours as module
from torchmetrics_dna.functional import prdc

DIGITS = torch.from_numpy(load_digits().data)
NAMES = ["precision", "recall", "density", "coverage"]


def by_definition(real: Tensor, fake: Tensor, k: int) -> list[float]:
    a, b = real.numpy(), fake.numpy()
    radii = [NearestNeighbors(n_neighbors=k).fit(side).kneighbors()[0][:, -1] for side in (a, b)]  # without itself
    apart = cdist(a, b)
    inside = apart < radii[0][:, None]
    recalled = (apart < radii[1]).any(1)
    return [inside.any(0).mean(), recalled.mean(), inside.sum() / (k * len(b)), inside.any(1).mean()]


@pytest.mark.parametrize("cells", [1 << 22, 500])
def test_digits(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", cells)
    for real, fake, k in ((DIGITS[:300], DIGITS[300:500] * 0.9, 5), (DIGITS[:40], DIGITS[40:120], 1)):
        values = prdc(real, fake, k)
        assert list(values) == NAMES
        np.testing.assert_allclose(
            [float(value) for value in values.values()], by_definition(real, fake, k), rtol=1e-12
        )
        assert 0.2 < values["precision"] < 1


@pytest.mark.parametrize(("images", "width"), [(6, 3), (40, 3), (60, 500)])
def test_copies_lie_in_balls_without_extent(images: int, width: int) -> None:
    """Of equal images, such as those of a generator that has collapsed, every ball is a point."""
    random = np.random.default_rng(images)
    image = torch.from_numpy(random.normal(size=(1, width)))
    real, others = image.expand(images, -1), torch.from_numpy(random.normal(size=(images, width)))
    assert prdc(real, real.clone()) == {"precision": 1, "recall": 1, "density": images / 5, "coverage": 1}
    assert not any(prdc(real, real + 1).values())
    fake = torch.cat([others, real[:1]])[1:]  # one of them is a copy of all real images
    assert prdc(real, fake) == {"precision": 1 / images, "recall": 1, "density": 0.2, "coverage": 1}


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(6, 12), st.integers(6, 12), st.integers(1, 5))
def test_laws(seed: int, real_images: int, fake_images: int, k: int) -> None:
    random = np.random.default_rng(seed)
    real, fake = (torch.from_numpy(random.normal(size=(count, 4))) for count in (real_images, fake_images))
    values, swapped = prdc(real, fake, k), prdc(fake, real, k)
    assert values["precision"] == swapped["recall"]
    assert {float(value) for name, value in prdc(real, real, k).items() if name != "density"} == {1.0}
    assert not any(prdc(real, fake + 1e6, k).values())


def test_errors() -> None:
    for k in (0, True):
        with pytest.raises(ValueError, match="`nearest_k` expected to be an integer of at least 1"):
            prdc(DIGITS, DIGITS, k)
    with pytest.raises(RuntimeError, match="More than 5 images are required for both sides to compute prdc, but got 5"):
        prdc(DIGITS[:5], DIGITS)
