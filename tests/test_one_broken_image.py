"""One broken file, in each set in turn, of all that takes images: named once, and the rest as if it were not there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import Pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna, monitor, rank
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files, measure_ranges
from torchmetrics_dna.loops.checkpoints import Checkpoints
from torchmetrics_dna.reporting.build import report

pytestmark = pytest.mark.usefixtures("few_relabelings")

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)
SKIP = Reading(skip_unreadable=True, num_workers=0, batch_size=1)  # so that sums are in one order, to the last bit
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 40, "reading": SKIP}
SETS, CLASSES = ("a", "b", "c"), ("x", "y")
COUNT = 6  # images of a class, so that causes are searched for with one less
Sources = tuple[Path, ...]
Told = tuple[list[str], Any]  # the lines on unreadable images, and the figures


def result(made: Any) -> Told:
    values = made.to_dict()
    values.pop("unreadable", None)
    for comparison in values.get("comparisons", {}).values():
        comparison.pop("unreadable")
    for name in ("total", "whole", "of_added", "of_removed"):
        (values.get(name) or {}).pop("unreadable", None)
    return list(made.unreadable), values


def ranking(images: Path, reference: Path, **options: Any) -> Told:
    made = rank(images, reference, EXTRACTOR, reading=SKIP, **options)
    return made.unreadable, (made.rows(), made.verdict, made.notices)


def warned(make: Callable[[], Any]) -> Told:
    """Return the warnings on images, of which each names one, and what is made."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
    return [str(warning.message) for warning in caught], made


def files(a: Path, kinds: list[Any]) -> Told:
    paths, lines = make_files(
        a, a.parent / "made.dna.npz", kinds, Arguments(EXTRACTOR, **OPTIONS, num_folds=None), resume=False, notes=""
    )
    return lines, [Path(path).read_bytes() for path in paths.values()]


def checkpoints(a: Path, b: Path, c: Path) -> Told:
    folder = a.parent / f"checkpoints of {len(list(a.parent.iterdir()))}"

    def added() -> Any:
        kept = Checkpoints(a, folder, EXTRACTOR, held_out=c, **OPTIONS)
        kept.add(1, b)
        return kept.comparisons.to_dict()

    return warned(added)


def page(a: Path, b: Path) -> Told:
    lines, values = result(report(a, b, a.parent / "page.html", EXTRACTOR, **OPTIONS))
    return lines, values


def compared(*sets: Path, **options: Any) -> Told:
    a, b, *more = sets
    return result(compare(a, {side.name: side for side in (b, *more)} if more else b, EXTRACTOR, **OPTIONS, **options))


PAIRS: dict[str, Any] = {"pairs": "name"}
TAKERS: dict[str, tuple[int, Callable[..., Told]]] = {
    "make_dna": (1, lambda a: warned(lambda: make_dna(a, EXTRACTOR, **OPTIONS).digest)),
    "make_files": (1, lambda a: files(a, ["histogram", "gaussian"])),
    "measure_ranges": (2, lambda *sides: (lambda m: (m.unreadable, m.ranges.digest))(
        measure_ranges(sides, EXTRACTOR, "widen", reading=SKIP))),
    "compare of two": (2, compared),
    "of features": (2, lambda a, b: compared(a, b, metrics=["dna-fd", "kid"])),
    "without folds": (2, lambda a, b: compared(a, b, num_folds=None)),
    "compare of several": (3, compared),
    "held out": (3, lambda *sides: compared(*sides, held_out="c")),
    "by class": (2, lambda a, b: compared(a, b, by="folder")),
    "pairs": (2, lambda a, b: compared(a, b, **PAIRS)),
    "pairs of several": (3, lambda *sides: compared(*sides, **PAIRS)),
    "matrix": (3, lambda *sides: result(matrix({side.name: side for side in sides}, EXTRACTOR, **OPTIONS))),
    "diff": (2, lambda a, b: result(diff(a, b, EXTRACTOR, **OPTIONS))),
    "report": (2, page),
    "rank by outlier": (2, ranking),
    "rank by local": (2, lambda a, b: ranking(a, b, score="local")),
    "rank by distance": (2, lambda a, b: ranking(a, b, score="distance")),
    "rank by contrast": (3, lambda a, b, c: ranking(a, b, contrast=c)),
    "rank by the pool": (2, lambda a, b: ranking(a, b, score="contrast")),
    "rank with nearest": (3, lambda a, b, c: ranking(a, b, nearest=c)),
    "rank with nearest the reference": (2, lambda a, b: ranking(a, b, nearest=b)),
    "rank with nearest themselves": (2, lambda a, b: ranking(a, b, nearest=a)),
    "monitor": (2, lambda a, b: warned(
        lambda: list(monitor(a, b, EXTRACTOR, window=3, learn=2, order="source", **OPTIONS)))),
    "Checkpoints": (3, checkpoints),
}  # fmt: skip

