"""The outlier score of single images: each part by numpy and scikit-learn, and what a user expects of the sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.covariance import OAS
from torch import Tensor

from torchmetrics_dna.demo import blur, noise, photographs
from torchmetrics_dna.functional.odd import PropertyTails
from torchmetrics_dna.functional.outlier_score import OutlierReference, percentiles, surprisal
from torchmetrics_dna.functional.outliers import gaussians_of_means, left_out_by_layer
from torchmetrics_dna.images.properties import PROPERTIES, image_properties

Numbers = NDArray[np.float64]
# How a property is transformed: the shift of its logarithm, or of its log odds.
LOGS = {"contrast": 0.02, "saturation": 0.01, "colours": 0.0, "sharpness": 0.01, "noise": 0.005}
ODDS = {"brightness": 0.02} | dict.fromkeys(("dark pixels", "bright pixels", "flat areas", "pixelation"), 0.05)
# The properties of pixels that the distance takes.
OF_PIXELS = [
    *("brightness", "contrast", "dark pixels", "bright pixels", "saturation", "red against green"),
    *("blue against yellow", "colours", "dark corners", "sharpness", "noise", "fine detail", "flat areas"),
    *("pixelation", "blockiness"),
]
# The directions that are faults, each with the smallest distance that counts.
DIRECTIONS = {
    "brightness +": 0.1, "brightness -": 0.1, "contrast -": 0.1, "dark pixels +": 0.2, "bright pixels +": 0.2,
    "saturation +": 0.1, "saturation -": 0.5, "colours +": 0.1, "colours -": 0.1, "sharpness -": 0.05,
    "noise +": 0.1, "flat areas +": 0.1, "pixelation +": 0.5, "blockiness +": 0.01,
}  # fmt: skip


def surprise(values: Numbers, own: Numbers) -> Numbers:
    count, ordered = len(own), np.sort(own)[::-1]
    tail = min(max(5, round(count / 20)), count - 1)
    limit = ordered[tail]
    excess = max(np.mean(ordered[:tail] - limit), 1e-9)
    shares = np.interp(values, ordered[::-1], np.arange(count, 0, -1) / (count + 1), left=1.0)
    beyond = tail / count * (1 + np.maximum(values - limit, 0) / (tail * excess)) ** -tail
    return -np.log(np.where(values > limit, beyond, np.maximum(shares, tail / count)))


def transformed(properties: Numbers, name: str) -> Numbers:
    values = properties[:, PROPERTIES.index(name)]
    if name in LOGS:
        return np.log(values + LOGS[name])
    return np.log((values + ODDS[name]) / (1 - values + ODDS[name])) if name in ODDS else values


def mahalanobis(reference: Numbers, images: Numbers) -> Numbers:
    """Squared distance per dimension, with the unbiased covariance, shrunk as scikit-learn does, and a small floor."""
    mean, cov, size = reference.mean(0), np.cov(reference.T), reference.shape[1]
    weight = OAS().fit(reference).shrinkage_
    floor = 1e-8 * np.mean(mean**2)
    shrunk = (1 - weight) * cov + (weight * np.trace(cov) / size + floor) * np.eye(size)
    offsets = images - mean
    return np.einsum("ij,jk,ik->i", offsets, np.linalg.inv(shrunk), offsets) / size


def smallest_p(reference: Numbers, images: Numbers, usual_sharpness: float) -> Numbers:
    p_values = []
    for direction, least in DIRECTIONS.items():
        name, sign = direction.split(" ")[:-1], 1 if direction.endswith("+") else -1
        own, values = (
            sign * transformed(with_edges(side, usual_sharpness), " ".join(name)) for side in (reference, images)
        )
        count, ordered = len(own), np.sort(own)[::-1]
        tail = max(5, round(count / 20))
        excess = max(np.mean(ordered[:tail] - ordered[tail]), least / 3)
        p_values.append(tail / count * (1 + np.maximum(values - ordered[tail], 0) / (tail * excess)) ** -tail)
    return np.min(p_values, 0)


def with_edges(properties: Numbers, usual_sharpness: float) -> Numbers:
    properties = properties.copy()
    without = properties[:, PROPERTIES.index("flat areas")] > np.float32(0.95)
    properties[without, PROPERTIES.index("sharpness")] = usual_sharpness
    return properties


def by_numpy(reference: list[Numbers], images: list[Numbers]) -> tuple[Numbers, Numbers]:
    """Scores of images, and of the reference's own, each left out: means of two layers, and properties."""
    own_properties = reference[-1]
    usual = np.float32(np.median(own_properties[:, PROPERTIES.index("sharpness")]))

    def figures(some: list[Numbers], others: list[Numbers], unit: Numbers) -> list[Numbers]:
        *means, properties = some
        *other_means, other_properties = others
        network = np.mean([mahalanobis(*sides) for sides in zip(other_means, means, strict=True)], 0) ** 0.5
        columns = [
            np.stack([transformed(side, name) for name in OF_PIXELS], 1) / unit
            for side in (other_properties, properties)
        ]
        return [
            np.log(network),
            np.log(mahalanobis(*columns)),
            -np.log(smallest_p(other_properties, properties, usual)),
        ]

    unit = np.stack([transformed(own_properties, name) for name in OF_PIXELS], 1).std(0, ddof=1).clip(0.01)
    own = np.concatenate(
        [
            figures([side[i : i + 1] for side in reference], [np.delete(side, i, 0) for side in reference], unit)
            for i in range(len(own_properties))
        ],
        axis=1,
    )
    parts = figures(images, reference, unit)
    scores = sum(surprise(values, of_own) for values, of_own in zip(parts, own, strict=True))
    return scores, sum(surprise(of_own, of_own) for of_own in own)


