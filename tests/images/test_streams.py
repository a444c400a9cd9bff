"""Streams: sharing among processes, memory, reading ahead, and errors of what they can't do."""

from __future__ import annotations

import itertools
import re
import threading
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
import torch
from buckets import serving as serving_bucket
from commands import run as run_command
from hub_server import serving
from hypothesis import given
from hypothesis import strategies as st
from kinds import COUNT, FILES, PIXELS, tar
from limits import until
from makers import REAL
from networks import Pixels, random_images
from processes import run
from shards import MANY
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from torchmetrics_dna import DNAExtractor, compare, load_dna, make_dna, rank
from torchmetrics_dna import rank as rank_images
from torchmetrics_dna.images import ImageStream, Reading, open_source
from torchmetrics_dna.images.paths import expand
from torchmetrics_dna.images.sets import Shard
from torchmetrics_dna.images.workers import read_ahead
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files

# servers, Arrow and fsspec have threads, which Python 3.12 and later warn of where workers are forked
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
EXTRACTOR = DNAExtractor(Pixels(), input_size=16)
MEASURE: dict[str, Any] = {"ranges": "auto", "num_bins": 50}


def stream(*lengths: int) -> ImageStream:
    """Stream of shards with these numbers of images."""
    names = [[f"{k}.{i}" for i in range(length)] for k, length in enumerate(lengths)]
    readers = [
        partial(lambda names_of_shard: ((name, PIXELS[0]) for name in names_of_shard), names_of_shard)
        for names_of_shard in names
    ]
    return ImageStream([Shard("shard", reader) for reader in readers], "a stream")


@pytest.mark.parametrize("lengths", [(7,), (3, 0, 4), (1, 1, 1, 1, 1, 1), (2, 5, 1, 4)])
def test_parts_of_a_stream_are_the_whole(lengths: tuple[int, ...]) -> None:
    source = stream(*lengths)
    for outer, inner in itertools.product((1, 2, 3), (1, 2, 4)):
        parts = [list(source.split(i, outer).split(j, inner)) for i in range(outer) for j in range(inner)]
        assert sorted((e.number, e.name) for part in parts for e in part) == [(e.number, e.name) for e in source]
        assert len(lengths) > 1 or max(map(len, parts)) - min(map(len, parts)) <= 1


def test_patterns_are_spelled_out(tmp_path: Path) -> None:
    assert expand("s3://b/{a,b}/{09..11}.tar")[2:4] == ["s3://b/a/11.tar", "s3://b/b/09.tar"]
    assert expand("{8..10}") == ["8", "9", "10"]
    for name in ("x10.png", "x9.png", "{odd}.png"):
        (tmp_path / name).write_bytes(b"")
    assert [Path(path).name for path in expand(f"{tmp_path}/x*.png")] == ["x9.png", "x10.png"]
    assert [Path(path).name for path in expand(f"{tmp_path}/{{odd}}.png")] == ["{odd}.png"]
    assert expand(f"{tmp_path}/{{odd}}s.png") == [f"{tmp_path}/{{odd}}s.png"]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_of_a_stream_are_decoded_one_batch_at_a_time(num_workers: int, tmp_path: Path) -> None:
    """Memory does not grow with the length: counted images are freed."""
    content = kinds.png(np.arange(120_000, dtype=np.uint8).reshape(200, 200, 3))  # 120 kB, and little when packed
    reading, peaks = Reading(num_workers=num_workers, batch_size=4), []
    sources = [
        tar(tmp_path / f"{count}.tgz", {f"{i}.png": content for i in range(count)}, "w:gz") for count in (12, 36)
    ]
    make_dna(sources[0], EXTRACTOR, reading=reading, **MEASURE)  # what is kept for later
    for source in sources:
        tracemalloc.start()
        make_dna(source, EXTRACTOR, reading=reading, **MEASURE)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    ahead = 2 * num_workers * 4  # images that workers may have ready, or not yet when memory is at its peak
    assert peaks[1] < peaks[0] + 300_000 + ahead * 120_000


