"""An engine measures whole parts, anywhere and in any order: the bytes are those of one process."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kinds
import pytest
from engines import EXTRACTOR, RANGES, Twice, broken_shards, contents, make, shards
from hypothesis import given
from hypothesis import strategies as st

from torchmetrics_dna import compare, make_dna
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.jobs import on_ray
from torchmetrics_dna.jobs.elsewhere import check_reachable, engine_of
from torchmetrics_dna.jobs.engine import Engine, Work
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.on_ray import RayEngine
from torchmetrics_dna.jobs.parts import Finished, Parts
from torchmetrics_dna.statistics.resolve import resolve
from torchmetrics_dna.version import __version__


class Here(Engine):
    """Engine that runs pickled work at once in this process, the last number first."""

    def run(self, work: Work, numbers: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        unpickled = pickle.loads(pickle.dumps(work))
        unpickled.begin("cpu", 1)
        for number in reversed(numbers):
            yield number, pickle.loads(pickle.dumps(unpickled(number)))


@pytest.mark.parametrize("options", [{}, {"num_folds": 5}, {"num_folds": 5, "groups": "folder"}])
def test_bytes_do_not_depend_on_who_measures_and_merges(options: dict[str, Any], tmp_path: Path) -> None:
    source = shards(tmp_path / "shards", 18, 2)
    make(source, tmp_path / "one" / "x.dna.npz", **options)
    make(source, tmp_path / "here" / "x.dna.npz", Here(), **options)
    assert contents(tmp_path / "here") == contents(tmp_path / "one")


def test_what_can_not_be_read_is_left_out_as_by_one_process(tmp_path: Path) -> None:
    source = broken_shards(tmp_path / "shards")
    lines = [
        make(source, tmp_path / name / "x.dna.npz", engine, skip_unreadable=True)
        for name, engine in (("one", None), ("here", Here()))
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 3
    assert contents(tmp_path / "here") == contents(tmp_path / "one")


def test_parts_are_merged_in_their_order(tmp_path: Path) -> None:
    dnas = [make_dna(kinds.PIXELS[i : i + 1], EXTRACTOR, kind="gaussian") for i in range(11)]
    job = Job.for_dnas(resolve(EXTRACTOR), ["gaussian"], Reading(batch_size=1))
    parts = Parts(tmp_path, open_source(kinds.PIXELS[:11]), job)
    for i in reversed(range(11)):
        dnas[i].save(tmp_path / "x.dna.npz")
        parts.put(i, Finished({"gaussian": (tmp_path / "x.dna.npz").read_bytes()}, 1, []))
    ((_, dna),) = parts.merged()
    assert dna.digest == merged(dnas).digest
    assert dna.digest != merged(dnas[::-1]).digest  # the order matters, to the last bit


@pytest.mark.parametrize("kind", [*kinds.ON_DISK, "array", "tensors", "rows", "bytes", "Hugging Face"])
def test_sources_can_be_sent(kind: str, tmp_path: Path) -> None:
    source = kinds.ON_DISK[kind](tmp_path) if kind in kinds.ON_DISK else kinds.IN_MEMORY[kind]()
    reading = Reading(progress=lambda *_: None)  # which can not be sent, and need not
    expected = make_dna(source, EXTRACTOR, num_bins=40, ranges=RANGES)
    dna = make_dna(source, EXTRACTOR, num_bins=40, ranges=RANGES, reading=reading, on=Here())
    assert dna.digest == expected.digest


def test_comparisons_are_those_of_one_process(tmp_path: Path) -> None:
    sources = [shards(tmp_path / name, 3, size) for name, size in (("a", 4), ("b", 6))]
    expected, remote = (compare(*sources, EXTRACTOR, num_bins=40, ranges=RANGES, on=e) for e in (None, Here()))
    assert remote["dna-emd"].value == expected["dna-emd"].value
    assert remote["dna-fd"].value == pytest.approx(expected["dna-fd"].value, rel=1e-9)
    assert remote.p_value == expected.p_value


def test_what_an_engine_does_not_do(tmp_path: Path) -> None:
    source = shards(tmp_path / "shards", 2, 3)
    arguments: dict[str, Any] = {"feature": EXTRACTOR, "ranges": RANGES, "on": Here()}
    with pytest.raises(ValueError, match="nothing but DNAs, but features of single images are needed; leave it out"):
        compare(source, source, metrics=["kid"], **arguments)
    for stream in ("iterator", "loader", "function"):
        with pytest.raises(ValueError, match="lives in this process, so an engine can't read it; give files or addre"):
            make_dna(kinds.IN_MEMORY[stream](), **arguments)
        with pytest.raises(ValueError, match="lives in this process"):
            compare(source, kinds.IN_MEMORY[stream](), **arguments)


def test_names_of_engines() -> None:
    engine = engine_of("ray://head:10001?actors=8&cpus=2&gpus=0.5")
    assert isinstance(engine, RayEngine)
    assert (engine.address, engine.actors, engine.cpus, engine.gpus) == ("ray://head:10001", 8, 2, 0.5)
    assert engine_of("ray").address is None
    for name in ("spark", "ray://", "rays"):
        with pytest.raises(ValueError, match=f"`on` expected to be 'ray' or 'ray://HOST:PORT', but got '{name}'"):
            engine_of(name)
    for setting in ("actors=many", "workers=3", "cpus="):
        with pytest.raises(ValueError, match=f"has the setting '{setting}', expected a number for any of actors, cpus"):
            engine_of(f"ray?{setting}")
    with pytest.raises(ValueError, match="Setting `cpus` of ray expected to be at least 1, but got 0"):
        engine_of("ray?cpus=0")


def test_a_missing_ray_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs ray, .*; run `pip install 'ray\[client\]>=2.52'`"):
        make(shards(tmp_path / "shards", 1, 1), tmp_path / "x.dna.npz", "ray")


def test_a_cluster_of_its_own_is_closed_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments that Ray gets; test_ray.py tests on Ray itself that no other port is open."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    calls: list[tuple[Any, ...]] = []

    def init(address: str, **options: Any) -> None:
        calls.append((address, options.get("include_dashboard"), os.environ.get("RAY_AUTH_MODE")))
        if address == "none:1":
            raise ConnectionError("there is none")

    ray = SimpleNamespace(init=init, shutdown=lambda: None, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    running: list[str] = []
    parts = {
        "_private.ray_constants": SimpleNamespace(ENABLE_RAY_CLUSTER=True),
        "_private.services": SimpleNamespace(canonicalize_bootstrap_address=lambda _: running[0] if running else None),
        "_raylet": SimpleNamespace(Config=SimpleNamespace(initialize=lambda _: None)),
    }
    for name, part in parts.items():
        monkeypatch.setitem(sys.modules, f"ray.{name}", part)
    for running[:] in ([], ["10.0.0.1:6379"]):
        with RayEngine()._connected(ray):
            pass
        assert "RAY_AUTH_MODE" not in os.environ
    assert calls == [("local", False, "token"), (None, None, None)]
    for argument, address in (("none:1", None), (None, "none:1")):
        calls.clear()
        if address:
            monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConnectionError, match="Can't connect to .*there is none; see that it runs"):
            RayEngine(argument)._connected(ray).__enter__()
        assert len(calls) == 1


def test_a_machine_without_the_folder_says_so(tmp_path: Path) -> None:
    images = open_source(kinds.folder(tmp_path))
    check_reachable(images)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"does not have '.*img0.png'; give a folder that all machines share"):
        check_reachable(images)


class DiedError(Exception):
    """Death of a machine, as Ray reports it."""


class FakeRay:
    """Ray as far as a pool of actors knows it, in this process; some calls die with their actor.

    Args:
        deaths: For each number, how many of its calls die; of None, calls that begin.
        newest: True if the newest call is done first.

    """

    exceptions = SimpleNamespace(RayError=DiedError)

    def __init__(self, deaths: dict[int | None, int], newest: bool = False) -> None:
        self.deaths, self.newest = deaths, newest
        self.alive: set[object] = set()
        self.most = 0

    def remote(self, **options: Any) -> Callable[[type], Any]:
        assert options["max_restarts"] == options["max_task_retries"] == 0
        return lambda _: SimpleNamespace(remote=self._actor)

    def _actor(self) -> Any:
        actor = SimpleNamespace()
        self.alive.add(id(actor))
        self.most = max(self.most, len(self.alive))
        actor.begin = SimpleNamespace(remote=lambda *_: self._ref(None, actor))
        actor.do = SimpleNamespace(remote=lambda number: self._ref(number, actor))
        return actor

    def _ref(self, number: int | None, actor: Any) -> Any:
        assert id(actor) in self.alive
        return _Ref(number)

    def wait(self, refs: list[Any], num_returns: int, timeout: float) -> Any:
        return ([refs[-1 if self.newest else 0]], [])

    def get(self, ref: Any) -> Any:
        if self.deaths.get(ref.number, 0):
            self.deaths[ref.number] -= 1
            raise DiedError("the node is gone")
        if ref.number is not None and ref.number >= 100:
            error = DiedError("task")
            error.cause = ValueError(f"image {ref.number} can't be read")
            raise error
        return ref.number

    def kill(self, actor: Any) -> None:
        self.alive.discard(id(actor))


class Unpicklable(Twice):
    label = "images of a camera"

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'camera' object")


@pytest.mark.parametrize(
    ("resources", "settings", "actors"),
    [
        ({"CPU": 5.0}, {}, 5),
        ({"CPU": 5.0}, {"cpus": 2}, 2),
        ({"CPU": 5.0, "GPU": 2.0}, {}, 2),
        ({"CPU": 5.0, "GPU": 2.0}, {"gpus": 0.5}, 4),
        ({"CPU": 5.0, "GPU": 2.0}, {"gpus": 0}, 5),
        ({"CPU": 5.0}, {"actors": 50}, 50),
        ({}, {}, 1),
    ],
)
def test_as_many_actors_as_there_is_room_for(
    resources: dict[str, float], settings: dict[str, Any], actors: int
) -> None:
    assert RayEngine(**settings)._room(resources)[0] == actors


def test_what_can_not_be_sent_is_told() -> None:
    pytest.importorskip("ray")
    with pytest.raises(
        ValueError, match=r"'images of a camera' or its extractor lives in this process .* \(cannot pic"
    ):
        next(RayEngine().run(Unpicklable(), [0]))
    for pickled, version, message in (
        (b"", "0.0", r"has torchmetrics-dna .*, expected 0\.0; install that there"),
        (b"x", __version__, r"can't unpickle the images or the extractor \(.*\); install there what is here"),
    ):
        with pytest.raises(ValueError, match=message):
            on_ray._Worker().begin(pickled, str(Path.cwd()), version)


class _Ref:
    def __init__(self, number: int | None) -> None:
        self.number = number


@given(st.integers(1, 5), st.dictionaries(st.integers(0, 11), st.integers(0, 5)), st.integers(0, 5), st.booleans())
def test_each_number_comes_once_whoever_dies(size: int, deaths: dict[int, int], starts: int, newest: bool) -> None:
    ray = FakeRay({**deaths, None: starts}, newest)
    assert sorted(on_ray._shared(ray, None, {}, size, range(12))) == [(i, i) for i in range(12)]
    assert ray.most <= size
    assert not ray.alive


@given(st.integers(1, 4), st.booleans(), st.dictionaries(st.sampled_from([3, 100, 101]), st.integers(0, 5)))
def test_the_lowest_number_that_fails_is_told(size: int, newest: bool, deaths: dict[int, int]) -> None:
    ray = FakeRay(dict(deaths), newest)
    finished: list[int] = []
    with pytest.raises(ValueError, match="image 100 can't be read"):
        finished.extend(number for number, _ in on_ray._shared(ray, None, {}, size, [0, 1, 2, 3, 100, 101]))
    assert {0, 1, 2, 3} <= set(finished)
    assert not ray.alive


@pytest.mark.parametrize(("number", "stage"), [(None, "before it began"), (3, "at part 3")])
def test_losses_without_end_end(number: int | None, stage: str) -> None:
    with pytest.raises(RuntimeError, match=rf"Ray has lost 6 workers {stage} \(the node is gone\); see that they have"):
        list(on_ray._shared(FakeRay({number: 10**6}), None, {}, 2, range(5)))


def test_workers_are_gone_when_whoever_iterates_stops() -> None:
    ray = FakeRay({})
    results = on_ray._shared(ray, None, {}, 3, range(12))
    next(results)
    assert ray.alive
    results.close()
    assert not ray.alive
