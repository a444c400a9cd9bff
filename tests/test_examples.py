"""The examples of the documents, as a reader runs them: several processes give the value of one."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden import GOLDEN
from PIL import Image

from torchmetrics_dna import load_dna, make_dna
from torchmetrics_dna.sets.demo import photographs

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
IN_TURN = str(Path(__file__).parent / "helpers" / "in_turn.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def figures(said: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(dna-\w+|alone) (\S+)$", said, re.MULTILINE)}


def run(*command: str, timeout: float = 240) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True, text=True, check=False, timeout=timeout, cwd=EXAMPLES, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_plain_pytorch_accelerate_and_ignite_over_two_processes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "ddp_pytorch.py"), run_name="__main__")
    one = figures(capsys.readouterr().out)
    assert one["dna-emd"] > 1
    assert figures(run(*TORCHRUN, "ddp_pytorch.py")) == one
    assert figures(run(*TORCHRUN, "accelerate_loop.py")) == one
    assert figures(run("ignite_evaluator.py", "--processes", "2")) == one


@pytest.mark.slow
def test_lightning_logs_saves_and_resumes() -> None:
    said = run(IN_TURN, *(f"lightning_validation.py --devices {devices}" for devices in (1, 2)))
    both = [figures(part) for part in said.split("== ")[1:]]
    assert len(both) == 2
    for found in both:
        assert found["dna-emd"] == found["alone"] > 1
        assert found["dna-fd"] > 0


@pytest.mark.slow
def test_artefact_neurons_run_on_a_few_photographs(tmp_path: Path) -> None:
    """Which way is best, a few photographs can't say; the page says it of many."""
    for i, photo in enumerate(photographs(16)):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    command = [sys.executable, "artefact_neurons.py", "--data", str(tmp_path), "--seeds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240, cwd=EXAMPLES)
    rows = re.findall(r"^(.*?)  +((?:\d\.\d{3} *)+)$", done.stdout, re.MULTILINE)
    means = {name: float(figures.split()[-1]) for name, figures in rows}
    assert len(means) == 12
    assert all(0 < mean <= 1 for mean in means.values())


@pytest.mark.slow
def test_the_gan_loop(tmp_path: Path) -> None:
    run("gan_loop.py", "--num-images", "16", "--steps", "200", "-o", str(tmp_path / "gan.png"))
    with Image.open(tmp_path / "gan.png") as figure:
        assert figure.width > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("program", "page"), [("concept", "concepts"), ("significance", "significance")])
def test_the_pictures_of_a_page(program: str, page: str, tmp_path: Path) -> None:
    run(f"{program}_figures.py", "-o", str(tmp_path))
    text = (EXAMPLES.parent / f"{page}.md").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == set(re.findall(rf"\({page}/(\w+\.png)\)", text))
    for path in tmp_path.iterdir():
        with Image.open(path) as made, Image.open(EXAMPLES.parent / page / path.name) as kept:
            assert made.size == kept.size
            assert np.asarray(made.convert("L"), float).std() > 10
        assert path.stat().st_size < 150_000


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_spark_merges_partitions_to_the_dna_of_all(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark takes a Java virtual machine")
    import pyarrow as pa
    from pyarrow import parquet

    folder, output = GOLDEN / "endtoend" / "fd_a", tmp_path / "spark.dna.npz"
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    for name, some in (("a", contents[:9]), ("b", contents[9:])):
        parquet.write_table(pa.table({"image": some}), tmp_path / f"{name}.parquet")
    run("spark_parquet.py", str(tmp_path / "*.parquet"), str(output), timeout=180)
    assert load_dna(output).digest == make_dna(folder).digest
