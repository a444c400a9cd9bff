"""Checkpoints of a training: figures are those of single comparisons, and a resumed training goes on."""

from __future__ import annotations

import csv
import gc
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from filelock import Timeout
from interrupts import interrupted
from makers import REAL
from networks import Pixels
from PIL import Image
from processes import run
from shards import CROWD, CROWD_FAKE

from torchmetrics_dna import (
    Checkpoints,
    DNAExtractor,
    compare,
    load_dna,
    make_dna,
)
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.files.atomic import file_lock
from torchmetrics_dna.images import Reading

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 100}
PHOTOS = np.stack([photo[::4, ::4] for photo in photographs(40)])
REFERENCE, OTHERS = PHOTOS[::2], PHOTOS[1::2]
DARK = OTHERS // 3


def fresh(folder: Path, reference: Any = REFERENCE, **options: Any) -> Checkpoints:
    return Checkpoints(reference, folder, EXTRACTOR, **OPTIONS | options)


def unread() -> Iterator[np.ndarray]:
    raise AssertionError("the reference is measured but once")
    yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = fresh(folder, distributed=True)  # as the same script calls it in several processes
    checkpoints.add(500, DARK)
    checkpoints.add(1000, OTHERS)
    return folder


def test_held_out_images_are_kept_and_told(tmp_path: Path) -> None:
    checkpoints = fresh(tmp_path, held_out=OTHERS)
    added = checkpoints.add(100, DARK)
    assert added.names == ("the reference", "step_000100")
    assert added.explain().differs
    assert added.verdict.startswith("step_000100 ")
    comparisons = fresh(tmp_path, unread()).comparisons  # which finds them in the folder
    assert comparisons["step_000100"].names == added.names
    ratio = comparisons.ratios()["step_000100"]
    shown = ratio.low if ratio.value is None else ratio.value
    assert f"{shown:.2g} times" in comparisons.verdict
    by_network = DNAExtractor(Pixels(), input_size=8, properties=False)
    sets = {"step_000100": DARK, "held-out": OTHERS}
    expected = compare(REFERENCE, sets, by_network, held_out="held-out", **OPTIONS)
    assert comparisons.ratios() == expected.ratios()
    assert comparisons.best == "step_000100"
    assert comparisons.positions == [100]
    rows = list(csv.DictReader((tmp_path / "checkpoints.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["set"] for row in rows] == ["step_000100", "held-out"]
    assert float(rows[0]["dna_emd_x_held_out_low"]) == pytest.approx(expected.ratios()["step_000100"].low)
    assert fresh(tmp_path, held_out=OTHERS).held_out.num_images == len(OTHERS)
    for held_out in (DARK, make_dna(DARK, EXTRACTOR, **OPTIONS)):
        with pytest.raises(ValueError, match="Another held-out set is in '.*held_out.dna.npz': of 20 images"):
            fresh(tmp_path, held_out=held_out)


def test_figures_and_files(trained: Path) -> None:
    reference = make_dna(REFERENCE, EXTRACTOR, num_folds=20, **OPTIONS)
    sets = {"step_000500": DARK, "step_001000": OTHERS}
    dnas = {name: make_dna(item, EXTRACTOR, num_folds=20, **OPTIONS) for name, item in sets.items()}
    expected = compare(reference, dnas)
    comparisons = fresh(trained, unread()).comparisons
    assert comparisons.rows() == expected.rows()
    assert [item.scalars() for item in comparisons.values()] == [item.scalars() for item in expected.values()]
    assert (comparisons.best, comparisons.positions) == ("step_001000", [500, 1000])
    files = {"reference": reference, **dnas}
    assert {path.name for path in trained.iterdir()} == {f"{name}.dna.npz" for name in files} | {
        "checkpoints.csv", "curve.png",
    }  # fmt: skip
    for name, dna in files.items():
        loaded = load_dna(trained / f"{name}.dna.npz")
        assert (loaded.digest, [f.digest for f in loaded.folds]) == (dna.digest, [f.digest for f in dna.folds])
    with (trained / "checkpoints.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["set"] for row in rows] == list(dnas)
    assert float(rows[0]["dna_emd"]) == pytest.approx(comparisons["step_000500"]["dna-emd"].value)
    with Image.open(trained / "curve.png") as curve:
        assert np.asarray(curve.convert("L"), float).std() > 10


def test_each_file_is_compared_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []

    def counted(*sides: Any) -> Any:
        compared.append(sides)
        return compare(*sides)

    monkeypatch.setattr("torchmetrics_dna.loops.checkpoints.compare", counted)
    checkpoints = fresh(trained, unread())
    assert checkpoints.comparisons.rows() == checkpoints.comparisons.rows()
    assert len(compared) == 2


def test_resumed_out_of_order_and_replaced(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "resumed"
    folder.mkdir()
    for path in trained.glob("*.dna.npz"):
        (folder / path.name).write_bytes(path.read_bytes())
    resumed = fresh(folder, load_dna(trained / "reference.dna.npz"))
    assert resumed.add(2_000_000, DARK).scalars() == resumed.comparisons["step_000500"].scalars()
    resumed.add(700, OTHERS)
    assert list(resumed.comparisons) == ["step_000500", "step_000700", "step_001000", "step_2000000"]
    resumed.add(500, OTHERS)
    assert resumed.comparisons.best == "step_000500"
    (folder / "step_000700.dna.npz").unlink()
    assert "step_000700" not in resumed.comparisons


def test_images_in_any_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without matplotlib, which draws the curve alone; images/test_kinds.py has all forms."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    checkpoints = fresh(tmp_path)
    forms = (
        iter(torch.from_numpy(OTHERS).movedim(-1, 1).split(6)),
        SimpleNamespace(images=[*map(Image.fromarray, OTHERS)]),  # as pipelines of diffusers give them
        make_dna(OTHERS, EXTRACTOR, num_folds=20, **OPTIONS),
    )
    scalars = [checkpoints.add(step, images).scalars() for step, images in enumerate(forms)]
    assert scalars == [scalars[0]] * len(forms)
    assert not list(tmp_path.glob("*.png"))


def test_a_reference_with_images_left_out_is_known_by_its_pixels(tmp_path: Path) -> None:
    folder, reading = tmp_path / "images", Reading(skip_unreadable=True)
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no image")
    for i, image in enumerate(REFERENCE):
        Image.fromarray(image).save(folder / f"{i}.png")
    with pytest.warns(UserWarning, match=r"broken\.png"):
        fresh(tmp_path / "run", folder, reading=reading)
    assert fresh(tmp_path / "run", folder, reading=reading).reference.num_images == len(REFERENCE)


def test_other_kinds_and_no_folds(tmp_path: Path) -> None:
    checkpoints = fresh(
        tmp_path, make_dna(REFERENCE, EXTRACTOR, kind="gaussian"), num_folds=None, ranges=None, num_bins=None
    )
    comparison = checkpoints.add(0, OTHERS)
    assert comparison.scalars("x/") == {
        "x/dna_fd": comparison["dna-fd"].value,
        **{f"x/{layer}/dna_fd": comparison["dna-fd"].layers[layer].value for layer in EXTRACTOR.neurons},
    }


def test_mistakes_are_told_before_any_state_changes(trained: Path, tmp_path: Path) -> None:
    dna = make_dna(OTHERS, EXTRACTOR, **OPTIONS)
    for options, error, message in (
        ({"reference": REFERENCE[:19]}, ValueError, "of 20 images, .*but got 19 images, .*; choose another folder"),
        ({"reference": OTHERS}, ValueError, "Another reference is in .*: of 20 images, pixels .{16}, but got 20"),
        (
            {"reference": [*REFERENCE[:1], *OTHERS[1:20]]},
            ValueError,
            "Another reference is in .*: of 20 images, pixels",
        ),
        ({"reference": REFERENCE[::-1] // 2}, ValueError, "Another reference is in .*: of 20 images"),
        ({"reference": dna}, ValueError, "of 20 images, digest .{16}, but got 20 images, digest .{16}; choose another"),
        ({"num_bins": 50}, ValueError, "Argument `num_bins` is 50, but the given DNA has 100 bins"),
        ({"batchsize": 3}, TypeError, "got an unexpected keyword argument 'batchsize'"),
    ):
        with pytest.raises(error, match=message):
            fresh(trained, **options)
    checkpoints = fresh(tmp_path)
    with pytest.raises(ValueError, match="There are no checkpoints in .* yet"):
        _ = checkpoints.comparisons
    for step in (-1, 1.5):
        with pytest.raises(ValueError, match="Argument `step` expected to be an integer"):
            checkpoints.add(step, OTHERS)
    with pytest.raises(ValueError, match="their numbers of bins differ"):
        checkpoints.add(1, make_dna(OTHERS, EXTRACTOR, ranges="auto", num_bins=50))
    with pytest.raises(ValueError, match="There are no images in 'list of images'"):
        checkpoints.add(1, [])
    assert [path.name for path in tmp_path.glob("*.npz")] == ["reference.dna.npz"]


def is_locked(folder: Path) -> bool:
    """Whether another run would find the folder in use."""
    lock = file_lock(folder / ".lock")
    try:
        lock.acquire()
    except Timeout:
        return True
    (folder / ".lock").unlink()
    lock.release()
    return False


def test_the_later_of_two_objects_has_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fresh(tmp_path, num_folds=None)
    first.add(1, DARK)
    second = fresh(tmp_path, num_folds=None)
    second.add(2, DARK)
    with pytest.raises(ValueError, match="A later Checkpoints of this process has taken over"):
        first.add(3, DARK)
    del first
    gc.collect()
    assert is_locked(tmp_path)
    monkeypatch.setattr("torchmetrics_dna.loops.checkpoints._OWNERS", {})  # as in another process
    with pytest.raises(ValueError, match="^Another run adds checkpoints to '.*'$"):
        fresh(tmp_path, num_folds=None).add(3, DARK)
    del second
    gc.collect()
    assert not is_locked(tmp_path)
    assert not (tmp_path / ".lock").exists()


@pytest.mark.outer
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # which an interrupt keeps from its `with`
@pytest.mark.parametrize("takes_over", [False, True])
def test_interrupted_anywhere_it_can_be_called_again(
    takes_over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    folders, saved = (tmp_path / f"run {i}" for i in count()), tmp_path / "saved"
    folder = saved
    images = [make_dna(each[:4], EXTRACTOR, **OPTIONS) for each in (REFERENCE, DARK, OTHERS)]
    fresh(saved, images[0], num_folds=None).add(1, images[1])
    expected = load_dna(saved / "step_000001.dna.npz").digest, images[2].digest
    checkpoints: list[Checkpoints] = []

    def again() -> Callable[[], object]:
        nonlocal folder
        checkpoints.clear()
        folder = shutil.copytree(saved, next(folders), ignore=shutil.ignore_patterns(".lock"))
        checkpoints.extend(fresh(folder, images[0], num_folds=None) for _ in range(1 + takes_over))
        if takes_over:
            checkpoints[0].add(5, images[1])
        return partial(checkpoints[-1].add, 1, images[2])

    for place in interrupted(again, "loops/checkpoints", "files/atomic", "files/locks"):
        step = folder / "step_000001.dna.npz"
        assert load_dna(step).digest in expected, place
        assert checkpoints[-1].comparisons["step_000001"].scalars() == compare(images[0], step).scalars(), place
        assert not takes_over or is_locked(folder), place
        checkpoints[-1].add(1, images[2])
        assert load_dna(step).digest == expected[1], place
        assert {path.name for path in folder.iterdir()} - {"step_000005.dna.npz"} == {
            ".lock", "checkpoints.csv", "reference.dna.npz", "step_000001.dna.npz",
        }, place  # fmt: skip
        del checkpoints[0]
        gc.collect()
        assert is_locked(folder) == takes_over, place


@pytest.mark.outer
def test_a_folder_is_of_one_run(tmp_path: Path) -> None:
    first = fresh(tmp_path)
    first.add(1, DARK)
    code = "import sys; sys.path[:0] = sys.argv[2:]; import test_checkpoints as t; c = t.fresh(t.Path(sys.argv[1]));"
    code += "print(len(c.comparisons)); c.add(2, t.OTHERS)"
    arguments = [tmp_path, Path(__file__).parent, Path(__file__).parents[1] / "helpers"]
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert process.stdout == "1\n", process.stderr  # which may well be read
    assert f"Another run adds checkpoints to {str(tmp_path)!r}" in process.stderr
    del first
    other = fresh(tmp_path / "other", OTHERS)
    (tmp_path / "other" / "reference.dna.npz").write_bytes((tmp_path / "reference.dna.npz").read_bytes())
    with pytest.raises(ValueError, match="Another reference is in"):
        other.add(1, DARK)


def test_files_that_are_no_checkpoints_are_left_out(tmp_path: Path) -> None:
    checkpoints = fresh(tmp_path)
    checkpoints.add(4, DARK)
    path = tmp_path / "step_000004.dna.npz"
    (tmp_path / "step_4.dna.npz").write_bytes(path.read_bytes())
    path.rename(tmp_path / "step_0000005.dna.npz")
    with pytest.raises(ValueError, match="There are no checkpoints"):
        _ = checkpoints.comparisons
    (tmp_path / "step_000003.dna.npz").write_bytes(b"damaged")
    make_dna(OTHERS, EXTRACTOR, ranges="auto", num_bins=50).save(tmp_path / "step_000002.dna.npz")
    with pytest.warns(UserWarning, match="is left out: ") as warnings:
        checkpoints.add(6, OTHERS)
    assert [path for path in ("step_000002", "step_000003") if not any(path in str(w.message) for w in warnings)] == []
    with pytest.warns(UserWarning, match="is left out: "):
        assert list(checkpoints.comparisons) == ["step_000006"]


def share_checkpoints(rank: int, world: int, folder: Path) -> None:
    """Each process gives images of its own, or none; figures and files are those of one process."""
    with pytest.raises(ValueError, match="This is process 1 of 2.*; pass distributed=True") if rank else nullcontext():
        Checkpoints(REAL, folder / "alone", EXTRACTOR)  # process 0 may well do it by itself
    checkpoints = Checkpoints(CROWD, folder if rank == 0 else "not asked", EXTRACTOR, num_bins=20, distributed=True)
    dnas = [make_dna(images, EXTRACTOR, num_bins=20, num_folds=20) for images in (CROWD, CROWD_FAKE)]
    for step, own in ((500, CROWD_FAKE[rank::world]), (1000, CROWD_FAKE if rank else CROWD_FAKE[:0])):
        assert checkpoints.add(step, own).scalars() == compare(*dnas).scalars()
        assert list(checkpoints.comparisons)[-1] == f"step_{step:06}"
    # Both steps have the same images.
    expected = {"dna/last_improvement": 500, "dna/newest_p_value": 1}
    assert checkpoints.improvement.scalars() == pytest.approx(expected, rel=1e-9)
    for name, dna in zip(("reference", "step_000500", "step_001000"), (*dnas, dnas[1]), strict=True):
        assert load_dna(folder / f"{name}.dna.npz").digest == dna.digest
    with pytest.raises(ValueError, match="There are no images in"):
        checkpoints.add(2000, CROWD[:0])


@pytest.mark.outer
def test_processes_add_images_of_their_own(tmp_path: Path) -> None:
    run(2, share_checkpoints, tmp_path / "shared")
