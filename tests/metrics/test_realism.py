from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Outputs, Pixels, random_images
from one_ruler import distances
from processes import run
from torchmetrics import MetricCollection
from workers import contrasted_realism, realism

from torchmetrics_dna import DNAEMD, DNAExtractor, DNARealism, NeuronWeights, make_dna

REFERENCES = {
    ranges: make_dna(REAL, EXTRACTOR, num_bins=40, ranges=r) for ranges, r in (("fixed", RANGES), ("auto", "auto"))
}
IMAGES = random_images(9, 7)


def test_scores_are_the_distances_of_one_image_dnas() -> None:
    reference = REFERENCES["fixed"]
    metric = DNARealism(EXTRACTOR, reference=reference)
    metric.update(IMAGES[:4])
    batch = metric(IMAGES[4:])
    scores = metric.compute()
    assert torch.equal(scores[4:], batch)
    for image, score in zip(IMAGES, scores, strict=True):
        one = make_dna(image[None], EXTRACTOR, num_bins=40, ranges=reference.ranges)
        assert float(score) == pytest.approx(float(reference.distances(one).mean()), abs=1e-9)
    # and so the metric of the whole
    whole = DNAEMD(EXTRACTOR, reference=reference)
    whole.update(IMAGES[:1], real=False)
    assert float(whole.compute()) == pytest.approx(float(scores[0]), abs=1e-9)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_indices_give_the_order_and_what_was_repeated() -> None:
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    metric.update(IMAGES)
    plain = metric.compute()
    metric.reset()
    order = torch.tensor([4, 0, 8, 2, 6, 1, 7, 3, 5, 4, 0])
    metric.update(IMAGES[order[:6]], indices=order[:6])
    metric.update(IMAGES[order[6:]], order[6:].tolist())
    assert torch.equal(metric.compute(), plain)
    for bad in ([0], torch.zeros(9), -torch.ones(9).long()):
        with pytest.raises(ValueError, match="`indices` expected to be 9 integers of 0 or more"):
            metric.update(IMAGES, bad)
    with pytest.raises(ValueError, match="`indices` expected in every call or in none"):
        metric.update(IMAGES)
    assert torch.equal(metric.compute(), plain)
    metric.reset()
    with pytest.raises(RuntimeError, match="At least one image is required to compute DNARealism, but got 0"):
        metric.compute()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_get_all_scores_in_order(world: int, tmp_path: Path) -> None:
    """Unequal shards, one of them empty, padding as a distributed sampler adds it."""
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    metric.update(IMAGES)
    torch.save(metric.compute(), tmp_path / "expected")
    run(world, realism, tmp_path, str(tmp_path / "expected"))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_a_pool(world: int, tmp_path: Path) -> None:
    dnas = [make_dna(image[None], EXTRACTOR, num_bins=40, ranges=RANGES) for image in IMAGES]
    reference, pool = REFERENCES["fixed"], sum(dnas)
    expected = torch.stack([(reference.distances(one) - pool.distances(one)).mean() for one in dnas])
    torch.save(expected, tmp_path / "expected")
    run(world, contrasted_realism, tmp_path, str(tmp_path / "expected"))


@pytest.mark.parametrize("weighted", [False, True])
def test_self_ranging_references_and_pools_share_bins(weighted: bool) -> None:
    weights = torch.rand(EXTRACTOR.neurons.total).double() if weighted else None
    by_neuron = 1 / EXTRACTOR.neurons.total if weights is None else weights.numpy()
    given = {"reference": REFERENCES["auto"], "neuron_weights": weights}
    other = make_dna(FAKE, EXTRACTOR, num_bins=40, ranges="auto")
    for contrast, sides, pool in ((None, [REAL], None), (other, [REAL, FAKE], None), ("pool", [REAL], IMAGES)):
        metric = DNARealism(EXTRACTOR, contrast=contrast, **given)
        for part in IMAGES.split(4):
            metric.update(part)
        to_reference, *to_contrast = distances(EXTRACTOR, IMAGES, sides, 40, pool)
        expected = to_reference - sum(to_contrast)
        np.testing.assert_allclose(metric.compute(), (expected * by_neuron).sum(1), rtol=0, atol=1e-9)


def test_a_contrast_is_the_difference_of_two_distances(tmp_path: Path) -> None:
    reference = REFERENCES["fixed"]
    pool = make_dna(FAKE, EXTRACTOR, num_bins=40, ranges=reference.ranges)
    pool.save(tmp_path / "pool.dna.npz")
    weights = torch.rand(reference.neurons.total).double()
    weights[0] = 0
    for kwargs in ({}, {"neuron_weights": weights}):
        both = [DNARealism(EXTRACTOR, reference=one, **kwargs)(IMAGES) for one in (reference, pool)]
        metric = DNARealism(EXTRACTOR, reference=reference, contrast=tmp_path / "pool.dna.npz", **kwargs)
        torch.testing.assert_close(metric(IMAGES), both[0] - both[1], rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match="`contrast` expected to be a HistogramDNA or the path of one, but got int"):
        DNARealism(EXTRACTOR, reference=reference, contrast=3)


