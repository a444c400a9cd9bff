from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton, so that its kernels run here too

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.sets.demo import photographs

# the gate tries the same examples each time; everyone else's runs look for new ones
settings.register_profile("ours", suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile("ci", settings.get_profile("ours"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "ours")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left with it at the end; skip what needs a GPU that is not."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(params=["numba", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the compiled functions, and as where numba is not installed."""
    if request.param == "torch":
        for module in (
            "binning.counting",
            "binning.extremes",
            "binning.moments",
            "binning.self_ranging",
            "functional.emd",
            "functional.realism",
        ):
            monkeypatch.setattr(f"torchmetrics_dna.{module}.optional", lambda _: None)
    return request.param


@pytest.fixture(scope="session")
def default_extractor() -> DNAExtractor:
    return DNAExtractor("efficientnet_lite0")


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Twelve crops of photographs, uint8, 192 x 192."""
    return photographs(12)


@pytest.fixture(scope="module")
def of_any_value() -> Iterator[None]:
    """For what must run, whatever it finds: the default extractor resizes to 96 pixels, and tests relabel little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "efficientnet_lite0", replace(PRESETS["efficientnet_lite0"], input_size=(96, 96)))
        patch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As processes beside each other run: convolutions round alike only for the same number of threads."""
    yield from _with_threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch by itself leaves oneDNN out for 1 x 1 convolutions on one thread, and rounds otherwise."""
    yield from _with_threads(2)


def _with_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photo_folder(tmp_path: Path, photos: list[np.ndarray]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"photo{i}.png")
    return folder
