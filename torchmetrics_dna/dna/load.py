"""Load and describe DNA files in the native format or that of vdna, on disk, at addresses or on the hub.

Functions import modules that need torch when they are called, since an import of torch takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from torchmetrics_dna.dna.vdna_files import is_vdna_path
from torchmetrics_dna.files.container import is_container
from torchmetrics_dna.files.download import PREFIX, fetch
from torchmetrics_dna.images.paths import download, is_address, suffix_of
from torchmetrics_dna.options import written
from torchmetrics_dna.warning import warn

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.neurons.ranges import Ranges

_D = TypeVar("_D", bound="DNA")


def load_dna(path: str | os.PathLike[str], ranges: Ranges = None) -> DNA:
    """Read a DNA of any representation.

    Args:
        path: The path of one of these:

            - A file that ``save`` wrote.
            - A ``.json`` and an ``.npz`` of the reference implementation: either file, or their path without a suffix.
            - Statistics of FID, see :func:`~torchmetrics_dna.dna.fid_statistics.load_fid_statistics`.

            A file on the Hugging Face hub has the path ``hub:OWNER/REPO/path`` or ``hub:datasets/OWNER/REPO/path``.
            ``@REVISION`` may follow the repository. Files of ``save`` and statistics of FID may also be at an address,
            such as ``s3://bucket/x.dna.npz``.
        ranges: Activation ranges of a histogram of vdna, or the path of their file, since files of vdna don't store
            ranges.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If an address can't be read, or if the hub can't be reached and its cache does not have the file.
        ValueError: If the file is not a DNA file or is damaged, or if its ranges differ from ``ranges``.

    """
    from torchmetrics_dna.dna.fid_statistics import PICKLES, is_statistics, load_fid_statistics
    from torchmetrics_dna.dna.vdna import load_vdna
    from torchmetrics_dna.neurons.ranges import ActivationRanges

    if suffix_of(str(path)) in PICKLES:
        # This raises the error for pickles before a file is downloaded.
        return load_fid_statistics(path)
    with _local_copy(path) as file:
        if is_vdna_path(file):
            dna_or_ranges = load_vdna(file, ranges)
            if isinstance(dna_or_ranges, ActivationRanges):
                raise ValueError(f"{str(file)!r} holds activation ranges, not a DNA; load_vdna reads them")
            return dna_or_ranges
        if is_statistics(file):
            return load_fid_statistics(file)
        _check_dna_file(file)
        return _load_saved(file, ranges)


def _load_saved(file: str | os.PathLike[str], ranges: Ranges) -> DNA:
    """Read a file that ``save`` wrote; ValueError if the file has other activation ranges than ``ranges``."""
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.vdna import with_ranges

    dna = DNA.load(file)
    dna_with_given_ranges = with_ranges(dna, ranges)
    # Only histograms have ranges.
    own_ranges = getattr(dna, "ranges", None)
    given_ranges = getattr(dna_with_given_ranges, "ranges", None)
    if own_ranges and given_ranges and own_ranges.digest != given_ranges.digest:
        raise ValueError(
            f"{str(file)!r} was counted within the ranges {own_ranges.digest} ({own_ranges.label}), but"
            f" {written('ranges')} is {given_ranges.digest} ({given_ranges.label})"
        )
    return dna_with_given_ranges


def merge_files(paths: Sequence[str | os.PathLike[str]]) -> DNA:
    """Merge the DNAs of several files. At most two DNAs are in memory at a time.

    Errors are those of :func:`load_dna`.

    Warns:
        UserWarning: If two files hold equal DNAs, since the same images may then be counted twice.

    """
    from torchmetrics_dna.dna.base import merged

    path_of_digest: dict[str, str] = {}

    def load(path: str | os.PathLike[str]) -> DNA:
        """Read a DNA, and warn if an earlier file holds an equal DNA."""
        dna = load_dna(path)
        equal_file = path_of_digest.get(dna.digest)
        if equal_file is not None and dna.num_images:
            warn(
                f"{str(path)!r} and {equal_file!r} hold equal DNAs: are their {dna.num_images} images the same?"
                " They are counted twice",
            )
        path_of_digest[dna.digest] = str(path)
        return dna

    return merged(map(load, paths))


def given_dna(
    reference: _D | str | os.PathLike[str] | None,
    representation: type[_D],
    ranges: Ranges = None,
    argument: str = "reference",
) -> list[_D]:
    """Return a list with the DNA that the user passed, or an empty list if there is none.

    Args:
        reference: The DNA, or the path of its file; None if there is none.
        representation: Class that the DNA must have.
        ranges: Activation ranges of a histogram of vdna.
        argument: Name of the argument, for errors.

    Raises:
        TypeError: If the DNA is of another class.

    """
    from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA

    if reference is None:
        return []
    dna: Any
    if isinstance(reference, (str, os.PathLike)):
        dna = load_dna(reference, None if ranges == "auto" else ranges)
    else:
        dna = reference
    if representation is GaussianDNA and isinstance(dna, LayerGaussianDNA):
        dna = dna.to_gaussian()
    if not isinstance(dna, representation):
        raise TypeError(
            f"Argument `{argument}` expected to be a {representation.__name__} or the path of one, but got"
            f" {type(dna).__name__}; make one by make_dna(images, kind={representation.kind!r})"
        )
    return [dna]


def describe(path: str) -> dict[str, Any]:
    """Read a DNA file as :func:`load_dna` does, and return a JSON-serializable description."""
    if not is_address(path) and not path.startswith(PREFIX):
        # A missing file is reported before torch is imported.
        _check_dna_file(path)
    from torchmetrics_dna.dna import GaussianDNA, HistogramDNA

    dna = load_dna(path)
    description: dict[str, Any] = {
        "kind": dna.kind,
        "digest": dna.digest,
        "extractor": dna.extractor,
        "weights_digest": dna.weights_digest,
        "preparation": dna.preparation,
        "num_images": dna.num_images,
        "num_folds": len(dna.folds),
        "num_neurons": dna.neurons.total,
    }
    if isinstance(dna, HistogramDNA):
        ranges = dna.ranges
        description["num_bins"] = dna.num_bins
        description["ranges"] = None
        if ranges is not None:
            description["ranges"] = {"name": ranges.name, "margin": ranges.margin, "digest": ranges.digest}
    if isinstance(dna, GaussianDNA):
        description["statistics"] = dna.statistics
    description["notes"] = dna.notes
    description["layers"] = _describe_layers(dna)
    return description


def _describe_layers(dna: DNA) -> dict[str, dict[str, int]]:
    """Return the number of neurons of each layer. For histograms, also the number of values and the largest count."""
    from torchmetrics_dna.dna import HistogramDNA

    layers = {layer: {"neurons": width} for layer, width in dna.neurons.items()}
    if isinstance(dna, HistogramDNA):
        for layer, counts in dna.by_layer().items():
            layers[layer]["values"] = int(counts[0].sum())
            layers[layer]["largest count"] = int(counts.max())
    return layers


def is_dna_path(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Return True if an argument is the path of a DNA file. Otherwise, it is images."""
    from torchmetrics_dna.dna.fid_statistics import is_statistics

    if not isinstance(source, (str, os.PathLike)):
        return False
    text = str(source)
    if text.startswith(PREFIX):
        return True
    if is_address(text):
        return text.endswith(".dna.npz") or is_statistics(text)
    # A folder holds images, even if its name is that of a DNA file.
    if Path(text).is_dir():
        return False
    if text.endswith(".npz"):
        return _is_dna_npz(text)
    if is_vdna_path(text) or is_statistics(text):
        return True
    return Path(text).is_file() and is_container(text)


