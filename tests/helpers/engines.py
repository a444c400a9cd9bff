"""Jobs of shards, and an engine that needs no cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from kinds import png, tar
from networks import pixels

from torchmetrics_dna.jobs.engine import Engine, LostError, Session, Work
from torchmetrics_dna.jobs.loading import Loading
from torchmetrics_dna.jobs.make_files import make_files

EXTRACTOR, RANGES = pixels()
KINDS = ("histogram", "gaussian", "layer-gaussian")


class Here(Engine, Session):
    """Does everything at once in this process, the last number first, on pickled work; and loses what it is told to.

    Args:
        lose: How many merges are lost before one is not.

    """

    def __init__(self, lose: int = 0) -> None:
        self.lose = lose
        self.calls: list[int] = []

    @contextmanager
    def open(self) -> Iterator[Session]:
        yield self

    def map(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        theirs = pickle.loads(pickle.dumps(work))
        theirs.begin("cpu", 1)
        for number in reversed(numbers):
            yield number, theirs(number)

    def put(self, value: Any) -> Any:
        return value

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.calls.append(len(arguments))
        return function(*arguments)

    def get(self, handle: Any) -> Any:
        self.lose -= 1
        if self.lose >= 0:
            raise LostError("a machine is gone")
        return handle


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
