"""make, merge, info and convert as a user meets them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from commands import COMMAND, Command, run
from golden import GOLDEN

import torchmetrics_dna.cli.console as console
from torchmetrics_dna import compare, load_dna
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.extractors import PRESETS

A, B = GOLDEN / "endtoend" / "a", GOLDEN / "endtoend" / "b"
MANY = GOLDEN / "endtoend" / "fd_a"
OFFICIAL = GOLDEN / "official_files"
FAST = ["--layers", "block_0,block_1", "--batch-size", "4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x.histogram.dna.npz and its likes, of the folder A."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        kinds = "histogram,gaussian,layer-gaussian"
        assert run(patch, "make", A, "-o", folder / "x.dna.npz", "--kind", kinds, *FAST) == 0
    return folder


def test_files_take_the_place_of_images(made: Path, cli: Command) -> None:
    expected = compare(A, B, layers=["block_0", "block_1"], num_folds=None)
    printed, said = cli("make", B, "-o", made / "y.dna.npz", *FAST)
    assert printed == ""
    assert all(text in said for text in (": 5 of 5", "y.dna.npz: 0."))
    x, y, layers = (made / f"{name}.dna.npz" for name in ("x.histogram", "y", "x.layer-gaussian"))
    for sides, has, lacks in (((x, y), "dna_emd", "fd"), ((layers, B), "fd", "dna_emd")):
        result = json.loads(cli("compare", *sides, "--format", "json", "--num-folds", "0").out)
        assert lacks not in result
        for name in {has, "dna_frechet"} & {*result} - {"fd"}:
            assert result[name] == pytest.approx(expected[name].value, rel=1e-5)


def test_merging(made: Path, tmp_path: Path, cli: Command) -> None:
    x = made / "x.histogram.dna.npz"
    equal = f"{str(x)!r} and {str(x)!r} hold equal DNAs: are their 7 images the same"
    with pytest.warns(UserWarning, match=re.escape(equal)):
        cli("merge", x, x, x, "-o", tmp_path / "three.dna.npz")
    merged, once = load_dna(tmp_path / "three.dna.npz"), load_dna(x)
    assert isinstance(once, HistogramDNA)
    assert merged.num_images == 21
    assert (merged.counts == 3 * once.counts).all()


def test_what_is_in_a_file(made: Path, monkeypatch: pytest.MonkeyPatch, cli: Command) -> None:
    monkeypatch.setattr(console.out, "width", 80)
    x = made / "x.histogram.dna.npz"
    dna = load_dna(x)
    printed = cli("info", x).out
    for text in (dna.digest, "histogram", "efficientnet_lite0", "block_1", "7", "margin widen", "87,808"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 80
    description = json.loads(cli("info", x, "--format", "json").out)
    assert description["digest"] == dna.digest
    assert description["num_images"] == 7
    assert description["layers"]["block_0"] == {
        "neurons": 16,
        "values": 87_808,
        "largest count": int(dna.counts.max()),
    }
    assert description["preparation"]["input_size"] == [224, 224]


def test_official_files_both_ways(tmp_path: Path, cli: Command) -> None:
    ours, back = tmp_path / "x.dna.npz", tmp_path / "back"
    assert "Its activation ranges are unknown; --ranges attaches them." in cli("convert", OFFICIAL / "hist50", ours).err
    cli("convert", OFFICIAL / "hist50", ours, "--ranges", OFFICIAL / "activation_ranges.json")
    cli("convert", ours, back)
    assert load_dna(back).digest == load_dna(OFFICIAL / "hist50").digest
    ranges = "--ranges", OFFICIAL / "activation_ranges.json"
    assert json.loads(cli("compare", ours, back, *ranges, "--format", "json").out)["dna_emd"] == 0
    assert "Can't build the extractor 'tiny_conv' of this DNA" in cli("compare", OFFICIAL / "hist50", B, code=2).err


@contextmanager
def interruptible(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command in another process, which SIGINT interrupts also where it is ignored here; killed in the end."""
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_interrupted_and_resumed(tmp_path: Path, cli: Command) -> None:
    # a part for each image, so that the signal comes before the last one also on a busy machine
    make = ["make", str(MANY), "--layers", "block_0", "--kind", "histogram,gaussian", "--batch-size", "1", "-o"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    command, parts = [*make, str(cut / "x.dna.npz")], cut / "x.dna.npz.parts"
    with interruptible(*command) as process:
        while not list(parts.glob("0*.json")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        for more in ([], ["--resume"], ["--kind", "gaussian"]):
            assert f"Another process is making parts in '{parts}'; wait for it" in cli(*command, *more, code=2).err
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130, said
    expected = f"Finished parts are in {parts}; --resume goes on from them.\ntorchmetrics-dna: interrupted\n"
    assert said.endswith(expected)
    assert list(cut.iterdir()) == [parts]
    assert not list(parts.glob(".*"))
    assert "finished parts of an interrupted run: resume from them with --resume" in cli(*command, code=2).err
    cli(*command, "--resume")
    cli(*make, whole / "x.dna.npz")
    written = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert len(written) == 2
    assert {path.name: path.read_bytes() for path in cut.iterdir()} == written


@pytest.mark.outer
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    code = (
        "import resource, sys\nfrom torchmetrics_dna.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"sys.argv = ['torchmetrics-dna', 'make', {str(A)!r}, '-o', {str(tmp_path / 'x.npz')!r}, *{FAST}]\nmain()\n"
    )
    # -B, or a module that is imported below the limit leaves a truncated .pyc to all others
    failed = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert (
        failed.stderr.splitlines()[-1]
        == f"torchmetrics-dna: [Errno 27] File too large: '{tmp_path}/x.npz.parts/00.histogram.dna.npz'"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_list_says_what_there_is_and_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.setattr(console.out, "width", 80)
    text, said = cli("info")
    assert "is on this machine" in said
    lines = {line.split()[0]: line for line in text.splitlines() if line and not line.startswith(" ")}
    assert all(len(line) <= 80 for line in text.splitlines())
    assert set(PRESETS) < set(lines)
    assert lines["mugs_vit_large"].split()[1:7] == ["25", "25,600", "224", "bramtoula", "bramtoula", "Apache-2.0"]
    assert lines["efficientnet_lite0"].count("✓") == 2
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    address = hashlib.sha256(PRESETS["vgg16"].weights.encode()).hexdigest()[:16]
    (tmp_path / "hub" / "checkpoints" / f"{address}-vgg16-397923af.pth").touch()
    places = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}  # read by a new process
    command = [*COMMAND, "info", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **places})
    by_name = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert list(by_name) == list(PRESETS)
    assert [name for name, entry in by_name.items() if entry["weights_here"]] == ["efficientnet_lite0", "vgg16"]
    assert by_name["vgg16"]["layers"]["relu_5_3"] == 512
    assert by_name["vgg16"]["ranges"] == "hub:bramtoula/visual-dna-models/VGG/vgg16/activation_ranges.json"
    assert not by_name["vgg16"]["ranges_here"]
