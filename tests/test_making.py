"""DNA files of large sets: in parts, gone on with, shared among processes; the bytes are the same whichever way."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN
from networks import pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, HistogramDNA, LayerGaussianDNA, load_dna, make_dna
from torchmetrics_dna.making import make_files, output_paths
from torchmetrics_dna.measure import Loading

EXTRACTOR, RANGES = pixels()
KINDS = ("histogram", "gaussian", "layer-gaussian")
IMAGES = np.random.default_rng(0).integers(0, 256, (71, 6, 5, 3)).astype(np.uint8)


class StoppedError(Exception):
    """Ctrl-C, at a moment of the test's choice."""


def make(folder: Path, *, stop_after: int | None = None, images: object = IMAGES, **changes: object) -> dict[str, Path]:
    def progress(name: str, done: int, total: int) -> None:
        if stop_after is not None and done > stop_after:
            raise StoppedError

    arguments = {"kinds": KINDS, "num_bins": 40, "ranges": RANGES, "batch_size": 2} | changes
    loading = Loading(arguments.pop("batch_size"), 0, progress=progress, skip_unreadable=True)
    return make_files(
        images,
        folder / "x.dna.npz",
        changes.pop("extractor", EXTRACTOR),
        arguments["kinds"],
        arguments["num_bins"],
        arguments["ranges"],
        loading,
        resume=bool(changes.get("resume")),
        notes="made here",
    )[0]


@pytest.mark.parametrize("ranges", [RANGES, "auto"])
def test_parts_add_up_to_the_whole(ranges: object, tmp_path: Path) -> None:
    paths = make(tmp_path, ranges=ranges)
    assert {kind: path.name for kind, path in paths.items()} == {kind: f"x.{kind}.dna.npz" for kind in KINDS}
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())
    for kind, path in paths.items():
        whole = make_dna(IMAGES, EXTRACTOR, kind=kind, num_bins=40, ranges=ranges)
        made = load_dna(path)
        assert made.allclose(whole)
        assert made.notes == "made here"
        assert made.weights == EXTRACTOR.weights
    assert load_dna(paths["histogram"]).digest == make_dna(IMAGES, EXTRACTOR, num_bins=40, ranges=ranges).digest


@pytest.mark.parametrize("stop_after", [0, 1, 5, 30, 69])
def test_going_on_gives_the_same_bytes(stop_after: int, tmp_path: Path) -> None:
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    expected = make(tmp_path / "once")
    with pytest.raises(StoppedError):
        make(tmp_path / "twice", stop_after=stop_after)
    left = sorted(path.name for path in (tmp_path / "twice").iterdir())
    assert left == ([] if stop_after < 4 else ["x.dna.npz.parts"])  # parts are of two batches of two
    if left:
        with pytest.raises(ValueError, match=r"has \d+ finished parts of an interrupted run: go on .* --resume, or"):
            make(tmp_path / "twice")
    with pytest.raises(StoppedError):
        make(tmp_path / "twice", stop_after=1, resume=True)
    found = make(tmp_path / "twice", resume=True)
    for kind in KINDS:
        assert found[kind].read_bytes() == expected[kind].read_bytes()
    assert sorted((tmp_path / "twice").iterdir()) == sorted(found.values())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"num_bins": 20}, "settings"),
        ({"kinds": ["histogram"]}, "settings"),
        ({"ranges": "auto"}, "settings"),
        ({"batch_size": 4}, "batch sizes"),
        ({"images": IMAGES[:70]}, r"images \(digest of their names\)"),
    ],
)
def test_parts_of_another_job(changes: dict[str, object], what: str, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        make(tmp_path, stop_after=9)
    with pytest.raises(ValueError, match=rf"are of another job, whose {what} differ: .*delete that folder, or give"):
        make(tmp_path, resume=True, **changes)
    make(tmp_path, resume=True)


def test_images_that_can_not_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(9):
        Image.fromarray(IMAGES[i]).save(folder / f"{i}.png")
    (folder / "4.png").write_text("no picture")
    loading = Loading(2, 0, skip_unreadable=True)
    arguments = (tmp_path / "x.dna.npz", EXTRACTOR, ["histogram"], 40, RANGES)
    paths, unreadable = make_files(folder, *arguments, loading)
    assert unreadable == [f"Can't read image '{folder}/4.png': it is not an image file"]
    assert load_dna(paths["histogram"]).num_images == 8
    with pytest.raises(ValueError, match="Can't read image .*4.png"):
        make_files(folder, *arguments, Loading(2, 0))
    shutil.rmtree(tmp_path / "x.dna.npz.parts")
    for i in range(9):
        (folder / f"{i}.png").write_text("no picture")
    with pytest.raises(ValueError, match="None of the 9 images could be read"):
        make_files(folder, *arguments, loading)


def test_where_files_go(tmp_path: Path) -> None:
    assert output_paths(tmp_path / "x", ["gaussian"]) == {"gaussian": tmp_path / "x"}
    for name, expected in (("x.npz", "x.gaussian.npz"), ("x", "x.gaussian"), ("a.b.dna.npz", "a.b.gaussian.dna.npz")):
        assert output_paths(tmp_path / name, ["histogram", "gaussian"])["gaussian"] == tmp_path / expected
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere' to write 'x' to"):
        make_files(IMAGES, tmp_path / "nowhere" / "x", EXTRACTOR, ["histogram"], 40, RANGES, Loading())


def test_covariances_are_those_of_spatial_means() -> None:
    folder = GOLDEN / "endtoend" / "fd_a"
    extractor = DNAExtractor(layers=["block_0", "block_6"])
    dna = make_dna(folder, extractor, kind="layer-gaussian", batch_size=7)
    assert isinstance(dna, LayerGaussianDNA)
    from torchmetrics_dna.images import open_source
    from torchmetrics_dna.images.loader import load_batches

    # in the same batches, since convolutions round otherwise in others
    batches = load_batches(open_source(folder), extractor.input_size, batch_size=7)
    found = [extractor(batch.images) for batch in batches]
    for layer in extractor.neurons:
        means = torch.cat([values[layer].double().mean((2, 3)) for values in found]).numpy()
        np.testing.assert_allclose(dna.cov[layer], np.cov(means.T), rtol=1e-6, atol=1e-9)
    assert dna.to_gaussian().allclose(make_dna(folder, extractor, kind="gaussian", batch_size=7), rtol=1e-9, atol=1e-9)
    assert isinstance(make_dna(folder, extractor), HistogramDNA)
