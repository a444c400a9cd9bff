"""Paths and addresses of images: names, natural order, patterns, and access to files.

An address is a URL that fsspec supports, such as ``s3://bucket/x``.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from glob import glob
from math import prod
from operator import eq
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeGuard, cast, overload
from urllib.parse import urlsplit

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.atomic import check_folder
from torchmetrics_dna.files.damage import check_files, reason_of
from torchmetrics_dna.images.extensions import EXTENSIONS

# Words that some arguments accept in place of a path.
_WORDS = ("auto", "pool")
# Module with the rules of local paths. A test replaces it by that of another operating system.
_PATHS: Any = os.path


def is_image_name(name: str) -> bool:
    """Return True for the name of an image file that is not hidden."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def is_image_member(member: str) -> bool:
    """Return True for the path of an image in an archive that is neither hidden nor in a hidden folder."""
    parts = PurePosixPath(member).parts
    if not parts or member.endswith("/"):
        return False
    for part in parts:
        is_hidden = part.startswith(".") and part not in (".", "..")
        if is_hidden or part == "__MACOSX":
            return False
    return is_image_name(parts[-1])


def natural_key(name: str) -> str:
    """Return a sort key for the natural order, in which ``img2`` precedes ``img10``, and ``img02`` precedes both.

    In the key, a number is prefixed with its number of digits, and numbers precede text. The key is one string to save
    memory, because there may be millions of names.

    Example:
        >>> sorted(["img10", "img2"], key=natural_key)
        ['img2', 'img10']

    """
    keys = []
    for part in re.split(r"(\d+)", name):
        if part.isdecimal():
            keys.append(_key_of_number(part))
        elif part:
            keys.append(f"\2{part}")
    # Append the name to order names with equal numbers, such as "img02" and "img2".
    return "".join([*keys, "\0", name])


def _key_of_number(digits: str) -> str:
    """Return a sort key of a number: its number of digits, followed by the digits without leading zeros."""
    if not digits.isascii():
        # Convert digits of other scripts to ASCII.
        digits = "".join(str(int(digit)) for digit in digits)
    significant = digits.lstrip("0")
    return f"\1{chr(len(significant))}{significant}"


def names_below(names: Sequence[str], roots: Collection[str]) -> list[str]:
    """Return the name of each file relative to its root, with ``/`` between folders.

    A file in several roots is relative to the innermost one. Different spellings of a path are equal, such as ``./x``
    and ``x``.

    Args:
        names: Paths of files.
        roots: Folders and archives. Without roots, names are relative to the folder that all files share.

    Raises:
        ValueError: If a file is below none of the roots.

    Example:
        >>> names_below(["data/cat/1.png", "data/dog/2.png"], ["./data//"]), names_below(["x/cat/1.png", "x/2.png"], ())
        (['cat/1.png', 'dog/2.png'], ['cat/1.png', '2.png'])

    """
    paths = [_PATHS.normpath(name) for name in names]
    if roots:
        return _relative_to_roots(paths, _normal_roots(roots))
    # Absolute and relative paths have no folder in common as texts.
    if len({_PATHS.isabs(path) for path in paths}) > 1:
        paths = [_PATHS.abspath(path) for path in paths]
    shared_folder = _shared_folder(paths)
    if shared_folder is None:
        return [path.replace(_PATHS.sep, "/") for path in paths]
    return _relative_to_roots(paths, _normal_roots([shared_folder]))


def _shared_folder(paths: Sequence[str]) -> str | None:
    """Return the innermost folder that all files share. Return None if they are on several drives of Windows."""
    folders = {_PATHS.dirname(path) for path in paths} or {""}
    try:
        shared: str = _PATHS.commonpath(folders)
    except ValueError:
        return None
    return shared


def _normal_roots(roots: Iterable[str]) -> set[str]:
    """Return the normal form of roots, in which the current folder is an empty text."""
    normal_roots = {_PATHS.normcase(_PATHS.normpath(root)) for root in roots}
    if _PATHS.curdir in normal_roots:
        normal_roots.remove(_PATHS.curdir)
        normal_roots.add("")
    return normal_roots


def _relative_to_roots(paths: Sequence[str], roots: set[str]) -> list[str]:
    """Return each normalized path relative to the innermost of the normalized roots that it is below."""
    # Cache the length of the root of each folder, because many files are in one folder.
    lengths: dict[str, int] = {}
    relative_names: list[str] = []
    for path in paths:
        folder = _PATHS.dirname(path)
        if folder not in lengths:
            lengths[folder] = len(_root_of(folder, roots))
        name = path[lengths[folder] :].lstrip(_PATHS.sep)
        relative_names.append(name.replace(_PATHS.sep, "/"))
    return relative_names