def test_a_pool_is_all_that_is_scored(tmp_path: Path) -> None:
    reference = REFERENCES["fixed"]
    weights = torch.rand(reference.neurons.total).double()
    weights[4] = 0
    metric = DNARealism(EXTRACTOR, reference=reference, contrast="pool", neuron_weights=weights)
    for part in IMAGES.split(4):
        batch = metric(part)
        alone = make_dna(part, EXTRACTOR, num_bins=40, ranges=RANGES)
        expected = DNARealism(EXTRACTOR, reference=reference, contrast=alone, neuron_weights=weights)(part)
        torch.testing.assert_close(batch, expected, rtol=0, atol=1e-9)
    pool = make_dna(IMAGES, EXTRACTOR, num_bins=40, ranges=RANGES)
    expected = DNARealism(EXTRACTOR, reference=reference, contrast=pool, neuron_weights=weights)(IMAGES)
    torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=1e-9)
    # a row holds no more numbers than an image has activations, and none for a neuron of weight 0
    (rows,) = (found for name, found in metric.metric_state.items() if name.startswith("histograms"))
    assert {some.dtype for some in rows} == {torch.int16}
    activations = EXTRACTOR(IMAGES[:1])
    every = torch.tensor([values[0, 0].numel() for values in activations.values() for _ in range(values.shape[1])])
    assert rows[0].shape[1] == int(every.clamp(max=40)[weights > 0].sum())
    metric.persistent(True)
    torch.save(metric.state_dict(), tmp_path / "state")
    other = DNARealism(EXTRACTOR, reference=reference, contrast="pool", neuron_weights=weights)
    other.persistent(True)
    other.load_state_dict(torch.load(tmp_path / "state"))
    assert torch.equal(other.compute(), metric.compute())
    for one in (metric, other):
        one.update(IMAGES[:2])
    assert torch.equal(other.compute(), metric.compute())
    fewer = DNARealism(EXTRACTOR, reference=reference, contrast="pool", num_bins=20)
    coarse = [make_dna(some, EXTRACTOR, num_bins=20, ranges=RANGES) for some in (REAL, IMAGES)]
    fine = DNARealism(EXTRACTOR, reference=coarse[0], contrast=coarse[1])
    torch.testing.assert_close(fewer(IMAGES), fine(IMAGES), rtol=0, atol=1e-9)


def test_pools_that_can_not_be() -> None:
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"], contrast="pool")
    metric.update(IMAGES)
    before = metric.compute()
    with pytest.raises(ValueError, match="all images expected to give .* resize them to one size"):
        metric.update(IMAGES[..., 1:])
    assert torch.equal(metric.compute(), before)
    metric.persistent(True)
    saved = metric.state_dict()
    saved[next(name for name in saved if name.startswith("histograms"))] = b""  # as it is saved while synced
    metric.load_state_dict(saved)
    with pytest.raises(RuntimeError, match="no image can join it now; call `reset` first"):
        metric.update(IMAGES)


def test_weights_layers_and_files(tmp_path: Path) -> None:
    reference = REFERENCES["fixed"]
    reference.save(tmp_path / "x.dna.npz")
    weights = NeuronWeights.of_neurons(torch.tensor([1]), reference.neurons, EXTRACTOR.name)
    weights.save(tmp_path / "x.weights.npz")
    metric = DNARealism(EXTRACTOR, reference=tmp_path / "x.dna.npz", neuron_weights=tmp_path / "x.weights.npz")
    metric.update(IMAGES[:1])
    one = make_dna(IMAGES[:1], EXTRACTOR, num_bins=40, ranges=RANGES)
    assert float(metric.compute()) == pytest.approx(float(reference.distances(one)[1]), abs=1e-9)
    fewer = DNARealism(EXTRACTOR, reference=reference, num_bins=20)
    assert fewer.reference.num_bins == 20
    with pytest.raises(ValueError, match="their extractors differ"):
        DNARealism(DNAExtractor(Outputs(lambda imgs: Pixels()(imgs))), reference=reference)
    with pytest.raises(TypeError, match="expected to be a HistogramDNA or the path of one"):
        DNARealism(EXTRACTOR, reference=make_dna(REAL, EXTRACTOR, kind="gaussian"))


def test_in_collections_metrics_share_states_only_if_all_is_equal() -> None:
    reference = REFERENCES["fixed"]
    weights = torch.zeros(reference.neurons.total)
    weights[0] = 1
    metrics = MetricCollection(
        {
            "a": DNARealism(EXTRACTOR, reference=reference),
            "same": DNARealism(EXTRACTOR, reference=reference),
            "b": DNARealism(EXTRACTOR, reference=reference, neuron_weights=weights),
        }
    )
    for _ in range(2):
        metrics.update(REAL[:1])
    assert sorted(map(sorted, metrics.compute_groups.values())) == [["a", "same"], ["b"]]
    found = metrics.compute()
    assert torch.equal(found["a"], found["same"])
    assert not torch.equal(found["a"], found["b"])


def test_errors_lose_nothing_and_copies_go_on() -> None:
    metric = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    metric.update(IMAGES[:3])
    for call in (metric.update, metric):
        with pytest.raises(ValueError, match="normalize"):
            call(IMAGES.float() / 255)
    copies = [copy.deepcopy(metric), metric.clone(), pickle.loads(pickle.dumps(metric))]
    for one in (metric, *copies):
        one.update(IMAGES[3:])
    for one in copies:
        assert torch.equal(one.compute(), metric.compute())
    assert len(metric.compute()) == 9
    merged = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    merged.update(IMAGES[:3])
    other = DNARealism(EXTRACTOR, reference=REFERENCES["fixed"])
    other.update(IMAGES[3:])
    merged.merge_state(other)
    assert torch.equal(merged.compute().sort().values, metric.compute().sort().values)
    assert metric.state_dict() == {}
    floats = DNARealism(EXTRACTOR, normalize=True, reference=REFERENCES["fixed"])
    floats.update(IMAGES.float() / 255)
    assert floats.compute().shape == (9,)
    assert FAKE.shape[0] == 5
