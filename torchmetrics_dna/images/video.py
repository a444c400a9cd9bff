"""Frames of videos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.images.cores import cores
from torchmetrics_dna.images.kind import Kind, stream_of
from torchmetrics_dna.images.places import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.images.base import ImageStream, Reading


_EARLY = 1e-4  # seconds, by which times are rounded


def open_videos(files: Sequence[str], label: str, reading: Reading) -> ImageStream:
    """The frames of some videos; those of one belong together, and count as one for tests."""
    av = require("av", "video")
    with refusing(files[0], "a video"), open_file(files[0]) as file, av.open(file) as container:
        _stream(container)
    return stream_of(files, label, reading, _read, in_folders=True, readers=min(cores(), len(files)))


VIDEO = Kind("video", (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"), open_videos, ("fps",))


def _stream(container: Any) -> Any:
    if not container.streams.video:
        raise ValueError("it has no pictures, only sound")
    return container.streams.video[0]


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """All frames, or those that are shown when the next one is due."""
    av = require("av", "video")
    due = -1.0
    with open_file(path) as file, av.open(file) as container:
        for number, frame in enumerate(container.decode(_stream(container))):
            if reading.fps is not None and frame.time is not None:
                if frame.time < due - _EARLY:
                    continue
                due = (frame.time if due < 0 else due) + 1 / reading.fps
            yield f"{path}/frame {number}", frame.to_ndarray(format="rgb24")
