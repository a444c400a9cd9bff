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


# Tolerance in seconds for rounded times: Matroska has milliseconds.
_EARLY = 6e-4
# Number of frames by which the last frame may end before the container.
_SLACK = 0.75
# FFmpeg's names of containers. Playlists and stream descriptions are left out because they refer to other files.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo"
# FFmpeg's units of a second in the times of a container.
_TIME_BASE = 1_000_000
_DAMAGED = "its next frame is damaged; copy it anew"
# Containers that have the duration in their header.
_WITH_LENGTH = ("mov", "matroska", "avi")


def open_videos(files: Sequence[str], label: str, reading: Reading) -> ImageStream:
    """Open the frames of videos; those of one video are a group, and count as one for tests."""
    require("av", "video")
    with refusing(public(files[0]), "a video"), _opened(files[0]) as (_, container):
        _stream(container)
    return stream_of(files, label, reading, _read, in_folders=True, decoded=True, readers=min(cores(), len(files)))


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """Yield PyAV and a container of a supported format, without access to other files or addresses."""
    av = require("av", "video")
    allowed = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
    with open_file(path) as file:
        try:
            container = av.open(file, options={"max_pixels": str(max_pixels())}, container_options=allowed)
        except av.ArgumentError as err:
            raise ValueError("its content is of another kind; expected MP4, MOV, MKV, WebM, AVI or MPEG") from err
        with container:
            yield av, container


def _stream(container: Any) -> Any:
    """Return the video stream of a container; ValueError if it can't be decoded."""
    if not container.streams.video:
        raise ValueError("it has no pictures, only sound")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError("its codec is unknown, or damaged; copy it anew")
    # The width is also 0 if a frame has more pixels than the limit.
    if not stream.codec_context.width:
        raise ValueError(beyond(f"its frames have no size, or more than {max_pixels()} pixels"))
    # FFmpeg reports damage instead of concealing it.
    stream.codec_context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "flags": "+output_corrupt",
        "max_pixels": str(max_pixels()),
    }
    return stream


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield all frames, or those due at ``fps``."""
    # Times in seconds of the first frame, and of the next one to take.
    begin = None
    due = -math.inf
    with _opened(path) as (av, container):
        for number, frame in enumerate(_frames(av, container)):
            if reading.fps is not None and frame.time is not None:
                if frame.time < due - _EARLY:
                    continue
                if begin is None:
                    begin = frame.time
                num_periods = math.floor((frame.time - begin + _EARLY) * reading.fps)
                due = begin + (num_periods + 1) / reading.fps
            yield f"frame {number}", frame.to_ndarray(format="rgb24")


def _frames(av: Any, container: Any) -> Iterator[Any]:
    """Decode the frames of a video; ValueError if one is damaged, or they end before the duration of the container."""
    stream = _stream(container)
    # Time in seconds at which the last packet ends.
    end = 0.0
    try:
        # Packets of all streams are read, since sound may be longer than the pictures.
        for packet in container.demux():
            if packet.is_corrupt:
                raise ValueError(_DAMAGED)
            if packet.pts is not None:
                end_of_packet = (packet.pts + (packet.duration or 0)) * packet.time_base
                end = max(end, float(end_of_packet))
            if packet.stream.index != stream.index:
                continue
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise ValueError(_DAMAGED)
                yield frame
    except av.FFmpegError as err:
        raise ValueError(f"{_DAMAGED} ({err.strerror})") from err
    _check_end(container, stream, end)


def _check_end(container: Any, stream: Any, end: float) -> None:
    """Raise ValueError if the packets of a container end before its duration.

    Args:
        container: The container, whose packets were all read.
        stream: Its stream of pictures.
        end: Time at which its last packet ends, in seconds.

    """
    name = container.format.name.partition(",")[0]
    rate = stream.average_rate
    if name not in _WITH_LENGTH or not rate:
        return
    length = (container.duration or 0) / _TIME_BASE
    if name == "avi":
        # The duration of a truncated AVI file covers only the remaining data. Its header has the number of all frames.
        length = max(length, float(stream.frames / rate))
    end -= (container.start_time or 0) / _TIME_BASE
    if end < length - _SLACK / rate:
        raise ValueError(f"its frames end after {end:.2f} of {length:.2f} seconds; it has been cut off, copy it anew")
