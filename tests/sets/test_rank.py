from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from torchmetrics_dna import DNAExtractor, NeuronWeights, Ranking, make_dna, rank
from torchmetrics_dna.sets.demo import blur, photographs

LAYERS = ["block_0", "block_4"]
PHOTOS = photographs(10)
MIXED = [*PHOTOS[6:], *(blur(photo, strength=8) for photo in PHOTOS[6:])]


@pytest.fixture(scope="module")
def reference() -> object:
    return make_dna(PHOTOS[:6], layers=LAYERS)


def test_scores_are_distances_of_single_images(reference: object) -> None:
    ranking = rank(MIXED, reference)
    assert sorted(ranking.numbers) == list(range(8))
    assert ranking.scores.tolist() == sorted(ranking.scores.tolist())
    for number, name, score in zip(ranking.numbers, ranking.names, ranking.scores, strict=True):
        one = make_dna(MIXED[number], DNAExtractor(layers=LAYERS))
        assert float(score) == pytest.approx(float(reference.distances(one).mean()), abs=1e-3)
        assert name == f"image {number}"
    assert ranking.rows(2)[0] == {"rank": 1, "image": ranking.names[0], "score": float(ranking.scores[0])}
    assert len(ranking.rows()) == 8
    assert repr(ranking).startswith("Ranking(8 images, ")


def test_one_image_ranks_others_by_likeness() -> None:
    ranking = rank([PHOTOS[3], PHOTOS[2], 255 - PHOTOS[2]], PHOTOS[2], layers=LAYERS)
    assert ranking.numbers[0] == 1
    assert float(ranking.scores[0]) == pytest.approx(0, abs=1e-9)


def test_chosen_neurons(reference: object, tmp_path: Path) -> None:
    weights = NeuronWeights.of_neurons(
        torch.tensor([20]), reference.neurons, "efficientnet_lite0", reference.weights_digest
    )
    weights.save(tmp_path / "x.weights.npz")
    ranking = rank(MIXED[:2], reference, neuron_weights=tmp_path / "x.weights.npz")
    one = make_dna(MIXED[ranking.numbers[0]], layers=LAYERS)
    assert float(ranking.scores[0]) == pytest.approx(float(reference.distances(one)[20]), abs=0.1)


def test_area_under_precision_recall_is_scikit_learns(reference: object) -> None:
    ranking = rank(MIXED, reference)
    relevant = [True] * 4 + [False] * 4
    precision, recall, area = ranking.precision_recall(relevant)
    truth = [relevant[number] for number in ranking.numbers]
    assert area == pytest.approx(average_precision_score(truth, -ranking.scores.numpy()))
    assert (precision[-1], recall[-1]) == (1, 0)
    with pytest.raises(ValueError, match="Expected one entry for each of 8 images, but got 2"):
        ranking.precision_recall([True, False])


def test_what_can_not_be_read_is_left_out(reference: object, tmp_path: Path) -> None:
    for i, photo in enumerate(PHOTOS[:3]):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_text("no picture")
    ranking = rank(tmp_path, reference, skip_unreadable=True, batch_size=2)
    assert ranking.unreadable == [f"Can't read image '{tmp_path}/1.png': it is not an image file"]
    assert sorted(ranking.numbers) == [0, 2]
    with pytest.raises(ValueError, match="Can't read image"):
        rank(tmp_path, reference)


def test_references_without_histograms(reference: object) -> None:
    with pytest.raises(TypeError, match="`reference` expected to be a HistogramDNA or images, but got GaussianDNA"):
        rank(MIXED, make_dna(PHOTOS[:2], layers=LAYERS, kind="gaussian"))
    other = NeuronWeights(torch.ones(1), reference.neurons.take(torch.tensor([0])), "efficientnet_lite0")
    with pytest.raises(ValueError, match="can't be used here, their neurons differ"):
        rank(MIXED, reference, neuron_weights=other)
    assert isinstance(rank(np.stack(PHOTOS[:2]), PHOTOS[0], layers=["block_0"]), Ranking)
