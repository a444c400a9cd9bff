"""Probe a network with one image: which outputs it has, of which shapes, and whether it writes to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.capture import UnfitError, hooked, named_outputs
from torchmetrics_dna.extractors.compiled import are_compiled, uncompiled_copy
from torchmetrics_dna.extractors.meta import Skipping
from torchmetrics_dna.extractors.modules import device_of, own_dtype, same_random_numbers, version_of
from torchmetrics_dna.files.damage import first_line
from torchmetrics_dna.images.inputs import Inputs, called, count_of, mapped, tensors_of

# Size of an image to probe a network with that takes any size.
DUMMY_SIZE = (224, 224)
_SAME_SHAPE = (functional.batch_norm, functional.layer_norm, functional.hardtanh)
# What torch and other libraries say of an input whose height or width does not fit the weights.
ABOUT_SIZES = re.compile(r"multiplied|must match|normalized_shape|match the size|too small|can't be greater")
_ABOUT_CHANNELS = re.compile(r"to have (\d+) channels")

# Outputs of each layer, each with torch's counter of writes to it.
_Seen = dict[str, list[tuple[Tensor, int | None]]]


class Probed(NamedTuple):
    """Properties of a network that a pass of one input shows."""

    shapes: dict[str, torch.Size]  # of each layer's output
    edited: frozenset[str]  # layers whose output the network goes on to write to
    dtype: torch.dtype | None = None  # of images, if the network takes neither float32 nor uint8


def probe(network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int = 3) -> Probed:
    """Find out what the outputs of :func:`capture` are, by one image; its errors, or UnfitError if the network fails.

    The pass runs on the meta device, which computes nothing; only networks that fail there get a dummy image.
    """
    errors: dict[torch.dtype, Exception] = {}
    for imgs in _dark_images(network, channels, size):
        try:
            probed = _probed(network, submodules, imgs)
        except UnfitError:
            raise
        except Exception as err:
            # The errors that remain are those of the network's own device, which come last.
            errors[imgs.dtype] = err
            continue
        if imgs.dtype in (torch.float32, torch.uint8):
            return probed
        return probed._replace(dtype=imgs.dtype)
    error = errors[own_dtype(network)]
    own_size = _own_size(network)
    if own_size not in (None, size) and shapes_reached(network, submodules, own_size, channels):
        raise UnfitError(
            f"The network can't take an image of {size[0]} x {size[1]} pixels ({first_line(error)});"
            f" give `input_size={own_size[0] if own_size[0] == own_size[1] else own_size}`"
        ) from error
    raise _probe_error(error, size, channels) from error


def _probe_error(error: Exception, size: tuple[int, int], channels: int) -> UnfitError:
    """Return what to raise for a network that failed on an image."""
    reason = first_line(error)
    if ABOUT_SIZES.search(reason):
        return UnfitError(
            f"The network can't take an image of {size[0]} x {size[1]} pixels ({reason}); say which size it takes with"
            " `input_size`"
        )
    message = f"The network fails on images of shape {(1, channels, *size)}: {reason}"
    needed = _ABOUT_CHANNELS.search(reason)
    if needed is not None and int(needed[1]) != channels:
        message += f"; give `channels={needed[1]}`"
    return UnfitError(message)


def _own_size(network: nn.Module) -> tuple[int, int] | None:
    """Return the height and width of the only images that a network takes, if a module has them as an attribute."""
    for module in network.modules():
        # Models of transformers keep the size in their configuration.
        for holder in (module, getattr(module, "config", None)):
            size = getattr(holder, "image_size", None) or getattr(holder, "img_size", None)
            if isinstance(size, int):
                return size, size
            if isinstance(size, (tuple, list)) and len(size) == 2:
                return size[0], size[1]
    return None


def probe_example(network: nn.Module, submodules: Mapping[str, str], example: Inputs) -> Probed:
    """Find out what the outputs of :func:`capture` are, by the first two of an example; errors as of :func:`probe`."""
    device = device_of(network)
    few = mapped(lambda tensor: tensor[:2].detach().to(device, copy=True), example)
    try:
        probed = _probed(network, submodules, few)
    except UnfitError:
        raise
    except Exception as err:
        forms = ", ".join(f"shape {tuple(tensor.shape)} and {tensor.dtype}" for tensor in tensors_of(few))
        raise UnfitError(
            f"The network fails on the example, of {forms}: {first_line(err)}; give it as the network takes it"
        ) from err
    count = count_of(few)
    for layer, shape in probed.shapes.items():
        if len(shape) < 2 or shape[0] != count:
            raise UnfitError(
                f"Layer {layer!r} gives shape {tuple(shape)} for {count} inputs; expected (B, n, *positions), a"
                " row for each input"
            )
    shapes_of_one = {layer: torch.Size([1, *shape[1:]]) for layer, shape in probed.shapes.items()}
    return probed._replace(shapes=shapes_of_one)


def shapes_reached(
    network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int
) -> dict[str, torch.Size]:
    """Probe a size that the network may not support; return the shapes of the layers that the pass reaches."""
    for imgs in _dark_images(network, channels, size):
        seen: _Seen = {}
        with suppress(Exception):
            _look(network, submodules, imgs, seen)
        if seen:
            return {layer: outputs[-1][0].shape for layer, outputs in seen.items()}
    return {}


def image_dtypes(network: nn.Module) -> list[torch.dtype]:
    """Return the dtypes of images that a network may take."""
    dtypes = [torch.float32, torch.uint8]
    own = own_dtype(network)
    return dtypes if own in dtypes else [*dtypes, own]


def copied(network: nn.Module) -> nn.Module:
    """Return a copy that shares the parameters; the network itself if it can't be copied, such as one with a lock."""
    with suppress(Exception):
        return uncompiled_copy(network, {id(parameter): parameter for parameter in network.parameters()})
    return network


