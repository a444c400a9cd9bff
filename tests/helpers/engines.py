"""Jobs of shards, and Ray in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from kinds import png, tar
from networks import pixels

from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files

EXTRACTOR, RANGES = pixels()
KINDS = ("histogram", "gaussian", "layer-gaussian")


class Ray:
    """Ray as far as its public functions are called, in this process: all tasks run when one is needed, the last first.

    What goes to a task and comes from it is pickled.
    """

    cloudpickle = pickle
    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Any]] = []
        self._tasks: list[Callable[[], Any]] = []
        self._results: dict[int, bytes] = {}

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str | None, **options: Any) -> None:
        self.calls.append(("init", address, options))
        if address == "ray://none:1":
            raise ValueError("there is none")

    def shutdown(self) -> None:
        self.calls.append(("shutdown", None, None))

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Callable[..., Any]:
        self.calls.append(("remote", None, options))

        def of(function: Callable[..., Any]) -> Any:
            def submit(*arguments: Any) -> int:
                content = pickle.dumps((function, arguments))
                self._tasks.append(partial(self._run, content))
                return len(self._tasks) - 1

            return SimpleNamespace(remote=submit)

        return of

    @staticmethod
    def _run(content: bytes) -> bytes:
        function, arguments = pickle.loads(content)
        return pickle.dumps(function(*arguments))

    def get(self, number: int) -> Any:
        for last in reversed(range(len(self._tasks))):
            if last not in self._results:
                self._results[last] = self._tasks[last]()
        return pickle.loads(self._results[number])

    def cancel(self, number: int, *, force: bool) -> None:
        assert force


class StoppedError(Exception):
    """Ctrl-C, at a moment of the test's choice."""


def stopping(after: int | None) -> Callable[[str, int, int | None], None]:
    """Progress callback that stops a run as soon as more images than this are done."""

    def progress(_: str, done: int, total: int | None) -> None:
        if after is not None and done > after:
            raise StoppedError

    return progress


def shards(folder: Path, count: int, size: int) -> str:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for k in range(count):
        images = random.integers(0, 256, (size, 6, 5, 3)).astype(np.uint8)
        tar(folder / f"{k:03}.tar", {f"{k}/{i}.png": png(image) for i, image in enumerate(images)})
    return f"{folder}/*.tar"


def make(source: object, output: Path | str, on: str | None = None, **options: Any) -> list[str]:
    if not str(output).startswith("s3:"):
        Path(output).parent.mkdir(exist_ok=True)
    folds = {name: options.pop(name, None) for name in ("num_folds", "groups")}
    extractor = options.pop("extractor", EXTRACTOR)
    resume, reading = options.pop("resume", False), Reading(options.pop("batch_size", 4), 0, **options)
    arguments = Arguments(extractor, num_bins=40, ranges=RANGES, reading=reading, on=on, **folds)
    return make_files(source, output, KINDS, arguments, resume=resume, notes="")[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def broken_shards(folder: Path) -> str:
    """Five shards: of the second no image can be read, the fourth is no tar."""
    source = shards(folder, 5, 4)
    tar(folder / "001.tar", {"a.png": b"no image", "b.png": b"no image"})
    (folder / "003.tar").write_bytes(b"no tar")
    return source
