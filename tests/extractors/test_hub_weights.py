"""Weights and ranges from the official places, over real HTTP; in other processes, as addresses are read on import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from hub_server import serving
from official import random_official

from torchmetrics_dna import ActivationRanges, DNAExtractor

REPOSITORY = "bramtoula/visual-dna-models"
USE = """
import dataclasses, sys
from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.extractors import PRESETS
name, address = sys.argv[1:]
if address:
    PRESETS[name] = dataclasses.replace(PRESETS[name], weights=address)
try:
    extractor = DNAExtractor(name)
    print(extractor.weights_digest, extractor.resolve_ranges().digest)
except Exception as err:
    print(f"{type(err).__name__}: {err}")
"""


def use(name: str, endpoint: str, home: Path, address: str = "", **environment: str) -> str:
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "TORCH_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", USE, name, address]
    process = subprocess.run(command, env=os.environ | variables | environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def cached_files(home: Path) -> list[str]:
    """Files of a cache that hold something of what was to be downloaded."""
    notes = (".lock", "CACHEDIR.TAG", "refs/main")
    files = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size]
    return [str(path) for path in files if not str(path).endswith(notes)]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the official repository, with one extractor; and what that is when it is loaded."""
    folder = tmp_path_factory.mktemp("official")
    (folder / "Random" / "rand_resnet50").mkdir(parents=True)
    torch.save(random_official("rand_resnet50", folder).content, folder / "Random" / "rand_resnet50" / "weights.pth")
    extractor = DNAExtractor("rand_resnet50", weights_path=folder)
    assert extractor.ranges is None
    photograph = torch.from_numpy(skimage.data.astronaut()).movedim(2, 0)
    ranges = ActivationRanges.observe(extractor(photograph[None]), margin="scale")
    ranges.save(folder / "Random" / "rand_resnet50" / "activation_ranges.json")
    return folder, f"{extractor.weights_digest} {ranges.digest}"


@pytest.mark.outer
def test_first_use_downloads_and_the_second_is_offline(official: tuple[Path, str], tmp_path: Path) -> None:
    folder, expected = official
    with serving({REPOSITORY: folder}, "cut") as (endpoint, _):
        for offline in ({}, {"HF_HUB_OFFLINE": "1"}):
            output = use("rand_resnet50", endpoint, tmp_path, **offline)
            assert output.startswith("OSError: Can't fetch")
            assert output.endswith("as `weights_path`")
            assert "\n" not in output
            assert cached_files(tmp_path) == []
    with serving({REPOSITORY: folder}) as (endpoint, requests):
        assert use("rand_resnet50", endpoint, tmp_path) == expected
        fetched = [request.rpartition("/")[2] for request in requests if request.startswith(f"GET /{REPOSITORY}/")]
        assert fetched == ["weights.pth", "activation_ranges.json"]
        requests.clear()
        assert use("rand_resnet50", endpoint, tmp_path) == expected
        assert requests == []
    # a copy of the repository serves as well, its ranges included
    extractor = DNAExtractor("rand_resnet50", weights_path=folder)
    assert f"{extractor.weights_digest} {extractor.ranges.digest}" == expected
    assert extractor.ranges.name == "rand_resnet50"


@pytest.mark.outer
def test_plain_addresses_likewise(tmp_path: Path) -> None:
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"other weights")  # their hash is wrong, so nobody looks inside
    with serving({"plain": tmp_path}) as (endpoint, requests):
        address = f"{endpoint}/plain/vgg16-397923af.pth"
        output = use("vgg16", endpoint, tmp_path / "home", address)
        assert output.startswith(f"OSError: Can't fetch 'vgg16-397923af.pth' of {address} (its hash is")
        assert output.endswith("as `weights_path`")
        assert cached_files(tmp_path / "home") == []
        dino = tmp_path / "dino.pth"
        torch.save(random_official("dino_resnet50", tmp_path).content, dino)
        address = f"{endpoint}/plain/dino.pth"
        for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
            requests.clear()
            output = use("dino_resnet50", endpoint, tmp_path / "home", address, **environment)
            # its weights are there; its ranges are not on this server
            assert output.startswith("OSError: Can't fetch 'DINO/dino_resnet50/activation_ranges.json'")
            assert output.endswith("`ranges='auto'`")
            assert not environment or requests == []
