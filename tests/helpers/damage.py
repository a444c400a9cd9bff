"""Damage and forge files."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile

import numpy as np


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut a file off, or change, lose or repeat bytes of it, as disks and networks do."""
    at, end = sorted(rng.sample(range(len(content) + 1), 2))
    return rng.choice(
        (
            content[:at],
            content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
            content[:at] + bytes(end - at) + content[end:],
            content[:at] + content[end:],
            content[:end] + content[at:],
        )
    )


def unzipped(content: bytes) -> dict[str, bytes]:
    """Members of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive that ends in its checksum, like those of the package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"sha256:" + b"0" * 64
    content = buffer.getvalue()[:-64]
    return content + hashlib.sha256(content).hexdigest().encode()


def npy(array: np.ndarray, **options: object) -> bytes:
    """File of an array."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()
