"""Jobs of shards, and an engine that needs no cluster."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kinds import png, tar
from networks import pixels

from torchmetrics_dna.jobs.engine import Engine, Work
from torchmetrics_dna.jobs.loading import Loading
from torchmetrics_dna.jobs.make_files import make_files

EXTRACTOR, RANGES = pixels()
KINDS = ("histogram", "gaussian", "layer-gaussian")


class Here(Engine):
    """Does everything at once in this process, the last number first, on pickled work."""

    def run(self, work: Work, numbers: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        theirs = pickle.loads(pickle.dumps(work))
        theirs.begin("cpu", 1)
        for number in reversed(numbers):
            yield number, pickle.loads(pickle.dumps(theirs(number)))


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
    given = {name: options.pop(name) for name in ("resume", "num_folds", "groups") if name in options}
    loading = Loading(options.pop("batch_size", 4), 0, engine=engine, **options)
    return make_files(source, output, EXTRACTOR, KINDS, 40, RANGES, loading, **given)[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def broken_shards(folder: Path) -> str:
    """Five shards: of the second no image can be read, the fourth is no tar."""
    source = shards(folder, 5, 4)
    tar(folder / "001.tar", {"a.png": b"no image", "b.png": b"no image"})
    (folder / "003.tar").write_bytes(b"no tar")
    return source
