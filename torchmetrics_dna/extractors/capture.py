"""Capture the outputs of a network, or of chosen submodules, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.compiled import WRAPPED, uncompiled
from torchmetrics_dna.extractors.modules import unwrapped
from torchmetrics_dna.images.inputs import Inputs, called
from torchmetrics_dna.images.tensors import not_dense

# Dtypes of real numbers.
_NUMBERS = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
_EXPECTED = "Expected a network whose output is a tensor, or a dict, list or tuple of tensors"


class UnfitError(ValueError):
    """Error for a network that runs, but whose outputs can't be used as activations."""


class _Reached(Exception):  # noqa: N818 - control flow
    """Signal that all outputs are captured, which ends the forward pass."""


def capture(
    network: nn.Module,
    submodules: Mapping[str, str],
    inputs: Inputs,
    copied: frozenset[str] | None,
    stops: bool = False,
) -> dict[str, Tensor]:
    """Run a network, and return the outputs of submodules by layer; without submodules, its own outputs.

    Args:
        network: Network to run on ``inputs``.
        submodules: Path of the submodule of each layer.
        inputs: Inputs of the network, see :func:`called`.
        copied: Layers whose output must be copied before the network continues, because the network then writes to it.
            None copies all outputs. The user's module requires this, because it may write to an output for some inputs
            only, or reuse the memory of an output.
        stops: Whether to end the pass by an exception as soon as all outputs are captured. The user's module must run
            to its end, because its code and hooks may depend on it.

    Returns:
        Output of each layer.

    Raises:
        UnfitError: If a submodule does not run exactly once, or does not return activations.

    """
    if not submodules:
        return _copied_outputs(named_outputs(called(network, inputs)), copied)
    captured: dict[str, Tensor] = {}

    def keep(layer: str, output: Tensor) -> None:
        captured[layer] = _copied_if_listed(layer, output, copied)
        if stops and len(captured) == len(submodules):
            raise _Reached

    with hooked(network, submodules, keep), suppress(_Reached):
        called(network, inputs)
    return {layer: captured[layer] for layer in submodules}


def _copied_outputs(outputs: dict[str, Tensor], copied: frozenset[str] | None) -> dict[str, Tensor]:
    """Return the outputs, of which those in ``copied`` are copied, and remove them from the dict ``outputs``."""
    captured = {}
    for layer in list(outputs):
        # Release each output after its copy, so that memory never holds all outputs twice.
        captured[layer] = _copied_if_listed(layer, outputs.pop(layer), copied)
    return captured


def _copied_if_listed(layer: str, output: Tensor, copied: frozenset[str] | None) -> Tensor:
    """Return a copy of the output if its layer is one of ``copied``, or if that is None; else the output itself."""
    if copied is None or layer in copied:
        return output.detach().clone()
    return output


@contextmanager
def hooked(network: nn.Module, submodules: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``visit(layer, output)`` each time that a submodule runs within the context.

    Raises:
        UnfitError: If a submodule does not run exactly once in this thread, or does not return activations.

    """
    this_thread = get_ident()
    num_runs = dict.fromkeys(submodules, 0)
    run_elsewhere = set()

    def hook(layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        # Another thread may run the same network, or the module may run its submodules in threads.
        if get_ident() != this_thread:
            run_elsewhere.add(layer)
            return
        num_runs[layer] += 1
        visit(layer, first_tensor(layer, output))

    inner = unwrapped(network)
    modules = {layer: _submodule(inner, path) for layer, path in submodules.items()}
    uncompiled_hook = uncompiled(hook)
    handles = [module.register_forward_hook(partial(uncompiled_hook, layer)) for layer, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    _check_runs(num_runs, run_elsewhere)


def _check_runs(num_runs: Mapping[str, int], run_elsewhere: Collection[str]) -> None:
    """Raise UnfitError unless each layer ran exactly once.

    Args:
        num_runs: Number of times that each layer ran in the thread that called the network.
        run_elsewhere: Layers that ran in other threads.

    """
    for layer, count in num_runs.items():
        if not count and layer in run_elsewhere:
            raise UnfitError(
                f"Layer {layer!r} runs in another thread than the module, where its passes can't be told from those of"
                " others; run it in the thread that calls the module, or choose submodules that do"
            )
        if count != 1:
            raise UnfitError(f"Layer {layer!r} runs {count} times in a forward pass; choose submodules that run once")


def _submodule(network: nn.Module, path: str) -> nn.Module:
    """Return a submodule of a network by its path.

    The network may be a copy without the wrappers of ``torch.compile``. The path is then the one without wrappers.
    """
    try:
        return network.get_submodule(path)
    except AttributeError:
        names = [name for name in path.split(".") if name != WRAPPED]
        return network.get_submodule(".".join(names))


def named_outputs(output: Any) -> dict[str, Tensor]:
    """Return the tensors of a network's output by name.

    The names are the keys of a dict. A single tensor is called ``output``. The tensors of a tuple or list are called
    ``output_0``, ``output_1`` and so on.

    Raises:
        UnfitError: If the output has another type, is empty, or holds anything but activations.

    """
    outputs = _by_name(output)
    if not outputs:
        raise UnfitError(f"{_EXPECTED}, but got an empty {type(output).__name__}")
    for name, value in outputs.items():
        if not isinstance(value, Tensor):
            raise UnfitError(
                f"{_EXPECTED}, but {name!r} is of type {type(value).__name__}; name submodules by `layers`, or"
                " pass a module that returns its tensors side by side"
            )
    named = {str(name): value for name, value in outputs.items()}
    if len(named) < len(outputs):
        raise UnfitError(f"{_EXPECTED}, but several of its names are equal as text: {', '.join(map(repr, outputs))}")
    return {name: _activations(name, value) for name, value in named.items()}


def _by_name(output: Any) -> Mapping[Any, Any]:
    """Return the values of a network's output by name; raise UnfitError if it is of another type than expected."""
    if isinstance(output, Tensor):
        return {"output": output}
    if isinstance(output, (tuple, list)):
        return {f"output_{i}": value for i, value in enumerate(output)}
    if isinstance(output, Mapping):
        return output
    raise UnfitError(f"{_EXPECTED}, but got {type(output).__name__}")


def first_tensor(layer: str, output: Any) -> Tensor:
    """Return the output of a layer if it is a tensor, or the first item of a tuple or list of tensors.

    Many attention blocks return a tuple whose first item is the output.

    Raises:
        UnfitError: If the output is not a tensor, or does not hold activations.

    """
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise UnfitError(f"Layer {layer!r} expected to return a tensor, but it returns {type(output).__name__}")
    return _activations(layer, output)


def _activations(layer: str, output: Tensor) -> Tensor:
    """Return the output of a layer; raise UnfitError unless it is a dense tensor of real numbers."""
    unfit_type = not_dense(output)
    if not unfit_type and output.dtype not in _NUMBERS:
        unfit_type = str(output.dtype).removeprefix("torch.")
    if unfit_type:
        raise UnfitError(
            f"Layer {layer!r} expected to return real numbers in a dense tensor, but its output is {unfit_type}; pass a"
            " module that converts it"
        )
    return output
