"""Resolve the arguments of DNAExtractor to a network and the outputs to read."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from torchmetrics_dna.extractors.architectures import build_network, without_weights
from torchmetrics_dna.extractors.capture import submodules_in_words
from torchmetrics_dna.extractors.checkpoints import load_weights
from torchmetrics_dna.extractors.presets import PRESETS, Preset
from torchmetrics_dna.extractors.timm_models import data_config, default_layers, is_timm_model, is_timm_name
from torchmetrics_dna.extractors.views import View, plain, views_of
from torchmetrics_dna.extractors.weights import find_ranges, find_weights, local_weights
from torchmetrics_dna.images.properties import LAYER

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torchmetrics_dna.images.resize import Resize


_SIZE_WITHOUT_NETWORK = 16, 16  # pixels; images are loaded at some size


@dataclass(frozen=True)
class Plan:
    """Network with its preprocessing and the outputs to read.

    Attributes:
        name: Name of the extractor.
        network: The network; until its weights are loaded, it may be on the meta device.
        submodules: ``{output: path}`` of the submodules to read; empty to read the network's own outputs.
        outputs: Names of the outputs to read; None for all, empty if no layer of the network is used.
        views: Output and view of each layer; empty if layers are the outputs themselves.
        input_size: Height and width; None to leave images as they are.
        resize: Method of resizing.
        mean: Mean per channel, or None.
        std: Standard deviation per channel, or None.
        ranges: Path or reference of a file of activation ranges, or None.
        load: Callback that loads the weights; a no-op if they are loaded already.

    """

    name: str
    network: nn.Module
    submodules: Mapping[str, str] = field(default_factory=dict)
    outputs: Sequence[str] | None = None
    views: Mapping[str, View] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    resize: Resize = "clean"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    ranges: Path | str | None = None
    load: Callable[[], None] = lambda: None


def plan(feature: str | nn.Module, layers: Sequence[str] | None, weights_path: str | os.PathLike[str] | None) -> Plan:
    """Resolve the arguments of :class:`DNAExtractor`; the layer of properties is not one of the network."""
    if layers is not None:
        _check_layer_names(layers)
    if feature == LAYER:
        if any(layer != LAYER for layer in layers or []):
            raise ValueError(f"Feature {LAYER!r} has no layers but {LAYER!r}, but got {list(layers or [])}")
        return Plan(LAYER, nn.Identity(), outputs=(), input_size=_SIZE_WITHOUT_NETWORK)
    if layers is None:
        return _plan(feature, None, weights_path)
    sources, views = views_of([layer for layer in layers if layer != LAYER])
    base = _plan(feature, sources or None, weights_path)
    if not sources:
        return replace(base, submodules={}, outputs=(), views={})
    # the outputs of a preset may be views themselves
    own = {layer: view.after(base.views[view.source].steps) if base.views else view for layer, view in views.items()}
    # ranges are those of outputs, not of views
    return replace(base, views=own, ranges=base.ranges if plain(views) else None)


def half_of(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return the dtype for autocast, or None for that of the network; ValueError for any other."""
    resolved = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if resolved not in (None, torch.float16, torch.bfloat16):
        raise ValueError(f"Argument `dtype` expected to be 'float16', 'bfloat16' or None, but got {dtype!r}")
    return cast("torch.dtype | None", resolved)


def _plan(feature: str | nn.Module, layers: Sequence[str] | None, weights_path: str | os.PathLike[str] | None) -> Plan:
    if isinstance(feature, nn.Module):
        if weights_path is not None:
            raise ValueError("Argument `weights_path` goes with a named extractor; load the weights into the module")
        if is_timm_model(feature):
            return _from_timm(feature, _timm_name(feature), layers)
        return _from_module(feature, layers)
    if not isinstance(feature, str):
        raise TypeError(
            f"Got unknown input to argument `feature`: expected a name or an nn.Module, but got {feature!r}"
        )
    if feature in PRESETS:
        return _from_preset(PRESETS[feature], layers, weights_path)
    if is_timm_name(feature):
        return _from_timm(_create(feature, weights_path), feature, layers)
    import timm

    close = difflib.get_close_matches(feature, [*PRESETS, LAYER, *timm.list_models()], n=1)
    raise ValueError(
        f"Argument `feature` expected to be a preset ({', '.join(PRESETS)}), a timm model or an nn.Module,"
        f" but got {feature!r}" + (f"; did you mean {close[0]!r}?" if close else "")
    )


