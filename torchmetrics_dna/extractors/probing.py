"""Probe a network with one image, to find the shapes of its outputs, and the outputs that it writes to."""

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

# Height and width of the image with which a network is probed if images are not resized.
DUMMY_SIZE = (224, 224)
# Functions whose output has the shape of their first argument.
_SAME_SHAPE = (functional.batch_norm, functional.layer_norm, functional.hardtanh)
# Pattern of messages by torch and other libraries if the height or width of an input does not fit the weights.
ABOUT_SIZES = re.compile(r"multiplied|must match|normalized_shape|match the size|too small|can't be greater")
# Pattern of torch's message if the number of channels does not fit.
_ABOUT_CHANNELS = re.compile(r"to have (\d+) channels")


class _Output(NamedTuple):
    """Output of a layer.

    Attributes:
        values: The output.
        version: torch's counter of writes to the output, when the layer returned it.

    """

    values: Tensor
    version: int | None


# Outputs of each layer, in the order in which the layer returned them.
_Outputs = dict[str, list[_Output]]


class Probed(NamedTuple):
    """Properties of a network that were found by running it once.

    Attributes:
        shapes: Shape of each layer's output.
        edited: Layers to whose output the network writes afterwards.
        dtype: Dtype of images for the network, or None if the network accepts float32 or uint8.

    """

    shapes: dict[str, torch.Size]
    edited: frozenset[str]
    dtype: torch.dtype | None = None


def probe(network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int = 3) -> Probed:
    """Find the outputs of a network by running it on one image.

    The network first runs on the meta device, which computes shapes but no values. If the network fails there, it runs
    on its own device.

    Args:
        network: The network.
        submodules: Path of the submodule of each layer; empty to use the network's own outputs.
        size: Height and width of the image.
        channels: Number of channels of the image.

    Raises:
        UnfitError: If the network fails on the image, or its outputs can't be used as activations.

    """
    errors: dict[torch.dtype, Exception] = {}
    for imgs in _dark_images(network, channels, size):
        try:
            probed = _probed(network, submodules, imgs)
        except UnfitError:
            raise
        except Exception as err:
            # The network's own device comes last, so its errors replace those of the meta device.
            errors[imgs.dtype] = err
            continue
        if imgs.dtype in (torch.float32, torch.uint8):
            return probed
        return probed._replace(dtype=imgs.dtype)
    # Images of another dtype than that of the weights may fail for this reason alone.
    error = errors[own_dtype(network)]
    raise _probe_error(error, network, submodules, size, channels) from error


def _probe_error(
    error: Exception, network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int
) -> UnfitError:
    """Return the error to raise for a network that failed on an image with the error ``error``."""
    reason = first_line(error)
    own_size = _own_size(network)
    if own_size not in (None, size) and shapes_reached(network, submodules, own_size, channels):
        input_size = own_size[0] if own_size[0] == own_size[1] else own_size
        return UnfitError(
            f"The network can't take an image of {size[0]} x {size[1]} pixels ({reason});"
            f" pass `input_size={input_size}`"
        )
    if ABOUT_SIZES.search(reason):
        return UnfitError(
            f"The network can't take an image of {size[0]} x {size[1]} pixels ({reason}); say which size it takes with"
            " `input_size`"
        )
    message = f"The network fails on images of shape {(1, channels, *size)}: {reason}"
    needed = _ABOUT_CHANNELS.search(reason)
    if needed is not None and int(needed[1]) != channels:
        message += f"; pass `channels={needed[1]}`"
    return UnfitError(message)


def _own_size(network: nn.Module) -> tuple[int, int] | None:
    """Return the height and width of images that an attribute of a network or of its submodules states; else None."""
    for module in network.modules():
        # Models of the library transformers have the size in their configuration.
        for holder in (module, getattr(module, "config", None)):
            size = getattr(holder, "image_size", None) or getattr(holder, "img_size", None)
            if isinstance(size, int):
                return size, size
            if isinstance(size, (tuple, list)) and len(size) == 2:
                return size[0], size[1]
    return None