def test_images_that_come_in_turn_are_freed() -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def in_turn() -> Iterator[np.ndarray]:
        for _ in range(60):
            image = np.zeros((20, 24, 3), np.uint8)
            made.append(weakref.ref(image))
            assert sum(each() is not None for each in made) <= 2 * 4 + 1  # with that of this frame
            yield image

    assert make_dna(in_turn(), EXTRACTOR, reading=Reading(batch_size=4), **MEASURE).num_images == 60


def test_what_a_stream_can_not_do_is_told_with_a_remedy(tmp_path: Path) -> None:
    source = tar(tmp_path / "x.tgz", FILES, "w:gz")
    arguments = tmp_path / "x.dna.npz", ["histogram"], Arguments(EXTRACTOR, **MEASURE, num_folds=None)
    for call, message in (
        (lambda: open_source(source)[0], "^This takes .* '.*x.tgz' is a stream, .* in a folder or a .zip"),
        (lambda: make_files(iter(PIXELS), *arguments, resume=True, notes=""), "no parts to resume from"),
        (
            lambda: make_dna(source, EXTRACTOR, num_folds=5, groups=[1] * COUNT, **MEASURE),
            "'.*x.tgz' is a stream; pass",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert list(tmp_path.iterdir()) == [Path(source)]
    make_files(source, *arguments, resume=False, notes="streamed")
    dna = load_dna(tmp_path / "x.dna.npz")
    assert (dna.digest, dna.notes) == (make_dna(PIXELS, EXTRACTOR, **MEASURE).digest, "streamed")
    expected = make_dna(PIXELS, EXTRACTOR, num_folds=5, groups=[i % 3 for i in range(COUNT)], **MEASURE)
    by_name = make_dna(source, EXTRACTOR, num_folds=5, groups=lambda n: int(re.findall(r"\d+", n)[-1]) % 3, **MEASURE)
    assert [fold.digest for fold in by_name.folds] == [fold.digest for fold in expected.folds]
    comparison = compare(source, PIXELS, EXTRACTOR, metrics=["dna-emd", "fd"], **MEASURE)
    assert any("does not say how long" in notice for notice in comparison.notices)


def test_iterators_are_read_but_once() -> None:
    iterator = open_source(iter(PIXELS))
    assert len(list(iterator)) == COUNT
    with pytest.raises(ValueError, match="'image 10'|an iterator can be read only once, and it has been read; pass a"):
        list(iterator)
    calls = open_source(iter([*PIXELS, None]).__next__)
    assert len(list(calls)) == COUNT
    with pytest.raises(ValueError, match="the function has given all that it has; pass a list, or a function"):
        list(calls)
    in_two_roles = open_source(iter(PIXELS))
    assert len(rank(PIXELS, in_two_roles, EXTRACTOR, contrast=in_two_roles, **MEASURE).names) == COUNT


def test_so_many_images_of_a_stream() -> None:
    """No item beyond the last image is asked for, of whatever gives images without an end, singly or in batches."""
    asked: list[int] = []

    def singly() -> Iterator[np.ndarray]:
        for i in itertools.count():
            asked.append(i)
            yield PIXELS[i % COUNT]

    def in_batches() -> Iterator[torch.Tensor]:
        images = singly()
        while True:
            yield torch.from_numpy(np.stack([next(images) for _ in range(4)])).permute(0, 3, 1, 2)

    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[np.ndarray]:
            return singly()

    forms = (singly(), in_batches(), singly, singly().__next__, in_batches().__next__, Endless())
    loader = DataLoader(Endless(), batch_size=3, collate_fn=list)
    for count, source in itertools.product((1, 10, 25), (*forms, loader)):
        if count > 1 and isinstance(source, Iterator):
            continue  # read before
        asked.clear()
        calls: list[tuple[int, int | None]] = []
        progress = Reading(num_images=count, progress=lambda _, *counts, to=calls: to.append(counts))
        dna = make_dna(source, EXTRACTOR, reading=progress, **MEASURE)
        assert len(asked) in (count, -(-count // 4) * 4, -(-count // 3) * 3)
        start = asked[0]  # of a method, where the first pass ended
        expected = [PIXELS[(start + i) % COUNT] for i in range(count)]
        assert (dna.num_images, dna.digest) == (count, make_dna(expected, EXTRACTOR, **MEASURE).digest)
        assert calls[-1] == (count, count)
    compared = compare(singly, PIXELS, EXTRACTOR, reading=Reading(num_images=25), **MEASURE)
    assert compared.num_images == {"a": 25, "b": COUNT}
    latents = DNAExtractor(nn.Linear(6, 4), inputs="any", example=torch.zeros(2, 6))
    given = make_dna(itertools.repeat(torch.ones(3, 6)), latents, reading=Reading(num_images=7))
    assert given.num_images == 7


def test_a_number_of_images_that_can_not_be_had() -> None:
    with pytest.warns(UserWarning, match="There are 11 images, fewer than the 12"):
        assert make_dna(iter(PIXELS), EXTRACTOR, reading=Reading(num_images=12), **MEASURE).num_images == COUNT
    with pytest.raises(ValueError, match="`num_images` is 3, but there are no iterables"):
        make_dna(PIXELS, EXTRACTOR, reading=Reading(num_images=3), **MEASURE)
    calls = open_source(itertools.cycle(PIXELS).__next__, Reading(num_images=3))
    assert len(list(calls)) == 3
    with pytest.raises(ValueError, match="given all that it has"):
        list(calls)
    for count in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="`num_images` expected to be an integer (of at least 1|or None), but got"):
            Reading(num_images=count)


def test_progress_of_what_has_no_end_in_sight(tmp_path: Path) -> None:
    for source, total in ((tar(tmp_path / "x.tgz", FILES, "w:gz"), None), (kinds.packed_npz(tmp_path), COUNT)):
        calls: list[tuple[int, int | None]] = []
        make_dna(
            source,
            EXTRACTOR,
            reading=Reading(batch_size=4, num_workers=0, progress=lambda _, *counts, to=calls: to.append(counts)),
            **MEASURE,
        )
        expected = [(4, total), (8, total), (11, total)]
        assert calls == (expected if total else [*expected, (11, 11)])


def share_streams(rank: int, world: int, *sources: str) -> None:
    """Processes share shards, or else images; names and scores are those of one process."""
    extractor = DNAExtractor(Pixels(), input_size=8)
    options = {"ranges": "auto", "num_bins": 20}
    for source in sources:
        single = make_dna(source, extractor, num_folds=5, **options)
        shared = make_dna(source, extractor, num_folds=5, distributed=True, reading=Reading(batch_size=2), **options)
        assert shared.digest == single.digest
        assert [fold.digest for fold in shared.folds] == [fold.digest for fold in single.folds]
        shared_ranking, expected = (
            rank_images(source, REAL, extractor, nearest=source, distributed=distributed, **options)
            for distributed in (True, False)
        )
        assert (shared_ranking.names, shared_ranking.numbers, shared_ranking.nearest.names) == (
            expected.names,
            expected.numbers,
            expected.nearest.names,
        )
        assert torch.equal(shared_ranking.scores, expected.scores)
    with pytest.raises(ValueError, match="There are no images in"):
        make_dna(iter(()), extractor, distributed=True, **options)


@pytest.mark.outer
def test_processes_share_a_stream(tmp_path: Path) -> None:
    run(2, share_streams, kinds.shards(tmp_path), tar(tmp_path / "x.tgz", FILES, "w:gz"))


def share_loader(rank: int, world: int) -> None:
    dataset = TensorDataset(MANY)
    torch.manual_seed(rank)  # as in any two processes
    shuffled = RandomSampler(dataset)
    for loader, sampler in (
        (DataLoader(dataset, 4, shuffle=True), "RandomSampler"),
        (DataLoader(dataset, sampler=DistributedSampler(dataset)), "DistributedSampler"),
        (DataLoader(dataset, batch_sampler=BatchSampler(shuffled, 4, False)), "RandomSampler"),
        (DataLoader(dataset, batch_size=None, sampler=SubsetRandomSampler(range(5))), "SubsetRandomSampler"),
    ):
        with pytest.raises(ValueError, match=f"by a {sampler}, may differ from process to process; pass one with shuf"):
            make_dna(loader, EXTRACTOR, distributed=True)
    single = make_dna(DataLoader(dataset, batch_size=3), EXTRACTOR, num_bins=20)
    for loader in (DataLoader(dataset, batch_size=3), DataLoader(dataset, batch_size=None), DataLoader(Anew(), 3)):
        assert make_dna(loader, EXTRACTOR, num_bins=20, distributed=True).digest == single.digest
    first = Reading(num_images=7)
    shared = make_dna(Anew(), EXTRACTOR, num_bins=20, distributed=True, reading=first)
    assert shared.digest == make_dna(Anew(), EXTRACTOR, num_bins=20, reading=first).digest
    assert shared.num_images == 7


def test_a_shuffled_loader_is_read_by_one_process() -> None:
    images = random_images(9, 0)
    shuffled = make_dna(DataLoader(TensorDataset(images), 4, shuffle=True), EXTRACTOR, **MEASURE)
    assert shuffled.digest == make_dna(images.permute(0, 2, 3, 1).numpy(), EXTRACTOR, **MEASURE).digest


class Anew(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(MANY)


@pytest.mark.outer
def test_loaders_of_one_order_alone_are_shared(tmp_path: Path) -> None:
    dataset = TensorDataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    loader = DataLoader(dataset, sampler=DistributedSampler(dataset, 2, 0))
    assert len(list(open_source(loader))) == 6  # where each process goes its own way
    assert len(list(open_source(DataLoader(dataset, shuffle=True)))) == len(dataset)
    run(2, share_loader)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    for kind in (kinds.zipped, kinds.packed_npz, kinds.npy, kinds.parquet, kinds.shards, kinds.video, kinds.folder):
        kind(folder)
    tar(folder / "x.tgz", FILES, "w:gz")
    return folder


@pytest.mark.slow
def test_addresses_give_what_files_give(remote: Path, tmp_path: Path) -> None:
    expected = make_dna(PIXELS, EXTRACTOR, **MEASURE).digest
    with serving({"plain": remote}, "ranges") as (server, _):
        address = f"{server}/plain"
        images = [f"{address}/images/{name}" for name in FILES]
        (tmp_path / "list.txt").write_text("\n".join(images))
        in_other_processes = (f"{address}/x-{{000..002}}.tar", f"{address}/x.parquet", images)
        names = ("x.tgz?token=a.png", "x.zip", "x.npz", "x.npy", "x.mkv")
        for source in (*in_other_processes, *(f"{address}/{name}" for name in names), tmp_path / "list.txt"):
            reading = Reading(num_workers=2 if source in in_other_processes else 0)
            assert make_dna(source, EXTRACTOR, reading=reading, **MEASURE).digest == expected, source
    with serving({"plain": remote}) as (server, _):  # streams need no more than the simplest server
        for name in ("x.tgz", "x-000.tar", "x.npy", "images/img0.png"):
            source = f"{server}/plain/{name}"
            assert make_dna(source, EXTRACTOR, reading=Reading(num_workers=0), **MEASURE).num_images


@pytest.mark.parametrize(
    ("fault", "name", "message"),
    [
        ("ranges", "gone.tar", "There is nothing at 'http://.*/gone.tar'"),
        ("ranges", "gone.png", "There is nothing at 'http://.*/gone.png'"),
        ("ranges", "images/", "There is nothing at|is no source of images"),
        ("cut", "x.tgz", "Can't read images of 'http://.*/x.tgz'"),
        ("cut", "x-000.tar", "Can't read images of 'http://.*/x-000.tar'"),
        ("ranges cut", "x.parquet", "Can't read 'http://.*/x.parquet' as Parquet"),
        ("ranges cut", "x.zip", "Can't read|not a readable zip"),
        ("ranges cut", "images/img0.png", "Can't read image 'http://.*/images/img0.png'"),
    ],
)
def test_broken_connections_are_told_in_one_line(fault: str, name: str, message: str, remote: Path) -> None:
    place = serving({"plain": remote}, fault)
    with place as (server, _), pytest.raises((OSError, ValueError), match=message) as error:
        make_dna(f"{server}/plain/{name}", EXTRACTOR, reading=Reading(num_workers=0), **MEASURE)
    assert "\n" not in str(error.value)


@pytest.mark.outer
def test_objects_of_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_bucket("bucket") as files:
        files.put(kinds.shards(tmp_path).replace("{000..002}", "*"), "bucket/shards/")
        files.put(str(kinds.folder(tmp_path)), "bucket/images", recursive=True)
        expected = make_dna(PIXELS, EXTRACTOR, **MEASURE).digest
        for source in ("s3://bucket/shards/x-*.tar", "s3://bucket/shards/x-{000..002}.tar", "s3://bucket/images"):
            assert make_dna(source, EXTRACTOR, reading=Reading(num_workers=2), **MEASURE).digest == expected
        with pytest.raises(FileNotFoundError, match="There is nothing at 's3://bucket/gone.tar'"):
            make_dna("s3://bucket/gone.tar", EXTRACTOR)
        monkeypatch.chdir(tmp_path)
        check_outputs_of_commands(monkeypatch, capsys)


def check_outputs_of_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Files in a bucket equal those on disk and are read there; mistakes are errors before any work."""
    names, options = ("x.histogram.dna.npz", "x.gaussian.dna.npz"), ("--feature", "properties")
    before = {path.name for path in Path().iterdir()}
    for folder in ("s3://bucket/made/", ""):
        kinds_of = ("--kind", "histogram,gaussian")
        assert run_command(monkeypatch, "make", "images", "-o", f"{folder}x.dna.npz", *kinds_of, *options) == 0
        assert run_command(monkeypatch, "merge", f"{folder}{names[0]}", "-o", f"{folder}m.dna.npz") == 0
        assert run_command(monkeypatch, "ranges", "images", "-o", f"{folder}x.json", *options) == 0
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    for name in (*names, "m.dna.npz", "x.json"):
        assert files.cat(f"bucket/made/{name}") == Path(name).read_bytes()
    assert {path.name for path in Path().iterdir()} - before == {*names, "m.dna.npz", "x.json"}
    assert compare(f"s3://bucket/made/{names[0]}", names[0])["dna-emd"].value == 0
    files.pipe("bucket/cut.dna.npz", Path(names[0]).read_bytes()[:-9])
    with pytest.raises(ValueError, match="Can't read 's3://bucket/cut.dna.npz' as a file of DNA: it does not end in a"):
        load_dna("s3://bucket/cut.dna.npz")
    for output, message in (
        ("s3://nobody/x.dna.npz", "There is no bucket to write 's3://nobody/x.dna.npz' to, or it does not answer"),
        ("https://host/x.dna.npz", "Can't write 'https://host/x.dna.npz': a web server only gives files"),
        ("what://host/x.dna.npz", "'what://host/x.dna.npz' is an address of an unknown kind"),
    ):
        capsys.readouterr()
        assert run_command(monkeypatch, "make", "images", "-o", output, *options) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def threads() -> int:
    return sum("_run" in thread.name for thread in threading.enumerate())


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=6), st.integers(0, 3))
def test_all_comes_in_order(lists: list[list[int]], readers: int) -> None:
    assert [list(items) for items in read_ahead(map(iter, lists), readers)] == lists


@pytest.mark.parametrize("readers", [1, 3])
def test_little_is_read_ahead_and_threads_end(readers: int) -> None:
    begun, yielded = [0] * 9, [0] * 9
    before = threads()

    def numbers(k: int) -> Iterator[int]:
        begun[k] += 1
        for i in range(1000):
            yielded[k] += 1
            yield i

    streams = read_ahead(map(numbers, range(9)), readers)
    assert list(next(streams)) == list(range(1000))
    second = next(streams)
    assert next(second) == 0
    assert until(lambda: sum(begun) == readers + 1)
    time.sleep(0.3)  # in which they might go on
    assert sum(begun) == readers + 1
    assert max(yielded[1:]) <= 32 + 2
    assert threads() == before + readers
    del second
    streams.close()
    assert until(lambda: threads() == before)
