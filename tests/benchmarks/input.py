"""Cost of decoding, resizing and the network, and the share of a bare forward pass's speed that `make` keeps.

    python tests/benchmarks/input.py [--images 2000] [--rounds 3]

The images are JPEGs of 512 x 512 pixels, crops of photographs that scikit-image ships. Each stage runs in one thread,
and is told in images per second of processor time, which a busy machine changes least. `make` and the bare forward
pass over the same images, in batches of 32 that are decoded already, run in turns, by the clock.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from timing import in_turns

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import default_workers, load_batches
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
    side, activations = statistic.empty("cpu"), [extractor(batches[0])]
    size = extractor.input_size
    speeds = {
        "decode": per_second(source.__getitem__, range(count), count),
        "resize": per_second(lambda image: resize_image(image, size), decoded, count),
        "forward": per_second(extractor, batches, count),
        "count": per_second(lambda values: statistic.add_(side, [values], len(batches[0])), activations * 2, 2 * 32),
    }
    print(f"{'stage, one thread':24} {'images/s':>9}")
    for stage, speed in speeds.items():
        print(f"{stage:24} {speed:9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the input side")
    parser.add_argument("--images", type=int, default=2000, help="at least 64")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    extractor = DNAExtractor("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.images)
        torch.set_num_threads(1)
        stages(folder, extractor, 64)
        torch.set_num_threads(threads)
        ready = [batch.images for batch in load_batches(open_source(folder), extractor.input_size)]

        def bare() -> None:
            for batch in ready:
                extractor(batch)

        counts = sorted({0, 1, 2, default_workers(arguments.images)})
        makes = {str(n): lambda n=n: make_dna(folder, extractor, reading=Reading(num_workers=n)) for n in counts}
        seconds = in_turns(arguments.rounds, bare=bare, **makes)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"\n{cores} cores, {threads} threads, load {os.getloadavg()[0]:.1f}; medians of {arguments.rounds}")
    print(f"{'':24} {'images/s':>9} {'of bare':>9}")
    for way, durations in seconds.items():
        label = "bare forward pass" if way == "bare" else f"make, {way} workers"
        share = median(b / t for b, t in zip(seconds["bare"], durations, strict=True))
        print(f"{label:24} {arguments.images / median(durations):9.1f} {share:9.0%}")
    print(f"chosen by default: {default_workers(arguments.images)} workers")


if __name__ == "__main__":
    main()
