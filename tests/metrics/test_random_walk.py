"""Whatever is done with metrics, in any order, values are those of all images that each holds, by numpy in float64."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
import slowly
import torch
from limits import HANG
from networks import Pixels
from scipy.linalg import sqrtm
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_dna import DNAEMD, ActivationRange, DNAExtractor, DNAFrechet, LayerFrechetDistance, make_dna
from torchmetrics_dna.metrics import PRDC
from torchmetrics_dna.neurons import ActivationRanges

BINS, MOST = 40, 160  # images of a metric, so that the oracle stays fast
SIZES = ((4, 4), (8, 4), (4, 16), (2, 8))  # whose float32 means of bytes are exact
EXTRACTOR = DNAExtractor(Pixels())
NEURONS = EXTRACTOR.neurons
RANGES = ActivationRanges(torch.linspace(-150, 10, 9), torch.linspace(100, 230, 9), NEURONS)  # some values are beyond
WEIGHTS = torch.linspace(0.02, 0.2, 9, dtype=torch.float64)
Images = list[np.ndarray]


def activations(image: np.ndarray) -> list[np.ndarray]:
    """Values of each neuron, in float64."""
    pixels = image.astype(float)
    colours, contrast = pixels.reshape(3, -1), (pixels[:, 1:] - pixels[:, :-1]).reshape(3, -1)
    return [*colours, *contrast, *colours.mean(1, keepdims=True)]


def values_of(images: Images) -> list[np.ndarray]:
    return [np.concatenate(of_neuron) for of_neuron in zip(*map(activations, images), strict=True)]


def means_of(images: Images) -> np.ndarray:
    return np.array([[values.mean() for values in activations(image)] for image in images])


def histogram(values: np.ndarray, low: float, high: float) -> np.ndarray:
    centre, half = (low + high) / 2, (high - low) / 2 + 1e-8
    bins = np.floor((np.clip((values - centre) / half, -1, 1) + 1) * BINS / 2)
    return np.bincount(np.minimum(bins, BINS - 1).astype(int), minlength=BINS)


def bounds(low: float, high: float) -> tuple[float, float]:
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def fixed_histograms(images: Images) -> np.ndarray:
    ends = zip(RANGES.minimum.tolist(), RANGES.maximum.tolist(), strict=True)
    return np.array([histogram(v, *bounds(*pair)) for v, pair in zip(values_of(images), ends, strict=True)])


def emd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    shares = [np.cumsum(counts, -1) / counts.sum(-1, keepdims=True) for counts in (a, b)]
    return np.abs(shares[0] - shares[1]).sum(-1)


def emd_of_images(real: Images, fake: Images) -> np.ndarray:
    return emd(fixed_histograms(real), fixed_histograms(fake))


def emd_of_own_ranges(real: Images, fake: Images) -> np.ndarray:
    pairs = zip(values_of(real), values_of(fake), strict=True)
    return np.array([slowly.emd_of_any_range(a, b, BINS, a.min(), a.max()) for a, b in pairs])


def frechet_of_images(real: Images, fake: Images) -> np.ndarray:
    a, b = means_of(real), means_of(fake)
    return (a.mean(0) - b.mean(0)) ** 2 + (a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2


def frechet_of_bins(real: Images, fake: Images) -> np.ndarray:
    centres = [
        np.linspace(*bounds(low, high), 2 * BINS + 1)[1::2]
        for low, high in zip(RANGES.minimum.tolist(), RANGES.maximum.tolist(), strict=True)
    ]
    sides = []
    for images in (real, fake):
        shares = fixed_histograms(images).astype(float)
        shares /= shares.sum(1, keepdims=True)
        mean = (shares * centres).sum(1)
        sides.append((mean, np.sqrt((shares * (centres - mean[:, None]) ** 2).sum(1))))
    return sum((a - b) ** 2 for a, b in zip(*sides, strict=True))


def frechet_of_layers(real: Images, fake: Images) -> np.ndarray:
    distances = []
    for columns in NEURONS.slices.values():
        a, b = means_of(real)[:, columns], means_of(fake)[:, columns]
        covs = [np.atleast_2d(np.cov(side.T)) for side in (a, b)]
        product = sqrtm(covs[0] @ covs[1]).real
        distances.append(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covs[0] + covs[1] - 2 * product))
    return np.array(distances)


def by_layer(distances: np.ndarray) -> np.ndarray:
    return np.array([distances[columns].mean() for columns in NEURONS.slices.values()])


def extremes(images: Images) -> np.ndarray:
    return np.array([[v.min() for v in values_of(images)], [v.max() for v in values_of(images)]])


@dataclass(frozen=True)
class Case:
    """How a metric is made, and what it must give of its images."""

    make: Callable[..., Metric]
    oracle: Callable[..., np.ndarray]
    least: int = 1  # images of a side for a value
    options: dict[str, Any] = field(default_factory=dict)
    keeps_real: bool = False
    reference: str | None = None
    tolerance: float = 1e-9
    enough: int = 1  # images of a side for an oracle's value that is not singular

    @property
    def has_sides(self) -> bool:
        return self.make is not ActivationRange


def mean(oracle: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *sides: oracle(*sides).mean()


FIXED: dict[str, Any] = {"ranges": RANGES, "num_bins": BINS}
AUTO: dict[str, Any] = {"ranges": "auto", "num_bins": BINS}
CASES = {
    "emd": Case(DNAEMD, mean(emd_of_images), options=FIXED),
    "emd by layer, real kept": Case(
        DNAEMD, lambda *sides: by_layer(emd_of_images(*sides)), options=FIXED | {"reduction": "layer"}, keeps_real=True
    ),
    "emd by neuron, in folds": Case(DNAEMD, emd_of_images, options=FIXED | {"reduction": "none", "num_folds": 5}),
    "emd, weighted, of a reference": Case(
        DNAEMD,
        lambda *sides: WEIGHTS.numpy() @ emd_of_images(*sides),
        options=FIXED | {"neuron_weights": WEIGHTS},
        reference="histogram",
    ),
    "auto": Case(DNAEMD, mean(emd_of_own_ranges), options=AUTO, enough=2),
    "auto in folds, real kept": Case(
        DNAEMD, mean(emd_of_own_ranges), options=AUTO | {"num_folds": 6}, keeps_real=True, enough=2
    ),
    "frechet": Case(DNAFrechet, mean(frechet_of_images), 2),
    "frechet in folds": Case(DNAFrechet, frechet_of_images, 2, {"reduction": "none", "num_folds": 5}),
    "frechet of a reference": Case(
        DNAFrechet, lambda *sides: by_layer(frechet_of_images(*sides)), 2, {"reduction": "layer"}, reference="gaussian"
    ),
    "frechet of activations": Case(
        DNAFrechet, mean(frechet_of_bins), 2, FIXED | {"statistics": "activations"}, keeps_real=True
    ),
    "fd": Case(LayerFrechetDistance, frechet_of_layers, 2, {"reduction": "none"}, tolerance=1e-6, enough=6),
    "ranges": Case(ActivationRange, extremes),
    "prdc": Case(PRDC, lambda *sides: np.array([]), 6, keeps_real=True),
}


def drawn(random: np.random.Generator) -> Tensor:
    size = SIZES[random.integers(len(SIZES))]
    return torch.from_numpy(random.integers(0, 256, (random.integers(1, 6), 3, *size), dtype=np.uint8))


@dataclass
class Held:
    """A metric, with all images that it must hold, in order, by whether they are real."""

    metric: Metric
    images: dict[bool, Images]

    def copied(self, metric: Metric) -> Held:
        return Held(metric, {real: [*images] for real, images in self.images.items()})


class Walk:
    """Steps on a few metrics of one case; each step draws what it does, and ends with a check."""

    def __init__(self, name: str, seed: int) -> None:
        self.case, self.random = CASES[name], np.random.default_rng([seed, *name.encode()])
        self.real_images: Images = []
        self.options = dict(self.case.options)
        if self.case.has_sides:
            self.options["reset_real_features"] = not self.case.keeps_real
        if self.case.reference:
            images = torch.from_numpy(self.random.integers(0, 256, (7, 3, 4, 8), dtype=np.uint8))
            counted = {"num_bins": BINS, "ranges": RANGES} if self.case.reference == "histogram" else {}
            self.options["reference"] = make_dna(images, EXTRACTOR, kind=self.case.reference, **counted)
            self.options = {k: v for k, v in self.options.items() if k not in ("ranges", "num_bins")}
            self.real_images = [*images.numpy()]
        self.held = [self.fresh() for _ in range(3)]
        self.taken: dict[str, int] = {}

    def fresh(self) -> Held:
        return Held(self.case.make(EXTRACTOR, **self.options), {True: [*self.real_images], False: []})

    def one(self) -> Held:
        return self.held[self.random.integers(len(self.held))]

    def side(self) -> bool:
        two = self.case.has_sides and not self.case.reference
        return bool(self.random.integers(2)) if two else False

    def arguments(self, images: Tensor, real: bool) -> tuple[Any, ...]:
        return (images, real) if self.case.has_sides else (images,)

    def expected(self, held: dict[bool, Images]) -> np.ndarray | None:
        """The oracle's value; None where images are too few."""
        real, fake = held[True], held[False]
        if not self.case.has_sides:
            return self.case.oracle(fake) if fake else None
        images = min(len(real), len(fake))
        if images < self.case.least:
            return None
        return self.case.oracle(real, fake) if images >= self.case.enough else np.array([])

    def check(self, value: Any, expected: np.ndarray) -> None:
        if not np.size(expected):
            return  # of PRDC, whose states are read by `features`, or of too few images
        parts = list(value.values()) if isinstance(value, dict) else [value]
        flat = torch.stack([part.double() for part in parts]).numpy() if len(parts) > 1 else parts[0].numpy()
        scale = np.abs(expected).max() if np.size(expected) else 0.0
        np.testing.assert_allclose(flat, expected, rtol=self.case.tolerance, atol=self.case.tolerance * (1 + scale))

    def check_states(self, held: Held) -> None:
        """Check what is in the states: counts, moments, rows, their number of images."""
        metric = held.metric
        if isinstance(metric, PRDC):
            for real in (True, False):
                rows = metric.features(real).double().numpy()
                expected = means_of(held.images[real])[:, -3:] if held.images[real] else np.zeros((0, 3))
                np.testing.assert_allclose(rows.reshape(-1, 3), expected, rtol=1e-6)
        elif self.case.has_sides:
            real = self.side()
            dna = metric.to_dna(real)
            assert dna.num_images == len(held.images[real])
            for fold in dna.folds:
                assert fold.num_images <= dna.num_images
            if dna.folds:
                assert sum(fold.num_images for fold in dna.folds) == dna.num_images

    # Steps

    def step(self) -> None:
        steps = {
            self.update: 8, self.forward: 6, self.compute: 6, self.states: 3, self.reset: 1, self.merge: 2,
            self.merge_a_dict: 1, self.save: 2, self.pickled: 1, self.cloned: 2, self.reduced: 2, self.refused: 2,
            self.moved: 1, self.derived: 1,
        }  # fmt: skip
        weights = np.array([*steps.values()]) / sum(steps.values())
        chosen = [*steps][self.random.choice(len(steps), p=weights)]
        self.taken[chosen.__name__] = self.taken.get(chosen.__name__, 0) + 1
        chosen()
        for number, held in enumerate(self.held):
            if sum(map(len, held.images.values())) > MOST:
                self.held[number] = self.fresh()

    def update(self) -> None:
        held, images, real = self.one(), drawn(self.random), self.side()
        held.metric.update(*self.arguments(images, real))
        held.images[real] += [*images.numpy()]

    def forward(self) -> None:
        held, images, real = self.one(), drawn(self.random), self.side()
        value = held.metric(*self.arguments(images, real))
        expected = self.expected(held.images | {real: [*images.numpy()]})
        held.images[real] += [*images.numpy()]
        if expected is None:
            parts = value.values() if isinstance(value, dict) else [value]
            assert all(part.isnan().all() for part in parts)
        else:
            self.check(value if self.case.has_sides else torch.stack([*value.values()]), expected)

    def compute(self) -> None:
        self.computed(self.one())

    def computed(self, held: Held, images: dict[bool, Images] | None = None) -> None:
        expected = self.expected(held.images if images is None else images)
        metric: Any = held.metric
        if expected is None:
            if self.case.has_sides:
                with pytest.raises(RuntimeError, match="required"):
                    metric.compute()
            return
        value = metric.compute()
        self.check(value if self.case.has_sides else torch.stack([*value.values()]), expected)

    def states(self) -> None:
        self.check_states(self.one())

    def reset(self) -> None:
        held = self.one()
        held.metric.reset()
        held.images[False] = []
        if not self.case.keeps_real and not self.case.reference:
            held.images[True] = []

    def merge(self) -> None:
        held, other = self.one(), self.one()
        if held is other:
            other = held.copied(held.metric.clone())
        held.metric.merge_state(other.metric)
        for real in (True, False) if not self.case.reference else (False,):
            held.images[real] += other.images[real]
        self.computed(held)

    def merge_a_dict(self) -> None:
        held, other = self.one(), self.fresh()
        images, real = drawn(self.random), self.side()
        other.metric.update(*self.arguments(images, real))
        held.metric.merge_state(copy.deepcopy(other.metric.metric_state))
        held.images[real] += [*images.numpy()]

    def save(self) -> None:
        held, loaded = self.one(), self.fresh()
        for metric in (held.metric, loaded.metric):
            metric.persistent(True)
        if self.random.integers(2):  # into one that held others
            images = drawn(self.random)
            loaded.metric.update(*self.arguments(images, False))
        loaded.metric.load_state_dict(held.metric.state_dict())
        self.held[self.random.integers(3)] = held.copied(loaded.metric)
        self.computed(self.held[0])

    def pickled(self) -> None:
        number = self.random.integers(3)
        self.held[number] = self.held[number].copied(pickle.loads(pickle.dumps(self.held[number].metric)))

    def cloned(self) -> None:
        held = self.one()
        how = (copy.deepcopy, copy.copy, lambda metric: metric.clone())[self.random.integers(3)]
        metric = how(held.metric)
        if how is copy.copy:  # shares states until either is written to
            self.computed(held.copied(metric))
        else:
            self.held[self.random.integers(3)] = held.copied(metric)

    def reduced(self) -> None:
        """Compute in a group of two or three processes, each a thread here, whose gather is a custom one."""
        members = [self.held[number] for number in self.random.permutation(3)[: self.random.integers(2, 4)]]
        copies = [held.copied(held.metric.clone()) for held in members]
        common = {real: [image for held in copies for image in held.images[real]] for real in (True, False)}
        if self.case.reference:
            common[True] = [*self.real_images]
        if self.expected(common) is None:
            return
        in_threads([held.metric for held in copies], lambda metric: metric.compute())
        values = in_threads([held.metric for held in copies], lambda metric: metric.compute())
        for value in values:
            expected = self.expected(common)
            assert expected is not None
            self.check(value if self.case.has_sides else torch.stack([*value.values()]), expected)
        for held in copies:
            self.check_states(held)  # own images again

    def refused(self) -> None:
        held, images = self.one(), drawn(self.random)
        spoilt = [images.float(), images[:, :2], images[0], images[:0]][self.random.integers(4)]
        call = held.metric if self.random.integers(2) else held.metric.update
        with pytest.raises(ValueError, match="Argument `imgs`"):
            call(*self.arguments(spoilt, self.side()))
        self.computed(held)

    def moved(self) -> None:
        held = self.one()
        for move in ("cpu", "half", "double", "float", "train", "eval"):
            getattr(held.metric, move)()
        self.computed(held)

    def derived(self) -> None:
        """What a value is besides: for a logger, as evidence, within a context of a sync."""
        held = self.one()
        metric: Any = held.metric
        expected = self.expected(held.images)
        if expected is None:
            return
        with metric.sync_context():
            pass
        if hasattr(metric, "scalars"):
            found = metric.scalars()
            if np.size(expected) == 1:
                self.check(torch.tensor(found[f"dna/{metric.distance.key}"], dtype=torch.float64), expected)
        self.computed(held)


