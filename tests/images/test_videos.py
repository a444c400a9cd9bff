"""Videos give all of their frames, or an error; nothing else is read as one."""

from __future__ import annotations

import re
import tracemalloc
from fractions import Fraction
from pathlib import Path

import kinds
import numpy as np
import pytest
import torch
from kinds import PIXELS

from torchmetrics_dna.images import ImageStream, Reading, open_source
from torchmetrics_dna.images.loader import load_batches

FRAMES = np.tile(np.kron(PIXELS[:8], np.ones((3, 3, 1), np.uint8)), (3, 1, 1, 1))  # 24
LENGTH = "its frames end after .* of 2.00 seconds; it has been cut off, copy it anew"
DAMAGED = "its next frame is damaged; copy it anew"
# codec, and what is said of one that was cut off, where anything can be read of it
VIDEOS = {
    "x.mp4": ("mpeg4", {"movflags": "faststart"}, DAMAGED),
    "x.mov": ("libx264", {"movflags": "faststart"}, DAMAGED),
    "x.avi": ("mpeg4", {}, DAMAGED),
    "x.webm": ("libvpx", {}, LENGTH),
    "x.mkv": ("mpeg4", {}, LENGTH),
}


def frames(path: Path) -> tuple[int, str]:
    """Count the frames; return their number and the error that they end with."""
    source, count = open_source(path), 0
    assert isinstance(source, ImageStream)
    for entry in source:
        if isinstance(entry.image, Exception):
            return count, str(entry.image)
        count += 1
    return count, ""


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_that_are_cut_off_or_damaged_are_told(name: str, tmp_path: Path) -> None:
    codec, options, message = VIDEOS[name]
    path = tmp_path / name
    content = Path(kinds.encoded(path, codec, FRAMES, **options)).read_bytes()
    assert frames(path) == (24, "")
    for share in (0.4, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        count, error = frames(path)
        assert count < 24
        assert error.startswith(f"Can't read images of {str(path)!r} after {f'{path}/frame {count - 1}'!r}: ")
        assert re.search(message, error)
    if codec == "mpeg4":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes(80) + content[middle + 80 :])
        assert DAMAGED in frames(path)[1]


def test_frames_of_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kinds.encoded(tmp_path / "x.mp4", "mpeg4", FRAMES)
    monkeypatch.setenv("TORCHMETRICS_DNA_MAX_PIXELS", str(60 * 72 - 1))
    with pytest.raises(ValueError, match=r"x.mp4' as a video: its frames have .* more than 4319 pixels; to read"):
        open_source(path)


def test_frames_are_as_many_as_asked_for_after_a_gap(tmp_path: Path) -> None:
    import av

    times = [*range(10), *range(50, 60)]  # tenths of a second
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = FRAMES.shape[2], FRAMES.shape[1], "yuv420p"
        for time, image in zip(times, FRAMES, strict=False):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    def taken(fps: float) -> list[int]:
        entries = open_source(tmp_path / "x.mkv", Reading(fps=fps))
        return [times[int(entry.name.rpartition(" ")[2])] for entry in entries]

    assert taken(2) == [0, 5, 50, 55]
    assert taken(10) == taken(30) == times


def test_few_frames_are_held_in_their_full_size(tmp_path: Path) -> None:
    frames = np.kron(np.tile(PIXELS, (4, 1, 1, 1)), np.ones((12, 12, 1), np.uint8))
    path = kinds.encoded(tmp_path / "x.mp4", "mpeg4", frames)
    expected = [batch.images for batch in load_batches(open_source(path), (32, 32), reading=Reading(num_workers=0))]
    frame = frames[0].nbytes
    del frames
    tracemalloc.start()
    batches = list(load_batches(open_source(path), (32, 32), reading=Reading(num_workers=2)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(torch.cat([batch.images for batch in batches]), torch.cat(expected))
    assert peak < 20 * frame
