"""Reconcile a claimed value with images: compute it by each choice that published codes take differently."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.comparisons.choices import Recipe, choices_for
from torchmetrics_dna.comparisons.reconciliation import (
    ANOTHER_SAMPLE,
    Attempt,
    Reconciliation,
    decimals,
    share_explained,
)
from torchmetrics_dna.dna import DNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import distance_named, protocol_named
from torchmetrics_dna.extractors.guard import batch_norms
from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance
from torchmetrics_dna.functional.layer_frechet_estimate import layer_frechet_estimate
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.images.preparations import is_floating
from torchmetrics_dna.jobs.frechet_plan import plan_for
from torchmetrics_dna.jobs.prepared import measure_prepared
from torchmetrics_dna.jobs.protocols import by_network
from torchmetrics_dna.jobs.sides import Arguments, open_indexed_sides
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from torchmetrics_dna.comparisons.choices import Choice
    from torchmetrics_dna.dna.layer_unions import Plan
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.images.preparations import Preparation
    from torchmetrics_dna.statistics.resolve import Feature

    Moments = tuple[Tensor, Tensor]

_AGREEMENT = 2e-6  # of the claimed value: kernels of several machines round differently
_PAIRS = 12  # measured, of those whose sum of effects comes nearest
_BYTES = 1 << 31  # of features that are kept at a time


def reconcile(
    images: Source,
    reference: Source | DNA,
    claimed: str | float,
    metric: str = "fid",
    feature: Feature | None = None,
    *,
    layers: Sequence[str] | None = None,
    others: Sequence[str | DNA] = (),
    same_images: bool = True,
    reading: Reading | None = None,
) -> Reconciliation:
    """Find the choices by which images have a claimed value: of resize, crop, JPEG, precision, number of images...

    The value is computed by the protocol, then with one choice at a time, and then, if none explains the claimed value,
    with the pairs whose effects add up to it. A choice explains it if the values agree to the claimed digits; for
    another sample of images, also within the standard error of their difference.

    Each choice of pixels takes about as long as the metric itself, and there are about 25; each image is decoded once
    for all.

    Args:
        images: Images with an index, see :func:`open_source`; in an order that "the first 10,000" can refer to.
        reference: Statistics of the reference, a file or a DNA with covariances; or its images, which are then measured
            by each choice, too.
        claimed: The claimed value. Its digits tell how exact it is: give ``"12.30"``, not ``12.3``.
        metric: A published metric that is fd of one layer, such as ``"fid"`` or ``"fd-dinov2"``, or ``"fd"``.
        feature: Extractor, as for :func:`compare`; for a published metric, only its weights and device.
        layers: The layer, for ``"fd"``.
        others: Other statistics of a reference that may have been meant.
        same_images: Whether the claimed value is of these very images. If not, it is of another sample of the same
            generator.
        reading: Options for reading the images; the batch size is that of a network in training mode.

    Raises:
        ValueError: If the value is no number, the metric is not fd of one layer, or images can't be read; if images are
            of another sample, but too few for a standard error.

    Example:
        >>> from torchmetrics_dna import compare
        >>> from torchmetrics_dna.demo import photographs
        >>> a, b = photographs(16)[:8], photographs(16)[8:]
        >>> value = compare(b, a, layers=["block_0"], metrics="fd")["fd"].value
        >>> reconcile(a, b, value, "fd", layers=["block_0"]).agrees
        True

    """
    _as_number(str(claimed))  # told before images are opened
    candidates = Candidates(images, reference, metric, feature, layers=layers, others=others, reading=reading)
    return candidates.explain(claimed, same_images)


class Candidates:
    """Values of images by each choice, computed when asked for, and kept; arguments are of :func:`reconcile`."""

    def __init__(
        self,
        images: Source,
        reference: Source | DNA,
        metric: str = "fid",
        feature: Feature | None = None,
        *,
        layers: Sequence[str] | None = None,
        others: Sequence[str | DNA] = (),
        reading: Reading | None = None,
    ) -> None:
        record = protocol_named(metric) or distance_named(metric)
        if record is None or record.kinds != ("layer-gaussian",):
            raise ValueError(f"Argument `metric` expected to be fd of a layer, such as fid, but got {metric!r}")
        (arguments,) = by_network(Arguments(feature, [metric], layers), ())
        self._reading = reading or Reading()
        opened, *references = open_indexed_sides(
            (images, reference, *others), "A reconciliation", arguments.layers, None, self._reading
        )
        if not isinstance(opened, ImageSource):
            raise ValueError("A reconciliation takes images, but got a DNA of them; give the images")
        dnas = _with_covariances(references)
        resolved = resolve(arguments.feature, arguments.layers, dnas=dnas, histograms=False, to_gpu=True)
        self._extractor = _of_one_layer(resolved.extractor)
        named = iter(resolved.dnas)
        self._images = opened
        self._references = [next(named) if isinstance(side, DNA) else side for side in references]
        self.metric = record.name
        extractor = self._extractor
        self.plain = Recipe(crop=extractor.crop, resize=extractor.resize, dtype=extractor.preparation["dtype"])
        self.choices = choices_for(
            self.plain,
            len(opened),
            of_floats=_holds_floats(opened),
            scaling=(extractor.mean, extractor.std),
            batch_size=self._reading.batch_size if batch_norms(extractor.network) else None,
            others=[str(getattr(each, "label", each)) for each in others],
        )
        self.unreadable: list[str] = []
        self._values: dict[Recipe, float] = {}
        self._features: tuple[Tensor, Tensor | None] | None = None  # of both sides, by the protocol

    def explain(self, claimed: str | float, same_images: bool = True) -> Reconciliation:
        """Find the choices that explain a claimed value, see :func:`reconcile`."""
        text = str(claimed).strip()
        value = _as_number(text)
        if not same_images and not (plan := self._plan(len(self._images))).debiased:
            raise ValueError(f"A value of another sample is known to a standard error, but {plan.limits[0]}")
        self._measure([self.plain])
        error = self._standard_error
        mantissa, _, exponent = text.lower().partition("e")
        half_a_digit = 0.5 * 10.0 ** (int(exponent or 0) - (decimals(mantissa) or 0))

        def attempt(shown: float, *choices: Choice) -> Attempt:
            recipe = self.plain.with_choices(*choices)
            tolerance = half_a_digit + _AGREEMENT * abs(value)
            if error is not None and not same_images:
                spread = error * (self._num_images / (recipe.images or self._num_images)) ** 0.5
                tolerance += ANOTHER_SAMPLE * (spread / (2 * shown) if recipe.root and shown else spread)
            return Attempt(tuple(choice.words for choice in choices), shown, tolerance)

        plain = attempt(self._value(self.plain))
        attempts = [plain]

        def result(chance: float | None = None, chance_of_pairs: float | None = None) -> Reconciliation:
            results = {each.name: each for each in attempts}
            return Reconciliation(
                self.metric, text, same_images, self._num_images, error, self.unreadable, results, chance,
                chance_of_pairs,
            )  # fmt: skip

        if result().agrees:
            return result()
        recipes = [self.plain.with_choices(choice) for choice in self.choices]
        self._measure(recipes)
        attempts += [attempt(self._value(recipe), choice) for choice, recipe in zip(self.choices, recipes, strict=True)]
        chance = share_explained(plain, attempts[1:], value)
        if result(chance).explanations:
            return result(chance)
        predicted = {
            pair: attempt(self._predicted(*pair), *pair)
            for pair in combinations(self.choices, 2)
            if pair[0].field != pair[1].field
        }
        chance_of_pairs = share_explained(plain, predicted.values(), value)
        nearest = sorted(predicted, key=lambda pair: abs(predicted[pair].value - value))[:_PAIRS]
        self._measure(self.plain.with_choices(*pair) for pair in nearest)
        attempts += [attempt(self._value(self.plain.with_choices(*pair)), *pair) for pair in nearest]
        return result(chance, chance_of_pairs)

    @property
    def _num_images(self) -> int:
        assert self._features is not None
        return len(self._features[0])

    def _value(self, recipe: Recipe) -> float:
        """Return the measured value of a recipe."""
        value = self._values[replace(recipe, root=False)]
        return math.sqrt(value) if recipe.root else value

    def _predicted(self, *choices: Choice) -> float:
        """Return the value that choices would have if their effects added up."""
        plain = self._value(self.plain)
        alone = [self._values[replace(self.plain.with_choices(choice), root=False)] for choice in choices]
        value = max(0.0, plain + sum(each - plain for each in alone))
        return math.sqrt(value) if self.plain.with_choices(*choices).root else value

    def _plan(self, num_images: int) -> Plan:
        return plan_for(self._extractor.neurons, [num_images], tested=False, name=self.metric)

    @cached_property
    def _standard_error(self) -> float | None:
        """Standard error of the protocol's value, which is measured; None if there are too few images."""
        assert self._features is not None
        features, of_reference = self._features
        if not self._plan(len(features)).debiased:
            return None
        reference = self._moments_of_reference(self.plain, of_reference)  # exact: both samples have the same one
        return float(layer_frechet_estimate(features, reference).standard_error)

    def _measure(self, recipes: Iterable[Recipe]) -> None:
        """Measure the values of recipes that are not known yet, in as few passes as memory allows."""
        unrooted = dict.fromkeys(replace(recipe, root=False) for recipe in recipes)
        missing = [recipe for recipe in unrooted if recipe not in self._values]
        for network in dict.fromkeys(recipe.network for recipe in missing):
            by_preparation: dict[Preparation, list[Recipe]] = {}
            for recipe in missing:
                if recipe.network == network:
                    by_preparation.setdefault(recipe.preparation, []).append(recipe)
            for preparation, features, of_reference in self._passes(list(by_preparation), *network):
                if self._features is None:  # the protocol comes first
                    self._features = features, of_reference
                for recipe in by_preparation[preparation]:
                    self._values[recipe] = self._distance(recipe, features, of_reference)

    def _passes(
        self, preparations: Sequence[Preparation], dtype: str | None, by_batch: bool
    ) -> Iterator[tuple[Preparation, Tensor, Tensor | None]]:
        """Yield the features of images, and of a reference of images, in each preparation."""
        at_once = max(1, _BYTES // (4 * self._extractor.neurons.total * len(self._images)))
        reference = self._references[0]
        for i in range(0, len(preparations), at_once):
            chosen = preparations[i : i + at_once]
            features, self.unreadable = measure_prepared(
                self._images, chosen, self._extractor, self._reading, dtype=dtype, by_batch=by_batch
            )
            measured: dict[Preparation, Tensor] = {}
            if isinstance(reference, ImageSource):
                # how the images were saved says nothing of the reference
                unsaved = list(dict.fromkeys(replace(each, saved="given") for each in chosen))
                of_reference, _ = measure_prepared(
                    reference, unsaved, self._extractor, self._reading, dtype=dtype, by_batch=by_batch
                )
                measured = dict(zip(unsaved, of_reference, strict=True))
            for preparation, of_images in zip(chosen, features, strict=True):
                yield preparation, of_images, measured.get(replace(preparation, saved="given"))

    def _distance(self, recipe: Recipe, features: Tensor, of_reference: Tensor | None) -> float:
        mean_a, cov_a = _moments(features[: recipe.images], recipe)
        mean_b, cov_b = self._moments_of_reference(recipe, of_reference)
        if not recipe.single:
            return float(layer_frechet_distance(mean_a, cov_a, mean_b, cov_b))
        # eigenvalues of the product of covariances, as FID's codes take them
        mean_b, cov_b = mean_b.float(), cov_b.float()
        roots = torch.linalg.eigvals(cov_a @ cov_b).sqrt().real.sum()
        return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * roots)

    def _moments_of_reference(self, recipe: Recipe, features: Tensor | None) -> Moments:
        reference = self._references[recipe.reference]
        if isinstance(reference, LayerGaussianDNA):
            (moments,) = reference.by_layer().values()
            return moments
        assert features is not None
        return _moments(features, recipe)


