"""Every kind of source gives the counts of the same images in a folder, cell by cell; broken ones are told."""

from __future__ import annotations

import builtins
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
import torch
from kinds import COUNT, FILES, IN_MEMORY, ON_DISK, PIXELS, tar
from networks import Pixels

from torchmetrics_dna import DNAExtractor, compare, make_dna, rank
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.images import ImageSource, ImageStream, Reading, open_source
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


def test_which_kinds_have_an_index(tmp_path: Path) -> None:
    streams = set()
    for place, (kind, make) in enumerate(ON_DISK.items()):
        folder = tmp_path / str(place)
        folder.mkdir()
        streams |= {kind} if isinstance(open_source(make(folder)), ImageStream) else set()
    assert streams == {"packed npz", "packed tar", "shards", "shards by star", "parquet", "parquet of files", "video"}
    mapped = [kind for kind in IN_MEMORY if isinstance(open_source(IN_MEMORY[kind]()), ImageSource)]
    assert mapped == list(IN_MEMORY)[: len(mapped)]
    assert len(mapped) == 9


@pytest.mark.slow
def test_all_functions_take_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    folder, darker = kinds.folder(tmp_path / "folder"), PIXELS // 2
    options: dict[str, Any] = {"ranges": "auto", "num_bins": 50, "reading": Reading(num_workers=0)}

    def results(images: object) -> tuple[Any, ...]:
        swapped = rank(darker, images, EXTRACTOR, contrast=folder, **options)
        ranges = measure_ranges([images], EXTRACTOR, "widen", reading=options["reading"]).ranges
        ranking = rank(images, darker, EXTRACTOR, nearest=darker, **options)
        return compare(images, darker, EXTRACTOR, **options), ranking, swapped.distances.tolist(), ranges.digest

    compared, ranked, *others = results(folder)
    for kind in ("shards", "parquet"):
        source = ON_DISK[kind](tmp_path)
        comparison, ranking, *of_source = results(source)
        # equal counts; a few images of known number are summed by torch and a stream by numba, in other orders
        assert comparison["dna-emd"].value == pytest.approx(compared["dna-emd"].value, rel=1e-15, abs=0)
        assert (comparison.p_value, comparison.null) == (compared.p_value, pytest.approx(compared.null, rel=1e-15))
        assert (ranking.scores.tolist(), ranking.p_value) == (ranked.scores.tolist(), ranked.p_value)
        assert ranking.nearest.names == ranked.nearest.names
        assert of_source == others
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
    with pytest.raises(ValueError, match=r"sample '000\d' has several images, png and mask.png; choose one by"):
        dna_of(source)
    with pytest.raises(ValueError, match=r"no column 'jpg' in '.*-000.tar', which has json, mask.png, png"):
        dna_of(source, column="jpg")
    np.savez(tmp_path / "two.npz", fake=PIXELS, real=255 - PIXELS)
    assert dna_of(tmp_path / "two.npz", column="real").digest == masks
    with pytest.raises(ValueError, match="it has no array 'arr_0', but fake, real; name the one of images by `column`"):
        open_source(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="There is no column 'x' in '.*two.npz', which has fake, real"):
        open_source(tmp_path / "two.npz", Reading(column="x"))
    rows = [{"a": image, "b": 255 - image} for image in PIXELS]
    assert dna_of(rows, column="b").digest == masks
    assert compare(rows, PIXELS, EXTRACTOR, ranges="auto", reading=Reading(column="a"))["dna-emd"].value == 0
    with pytest.warns(UserWarning, match="several columns of images; 'image' is read, not thumb; name it by `column`"):
        assert len(open_source([{"image": image, "thumb": 255 - image} for image in PIXELS])) == COUNT
    for images in (rows, iter(rows)):
        with pytest.raises(ValueError, match=r"several columns that hold an image \(a, b\) in '.*', which has a, b"):
            dna_of(images)
        with pytest.raises(ValueError, match="There is no column 'c' in '.*', which has a, b; name it by `column`"):
            dna_of([*rows], column="c")
    with pytest.raises(ValueError, match="Argument `column` is 'a', but there are no columns in 'ndarray of images"):
        dna_of(PIXELS, column="a")
    with pytest.raises(TypeError, match="got a dict with train, test; give what is under one of these names"):
        dna_of({"train": rows, "test": rows})


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
    assert np.allclose(open_source(tmp_path / "floats.npy")[5], PIXELS[5] / 255)
    greys = torch.from_numpy(PIXELS[:, None, ..., 0].copy())
    assert dna_of(greys).digest == dna_of(tmp_path / "grey.npy").digest
    assert dna_of(iter(greys)).digest == dna_of(greys).digest


def cut(path: str, share: float = 0.7) -> str:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * share)])
    return path


def raising() -> Iterator[np.ndarray]:
    yield from PIXELS[:3]
    raise RuntimeError("the disk\n  is gone")


def poor_parquet(folder: Path) -> str:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.table({"label": [1, 2], "name": ["a", "b"]}), folder / "x.parquet")
    return str(folder / "x.parquet")


