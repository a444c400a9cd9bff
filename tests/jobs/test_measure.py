"""One pass over image sets: ranges, and parts of batches; what else is measured is tested where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from makers import EXTRACTOR, FAKE, RANGES, REAL
from networks import Pixels
from PIL import Image
from processes import run
from shards import MANY

from torchmetrics_dna import ActivationRanges, DNAExtractor
from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.make import measure_ranges


def test_ranges_of_several_sources_are_those_of_all_images() -> None:
    images = torch.cat([REAL // 2, FAKE + 128])
    expected = ActivationRanges.observe(EXTRACTOR(images))
    for reading in (Reading(), Reading(batch_size=2)):
        measured = measure_ranges([REAL // 2, FAKE + 128], EXTRACTOR, "widen", reading=reading)
        assert measured.ranges.digest == expected.digest
        assert (measured.num_images, measured.unreadable) == (11, [])
    scaled = measure_ranges([images], EXTRACTOR, "scale").ranges
    assert scaled.margin == "scale"
    assert torch.equal(scaled.maximum, expected.maximum)


def test_earlier_ranges_are_joined() -> None:
    earlier = measure_ranges([REAL // 2], EXTRACTOR, "widen").ranges
    expected = measure_ranges([REAL // 2, FAKE + 128], EXTRACTOR, "widen").ranges
    joined = measure_ranges([earlier, FAKE + 128], EXTRACTOR, "widen")
    assert (joined.ranges.digest, joined.num_images) == (expected.digest, 5)
    assert measure_ranges([earlier], EXTRACTOR, "widen").ranges.digest == earlier.digest
    selected = measure_ranges([RANGES], DNAExtractor(Pixels(), layers=["mean"]), "widen").ranges
    assert selected.digest == RANGES.select(["mean"]).digest


def test_mistakes_are_told_before_any_work() -> None:
    calls: list[str] = []
    reading = Reading(progress=lambda source, done, total: calls.append(source))
    for sources, margin, error, message in (
        ([REAL, RANGES], "scale", ValueError, "Can't unite ranges with margin 'scale' and margin 'widen'"),
        ([REAL, RANGES.select(["mean"])], "widen", ValueError, "no layer 'colours'"),
        ([REAL, "nowhere"], "widen", FileNotFoundError, "There is no file or folder 'nowhere'"),
        ([REAL], "auto", ValueError, r"expected to be one of 'scale', 'widen', but got 'auto'"),
        ([], "widen", RuntimeError, "At least one image is required"),
    ):
        with pytest.raises(error, match=message):
            measure_ranges(sources, EXTRACTOR, margin, reading=reading)
    assert calls == []


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Three files, the middle one no picture."""
    for i in range(3):
        Image.new("RGB", (9, 9), (20 * i, 0, 200)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_text("no picture")
    return tmp_path


def test_a_single_image_that_can_not_be_read(broken: Path) -> None:
    with pytest.raises(ValueError, match="The only image could not be read: "):
        measure_ranges([broken / "1.png"], EXTRACTOR, "widen", reading=Reading(skip_unreadable=True))


def share_sources(rank: int, world: int, folder: str) -> None:
    """The images of several sources are shared, also where there are fewer than processes."""
    for sources in ([MANY, FAKE + 128], [MANY[:1]], [MANY, RANGES]):
        single = measure_ranges(sources, EXTRACTOR, "widen")
        shared = measure_ranges(sources, EXTRACTOR, "widen", reading=Reading(batch_size=2), distributed=True)
        assert shared.ranges.digest == single.ranges.digest
        assert shared.num_images == single.num_images
    skipping = {"reading": Reading(skip_unreadable=True), "distributed": True}
    measured = measure_ranges([folder], DNAExtractor(Pixels(), input_size=8), "widen", **skipping)
    assert measured.num_images == 2
    (line,) = measured.unreadable
    assert repr(str(Path(folder, "1.png"))) in line
    with pytest.raises(ValueError, match=r"^rank 1: .*1\.png': it is not an image file"):
        measure_ranges([folder], EXTRACTOR, "widen", distributed=True)


def test_processes_share_the_images(broken: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(2, share_sources, str(broken))
