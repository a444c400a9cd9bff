"""The outlier score of single images: each part by numpy and scikit-learn, and what a user expects of the sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from surprise import outlier_scores, smallest_p, surprise
from torch import Tensor

from torchmetrics_dna.demo import blur, noise, photographs
from torchmetrics_dna.functional.flagging import PropertyTails
from torchmetrics_dna.functional.outlier_score import OutlierReference, percentiles, surprisal
from torchmetrics_dna.functional.outliers import gaussians_of_means, left_out_by_layer
from torchmetrics_dna.images.properties import PROPERTIES, image_properties


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
    *of_reference, own_properties = [side.double().numpy() for side in reference]
    *of_images, their_properties = [side.double().numpy() for side in images]
    expected, own = outlier_scores((of_reference, of_images), (own_properties, their_properties))
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
