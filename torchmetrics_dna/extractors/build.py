"""Build the network of an extractor; find the layers to read, and the default preparation of images."""

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

# Height and width of images if only their properties are measured. No network uses the images, so the size is small.
_SIZE_WITHOUT_NETWORK = (16, 16)
# Attributes of timm's models that hold the blocks or stages.
_CONTAINERS = ("blocks", "stages", "layers")
# Paths that the final norm may have in timm's models.
_FINAL_NORMS = ("norm", "bn2", "head.norm", "fc_norm")
# Name of the final norm of a transformer in presets. timm models have the path of the submodule as its name.
_LAST_NORM = "last_norm"
# Functions that initialise weights. They are skipped, because the weights are loaded afterwards.
_INITIALIZERS = (init.kaiming_uniform_, init.normal_, init.uniform_, Tensor.erfinv_, Tensor.normal_, Tensor.uniform_)
# Suffixes of files of weights or DNAs, which users may pass instead of a name.
_FILES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz", ".json")


class Built(NamedTuple):
    """Network, and the layers to read.

    Attributes:
        name: Name of the extractor.
        network: The network. It may be on the meta device until its weights are loaded.
        preparation: Default preparation of images for the network.
        submodules: Path of the submodule of each output to read; empty to read the network's own outputs.
        views: View of each layer. None if each output is a layer. Empty if no output is used.
        ranges: Packaged file of activation ranges, a reference for ``download.py``, or None if there are none.
        load: Function that loads the weights, if they are not loaded yet.
        renamed: Names of the final norm that were requested, each with the name that the norm has in this network.
        layers: Requested layers, by the network's own names, or None if no layers were requested.

    """

    name: str
    network: nn.Module
    preparation: Preparation = Preparation()
    submodules: Mapping[str, str] = {}
    views: Mapping[str, View] | None = None
    ranges: Path | str | None = None
    load: Callable[[], None] = lambda: None
    renamed: Mapping[str, str] = {}
    layers: Sequence[str] | None = None

    @property
    def takes_rgb(self) -> bool:
        """True if images must be grey or RGB, as for presets, timm models, and image properties alone."""
        return self.preparation.size is not None or self.views == {}


def build(
    feature: str | nn.Module,
    layers: Sequence[str] | None,
    weights_path: str | os.PathLike[str] | None,
    of_images: bool = True,
) -> Built:
    """Build the network that arguments of :class:`DNAExtractor` define, and find the layers to read.

    Args:
        feature: Name of a preset or of a timm model, or a module.
        layers: Layers to read, or None for the default. The network does not compute the layer of properties.
        weights_path: Weights of a named network, or None for the default source.
        of_images: Whether inputs are images. If not, a module that timm built is treated like any other module.

    Raises:
        TypeError: If ``feature`` is neither a name nor a module.
        ValueError: If a name is unknown, or arguments do not go together.

    """
    if layers is not None:
        _check_layers(layers)
    if is_identity(feature) and layers is None and weights_path is None:
        return Built(str(feature), nn.Identity(), views={"embedding": View("output")})
    if feature == LAYER:
        return _without_network(layers)
    if layers is None:
        return _build(feature, None, weights_path, of_images)
    views = [View.of(layer) for layer in layers if layer != LAYER]
    # Several layers may be views of one output. A dict removes duplicates, and keeps the order.
    outputs = list(dict.fromkeys(view.source for view in views))
    built = _build(feature, outputs or None, weights_path, of_images)
    return _with_layers(built, layers)


def _check_layers(layers: Sequence[str]) -> None:
    """Raise ValueError unless the argument is a list of distinct names."""
    if isinstance(layers, str):
        raise ValueError(
            f"Argument `layers` expected to be a list of layer names, but got {brief(layers)}; pass [{layers!r}]"
        )
    if not layers or not all(isinstance(layer, str) and layer for layer in layers):
        raise ValueError(f"Argument `layers` expected to be a list of layer names, but got {brief(layers)}")
    _check_distinct(layers, layers)


def _check_distinct(names: Sequence[str], layers: Sequence[str]) -> None:
    """Raise ValueError if two of the names are equal; the message shows ``layers``, the names that the user passed."""
    if len(set(names)) != len(names):
        raise ValueError(f"{argument('layers')} expected to name each layer once, but got {list(layers)}")


def _without_network(layers: Sequence[str] | None) -> Built:
    """Return a network without outputs, for an extractor that only measures properties of images."""
    if any(layer != LAYER for layer in layers or []):
        raise ValueError(f"Feature {LAYER!r} has no layers but {LAYER!r}, but got {list(layers or [])}")
    return Built(LAYER, nn.Identity(), Preparation(_SIZE_WITHOUT_NETWORK), views={})


