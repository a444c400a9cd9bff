"""Layers and preprocessing of timm's models."""

from __future__ import annotations

from typing import Any

from torch import nn

_CONTAINERS = ("blocks", "stages", "layers")
_FINAL_NORMS = ("norm", "bn2", "head.norm", "fc_norm")


def is_timm_name(name: str) -> bool:
    """True if timm can build a model of this name (with or without a tag of weights)."""
    import timm

    return bool(timm.is_model(name.split(".")[0].removeprefix("timm/")))


def untagged(name: str) -> str:
    """Return the name of an extractor without timm's tag of weights, which their digest tells from others.

    A timm model has one in its name or not, as it was given by name or as a module.

    Example:
        >>> untagged("timm/resnet18.a1_in1k")
        'resnet18'

    """
    architecture, dot, _ = name.removeprefix("timm/").partition(".")
    return architecture if (dot or architecture != name) and is_timm_name(name) else name


def is_timm_model(network: nn.Module) -> bool:
    """True if the network was built by timm."""
    return hasattr(network, "pretrained_cfg") and hasattr(network, "forward_features")


def default_layers(network: nn.Module) -> list[str]:
    """Return the names of every block or stage, and of the final norm."""
    paths: list[str] = []
    for name in _CONTAINERS:
        container = getattr(network, name, None)
        if isinstance(container, (nn.Sequential, nn.ModuleList)) and len(container) > 1:
            paths = [f"{name}.{child}" for child, _ in container.named_children()]
            break
    else:
        feature_info: Any = getattr(network, "feature_info", [])
        paths = [info["module"] for info in feature_info if info.get("module")]
    modules = dict(network.named_modules())
    norms = [n for n in _FINAL_NORMS if n in modules and not isinstance(modules[n], nn.Identity)]
    return paths + norms[:1]


def data_config(network: nn.Module) -> tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]]:
    """Return the input size (height, width), mean and std that the network was trained with."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(network)
    return tuple(config["input_size"][1:]), tuple(config["mean"]), tuple(config["std"])
