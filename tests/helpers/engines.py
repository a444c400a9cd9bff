"""Jobs of shards, and work for engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from kinds import png, tar
from networks import pixels

from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.engine import Engine, Work
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.make import make_files
from torchmetrics_dna.statistics.resolve import resolve

EXTRACTOR, RANGES = pixels()
KINDS = ("histogram", "gaussian", "layer-gaussian")


class Twice(Work):
    label = "numbers"

    def begin(self, device: str, cores: int) -> None: ...

    def __call__(self, number: int) -> int:
        return 2 * number


def shards(folder: Path, count: int, size: int) -> str:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for k in range(count):
        images = random.integers(0, 256, (size, 6, 5, 3)).astype(np.uint8)
        tar(folder / f"{k:03}.tar", {f"{k}/{i}.png": png(image) for i, image in enumerate(images)})
    return f"{folder}/*.tar"


def make(source: object, output: Path | str, engine: Engine | str | None = None, **options: Any) -> list[str]:
    if not str(output).startswith("s3:"):
        Path(output).parent.mkdir(exist_ok=True)
    folds = options.pop("num_folds", None), options.pop("groups", None)
    resume, reading = options.pop("resume", False), Reading(options.pop("batch_size", 4), 0, **options)
    job = Job.for_dnas(resolve(EXTRACTOR, num_bins=40, ranges=RANGES), KINDS, reading, *folds)
    return make_files(source, output, job, on=engine, resume=resume)[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def broken_shards(folder: Path) -> str:
    """Five shards: of the second no image can be read, the fourth is no tar."""
    source = shards(folder, 5, 4)
    tar(folder / "001.tar", {"a.png": b"no image", "b.png": b"no image"})
    (folder / "003.tar").write_bytes(b"no tar")
    return source
