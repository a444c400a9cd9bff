"""Images in zip archives."""

from __future__ import annotations

import os
import posixpath
import stat
import zipfile
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from torchmetrics_dna.files.damage import reason_of
from torchmetrics_dna.files.limits import check_size
from torchmetrics_dna.images.addresses import asking, is_address, public
from torchmetrics_dna.images.archives import Listing, leads_nowhere
from torchmetrics_dna.images.base import ImageSource
from torchmetrics_dna.images.kind import Kind, joined
from torchmetrics_dna.images.names import Names, is_image_member, natural_key
from torchmetrics_dna.images.places import open_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images.reading import Reading

_LONGEST_PATH = 4096  # bytes of the target of a link


def open_zips(files: Sequence[str], label: str, reading: Reading) -> ImageSource:
    """Open the images of zips, searched like folders."""
    archives = [_Zip(file) for file in files]
    sources = [
        ImageSource(each.names, each.open, public(each.path), reading.exif_orientation, each.stamp, [public(each.path)])
        for each in archives
    ]
    return joined(sources, label, reading)


ZIP = Kind(".zip", (".zip",), open_zips)


class _Zip:
    """Images of an archive, reopened in every process, since file positions must not be shared."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._open: dict[int, zipfile.ZipFile] = {}
        try:
            with asking(path), open_file(path) as file, zipfile.ZipFile(file) as archive:
                members = _images(archive)
        except (OSError, ModuleNotFoundError):
            raise
        except Exception as err:  # zipfile raises ten types
            raise ValueError(f"{public(path)!r} is not a readable zip archive: {reason_of(err)}") from err
        names = sorted(members, key=natural_key)
        self._members = [members[name] for name in names]  # differ from names for links
        self.names = Names(names, f"{public(path)}/")

    def open(self, index: int) -> BytesIO:
        archive = self._archive()
        try:
            member = archive.getinfo(self._members[index])
        except KeyError:
            raise ValueError(leads_nowhere(self._members[index])) from None
        with _member(archive, member) as file:
            # bounded: `read()` alone would exceed a false size
            return BytesIO(file.read(member.file_size))

    def stamp(self, index: int) -> str:
        member = self._archive().NameToInfo.get(self._members[index])
        return f"{member.file_size} {member.CRC:08x}" if member else "unreadable"

    def _archive(self) -> zipfile.ZipFile:
        archive = self._open.get(os.getpid())
        if archive is None:
            # of a path, the archive closes the file
            file: Any = open_file(self.path) if is_address(self.path) else self.path
            archive = self._open[os.getpid()] = zipfile.ZipFile(file)
        return archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _images(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the member of each image of an archive, by the name of the image."""
    listing, members, files = Listing(), dict[str, str](), dict[str, str]()
    for member in archive.infolist():
        name, is_image = member.filename, is_image_member(member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            with _member(archive, member) as file:
                listing.link(name, file.read(_LONGEST_PATH).decode(errors="replace"), image=is_image)
            continue
        files[posixpath.normpath(name)] = name
        if is_image:
            listing.add(name)
            members[name] = name
    for target, links in listing.linked().items():
        members |= dict.fromkeys(links, files.get(target, target))
    return members


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    check_size(member.file_size)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile decompresses other methods without bounds
        raise ValueError(f"it is packed by method {member.compress_type} of zip; pack it by deflate")
    return archive.open(member)
