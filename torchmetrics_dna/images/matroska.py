"""Whether a Matroska or WebM file is whole: FFmpeg looks for the next frame where it is damaged, and says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ANYWHERE = {0xEC, 0xBF}  # Void, CRC-32
# SeekHead, Info, Tracks, Cluster, Cues, Tags, Chapters, Attachments
_IN_SEGMENT = {0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, *_ANYWHERE}
# Timestamp, SimpleBlock, BlockGroup, PrevSize, Position, SilentTracks, EncryptedBlock
_IN_CLUSTER = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF, *_ANYWHERE}
_LONGEST = 12  # bytes of what an element begins with


def check_matroska(file: BinaryIO) -> None:
    """Look at where each element of a file begins and ends, down to its frames, which takes a few bytes of each.

    Args:
        file: At its first byte, where it is left. One of another kind is not looked at.

    Raises:
        ValueError: If an element is of no known kind, or ends beyond what it is in, as where the file was cut off.

    """
    end = file.seek(0, 2)
    file.seek(0)
    if _element(file)[0] == _EBML:
        file.seek(0)
        _check(file, end)
    file.seek(0)


def _check(file: BinaryIO, end: int) -> None:
    place, known = 0, {_EBML}
    cluster_end, endless = 0, False  # a cluster that is written while it is recorded does not say where it ends
    while place < end:
        ident, size = _element(file)
        start = file.tell()
        if endless and ident in _IN_SEGMENT - _ANYWHERE:
            cluster_end, endless = 0, False
        limit = cluster_end if (inside := place < cluster_end) else end
        parent = ident in (_SEGMENT, _CLUSTER)
        stop = start + size if size is not None else limit if parent else -1
        if ident not in (_IN_CLUSTER if inside else known) or not start <= stop <= limit:
            if ident == _SEGMENT:
                raise ValueError(f"it has {end} bytes of {stop}, so it has been cut off; copy it anew")
            raise ValueError(f"it is damaged at byte {place}; copy it anew")
        if ident == _EBML:
            known = {_SEGMENT, *_ANYWHERE}
        elif ident == _SEGMENT:
            known, end = _IN_SEGMENT, stop
        elif ident == _CLUSTER:
            cluster_end, endless = stop, size is None
        place = file.seek(start if parent else stop)


def _element(file: BinaryIO) -> tuple[int, int | None]:
    """What the next element is, and how many bytes it has, of which the first is next; None if it does not say so."""
    head = file.read(_LONGEST)
    kind = 9 - head[0].bit_length() if head else 9  # bytes of it
    length = 9 - head[kind].bit_length() if len(head) > kind else 9
    if kind > 4 or kind + length > len(head):
        return -1, None
    file.seek(kind + length - len(head), 1)
    every = (1 << 7 * length) - 1
    size = int.from_bytes(head[kind : kind + length], "big") & every
    return int.from_bytes(head[:kind], "big"), None if size == every else size
