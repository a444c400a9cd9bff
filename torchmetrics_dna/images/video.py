"""Frames of videos."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import beyond, max_pixels, refusing
from torchmetrics_dna.images.loader import cores
from torchmetrics_dna.images.paths import open_file, public
from torchmetrics_dna.images.sets import ImageStream, stream_of

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading


# Tolerance for the time of a frame in seconds. Matroska rounds times to milliseconds.
_EARLY = 6e-4
# Maximum difference between the end of the last frame and the end of the container, as a number of frames.
_SLACK = 0.75
# FFmpeg's names of supported containers. Playlists and stream descriptions are not supported, because they refer to
# other files.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo"
# Number of FFmpeg's time units per second, for the times of a container.
_TIME_BASE = 1_000_000
_DAMAGED = "its next frame is damaged; copy it anew"
# Containers that have their duration in the header.
_WITH_LENGTH = ("mov", "matroska", "avi")


def open_videos(files: Sequence[str], label: str, reading: Reading) -> ImageStream:
    """Open the frames of videos as one stream.

    The frames of a video are one group, because they are not independent images for a statistical test.
    """
    require("av", "video")
    # Report an unsupported first file before images are read.
    with refusing(public(files[0]), "a video"), _opened(files[0]) as (_, container):
        _checked_stream(container)
    return stream_of(files, label, reading, _read, in_folders=True, decoded=True, readers=min(cores(), len(files)))


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """Yield the module PyAV and the container of a video. The container can't access other files or addresses."""
    av = require("av", "video")
    allowed = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
    with open_file(path) as file:
        try:
            container = av.open(file, options={"max_pixels": str(max_pixels())}, container_options=allowed)
        except av.ArgumentError as err:
            raise ValueError("its content is of another kind; expected MP4, MOV, MKV, WebM, AVI or MPEG") from err
        with container:
            yield av, container


def _checked_stream(container: Any) -> Any:
    """Return the video stream of a container.

    Raises:
        ValueError: If there is none, its codec is not supported, or its frames have too many pixels.

    """
    if not container.streams.video:
        raise ValueError("it has no pictures, only sound")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError("its codec is unknown, or damaged; copy it anew")
    # The width is also 0 if a frame has more pixels than the limit with which the container was opened.
    if not stream.codec_context.width:
        raise ValueError(beyond(f"its frames have no size, or more than {max_pixels()} pixels"))
    return stream


def _report_damage(stream: Any) -> None:
    """Make FFmpeg report the damaged frames of a stream, instead of concealing the damage."""
    stream.codec_context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "flags": "+output_corrupt",
        "max_pixels": str(max_pixels()),
    }


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the name and the pixels of all frames, or of ``fps`` frames per second."""
    schedule = None if reading.fps is None else _Schedule(reading.fps)
    with _opened(path) as (av, container):
        for number, frame in enumerate(_frames(av, container)):
            if schedule is None or schedule.is_due(frame.time):
                yield f"frame {number}", frame.to_ndarray(format="rgb24")


class _Schedule:
    """Selection of ``fps`` frames per second.

    The time since the first frame is divided into periods. The first frame of each period is selected.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        # Times in seconds of the first frame, and of the end of the current period.
        self._begin: float | None = None
        self._end_of_period = -math.inf

    def is_due(self, time: float | None) -> bool:
        """Return True if the frame at a time is selected. A frame without a time is always selected.

        Call this once for each frame, in order, because it begins a new period when the last one has ended.
        """
        if time is None:
            return True
        if time < self._end_of_period - _EARLY:
            return False
        if self._begin is None:
            self._begin = time
        num_periods = math.floor((time - self._begin + _EARLY) * self._fps)
        self._end_of_period = self._begin + (num_periods + 1) / self._fps
        return True


def _frames(av: Any, container: Any) -> Iterator[Any]:
    """Yield the decoded frames of a video.

    Raises:
        ValueError: If a frame is damaged, or the content of the file ends too early.

    """
    stream = _checked_stream(container)
    _report_damage(stream)
    # Time in seconds at which the last packet ends.
    end = 0.0
    try:
        # Read the packets of all streams, because the sound may be longer than the pictures.
        for packet in container.demux():
            if packet.is_corrupt:
                raise ValueError(_DAMAGED)
            end = max(end, _end_of(packet))
            if packet.stream.index != stream.index:
                continue
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise ValueError(_DAMAGED)
                yield frame
    except av.FFmpegError as err:
        raise ValueError(f"{_DAMAGED} ({err.strerror})") from err
    _check_end(container, stream, end)


def _end_of(packet: Any) -> float:
    """Return the time in seconds at which a packet ends. Return 0 for a packet without a time."""
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _check_end(container: Any, stream: Any, end: float) -> None:
    """Raise ValueError if the packets of a container end before the duration in its header.

    Args:
        container: The container.
        stream: Video stream of the container.
        end: Time in seconds at which the last packet ends.

    """
    # FFmpeg's name may be a list of formats, such as "mov,mp4,m4a".
    container_name = container.format.name.partition(",")[0]
    frames_per_second = stream.average_rate
    if container_name not in _WITH_LENGTH or not frames_per_second:
        return
    expected = (container.duration or 0) / _TIME_BASE
    if container_name == "avi":
        # The duration of a truncated AVI file is that of the remaining frames, but its header has the number of all
        # frames.
        expected = max(expected, float(stream.frames / frames_per_second))
    actual = end - (container.start_time or 0) / _TIME_BASE
    if actual < expected - _SLACK / frames_per_second:
        raise ValueError(
            f"its frames end after {actual:.2f} of {expected:.2f} seconds; it has been cut off, copy it anew"
        )
