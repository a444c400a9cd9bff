"""Threads against processes for decoding and resizing images: ``python tests/benchmarks/decoding.py``.

JPEGs of 512 x 512 pixels as tests/benchmarks/input.py writes them, from a folder and from a tar, without a network. All
ways run in turns, by the clock; the fastest of each is told.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from input import write

from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import _Chunks, _Decoded, _Make, load_batches

SIZE = (224, 224)


def by_threads(source: Any, workers: int) -> Iterator[Any]:
    """As load_batches, by threads."""
    decoded = _Decoded(source, _Make(SIZE, "none", "clean", False, None))
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        for chunk in _Chunks(source, 32, None):
            waiting.append(pool.submit(decoded.__getitem__, chunk))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        yield from (one.result() for one in waiting)


def by_processes(source: Any, workers: int) -> Iterator[Any]:
    yield from load_batches(source, SIZE, reading=Reading(num_workers=workers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, tuple[Callable[[Any, int], Iterator[Any]], int]] = {
        "this process": (by_processes, 0),
        f"{arguments.workers} threads": (by_threads, arguments.workers),
        f"{arguments.workers} processes": (by_processes, arguments.workers),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "images")
        folder.mkdir()
        write(folder, arguments.images)
        with tarfile.open(f"{name}/images.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(folder, "images")
        for label, source in (("folder", folder), ("stream", f"{name}/images.tar.gz")):
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(arguments.rounds):
                for way, (run, workers) in ways.items():
                    start = time.perf_counter()
                    count = sum(len(batch.numbers) for batch in run(open_source(source), workers))
                    seconds[way].append(time.perf_counter() - start)
                    assert count == arguments.images
            told = ", ".join(f"{way} {arguments.images / min(found):.0f}" for way, found in seconds.items())
            print(f"{label}, images a second: {told}")


if __name__ == "__main__":
    main()