def probe_example(network: nn.Module, submodules: Mapping[str, str], example: Inputs) -> Probed:
    """Find the outputs of a network by running it on the first two inputs of an example.

    Raises:
        UnfitError: If the network fails on these inputs, or its outputs can't be used as activations.

    """
    device = device_of(network)
    inputs = mapped(lambda tensor: tensor[:2].detach().to(device, copy=True), example)
    try:
        probed = _probed(network, submodules, inputs)
    except UnfitError:
        raise
    except Exception as err:
        forms = ", ".join(f"shape {tuple(tensor.shape)} and {tensor.dtype}" for tensor in tensors_of(inputs))
        raise UnfitError(
            f"The network fails on the example, of {forms}: {first_line(err)}; pass it as the network takes it"
        ) from err
    count = count_of(inputs)
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
    """Run a network on an image of a size that it may not support.

    Returns:
        Shape of the output of each layer that ran before the network failed. If the network does not fail, these are
        all layers.

    """
    for imgs in _dark_images(network, channels, size):
        outputs: _Outputs = {}
        with suppress(Exception):
            _run_and_record(network, submodules, imgs, outputs)
        if outputs:
            return {layer: outputs_of_layer[-1].values.shape for layer, outputs_of_layer in outputs.items()}
    return {}


def image_dtypes(network: nn.Module) -> list[torch.dtype]:
    """Return the dtypes of images that a network may accept: float32, uint8, and the dtype of its weights."""
    dtypes = [torch.float32, torch.uint8]
    dtype_of_weights = own_dtype(network)
    if dtype_of_weights not in dtypes:
        dtypes.append(dtype_of_weights)
    return dtypes


def copied(network: nn.Module) -> nn.Module:
    """Return a copy of a network that shares its parameters.

    If the network can't be copied, for example because it has a lock, return the network itself.
    """
    with suppress(Exception):
        return uncompiled_copy(network, {id(parameter): parameter for parameter in network.parameters()})
    return network


def _copied_to_meta(network: nn.Module) -> nn.Module:
    """Return a copy on the meta device, where weights take no memory, or the network itself if it is there already."""
    if device_of(network).type == "meta":
        return network
    copies: dict[int, Any] = {}
    for parameter in network.parameters():
        copies[id(parameter)] = nn.Parameter(parameter.to("meta"), requires_grad=False)
    for buffer in network.buffers():
        copies[id(buffer)] = buffer.to("meta")
    return uncompiled_copy(network, copies)


def _dark_images(network: nn.Module, channels: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield a black image in each dtype that a network may accept, first on the meta device, then on its own."""
    for device in (torch.device("meta"), device_of(network)):
        for dtype in image_dtypes(network):
            yield torch.zeros(1, channels, *size, dtype=dtype, device=device)


def _probed(network: nn.Module, submodules: Mapping[str, str], inputs: Inputs) -> Probed:
    """Return the properties of a network that a run on these inputs shows."""
    outputs: _Outputs = {layer: [] for layer in submodules}
    _run_and_record(network, submodules, inputs, outputs)
    shapes = {}
    edited = set()
    for layer, outputs_of_layer in outputs.items():
        # The run fails unless each layer returns exactly one output.
        (output,) = outputs_of_layer
        shapes[layer] = output.values.shape
        if version_of(output.values) != output.version:
            edited.add(layer)
    return Probed(shapes, frozenset(edited))


def _run_and_record(network: nn.Module, submodules: Mapping[str, str], inputs: Inputs, outputs: _Outputs) -> None:
    """Run a copy of a network, and append the outputs of its layers to ``outputs``.

    If the network fails, ``outputs`` has all outputs before the failure. If the inputs are on the meta device, the copy
    is there, too.
    """
    on_meta = tensors_of(inputs)[0].device.type == "meta"
    network_copy = _copied_to_meta(network) if on_meta else copied(network)
    can_skip = on_meta and not are_compiled(network_copy.modules())

    def record(layer: str, output: Tensor) -> None:
        outputs.setdefault(layer, []).append(_Output(output, version_of(output)))

    with (
        # In inference mode, torch does not count writes.
        torch.inference_mode(False),
        torch.no_grad(),
        same_random_numbers(network),
        hooked(network_copy, submodules, record),
        Skipping(*_SAME_SHAPE) if can_skip else nullcontext(),
    ):
        network_output = called(network_copy, inputs)
    if not submodules:
        for layer, output in named_outputs(network_output).items():
            record(layer, output)
