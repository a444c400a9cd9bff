"""Ray measures whole parts, anywhere and in any order: the bytes are those of one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pytest
import torch
from engines import EXTRACTOR, RANGES, Ray, broken_shards, contents, make, shards
from networks import Pixels

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.jobs import on_ray


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    """Ray in this process; test_ray.py has the real one."""
    here = Ray()
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so that it is as before, afterwards
    monkeypatch.setitem(sys.modules, "ray", here)
    return here


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"num_folds": 5, "groups": "folder"}])
def test_bytes_do_not_depend_on_who_measures_and_merges(options: dict[str, Any], tmp_path: Path, ray: Ray) -> None:
    source = shards(tmp_path / "shards", 7, 2)
    make(source, tmp_path / "one" / "x.dna.npz", **options)
    make(source, tmp_path / "here" / "x.dna.npz", "ray", **options)
    assert contents(tmp_path / "here") == contents(tmp_path / "one")


def test_what_can_not_be_read_is_told_or_left_out_as_by_one_process(tmp_path: Path, ray: Ray) -> None:
    source, messages, lines = broken_shards(tmp_path / "shards"), [], []
    for name, on in (("one", None), ("here", "ray?cpus=1")):
        with pytest.raises(ValueError, match="Can't read image '.*001.tar/a.png'") as caught:
            make(source, tmp_path / name / "x.dna.npz", on)
        messages.append(str(caught.value))
        assert "00.json" in contents(tmp_path / name / "x.dna.npz.parts")
        lines.append(make(source, tmp_path / name / "x.dna.npz", on, skip_unreadable=True, resume=True))
    # One process names the unreadable images of all shards. A worker names those of its own shard.
    first = [message.partition(";")[0] for message in messages]
    assert first[0] == first[1]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 3
    assert contents(tmp_path / "here") == contents(tmp_path / "one")


SENT = ["zip", "npy", "packed npz", "tar", "packed tar", "shards", "parquet", "video"]


@pytest.mark.parametrize("kind", [*SENT, "array", "tensors", "rows", "Hugging Face"])
def test_sources_can_be_sent(kind: str, tmp_path: Path, ray: Ray) -> None:
    source = kinds.ON_DISK[kind](tmp_path) if kind in kinds.ON_DISK else kinds.IN_MEMORY[kind]()
    reading = Reading(progress=lambda *_: None)  # which can not be sent, and need not
    expected = make_dna(source, EXTRACTOR, num_bins=40, ranges=RANGES)
    dna = make_dna(source, EXTRACTOR, num_bins=40, ranges=RANGES, reading=reading, on="ray")
    assert dna.digest == expected.digest


@pytest.mark.slow
def test_comparisons_are_those_of_one_process(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what depends on single images: features, tests of fd, copies, names."""
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 6, 5, 3)).astype(np.uint8)
    images[1, :12] = images[0, :12]  # copies
    metrics = ["dna-emd", "dna-fd", "fd", "kid", "precision"]
    options: dict[str, Any] = {"num_bins": 40, "ranges": RANGES, "metrics": metrics, "num_folds": 6}
    options["reading"] = Reading(batch_size=4)
    expected, remote = (compare(*images, EXTRACTOR, on=on, **options) for on in (None, "ray"))
    assert expected.copies == 12
    assert remote.shares_images
    assert remote.to_dict().keys() == expected.to_dict().keys()
    assert (remote.verdict, remote.notices, remote.copies) == (expected.verdict, expected.notices, expected.copies)
    for name in metrics:
        assert remote[name].value == pytest.approx(expected[name].value, rel=1e-9), name
        assert (remote[name].evidence is None) == (expected[name].evidence is None)
    assert remote.p_value == expected.p_value


def test_what_lives_in_this_process_is_refused(tmp_path: Path, ray: Ray) -> None:
    source = shards(tmp_path / "shards", 2, 3)
    arguments: dict[str, Any] = {"feature": EXTRACTOR, "ranges": RANGES, "on": "ray"}
    for stream in ("iterator", "loader", "function"):
        with pytest.raises(ValueError, match="lives in this process, so Ray can't read it; pass files or addresses"):
            make_dna(kinds.IN_MEMORY[stream](), **arguments)
        with pytest.raises(ValueError, match="lives in this process"):
            compare(source, kinds.IN_MEMORY[stream](), **arguments)
    network = Pixels()
    network.hook = lambda: None
    with pytest.raises(ValueError, match=r"or its extractor can't be sent to workers \(.*\); pass files or addresses"):
        make_dna(source, DNAExtractor(network), ranges="auto", on="ray")
    assert not any(call == "remote" for call, *_ in ray.calls)


def test_clusters_that_are_none() -> None:
    for on in ("spark", "ray://", "rays", "ray?cpus=many", "ray?actors=3", "ray?cpus=", "ray?cpus=0", "ray?gpus=-1"):
        with pytest.raises(ValueError, match="`on` expected to be 'ray' or 'ray://HOST:PORT', perhaps with cores and"):
            make_dna(kinds.PIXELS, EXTRACTOR, on=on)


def test_what_a_cluster_is_asked_for(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for on, address, cpus, gpus in (
        ("ray", None, 1, 0),
        ("ray://head:10001?gpus=0.0&cpus=2", "ray://head:10001", 2, 0),
    ):
        ray.calls.clear()
        make_dna(kinds.PIXELS, EXTRACTOR, ranges=RANGES, on=on)
        of = {call: (argument, options) for call, argument, options in ray.calls}
        assert of["init"][0] == address
        options = of["remote"][1]
        assert (options["num_cpus"], options["num_gpus"], options["max_retries"] > 1) == (cpus, gpus, True)
        assert ray.calls[-1][0] == "shutdown"  # what was begun here
    with pytest.raises(ConnectionError, match="Can't connect to 'ray://none:1': there is none"):
        make_dna(kinds.PIXELS, EXTRACTOR, ranges=RANGES, on="ray://none:1")


def test_a_missing_ray_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs ray, .*; run `pip install 'ray\[client\]>=2.52'`"):
        make(shards(tmp_path / "shards", 1, 1), tmp_path / "x.dna.npz", "ray")


def test_a_machine_that_lacks_something_says_so(tmp_path: Path, ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    images = kinds.folder(tmp_path)
    source = open_source(images)
    images.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"does not have '.*img0.png'; pass a folder that all machines share"):
        make_dna(source, EXTRACTOR, ranges=RANGES, reading=Reading(skip_unreadable=True), on="ray")

    # The version of the package on the other machine.
    get = Ray.get
    monkeypatch.setattr(Ray, "get", lambda *call: monkeypatch.setattr(on_ray, "__version__", "0.0") or get(*call))
    with pytest.raises(ValueError, match=r"has torchmetrics-dna 0\.0, expected"):
        make_dna(kinds.PIXELS, EXTRACTOR, ranges=RANGES, on="ray")
