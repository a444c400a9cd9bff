"""Load DNA files of any kind and origin: ours or official ones, on disk or on the hub."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from torchmetrics_dna.dna.base import DNA, merged
from torchmetrics_dna.dna.fid_statistics import PICKLES, is_statistics, load_fid_statistics
from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.dna.paths import check_dna_file, is_official
from torchmetrics_dna.dna.vdna import load_vdna, with_ranges
from torchmetrics_dna.files.container import is_container
from torchmetrics_dna.files.download import PREFIX, fetch
from torchmetrics_dna.images.addresses import download, is_address, suffix_of
from torchmetrics_dna.images.arrays import holds_images
from torchmetrics_dna.neurons.ranges import ActivationRanges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Ranges = ActivationRanges | str | os.PathLike[str] | None

_D = TypeVar("_D", bound=DNA)


def load_dna(path: str | os.PathLike[str], ranges: Ranges = None) -> DNA:
    """Read a DNA of any kind.

    Args:
        path: A file that ``save`` wrote; the stem (or either file) of the official implementation's ``.json`` and
            ``.npz``; or any of these on the Hugging Face hub, as ``hub:OWNER/REPO/path`` or
            ``hub:datasets/OWNER/REPO/path``, where ``@REVISION`` may follow the repository; or statistics of FID, see
            :func:`~torchmetrics_dna.dna.fid_statistics.load_fid_statistics`; or these or a file of ours at an address,
            such as ``s3://bucket/x.dna.npz``.
        ranges: Activation ranges, or the path of a file of them, for official histograms, which don't keep theirs.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub can't be reached, and its cache does not have the file, or an address can't be read.
        ValueError: If it is not a DNA file, is damaged, or has ranges other than ``ranges``.

    """
    if suffix_of(str(path)) in PICKLES:  # refused without fetching it
        return load_fid_statistics(path)
    with _local_copy(path) as file:
        read = next((read for claims, read in _OTHER_FORMATS if claims(file)), _read_own)
        return read(file, ranges)


def merge_files(paths: Sequence[str | os.PathLike[str]]) -> DNA:
    """Merge the DNAs of several files, with at most two in memory at a time.

    Warns:
        UserWarning: If two files hold equal DNAs, so that the same images may be counted twice.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file can't be read, or the DNAs are not comparable.

    """
    seen: dict[str, str] = {}

    def load(path: str | os.PathLike[str]) -> DNA:
        dna = load_dna(path)
        if dna.digest in seen and dna.num_images:
            warnings.warn(
                f"{str(path)!r} and {seen[dna.digest]!r} hold equal DNAs: are their {dna.num_images} images the same?"
                " They are counted twice",
                stacklevel=4,
            )
        seen[dna.digest] = str(path)
        return dna

    return merged(map(load, paths))


def given_dna(
    reference: _D | str | os.PathLike[str] | None,
    kind: type[_D],
    ranges: Ranges = None,
    argument: str = "reference",
) -> list[_D]:
    """Resolve ``argument``, a DNA or its path, to a list of one DNA; empty for None.

    Raises:
        TypeError: If it is not a DNA of class ``kind``.

    """
    if reference is None:
        return []
    value: Any = reference
    if isinstance(reference, (str, os.PathLike)):
        value = load_dna(reference, None if ranges == "auto" else ranges)
    if kind is GaussianDNA and isinstance(value, LayerGaussianDNA):
        value = value.to_gaussian()  # it holds one
    if not isinstance(value, kind):
        raise TypeError(
            f"Argument `{argument}` expected to be a {kind.__name__} or the path of one, but got {type(value).__name__}"
        )
    return [value]


def is_dna_path(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """True if an argument that may also be images is the path of a DNA file."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    text = str(source)
    if text.startswith(PREFIX):
        return True
    if is_address(text):
        return text.endswith(".dna.npz") or is_statistics(text)
    if text.endswith(".npz"):  # generated samples are often .npz files, too
        return is_official(text) or not Path(text).is_file() or is_container(text) or not holds_images(text)
    if Path(text).is_dir():
        return False
    return any(claims(text) for claims, _ in _OTHER_FORMATS) or (Path(text).is_file() and is_container(text))


def _read_own(path: str | os.PathLike[str], ranges: Ranges) -> DNA:
    """Read a file of ours, of any kind; ValueError if it was counted within other ranges."""
    check_dna_file(path)
    dna = DNA.load(path)
    if ranges is None or not isinstance(dna, HistogramDNA):
        return dna
    bounded = with_ranges(dna, ranges)
    if dna.ranges is not None and dna.ranges.digest != bounded.known_ranges.digest:
        raise ValueError(
            f"{str(path)!r} was counted within the ranges {dna.ranges.digest} ({dna.ranges.label}), but argument"
            f" `ranges` gives {bounded.known_ranges.digest} ({bounded.known_ranges.label})"
        )
    return bounded


def _read_official(path: str | os.PathLike[str], ranges: Ranges) -> DNA:
    official = load_vdna(path, ranges)
    if isinstance(official, ActivationRanges):
        raise ValueError(f"{str(path)!r} holds activation ranges, not a DNA; load_vdna reads them")
    return official


# formats of others: a predicate on a local path, and its reader
_OTHER_FORMATS = ((is_official, _read_official), (is_statistics, lambda path, _: load_fid_statistics(path)))


@contextmanager
def _local_copy(path: str | os.PathLike[str]) -> Iterator[str | os.PathLike[str]]:
    """Yield a local path of a DNA; a file at an address is deleted when the context exits."""
    if str(path).startswith(PREFIX):
        yield _fetched(str(path))
        return
    if not is_address(path):
        yield path
        return
    with TemporaryDirectory() as folder:
        file = Path(folder, f"x{suffix_of(path)}")  # the suffix tells the format
        download(path, file)
        try:
            yield file
        except ValueError as err:
            raise ValueError(str(err).replace(str(file), path)) from err


def _fetched(reference: str) -> Path:
    """Fetch a DNA from the hub; for an official pair both files, into the same folder."""
    file = reference.rpartition("/")[2]
    if Path(file).suffix == ".npz":
        path = fetch(reference)
        if not is_container(path) and not is_statistics(path):
            fetch(reference.removesuffix(".npz") + ".json")
        return path
    stem = reference.removesuffix(".json")
    fetch(f"{stem}.npz")
    return fetch(f"{stem}.json")
