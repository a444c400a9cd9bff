"""Shards are the parts of a job: it goes on from those that are finished, and the bytes are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
from commands import run as run_command
from engines import EXTRACTOR, KINDS, RANGES, StoppedError, stopping
from kinds import png, tar
from processes import run

from torchmetrics_dna import load_dna, make_dna
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.loader import chunked
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3)).astype(np.uint8)
FILES = {f"img{i:02}.png": png(image) for i, image in enumerate(IMAGES)}
ARGUMENTS = Arguments(EXTRACTOR, num_bins=40, ranges=RANGES, num_folds=None)
LENGTHS = (14, 1, 9, 0, 6)


def shards(folder: Path, lengths: Sequence[int] = LENGTHS) -> str:
    folder.mkdir(exist_ok=True)
    left = iter(FILES.items())
    for number, length in enumerate(lengths):
        tar(folder / f"{number}.tar", dict(next(left) for _ in range(length)))
    return f"{folder}/{{0..{len(lengths) - 1}}}.tar"


def make(source: object, folder: Path, stop_after: int | None = None, **options: Any) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    resume = options.pop("resume", False)
    reading = Reading(4, **{"num_workers": 0, "progress": stopping(stop_after), **options})
    paths, _ = make_files(source, folder / "x.dna.npz", KINDS, replace(ARGUMENTS, reading=reading), resume=resume)
    return {kind: path.read_bytes() for kind, path in paths.items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected")
    return make(shards(folder / "shards"), folder / "made")


def test_shards_give_what_a_folder_gives(tmp_path: Path, expected: dict[str, bytes]) -> None:
    of_folder = make_dna(IMAGES, EXTRACTOR, num_bins=40, ranges=RANGES)
    for name, lengths in (("same", LENGTHS), ("other", (8, 9, 13)), ("two", (29, 1))):
        files = make(shards(tmp_path / name, lengths), tmp_path / f"made {name}", num_workers=2 * (name == "same"))
        assert files["histogram"] == expected["histogram"]  # whatever the split
        assert (files == expected) == (name == "same")  # sums of floats depend on their order
        assert load_dna(tmp_path / f"made {name}" / "x.histogram.dna.npz").digest == of_folder.digest


@pytest.mark.parametrize(("stop_after", "finished"), [(0, 0), (12, 1), (24, 4), (29, 5)])
def test_resuming_by_shard(stop_after: int, finished: int, tmp_path: Path, expected: dict[str, bytes]) -> None:
    source, output = shards(tmp_path / "shards"), tmp_path / "made"
    with pytest.raises(StoppedError):
        make(source, output, stop_after)
    records = sorted(path.name for path in output.glob("*.parts/*.json"))
    assert records == [f"0{part}.json" for part in range(finished)] + ["job.json"] * (finished > 0)
    assert make(source, output, resume=True) == expected
    assert len(list(output.iterdir())) == len(KINDS)


def test_changed_shards_are_another_job(tmp_path: Path) -> None:
    source, output = shards(tmp_path / "shards"), tmp_path / "made"
    with pytest.raises(StoppedError):
        make(source, output, 20)
    for changed in (source.replace("4}", "3}"), source):
        if changed == source:
            tar(tmp_path / "shards" / "4.tar", FILES)
        with pytest.raises(ValueError, match=r"another job, their images \(digest of names, sizes and times\) differ"):
            make(changed, output, resume=True)


def make_shards(rank: int, world: int, source: str, folder: Path) -> None:
    make_files(source, folder / "x.dna.npz", KINDS, replace(ARGUMENTS, reading=Reading(4, rank)))


def test_processes_share_shards(tmp_path: Path, expected: dict[str, bytes]) -> None:
    run(2, make_shards, shards(tmp_path / "shards"), tmp_path)
    for kind, content in expected.items():
        assert (tmp_path / f"x.{kind}.dna.npz").read_bytes() == content


def test_broken_shards_are_left_out_if_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shards(tmp_path / "shards")
    path = tmp_path / "shards" / "0.tar"
    path.write_bytes(path.read_bytes()[: 10 * 1024 + 700])  # a header, an image, in blocks of 512
    (tmp_path / "shards" / "2.tar").write_bytes(b"no tar")
    (tmp_path / "shards" / "4.tar").unlink()
    tar(tmp_path / "shards" / "4.tar", {**dict(list(FILES.items())[24:]), "img99.png": b"no image"})
    with pytest.raises(ValueError, match=r"^Can't read images of '.*0.tar' after '.*img\d+.png': .*; to leave out"):
        make(source, tmp_path / "made")
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
        make(source, tmp_path / "made", skip_unreadable=True)  # what is not there is told before any work


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", range(12))
def test_no_chunk_has_a_single_image(size: int, count: int) -> None:
    chunks = list(chunked(iter(range(count)), size))
    assert [item for chunk in chunks for item in chunk.items] == list(range(count))
    assert [chunk.ends for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert max(len(chunk.items) for chunk in chunks) <= size
    if size > 2 and count > 1:
        assert min(len(chunk.items) for chunk in chunks) > 1


def test_streams_are_read_once_whatever_the_workers(tmp_path: Path) -> None:
    """The order of images, and so sums of floats, do not depend on who decodes them."""
    source = kinds.parquet(tmp_path)
    dnas = [
        make_dna(source, EXTRACTOR, kind="gaussian", reading=Reading(num_workers=n, batch_size=4)) for n in (0, 1, 3)
    ]
    assert len({dna.digest for dna in dnas}) == 1
    assert [entry.name for entry in open_source(source)] == [f"{source}/{i}" for i in range(kinds.COUNT)]