# The others share with these what reads images.
BASIC = ("make_dna", "make_files", "compare of two", "pairs", "rank by outlier", "monitor", "Checkpoints")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    parent = tmp_path_factory.mktemp("sets")
    for k, side in enumerate(SETS):
        random = np.random.default_rng(k)
        for i in range(COUNT * len(CLASSES)):
            folder = parent / side / CLASSES[i % len(CLASSES)]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.normal(90 + 20 * k, 30, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"view {i}.png")
    return tuple(parent / side for side in SETS)


@pytest.fixture
def broken(folders: Sources) -> Iterator[Callable[[Path], None]]:
    """A function that damages a file for the time of a test."""
    kept: dict[Path, bytes] = {}

    def damage(path: Path) -> None:
        kept[path] = path.read_bytes()
        path.write_bytes(b"no image")

    yield damage
    for path, content in kept.items():
        path.write_bytes(content)


def rows() -> Iterator[Any]:
    """Each function with the place of the broken image among its sets."""
    for name, (count, _) in TAKERS.items():
        for place in range(count):
            marks = []
            if name == "pairs":
                # The search for causes of pairs is of whole pairs.
                marks.append(pytest.mark.causes)
            if place > 0 or name not in BASIC:
                marks.append(pytest.mark.outer)
            yield pytest.param(name, place, marks=marks)


@pytest.mark.parametrize(("name", "place"), list(rows()))
def test_it_is_named_once_and_the_rest_is_measured(
    name: str, place: int, folders: Sources, broken: Callable[[Path], None]
) -> None:
    count, take = TAKERS[name]
    sides = folders[:count]
    path = sides[place] / "x" / "view 4.png"
    broken(path)
    lines, figures = take(*sides)
    told = [line for line in lines if repr(str(path)) in line]
    assert len(told) == 1
    partners = [side / "x" / "view 4.png" for side in sides if side != sides[place]] if "pairs" in name else []
    assert len(lines) == 1 + len(partners)
    assert all(any(f"{str(partner)!r}: its partner" in line for line in lines) for partner in partners)
    for gone in (path, *partners):
        if gone != path:
            broken(gone)
        gone.unlink()
    assert take(*sides) == ([], figures)


def test_a_class_of_which_none_can_be_read(folders: Sources, broken: Callable[[Path], None]) -> None:
    a, b, _ = folders
    paths = sorted((b / "x").iterdir())
    for path in paths:
        broken(path)
    compared = compare(a, b, EXTRACTOR, by="folder", **OPTIONS)
    assert (list(compared), compared.alone) == (["y"], (["x"], []))
    assert compared.total["dna-emd"].value == compare(a / "y", b / "y", EXTRACTOR, **OPTIONS)["dna-emd"].value
    assert all(any(repr(str(path)) in line for line in compared.unreadable) for path in paths)
    assert len(compared.unreadable) == len(paths)
    for path in sorted((b / "y").iterdir()):
        broken(path)
    with pytest.raises(ValueError, match="No class has images that can be read in both sets"):
        compare(a, b, EXTRACTOR, by="folder", **OPTIONS)
    broken(a / "x" / "view 4.png")
    pairs = [a / "x" / "view 4.png", a / "x" / "view 6.png"], [a / "x" / "view 0.png", b / "y" / "view 1.png"]
    with pytest.raises(ValueError, match="No pair could be read on both sides"):
        compare(*pairs, EXTRACTOR, pairs=True, **OPTIONS)
