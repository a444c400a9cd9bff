"""make, merge, info and convert as a user meets them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import kinds
import pytest
from commands import COMMAND, Command
from golden import GOLDEN

import torchmetrics_dna.cli.console as console
from torchmetrics_dna import load_dna, make_dna
from torchmetrics_dna.extractors import PRESETS

A, B, MANY = (GOLDEN / "endtoend" / name for name in ("a", "b", "fd_a"))
OFFICIAL = GOLDEN / "official_files"
FAST = ["--layers", "block_0,block_1"]


def test_a_column_and_frames_make_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command) -> None:
    monkeypatch.setattr(console.out, "width", 80)
    x = tmp_path / "x.dna.npz"
    out, said = cli("make", kinds.shards(tmp_path, mask=True), "--column", "mask.png", "-o", x, *FAST)
    assert (out, " MB" in said) == ("", True)
    dna = load_dna(x)
    assert dna.digest == make_dna(255 - kinds.PIXELS, layers=["block_0", "block_1"]).digest
    printed = cli("info", x).out
    for text in (dna.digest, "histogram", "efficientnet_lite0", "block_1", "11", "margin widen", "137,984"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 80
    description = json.loads(cli("info", x, "--format", "json").out)
    assert (description["digest"], description["num_images"]) == (dna.digest, 11)
    of_layer = {"neurons": 16, "values": 137_984, "largest count": int(dna.counts.max())}
    assert description["layers"]["block_0"] == of_layer
    assert description["preparation"]["input_size"] == [224, 224]
    cli("make", kinds.video(tmp_path), "--fps", "2", "-o", tmp_path / "v.npz", *FAST)
    assert load_dna(tmp_path / "v.npz").num_images == 6


def test_official_files_both_ways(tmp_path: Path, cli: Command) -> None:
    ours, back = tmp_path / "x.dna.npz", tmp_path / "back"
    assert "Use --ranges to attach them" in cli("convert", OFFICIAL / "hist50", ours).err
    cli("convert", OFFICIAL / "hist50", ours, "--ranges", OFFICIAL / "activation_ranges.json")
    cli("convert", ours, back)
    assert load_dna(back).digest == load_dna(OFFICIAL / "hist50").digest
    ranges = "--ranges", OFFICIAL / "activation_ranges.json"
    assert json.loads(cli("compare", ours, back, *ranges, "--format", "json").out)["dna_emd"] == 0
    assert "'tiny_conv'" in cli("compare", OFFICIAL / "hist50", GOLDEN / "endtoend" / "b", code=2).err


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


@pytest.mark.outer
@pytest.mark.slow
def test_interrupted_and_resumed(tmp_path: Path, cli: Command) -> None:
    # a part for each image, so that the signal comes before the last one also on a busy machine
    images = str(GOLDEN / "endtoend" / "fd_a")
    make = ["make", images, "--layers", "block_0", "--kind", "histogram,gaussian", "--batch-size", "1", "-o"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    command, parts = [*make, str(cut / "x.dna.npz")], cut / "x.dna.npz.parts"
    with interruptible(*command) as process:
        while not list(parts.glob("0*.json")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        of_one_kind = ["gaussian" if word == "histogram,gaussian" else word for word in command]
        for again in (command, [*command, "--resume"], of_one_kind):
            assert f"making parts in '{parts}'" in cli(*again, code=2).err
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130, said
    expected = f"Finished parts are in {parts}. Use --resume to continue from them.\ntorchmetrics-dna: interrupted\n"
    assert said.endswith(expected)
    assert list(cut.iterdir()) == [parts]
    assert not list(parts.glob(".*"))
    assert "resume from them with --resume" in cli(*command, code=2).err
    cli(*command, "--resume")
    cli(*make, whole / "x.dna.npz")
    written = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert len(written) == 2
    assert {path.name: path.read_bytes() for path in cut.iterdir()} == written


def test_the_list_says_what_there_is_and_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    monkeypatch.setattr(console.out, "width", 80)
    text, said = cli("info")
    assert "on this machine" in said
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
