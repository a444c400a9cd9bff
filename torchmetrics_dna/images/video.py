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


_EARLY = 6e-4  # seconds; tolerance for rounded times, of which Matroska has milliseconds
_SLACK = 0.75  # frames by which the last frame may end before the container
# FFmpeg's names; without playlists and stream descriptions, which refer to other files
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo"
_TIME_BASE = 1_000_000  # FFmpeg's, for times of a container
_DAMAGED = "its next frame is damaged; copy it anew"
_WITH_LENGTH = ("mov", "matroska", "avi")  # containers whose header has the duration


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
    if not container.streams.video:
        raise ValueError("it has no pictures, only sound")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError("its codec is unknown, or damaged; copy it anew")
    if not stream.codec_context.width:  # also 0 beyond the limit of pixels
        raise ValueError(beyond(f"its frames have no size, or more than {max_pixels()} pixels"))
    # report damage instead of concealing it
    stream.codec_context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "flags": "+output_corrupt",
        "max_pixels": str(max_pixels()),
    }
    return stream


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield all frames, or those due at ``fps``."""
    begin = due = -math.inf  # times of the first frame and of the next one to take
    with _opened(path) as (av, container):
        for number, frame in enumerate(_frames(av, container)):
            if reading.fps is not None and frame.time is not None:
                if frame.time < due - _EARLY:
                    continue
                begin = frame.time if begin == -math.inf else begin
                due = begin + (math.floor((frame.time - begin + _EARLY) * reading.fps) + 1) / reading.fps
            yield f"frame {number}", frame.to_ndarray(format="rgb24")


def _frames(av: Any, container: Any) -> Iterator[Any]:
    """Decode the frames of a video; ValueError if one is damaged, or they end before the duration of the container."""
    stream, end = _stream(container), 0.0
    try:
        for packet in container.demux():  # all streams, since sound may be longer
            if packet.is_corrupt:
                raise ValueError(_DAMAGED)
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            for frame in packet.decode() if packet.stream.index == stream.index else ():
                if frame.is_corrupt:
                    raise ValueError(_DAMAGED)
                yield frame
    except av.FFmpegError as err:
        raise ValueError(f"{_DAMAGED} ({err.strerror})") from err
    name, rate = container.format.name.partition(",")[0], stream.average_rate
    if name not in _WITH_LENGTH or not rate:
        return
    length = (container.duration or 0) / _TIME_BASE
    if name == "avi":  # its duration is that of the available data
        length = max(length, float(stream.frames / rate))
    end -= (container.start_time or 0) / _TIME_BASE
    if end < length - _SLACK / rate:
        raise ValueError(f"its frames end after {end:.2f} of {length:.2f} seconds; it has been cut off, copy it anew")
