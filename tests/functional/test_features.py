"""KID, CMMD, MIND, PRDC and the inception score, against published values, other libraries and their formulas."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from golden import load
from scipy.spatial.distance import cdist
from scipy.stats import betabinom
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from torchmetrics_dna.functional import cmmd, mind, prdc
from torchmetrics_dna.functional import features as module
from torchmetrics_dna.functional.features import inception_score, kernel_distance

GOLDEN = load("published.npz")
# of equal sizes, and one whose larger side is subsampled
A, B = ([torch.from_numpy(GOLDEN[f"features_{side}-{name}"]) for side in "12"] for name in "ab")
DIGITS = torch.from_numpy(load_digits().data)


def features(seed: int, images: int, width: int = 5) -> Tensor:
    return torch.randn(images, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("name", "sets"), [("a", A), ("b", B)])
def test_published_values(name: str, sets: list[Tensor]) -> None:
    for projections in (50, 1000):
        expected = float(GOLDEN[f"mind-{name}-M{projections}"])
        assert float(mind(*sets, num_projections=projections)) == pytest.approx(expected, rel=1e-6)
    assert mind(*sets) == mind(*sets, num_projections=1000, seed=2020), "the published settings are the default"
    assert float(cmmd(*sets)) == pytest.approx(float(GOLDEN[f"cmmd-{name}"]), rel=1e-6)
    # float32 leaves three digits of them
    assert float(cmmd(*sets)) == pytest.approx(float(GOLDEN[f"cmmd32-{name}"]), rel=5e-3)


def test_the_smaller_side_of_mind_may_come_first() -> None:
    larger, smaller = B
    generator = torch.Generator().manual_seed(2020)
    drawn = larger[torch.randperm(300, generator=generator)[:260]]
    directions = torch.randn(1000, 24, generator=generator).double()
    directions /= directions.norm(dim=1, keepdim=True)
    ends = ((x.double() @ directions.T).sort(0).values.numpy() for x in (drawn, smaller))
    expected = 72 * np.square(np.subtract(*ends)).mean()
    assert float(mind(larger, smaller)) == pytest.approx(expected, rel=1e-6)
    assert float(mind(smaller, larger)) == pytest.approx(expected, rel=1e-6)


KID_SETS = tuple(features(seed, 70, 20).float().relu() + 0.1 * seed for seed in range(2))


def kid_by_formula(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased squared MMD under the kernel (x'y / n + 1)^3."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = sum((kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1)) for x in (a, b))
    return float(within - 2 * kernel(a, b).mean())


def test_kid_of_all_images_is_its_formula_and_of_subsets_that_of_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = kid_by_formula(*(side.double().numpy() for side in KID_SETS))
    mean, deviation = kernel_distance(*KID_SETS)
    assert (mean, deviation) == (pytest.approx(expected, rel=1e-9), 0)
    for counts in ((70, 40), (40, 70)):
        a, b = (side[:count] for side, count in zip(KID_SETS, counts, strict=True))
        metric = KernelInceptionDistance(nn.Identity(), subsets=100, subset_size=40)
        metric.update(a, real=True)
        metric.update(b, real=False)
        torch.manual_seed(0)
        assert kernel_distance(a, b) == tuple(pytest.approx(float(value), rel=1e-4) for value in metric.compute())
    monkeypatch.setattr(module, "SUBSET_SIZE", 30)
    mean, deviation = kernel_distance(*KID_SETS)
    assert mean == pytest.approx(expected, abs=deviation)


def test_nothing_is_warned_of_and_the_random_state_is_left_alone() -> None:
    a, b = KID_SETS
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = kernel_distance(a, b[:40])
        mind(*B, num_projections=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert kernel_distance(a, b[:40]) == first


def prdc_by_definition(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    a, b = real.numpy(), fake.numpy()
    radii = [NearestNeighbors(n_neighbors=k).fit(side).kneighbors()[0][:, -1] for side in (a, b)]  # without itself
    apart = cdist(a, b)
    inside = apart < radii[0][:, None]
    recalled = (apart < radii[1]).any(1)
    clipped = np.minimum(radii[0], np.median(radii[0]))[:, None]
    others = cdist(a, a) + np.diag(np.full(len(a), np.inf))
    counts = ((side <= clipped).sum(0) for side in (apart, others))
    dense, ideal = (np.minimum(count, k).mean() for count in counts)
    full = np.minimum(inside.sum(1), k).mean() / k
    expected = [betabinom(m, k, len(a) - k).expect(lambda j: np.minimum(j, k)) / k for m in range(len(b) + 1)]
    return {
        "precision": inside.any(0).mean(),
        "recall": recalled.mean(),
        "clipped_density": min(dense / ideal, 1),
        "clipped_coverage": np.searchsorted(expected, full - 1e-9) / len(expected),
        "density": inside.sum() / (k * len(b)),
        "coverage": inside.any(1).mean(),
    }


# clipped density and coverage by the authors' code, github.com/nicolassalvy/ClippedDensityCoverage
@pytest.mark.parametrize(
    ("real", "fake", "k", "published"),
    [
        (DIGITS[:300], DIGITS[300:500] * 0.9, 5, (0.7475083056478404, 0.6019900497512438)),
        (DIGITS[:40], DIGITS[40:120], 1, (1.0, 0.7283950617283951)),
    ],
)
def test_prdc_of_digits(real: Tensor, fake: Tensor, k: int, published: tuple[float, float]) -> None:
    values = {name: float(value) for name, value in prdc(real, fake, k).items()}
    assert values == pytest.approx(prdc_by_definition(real, fake, k), rel=1e-12)
    assert (values["clipped_density"], values["clipped_coverage"]) == pytest.approx(published, rel=1e-12)
    assert list(values) == list(prdc_by_definition(real, fake, k))
    assert 0.2 < values["precision"] < 1


@pytest.mark.parametrize("sizes", [(1500, 1500), (2000, 1000)])
def test_clipped_values_are_the_share_of_good_images(sizes: tuple[int, int]) -> None:
    real, fake = (features(seed, images, 8) for seed, images in enumerate(sizes))
    for share in (0, 0.25, 0.5, 0.75, 1):
        some = torch.cat([fake[: round(share * len(fake))], 10 + features(2, len(fake), 8)])[: len(fake)]
        values = prdc(real, some)
        for name in ("clipped_density", "clipped_coverage"):
            assert float(values[name]) == pytest.approx(share, abs=0.05)
    outlier_test = [torch.cat([side[:-30], 10 * side[-30:]]) for side in (real, fake)]
    before, after = prdc(real, fake), prdc(*outlier_test)
    for name in ("clipped_density", "clipped_coverage"):
        assert float(after[name]) == pytest.approx(float(before[name]), abs=0.03)


@pytest.mark.parametrize(("images", "width"), [(6, 3), (60, 500)])
def test_copies_lie_in_balls_without_extent(images: int, width: int) -> None:
    """Of equal images, such as those of a generator that has collapsed, every ball is a point."""
    random = np.random.default_rng(images)
    image = torch.from_numpy(random.normal(size=(1, width)))
    real, others = image.expand(images, -1), torch.from_numpy(random.normal(size=(images, width)))
    alike = dict.fromkeys(["precision", "recall", "clipped_density", "clipped_coverage", "coverage"], 1)
    assert prdc(real, real.clone()) == alike | {"density": images / 5}
    assert not any(prdc(real, real + 1).values())
    fake = torch.cat([others, real[:1]])[1:]  # one of them is a copy of all real images
    values = {name: float(value) for name, value in prdc(real, fake).items() if name != "clipped_coverage"}
    expected = {"precision": 1 / images, "recall": 1, "clipped_density": 1 / images, "density": 0.2, "coverage": 1}
    assert values == pytest.approx(expected, rel=1e-12)


def test_the_inception_score_is_of_ten_parts_in_torch_fidelitys_order() -> None:
    logits = torch.from_numpy(np.random.default_rng(3).normal(scale=3, size=(47, 5)))
    odds = logits.exp().numpy()
    p = (odds / odds.sum(1, keepdims=True))[np.random.RandomState(2020).permutation(47)]
    parts = [p[47 * k // 10 : 47 * (k + 1) // 10] for k in range(10)]
    scores = [np.exp((part * np.log(part / part.mean(0))).sum(1).mean()) for part in parts]
    assert inception_score(logits) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-12)
    with pytest.raises(RuntimeError, match="At least 10 images are required to compute is, but got 4"):
        inception_score(logits[:4])


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "is": lambda _, rows: inception_score(rows),
    "kid": kernel_distance,
    "cmmd": cmmd,
    "mind": mind,
    "prdc": lambda others, rows: prdc(rows, others),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_no_figure_of_features_that_are_not_finite(name: str, value: float) -> None:
    bad = features(0, 20)
    bad[[7, 12], 2] = value
    with pytest.raises(ValueError, match=f"finite features to compute {name}, .* in 2 of 20 images, first in image 7"):
        FUNCTIONS[name](features(1, 20), bad)


@pytest.mark.parametrize("distance", [mind, cmmd])
def test_errors_of_shape_and_dtype(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    a = features(0, 4)
    for bad, message in (
        (a[0], r"each \(images, n\), but got shapes \(4, 5\) and \(5,\)"),
        (a[:, :3], r"but got shapes \(4, 5\) and \(4, 3\)"),
        (a.long(), r"floating point, but got torch\.float64 and torch\.int64"),
    ):
        with pytest.raises(ValueError, match=message):
            distance(a, bad)
    with pytest.raises(RuntimeError, match=rf"At least one image .* compute {distance.__name__}, but got 4 and 0"):
        distance(a, a[:0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: cmmd(a, a * 0), ValueError, "a row of zeros"),
        (lambda a: mind(a, a, num_projections=0), ValueError, "`num_projections` .* integer of at least 1, but got 0"),
        (
            lambda a: mind(a, a, num_projections=2.5),
            ValueError,
            "`num_projections` .* integer of at least 1, but got 2.5",
        ),
        (
            lambda a: mind(a, a, num_projections=True),
            ValueError,
            "`num_projections` .* integer of at least 1, but got True",
        ),
        (lambda a: mind(a, a, seed=-1), ValueError, "`seed` expected to be an integer of at least 0, but got -1"),
        (lambda a: prdc(a, a, 0), ValueError, "`nearest_k` expected to be an integer of at least 1"),
        (lambda a: prdc(a, a), RuntimeError, "At least 6 images are required .* to compute prdc, but got 4 and 4"),
        (lambda a: kernel_distance(a, a[:1]), RuntimeError, "for both sides to compute kid, but got 4 and 1"),
    ],
)
def test_errors(call: Callable[[Tensor], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(features(0, 4))
