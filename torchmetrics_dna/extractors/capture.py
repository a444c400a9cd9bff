"""Reading the outputs of a network, or of chosen submodules, in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from itertools import chain
from threading import get_ident
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.meta import LeavingOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_SAME_SHAPE = (functional.batch_norm, functional.layer_norm, functional.hardtanh)
_WAYS = ((True, torch.float32), (True, torch.uint8), (False, torch.float32), (False, torch.uint8))  # to try a network


class _Reached(Exception):  # noqa: N818 - not an error: the pass has gone deep enough
    pass


def capture(network: nn.Module, submodules: Mapping[str, str], imgs: Tensor) -> dict[str, Tensor]:
    """Outputs of submodules, ``{layer: output}``; the pass ends as soon as all are there.

    Args:
        network: Called on ``imgs``.
        submodules: ``{layer: path of the submodule}``; without any, the network's own outputs.
        imgs: What the network takes.

    """
    if not submodules:
        return named_outputs(network(imgs))
    found: dict[str, Tensor] = {}

    def keep(layer: str, output: Tensor) -> None:
        found[layer] = output
        if len(found) == len(submodules):
            raise _Reached

    with _hooked(network, submodules, keep):
        try:
            network(imgs)
        except _Reached:
            return {layer: found[layer] for layer in submodules}
    missing = next(layer for layer in submodules if layer not in found)
    raise ValueError(f"The forward pass did not reach layer {missing!r}")


class CompiledCapture:
    """:func:`capture` for one network, as a graph of ``torch.compile`` that holds just what the layers need.

    Its hooks stay on the submodules, since a graph is made of what is there when it is first called; they do nothing
    when someone else calls the network.
    """

    def __init__(self, network: nn.Module, submodules: Mapping[str, str]) -> None:
        self._network, self._submodules = network, submodules
        self._found: dict[str, Tensor] | None = None
        self._thread = 0
        for layer, path in submodules.items():
            network.get_submodule(path).register_forward_hook(partial(self._keep, layer))
        self._compiled = self._own_graph()

    def __call__(self, imgs: Tensor) -> dict[str, Tensor]:
        """The outputs of the layers."""
        self._found, self._thread = {}, get_ident()
        try:
            return self._compiled(imgs)
        finally:
            self._found = None

    def _own_graph(self) -> Callable[[Tensor], dict[str, Tensor]]:
        # torch keeps graphs by code and does not look at hooks when it takes one, so each capture has its own code
        run = FunctionType(CompiledCapture._run.__code__.replace(), globals())
        return torch.compile(MethodType(run, self))

    def _run(self, imgs: Tensor) -> dict[str, Tensor]:
        output, found = self._network(imgs), self._found
        return {layer: found[layer] for layer in self._submodules} if found else named_outputs(output)

    def _keep(self, layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        # a graph is of this call, whichever thread runs it
        if self._found is not None and (torch.compiler.is_compiling() or get_ident() == self._thread):
            self._found[layer] = _first_tensor(layer, output)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._compiled = self._own_graph()


def probe(
    network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int = 3
) -> dict[str, torch.Size]:
    """Shapes of what :func:`capture` gives for one image.

    The pass runs on the meta device, where it computes nothing; only a network that can't do that sees a dummy image.

    Raises:
        ValueError: If the network can't take such an image, or a submodule does not run exactly once.

    """
    errors: list[Exception] = []
    for way in _WAYS:
        seen: dict[str, list[torch.Size]] = {layer: [] for layer in submodules}
        try:
            _note_shapes(network, submodules, channels, size, way, seen)
        except Exception as err:
            errors.append(err)
            continue
        for layer, shapes in seen.items():
            if len(shapes) != 1:
                raise ValueError(
                    f"Layer {layer!r} runs {len(shapes)} times in a forward pass; choose submodules that run once"
                )
        return {layer: shapes[0] for layer, shapes in seen.items()}
    raise ValueError(
        f"The network can't take an image of {size[0]} x {size[1]} pixels ({errors[-2]});"
        " say which size it takes with `input_size`"
    ) from errors[-2]


def shapes_reached(
    network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int
) -> dict[str, torch.Size]:
    """As :func:`probe`, for a size that the network may not take: of the layers that such a pass reaches."""
    for way in _WAYS:
        seen: dict[str, list[torch.Size]] = {}
        with suppress(Exception):
            _note_shapes(network, submodules, channels, size, way, seen)
        if seen:
            return {layer: shapes[-1] for layer, shapes in seen.items()}
    return {}


def named_outputs(output: Any) -> dict[str, Tensor]:
    """A network's output as named tensors: a dict's own names, ``output`` for one tensor, ``output_0`` ... for more.

    Raises:
        TypeError: If it is something else.

    """
    if isinstance(output, Tensor):
        output = {"output": output}
    elif isinstance(output, (tuple, list)):
        output = {f"output_{i}": value for i, value in enumerate(output)}
    if not isinstance(output, Mapping) or not output or not all(isinstance(v, Tensor) for v in output.values()):
        raise TypeError(
            "Expected a network whose output is a tensor, or a dict, list or tuple of tensors,"
            f" but got {type(output).__name__}"
        )
    return {str(name): value for name, value in output.items()}


def device_of(network: nn.Module) -> torch.device:
    """Where its first parameter or buffer lies; the CPU if it has none."""
    return next((t.device for t in chain(network.parameters(), network.buffers())), torch.device("cpu"))


def _note_shapes(
    network: nn.Module,
    submodules: Mapping[str, str],
    channels: int,
    size: tuple[int, int],
    way: tuple[bool, torch.dtype],
    seen: dict[str, list[torch.Size]],
) -> None:
    """Add what each layer gives for a dummy image to ``seen``, as far as the pass comes."""
    on_meta, dtype = way

    def note(layer: str, output: Tensor) -> None:
        seen.setdefault(layer, []).append(output.shape)

    shadow = _on_meta(network) if on_meta else network
    imgs = torch.zeros(1, channels, *size, dtype=dtype, device="meta" if on_meta else device_of(network))
    with (
        torch.inference_mode(),
        _hooked(shadow, submodules, note),
        LeavingOut(*_SAME_SHAPE) if on_meta else nullcontext(),
    ):
        output = shadow(imgs)
    if not submodules:
        for layer, value in named_outputs(output).items():
            note(layer, value)


@contextmanager
def _hooked(network: nn.Module, submodules: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While it lasts, ``visit(layer, output)`` is called for the submodules that this thread runs."""
    mine = get_ident()

    def hook(layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if get_ident() == mine:  # others may call the network, too
            visit(layer, _first_tensor(layer, output))

    handles = [
        network.get_submodule(path).register_forward_hook(partial(hook, layer)) for layer, path in submodules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(layer: str, output: Any) -> Tensor:
    """The output itself, or the first of a tuple or list, as many attention blocks give."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"Layer {layer!r} expected to give a tensor, but it gives {type(output).__name__}")
    return output


def _on_meta(network: nn.Module) -> nn.Module:
    """The network, if it is there, or a copy of the structure alone: weights are replaced in the copy, not copied."""
    if device_of(network).type == "meta":
        return network
    memo: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in network.parameters()}
    memo |= {id(b): b.to("meta") for b in network.buffers()}
    return deepcopy(network, memo)