@pytest.mark.parametrize("count", [2, 6, 20, 50, 333])
def test_surprisal_is_the_formula(count: int) -> None:
    random = np.random.default_rng(count)
    own = random.normal(size=count)
    own[1 : count // 3] = own[0]
    values = np.concatenate([random.normal(scale=3, size=60), own, [own.max() + 1e6]])
    given = surprisal(torch.from_numpy(values), torch.from_numpy(own))
    np.testing.assert_allclose(given, surprise(values, own), rtol=1e-12, atol=1e-12)
    order = np.argsort(values, kind="stable")
    assert (given[order].diff() >= -1e-12).all()


def test_percentiles_are_shares_of_the_references_own() -> None:
    own = torch.tensor([3.0, 1.0, 2.0, 4.0])
    assert percentiles(torch.tensor([0.5, 2.0, 2.5, 9.0]), own).tolist() == [0.0, 25.0, 50.0, 100.0]


def pictures(count: int, seed: int) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    return [(random.integers(0, 256, (24, 24, 3)) * random.uniform(0.3, 1)).astype(np.uint8) for _ in range(count)]


def measured(images: list[NDArray[np.uint8]]) -> list[Tensor]:
    """Two layers that need no network, and properties."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    first = batch.float().mean((2, 3))
    return [first, torch.cat([first.log1p(), batch.float().std((2, 3))], 1), image_properties(batch)]


@pytest.mark.parametrize("count", [12, 45])
def test_scores_are_those_of_numpy(count: int) -> None:
    plain = np.full((24, 24, 3), 90, np.uint8)
    reference, images = measured([*pictures(count - 1, 0), plain]), measured([*pictures(9, 1), plain])
    first, second, properties = reference
    means = {"first": first, "second": second}
    of = OutlierReference(gaussians_of_means(means), left_out_by_layer(means), properties)
    scores = of.scores({"first": images[0], "second": images[1]}, images[2])
    expected, own = by_numpy(*([side.double().numpy() for side in sides] for sides in (reference, images)))
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(of.own_scores, own, rtol=1e-6, atol=1e-6)
    one_by_one = [of.scores({"first": a[None], "second": b[None]}, c[None]) for a, b, c in zip(*images, strict=True)]
    assert torch.equal(torch.cat(one_by_one), scores)
    network_alone = OutlierReference(gaussians_of_means(means), left_out_by_layer(means))
    by_network = network_alone.surprisals(network_alone.compare({"first": images[0], "second": images[1]}))
    assert torch.equal(
        by_network[:, 0], of.surprisals(of.compare(dict(zip(means, images, strict=False)), images[2]))[:, 0]
    )


def test_own_tails_leave_each_image_out() -> None:
    properties = measured(pictures(30, 2))[2]
    own = PropertyTails(properties).own_p_values
    for i in (0, 7, 29, int(own.amin(1).argmin())):
        others = torch.cat([properties[:i], properties[i + 1 :]])
        usual = float(properties[:, PROPERTIES.index("sharpness")].double().quantile(0.5))
        expected = smallest_p(*(side.double().numpy() for side in (others, properties[i : i + 1])), usual)
        np.testing.assert_allclose(own[i].min(), expected[0], rtol=1e-6)


def test_stronger_degradation_has_a_larger_score() -> None:
    photos = photographs(60)
    reference = measured(photos[10:])
    means = {"first": reference[0], "second": reference[1]}
    of = OutlierReference(gaussians_of_means(means), left_out_by_layer(means), reference[2])

    def mean_score(images: list[NDArray[np.uint8]]) -> float:
        first, second, properties = measured(images)
        return float(of.scores({"first": first, "second": second}, properties).mean())

    for degrade in (blur, noise):
        slight, strong = ([degrade(photo, strength) for photo in photos[:10]] for strength in (3, 9))
        assert mean_score(photos[:10]) < mean_score(slight) < mean_score(strong)


def test_a_reference_with_properties_needs_those_of_images() -> None:
    first, _, properties = measured(pictures(12, 0))
    means = {"first": first}
    of = OutlierReference(gaussians_of_means(means), left_out_by_layer(means), properties)
    with pytest.raises(ValueError, match="`properties` expected to be those of the images, but got None"):
        of.scores(means)
