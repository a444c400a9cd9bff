"""Check that a module of the user's gives an input the same activations each time, whatever else is in its batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.capture import capture
from torchmetrics_dna.extractors.compiled import WRAPPED
from torchmetrics_dna.extractors.modules import device_of, same_random_numbers
from torchmetrics_dna.extractors.probing import copied, image_dtypes
from torchmetrics_dna.images.inputs import Inputs, called, mapped, tensors_of

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.layout import Layout


class _Trial(NamedTuple):
    """Outputs of a pass of a module, and the bytes of its buffers afterwards."""

    outputs: dict[str, Tensor]
    buffers: dict[str, bytes]


def check_repeatable(
    layout: Layout, network: nn.Module, submodules: Mapping[str, str], pairs: Iterable[Inputs]
) -> None:
    """Raise ValueError unless activations of an input are the same in each pass, alone and in a batch of two.

    The module may also not write to a buffer. A module that can't be copied is not checked.

    Args:
        layout: Layout of its layers.
        network: The module.
        submodules: Path of the submodule of each layer.
        pairs: Two inputs, in each dtype that the module may take. The first pair that it takes is used.

    """
    for pair in pairs:
        singles = [mapped(itemgetter(slice(i, i + 1)), pair) for i in range(2)]
        trials = _tried(network, submodules, [pair, *singles])
        if not trials:
            continue
        try:
            together = layout.read(trials[0].outputs, 2)
            alone = [layout.read(trial.outputs, 1) for trial in trials[1:]]
        except ValueError:
            # The same error follows for the user's own inputs.
            continue
        _check_buffers_stay(trials)
        for i, single in enumerate(singles):
            for layer in together:
                if not _agree(together[layer][i], alone[i][layer][0]):
                    # Find out whether the batch or chance is the reason.
                    _check_same_each_time(layer, layout, network, submodules, single)
                    raise _batch_dependence(layer)
        return


def _batch_dependence(layer: str) -> ValueError:
    """Return the error of a layer whose activations of an input depend on the rest of its batch."""
    return ValueError(
        f"Layer {layer!r} gives an input other activations beside another one than alone; give a module"
        " without statistics, attention or recurrence over the batch (axis 0), and with a fixed number of"
        " positions, or one that runs inputs one by one"
    )


def _check_same_each_time(
    layer: str, layout: Layout, network: nn.Module, submodules: Mapping[str, str], single: Inputs
) -> None:
    """Raise ValueError if two passes of a single input give a layer different activations."""
    trials = _tried(network, submodules, [single, single])
    if not trials:
        return
    first, second = (layout.read(trial.outputs, 1)[layer][0] for trial in trials)
    if not _agree(first, second):
        raise ValueError(
            f"Layer {layer!r} gives an input other activations each time; give a module without random numbers, and"
            " without a memory of what it saw before"
        )


def _tried(network: nn.Module, submodules: Mapping[str, str], batches: Sequence[Inputs]) -> list[_Trial]:
    """Run a copy of a module on batches in turn; the module and torch's random numbers stay as they are.

    The module itself runs too where its first call sets buffers, such as a cache, which are part of its weights. The
    result is empty if it can't be copied, or fails on such batches.
    """
    trials: list[_Trial] = []
    copy = copied(network)
    if copy is network:
        return trials
    with suppress(Exception), same_random_numbers(network):
        for batch in batches:
            outputs = capture(copy, submodules, mapped(torch.clone, batch), copied=None)
            trials.append(_Trial(outputs, _bytes_of_buffers(copy)))
        buffers_stayed = trials[0].buffers == trials[-1].buffers
        if buffers_stayed and trials[0].buffers != _bytes_of_buffers(network):
            called(network, mapped(torch.clone, batches[-1]))
        return trials
    return []


def _bytes_of_buffers(network: nn.Module) -> dict[str, bytes]:
    """Return the bytes of each buffer; names are those without ``torch.compile``, as copies have them."""
    contents = {}
    for name, buffer in network.named_buffers():
        values = buffer.detach().cpu().flatten().view(torch.uint8)
        contents[name.replace(f"{WRAPPED}.", "")] = values.numpy().tobytes()
    return contents


def _check_buffers_stay(trials: Sequence[_Trial]) -> None:
    """Raise ValueError if a buffer changed between the first and the last trial."""
    for name, values in trials[0].buffers.items():
        if trials[-1].buffers.get(name) != values:
            raise ValueError(
                f"The module writes to its buffer {name!r} in evaluation mode, so its weights would be others for"
                " each batch; keep the tensor as a plain attribute, or write to it in training mode only"
            )


def _agree(a: Tensor, b: Tensor) -> bool:
    """True if activations of one input, ``(n, *positions)``, differ only by rounding in most positions of each neuron.

    In few positions, rounding may change activations by more.
    """
    if a.shape != b.shape:
        return False
    dtype = b.dtype if b.is_floating_point() else torch.float32
    tolerance = torch.finfo(dtype).eps ** 0.5 * b.abs().max().item()
    gaps = (a.cpu().double() - b.cpu().double()).abs().reshape(len(a), -1)
    share_of_positions = (gaps > tolerance).double().mean(1)
    return bool(share_of_positions.max() < 0.5)


def two_images(network: nn.Module, size: tuple[int, int], channels: int) -> Iterator[Tensor]:
    """Yield a dark and a bright image of noise, in each dtype that a network may take."""
    noise = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    noise[0] /= 4
    for dtype in image_dtypes(network):
        images = noise if dtype.is_floating_point else noise * 255
        yield images.to(device_of(network), dtype)


def two_inputs(network: nn.Module, example: Inputs) -> Inputs:
    """Return the first two inputs of an example; if they are equal, the second one is changed within its range."""
    device = device_of(network)

    def first_two(tensor: Tensor) -> Tensor:
        # An example of a single input is repeated.
        return tensor[:2].detach().to(device).expand(2, *tensor.shape[1:]).clone()

    pair: Inputs = mapped(first_two, example)
    tensors = tensors_of(pair)
    are_equal = all(torch.equal(first, second) for first, second in tensors)
    if not are_equal:
        return pair
    for tensor in tensors:
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape[1:], generator=torch.Generator().manual_seed(0))
            tensor[1] = tensor[1].float() / 2 + noise.to(device) / 4
        elif tensor.ndim > 1:
            tensor[1] = tensor[1].roll(1, -1)
    return pair