def _with_covariances(references: Sequence[ImageSource | DNA]) -> list[DNA]:
    """Return the DNAs among references; ValueError if one has no covariances, or a further one is of images."""
    if any(isinstance(side, ImageSource) for side in references[1:]):
        raise ValueError("Argument `others` expected to be files of statistics or DNAs, but got images")
    dnas = [side for side in references if isinstance(side, DNA)]
    lacking = next((dna for dna in dnas if not isinstance(dna, LayerGaussianDNA)), None)
    if lacking is not None:
        raise ValueError(
            f"The reference expected to have covariances, but got a {lacking.kind} DNA; give one of kind"
            " 'layer-gaussian', or images"
        )
    return dnas


def _holds_floats(images: ImageSource) -> bool:
    """True if the first image is of floats; an unreadable one is reported when all are read."""
    try:
        return is_floating(images[0])
    except ValueError:
        return False


def _of_one_layer(extractor: DNAExtractor) -> DNAExtractor:
    """Return the extractor; ValueError unless it has one layer, and resizes images."""
    if len(extractor.neurons) != 1:
        raise ValueError(
            f"A claimed value is of one layer; give one by `layers`, but got {', '.join(extractor.neurons)}"
        )
    if extractor.input_size is None:
        raise ValueError(
            f"Most choices are of how images are resized, but {extractor.name} takes them as they are; give an"
            " extractor with an `input_size`"
        )
    return extractor


def _moments(features: Tensor, recipe: Recipe) -> Moments:
    """Return the mean and covariance of features ``(images, n)``."""
    features = features.half().float() if recipe.half else features
    features = features if recipe.single else features.double()
    return features.mean(0), torch.cov(features.T, correction=recipe.ddof)


def _as_number(text: str) -> float:
    """Return a claimed value; ValueError if it is no finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"Argument `claimed` expected to be a number above 0, such as 12.34, but got {text!r}")
    return value
