from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Outputs, Pixels, random_images
from processes import run
from torchmetrics import MetricCollection
from workers import realism

from torchmetrics_dna import DNAEMD, DNAExtractor, DNARealism, NeuronWeights, make_dna

REFERENCES = {
    ranges: make_dna(REAL, EXTRACTOR, num_bins=40, ranges=r) for ranges, r in (("fixed", RANGES), ("auto", "auto"))
}
IMAGES = random_images(9, 7)


@pytest.fixture(params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> object:
    return REFERENCES[request.param]


def test_scores_are_the_distances_of_one_image_dnas(reference: object) -> None:
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
