"""Paths and addresses of images, such as ``s3://bucket/x``: their names and order; open, list and write files there."""

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

_WORDS = ("auto", "pool")  # that arguments take in place of a path
_PATHS: Any = os.path  # rules of paths


def is_image_name(name: str) -> bool:
    """True for the name of an image file that is not hidden."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def is_image_member(member: str) -> bool:
    """True for the path of an image in an archive that is neither hidden nor in a hidden folder."""
    parts = PurePosixPath(member).parts
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts)
    return bool(parts) and not member.endswith("/") and not hidden and is_image_name(parts[-1])


def natural_key(name: str) -> str:
    """Return a sort key that puts ``img2`` before ``img10``, and ``img02`` before both.

    The key is one string, since there may be millions: numbers are prefixed with their number of digits, and precede
    text.

    Example:
        >>> sorted(["img10", "img2"], key=natural_key)
        ['img2', 'img10']

    """
    parts = [_key(part) if part.isdecimal() else f"\2{part}" for part in re.split(r"(\d+)", name) if part]
    return "".join([*parts, "\0", name])


def _key(digits: str) -> str:
    significant = (digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)).lstrip("0")
    return f"\1{chr(len(significant))}{significant}"


def names_below(names: Sequence[str], roots: Collection[str]) -> list[str]:
    """Return the names of files below the folder or archive of ``roots`` that each is in, with ``/`` between folders.

    The spelling of paths does not matter, as in ``./x`` and ``x//y``. Without roots, names are those below the folder
    that all files share. ValueError if a name is below none of the roots.

    Example:
        >>> names_below(["data/cat/1.png", "data/dog/2.png"], ["./data//"]), names_below(["x/cat/1.png", "x/2.png"], ())
        (['cat/1.png', 'dog/2.png'], ['cat/1.png', '2.png'])

    """
    whole = [_PATHS.normpath(name) for name in names]
    if not roots:
        if len({_PATHS.isabs(name) for name in whole}) > 1:
            whole = [_PATHS.abspath(name) for name in whole]
        try:
            roots = [_PATHS.commonpath({_PATHS.dirname(name) for name in whole} or {""})]
        except ValueError:  # they are on several drives of Windows
            return [name.replace(_PATHS.sep, "/") for name in whole]
    folders = {_PATHS.normcase(_PATHS.normpath(root)) for root in roots}
    folders = {"" if folder == _PATHS.curdir else folder for folder in folders}
    begins: dict[str, int] = {}  # of names below their root, by folder
    below: list[str] = []
    for name in whole:
        folder = _PATHS.dirname(name)
        if folder not in begins:
            begins[folder] = len(_root_of(folder, folders))
        below.append(name[begins[folder] :].lstrip(_PATHS.sep).replace(_PATHS.sep, "/"))
    return below


def roots_in(archive: str, members: Iterable[str]) -> list[str]:
    """Return an archive, and the folder in it that all members share if there is one: names are below that.

    Example:
        >>> roots_in("./x.zip", ["photos/cat/1.png", "./photos/2.png"]), roots_in("x.zip", ["1.png", "photos/2.png"])
        (['x.zip', 'x.zip/photos'], ['x.zip'])

    """
    folders = {posixpath.normpath(f"{archive}/{folder}") for folder in {posixpath.dirname(name) for name in members}}
    root = posixpath.normpath(archive)
    return list(dict.fromkeys((root, posixpath.commonpath(folders or {root}))))


def lies_in_a_root(folder: str, roots: Collection[str]) -> bool:
    """True if a folder is below one of the roots, as spelled."""
    above = posixpath.dirname(folder)
    return above in roots or (above != folder and lies_in_a_root(above, roots))


def _root_of(folder: str, roots: set[str]) -> str:
    """Return the nearest root that a folder is, or is in."""
    root, above = folder, _PATHS.dirname(folder)
    while _PATHS.normcase(root) not in roots:
        if root == above:
            raise ValueError(
                f"{folder!r} is not below {' or '.join(sorted(map(repr, roots))[:3])}, the source of images"
            )
        root, above = above, _PATHS.dirname(above)
    return root


class Names(Sequence[str]):
    """Lazy sequence of names, since there may be millions: a selection of other names, with a prefix.

    Example:
        >>> list(Names(["a.png", "b.png", "c.png"], "x.tar/", [2, 0]))
        ['x.tar/c.png', 'x.tar/a.png']

    """

    def __init__(self, names: Sequence[str], start: str = "", chosen: Sequence[int] | None = None) -> None:
        self._names, self._start = names, start
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
_USER = re.compile(r"(?<=://)[^/@\s'\"]*@")
_QUERY = re.compile(r"(https?://[^?#\s'\"]*)[?#][^\s'\"]*")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
_BUCKETS = ("s3", "s3a", "gs", "gcs")  # object stores, without folders that could be missing


def is_address(path: object) -> TypeGuard[str]:
    """True if a path is an address, such as ``s3://bucket/photos.tar``."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def public(text: str) -> str:
    """Remove credentials and the query, such as a signature, from addresses in a text that is shown.

    Example:
        >>> public("https://me:secret@host/a.png?X-Amz-Signature=1f and s3://bucket/a?.png")
        'https://host/a.png and s3://bucket/a?.png'

    """
    return _QUERY.sub(r"\1", _USER.sub("", text))


