"""Every kind of source gives the counts of the same images in a folder, each fetched once; broken ones are told."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
import torch
from hub_server import serving
from kinds import COUNT, FILES, IN_MEMORY, ON_DISK, PIXELS, png
from networks import Pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna, monitor, rank
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.images.properties import PROPERTIES
from torchmetrics_dna.jobs.make import measure_ranges

# servers, Arrow and fsspec have threads, which Python 3.12 and later warn of where workers are forked
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
EXTRACTOR = DNAExtractor(Pixels(), input_size=16)


def dna_of(source: object, groups: Any = None, **options: Any) -> HistogramDNA:
    reading = Reading(**options)
    dna = make_dna(source, EXTRACTOR, num_bins=50, ranges="auto", num_folds=5, groups=groups, reading=reading)
    assert isinstance(dna, HistogramDNA)
    return dna


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> HistogramDNA:
    return dna_of(kinds.folder(tmp_path_factory.mktemp("folder")))


def same(actual: DNA, expected: DNA) -> bool:
    return actual.digest == expected.digest and [f.digest for f in actual.folds] == [f.digest for f in expected.folds]


@pytest.mark.parametrize(
    ("kind", "num_workers"),
    [*((kind, 0) for kind in ON_DISK), *((kind, 2) for kind in ("zip", "packed npz", "shards", "parquet", "video"))],
)
def test_files_give_what_a_folder_gives(kind: str, num_workers: int, expected: DNA, tmp_path: Path) -> None:
    source = ON_DISK[kind](tmp_path)
    options: dict[str, Any] = {"num_workers": num_workers, "batch_size": 4}
    if kind == "video":  # whose frames belong together
        dna = dna_of(source, **options, groups=lambda name: name)
        assert dna.digest == expected.digest
        assert sorted(fold.num_images for fold in dna_of(source, **options).folds) == [0, 0, 0, 0, COUNT]
    else:
        assert same(dna_of(source, **options), expected)


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_what_is_in_memory_gives_what_a_folder_gives(kind: str, expected: DNA) -> None:
    assert same(dna_of(IN_MEMORY[kind](), batch_size=4), expected)


@pytest.mark.slow
@pytest.mark.usefixtures("few_relabelings")
def test_all_functions_take_a_stream(tmp_path: Path) -> None:
    folder, darker, source = kinds.folder(tmp_path / "folder"), PIXELS // 2, kinds.shards(tmp_path)
    options: dict[str, Any] = {"ranges": "auto", "num_bins": 50, "reading": Reading(num_workers=0)}

    def results(images: object) -> tuple[Any, ...]:
        swapped = rank(darker, images, EXTRACTOR, contrast=folder, **options)
        ranges = measure_ranges([images], EXTRACTOR, "widen", reading=options["reading"]).ranges
        ranking = rank(images, darker, EXTRACTOR, nearest=darker, **options)
        return compare(images, darker, EXTRACTOR, **options), ranking, swapped.distances.tolist(), ranges.digest

    (compared, ranked, *others), (comparison, ranking, *of_source) = results(folder), results(source)
    # equal counts; a few images of known number are summed by torch and a stream by numba, in other orders
    assert comparison["dna-emd"].value == pytest.approx(compared["dna-emd"].value, rel=1e-15, abs=0)
    assert (comparison.p_value, comparison.null) == (compared.p_value, pytest.approx(compared.null, rel=1e-15))
    assert (ranking.scores.tolist(), ranking.p_value) == (ranked.scores.tolist(), ranked.p_value)
    assert (ranking.nearest.names, of_source) == (ranked.nearest.names, others)
    # whatever the order in which workers gave them, names and numbers go with the scores
    shared = rank(source, darker, EXTRACTOR, **options | {"reading": Reading(num_workers=2, batch_size=2)})
    assert (shared.names, shared.scores.tolist()) == (ranking.names, ranking.scores.tolist())
    order = [int(re.findall(r"(\d+)(?:\.png)?$", name)[0]) for name in ranking.names]
    assert order == [int(re.findall(r"(\d+)\.png$", name)[0]) for name in ranked.names]


def test_columns_are_chosen(tmp_path: Path, expected: DNA) -> None:
    source = kinds.shards(tmp_path, mask=True)
    assert dna_of(source, column="png").digest == expected.digest
    masks = dna_of(255 - PIXELS).digest
    assert dna_of(source, column="mask.png").digest == masks
    assert dna_of(source, column="*").num_images == 2 * COUNT
    np.savez(tmp_path / "two.npz", fake=PIXELS, real=255 - PIXELS)
    assert dna_of(tmp_path / "two.npz", column="real").digest == masks
    rows = [{"a": image, "b": 255 - image} for image in PIXELS]
    assert dna_of(rows, column="b").digest == masks
    assert compare(rows, PIXELS, EXTRACTOR, ranges="auto", reading=Reading(column="a"))["dna-emd"].value == 0
    with pytest.warns(UserWarning, match="'image' is read, not thumb; name it by `column`"):
        assert len(open_source([{"image": image, "thumb": 255 - image} for image in PIXELS])) == COUNT
    for images, column, message in (
        (source, None, r"sample '000\d' has several images, png and mask.png"),
        (source, "jpg", "no column 'jpg' in '.*-000.tar', which has json, mask.png, png"),
        (tmp_path / "two.npz", None, "no array 'arr_0', but fake, real; name the one of images by `column`"),
        (tmp_path / "two.npz", "x", "no column 'x' in '.*two.npz', which has fake, real"),
        (rows, None, r"several columns that hold an image \(a, b\) in '.*', which has a, b"),
        (iter(rows), None, r"several columns that hold an image \(a, b\) in '.*', which has a, b"),
        (rows, "c", "no column 'c' in '.*', which has a, b"),
        (iter(rows), "c", "no column 'c' in '.*', which has a, b"),
        (kinds.npy(tmp_path), "a", "`column` is 'a', but there are no columns in '.*x.npy'"),
        (PIXELS, "a", "`column` is 'a', but there are no columns in 'ndarray of images"),
        ({"train": rows, "test": rows}, None, "got a dict with train, test"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            dna_of(images, column=column)


def test_frames_are_taken_by_time(tmp_path: Path) -> None:
    path = kinds.video(tmp_path)  # of 4 frames a second
    assert [entry.name for entry in open_source(path, Reading(fps=2))] == [
        f"{path}/frame {i}" for i in range(0, COUNT, 2)
    ]
    assert len(list(open_source(path, Reading(fps=100)))) == COUNT
    assert len(list(open_source(path, Reading(fps=0.1)))) == 1
    with pytest.raises(ValueError, match="Argument `fps` expected to be above 0, but got 0"):
        dna_of(path, fps=0)
    with pytest.raises(ValueError, match="Argument `fps` is 2, but there are no frames in"):
        dna_of(PIXELS, fps=2)
    kinds.video(tmp_path, "y.mkv", 255 - PIXELS)
    dna = dna_of(tmp_path / "*.mkv", num_workers=2)
    assert sum(fold.num_images > 0 for fold in dna.folds) <= 2
    assert dna.num_images == 2 * COUNT


def test_grey_arrays_and_others_of_files(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", PIXELS[..., :1])
    np.save(tmp_path / "fortran.npy", np.asfortranarray(PIXELS))
    np.save(tmp_path / "floats.npy", (PIXELS / 255).astype(np.float32))
    assert open_source(tmp_path / "grey.npy")[3].tolist() == np.repeat(PIXELS[3, ..., :1], 3, 2).tolist()
    assert (open_source(tmp_path / "fortran.npy")[5] == PIXELS[5]).all()
    several = open_source(f"{tmp_path}/{{fortran,grey}}.npy")
    assert (several[COUNT + 3] == open_source(tmp_path / "grey.npy")[3]).all()
    assert several.stamp(COUNT) == open_source(tmp_path / "grey.npy").stamp(0)
    assert np.allclose(open_source(tmp_path / "floats.npy")[5], PIXELS[5] / 255)
    greys = torch.from_numpy(PIXELS[:, None, ..., 0].copy())
    assert dna_of(greys).digest == dna_of(tmp_path / "grey.npy").digest
    assert dna_of(iter(greys)).digest == dna_of(greys).digest


@pytest.mark.parametrize(
    ("package", "extra", "kind"),
    [("pyarrow", "parquet", "x.parquet"), ("av", "video", "x.mp4"), ("s3fs", "remote", "s3")],
)
def test_missing_packages_are_named(
    package: str, extra: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_text("x")
    (tmp_path / "x.mp4").write_text("x")
    for loaded in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, package, None)
    source = "s3://bucket/x.tar" if kind == "s3" else str(tmp_path / kind)
    expected = rf"^This needs {package}, which is not installed; run `pip install '.*'`, which is the extra '{extra}'"
    with pytest.raises(ModuleNotFoundError, match=expected):
        open_source(source)


WITH_PROPERTIES = DNAExtractor(Pixels(), properties=True)


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
    **{
        kind: lambda a, b: (make_dna(a, WITH_PROPERTIES, **SETTINGS), make_dna(b, WITH_PROPERTIES, **SETTINGS))
        for kind in ITEMS
    },
    "compare": lambda a, b: compare(a, b, WITH_PROPERTIES, **SETTINGS),
    "several sets, one twice": lambda a, b: compare(a, {"a": a, "b": b, "c": PIXELS}, WITH_PROPERTIES, **SETTINGS),
    "classes": lambda a, b: compare(a, b, WITH_PROPERTIES, by=CLASSES, **SETTINGS),
    "matrix": lambda a, b: matrix([a, b], WITH_PROPERTIES, **SETTINGS),
    "monitor": lambda a, b: list(monitor(a, b, WITH_PROPERTIES, window=3, **SETTINGS)),
    "rank": lambda a, b: rank(b, a, WITH_PROPERTIES, reading=SETTINGS["reading"]),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_dataset_is_asked_once_for_each_image(name: str) -> None:
    sides = [Asked(ITEMS.get(name, ITEMS[kind])) for kind in ("files", "rows")]
    MEASURES[name](*sides)
    for side in sides:
        # A set is opened once, also if it is given twice. The first image is then read to see what it is.
        assert side.times.pop(0) == 2
        assert side.times == dict.fromkeys(range(1, len(PIXELS)), 1)


def test_facts_are_of_the_draw_that_was_measured() -> None:
    drawn: dict[int, bytes] = {}

    def augmented(_: int) -> bytes:
        number, file = len(drawn) + 1, io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 2 * number, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(10 * number + noise - noise.mean().astype(np.uint8)).save(file, ("PNG", "JPEG")[number % 2])
        drawn[number] = file.getvalue()
        return drawn[number]

    (batch,) = load_batches(
        open_source(Asked(augmented, 9)), None, reading=SETTINGS["reading"], properties=True, notes=None, channels=3
    )
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
            compare(source, PIXELS, WITH_PROPERTIES, **SETTINGS)
            asked = Counter(request.split("/")[-1] for request in requests if request.startswith("GET"))
            assert asked == dict.fromkeys(FILES if source is files else [min(FILES)], 1)