def _from_preset(preset: Preset, layers: Sequence[str] | None, weights_path: str | os.PathLike[str] | None) -> Plan:
    chosen = (preset.default_layers or list(preset.submodules)) if layers is None else layers
    for layer in chosen:
        if layer not in preset.submodules:
            layer_names = ", ".join(preset.submodules)
            raise ValueError(f"Unknown layer {layer!r}; the layers of {preset.name} are: {layer_names}")
    path = find_weights(preset, weights_path)  # fail before building the network
    network = build_network(preset)
    views = {layer: View.of(preset.submodules[layer]) for layer in chosen}
    return Plan(
        preset.name,
        network,
        {layer: view.source for layer, view in views.items()},
        views={layer: View(layer, view.steps) for layer, view in views.items()},
        input_size=preset.input_size,
        resize=preset.resize,
        mean=preset.mean,
        std=preset.std,
        ranges=find_ranges(preset, weights_path),
        load=partial(load_weights, network, path, preset),
    )


def _create(name: str, weights_path: str | os.PathLike[str] | None) -> nn.Module:
    import timm

    build = partial(timm.create_model, name, pretrained=weights_path is None)
    try:
        network: nn.Module = build() if weights_path is None else without_weights(build)
    except (OSError, RuntimeError) as err:
        raise RuntimeError(
            f"timm can't fetch the weights of {name!r} ({str(err).splitlines()[0]}); give a local file of them with"
            " `weights_path`, or a module that timm built as `feature`"
        ) from err
    if weights_path is not None:
        load_weights(network, local_weights(name, weights_path))
    return network


def _from_timm(network: nn.Module, name: str, layers: Sequence[str] | None) -> Plan:
    chosen = default_layers(network) if layers is None else layers
    _check_submodules(network, chosen)
    size, mean, std = data_config(network)
    return Plan(name, network, {layer: layer for layer in chosen}, input_size=size, mean=mean, std=std)


def _from_module(network: nn.Module, layers: Sequence[str] | None) -> Plan:
    name = type(network).__name__
    submodules = dict(network.named_modules())
    if layers is None or not any(layer in submodules for layer in layers):
        return Plan(name, network, outputs=layers)
    _check_submodules(network, layers)
    return Plan(name, network, {layer: layer for layer in layers})


def _check_layer_names(layers: Sequence[str]) -> None:
    if isinstance(layers, str) or not layers or not all(isinstance(layer, str) and layer for layer in layers):
        remedy = f"; give [{layers!r}]" if isinstance(layers, str) else ""
        raise ValueError(f"Argument `layers` expected to be a list of layer names, but got {layers!r}{remedy}")
    if len(set(layers)) != len(layers):
        raise ValueError(f"Argument `layers` expected to name each layer once, but got {list(layers)}")


def _check_submodules(network: nn.Module, layers: Sequence[str]) -> None:
    names = [name for name, _ in network.named_modules() if name]
    for layer in layers:
        if layer not in names:
            close = difflib.get_close_matches(layer, names, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            name = type(network).__name__
            raise ValueError(
                f"Unknown layer {layer!r}{meant}; the submodules of {name} are: {submodules_in_words(network)}"
            )


def _timm_name(network: nn.Module) -> str:
    config = network.pretrained_cfg
    name = config.get("architecture") if isinstance(config, dict) else getattr(config, "architecture", None)
    return str(name or type(network).__name__)
