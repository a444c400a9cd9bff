"""Capture the outputs of a network, or of chosen submodules, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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

_NUMBERS = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
_EXPECTED = "Expected a network whose output is a tensor, or a dict, list or tuple of tensors"


class UnfitError(ValueError):
    """A network ran, but what it gives are no activations."""


class _Reached(Exception):  # noqa: N818 - control flow: all outputs are captured
    pass


def capture(
    network: nn.Module,
    submodules: Mapping[str, str],
    inputs: Inputs,
    copied: frozenset[str] | None,
    stops: bool = False,
) -> dict[str, Tensor]:
    """Return outputs of submodules, ``{layer: output}``, or the network's own if there are none.

    Args:
        network: Network to run on ``inputs``.
        submodules: ``{layer: path of the submodule}``.
        inputs: Inputs of the network, see :func:`called`.
        copied: Layers whose output is copied at once, since the network goes on to write to it; None for all, as of a
            module of the user's: it may edit an output for some inputs only, or write the next one into it.
        stops: Whether to end the pass by an exception once all are captured. A module of the user's runs to its end,
            as its own code and hooks may rely on it.

    Raises:
        UnfitError: If a submodule does not run exactly once, or gives no activations.

    """
    captured: dict[str, Tensor] = {}

    def keep(layer: str, output: Tensor) -> None:
        is_copied = copied is None or layer in copied
        captured[layer] = output.detach().clone() if is_copied else output

    if not submodules:
        outputs = named_outputs(called(network, inputs))
        for layer in list(outputs):
            # An output is dropped once it is copied, so that memory never holds all of them twice.
            keep(layer, outputs.pop(layer))
        return captured

    def keep_until_all_are_there(layer: str, output: Tensor) -> None:
        keep(layer, output)
        if stops and len(captured) == len(submodules):
            raise _Reached

    with hooked(network, submodules, keep_until_all_are_there), suppress(_Reached):
        called(network, inputs)
    return {layer: captured[layer] for layer in submodules}


@contextmanager
def hooked(network: nn.Module, submodules: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``visit(layer, output)`` for submodules within the context; UnfitError unless this thread runs each once."""
    this_thread = get_ident()
    runs = dict.fromkeys(submodules, 0)
    run_elsewhere = set()

    def hook(layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        # Another thread may run the same network, or the module may run its parts in threads.
        if get_ident() != this_thread:
            run_elsewhere.add(layer)
            return
        runs[layer] += 1
        visit(layer, first_tensor(layer, output))

    inner = unwrapped(network)
    parts = {layer: _submodule(inner, path) for layer, path in submodules.items()}
    visitor = uncompiled(hook)
    handles = [part.register_forward_hook(partial(visitor, layer)) for layer, part in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for layer, count in runs.items():
        if not count and layer in run_elsewhere:
            raise UnfitError(
                f"Layer {layer!r} runs in another thread than the module, where its passes can't be told from those of"
                " others; run it in the thread that calls the module, or choose submodules that do"
            )
        if count != 1:
            raise UnfitError(f"Layer {layer!r} runs {count} times in a forward pass; choose submodules that run once")


def _submodule(network: nn.Module, path: str) -> nn.Module:
    """Return a submodule of a network, or of its copy without the wrappers that ``torch.compile`` made."""
    try:
        return network.get_submodule(path)
    except AttributeError:
        names = [name for name in path.split(".") if name != WRAPPED]
        return network.get_submodule(".".join(names))


def named_outputs(output: Any) -> dict[str, Tensor]:
    """Name the tensors of a network's output: by key for a dict, else ``output``, or ``output_0`` ... for several.

    UnfitError if the output is something else.
    """
    outputs: Any = output
    if isinstance(output, Tensor):
        outputs = {"output": output}
    elif isinstance(output, (tuple, list)):
        outputs = {f"output_{i}": value for i, value in enumerate(output)}
    if not isinstance(outputs, Mapping):
        raise UnfitError(f"{_EXPECTED}, but got {type(output).__name__}")
    if not outputs:
        raise UnfitError(f"{_EXPECTED}, but got an empty {type(output).__name__}")
    for name, value in outputs.items():
        if not isinstance(value, Tensor):
            raise UnfitError(
                f"{_EXPECTED}, but {name!r} is of type {type(value).__name__}; name submodules by `layers`, or"
                " give a module that returns its tensors side by side"
            )
    named = {str(name): value for name, value in outputs.items()}
    if len(named) < len(outputs):
        raise UnfitError(f"{_EXPECTED}, but several of its names read alike: {', '.join(map(repr, outputs))}")
    return {name: _activations(name, value) for name, value in named.items()}


def first_tensor(layer: str, output: Any) -> Tensor:
    """Return a tensor output, or the first of a tuple or list, which many attention blocks return."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise UnfitError(f"Layer {layer!r} expected to give a tensor, but it gives {type(output).__name__}")
    return _activations(layer, output)


def _activations(layer: str, output: Tensor) -> Tensor:
    """Return the output of a layer; UnfitError if its values are not real numbers, one beside the other."""
    what = not_dense(output)
    if not what and output.dtype not in _NUMBERS:
        what = str(output.dtype).removeprefix("torch.")
    if what:
        raise UnfitError(
            f"Layer {layer!r} expected to give real numbers in a dense tensor, but its output is {what}; give a module"
            " that converts it"
        )
    return output
