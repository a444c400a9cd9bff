"""Images in a zip."""

from __future__ import annotations

import os
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.images.addresses import asking, is_address
from torchmetrics_dna.images.base import ImageSource
from torchmetrics_dna.images.kind import Kind, joined
from torchmetrics_dna.images.names import Names, is_image_member, natural_key
from torchmetrics_dna.images.pixels import check_size
from torchmetrics_dna.images.places import open_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images.base import Reading


def open_zips(files: Sequence[str], label: str, reading: Reading) -> ImageSource:
    """The images of some zips, searched like folders."""
    return joined([_open_zip(file, reading) for file in files], label, reading)


ZIP = Kind(".zip", (".zip",), open_zips)


def _open_zip(path: str, reading: Reading) -> ImageSource:
    archive = _Zip(path)
    return ImageSource(archive.names, archive.open, path, reading.exif_orientation, archive.stamp)


class _Zip:
    """Images of an archive; every process opens it anew, since file positions must not be shared."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._open: dict[int, zipfile.ZipFile] = {}
        try:
            with asking(path), open_file(path) as file, zipfile.ZipFile(file) as archive:
                members = archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError) as err:
            raise ValueError(f"{path!r} is not a readable zip archive: {err}") from err
        self._members = sorted(filter(is_image_member, dict.fromkeys(members)), key=natural_key)
        self.names = Names(self._members, f"{path}/")

    def open(self, index: int) -> BytesIO:
        archive = self._archive()
        member = archive.getinfo(self._members[index])
        check_size(member.file_size)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks others without bounds
            raise ValueError(f"it is packed by method {member.compress_type} of zip; pack it by deflate")
        with archive.open(member) as file:
            # unpacks no more than is asked for, where `read()` alone would go beyond a size that is not true
            return BytesIO(file.read(member.file_size))

    def stamp(self, index: int) -> str:
        member = self._archive().getinfo(self._members[index])
        return f"{member.file_size} {member.CRC:08x}"

    def _archive(self) -> zipfile.ZipFile:
        archive = self._open.get(os.getpid())
        if archive is None:
            archive = self._open[os.getpid()] = zipfile.ZipFile(
                open_file(self.path)
                if is_address(self.path)
                else self.path  # a path, for it is closed with the archive
            )
        return archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}