def roots_in(archive: str, members: Iterable[str]) -> list[str]:
    """Return the roots of the members of an archive, see :func:`names_below`.

    The roots are the archive, and the folder in it that all members share if there is one.

    Example:
        >>> roots_in("./x.zip", ["photos/cat/1.png", "./photos/2.png"]), roots_in("x.zip", ["1.png", "photos/2.png"])
        (['x.zip', 'x.zip/photos'], ['x.zip'])

    """
    root = posixpath.normpath(archive)
    # Use a set, because many members are in one folder.
    folders_in_archive = {posixpath.dirname(name) for name in members}
    folders = [posixpath.normpath(f"{archive}/{folder}") for folder in folders_in_archive]
    shared = posixpath.commonpath(folders) if folders else root
    return [root] if shared == root else [root, shared]


def lies_in_a_root(folder: str, roots: Collection[str]) -> bool:
    """Return True if a folder is below one of the roots. Paths are compared as text, without normalization."""
    parent = posixpath.dirname(folder)
    if parent in roots:
        return True
    if parent == folder:
        return False
    return lies_in_a_root(parent, roots)


def _root_of(folder: str, roots: set[str]) -> str:
    """Return the innermost root that is the folder itself or one of its parents.

    Raises:
        ValueError: If there is none.

    """
    root = folder
    while _PATHS.normcase(root) not in roots:
        parent = _PATHS.dirname(root)
        if root == parent:
            listed = sorted(map(repr, roots))[:3]
            raise ValueError(f"{folder!r} is not below {' or '.join(listed)}, the source of images")
        root = parent
    return root


