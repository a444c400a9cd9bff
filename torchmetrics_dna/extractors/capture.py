"""Capture the outputs of a network, or of chosen submodules, in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from itertools import chain
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.meta import Skipping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_SAME_SHAPE = (functional.batch_norm, functional.layer_norm, functional.hardtanh)
# to probe a network: on the meta device, dtype
_ATTEMPTS = (
    (True, torch.float32),
    (True, torch.uint8),
    (False, torch.float32),
    (False, torch.uint8),
)

_MOST_LISTED = 40  # submodules


class _Reached(Exception):  # noqa: N818 - control flow: all outputs are captured
    pass


def capture(network: nn.Module, submodules: Mapping[str, str], imgs: Tensor) -> dict[str, Tensor]:
    """Return outputs of submodules, ``{layer: output}``; the forward pass stops as soon as all are captured.

    Args:
        network: Network to run on ``imgs``.
        submodules: ``{layer: path of the submodule}``; if empty, the network's own outputs are returned.
        imgs: Input of the network.

    """
    if not submodules:
        return named_outputs(network(imgs))
    captured: dict[str, Tensor] = {}

    def keep(layer: str, output: Tensor) -> None:
        captured[layer] = output
        if len(captured) == len(submodules):
            raise _Reached

    with _hooked(network, submodules, keep):
        try:
            network(imgs)
        except _Reached:
            return {layer: captured[layer] for layer in submodules}
    missing = next(layer for layer in submodules if layer not in captured)
    raise ValueError(f"The forward pass did not reach layer {missing!r}")


def probe(
    network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int = 3
) -> dict[str, torch.Size]:
    """Return the shapes of the outputs of :func:`capture` for one image.

    The pass runs on the meta device, which computes nothing; only networks that fail there get a dummy image.

    Raises:
        ValueError: If the network fails on such an image, or a submodule does not run exactly once.

    """
    errors: list[Exception] = []
    for attempt in _ATTEMPTS:
        seen: dict[str, list[torch.Size]] = {layer: [] for layer in submodules}
        try:
            _note_shapes(network, submodules, channels, size, attempt, seen)
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
    """Probe a size that the network may not support; return the shapes of the layers that the pass reaches."""
    for attempt in _ATTEMPTS:
        seen: dict[str, list[torch.Size]] = {}
        with suppress(Exception):
            _note_shapes(network, submodules, channels, size, attempt, seen)
        if seen:
            return {layer: shapes[-1] for layer, shapes in seen.items()}
    return {}


def submodules_in_words(network: nn.Module) -> str:
    """List the submodules of a network; of a large one only those at the top.

    Example:
        >>> submodules_in_words(nn.Sequential(nn.Sequential(nn.ReLU()), nn.Flatten()))
        '0, 0.0, 1'

    """
    names = [name for name, _ in network.named_modules() if name]
    if len(names) <= _MOST_LISTED:
        return ", ".join(names) or "none"
    top = [name for name, _ in network.named_children()]
    return (
        f"{', '.join(top[:_MOST_LISTED])}, and {len(names) - len(top[:_MOST_LISTED])} within them (`named_modules()`)"
    )


def named_outputs(output: Any) -> dict[str, Tensor]:
    """Name the tensors of a network's output: by key for a dict, else ``output``, or ``output_0`` ... for several.

    Raises:
        TypeError: If the output has another type.

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
    """Return the device of the first parameter or buffer; the CPU if there is none."""
    return next((t.device for t in chain(network.parameters(), network.buffers())), torch.device("cpu"))


def _note_shapes(
    network: nn.Module,
    submodules: Mapping[str, str],
    channels: int,
    size: tuple[int, int],
    attempt: tuple[bool, torch.dtype],
    seen: dict[str, list[torch.Size]],
) -> None:
    """Append the output shapes of layers for a dummy image to ``seen``, as far as the pass gets."""
    on_meta, dtype = attempt

    def note(layer: str, output: Tensor) -> None:
        seen.setdefault(layer, []).append(output.shape)

    shadow = _on_meta(network) if on_meta else network
    imgs = torch.zeros(1, channels, *size, dtype=dtype, device="meta" if on_meta else device_of(network))
    with (
        torch.inference_mode(),
        _hooked(shadow, submodules, note),
        Skipping(*_SAME_SHAPE) if on_meta else nullcontext(),
    ):
        output = shadow(imgs)
    if not submodules:
        for layer, value in named_outputs(output).items():
            note(layer, value)


@contextmanager
def _hooked(network: nn.Module, submodules: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``visit(layer, output)`` for the submodules that this thread runs within the context."""
    mine = get_ident()

    def hook(layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if get_ident() == mine:  # ignore other threads on the same network
            visit(layer, first_tensor(layer, output))

    handles = [
        network.get_submodule(path).register_forward_hook(partial(hook, layer)) for layer, path in submodules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(layer: str, output: Any) -> Tensor:
    """Return a tensor output, or the first of a tuple or list, which many attention blocks return."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"Layer {layer!r} expected to give a tensor, but it gives {type(output).__name__}")
    return output


def _on_meta(network: nn.Module) -> nn.Module:
    """Return the network if on the meta device, else a copy on it that allocates no weights."""
    if device_of(network).type == "meta":
        return network
    memo: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in network.parameters()}
    memo |= {id(b): b.to("meta") for b in network.buffers()}
    return deepcopy(network, memo)