def public_names(files: Sequence[str]) -> list[str]:
    """Return the names of files as they are shown; with their numbers if only a query tells them apart."""
    names = [public(file) for file in files]
    return names if len(set(names)) == len(set(files)) else [f"{name}#{i}" for i, name in enumerate(names)]


@contextmanager
def asking(address: str, doing: str = "read") -> Iterator[tuple[Any, str]]:
    """Yield the file system of an address and the path in it; errors become one line that names the address.

    Raises:
        FileNotFoundError: If nothing exists at the address.
        ModuleNotFoundError: If the package for the protocol is missing.
        ValueError: If the protocol is unknown.
        OSError: For all other errors.

    """
    protocol, name = _protocol(address), public(address)
    if protocol in _PACKAGES:
        require(_PACKAGES[protocol], "remote")
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as err:
        raise ModuleNotFoundError(f"To {doing} {name!r}: {reason_of(err)}") from err
    except ValueError as err:
        raise ValueError(
            f"{name!r} is an address of an unknown kind; expected https://, s3://, gs://, hf:// or another that fsspec"
            " knows"
        ) from err
    try:
        yield fsspec.url_to_fs(address)
    except ModuleNotFoundError:
        raise
    except Exception as err:
        # fsspec maps every HTTP error to a missing file
        cause = err.__cause__ if isinstance(err, FileNotFoundError) else err
        if not isinstance(cause, Exception) or (cause is not err and getattr(cause, "status", 404) in (404, 410)):
            raise FileNotFoundError(f"There is nothing at {name!r}") from err
        raise OSError(f"Can't {doing} {name!r}: {type(cause).__name__}: {public(reason_of(cause))}") from err


def _protocol(address: str) -> str:
    return address.partition("://")[0].lower()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check in advance, as far as possible, that a file can be written to a path or an address.

    Raises FileNotFoundError if there is no such folder or bucket, FileExistsError if something other than a file exists
    there, OSError if the server fails or the place is not writable; others as of :func:`asking`.
    """
    if not is_address(path):
        check_folder(Path(path))
        return
    if _protocol(path) in ("http", "https"):
        raise OSError(f"Can't write {public(path)!r}: a web server only gives files")
    with asking(path, "write") as (system, remote_path):
        exists = _protocol(path) not in _BUCKETS or system.exists(remote_path.partition("/")[0])
    if not exists:
        raise FileNotFoundError(
            f"There is no bucket to write {public(path)!r} to, or it does not answer; make it first, or check"
            " credentials"
        )


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a local path to write to; for an address, the file is uploaded when the context exits."""
    if not is_address(path):
        yield Path(path)
        return
    with TemporaryDirectory() as folder:
        local = Path(folder, PurePosixPath(path).name)
        yield local
        with asking(path, "write") as (system, remote_path):
            if _protocol(path) not in _BUCKETS:
                system.makedirs(system._parent(remote_path), exist_ok=True)
            system.put_file(str(local), remote_path)


def download(address: str, path: str | os.PathLike[str]) -> None:
    """Download a file at an address to a path; errors as of :func:`asking`."""
    with asking(address) as (system, remote_path):
        system.get_file(remote_path, str(path))


def files_below(address: str) -> tuple[str, list[str]] | None:
    """Return the address of a folder as those of all files in it begin, and these; None for what is no folder."""
    with asking(address) as (system, path):
        if address.startswith("http") or not system.isdir(path):
            return None
        return system.unstrip_protocol(path), [system.unstrip_protocol(file) for file in system.find(path)]


