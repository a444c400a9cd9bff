"""The outlier score the slow way: float64 numpy and scikit-learn, with each own image left out in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import OAS

from torchmetrics_dna.images.properties import PROPERTIES

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


def outlier_scores(
    means: tuple[list[Numbers], list[Numbers]], properties: tuple[Numbers, Numbers] | None = None
) -> tuple[Numbers, Numbers]:
    """Scores of images, and of the reference's own, each left out.

    Args:
        means: Spatial means of each layer, of the reference and of the images.
        properties: Image properties of the reference and of the images; None for the score of the network alone.

    """
    of_reference, of_images = means
    count = len(of_reference[0])
    unit, usual = np.ones(1), np.float32(0)
    if properties is not None:
        unit = np.stack([transformed(properties[0], name) for name in OF_PIXELS], 1).std(0, ddof=1).clip(0.01)
        usual = np.float32(np.median(properties[0][:, PROPERTIES.index("sharpness")]))

    def figures(chosen: list[int], layers: list[Numbers], of_pixels: Numbers | None) -> list[Numbers]:
        """What the score adds up, of images beside the chosen ones of the reference."""
        distances = [mahalanobis(own[chosen], given) for own, given in zip(of_reference, layers, strict=True)]
        network = np.log(np.mean(distances, 0) ** 0.5)
        if properties is None or of_pixels is None:
            return [network]
        own = properties[0][chosen]
        columns = [np.stack([transformed(side, name) for name in OF_PIXELS], 1) / unit for side in (own, of_pixels)]
        return [network, np.log(mahalanobis(*columns)), -np.log(smallest_p(own, of_pixels, usual))]

    left_out = []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        of_pixels = None if properties is None else properties[0][i : i + 1]
        left_out.append(figures(others, [layer[i : i + 1] for layer in of_reference], of_pixels))
    own = [np.concatenate(values) for values in zip(*left_out, strict=True)]
    parts = figures([*range(count)], of_images, None if properties is None else properties[1])
    scores = sum(surprise(values, of_own) for values, of_own in zip(parts, own, strict=True))
    return scores, sum(surprise(of_own, of_own) for of_own in own)
