"""Read and write published FID statistics: a mean and a covariance of one layer."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torchmetrics_dna.dna.gaussian import LayerGaussianDNA
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.container import read_npz
from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.images.paths import file_system_of, is_address, open_file, suffix_of
from torchmetrics_dna.neurons.index import Neurons

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA

# Name of the extractor and of the layer of statistics, which record neither.
UNNAMED = "statistics"
LAYER = "features"
# Network that computes most published statistics.
FEATURE = "inception_fid"
# Suffixes of pickles, which are never read.
PICKLES = (".pkl", ".pt")
# Arrays of an .npz of statistics, and their files in the archive.
_ARRAYS = ("mu", "sigma")
_MEMBERS = {f"{name}.npy" for name in _ARRAYS}
_PICKLE = (
    "is a pickle, which can run any code when it is read; images go into files or a .npy; of statistics for fd that"
    " you trust, write numpy.savez('x.npz', mu=..., sigma=...), in EDM2's files of stats['fid'] or stats['fd_dinov2'],"
    " and in torch-fidelity's of torch.load('x.pt', weights_only=False)"
)


def is_statistics(path: str | os.PathLike[str]) -> bool:
    """Return True if a path or an address names a file of FID statistics, or a pickle that may hold such statistics.

    An ``.npz`` is recognized by the names of its arrays, ``mu`` and ``sigma``. At an address, only the name of the
    first array is read, since that needs no random access.

    Raises:
        OSError: If the address can't be read.

    """
    suffix = suffix_of(str(path))
    if suffix not in (".npz", *PICKLES):
        return False
    is_remote = is_address(path)
    if not is_remote and not Path(path).is_file():
        return False
    if suffix in PICKLES:
        return True
    if is_remote:
        return _first_member_at(str(path)) in _MEMBERS
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist()) >= _MEMBERS
    except Exception:
        # A damaged file raises an error when it is read.
        return False


def _first_member_at(address: str) -> str:
    """Return the name of the first member of a zip file at an address. Names are cut off after 34 characters."""
    with open_file(address, forwards=True) as file, file_system_of(address):
        head = file.read(64)
    # A zip file begins with the header of its first member. The length of its name is at byte 26, the name at 30.
    length = int.from_bytes(head[26:28], "little")
    name = head[30 : 30 + length]
    return name.decode("ascii", "replace")


def load_fid_statistics(path: str | os.PathLike[str]) -> LayerGaussianDNA:
    """Read a mean and a covariance: ``mu`` and ``sigma`` of an ``.npz``.

    ADM, EDM, clean-fid, pytorch-fid and dgm-eval write such files. The files record neither the network nor the number
    of images. So ``num_images`` is 0, and the network is assumed to be that of the DNA or the images with which the
    statistics are compared.

    Args:
        path: The file.

    Returns:
        A DNA with one layer, ``"features"``, and an unnamed extractor.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is a pickle, has another format, or is damaged.

    """
    if suffix_of(str(path)) in PICKLES:
        raise ValueError(f"{str(path)!r} {_PICKLE}")
    with refusing(path, "statistics of FID"):
        arrays = read_npz(path, _ARRAYS)
        if any(array.dtype.kind != "f" for array in arrays.values()):
            raise ValueError("its mu and sigma are not of floating point")
        mean = torch.from_numpy(arrays["mu"].astype(np.float64))
        cov = torch.from_numpy(arrays["sigma"].astype(np.float64))
        if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
            raise ValueError(
                f"its mu and sigma are of shapes {tuple(mean.shape)} and {tuple(cov.shape)}, expected (n,) and (n, n)"
            )
        return LayerGaussianDNA(mean, {LAYER: cov}, Neurons({LAYER: len(mean)}), 0, UNNAMED)


def save_fid_statistics(dna: LayerGaussianDNA, path: str | os.PathLike[str]) -> None:
    """Write an ``.npz`` of ``mu`` and ``sigma``, float64, in the format of ADM, clean-fid and pytorch-fid.

    Args:
        dna: DNA of one layer. Use :meth:`~torchmetrics_dna.dna.base.DNA.select` to select a layer.
        path: The file. An existing file is replaced atomically.

    Raises:
        ValueError: If the DNA has several layers.
        OSError: If the file can't be written.

    """
    if len(dna.neurons) != 1:
        raise ValueError(f"Statistics of FID are of one layer, but got {dna.neurons!r}; choose one by select([...])")
    (cov,) = dna.cov.values()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, mu=dna.mean.cpu().numpy(), sigma=cov.cpu().numpy())


def is_unnamed(dna: DNA) -> bool:
    """Return True for statistics of an unknown network."""
    return dna.extractor == UNNAMED


def named(dna: DNA, neurons: Neurons, **origin: Any) -> DNA:
    """Assign statistics of an unknown network to the only layer of an extractor. Other DNAs are returned unchanged.

    Args:
        dna: The DNA.
        neurons: Neurons of the extractor.
        origin: Fields of the DNA to set: ``extractor``, ``weights_digest`` and so on.

    Raises:
        ValueError: If the numbers of neurons differ.

    """
    if not is_unnamed(dna) or not isinstance(dna, LayerGaussianDNA):
        return dna
    width = len(dna.mean)
    if list(neurons.values()) != [width]:
        raise ValueError(
            f"The statistics are of one layer of {width:,} neurons, but {origin['extractor']!r} has {neurons!r}; pass"
            " the feature and layer that they are of"
        )
    (layer,) = neurons
    return replace(dna, cov={layer: dna.cov[LAYER]}, neurons=neurons, **origin)