def _with_layers(built: Built, layers: Sequence[str]) -> Built:
    """Return the network with the views of the requested layers."""
    own_names = [_own_name(layer, built.renamed) for layer in layers]
    _check_distinct(own_names, layers)
    views = {layer: View.of(layer) for layer in own_names if layer != LAYER}
    if not views:
        # Only the layer of image properties is requested, so no output of the network is read.
        return built._replace(layers=own_names, submodules={}, views={})
    # There are packaged ranges for outputs, but not for views of them.
    has_steps = any(view.steps for view in views.values())
    ranges = None if has_steps else built.ranges
    if built.views:
        # The outputs of a preset may be views of submodules. The requested view then follows the view of the preset.
        views = {layer: view.after(built.views[view.source].steps) for layer, view in views.items()}
    return built._replace(layers=own_names, views=views, ranges=ranges)


def _own_name(layer: str, renamed: Mapping[str, str]) -> str:
    """Return a layer's name, which may end with a view, by the network's own name of the output.

    Example:
        >>> _own_name("last_norm:class", {"last_norm": "norm"})
        'norm:class'

    """
    source, colon, steps = layer.partition(":")
    return renamed.get(source, source) + colon + steps


def _build(
    feature: str | nn.Module,
    outputs: Sequence[str] | None,
    weights_path: str | os.PathLike[str] | None,
    of_images: bool,
) -> Built:
    """Build a network with the outputs to read, or None for the default outputs."""
    if isinstance(feature, nn.Module):
        if weights_path is not None:
            raise ValueError("Argument `weights_path` requires a named extractor; load the weights into the module")
        return _of_module(feature, outputs, of_images)
    if not isinstance(feature, str):
        # The FID of torchmetrics accepts a number of features, such as 2048.
        remedy = "; for FID's network, pass 'inception_fid'" if isinstance(feature, int) else ""
        raise TypeError(
            "Got unknown input to argument `feature`: expected a name or an nn.Module, but got"
            f" {brief(feature)}{remedy}"
        )
    if feature in PRESETS:
        return _of_preset(PRESETS[feature], outputs, weights_path)
    if is_timm_name(feature):
        return _of_timm(_fetched(feature, weights_path), feature, outputs)
    raise ValueError(
        f"{argument('feature')} expected to be a preset ({', '.join(PRESETS)}), a timm model or an nn.Module,"
        f" but got {brief(feature)}{_remedy(feature)}"
    )


def _remedy(feature: str) -> str:
    """Return the end of a message about an unknown name, with suggestions."""
    path = Path(feature)
    remedy = ""
    if path.suffix in _FILES:
        remedy += f"; files of weights go to {written('weights_path')}, those to write to `save`"
    if ":" in feature:
        remedy += "; a module of your own goes to `DNAExtractor`, in Python"
    if path.is_dir():
        remedy += "; several sets go into a dict: {'b': 'b/', 'c': 'c/'}"
    similar_names = _similar_names(feature)
    if similar_names:
        remedy += f"; did you mean {similar_names[0]!r}?"
    return remedy


def _similar_names(feature: str) -> list[str]:
    """Return names of presets and timm models that are similar to an unknown name, the best one first."""
    import timm

    # A preset that begins with the name is a better suggestion than a model whose name has similar letters.
    similar_names = [name for name in PRESETS if name.startswith(feature)]
    # In "timm/resnet18", only "resnet18" can be misspelled.
    model_name = feature.rpartition("/")[2].partition(":")[0]
    similar_names += difflib.get_close_matches(model_name, [*PRESETS, LAYER, IDENTITY, *timm.list_models()], n=1)
    return similar_names


def _of_module(module: nn.Module, outputs: Sequence[str] | None, of_images: bool) -> Built:
    """Return the user's module with the outputs to read: entries of its own output, or outputs of submodules."""
    _check_has_weights(module)
    inner = unwrapped(module)
    is_timm_model = hasattr(inner, "pretrained_cfg") and hasattr(inner, "forward_features")
    if of_images and is_timm_model:
        return _of_timm(module, _timm_name(inner), outputs)
    is_script = isinstance(inner, torch.jit.ScriptModule)
    # All ScriptModules have the same type, but keep the name of the module that they were made of.
    name = str(inner.original_name) if is_script else type(inner).__name__
    if outputs is None:
        return Built(name, module)
    submodules = dict(inner.named_modules())
    if not any(output in submodules for output in outputs):
        # No output is a submodule, so the names must be entries of the module's output, which probing will check.
        return Built(name, module, views={output: View(output) for output in outputs})
    if is_script:
        raise ValueError(
            f"Argument `layers` can't be read within a ScriptModule, but got {list(outputs)}; omit it, or pass"
            " the module as it was before `torch.jit`"
        )
    _check_submodules(inner, outputs)
    return Built(name, module, submodules={output: output for output in outputs})


