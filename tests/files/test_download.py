"""DNAs and ranges from the Hugging Face hub, over real HTTP; in other processes, as its address is read on import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dnas
import pytest
from golden import GOLDEN
from hub_server import COMMIT, serving

from torchmetrics_dna import ActivationRanges, load_dna
from torchmetrics_dna.files.download import fetch

REMEDY = "download it where there is a network, and give its local path instead"


def load(*references: str, endpoint: str, home: Path, **environment: str) -> list[str]:
    """One line for each: the digest of what it is, or what is wrong."""
    code = (
        "import sys; from torchmetrics_dna import ActivationRanges, load_dna\n"
        "for reference in sys.argv[1:]:\n"
        "    read = ActivationRanges.load if 'ranges' in reference else load_dna\n"
        "    try:\n        print(read(reference).digest)\n"
        "    except (OSError, ValueError) as err:\n        print(f'{type(err).__name__}: {err}')\n"
    )
    variables = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-c", code, *references]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    assert done.stderr.count("Retrying") < 2, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(references), said
    return said


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    dnas.histogram().save(folder / "sub" / "x.dna.npz")
    for suffix in ("json", "npz"):
        (folder / f"gauss.{suffix}").write_bytes((GOLDEN / "official_files" / f"gauss.{suffix}").read_bytes())
    (folder / "ranges.json").write_bytes((GOLDEN / "official_files" / "activation_ranges.json").read_bytes())
    return folder


@pytest.mark.slow
def test_files_of_the_hub(repository: Path, tmp_path: Path) -> None:
    ranges = ActivationRanges.load(GOLDEN / "official_files" / "activation_ranges.json").digest
    ours, official = dnas.histogram().digest, load_dna(GOLDEN / "official_files" / "gauss").digest
    with serving({"owner/repo": repository, "datasets/owner/data": repository}) as (endpoint, requests):
        expected = {
            "hub:owner/repo/sub/x.dna.npz": ours,
            f"hub:owner/repo@{COMMIT}/sub/x.dna.npz": ours,
            "hub:owner/repo/gauss": official,
            "hub:owner/repo/gauss.npz": official,
            "hub:datasets/owner/data/gauss.json": official,
            "hub:owner/repo/ranges.json": ranges,
        }
        assert load(*expected, endpoint=endpoint, home=tmp_path) == list(expected.values())
        assert "GET /owner/repo/resolve/" in " ".join(requests)
        requests.clear()
        # what is in the cache is not fetched again, and needs no network
        assert load("hub:owner/repo/sub/x.dna.npz", endpoint=endpoint, home=tmp_path) == [ours]
        assert not [request for request in requests if request.startswith("GET /owner/")]
        requests.clear()
        offline = load("hub:owner/repo/sub/x.dna.npz", endpoint=endpoint, home=tmp_path, HF_HUB_OFFLINE="1")
        assert offline == [ours]
        assert requests == []


@pytest.mark.slow
def test_what_the_hub_does_not_have(repository: Path, tmp_path: Path) -> None:
    with serving({"owner/repo": repository}) as (endpoint, _):
        absent = [
            "hub:owner/repo/other.dna.npz",
            "hub:owner/other/x.dna.npz",
            "hub:owner/repo/other.ranges.json",
        ]
        told = load(*absent, endpoint=endpoint, home=tmp_path)
        absent.append("hub:owner/repo/sub/x.dna.npz")
        told += load(absent[-1], endpoint=endpoint, home=tmp_path, HF_HUB_OFFLINE="1")
    for reference, said in zip(absent, told, strict=True):
        file, repo = reference.rpartition("/")[2], reference[4:].split("/")[1]
        assert said.startswith("OSError: Can't fetch"), said
        assert file in said
        assert f"hub repository 'owner/{repo}'" in said
        assert REMEDY in said


@pytest.mark.slow
def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    with serving({}) as (endpoint, _):
        pass
    (said,) = load("hub:owner/repo/x.dna.npz", endpoint=endpoint, home=tmp_path)
    assert said.startswith("OSError: Can't fetch 'x.dna.npz'")
    assert REMEDY in said


@pytest.mark.parametrize("reference", ["hub:", "hub:owner", "hub:owner/repo", "hub:owner/repo@/x", "hub:a b/c?/x"])
def test_what_names_no_file(reference: str) -> None:
    with pytest.raises(ValueError, match=r"Expected hub:OWNER/REPO/path|names no file of a hub repository"):
        fetch(reference)
