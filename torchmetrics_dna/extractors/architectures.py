"""Build the networks of presets from their libraries, before weights are loaded."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import init

from torchmetrics_dna.extractors.meta import Skipping
from torchmetrics_dna.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchmetrics_dna.extractors.presets import Preset


_INITIALIZERS = (init.kaiming_uniform_, init.normal_, init.uniform_, Tensor.erfinv_, Tensor.normal_, Tensor.uniform_)


def build_network(preset: Preset) -> nn.Module:
    """Build the network of a preset without weights, on the meta device, at no cost in time and memory.

    Raises:
        ModuleNotFoundError: If its library is missing.

    """
    library, _, name = preset.architecture.partition(":")
    network = without_weights(_LIBRARIES[library](name, **preset.options))
    for part in (prefix.removesuffix(".") for prefix in preset.unused):
        if isinstance(getattr(network, part, None), nn.Module):
            setattr(network, part, nn.Identity())
    return network


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network on the meta device if it can be there: its weights then cost no time and memory."""
    network = None
    # imports are done: these may create tensors
    with suppress(Exception), torch.device("meta"), Skipping(*_INITIALIZERS):
        network = build()
    if network is None or not {name for name, _ in network.named_buffers()} <= network.state_dict().keys():
        # non-persistent buffers are computed, not loaded, so they need real memory
        network = build()
    return network


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    import timm

    return partial(timm.create_model, name, pretrained=False, **options)


def _torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    """Return a builder of a model, or of a submodule with a dot in the name."""
    import torchvision.models

    model, _, part = name.partition(".")
    return lambda: getattr(torchvision.models, model)(weights=None, **options).get_submodule(part)


def _own(name: str) -> Callable[[], nn.Module]:
    """Return a builder in a file beside this one, by ``file.function``."""
    file, _, function = name.partition(".")
    if file == "autoencoder":
        require("diffusers", "diffusers")
    builder: Callable[[], nn.Module] = getattr(import_module(f"torchmetrics_dna.extractors.{file}"), function)
    return builder


_LIBRARIES: dict[str, Callable[..., Callable[[], nn.Module]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "own": _own,
}
