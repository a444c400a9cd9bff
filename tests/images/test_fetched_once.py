"""An image is fetched from its source once, and the facts of its file are those of the very draw that was measured."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import serving
from kinds import FILES, PIXELS, png
from networks import Pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna, monitor, rank
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.properties import PROPERTIES

EXTRACTOR = DNAExtractor(Pixels(), properties=True)


class Asked:
    """Dataset that counts how often it is asked for each of its images."""

    def __init__(self, item: Callable[[int], Any], count: int = len(PIXELS)) -> None:
        self.item, self.count, self.times = item, count, Counter[int]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.times[index] += 1
        return self.item(index)


SETTINGS: dict[str, Any] = {"reading": Reading(num_workers=0), "ranges": "auto"}
ITEMS: dict[str, Callable[[int], Any]] = {
    "arrays": PIXELS.__getitem__,
    "pictures": lambda index: Image.fromarray(PIXELS[index]),
    "files": lambda index: png(PIXELS[index]),
    "rows": lambda index: {"label": index, "image": Image.fromarray(PIXELS[index])},
}
CLASSES = list("xxxxxxyyyyy"), list("xxxxxyyyyyy")
MEASURES: dict[str, Callable[[Asked, Asked], Any]] = {
    **{kind: lambda a, b: (make_dna(a, EXTRACTOR, **SETTINGS), make_dna(b, EXTRACTOR, **SETTINGS)) for kind in ITEMS},
    "compare": lambda a, b: compare(a, b, EXTRACTOR, **SETTINGS),
    "several sets, one twice": lambda a, b: compare(a, {"a": a, "b": b, "c": PIXELS}, EXTRACTOR, **SETTINGS),
    "classes": lambda a, b: compare(a, b, EXTRACTOR, by=CLASSES, **SETTINGS),
    "matrix": lambda a, b: matrix([a, b], EXTRACTOR, **SETTINGS),
    "monitor": lambda a, b: list(monitor(a, b, EXTRACTOR, window=3, **SETTINGS)),
    "rank": lambda a, b: rank(b, a, EXTRACTOR, reading=SETTINGS["reading"]),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_dataset_is_asked_once_for_each_image(name: str) -> None:
    sides = [Asked(ITEMS.get(name, ITEMS[kind])) for kind in ("files", "rows")]
    MEASURES[name](*sides)
    for side in sides:
        looks = side.times.pop(0) - 1  # at the first, to see what it is, where the set is opened
        assert looks == (2 if "twice" in name and side is sides[0] else 1)
        assert side.times == dict.fromkeys(range(1, len(PIXELS)), 1)


def test_facts_are_of_the_draw_that_was_measured() -> None:
    drawn: dict[int, bytes] = {}

    def augmented(_: int) -> bytes:
        number, file = len(drawn) + 1, io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 2 * number, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(10 * number + noise - noise.mean().astype(np.uint8)).save(file, ("PNG", "JPEG")[number % 2])
        drawn[number] = file.getvalue()
        return drawn[number]

    (batch,) = load_batches(open_source(Asked(augmented, 9)), None, reading=SETTINGS["reading"], properties=True)
    for image, values in zip(batch.images, batch.properties, strict=True):
        number = round(float(image.double().mean()) / 10)  # which draw it is, by its pixels
        measured = dict(zip(PROPERTIES, values.tolist(), strict=True))
        assert (measured["PNG files"], measured["JPEG files"]) == (1 - number % 2, number % 2)
        assert measured["bytes per pixel"] == pytest.approx(min(len(drawn[number]) / (8 * 8 * 8), 1))


def test_a_file_at_an_address_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    with serving({"plain": tmp_path}) as (address, requests):
        files = [f"{address}/plain/{name}" for name in FILES]
        for source in (files, files[0]):
            requests.clear()
            compare(source, PIXELS, EXTRACTOR, **SETTINGS)
            asked = Counter(request.split("/")[-1] for request in requests if request.startswith("GET"))
            assert asked == dict.fromkeys(FILES if source is files else [min(FILES)], 1)
