"""Check that a Matroska or WebM file is complete: FFmpeg silently skips damage to the next frame."""

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
_LONGEST = 12  # bytes of an element's header


def check_matroska(file: BinaryIO) -> None:
    """Check the extent of each element of a file, down to its frames, by reading only their headers.

    The file is at position 0, to which it is reset. Files of other formats are ignored. ValueError if an element is of
    an unknown kind, or extends beyond its parent, as in a truncated file.
    """
    end = file.seek(0, 2)
    file.seek(0)
    if _element(file)[0] == _EBML:
        file.seek(0)
        _check(file, end)
    file.seek(0)


def _check(file: BinaryIO, end: int) -> None:
    position, allowed = 0, {_EBML}
    cluster_end, endless = 0, False  # clusters of live recordings have no size
    while position < end:
        ident, size = _element(file)
        start = file.tell()
        if endless and ident in _IN_SEGMENT - _ANYWHERE:
            cluster_end, endless = 0, False
        limit = cluster_end if (inside := position < cluster_end) else end
        parent = ident in (_SEGMENT, _CLUSTER)
        stop = start + size if size is not None else limit if parent else -1
        if ident not in (_IN_CLUSTER if inside else allowed) or not start <= stop <= limit:
            if ident == _SEGMENT:
                raise ValueError(f"it has {end} bytes of {stop}, so it has been cut off; copy it anew")
            raise ValueError(f"it is damaged at byte {position}; copy it anew")
        if ident == _EBML:
            allowed = {_SEGMENT, *_ANYWHERE}
        elif ident == _SEGMENT:
            allowed, end = _IN_SEGMENT, stop
        elif ident == _CLUSTER:
            cluster_end, endless = stop, size is None
        position = file.seek(start if parent else stop)


def _element(file: BinaryIO) -> tuple[int, int | None]:
    """Read the header of the next element; return its id, and its size or None if unknown."""
    head = file.read(_LONGEST)
    id_length = 9 - head[0].bit_length() if head else 9  # bytes of the id
    length = 9 - head[id_length].bit_length() if len(head) > id_length else 9
    if id_length > 4 or id_length + length > len(head):
        return -1, None
    file.seek(id_length + length - len(head), 1)
    unknown_size = (1 << 7 * length) - 1
    size = int.from_bytes(head[id_length : id_length + length], "big") & unknown_size
    return int.from_bytes(head[:id_length], "big"), None if size == unknown_size else size
