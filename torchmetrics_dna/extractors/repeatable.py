"""Check that the user's module computes the same activations for an input each time, and in any batch."""

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
    """Trial pass of a module.

    Attributes:
        outputs: Outputs of the pass.
        buffers: Bytes of each buffer of the module after the pass.

    """

    outputs: dict[str, Tensor]
    buffers: dict[str, bytes]


def check_repeatable(
    layout: Layout, network: nn.Module, submodules: Mapping[str, str], pairs: Iterable[Inputs]
) -> None:
    """Raise ValueError unless the activations of an input are the same in each pass, alone and in a batch of two.

    The module must also not write to its buffers. A module that can't be copied is not checked.

    Args:
        layout: Layout of the module's layers.
        network: The module.
        submodules: Path of the submodule of each layer.
        pairs: Batches of two inputs, one for each dtype that the module may accept. The first batch that the module
            accepts is used.

    """
    for pair in pairs:
        singles = [mapped(itemgetter(slice(row, row + 1)), pair) for row in range(2)]
        trials = _run_trials(network, submodules, [pair, *singles])
        activations = _read_trials(layout, trials)
        if not activations:
            # The module does not accept this dtype, or can't be copied.
            continue
        _check_buffers_stay(trials)
        together, *alone = activations
        difference = _first_difference(together, alone)
        if difference is not None:
            row, layer = difference
            # Find out if the rest of the batch is the reason, or random numbers are.
            _check_same_each_time(layer, layout, network, submodules, singles[row])
            raise _batch_dependence(layer)
        return


def _read_trials(layout: Layout, trials: Sequence[_Trial]) -> list[dict[str, Tensor]]:
    """Return the activations of each trial, the first of two inputs and the others of one.

    The list is empty if there are no trials, or if the outputs do not have the layout.
    """
    activations = []
    try:
        for i, trial in enumerate(trials):
            num_inputs = 2 if i == 0 else 1
            activations.append(layout.read(trial.outputs, num_inputs))
    except ValueError:
        # The same error follows for the user's own inputs.
        return []
    return activations


def _first_difference(together: Mapping[str, Tensor], alone: Sequence[Mapping[str, Tensor]]) -> tuple[int, str] | None:
    """Return the first input and layer whose activations differ between a batch and the same input alone.

    Args:
        together: Activations of the batch.
        alone: Activations of each input of the batch alone.

    Returns:
        Row of the input in the batch, and name of the layer. None if all activations agree.

    """
    for row, activations_alone in enumerate(alone):
        for layer, activations in together.items():
            if not _agree(activations[row], activations_alone[layer][0]):
                return row, layer
    return None


def _batch_dependence(layer: str) -> ValueError:
    """Return the error for a layer whose activations of an input depend on the rest of the batch."""
    return ValueError(
        f"Expected activations that do not depend on the other inputs of a batch, but those of layer {layer!r} do;"
        " pass a module without statistics, attention or recurrence over the batch (axis 0), and with a fixed number"
        " of positions, or one that runs inputs one by one"
    )


def _check_same_each_time(
    layer: str, layout: Layout, network: nn.Module, submodules: Mapping[str, str], single: Inputs
) -> None:
    """Raise ValueError if a layer has different activations in two passes of the same single input."""
    trials = _run_trials(network, submodules, [single, single])
    if not trials:
        return
    activations = [layout.read(trial.outputs, 1)[layer][0] for trial in trials]
    if not _agree(activations[0], activations[1]):
        raise ValueError(
            f"Layer {layer!r} returns other activations for the same input in a second pass; pass a module without"
            " random numbers and without internal state"
        )


def _run_trials(network: nn.Module, submodules: Mapping[str, str], batches: Sequence[Inputs]) -> list[_Trial]:
    """Run a copy of a module on one batch after another; restore torch's random state.

    Usually, the module itself does not run. If its first call sets buffers, such as a cache, the module also runs once,
    because buffers are part of its weights.

    Returns:
        One trial per batch. The list is empty if the module can't be copied, or fails on one of the batches.

    """
    copy = copied(network)
    if copy is network:
        return []
    with suppress(Exception), same_random_numbers(network):
        trials = [_run_trial(copy, submodules, batch) for batch in batches]
        if _only_first_pass_sets_buffers(network, trials):
            called(network, mapped(torch.clone, batches[-1]))
        return trials
    return []


def _run_trial(network: nn.Module, submodules: Mapping[str, str], batch: Inputs) -> _Trial:
    """Run a copy of a module on a copy of a batch."""
    outputs = capture(network, submodules, mapped(torch.clone, batch), copied=None)
    return _Trial(outputs, _bytes_of_buffers(network))


def _only_first_pass_sets_buffers(network: nn.Module, trials: Sequence[_Trial]) -> bool:
    """True if the first trial of a copy of ``network`` changed buffers, and the following trials did not."""
    changed_at_first = trials[0].buffers != _bytes_of_buffers(network)
    stayed_afterwards = trials[0].buffers == trials[-1].buffers
    return changed_at_first and stayed_afterwards


def _bytes_of_buffers(network: nn.Module) -> dict[str, bytes]:
    """Return the bytes of each buffer by name.

    The names are those of the module without ``torch.compile``, because copies are not compiled.
    """
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
    """True if two activations of one input, ``(n, *positions)``, are equal up to rounding.

    Each neuron must agree in more than half of its positions, because rounding sometimes changes a few positions by
    more than the tolerance.
    """
    if a.shape != b.shape:
        return False
    dtype = b.dtype if b.is_floating_point() else torch.float32
    tolerance = torch.finfo(dtype).eps ** 0.5 * b.abs().max().item()
    # One row of positions for each neuron.
    differences = (a.cpu().double() - b.cpu().double()).abs().reshape(len(a), -1)
    share_that_differs = (differences > tolerance).double().mean(1)
    return bool(share_that_differs.max() < 0.5)


def two_images(network: nn.Module, size: tuple[int, int], channels: int) -> Iterator[Tensor]:
    """Yield a batch of a dark and a bright image of noise, in each dtype that a network may accept."""
    noise = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    # Make the first image dark.
    noise[0] /= 4
    for dtype in image_dtypes(network):
        images = noise if dtype.is_floating_point else noise * 255
        yield images.to(device_of(network), dtype)


def two_inputs(network: nn.Module, example: Inputs) -> Inputs:
    """Return the first two inputs of an example as a batch.

    If both inputs are equal, as in an example of zeros, the second one is changed.
    """
    device = device_of(network)

    def first_two(tensor: Tensor) -> Tensor:
        # If the example has a single input, repeat this input.
        return tensor[:2].detach().to(device).expand(2, *tensor.shape[1:]).clone()

    pair: Inputs = mapped(first_two, example)
    tensors = tensors_of(pair)
    are_equal = all(torch.equal(first, second) for first, second in tensors)
    if are_equal:
        for tensor in tensors:
            _change_second(tensor)
    return pair


def _change_second(pair: Tensor) -> None:
    """Change the second of two equal inputs in place.

    Noise is added to floating point values, such that values in [0, 1] stay in [0, 1]. Integers may be indices, so they
    are only moved along the last axis.
    """
    if pair.is_floating_point():
        noise = torch.rand(pair.shape[1:], generator=torch.Generator().manual_seed(0))
        pair[1] = pair[1].float() / 2 + noise.to(pair.device) / 4
    elif pair.ndim > 1:
        pair[1] = pair[1].roll(1, -1)
