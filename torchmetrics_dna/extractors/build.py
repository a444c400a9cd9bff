"""Build the network that is asked for by name; find the layers to read, and how its images are prepared."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.parameter import is_lazy

from torchmetrics_dna.checks import brief
from torchmetrics_dna.extractors.meta import Skipping
from torchmetrics_dna.extractors.modules import device_of, submodules_in_words, unwrapped
from torchmetrics_dna.extractors.preparation import Preparation
from torchmetrics_dna.extractors.presets import PRESETS, Preset
from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.extractors.weights import find_ranges, find_weights, load_weights, local_weights
from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import first_line
from torchmetrics_dna.images.noun import IDENTITY, is_identity
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.options import argument, written

_SIZE_WITHOUT_NETWORK = 16, 16  # pixels; images are loaded at some size
_CONTAINERS = ("blocks", "stages", "layers")  # of timm's models
_FINAL_NORMS = ("norm", "bn2", "head.norm", "fc_norm")
# Name of the final norm of a transformer in presets. In timm's models, it has the name of its submodule.
_LAST_NORM = "last_norm"
_INITIALIZERS = (init.kaiming_uniform_, init.normal_, init.uniform_, Tensor.erfinv_, Tensor.normal_, Tensor.uniform_)


class Built(NamedTuple):
    """Network, and the layers to read."""

    name: str  # of the extractor
    network: nn.Module  # until its weights are loaded, it may be on the meta device
    preparation: Preparation = Preparation()  # its usual one
    submodules: Mapping[str, str] = {}  # ``{output: path}`` of those to read; empty to read the network's own outputs
    views: Mapping[str, View] | None = None  # of each layer; None for all outputs, empty if no output is used
    ranges: Path | str | None = None  # packaged file of activation ranges, or a reference for ``download.py``
    load: Callable[[], None] = lambda: None  # loads the weights, if they are not loaded yet
    renamed: Mapping[str, str] = {}  # own name of each output that was asked for by the name in other networks
    layers: Sequence[str] | None = None  # layers that were asked for, by their own names


_FILES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz", ".json")


def build(
    feature: str | nn.Module,
    layers: Sequence[str] | None,
    weights_path: str | os.PathLike[str] | None,
    of_images: bool = True,
) -> Built:
    """Resolve the arguments of :class:`DNAExtractor`; the layer of properties is not one of the network.

    A network that is not ``of_images`` is a module, even where timm built it.
    """
    if layers is not None:
        if isinstance(layers, str) or not layers or not all(isinstance(layer, str) and layer for layer in layers):
            remedy = f"; give [{layers!r}]" if isinstance(layers, str) else ""
            raise ValueError(f"Argument `layers` expected to be a list of layer names, but got {brief(layers)}{remedy}")
        _check_distinct(layers, layers)
    if is_identity(feature) and layers is None and weights_path is None:
        return Built(str(feature), nn.Identity(), views={"embedding": View("output")})
    if feature == LAYER:
        if any(layer != LAYER for layer in layers or []):
            raise ValueError(f"Feature {LAYER!r} has no layers but {LAYER!r}, but got {list(layers or [])}")
        return Built(LAYER, nn.Identity(), Preparation(_SIZE_WITHOUT_NETWORK), views={})
    if layers is None:
        return _build(feature, None, weights_path, of_images)
    views = {layer: View.of(layer) for layer in layers if layer != LAYER}
    sources = list(dict.fromkeys(view.source for view in views.values()))
    built = _build(feature, sources or None, weights_path, of_images)
    own_names = [_own_name(layer, built.renamed) for layer in layers]
    _check_distinct(own_names, layers)
    views = {layer: View.of(layer) for layer in own_names if layer != LAYER}
    built = built._replace(layers=own_names)
    if not views:
        return built._replace(submodules={}, views={})
    if any(view.steps for view in views.values()):  # ranges are those of outputs, not of views
        built = built._replace(ranges=None)
    # the outputs of a preset may be views themselves
    own = {layer: view.after(built.views[view.source].steps) if built.views else view for layer, view in views.items()}
    return built._replace(views=own)


def _check_distinct(names: Sequence[str], layers: Sequence[str]) -> None:
    """Raise ValueError if two of the names are equal; ``layers`` are the names as they were given."""
    if len(set(names)) != len(names):
        raise ValueError(f"{argument('layers')} expected to name each layer once, but got {list(layers)}")


def _own_name(layer: str, renamed: Mapping[str, str]) -> str:
    """Return the name of a layer, or of a view of one, with the network's own name of the output."""
    source, colon, steps = layer.partition(":")
    return renamed.get(source, source) + colon + steps


