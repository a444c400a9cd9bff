"""Threads: metrics of each give what they give alone, on one extractor, and on several of one network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from networks import Convolutions, random_images
from torch import Tensor

from torchmetrics_dna import DNAExtractor, DNAFrechet, LayerFrechetDistance

IMAGES = [random_images(16, seed, (16, 16)) // (seed + 1) for seed in range(2)]


def score(extractor: DNAExtractor, images: Tensor) -> list[Tensor]:
    metrics = [DNAFrechet(extractor), DNAFrechet(extractor, reduction="none"), LayerFrechetDistance(extractor)]
    for i, batch in enumerate(images.split(2)):
        for metric in metrics:
            metric.update(batch, real=bool(i % 2))
    return [metric.compute() for metric in metrics]


@pytest.fixture
def extractors() -> list[DNAExtractor]:
    """Two extractors of one network, which is in training mode."""
    network = Convolutions()
    return [DNAExtractor(network, layers=["stem", "body"], input_size=16) for _ in range(2)]


@pytest.mark.parametrize("several", [False, True])
def test_each_thread_gets_its_own(extractors: list[DNAExtractor], several: bool) -> None:
    pair = extractors if several else extractors[:1] * 2
    expected = [score(extractor, images) for extractor, images in zip(pair, IMAGES, strict=True)]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            for scores, values in zip(threads.map(score, pair, IMAGES), expected, strict=True):
                assert all(map(torch.equal, scores, values))
    assert extractors[0].network.training
    assert extractors[0].network.body[2].num_batches_tracked == 0


def test_what_another_thread_does_with_the_network_is_not_seen(extractors: list[DNAExtractor]) -> None:
    network = extractors[0].network.eval()
    expected = extractors[0](IMAGES[0])
    stop = Event()

    def use() -> int:
        count = 0
        while not stop.is_set():
            network(IMAGES[1].float())
            count += 1
        return count

    with ThreadPoolExecutor(1) as threads:
        background = threads.submit(use)
        try:
            for _ in range(20):
                activations = extractors[0](IMAGES[0])
                assert all(torch.equal(activations[layer], values) for layer, values in expected.items())
        finally:
            stop.set()
        assert background.result() > 0