class Names(Sequence[str]):
    """Selection of other names, with a prefix. Each name is made on access, because there may be millions.

    Example:
        >>> list(Names(["a.png", "b.png", "c.png"], "x.tar/", [2, 0]))
        ['x.tar/c.png', 'x.tar/a.png']

    """

    def __init__(self, names: Sequence[str], start: str = "", chosen: Sequence[int] | None = None) -> None:
        self._names = names
        self._start = start
        self._chosen = range(len(names)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return Names(self._names, self._start, self._chosen[index])
        return f"{self._start}{self._names[self._chosen[index]]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))


_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")
# Credentials in front of the host of an address.
_USER = re.compile(r"(?<=://)[^/@\s'\"]*@")
# Address of a web server with a query or a fragment. The group is the address without them.
_QUERY = re.compile(r"(https?://[^?#\s'\"]*)[?#][^\s'\"]*")
# Packages that fsspec needs for addresses, by protocol.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
# Range of numbers in braces, such as "000..999".
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
# Protocols of object stores. These have no folders that could be missing.
_BUCKETS = ("s3", "s3a", "gs", "gcs")
# Number of bytes that are read from a server at a time.
_CHUNK = 1 << 20
# Status codes of HTTP for a file that does not exist.
_NOT_FOUND = (404, 410)


def is_address(path: object) -> TypeGuard[str]:
    """Return True if a path is an address, such as ``s3://bucket/photos.tar``."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def public(text: str) -> str:
    """Remove credentials and queries from the addresses in a text, so that it can be shown.

    A query may contain a secret, such as a signature.

    Example:
        >>> public("https://me:secret@host/a.png?X-Amz-Signature=1f and s3://bucket/a?.png")
        'https://host/a.png and s3://bucket/a?.png'

    """
    return _QUERY.sub(r"\1", _USER.sub("", text))


def public_names(files: Sequence[str]) -> list[str]:
    """Return the names of files without secrets, see :func:`public`.

    If the names of different files would be equal, their index is appended to all names.
    """
    names = [public(file) for file in files]
    if len(set(names)) == len(set(files)):
        return names
    return [f"{name}#{i}" for i, name in enumerate(names)]


@contextmanager
def file_system_of(address: str, action: str = "read") -> Iterator[tuple[Any, str]]:
    """Yield the file system of an address, and the path in this file system.

    Errors in the block are converted to an error with one line and the address.

    Args:
        address: The address.
        action: Verb for the action in the block, for errors.

    Raises:
        FileNotFoundError: If nothing exists at the address.
        ModuleNotFoundError: If the package for the protocol is missing.
        ValueError: If the protocol is unknown.
        OSError: For all other errors.

    """
    _check_protocol(address, action)
    import fsspec

    try:
        yield fsspec.url_to_fs(address)
    except ModuleNotFoundError:
        raise
    except Exception as err:
        name = public(address)
        cause = _cause_of(err)
        if isinstance(cause, FileNotFoundError):
            raise FileNotFoundError(f"There is nothing at {name!r}") from err
        raise OSError(f"Can't {action} {name!r}: {type(cause).__name__}: {public(reason_of(cause))}") from err


def _check_protocol(address: str, action: str) -> None:
    """Check that fsspec supports the protocol of an address, and that the package for the protocol is installed.

    Raises:
        ModuleNotFoundError: If the package is missing.
        ValueError: If the protocol is unknown.

    """
    protocol = _protocol(address)
    name = public(address)
    if protocol in _PACKAGES:
        require(_PACKAGES[protocol], "remote")
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as err:
        raise ModuleNotFoundError(f"To {action} {name!r}: {reason_of(err)}") from err
    except ValueError as err:
        raise ValueError(
            f"{name!r} is an address of an unknown kind; expected https://, s3://, gs://, hf:// or another that fsspec"
            " knows"
        ) from err


def _cause_of(err: Exception) -> Exception:
    """Return the HTTP error that caused a FileNotFoundError, unless its status is that of a missing file.

    fsspec raises FileNotFoundError for each HTTP error. All other errors are returned as they are.
    """
    cause = err.__cause__
    if not isinstance(err, FileNotFoundError) or not isinstance(cause, Exception):
        return err
    is_missing = getattr(cause, "status", 404) in _NOT_FOUND
    return err if is_missing else cause


def _protocol(address: str) -> str:
    """Return the protocol of an address, such as ``"https"``."""
    return address.partition("://")[0].lower()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check in advance, as far as possible, that a file can be written to a path or an address.

    Raises:
        FileNotFoundError: If there is no such folder or bucket.
        FileExistsError: If the path exists but is not a file.
        OSError: If the path or the address is not writable, or the server fails.
        ModuleNotFoundError: If the package for the protocol of an address is missing.
        ValueError: If the protocol of an address is unknown.

    """
    if not is_address(path):
        check_folder(Path(path))
        return
    if _protocol(path) in ("http", "https"):
        raise OSError(f"Can't write {public(path)!r}: a web server only gives files")
    with file_system_of(path, "write") as (system, remote_path):
        exists = _protocol(path) not in _BUCKETS or system.exists(remote_path.partition("/")[0])
    if not exists:
        raise FileNotFoundError(
            f"There is no bucket to write {public(path)!r} to, or it does not answer; make it first, or check"
            " credentials"
        )


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a local path to write to. For an address, the file is uploaded at the end of the block."""
    if not is_address(path):
        yield Path(path)
        return
    with TemporaryDirectory() as folder:
        local = Path(folder, PurePosixPath(path).name)
        yield local
        with file_system_of(path, "write") as (system, remote_path):
            if _protocol(path) not in _BUCKETS:
                system.makedirs(system._parent(remote_path), exist_ok=True)
            system.put_file(str(local), remote_path)


def download(address: str, path: str | os.PathLike[str]) -> None:
    """Download a file at an address to a local path. Errors are those of :func:`file_system_of`."""
    with file_system_of(address) as (system, remote_path):
        system.get_file(remote_path, str(path))


def files_below(address: str) -> tuple[str, list[str]] | None:
    """Return the address of a folder, and the addresses of all files in it and its subfolders.

    Return None if the address is not that of a folder.
    """
    with file_system_of(address) as (system, path):
        if address.startswith("http") or not system.isdir(path):
            return None
        return system.unstrip_protocol(path), [system.unstrip_protocol(file) for file in system.find(path)]


def check_address(address: str) -> None:
    """Raise an error if nothing exists at an address. Errors are those of :func:`file_system_of`."""
    with file_system_of(address) as (system, path):
        system.info(path)


def open_file(path: str, *, forwards: bool = False) -> BinaryIO:
    """Open a local file, or a file at an address. Errors are those of :func:`file_system_of`.

    Args:
        path: Path or address of the file.
        forwards: Whether the file is only read forwards. It is then also read from servers without range requests.

    """
    if not is_address(path):
        return Path(path).open("rb")
    with file_system_of(path) as (system, remote_path):
        settings = {}
        if forwards and path.startswith("http"):
            # Set the block size to 0, so that fsspec sends no range requests.
            settings["block_size"] = 0
        return cast("BinaryIO", system.open(remote_path, "rb", **settings))


def read_address(address: str, most: int) -> bytes:
    """Read a file at an address. At most ``most + 1`` bytes are read, so that the caller can detect a larger file."""
    # Enter the file system again, because it converts errors of reading as well.
    with open_file(address, forwards=True) as file, file_system_of(address):
        content = bytearray()
        while len(content) <= most:
            block = file.read(min(_CHUNK, most + 1 - len(content)))
            if not block:
                break
            content += block
        return bytes(content)


def forget_threads() -> None:
    """Reset fsspec in a forked process.

    The thread of fsspec does not exist in a forked process. Old versions of fsspec do not detect this.
    """
    asyn = sys.modules.get("fsspec.asyn")
    if asyn is not None and not hasattr(asyn, "reset_after_fork"):
        asyn.iothread[0] = None
        asyn.loop[0] = None
        asyn.reset_lock()


def missing(path: str) -> FileNotFoundError:
    """Return the error for a local path that does not exist, with a remedy, such as a similar path."""
    text = f"There is no file or folder {path!r}"
    similar_words = get_close_matches(path, _WORDS, n=1, cutoff=0.75)
    similar_path = _similar_path(path)
    if similar_words:
        text += f"; did you mean the word {similar_words[0]!r}?"
    elif similar_path:
        text += f"; there is {similar_path!r}"
    # Word processors replace two hyphens by a dash.
    if path[0] in "\u2013\u2014":
        text += "; options begin with two hyphens"
    if path == "-":
        text += "; nothing is read from stdin; pass a folder, an archive, or a .txt with a path a line"
    return FileNotFoundError(text)


def _similar_path(path: str) -> str:
    """Return an existing path that is similar to a path that does not exist. The text is empty if there is none."""
    with suppress(OSError):
        similar_sibling = _similar_sibling(path)
        if similar_sibling:
            return similar_sibling
        # Suggest the path of "name=path", because sets have no names on the command line.
        for part in path.split("=")[1:]:
            if Path(part).exists():
                return part
    # A path below a file may be that of a member of an archive.
    for parent in Path(path).parents:
        if parent.is_file():
            return str(parent)
    return ""


def _similar_sibling(path: str) -> str:
    """Return the path with the most similar name in the folder of a path. The text is empty if no name is similar."""
    siblings = {entry.name.lower(): str(entry) for entry in Path(path).parent.iterdir()}
    similar_names = get_close_matches(Path(path).name.lower(), siblings, n=1, cutoff=0.75)
    return siblings[similar_names[0]] if similar_names else ""


def suffix_of(path: str) -> str:
    """Return the suffix of a file name in lower case. The query of an address is ignored.

    Example:
        >>> suffix_of("https://host/photos.TAR?token=x.png")
        '.tar'

    """
    if path.startswith("http") and is_address(path):
        path = urlsplit(path).path
    name = PurePosixPath(path).name
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def expand(pattern: str) -> list[str]:
    """Return the files that match a pattern.

    Braces are enumerated: ``{a,b}`` and ``{000..999}``. Wildcards such as ``*`` are matched with existing files. The
    path of an existing file is returned as it is.

    Raises:
        FileNotFoundError: If nothing matches.
        ValueError: If braces expand to more files than a set may have.

    Example:
        >>> expand("shards/{08..11}.tar")
        ['shards/08.tar', 'shards/09.tar', 'shards/10.tar', 'shards/11.tar']

    """
    if not is_address(pattern) and os.path.lexists(pattern):
        return [pattern]
    # Use the keys of a dict as a set that keeps the order.
    files: dict[str, None] = {}
    for pattern_without_braces in _without_braces(pattern):
        matched = _matched(pattern_without_braces)
        files.update(dict.fromkeys(sorted(matched, key=natural_key)))
    if not files:
        raise FileNotFoundError(f"There are no files {public(pattern)!r}; pass the folder, or '**/' for those in it")
    return list(files)


def _without_braces(pattern: str) -> Iterator[str]:
    """Return all patterns without braces that a pattern expands to.

    Raises:
        ValueError: If there are more than a set may have files.

    """
    choices = []
    # Every second part is the content of braces.
    for i, part in enumerate(re.split(r"\{([^{}]*)\}", pattern)):
        is_in_braces = i % 2 == 1
        choices.append(_choices_in_braces(part, pattern) if is_in_braces else [part])
    check_files(prod(map(len, choices)), public(pattern))
    return map("".join, itertools.product(*choices))


def _choices_in_braces(content: str, pattern: str) -> list[str]:
    """Return the texts to which the content of braces in a pattern expands."""
    match = _RANGE.fullmatch(content)
    if match is not None:
        first, last = match.groups()
        # If the first number has leading zeros, all numbers have as many digits.
        width = len(first) if first.startswith("0") else 0
        check_files(int(last) - int(first) + 1, public(pattern))
        return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]
    if "," in content:
        return content.split(",")
    # Braces without a range or a comma are a part of the name.
    return [f"{{{content}}}"]


def _matched(text: str) -> list[str]:
    """Return the files that match a pattern without braces. A pattern without wildcards is returned as it is."""
    wildcards = "*" if is_address(text) else "*?["
    if not any(wildcard in text for wildcard in wildcards):
        return [text]
    if is_address(text):
        with file_system_of(text) as (system, path):
            return [system.unstrip_protocol(file) for file in system.glob(path)]
    return glob(text, recursive=True)  # noqa: PTH207