def _build(
    feature: str | nn.Module,
    layers: Sequence[str] | None,
    weights_path: str | os.PathLike[str] | None,
    of_images: bool,
) -> Built:
    if isinstance(feature, nn.Module):
        if weights_path is not None:
            raise ValueError("Argument `weights_path` goes with a named extractor; load the weights into the module")
        if device_of(feature).type == "meta":
            raise ValueError("The module is on the meta device, so it has no weights; load them before")
        for parameter, tensor in feature.named_parameters():
            if is_lazy(tensor):
                raise ValueError(
                    f"The module's {parameter!r} has no shape before its first call; call the module on a batch before"
                )
        inner = unwrapped(feature)
        if of_images and hasattr(inner, "pretrained_cfg") and hasattr(inner, "forward_features"):  # built by timm
            config = inner.pretrained_cfg
            name = config.get("architecture") if isinstance(config, dict) else getattr(config, "architecture", None)
            return _of_timm(feature, str(name or type(inner).__name__), layers)
        is_script = isinstance(inner, torch.jit.ScriptModule)
        name = str(inner.original_name) if is_script else type(inner).__name__
        submodules = dict(inner.named_modules())
        if layers is None or not any(layer in submodules for layer in layers):
            return Built(name, feature, views=None if layers is None else {layer: View(layer) for layer in layers})
        if is_script:
            raise ValueError(
                f"Argument `layers` can't be read within a ScriptModule, but got {list(layers)}; leave it out, or give"
                " the module as it was before `torch.jit`"
            )
        _check_submodules(inner, layers)
        return Built(name, feature, submodules={layer: layer for layer in layers})
    if not isinstance(feature, str):
        fid = "; for FID's network, give 'inception_fid'" if isinstance(feature, int) else ""
        raise TypeError(
            f"Got unknown input to argument `feature`: expected a name or an nn.Module, but got {brief(feature)}{fid}"
        )
    if feature in PRESETS:
        return _of_preset(PRESETS[feature], layers, weights_path)
    if is_timm_name(feature):
        return _of_timm(_fetched(feature, weights_path), feature, layers)
    import timm

    file = (
        f"; files of weights go to {written('weights_path')}, those to write to `save`"
        if Path(feature).suffix in _FILES
        else ""
    )
    file += "; a module of your own goes to `DNAExtractor`, in Python" * (":" in feature)
    file += "; several sets go into a dict: {'b': 'b/', 'c': 'c/'}" if Path(feature).is_dir() else ""
    close = [name for name in PRESETS if name.startswith(feature)]  # before models of similar length
    last = feature.rpartition("/")[2].partition(":")[0]  # of "timm/resnet18"
    close += difflib.get_close_matches(last, [*PRESETS, LAYER, IDENTITY, *timm.list_models()], n=1)
    raise ValueError(
        f"{argument('feature')} expected to be a preset ({', '.join(PRESETS)}), a timm model or an nn.Module,"
        f" but got {brief(feature)}{file}" + (f"; did you mean {close[0]!r}?" if close else "")
    )


def _of_preset(preset: Preset, layers: Sequence[str] | None, weights_path: str | os.PathLike[str] | None) -> Built:
    chosen = (preset.default_layers or list(preset.submodules)) if layers is None else layers
    path_of_norm = preset.submodules.get(_LAST_NORM)
    renamed = {} if path_of_norm is None or path_of_norm not in chosen else {path_of_norm: _LAST_NORM}
    chosen = [renamed.get(layer, layer) for layer in chosen]
    for layer in chosen:
        if layer not in preset.submodules:
            layer_names = ", ".join(preset.submodules)
            raise ValueError(f"Unknown layer {layer!r}; the layers of {preset.name} are: {layer_names}")
    path = find_weights(preset, weights_path)  # fail before building the network
    network = build_network(preset)
    views = {layer: View.of(preset.submodules[layer]) for layer in chosen}
    return Built(
        preset.name,
        network,
        Preparation(preset.input_size, resize=preset.resize, mean=preset.mean, std=preset.std),
        {layer: view.source for layer, view in views.items()},
        {layer: View(layer, view.steps) for layer, view in views.items()},
        find_ranges(preset, weights_path),
        partial(load_weights, network, path, preset),
        renamed,
    )


