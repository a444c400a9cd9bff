"""Tell DNA files from others, describe and load them: ours or official ones, on disk, at addresses or on the hub.

What needs torch, whose import takes seconds, is imported where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

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
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.fid_statistics import PICKLES, is_statistics, load_fid_statistics
    from torchmetrics_dna.dna.vdna import load_vdna, with_ranges
    from torchmetrics_dna.neurons.ranges import ActivationRanges

    if suffix_of(str(path)) in PICKLES:  # refused without fetching it
        return load_fid_statistics(path)
    with _local_copy(path) as file:
        if is_official(file):
            official = load_vdna(file, ranges)
            if isinstance(official, ActivationRanges):
                raise ValueError(f"{str(file)!r} holds activation ranges, not a DNA; load_vdna reads them")
            return official
        if is_statistics(file):
            return load_fid_statistics(file)
        _check_dna_file(file)
        dna = DNA.load(file)
        bounded = with_ranges(dna, ranges)
        counted_within, asked_for = (getattr(each, "ranges", None) for each in (dna, bounded))
        if counted_within and asked_for and counted_within.digest != asked_for.digest:
            raise ValueError(
                f"{str(file)!r} was counted within the ranges {counted_within.digest} ({counted_within.label}), but"
                f" {written('ranges')} is {asked_for.digest} ({asked_for.label})"
            )
        return bounded


def merge_files(paths: Sequence[str | os.PathLike[str]]) -> DNA:
    """Merge the DNAs of several files, with at most two in memory at a time; errors as of :func:`load_dna`.

    Warns:
        UserWarning: If two files hold equal DNAs, so that the same images may be counted twice.

    """
    from torchmetrics_dna.dna.base import merged

    seen: dict[str, str] = {}

    def load(path: str | os.PathLike[str]) -> DNA:
        dna = load_dna(path)
        if dna.digest in seen and dna.num_images:
            warn(
                f"{str(path)!r} and {seen[dna.digest]!r} hold equal DNAs: are their {dna.num_images} images the same?"
                " They are counted twice",
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
    """Resolve ``argument``, a DNA or its path, to a list of one DNA of class ``kind`` (else TypeError), or of none."""
    from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA

    if reference is None:
        return []
    value: Any = reference
    if isinstance(reference, (str, os.PathLike)):
        value = load_dna(reference, None if ranges == "auto" else ranges)
    if kind is GaussianDNA and isinstance(value, LayerGaussianDNA):
        value = value.to_gaussian()  # it holds one
    if not isinstance(value, kind):
        raise TypeError(
            f"Argument `{argument}` expected to be a {kind.__name__} or the path of one, but got"
            f" {type(value).__name__}; make one by make_dna(images, kind={kind.kind!r})"
        )
    return [value]


def describe(path: str) -> dict[str, Any]:
    """Check a DNA file that :func:`load_dna` reads, and return a JSON-serializable description of it."""
    if not is_address(path) and not path.startswith(PREFIX):
        _check_dna_file(path)
    from torchmetrics_dna.dna import GaussianDNA, HistogramDNA

    dna = load_dna(path)
    layers = {layer: {"neurons": width} for layer, width in dna.neurons.items()}
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
        description["ranges"] = ranges and {"name": ranges.name, "margin": ranges.margin, "digest": ranges.digest}
        for layer, counts in dna.by_layer().items():
            layers[layer] |= {"values": int(counts[0].sum()), "largest count": int(counts.max())}
    if isinstance(dna, GaussianDNA):
        description["statistics"] = dna.statistics
    return {**description, "notes": dna.notes, "layers": layers}


def is_dna_path(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """True if an argument that may also be images is the path of a DNA file."""
    from torchmetrics_dna.dna.fid_statistics import is_statistics
    from torchmetrics_dna.images.arrays import holds_images

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
    return is_official(text) or is_statistics(text) or (Path(text).is_file() and is_container(text))


def is_official(path: str | os.PathLike[str]) -> bool:
    """True if a path is either of the two files of the official implementation, or their stem and no file itself."""
    pair = vdna_pair(path)
    return pair is not None and not is_container(pair[1])


def vdna_pair(path: str | os.PathLike[str]) -> tuple[Path, Path] | None:
    """Return the ``.json`` and ``.npz`` of a path that is either of them or their stem; None unless both exist."""
    path = Path(path)
    if path.is_file():  # an existing file is never a stem
        if path.suffix not in (".json", ".npz"):
            return None
        path = path.with_suffix("")
    pair = Path(f"{path}.json"), Path(f"{path}.npz")
    return pair if all(file.is_file() for file in pair) else None


def _check_dna_file(path: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError unless a file or an official pair exists."""
    if not Path(path).is_file() and not is_official(path):
        if Path(path).is_dir():
            raise FileNotFoundError(f"{str(path)!r} is a folder, not a DNA file; make the DNA of its images first")
        name = Path(path).name
        official = "" if name.endswith(".npz") else f", nor an official {name}.json with {name}.npz"
        from torchmetrics_dna.extractors.presets import PRESETS

        extractor = "; without one, `info` lists extractors" if name in PRESETS else ""
        raise FileNotFoundError(f"There is no DNA file {str(path)!r}{official}{extractor}")


@contextmanager
def _local_copy(path: str | os.PathLike[str]) -> Iterator[str | os.PathLike[str]]:
    """Yield a local path of a DNA; a file at an address is deleted when the context exits.

    Of an official pair on the hub, both files are fetched, into the same folder.
    """
    reference = str(path)
    if reference.startswith(PREFIX) and not reference.endswith(".npz"):
        stem = reference.removesuffix(".json")
        fetch(f"{stem}.npz")
        yield fetch(f"{stem}.json")
    elif reference.startswith(PREFIX):
        from torchmetrics_dna.dna.fid_statistics import is_statistics

        fetched = fetch(reference)
        if not is_container(fetched) and not is_statistics(fetched):
            fetch(reference.removesuffix(".npz") + ".json")
        yield fetched
    elif is_address(path):
        with TemporaryDirectory() as folder:
            file = Path(folder, f"x{suffix_of(path)}")  # the suffix tells the format
            download(path, file)
            try:
                yield file
            except ValueError as err:
                raise ValueError(str(err).replace(str(file), path)) from err
    else:
        yield path