def _check_has_weights(module: nn.Module) -> None:
    """Raise ValueError if weights of a module have no values or no shape yet."""
    if device_of(module).type == "meta":
        raise ValueError("The module is on the meta device, so it has no weights; load them before")
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise ValueError(
                f"The module's {name!r} has no shape before its first call; call the module on a batch before"
            )


def _timm_name(module: nn.Module) -> str:
    """Return the name of the architecture of a module that timm built."""
    # timm also accepts a dict as the configuration.
    config: Any = module.pretrained_cfg
    name = config.get("architecture") if isinstance(config, dict) else getattr(config, "architecture", None)
    return str(name or type(module).__name__)


def _of_preset(preset: Preset, outputs: Sequence[str] | None, weights_path: str | os.PathLike[str] | None) -> Built:
    """Build the network of a preset, whose weights are loaded by the returned ``load``."""
    if outputs is None:
        outputs = preset.default_layers or list(preset.submodules)
    # Users may request the final norm by the path that it has in timm. Presets call this layer "last_norm".
    renamed = {}
    norm_path = preset.submodules.get(_LAST_NORM)
    if norm_path is not None and norm_path in outputs:
        renamed[norm_path] = _LAST_NORM
    layers = [renamed.get(output, output) for output in outputs]
    _check_outputs(layers, preset)
    # Find the weights first: if they are missing, there is no need to build the network.
    path = find_weights(preset, weights_path)
    network = build_network(preset)
    # A preset may define a layer by a view of a submodule, such as "norm:class".
    views_of_submodules = {layer: View.of(preset.submodules[layer]) for layer in layers}
    return Built(
        name=preset.name,
        network=network,
        preparation=Preparation(preset.input_size, resize=preset.resize, mean=preset.mean, std=preset.std),
        submodules={layer: view.source for layer, view in views_of_submodules.items()},
        views={layer: View(layer, view.steps) for layer, view in views_of_submodules.items()},
        ranges=find_ranges(preset, weights_path),
        load=partial(load_weights, network, path, preset),
        renamed=renamed,
    )


def _check_outputs(outputs: Sequence[str], preset: Preset) -> None:
    """Raise ValueError unless all outputs are layers of a preset."""
    for output in outputs:
        if output not in preset.submodules:
            layer_names = ", ".join(preset.submodules)
            raise ValueError(f"Unknown layer {output!r}; the layers of {preset.name} are: {layer_names}")


def _fetched(name: str, weights_path: str | os.PathLike[str] | None) -> nn.Module:
    """Build a timm model with its own weights, or with the weights at ``weights_path``."""
    import timm

    try:
        if weights_path is None:
            pretrained: nn.Module = timm.create_model(name, pretrained=True)
            return pretrained
        network = without_weights(partial(timm.create_model, name, pretrained=False))
    except (OSError, RuntimeError) as err:
        raise RuntimeError(
            f"timm can't fetch the weights of {name!r} ({first_line(err)}); pass a local file of them as"
            f" {written('weights_path')}, or in Python a module that timm built as `feature`"
        ) from err
    load_weights(network, local_weights(name, weights_path))
    return network


def _of_timm(network: nn.Module, name: str, outputs: Sequence[str] | None) -> Built:
    """Return a timm model with the submodules to read, and with the preparation of images that timm uses."""
    from timm.data import resolve_model_data_config

    inner = unwrapped(network)
    if outputs is None:
        outputs = _default_outputs(inner)
    # Users may request the final norm by the name that it has in presets.
    renamed = {}
    norm = _final_norm(inner)
    if norm is not None and _LAST_NORM in outputs:
        renamed[_LAST_NORM] = norm
    paths = [renamed.get(output, output) for output in outputs]
    _check_submodules(inner, paths)
    config = resolve_model_data_config(inner)
    size = tuple(config["input_size"][1:])
    preparation = Preparation(size, mean=tuple(config["mean"]), std=tuple(config["std"]))
    return Built(name, network, preparation, submodules={path: path for path in paths}, renamed=renamed)


def is_timm_name(name: str) -> bool:
    """True if timm can build a model of this name, which may end with a tag for its weights."""
    import timm

    return bool(timm.is_model(name.split(".")[0].removeprefix("timm/")))