def _is_dna_npz(path: str) -> bool:
    """Return True if a local ``.npz`` file is read as a DNA. It may also hold images, such as generated samples."""
    from torchmetrics_dna.images.arrays import holds_images

    # A missing file is taken as a DNA, so that the error says that there is no such DNA file.
    if not Path(path).is_file():
        return True
    # Files of DNAs may have arrays that look like images.
    if is_vdna_path(path) or is_container(path):
        return True
    # Files without images are FID statistics or damaged DNA files.
    return not holds_images(path)


def _check_dna_file(path: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError unless a file, or a pair of files of vdna, exists."""
    from torchmetrics_dna.extractors.presets import PRESETS

    if Path(path).is_file() or is_vdna_path(path):
        return
    if Path(path).is_dir():
        raise FileNotFoundError(f"{str(path)!r} is a folder, not a DNA file; make the DNA of its images first")
    name = Path(path).name
    message = f"There is no DNA file {str(path)!r}"
    if not name.endswith(".npz"):
        message += f", nor {name}.json with {name}.npz of vdna"
    # The user may have meant an extractor instead of a file.
    if name in PRESETS:
        message += "; without one, `info` lists extractors"
    raise FileNotFoundError(message)


@contextmanager
def _local_copy(path: str | os.PathLike[str]) -> Iterator[str | os.PathLike[str]]:
    """Yield a local path of a DNA. The copy of a file at an address is deleted when the context exits."""
    if str(path).startswith(PREFIX):
        yield _fetched(str(path))
    elif is_address(path):
        with TemporaryDirectory() as folder:
            # The suffix is kept, since the format is recognized by it.
            file = Path(folder, f"x{suffix_of(path)}")
            download(path, file)
            try:
                yield file
            except ValueError as err:
                raise ValueError(str(err).replace(str(file), path)) from err
    else:
        yield path


def _fetched(reference: str) -> Path:
    """Download a file from the hub, and return its local path. For files of vdna, download both files of the pair."""
    from torchmetrics_dna.dna.fid_statistics import is_statistics

    if not reference.endswith(".npz"):
        stem = reference.removesuffix(".json")
        fetch(f"{stem}.npz")
        return fetch(f"{stem}.json")
    fetched = fetch(reference)
    # Any other .npz is one file of a pair of files of vdna.
    if not is_container(fetched) and not is_statistics(fetched):
        fetch(reference.removesuffix(".npz") + ".json")
    return fetched