def _copied_to_meta(network: nn.Module) -> nn.Module:
    """Return a copy on the meta device, where weights take no memory; the network itself if it is there already."""
    if device_of(network).type == "meta":
        return network
    copies: dict[int, Any] = {}
    for parameter in network.parameters():
        copies[id(parameter)] = nn.Parameter(parameter.to("meta"), requires_grad=False)
    for buffer in network.buffers():
        copies[id(buffer)] = buffer.to("meta")
    return uncompiled_copy(network, copies)


def _dark_images(network: nn.Module, channels: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield an image to probe a network with, in each dtype that it may take: on the meta device, then on its own."""
    for device in (torch.device("meta"), device_of(network)):
        for dtype in image_dtypes(network):
            yield torch.zeros(1, channels, *size, dtype=dtype, device=device)


def _probed(network: nn.Module, submodules: Mapping[str, str], inputs: Inputs) -> Probed:
    seen: _Seen = {layer: [] for layer in submodules}
    _look(network, submodules, inputs, seen)
    shapes = {}
    edited = set()
    for layer, ((output, version),) in seen.items():
        shapes[layer] = output.shape
        if version_of(output) != version:
            edited.add(layer)
    return Probed(shapes, frozenset(edited))


def _look(network: nn.Module, submodules: Mapping[str, str], inputs: Inputs, seen: _Seen) -> None:
    """Append the outputs of layers to ``seen``, as far as the pass gets; inputs on the meta device compute nothing."""
    on_meta = tensors_of(inputs)[0].device.type == "meta"
    shadow = _copied_to_meta(network) if on_meta else copied(network)
    skips = on_meta and not are_compiled(shadow.modules())

    def note(layer: str, output: Tensor) -> None:
        seen.setdefault(layer, []).append((output, version_of(output)))

    with (
        # Inference mode does not count writes.
        torch.inference_mode(False),
        torch.no_grad(),
        same_random_numbers(network),
        hooked(shadow, submodules, note),
        Skipping(*_SAME_SHAPE) if skips else nullcontext(),
    ):
        output = called(shadow, inputs)
    if not submodules:
        for layer, value in named_outputs(output).items():
            note(layer, value)
