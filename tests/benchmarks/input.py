"""Cost of decoding, resizing, the network and counting.

    python tests/benchmarks/input.py [--images 240]

The images are JPEGs of 512 x 512 pixels, crops of photographs that scikit-image ships. Each stage runs in one thread,
and is told in images per second of processor time, which a busy machine changes least. `make.py` has the whole.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning import Activations
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.resize import resize_image
from torchmetrics_dna.statistics import histogram_statistic

SIDE = 512


def write(folder: Path, count: int) -> None:
    """Crops of photographs, enlarged a little differently each, at qualities from 75 to 95 and all chroma samplings."""
    random = np.random.default_rng(0)
    crops = [Image.fromarray(crop) for crop in photographs(min(count, 96))]
    for i in range(count):
        crop = crops[i % len(crops)]
        left, top = random.integers(0, 64, 2)
        box = (int(left), int(top), int(left) + 128, int(top) + 128)
        picture = crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
        grain = random.normal(0, 4, (SIDE, SIDE, 3))  # of a sensor, which enlarging smooths away
        picture = Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))
        picture.save(folder / f"{i:05}.jpg", quality=int(random.integers(75, 96)), subsampling=i % 3)


def per_second(call: Callable[[object], object], items: Sequence[object], images: int) -> float:
    """Images per second of this process's time, in one thread; the first item does not count."""
    call(items[0])
    start = time.process_time()
    for item in items:
        call(item)
    return images / (time.process_time() - start)


def stages(folder: Path, extractor: DNAExtractor, count: int) -> None:
    source = open_source(folder).take(range(count))
    decoded = [source[i] for i in range(count)]
    batches = [batch.images for batch in load_batches(source, extractor.input_size, reading=Reading(num_workers=0))]
    statistic = histogram_statistic(extractor, 1000, None)
    side, activations = statistic.empty("cpu"), [Activations(extractor(batches[0]))]
    size = extractor.input_size
    speeds = {
        "decode": per_second(source.__getitem__, range(count), count),
        "resize": per_second(lambda image: resize_image(image, size), decoded, count),
        "forward": per_second(extractor, batches, count),
        "count": per_second(lambda values: statistic.add_(side, values), activations * 2, 2 * 32),
    }
    print(f"{'stage, one thread':24} {'images/s':>9}")
    for stage, speed in speeds.items():
        print(f"{stage:24} {speed:9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the input side")
    parser.add_argument("--images", type=int, default=240, help="at least 64")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.images)
        stages(Path(folder), DNAExtractor(), 64)


if __name__ == "__main__":
    main()
