from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np

    from torchmetrics_dna import DNAExtractor

# a process of tests for each core, with one thread each; set before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
NUM_RELABELINGS = "torchmetrics_dna.dna.evidence.NUM_RELABELINGS"
_STARTING = {("processes", "run"), ("processes", "call"), ("commands", "in_processes"), ("commands", "torchrun")}


_NEEDS_GPU, _UNMEASURED = "needs a GPU", pytest.StashKey[int]()
collect_ignore = ["benchmarks"]  # programs, which import from their own folder


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`: none where single files are named, whose tests take less time than workers take to start."""
    if all(Path(argument.partition("::")[0]).is_file() for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)  # each imports everything first, and takes some gigabytes


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", 0):
        _configure()  # which imports torch, so not where xdist only hands out tests


def _configure() -> None:
    import torch
    from hypothesis import HealthCheck, settings

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton, so that its kernels run here too
    # the gate tries the same examples each time; everyone else's runs look for new ones
    settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    settings.register_profile("ci", settings.get_profile("ours"), derandomize=True)
    settings.load_profile("ci" if os.environ.get("CI") else "ours")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left with it at the end; skip what needs a GPU that is not.

    A test that starts processes of the pool is slow by that.
    """
    import torch

    gpu = torch.cuda.is_available()
    for item in items:
        if _starts_processes(item) and not item.get_closest_marker("outer"):
            item.add_marker(pytest.mark.slow)
        if not gpu and item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason=_NEEDS_GPU))
    items.sort(key=lambda item: not (item.get_closest_marker("slow") or item.get_closest_marker("outer")))


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    config.stash[_UNMEASURED] = sum(_NEEDS_GPU in reason for reason in skipped)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say as the last line what was not tested for want of a GPU."""
    if count := config.stash.get(_UNMEASURED, 0):
        print(f"{count} cuda tests unmeasured on this machine")


def _starts_processes(item: pytest.Item) -> bool:
    code, module = getattr(getattr(item, "function", None), "__code__", None), getattr(item, "module", None)
    used = [getattr(module, name, None) for name in getattr(code, "co_names", ())]
    names = {(getattr(each, "__module__", None), getattr(each, "__name__", None)) for each in used}
    return not names.isdisjoint(_STARTING)


@pytest.fixture(autouse=True)
def _no_causes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the search of causes, which takes hundreds of images through a network, unless a test is of it."""
    if request.node.get_closest_marker("causes") is None:
        monkeypatch.setattr("torchmetrics_dna.jobs.causes.LEAST", 1_000_000)


@pytest.fixture(params=["numba", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the compiled functions, and as if numba were not installed."""
    if request.param == "torch":
        for module in ("binning.activations", "functional.emd"):
            monkeypatch.setattr(f"torchmetrics_dna.{module}.optional", lambda _: None)
    return request.param


@pytest.fixture
def few_relabelings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tests of evidence cheap, where their values do not matter: 99 relabelings."""
    monkeypatch.setattr(NUM_RELABELINGS, 99)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command that ends with an exit code, 0 or ``code``, and return what it prints."""
    from commands import run

    def call(*words: object, code: int = 0) -> Any:
        assert run(monkeypatch, *words) == code
        return capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def default_extractor() -> DNAExtractor:
    from torchmetrics_dna import DNAExtractor

    return DNAExtractor("efficientnet_lite0")


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Twelve crops of photographs, uint8, 192 x 192."""
    from torchmetrics_dna.demo import photographs

    return photographs(12)


@pytest.fixture(scope="module")
def of_any_value() -> Iterator[None]:
    """Make the default extractor and tests cheap, where values do not matter: 96 pixels, 99 relabelings."""
    from torchmetrics_dna.extractors import PRESETS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "efficientnet_lite0", replace(PRESETS["efficientnet_lite0"], input_size=(96, 96)))
        patch.setattr(NUM_RELABELINGS, 99)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread, as in parallel processes: convolutions round alike only for the same number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photo_folder(tmp_path: Path, photos: list[np.ndarray]) -> Path:
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"photo{i}.png")
    return folder