def saved(folder: Path, array: np.ndarray) -> str:
    np.savez(folder / "x.npz", array)
    return str(folder / "x.npz")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut tar": (lambda w: cut(tar(w / "x.tar", FILES)), "Can't read '.*x.tar' as a tar: it .*(cut off|unexpected end)"),
    "cut shard": (
        lambda w: cut(kinds.shards(w).replace("{000..002}", "000"), 0.6) and str(w / "x-*.tar"),
        "Can't read images of '.*x-000.tar'.*(cut off|unexpected end of data)",
    ),
    "cut packed tar": (
        lambda w: cut(tar(w / "x.tgz", FILES, "w:gz")),
        "images of '.*x.tgz'.*(ended before|end of data|cut off)",
    ),
    "no tar": (lambda w: (w / "x.tar").write_text("no tar" * 999) and w / "x.tar", "Can't read '.*x.tar' as a tar"),
    "tar without images": (lambda w: tar(w / "x.tar", {"a.json": b"{}"}), "There are no images in '.*x.tar'"),
    "nothing matches": (lambda w: str(w / "*.tar"), r"There are no files '.*\*.tar'"),
    "parquet without images": (
        poor_parquet,
        "no column that holds an image in '.*x.parquet', which has label, name; name it by",
    ),
    "cut parquet": (lambda w: cut(kinds.parquet(w)), "Can't read '.*x.parquet' as Parquet: .*Parquet magic bytes"),
    "npz of tensors": (
        lambda w: saved(w, PIXELS.transpose(0, 3, 1, 2)),
        r"x.npz' as .*\(11, 3, 20, 24\).*; give `imgs.transpose",
    ),
    "cut npy": (lambda w: cut(kinds.npy(w)), "Can't read '.*x.npy' as an array of images: it has been cut off"),
    "video without pictures": (
        lambda w: (w / "x.mp4").write_text("x" * 99) and w / "x.mp4",
        "Can't read '.*x.mp4' as a v",
    ),
    "several kinds": (
        lambda w: [kinds.npy(w), tar(w / "x.tar", FILES)] and f"{w}/x.*",
        "several kinds, such as .*x.npy, .*x.tar",
    ),
    "generator that raises": (lambda w: raising(), "of 'generator of images' after 'image 2': the disk is gone$"),
    "empty generator": (lambda w: iter(()), "There are no images in 'tuple_iterator of images'"),
    "folder of shards": (lambda w: Path(kinds.shards(w)).parent, r"There are no images in '.*'; .*, give .*/\*.tar"),
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("fault", BROKEN)
def test_broken_input_is_told_in_one_line(fault: str, num_workers: int, tmp_path: Path) -> None:
    make, message = BROKEN[fault]
    # what can't be read on can be left out in files, but not where a whole source is broken
    broken = "images of '.*x" in message
    with pytest.raises((ValueError, OSError), match=message) as error:
        dna_of(make(tmp_path), skip_unreadable=not broken, num_workers=num_workers)
    assert "\n" not in str(error.value)


def test_packed_npz_that_is_damaged(tmp_path: Path) -> None:
    path = kinds.packed_npz(tmp_path)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("arr_0.npy")
        content = bytearray(Path(path).read_bytes())
    middle = info.header_offset + info.compress_size // 2
    content[middle : middle + 40] = bytes(40)
    Path(path).write_bytes(content)
    with pytest.raises(ValueError, match=r"Can't read images of '.*x.npz'"):
        dna_of(path)


def test_single_images_of_streams_are_left_out_or_told(tmp_path: Path) -> None:
    files = {**FILES, "img3.png": b"no picture"}
    path = tar(tmp_path / "x.tgz", files, "w:gz")
    with pytest.raises(ValueError, match=r"^Can't read image '.*x.tgz/img3.png': it is not an image file; to leave"):
        dna_of(path)
    with pytest.warns(UserWarning, match="1 image was left out, the first: Can't read image '.*img3.png'"):
        assert dna_of(path, skip_unreadable=True).num_images == COUNT - 1
    only = tar(tmp_path / "y.tgz", {"a.png": b"x", "b.png": b""}, "w:gz")
    with pytest.raises(ValueError, match="None of the 2 images could be read; the first: "):
        dna_of(only, skip_unreadable=True)


@pytest.mark.parametrize(
    ("package", "extra", "kind"),
    [("pyarrow", "parquet", "x.parquet"), ("av", "video", "x.mp4"), ("s3fs", "remote", "s3")],
)
def test_missing_packages_are_named(
    package: str, extra: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_text("x")
    (tmp_path / "x.mp4").write_text("x")
    original = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr("torchmetrics_dna.extras.import_module", lambda name: missing(name) or original(name))
    source = "s3://bucket/x.tar" if kind == "s3" else str(tmp_path / kind)
    expected = rf"^This needs {package}, which is not installed; run `pip install '.*'`, which is the extra '{extra}'"
    with pytest.raises(ModuleNotFoundError, match=expected):
        open_source(source)


def test_a_dna_is_no_image_set(tmp_path: Path, expected: DNA) -> None:
    expected.save(tmp_path / "x.dna.npz")
    assert compare(tmp_path / "x.dna.npz", kinds.packed_npz(tmp_path), EXTRACTOR)["dna-emd"].value == 0
    with pytest.raises(ValueError, match="A DNA needs images, but got a DNA of 11 images; give these"):
        make_dna(tmp_path / "x.dna.npz", EXTRACTOR)
