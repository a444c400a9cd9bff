"""DNAs and ranges from the Hugging Face hub, over real HTTP; in other processes, as its address is read on import."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import dnas
import pytest
from golden import GOLDEN
from hub_server import COMMIT, serving

from torchmetrics_dna import ActivationRanges, compare, load_dna, make_dna
from torchmetrics_dna.files.download import check_content, fetch

REMEDY = "download it where there is a network, and pass its local path instead"


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
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    assert process.stderr.count("Retrying") < 2, process.stderr
    lines = process.stdout.splitlines()
    assert len(lines) == len(references), lines
    return lines


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    dnas.histogram().save(folder / "sub" / "x.dna.npz")
    for suffix in ("json", "npz"):
        (folder / f"gauss.{suffix}").write_bytes((GOLDEN / "official_files" / f"gauss.{suffix}").read_bytes())
    (folder / "ranges.json").write_bytes((GOLDEN / "official_files" / "activation_ranges.json").read_bytes())
    return folder


@pytest.mark.outer
def test_files_of_the_hub(repository: Path, tmp_path: Path) -> None:
    ranges = ActivationRanges.load(GOLDEN / "official_files" / "activation_ranges.json").digest
    ours, official = dnas.histogram().digest, load_dna(GOLDEN / "official_files" / "gauss").digest
    with serving({"owner/repo": repository, "datasets/owner/data": repository}) as (endpoint, requests):
        expected = {
            f"hub:owner/repo@{COMMIT}/sub/x.dna.npz": ours,
            "hub:owner/repo/sub/x.dna.npz": ours,
            "hub:owner/repo/gauss": official,
            "hub:owner/repo/gauss.npz": official,
            "hub:datasets/owner/data/gauss.json": official,
            "hub:owner/repo/ranges.json": ranges,
        }
        assert load(*expected, endpoint=endpoint, home=tmp_path) == list(expected.values())
        assert "GET /owner/repo/resolve/" in " ".join(requests)
        assert f"HEAD /owner/repo/resolve/{COMMIT}/sub/x.dna.npz" in requests
        requests.clear()
        # what is in the cache is not fetched again, and needs no network
        assert load("hub:owner/repo/sub/x.dna.npz", endpoint=endpoint, home=tmp_path) == [ours]
        assert not [request for request in requests if request.startswith("GET /owner/")]
        requests.clear()
        offline = load("hub:owner/repo/sub/x.dna.npz", endpoint=endpoint, home=tmp_path, HF_HUB_OFFLINE="1")
        assert offline == [ours]
        assert requests == []
        # a damaged copy is fetched again, or told
        (blob,) = {path.resolve() for path in tmp_path.rglob("x.dna.npz") if path.is_symlink()}
        blob.write_bytes(b"damaged")
        assert load("hub:owner/repo/sub/x.dna.npz", endpoint=endpoint, home=tmp_path) == [ours]
        blob.write_bytes(b"damaged")
        (error,) = load("hub:owner/repo/sub/x.dna.npz", endpoint=endpoint, home=tmp_path, HF_HUB_OFFLINE="1")
        assert f"but {blob.name[:16]}... was expected" in error


@pytest.mark.outer
def test_a_damaged_copy_that_is_fetched_again_is_checked_again(repository: Path, tmp_path: Path) -> None:
    reference = "hub:owner/repo/sub/x.dna.npz"
    with serving({"owner/repo": repository}) as (endpoint, _):
        assert load(reference, endpoint=endpoint, home=tmp_path) == [dnas.histogram().digest]
    (copy,) = tmp_path.glob("hub/**/snapshots/**/x.dna.npz")
    copy.resolve().write_bytes(b"damaged")
    with serving({"owner/repo": repository}, "other") as (endpoint, _):
        (line,) = load(reference, endpoint=endpoint, home=tmp_path)
    assert line.startswith("OSError: ")
    assert not copy.exists()


@pytest.mark.outer
def test_what_the_hub_does_not_have(repository: Path, tmp_path: Path) -> None:
    with serving({"owner/repo": repository}) as (endpoint, _):
        absent = ["hub:owner/repo/other.dna.npz", "hub:owner/other/x.dna.npz", "hub:owner/repo/other.ranges.json"]
        lines = load(*absent, endpoint=endpoint, home=tmp_path)
        absent.append("hub:owner/repo/sub/x.dna.npz")
        lines += load(absent[-1], endpoint=endpoint, home=tmp_path, HF_HUB_OFFLINE="1")
    absent.append(absent[-1])  # where nobody answers any more
    lines += load(absent[-1], endpoint=endpoint, home=tmp_path)
    for reference, line in zip(absent, lines, strict=True):
        file, repo = reference.rpartition("/")[2], reference[4:].split("/")[1]
        assert line.startswith("OSError: Can't fetch"), line
        assert file in line
        assert f"hub repository 'owner/{repo}'" in line
        assert REMEDY in line


@pytest.mark.parametrize("reference", ["hub:", "hub:owner", "hub:owner/repo", "hub:owner/repo@/x", "hub:a b/c?/x"])
def test_what_names_no_file(reference: str) -> None:
    with pytest.raises(ValueError, match=r"Expected hub:OWNER/REPO/path|names no file of a hub repository"):
        fetch(reference)


def test_cached_files_are_named_by_whole_addresses_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))  # as torch.hub.set_dir does
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.safetensors").write_bytes(name.encode() * 1000)
    sums = {name: hashlib.sha256(name.encode() * 1000).hexdigest() for name in "ab"}
    with serving({"plain": tmp_path}) as (endpoint, requests):
        addresses = {name: f"{endpoint}/plain/{name}/w.safetensors" for name in "ab"}
        for _ in range(2):
            assert [fetch(addresses[name]).read_bytes()[:1] for name in "ab"] == [b"a", b"b"]
        assert [request.split()[0] for request in requests] == ["HEAD", "GET"] * 2
        path = fetch(addresses["a"], sha256=sums["a"])
        assert path.is_relative_to(tmp_path / "hub")
        assert path.name.endswith("-w.safetensors")
        with pytest.raises(OSError, match=f"its hash is {sums['a'][:16]}..., but {sums['b'][:16]}... was expected"):
            fetch(addresses["a"], sha256=sums["b"])
        fetch(addresses["a"])
        path.write_bytes(b"damaged")
        assert fetch(addresses["a"], sha256=sums["a"][:8]).read_bytes() == b"a" * 1000
        path.write_bytes(b"damaged")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(OSError, match=r"its hash is .*, but .* was expected"):
            fetch(addresses["a"], sha256=sums["a"])
        assert not path.exists()


@pytest.mark.parametrize("name", ["git blob", "sha256", "other", "given"])
def test_a_cached_file_has_the_hash_that_its_name_or_the_record_has(name: str, tmp_path: Path) -> None:
    """The hub names files by git's hash if they are small, others by SHA-256."""
    content, damaged, sha256 = b"weights", b"weighty", hashlib.sha256(b"weights").hexdigest()
    git = hashlib.sha1(b"blob 7\0weights").hexdigest()
    blob, link = tmp_path / {"git blob": git, "sha256": sha256}.get(name, "x" * 40), tmp_path / "link"
    if name == "other":
        blob = tmp_path / "plain"
    link.symlink_to(blob)
    digest = sha256[:12] if name == "given" else ""
    for written in (content, damaged):
        blob.write_bytes(written)
        if written == content or name == "other":
            check_content(link, digest)
            continue
        wrong = hashlib.sha1(b"blob 7\0weighty") if name == "git blob" else hashlib.sha256(b"weighty")
        expected = (digest or blob.name)[:16]
        with pytest.raises(OSError, match=f"^its hash is {wrong.hexdigest()[:16]}..., but {expected}... was expected$"):
            check_content(link, digest)
        assert not list(tmp_path.iterdir())


def test_what_a_server_says_is_told_briefly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "x.dna.npz").write_bytes(bytes(1000))
    for fault, message in (
        ("length", "its Content-Length is 'abc.*, expected a number of bytes"),
        ("cut", "the connection was cut after 500 of 1000 bytes"),
    ):
        with serving({"plain": tmp_path}, fault) as (endpoint, _):
            with pytest.raises(OSError, match="Can't read") as read:
                load_dna(f"{endpoint}/plain/x.dna.npz")
            with pytest.raises(OSError, match=message) as fetched:
                fetch(f"{endpoint}/plain/x.dna.npz")
        assert str(fetched.value).startswith(f"Can't fetch 'x.dna.npz' of {endpoint}/plain/x.dna.npz (")
        assert max(len(str(read.value)), len(str(fetched.value))) < 600
    with serving({}) as (endpoint, _):  # which answers 401
        with pytest.raises(OSError, match=r"Can't read .*401, message='Unauthorized'") as refused:
            make_dna(f"{endpoint}/plain/x.zip")
        with pytest.raises(OSError, match=r"Can't read .*x\.npz.*401"):
            compare(f"{endpoint}/plain/x.npz", f"{endpoint}/plain/x.npz")
        assert not isinstance(refused.value, FileNotFoundError)