def check_address(address: str) -> None:
    """Raise FileNotFoundError, or OSError, unless there is something at an address."""
    with asking(address) as (system, path):
        system.info(path)


def open_file(path: str, *, forwards: bool = False) -> BinaryIO:
    """Open a file on this machine, or at an address; errors as of :func:`asking`.

    A file that is only read ``forwards`` does not need a server that supports range requests.
    """
    if not is_address(path):
        return Path(path).open("rb")
    with asking(path) as (system, remote_path):
        settings = {"block_size": 0} if forwards and path.startswith("http") else {}
        return cast("BinaryIO", system.open(remote_path, "rb", **settings))


def read_address(address: str, most: int) -> bytes:
    """Read a file at an address, up to ``most + 1`` bytes."""
    with open_file(address, forwards=True) as file, asking(address):
        content = bytearray()
        while len(content) <= most and (part := file.read(min(1 << 20, most + 1 - len(content)))):
            content += part
        return bytes(content)


def forget_threads() -> None:
    """Reset fsspec in a forked process, where its thread is gone, which old versions don't detect."""
    asyn = sys.modules.get("fsspec.asyn")
    if asyn is not None and not hasattr(asyn, "reset_after_fork"):
        asyn.iothread[0] = asyn.loop[0] = None
        asyn.reset_lock()


def missing(path: str) -> FileNotFoundError:
    """Return the error for a local path that does not exist; it names one beside it that is spelled nearly so."""
    alike: list[str] = []
    with suppress(OSError):
        beside = {entry.name.lower(): str(entry) for entry in Path(path).parent.iterdir()}
        alike = [beside[name] for name in get_close_matches(Path(path).name.lower(), beside, n=1, cutoff=0.75)]
        alike = alike or [tail for tail in path.split("=")[1:] if Path(tail).exists()]  # names of sets are not typed
    alike = alike or [str(parent) for parent in Path(path).parents if parent.is_file()]
    words = [f"did you mean the word {word!r}?" for word in get_close_matches(path, _WORDS, n=1, cutoff=0.75)]
    words = words or [f"there is {name!r}" for name in alike[:1]]
    words += ["options begin with two hyphens"] * (path[0] in "\u2013\u2014")  # dashes
    words += ["nothing is read from stdin; give a folder, an archive, or a .txt with a path a line"] * (path == "-")
    return FileNotFoundError("; ".join([f"There is no file or folder {path!r}", *words]))


def suffix_of(path: str) -> str:
    """Return the suffix of a file's name, in lower case; for an address, without its query.

    Example:
        >>> suffix_of("https://host/photos.TAR?token=x.png")
        '.tar'

    """
    name = PurePosixPath(urlsplit(path).path if path.startswith("http") and is_address(path) else path).name
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def expand(pattern: str) -> list[str]:
    """Expand a pattern to files: ``{a,b}`` and ``{000..999}`` are enumerated, ``*`` is matched; not an existing file.

    Raises FileNotFoundError if nothing matches, ValueError if braces expand to more files than the limit of one set.

    Example:
        >>> expand("shards/{08..11}.tar")
        ['shards/08.tar', 'shards/09.tar', 'shards/10.tar', 'shards/11.tar']

    """
    if not is_address(pattern) and os.path.lexists(pattern):
        return [pattern]
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = []
    for i, part in enumerate(parts):  # every second one is the content of braces
        if i % 2 == 0:
            choices.append([part])
        elif match := _RANGE.fullmatch(part):
            first, last = match.groups()
            width = len(first) if first.startswith("0") else 0
            check_files(int(last) - int(first) + 1, public(pattern))
            choices.append([f"{number:0{width}}" for number in range(int(first), int(last) + 1)])
        else:
            choices.append(part.split(",") if "," in part else [f"{{{part}}}"])
    check_files(prod(map(len, choices)), public(pattern))
    files: dict[str, None] = {}  # in order, each once
    for text in map("".join, itertools.product(*choices)):
        if not any(sign in text for sign in ("*" if is_address(text) else "*?[")):
            matched = [text]
        elif is_address(text):
            with asking(text) as (system, path):
                matched = [system.unstrip_protocol(file) for file in system.glob(path)]
        else:
            matched = glob(text, recursive=True)  # noqa: PTH207
        files.update(dict.fromkeys(sorted(matched, key=natural_key)))
    if not files:
        raise FileNotFoundError(f"There are no files {public(pattern)!r}; give the folder, or '**/' for those in it")
    return list(files)
