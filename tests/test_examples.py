"""The examples of the documents, as a reader runs them: several processes give the value of one."""

from __future__ import annotations

import os
import re
import runpy
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import in_processes, torchrun
from limits import HANG
from PIL import Image, ImageFilter
from torch.optim.swa_utils import AveragedModel

from torchmetrics_dna import DNAEMD, Checkpoints, DNAExtractor, compare, load_dna
from torchmetrics_dna.demo import blur, photographs

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PAGE = EXAMPLES.parent / "which_extractor.md"  # which holds what what_it_sees.py wrote
IN_TURN = Path(__file__).parent / "helpers" / "in_turn.py"


def run_script(path: Path) -> None:
    """Run a program with its folder on the import path."""
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def figures(output: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(dna-\w+|alone) (\S+)$", output, re.MULTILINE)}


def run(*command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.run(
        [sys.executable, *command],
        capture_output=True, text=True, check=False, timeout=HANG, cwd=EXAMPLES, env=environment,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


@pytest.mark.outer
@pytest.mark.usefixtures("one_thread")
def test_plain_pytorch_accelerate_and_ignite_over_two_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(EXAMPLES / "ddp_pytorch.py")
    single = figures(capsys.readouterr().out)
    assert single["dna-emd"] > 1
    assert figures(torchrun(script=EXAMPLES / "ddp_pytorch.py").stdout) == single
    for name in ("accelerate_loop", "ignite_evaluator"):
        result = in_processes(tmp_path, program=partial(run_script, EXAMPLES / f"{name}.py"))
        assert figures(result.stdout) == single, result.stderr


@pytest.mark.outer
@pytest.mark.usefixtures("one_thread")
def test_real_images_are_added_once(capsys: pytest.CaptureFixture[str]) -> None:
    path = EXAMPLES / "real_images_once.py"
    run_script(path)
    single = capsys.readouterr().out
    assert torchrun(script=path).stdout == single
    distances = [float(distance) for distance in re.findall(r"^epoch \d: dna-emd (\S+)$", single, re.MULTILINE)]
    photos = torch.from_numpy(np.stack(photographs(24))).movedim(3, 1)
    for gain, distance in zip((0.3, 0.6, 0.9), distances, strict=True):
        fresh = DNAEMD(layers=["block_0"])
        fresh.update(photos[:12], real=True)
        fresh.update((gain * photos[12:]).byte(), real=False)
        assert distance == float(fresh.compute())


@pytest.mark.outer
def test_averaged_weights_have_a_metric_of_their_own() -> None:
    """Both metrics give the value of a metric outside the model."""
    example = runpy.run_path(str(EXAMPLES / "ema_weights.py"), run_name="ema_weights")
    averaged: list[AveragedModel] = []

    def recorded(*arguments: Any, **options: Any) -> AveragedModel:
        averaged.append(AveragedModel(*arguments, **options))
        return averaged[-1]

    example["train"].__globals__["AveragedModel"] = recorded
    torch.manual_seed(0)
    photos = torch.from_numpy(np.stack([photo[::4, ::4] for photo in photographs(16)])).movedim(3, 1) / 255
    noise = torch.rand_like(photos)
    model = example["Diffusion"](photos)
    distances = example["train"](model, photos, noise)
    assert distances["weights"] != distances["averaged weights"]
    for name, network in (("weights", model), ("averaged weights", averaged[0].module)):
        assert all(key.startswith("denoiser.") for key in network.state_dict())
        outside = DNAEMD(layers=["block_0"], normalize=True)
        outside.update(photos, real=True)
        outside.update(network.sample(noise), real=False)
        assert distances[name] == float(outside.compute())


@pytest.mark.outer
@pytest.mark.usefixtures("one_thread")
def test_lightning_stops_and_resumes_over_two_processes(tmp_path: Path) -> None:
    command = ("lightning_early_stopping.py", "--devices", "2", "--folder", str(tmp_path))
    assert "epochs 3" in run(*command, "--epochs", "3")
    dna = tmp_path / "dna"
    reference = load_dna(dna / "reference.dna.npz")
    assert [path.name for path in sorted(dna.glob("step_*"))] == [f"step_{step:06}.dna.npz" for step in (3, 6, 9)]
    first = load_dna(dna / "step_000003.dna.npz").digest

    assert "epochs 7" in run(*command)
    checkpoints = Checkpoints(reference, dna, layers=["block_0"])
    names = [f"step_{step:06}" for step in range(3, 24, 3)]
    assert list(checkpoints.comparisons) == names
    # Training stops three epochs after the last improvement.
    assert checkpoints.improvement.name == names[-4]
    assert load_dna(dna / "step_000003.dna.npz").digest == first

    # One process counts the same activations for the last checkpoint.
    photos = torch.from_numpy(np.stack([photo[::2, ::2] for photo in photographs(48)])).movedim(3, 1) / 255
    saved = torch.load(tmp_path / "last" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 21
    generated = (saved["state_dict"]["gain"] * photos[24:]).clamp(0, 1)
    metric = DNAEMD(layers=["block_0"], normalize=True, reference=reference)
    metric.update(generated, real=False)
    assert metric.to_dna(real=False).digest == load_dna(dna / f"{names[-1]}.dna.npz").digest
    assert float(metric.compute()) == pytest.approx(checkpoints.comparisons[names[-1]]["dna-emd"].value, rel=1e-6)


@pytest.mark.outer
def test_lightning_logs_saves_and_resumes_over_two_processes() -> None:
    output = run("lightning_validation.py", "--devices", "2")
    values = figures(output)
    assert values["dna-emd"] == values["alone"] > 1
    assert values["dna-callback"] == pytest.approx(
        values["alone"], rel=1e-5
    )  # whose photographs were resized as files are
    assert values["dna-fd"] > 0
    assert re.findall(r"^step_(\d+),12,", output, re.MULTILINE) == ["000003", "000006", "000009"]


LOGGERS = """
import os, runpy, sys
examples, out = os.getcwd(), sys.argv[1]
sys.path.insert(0, examples)
for logger in ("tensorboard", "wandb", "mlflow"):
    main = runpy.run_path(os.path.join(examples, f"{logger}_logging.py"))["main"]
    os.makedirs(os.path.join(out, logger))
    os.chdir(os.path.join(out, logger))
    main(steps=(5, 40), count=16)
"""
OFFLINE = {
    "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # for mlflow-skinny; MLflow itself brings a database
}  # fmt: skip


@pytest.mark.outer
def test_loggers_keep_figures_plots_and_artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, since imports take most of the time; few photographs and steps can't say more."""
    store = (tmp_path / "mlruns").as_uri()
    for name, value in {**OFFLINE, "MLFLOW_TRACKING_URI": store, "WANDB_DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    run("-c", LOGGERS, str(tmp_path))
    check_what_was_logged(tmp_path)


@pytest.mark.outer  # tests/test_plugins.py has such a plugin, installed
def test_records_of_a_plugin_are_taken_by_name() -> None:
    value, has_its_neurons = run("plugin.py").split()
    assert 0 < float(value) < 1
    assert has_its_neurons == "True"


@pytest.mark.outer
def test_sets_may_be_generators_of_a_pipelines_output() -> None:
    assert "guidance" in run("diffusers_guidance.py")


@pytest.mark.outer
def test_programs_of_figures_and_tables(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, photo in enumerate(photographs(16)):
        Image.fromarray(photo).save(photos / f"{i}.png")
    commands = (
        f"gan_loop.py --num-images 16 --steps 20 -o {tmp_path}/gan.png",
        f"artefact_neurons.py --data {photos} --seeds 0",
        "scale_of_distances.py --images 4 --seeds 0",
        f"diffusion_guidance.py --images 12 --steps 2 --scales 2 -o {tmp_path}/guidance.png",
        f"what_it_sees.py test_resnet:random --images 12 --draws 1 --strengths 1 3 --page {tmp_path}/page.md",
    )
    (tmp_path / "page.md").write_text("<!-- what it sees --><!-- end of what it sees -->", encoding="utf-8")
    output, _, tables = run(str(IN_TURN), *commands).partition("== scale_of_distances.py")
    output = output.partition("== artefact_neurons.py")[2]
    for name in ("gan", "guidance"):
        with Image.open(tmp_path / f"{name}.png") as figure:
            assert figure.width >= 900
    written, committed = (path.read_text(encoding="utf-8") for path in (tmp_path / "page.md", PAGE))
    changes = re.findall(r"^\| (.+?) \| [01] of 1 \|$", written, re.MULTILINE)
    assert len(changes) == 9
    assert changes == re.findall(r"^\| (.+?) \| \d+ of", committed, re.MULTILINE)
    rows = re.findall(r"^(.*?)  +((?:\d\.\d{3} *)+)$", output, re.MULTILINE)
    means = {name: float(figures.split()[-1]) for name, figures in rows}
    assert len(means) == 12
    assert all(0 < mean <= 1 for mean in means.values())
    check_table(tables.partition("== diffusion_guidance.py")[0])


@pytest.mark.outer
def test_reference_values_are_those_of_compare(tmp_path: Path) -> None:
    photos = photographs(16)
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / f"{i:02}.png")
    commands = (f"reference_values.py {tmp_path} --images 8 --draws 2", "reference_values.py --images 4 --draws 1")
    output = run(str(IN_TURN), *commands)
    of_folder, of_packages = output.split("== ")[1:]
    order = np.random.default_rng(0).permutation(16)
    a = [photos[i] for i in order[:8]]
    b = [np.asarray(Image.fromarray(photos[i]).filter(ImageFilter.GaussianBlur(1))) for i in order[8:]]
    comparison = compare(a, b, metrics=["dna-emd", "dna-fd"])
    expected = []
    for metric in ("dna-emd", "dna-fd"):
        interval = comparison[metric].interval
        expected += [f"{interval.value:.3g}", interval.ends]
    (row,) = re.findall(r"^\| blurred by 1 px \| (.+) \|$", of_folder, re.MULTILINE)
    cells = row.split(" | ")
    assert [*cells[:2], *cells[3:5]] == expected
    for distance, extent in ((cells[0], cells[2]), (cells[3], cells[5])):
        low, high = extent.split(" to ")
        assert distance in (low, high)
    page = (EXAMPLES.parent / "numbers.md").read_text(encoding="utf-8").partition("### Known changes")[2]
    for images in ("photographs", "digits"):
        _, _, table = of_packages.partition(f"\n{images}: 4 images per set\n")
        # Sets of four images have no interval.
        rows = re.findall(r"^\| ([^|]+) \| - \|", table, re.MULTILINE)[:4]
        assert rows == re.findall(rf"^\| {images} \| ([^|]+) \| [\d.]", page, re.MULTILINE)


@pytest.mark.outer
def test_reports_of_the_first_page(tmp_path: Path) -> None:
    program = EXAMPLES.parent / "live_reports.py"
    run(str(program), str(tmp_path), "--digits", "12", "--photos", "12", "--length", "40")
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "reports").iterdir()}
    assert pages.keys() == {"copies", "gan", "odd", "steps"}
    for name in ("copies", "gan", "odd"):
        assert f"-o {name}.html" in pages[name]
        assert "<img" in pages[name]
    assert "step_12800" in pages["steps"]


def check_table(scale: str) -> None:
    """It has the rows of its page, and digits are further from photographs than photographs are."""
    text = (EXAMPLES.parent / "numbers.md").read_text(encoding="utf-8")
    head = re.findall(r"^\| [^|]+ \|", scale, re.MULTILINE)[0]  # the page has fewer columns
    rows = re.findall(r"^\| ([^|]+) \| +[\d.]", scale, re.MULTILINE)
    committed = re.findall(r"^\| ([^|]+) \| +[\d.]", text.partition(head)[2], re.MULTILINE)
    assert [row for row in committed if row in rows] == rows
    values = {name: float(value) for name, value in re.findall(r"^\| (.+?) \| ([\d.]+)", scale, re.MULTILINE)}
    assert len(values) == 11
    assert max(values, key=values.__getitem__) == "digits"


def check_what_was_logged(folder: Path) -> None:
    for name, read in {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow}.items():
        figures, plots, artefacts = read(folder)
        assert figures.keys() == {5, 40}
        for step, scalars in figures.items():
            dnas = (folder / name / "dna" / f"{side}.dna.npz" for side in ("reference", f"step_{step:06}"))
            assert scalars == pytest.approx(compare(*dnas).scalars(), rel=1e-6)
            assert {"dna/dna_emd", "dna/dna_emd_debiased", "dna/block_0/dna_emd"} <= scalars.keys()
        assert {"layers", "curve"} <= plots
        assert "report" in artefacts


def of_tensorboard(folder: Path) -> tuple[dict[int, dict[str, float]], set[str], str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / "runs")).Reload()
    figures: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            figures.setdefault(event.step, {})[name] = event.value
    (report,) = events.Tensors("dna/report/text_summary")
    assert b"dna-emd" in report.tensor_proto.string_val[0]
    assert "dna/worst" in events.Tags()["images"]
    return figures, {name.removeprefix("dna/") for name in events.Tags()["images"]}, "report"


def of_wandb(folder: Path) -> tuple[dict[int, dict[str, float]], set[str], str]:
    """From the file of an offline run: records in the format of LevelDB's log, each in one piece."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/wandb/offline-run-*/*.wandb")
    rest, figures, artefacts = path.read_bytes()[7:], {}, ""
    assert len(rest) < 32_768, "of one block, so that no record is in pieces"
    while len(rest) > 7:
        _, size, piece = struct.unpack("<IHB", rest[:7])
        assert piece == 1
        record, rest = Record.FromString(rest[7 : 7 + size]), rest[7 + size :]
        items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        if items:
            figures[int(items["_step"])] = {
                name: float(value) for name, value in items.items() if re.search("_(emd|debiased|p_value)$", name)
            }
        artefacts += " ".join(entry.path for entry in record.artifact.manifest.contents)
    plots = {image.name.split("_")[0] for image in path.parent.glob("files/media/images/dna/*.png")}
    return figures, plots, artefacts


def of_mlflow(folder: Path) -> tuple[dict[int, dict[str, float]], set[str], str]:
    from mlflow import MlflowClient

    client = MlflowClient((folder / "mlruns").as_uri())
    (run,) = client.search_runs(["0"])
    figures: dict[int, dict[str, float]] = {}
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            figures.setdefault(metric.step, {})[name] = metric.value
    paths = [file.path for place in ("", "dna") for file in client.list_artifacts(run.info.run_id, place)]
    return figures, {Path(path).stem for path in paths}, " ".join(paths)


@pytest.mark.outer
@pytest.mark.parametrize(("program", "page"), [("concept", "concepts")])
def test_the_pictures_of_a_page(program: str, page: str, tmp_path: Path) -> None:
    run(f"{program}_figures.py", "-o", str(tmp_path))
    text = (EXAMPLES.parent / f"{page}.md").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == set(re.findall(rf"\({page}/(\w+\.png)\)", text))
    for path in tmp_path.iterdir():
        with Image.open(path) as drawn, Image.open(EXAMPLES.parent / page / path.name) as committed:
            assert drawn.size == committed.size
            assert np.asarray(drawn.convert("L"), float).std() > 10
        assert path.stat().st_size < 150_000


@pytest.mark.outer
def test_a_single_wrong_choice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [np.ascontiguousarray(photo[:120]) for photo in photographs(16)]
    reference, samples = photos[:8], [blur(photo, 1) for photo in photos[8:]]
    nearest = [
        [np.array(Image.fromarray(photo).resize((224, 224), Image.Resampling.NEAREST)) for photo in side]
        for side in (reference, samples)
    ]
    hidden = {
        "as the protocol says": compare(reference, samples, metrics=["dna-fd"], num_folds=None),
        "images are resized by Pillow, nearest": compare(*nearest, metrics=["dna-fd"], num_folds=None),
        "images are cut to their central square": compare(
            reference, samples, DNAExtractor(crop="center"), metrics=["dna-fd"], num_folds=None
        ),
    }
    example = runpy.run_path(str(EXAMPLES / "reconcile.py"), run_name="reconcile")
    sides = [list(map(Image.fromarray, side)) for side in (samples, reference)]
    values = {name: example["value_of"]("dna-fd", name, *sides) for name in example["CHOICES"]}
    for name, result in hidden.items():
        claim = f"{result['dna-fd'].value:.5f}"
        assert [choice for choice, own in values.items() if example["explains"](own, claim)] == [name]
    claimed = f"{values['the network runs in bfloat16']:.5f}"

    for folder, side in zip(("samples", "photos"), sides, strict=True):
        (tmp_path / folder).mkdir()
        for i, picture in enumerate(side):
            picture.save(tmp_path / folder / f"{i}.png")
    arguments = [tmp_path / "samples", tmp_path / "photos", "--metric", "dna-fd", "--claimed", claimed]
    monkeypatch.setattr(sys, "argv", ["reconcile.py", *map(str, arguments)])
    example["main"]()
    assert capsys.readouterr().out.endswith("runs in bfloat16\n")