def in_threads(metrics: Sequence[Metric], run: Callable[[Metric], Any]) -> list[Any]:
    """Run each metric in a thread, as a process of one group: what one gathers is what all give."""
    barrier, slots = Barrier(len(metrics), timeout=HANG), [None] * len(metrics)
    results: list[Any] = [None] * len(metrics)
    errors: list[BaseException] = []

    def act(rank: int, metric: Metric) -> None:
        def gather(tensor: Tensor, group: object = None) -> list[Tensor]:
            slots[rank] = tensor.clone()  # type: ignore[call-overload]
            barrier.wait()
            all_tensors = [*slots]
            barrier.wait()
            return all_tensors  # type: ignore[return-value]

        metric.dist_sync_fn, metric.distributed_available_fn = gather, lambda: True
        try:
            results[rank] = run(metric)
        except BaseException as err:
            errors.append(err)
            barrier.abort()
        finally:
            metric.dist_sync_fn, metric.distributed_available_fn = None, lambda: False

    threads = [Thread(target=act, args=pair) for pair in enumerate(metrics)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@pytest.mark.outer
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
@pytest.mark.filterwarnings("ignore:The real images of before `reset` were kept:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_random_walk_ends_where_all_images_lead(name: str) -> None:
    walk = Walk(name, seed=1)
    for number in range(400):
        try:
            walk.step()
        except Exception as err:
            raise AssertionError(f"step {number} of {name!r}: {[*walk.taken]}") from err
    assert len(walk.taken) == 14