def untagged(name: str) -> str:
    """Return the name of an extractor without timm's tag for the weights.

    A timm model has the tag in its name only if the model was built by name. The same model may be passed as a module,
    which has no tag. The weights are identified by their digest, not by the tag.

    Example:
        >>> untagged("timm/resnet18.a1_in1k")
        'resnet18'

    """
    architecture = name.removeprefix("timm/").partition(".")[0]
    # Only timm can recognise its names, and importing it takes a second. So import it only if there may be a tag.
    if architecture != name and is_timm_name(name):
        return architecture
    return name


def _default_outputs(network: nn.Module) -> list[str]:
    """Return the paths of every block or stage of a timm model, and of its final norm."""
    paths = _blocks(network)
    norm = _final_norm(network)
    if norm is not None:
        paths.append(norm)
    return paths


def _blocks(network: nn.Module) -> list[str]:
    """Return the paths of every block or stage of a timm model."""
    for name in _CONTAINERS:
        container = getattr(network, name, None)
        if isinstance(container, (nn.Sequential, nn.ModuleList)) and len(container) > 1:
            return [f"{name}.{child}" for child, _ in container.named_children()]
    submodules = dict(network.named_modules())
    feature_info: Any = getattr(network, "feature_info", [])
    # timm lists the stem of an HRNet among the features, but the stem is not a submodule.
    return [info["module"] for info in feature_info if info.get("module") in submodules]


def _final_norm(network: nn.Module) -> str | None:
    """Return the path of the final norm of a timm model, or None if it has none."""
    modules = dict(network.named_modules())
    for path in _FINAL_NORMS:
        if path in modules and not isinstance(modules[path], nn.Identity):
            return path
    return None


def _check_submodules(network: nn.Module, paths: Sequence[str]) -> None:
    """Raise ValueError unless a network has submodules at all of these paths."""
    known_paths = [path for path, _ in network.named_modules() if path]
    for path in paths:
        if path not in known_paths:
            raise ValueError(
                f"Unknown layer {path!r}{_spelling(path, known_paths)}; the submodules of {type(network).__name__} are:"
                f" {submodules_in_words(network)}"
            )


def _spelling(layer: str, names: Sequence[str]) -> str:
    """Return the end of a message that suggests a name with a similar spelling; empty if there is none."""
    # With a lower cutoff, the suggestion would often be another layer, such as `fc_norm` for `last_norm`.
    similar_names = difflib.get_close_matches(layer, names, n=1, cutoff=0.85)
    return f"; did you mean {similar_names[0]!r}?" if similar_names else ""


def build_network(preset: Preset) -> nn.Module:
    """Build the network of a preset without weights.

    Raises:
        ModuleNotFoundError: If the library of the network is not installed.

    """
    network = without_weights(_builder(preset.architecture, preset.options))
    for prefix in preset.unused:
        submodule_name = prefix.removesuffix(".")
        if isinstance(getattr(network, submodule_name, None), nn.Module):
            setattr(network, submodule_name, nn.Identity())
    return network


def _builder(architecture: str, options: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return the function that builds an architecture, such as ``"torchvision:vgg16.features"``.

    All modules are imported here rather than in the function. Imports may create tensors, which must not be on the meta
    device.
    """
    library, _, name = architecture.partition(":")
    if library == "timm":
        import timm

        return partial(timm.create_model, name, pretrained=False, **options)
    if library == "torchvision":
        return _builder_of_torchvision(name, options)
    module_name, _, class_name = name.partition(".")
    if class_name == "StableDiffusionEncoder":
        require("diffusers", "diffusers")
    module = import_module(f"torchmetrics_dna.extractors.{module_name}")
    builder: Callable[[], nn.Module] = getattr(module, class_name)
    return builder


def _builder_of_torchvision(name: str, options: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return the function that builds a model of torchvision, or a submodule of one, such as ``"vgg16.features"``."""
    import torchvision.models

    model_name, _, path = name.partition(".")
    build_model = getattr(torchvision.models, model_name)

    def build_submodule() -> nn.Module:
        model: nn.Module = build_model(weights=None, **options)
        return model.get_submodule(path)

    return build_submodule


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network on the meta device if possible, where its weights take no time and no memory."""
    network = None
    with suppress(Exception), torch.device("meta"), Skipping(*_INITIALIZERS):
        network = build()
    if network is None or _has_computed_buffers(network):
        network = build()
    return network


def _has_computed_buffers(network: nn.Module) -> bool:
    """True if a network has buffers that are not in its state dict.

    Such buffers are computed when the network is built, so the network can't be built on the meta device.
    """
    buffer_names = {name for name, _ in network.named_buffers()}
    return not buffer_names <= network.state_dict().keys()
