"""DNA files of large sets: made in parts, resumed, shared among processes; the bytes are always the same."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
import torch
from commands import run as run_command
from dnas import are_alike
from engines import EXTRACTOR, KINDS, RANGES, StoppedError, stopping
from filelock import Timeout
from interrupts import interrupted
from PIL import Image
from processes import run
from torch.multiprocessing.reductions import StorageWeakRef

from torchmetrics_dna import Checkpoints, load_dna, make_dna
from torchmetrics_dna.dna.distances import Kind
from torchmetrics_dna.files.atomic import file_lock, unlock
from torchmetrics_dna.images import ImageSource, Reading, open_source
from torchmetrics_dna.images.loader import chunked
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files, output_paths
from torchmetrics_dna.statistics import HistogramStatistic

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 6, 5, 3)).astype(np.uint8)


def job(kinds: Sequence[Kind], reading: Reading | None = None) -> tuple[Sequence[Kind], Arguments]:
    return kinds, Arguments(EXTRACTOR, num_bins=40, ranges=RANGES, num_folds=None, reading=reading)


def make(
    folder: Path,
    *,
    stop_after: int | None = None,
    images: object = IMAGES,
    kinds: Sequence[Kind] = KINDS,
    batch_size: int = 4,
    num_workers: int = 0,
    skip_unreadable: bool = True,
    resume: bool = False,
    **options: object,
) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    reading = Reading(batch_size, num_workers, progress=stopping(stop_after), skip_unreadable=skip_unreadable)
    shared = {"num_bins": 40, "ranges": RANGES, "reading": reading, "num_folds": None} | options
    output, arguments = folder / "x.dna.npz", Arguments(EXTRACTOR, **shared)
    return make_files(images, output, kinds, arguments, resume=resume, notes="made here")[0]


@pytest.mark.parametrize("ranges", [RANGES, "auto"])
def test_parts_add_up_to_the_whole(ranges: object, tmp_path: Path) -> None:
    paths = make(tmp_path, ranges=ranges)
    assert {kind: path.name for kind, path in paths.items()} == {kind: f"x.{kind}.dna.npz" for kind in KINDS}
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())
    for kind, path in paths.items():
        at_once = make_dna(IMAGES, EXTRACTOR, kind=kind, num_bins=40, ranges=ranges)
        dna = load_dna(path)
        assert are_alike(dna, at_once)
        assert dna.notes == "made here"
        assert dna.weights_digest == EXTRACTOR.weights_digest
    assert load_dna(paths["histogram"]).digest == make_dna(IMAGES, EXTRACTOR, num_bins=40, ranges=ranges).digest


def test_counts_of_one_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[StorageWeakRef] = []
    empty = HistogramStatistic.empty

    def recorded(statistic: HistogramStatistic, device: torch.device) -> dict[str, torch.Tensor]:
        assert all(earlier.expired() for earlier in counts)
        side = empty(statistic, device)
        counts.append(StorageWeakRef(side["counts"].untyped_storage()))
        return side

    images = np.concatenate([IMAGES, 255 - IMAGES])  # 46, in parts of two batches
    expected = make_dna(images, EXTRACTOR, num_bins=40, ranges=RANGES)
    with pytest.raises(StoppedError):
        make(tmp_path, images=images, batch_size=1, stop_after=0)
    assert list(tmp_path.iterdir()) == []  # where no part is finished
    monkeypatch.setattr(HistogramStatistic, "empty", recorded)
    paths = make(tmp_path, kinds=["histogram"], images=images, batch_size=1)
    assert len(counts) == 23
    assert counts[-1].expired()
    assert load_dna(paths["histogram"]).digest == expected.digest


@pytest.mark.parametrize("stop_after", [1, 5, 19])
def test_resuming_gives_the_same_bytes(stop_after: int, tmp_path: Path) -> None:
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    expected = make(tmp_path / "once")
    with pytest.raises(StoppedError):
        make(tmp_path / "twice", stop_after=stop_after)
    remaining = sorted(path.name for path in (tmp_path / "twice").iterdir())
    assert remaining == ["x.dna.npz.parts"]
    with pytest.raises(
        ValueError, match=r"has \d+ finished parts of an interrupted run: resume from them with `resume=True`, or"
    ):
        make(tmp_path / "twice")
    with pytest.raises(StoppedError):
        make(tmp_path / "twice", stop_after=1, resume=True)
    resumed = make(tmp_path / "twice", resume=True)
    for kind in KINDS:
        assert resumed[kind].read_bytes() == expected[kind].read_bytes()
    assert sorted((tmp_path / "twice").iterdir()) == sorted(resumed.values())


def test_parts_of_another_job(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        make(tmp_path, stop_after=9)
    last_one = (np.arange(23) == 22)[:, None, None, None].astype(np.uint8)
    for changes, difference in (
        ({"num_bins": 20}, "numbers of bins"),
        ({"kinds": ["histogram"]}, "kinds"),
        ({"ranges": "auto"}, r"activation ranges \(digest\)"),
        ({"batch_size": 8}, "batch sizes"),
        ({"images": IMAGES[:22]}, r"images \(digest of names, sizes and times\)"),
        ({"images": IMAGES + last_one}, "images .*times.*"),
    ):
        message = rf"are of another job, their {difference} differ: .*delete that folder, or pass"
        with pytest.raises(ValueError, match=message):
            make(tmp_path, resume=True, **changes)
    make(tmp_path, resume=True)


def in_zip(folder: Path, last: bytes) -> Path:
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}.png", png(i) if i < 8 else last)
    return folder / "images.zip"


def in_folder(folder: Path, last: bytes) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for i in range(9):
        path, content = folder / "images" / f"{i}.png", png(i) if i < 8 else last
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    return folder / "images"


def in_memory(folder: Path, last: bytes) -> list[object]:
    return [folder / "images" / "0.png", *IMAGES[1:8], Image.open(io.BytesIO(last))]


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[number]).save(buffer, "png", compress_level=0)  # so that all are of one size
    return buffer.getvalue()


@pytest.mark.parametrize("source", [in_zip, in_folder, in_memory])
def test_images_that_have_changed_since(source: Callable[[Path, bytes], object], tmp_path: Path) -> None:
    in_folder(tmp_path, png(8))
    with pytest.raises(StoppedError):
        make(tmp_path, stop_after=4, batch_size=2, images=source(tmp_path, png(8)))
    with pytest.raises(ValueError, match=r"another job, their images \(digest of names, sizes and times\) differ: '9 "):
        make(tmp_path, images=source(tmp_path, png(9)), resume=True, batch_size=2)
    if source is not in_folder:  # whose last file has another time now
        make(tmp_path, images=source(tmp_path, png(8)), resume=True, batch_size=2)


@pytest.mark.parametrize("names", [[], ["00.json"], ["job.json"], ["job.json", "00.json", "00.histogram.dna.npz"]])
def test_a_folder_that_is_not_ours_stays(names: list[str], tmp_path: Path) -> None:
    parts = tmp_path / "x.dna.npz.parts"
    parts.mkdir()
    for name in ["precious.txt", *names] if len(names) != 1 else names:
        (parts / name).write_text('{"mine": 1}')
    before = sorted(parts.iterdir())
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"x\.dna\.npz\.parts.* (is not a folder of parts|its format is None)"):
            make(tmp_path, resume=resume, stop_after=0)
        assert sorted(parts.iterdir()) == before


def test_only_our_own_files_are_deleted(tmp_path: Path) -> None:
    parts = tmp_path / "x.dna.npz.parts"
    with pytest.raises(StoppedError):
        make(tmp_path, stop_after=9)

    def progress(*_: object) -> None:
        (parts / "precious.txt").touch()

    reading = Reading(4, 0, progress=progress, skip_unreadable=True)
    make_files(IMAGES, tmp_path / "x.dna.npz", *job(KINDS, reading), resume=True, notes="")
    assert list(parts.iterdir()) == [parts / "precious.txt"]
    parts.joinpath("precious.txt").unlink()
    parts.rmdir()
    parts.touch()
    with pytest.raises(ValueError, match="is not a folder of parts"):
        make(tmp_path)


@pytest.mark.outer
def test_interrupted_anywhere_it_resumes_and_leaves_nothing(tmp_path: Path) -> None:
    images, kinds, once, folder = IMAGES[:7], ["histogram"], tmp_path / "once", tmp_path / "interrupted"
    once.mkdir()
    expected = make(once, images=images, kinds=kinds)["histogram"].read_bytes()

    def again() -> Callable[[], object]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return partial(make, folder, images=images, kinds=kinds)

    for place in interrupted(again, "jobs/make", "jobs/parts", "files/atomic", "files/locks"):
        output = folder / "x.dna.npz"
        assert not output.exists() or output.read_bytes() == expected, place
        assert not list(folder.rglob(".*")), place
        make(folder, images=images, kinds=kinds, resume=True)
        assert output.read_bytes() == expected, place
        assert list(folder.iterdir()) == [output], place


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_what_was_being_written_when_it_was_killed_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.files.atomic.secrets.token_hex", lambda _: "0ab4cdef")  # not digits alone
    with pytest.raises(StoppedError):  # all is loaded before the fork
        make(tmp_path, stop_after=0, kinds=["histogram"])
    process = os.fork()
    if process == 0:
        try:
            monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            make(tmp_path, kinds=["histogram"], resume=True)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert list((tmp_path / "x.dna.npz.parts").glob(".*"))
    monkeypatch.undo()
    paths = make(tmp_path, kinds=["histogram"], resume=True)
    assert list(tmp_path.iterdir()) == [*paths.values()]


def test_damaged_records(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        make(tmp_path, stop_after=9)
    for name, label in (("00.json", "a list of images"), ("job.json", "the job of parts")):
        path = tmp_path / "x.dna.npz.parts" / name
        before = path.read_text()
        for content in ("", "{", "[1]", "[" * 10**5, '{"format": NaN}'):
            path.write_text(content)
            with pytest.raises(ValueError, match=rf"Can't read '.*{name}' as {label}: "):
                make(tmp_path, resume=True)
        path.write_text(before)


def test_one_job_at_a_time(tmp_path: Path) -> None:
    """Case of one process; tests/cli/test_files.py has two."""

    def progress(name: str, done: int, total: int) -> None:
        for resume in (False, True):
            with pytest.raises(ValueError, match="Another process is making parts in .*x.dna.npz.parts'; wait for it"):
                make(tmp_path, images=IMAGES[::-1], resume=resume)

    paths, _ = make_files(
        IMAGES, tmp_path / "x.dna.npz", *job(KINDS, Reading(8, 0, progress=progress)), resume=False, notes=""
    )
    assert load_dna(paths["histogram"]).digest == make_dna(IMAGES, EXTRACTOR, num_bins=40, ranges=RANGES).digest
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """End by SIGKILL, while processes that it has forked live on."""
    code = (
        "import os, pathlib, time\nfrom torchmetrics_dna.files.atomic import file_lock\n"
        "held = file_lock(pathlib.Path('lock'))\nheld.acquire()\n"
        "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n    os.close(1)\n    time.sleep(99)\n"
        "time.sleep(99)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        child = int(process.stdout.readline())
        with pytest.raises(Timeout):
            file_lock(tmp_path / "lock").acquire()
        process.kill()
        process.wait()
        os.kill(child, 0)  # it is there
        held = file_lock(tmp_path / "lock")
        held.acquire()
        unlock(held)
        os.kill(child, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_where_files_go(tmp_path: Path) -> None:
    assert output_paths(tmp_path / "x", ["gaussian"]) == {"gaussian": tmp_path / "x"}
    for name, expected in (("x.npz", "x.gaussian.npz"), ("x", "x.gaussian"), ("a.b.dna.npz", "a.b.gaussian.dna.npz")):
        assert output_paths(tmp_path / name, ["histogram", "gaussian"])["gaussian"] == tmp_path / expected
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere' to write 'x' to"):
        make_files(IMAGES, tmp_path / "nowhere" / "x", *job(["histogram"]), resume=False, notes="")
    (tmp_path / "x.gaussian").mkdir()
    with pytest.raises(FileExistsError, match="x.gaussian' is a folder or a device, expected a file"):
        make_files([tmp_path / "never looked at"], tmp_path / "x", *job(KINDS), resume=False, notes="")


def test_several_kinds_are_those_that_the_command_writes(tmp_path: Path) -> None:
    dnas = make_dna(IMAGES, EXTRACTOR, kind=["histogram", "gaussian"], num_bins=40, ranges=RANGES)
    assert list(dnas) == ["histogram", "gaussian"]
    paths = make(tmp_path, kinds=["histogram", "gaussian"], batch_size=32)
    for kind, dna in dnas.items():
        assert dna.kind == kind
        assert dna.digest == load_dna(paths[kind]).digest
        assert dna.digest == make_dna(IMAGES, EXTRACTOR, kind=kind, num_bins=40, ranges=RANGES).digest


# shards are the parts of a job

MANY = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3)).astype(np.uint8)
FILES = {f"img{i:02}.png": kinds.png(image) for i, image in enumerate(MANY)}
LENGTHS = (14, 1, 9, 0, 6)


def shards(folder: Path, lengths: Sequence[int] = LENGTHS) -> str:
    folder.mkdir(exist_ok=True)
    left = iter(FILES.items())
    for number, length in enumerate(lengths):
        kinds.tar(folder / f"{number}.tar", dict(next(left) for _ in range(length)))
    return f"{folder}/{{0..{len(lengths) - 1}}}.tar"


def contents(paths: dict[str, Path]) -> dict[str, bytes]:
    return {kind: path.read_bytes() for kind, path in paths.items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected")
    return contents(make(folder / "made", images=shards(folder / "shards")))


def test_shards_give_what_a_folder_gives(tmp_path: Path, expected: dict[str, bytes]) -> None:
    of_folder = make_dna(MANY, EXTRACTOR, num_bins=40, ranges=RANGES)
    for name, lengths in (("same", LENGTHS), ("other", (8, 9, 13)), ("two", (29, 1))):
        source = shards(tmp_path / name, lengths)
        files = contents(make(tmp_path / f"made {name}", images=source, num_workers=2 * (name == "same")))
        assert files["histogram"] == expected["histogram"]  # whatever the split
        assert (files == expected) == (name == "same")  # sums of floats depend on their order
        assert load_dna(tmp_path / f"made {name}" / "x.histogram.dna.npz").digest == of_folder.digest


def test_a_stream_of_this_process_gives_what_its_images_give(tmp_path: Path) -> None:
    whole, streamed = (make(tmp_path / name, images=of(IMAGES)) for name, of in (("whole", list), ("streamed", iter)))
    assert whole.keys() == streamed.keys()
    for kind, path in streamed.items():
        made, expected = load_dna(path), load_dna(whole[kind])
        assert are_alike(made, expected)
        assert (made.notes, made.num_images) == ("made here", len(IMAGES))
    with pytest.raises(ValueError, match="no parts to resume from"):
        make(tmp_path / "streamed", images=iter(IMAGES), resume=True)


@pytest.mark.parametrize(("stop_after", "finished"), [(0, 0), (12, 1), (24, 4), (29, 5)])
def test_resuming_by_shard(stop_after: int, finished: int, tmp_path: Path, expected: dict[str, bytes]) -> None:
    source, output = shards(tmp_path / "shards"), tmp_path / "made"
    with pytest.raises(StoppedError):
        make(output, images=source, stop_after=stop_after)
    records = sorted(path.name for path in output.glob("*.parts/*.json"))
    assert records == [f"0{part}.json" for part in range(finished)] + ["job.json"] * (finished > 0)
    assert contents(make(output, images=source, resume=True)) == expected
    assert len(list(output.iterdir())) == len(KINDS)


def test_changed_shards_are_another_job(tmp_path: Path) -> None:
    source, output = shards(tmp_path / "shards"), tmp_path / "made"
    with pytest.raises(StoppedError):
        make(output, images=source, stop_after=20)
    for changed in (source.replace("4}", "3}"), source):
        if changed == source:
            kinds.tar(tmp_path / "shards" / "4.tar", FILES)
        with pytest.raises(ValueError, match=r"another job, their images \(digest of names, sizes and times\) differ"):
            make(output, images=changed, resume=True)


def make_shards(rank: int, world: int, source: str, folder: Path) -> None:
    make(folder, images=source, num_workers=rank)


def test_processes_share_shards(tmp_path: Path, expected: dict[str, bytes]) -> None:
    run(2, make_shards, shards(tmp_path / "shards"), tmp_path / "made")
    for kind, content in expected.items():
        assert (tmp_path / "made" / f"x.{kind}.dna.npz").read_bytes() == content


def test_broken_shards_are_left_out_if_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shards(tmp_path / "shards")
    path = tmp_path / "shards" / "0.tar"
    path.write_bytes(path.read_bytes()[: 10 * 1024 + 700])  # a header, an image, in blocks of 512
    (tmp_path / "shards" / "2.tar").write_bytes(b"no tar")
    (tmp_path / "shards" / "4.tar").unlink()
    kinds.tar(tmp_path / "shards" / "4.tar", {**dict(list(FILES.items())[24:]), "img99.png": b"no image"})
    with pytest.raises(ValueError, match=r"^Can't read images of '.*0.tar' after '.*img\d+.png': "):
        make(tmp_path / "made", images=source, skip_unreadable=False)
    output = tmp_path / "x.dna.npz"
    options = ["--feature", "properties", "--ranges", "auto", "--batch-size", "4"]
    assert run_command(monkeypatch, "make", source, "-o", output, *options) == 2
    assert "Can't read images of" in capsys.readouterr().err
    assert list(tmp_path.glob("x*")) == []
    assert run_command(monkeypatch, "make", source, "-o", output, "--skip-unreadable", *options) == 0
    stderr = "".join(capsys.readouterr().err.split())  # lines are broken anywhere
    for words in (
        "1 image and the rest of 2 files were left out:",
        f"Can't read images of {str(path)!r} after {str(path)!r}"[:-1] + "/img",
        f"Can't read images of {str(path.with_name('2.tar'))!r}: ",
    ):
        assert words.replace(" ", "") in stderr
    read = load_dna(output).num_images
    assert 6 + 1 < read < 6 + 1 + 14
    (path.with_name("1.tar")).unlink()
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "made", images=source)  # what is not there is told before any work


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", range(12))
def test_no_chunk_has_a_single_image(size: int, count: int) -> None:
    chunks = list(chunked(iter(range(count)), size))
    assert [item for chunk in chunks for item in chunk.items] == list(range(count))
    assert [chunk.ends for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert max(len(chunk.items) for chunk in chunks) <= size
    if size > 2 and count > 1:
        assert min(len(chunk.items) for chunk in chunks) > 1


# options of reading that change pixels change what may be resumed from, and what a folder keeps

SOME = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)


def turned(folder: Path) -> Path:
    """Images whose EXIF tag turns them."""
    (folder / "turned").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    for number, image in enumerate(SOME):
        Image.fromarray(image).save(folder / "turned" / f"{number}.png", exif=exif)
    return folder / "turned"


def deep(folder: Path) -> Path:
    np.save(folder / "deep.npy", SOME.astype(np.uint16) * 16)
    return folder / "deep.npy"


def two_arrays(folder: Path) -> Path:
    np.savez(folder / "two.npz", a=SOME, b=SOME[::-1] // 2)
    return folder / "two.npz"


def videos(folder: Path) -> str:
    frames = np.kron(SOME, np.ones((8, 8, 1), np.uint8))
    for number in range(3):
        kinds.encoded(folder / f"{number}.mkv", "mpeg4", frames[number:])
    return f"{folder}/*.mkv"


# a source whose pixels the option changes, and two values
CHANGES: dict[str, tuple[Callable[[Path], Any], Any, Any]] = {
    "scale": (deep, None, 4095.0),
    "exif_orientation": (turned, False, True),
    "column": (two_arrays, "a", "b"),
    "fps": (videos, None, 3.0),
}


CHANGE_NO_PIXEL = {"batch_size", "num_workers", "skip_unreadable", "progress"}
OF_OBJECTS = {"num_images"}  # from whose parts nothing is resumed: images/test_streams.py
every_change = pytest.mark.parametrize("name", CHANGES)
told = pytest.mark.filterwarnings("ignore:.* have an EXIF rotation", "ignore:.* of 16 bits")


def test_all_options_are_tried() -> None:
    assert {field.name for field in fields(Reading)} == CHANGES.keys() | CHANGE_NO_PIXEL | OF_OBJECTS


@told
@every_change
def test_resuming_by_options_of_reading(name: str, tmp_path: Path) -> None:
    prepare, one, other = CHANGES[name]
    source, reading = prepare(tmp_path), Reading(3, 0, **{name: one})
    arguments = Arguments(EXTRACTOR, num_bins=40, ranges=RANGES, num_folds=None, reading=reading)
    of_other = replace(arguments, reading=replace(reading, **{name: other}))
    shared = {"num_bins": 40, "ranges": RANGES}
    made = [make_dna(source, EXTRACTOR, reading=each.reading, **shared) for each in (arguments, of_other)]
    assert made[0].digest != made[1].digest
    stop_after = 3 if isinstance(open_source(source, reading), ImageSource) else 25
    stopped = replace(arguments, reading=replace(reading, progress=stopping(stop_after)))
    with pytest.raises(StoppedError):
        make_files(source, tmp_path / "x.dna.npz", ["histogram"], stopped, resume=False, notes="")
    with pytest.raises(ValueError, match="are of another job, their .* differ: "):
        make_files(source, tmp_path / "x.dna.npz", ["histogram"], of_other, resume=True, notes="")
    make_files(source, tmp_path / "x.dna.npz", ["histogram"], arguments, resume=True, notes="")


@told
@every_change
def test_the_reference_in_a_folder(name: str, tmp_path: Path) -> None:
    prepare, one, other = CHANGES[name]
    source, reading = prepare(tmp_path), Reading(3, 0, **{name: one})
    if not isinstance(open_source(source, reading), ImageSource):
        return  # a stream is not read again to be checked
    Checkpoints(source, tmp_path / "run", EXTRACTOR, reading=reading)
    Checkpoints(source, tmp_path / "run", EXTRACTOR, reading=replace(reading, batch_size=5))
    with pytest.raises(ValueError, match="Another reference is in"):
        Checkpoints(source, tmp_path / "run", EXTRACTOR, reading=replace(reading, **{name: other}))