def _fetched(name: str, weights_path: str | os.PathLike[str] | None) -> nn.Module:
    """Build a model of timm with its weights, or with those of a file."""
    import timm

    create = partial(timm.create_model, name, pretrained=weights_path is None)
    try:
        network: nn.Module = create() if weights_path is None else without_weights(create)
    except (OSError, RuntimeError) as err:
        raise RuntimeError(
            f"timm can't fetch the weights of {name!r} ({first_line(err)}); pass a local file of them as"
            f" {written('weights_path')}, or in Python a module that timm built as `feature`"
        ) from err
    if weights_path is not None:
        load_weights(network, local_weights(name, weights_path))
    return network


def _of_timm(network: nn.Module, name: str, layers: Sequence[str] | None) -> Built:
    from timm.data import resolve_model_data_config

    inner = unwrapped(network)
    chosen = _default_layers(inner) if layers is None else layers
    norm = _final_norm(inner)
    renamed = {} if norm is None or _LAST_NORM not in chosen else {_LAST_NORM: norm}
    chosen = [renamed.get(layer, layer) for layer in chosen]
    _check_submodules(inner, chosen)
    config = resolve_model_data_config(inner)
    preparation = Preparation(tuple(config["input_size"][1:]), mean=tuple(config["mean"]), std=tuple(config["std"]))
    return Built(name, network, preparation, {layer: layer for layer in chosen}, renamed=renamed)


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


def _default_layers(network: nn.Module) -> list[str]:
    """Return the names of every block or stage of a timm model, and of its final norm."""
    containers = {name: getattr(network, name, None) for name in _CONTAINERS}
    paths = next(
        (
            [f"{name}.{child}" for child, _ in container.named_children()]
            for name, container in containers.items()
            if isinstance(container, (nn.Sequential, nn.ModuleList)) and len(container) > 1
        ),
        None,
    )
    modules = dict(network.named_modules())
    if paths is None:
        feature_info: Any = getattr(network, "feature_info", [])
        paths = [info["module"] for info in feature_info if info.get("module") in modules]  # an HRNet's stem is none
    norm = _final_norm(network)
    return paths if norm is None else [*paths, norm]


def _final_norm(network: nn.Module) -> str | None:
    """Return the name of the final norm of a timm model; None if it has none."""
    modules = dict(network.named_modules())
    norms = [name for name in _FINAL_NORMS if name in modules and not isinstance(modules[name], nn.Identity)]
    return norms[0] if norms else None


def _check_submodules(network: nn.Module, layers: Sequence[str]) -> None:
    names = [name for name, _ in network.named_modules() if name]
    for layer in layers:
        if layer not in names:
            raise ValueError(
                f"Unknown layer {layer!r}{_spelling(layer, names)}; the submodules of {type(network).__name__} are:"
                f" {submodules_in_words(network)}"
            )


def _spelling(layer: str, names: Sequence[str]) -> str:
    """Return the end of a message that suggests a name that is spelled almost alike."""
    # A lower cutoff suggests other layers, such as `fc_norm` for `last_norm`.
    close = difflib.get_close_matches(layer, names, n=1, cutoff=0.85)
    return f"; did you mean {close[0]!r}?" if close else ""


def build_network(preset: Preset) -> nn.Module:
    """Build the network of a preset without weights; ModuleNotFoundError if its library is missing."""
    network = without_weights(_builder(preset.architecture, preset.options))
    for part in (prefix.removesuffix(".") for prefix in preset.unused):
        if isinstance(getattr(network, part, None), nn.Module):
            setattr(network, part, nn.Identity())
    return network


def _builder(architecture: str, options: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return the function that builds an architecture, after all imports: these may create tensors."""
    library, _, name = architecture.partition(":")
    if library == "timm":
        import timm

        return partial(timm.create_model, name, pretrained=False, **options)
    name, _, part = name.partition(".")
    if library == "torchvision":  # a model, or a submodule of one
        import torchvision.models

        return lambda: getattr(torchvision.models, name)(weights=None, **options).get_submodule(part)
    if part == "StableDiffusionEncoder":
        require("diffusers", "diffusers")
    builder: Callable[[], nn.Module] = getattr(import_module(f"torchmetrics_dna.extractors.{name}"), part)
    return builder


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network on the meta device if it can be there: its weights then cost no time and memory."""
    network = None
    with suppress(Exception), torch.device("meta"), Skipping(*_INITIALIZERS):
        network = build()
    if network is None or not {name for name, _ in network.named_buffers()} <= network.state_dict().keys():
        # non-persistent buffers are computed, not loaded, so they need real memory
        network = build()
    return network
