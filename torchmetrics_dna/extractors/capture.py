"""Capture the outputs of a network, or of chosen submodules, in one forward pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from itertools import chain, product
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_dna.extractors.fingerprint import unwrapped, version_of
from torchmetrics_dna.extractors.meta import Skipping
from torchmetrics_dna.files.damage import first_line
from torchmetrics_dna.images.inputs import Inputs, called, count_of, mapped, tensors_of
from torchmetrics_dna.images.tensors import not_dense

_SAME_SHAPE = (functional.batch_norm, functional.layer_norm, functional.hardtanh)
_NUMBERS = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
_MOST_LISTED = 40  # submodules
# what torch says of an input whose height or width does not fit the weights
_ABOUT_SIZES = re.compile(r"multiplied|must match|normalized_shape|match the size|too small|can't be greater")


class UnfitError(ValueError):
    """A network ran, but what it gives are no activations."""


class _Reached(Exception):  # noqa: N818 - control flow: all outputs are captured
    pass


class Probed(NamedTuple):
    """Properties of a network that a pass of one input shows."""

    shapes: dict[str, torch.Size]  # of each layer's output
    edited: frozenset[str]  # layers whose output the network goes on to write to
    dtype: torch.dtype | None = None  # of images that the network takes where neither float32 nor uint8 is


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

    def own(layer: str, output: Tensor) -> Tensor:
        return output.detach().clone() if copied is None or layer in copied else output

    if not submodules:
        outputs = named_outputs(called(network, inputs))
        return {layer: own(layer, outputs.pop(layer)) for layer in list(outputs)}  # never all of them twice
    captured: dict[str, Tensor] = {}

    def keep(layer: str, output: Tensor) -> None:
        captured[layer] = own(layer, output)
        if stops and len(captured) == len(submodules):
            raise _Reached

    with _hooked(network, submodules, keep), suppress(_Reached):
        called(network, inputs)
    return {layer: captured[layer] for layer in submodules}


def probe(network: nn.Module, submodules: Mapping[str, str], size: tuple[int, int], channels: int = 3) -> Probed:
    """Find out what the outputs of :func:`capture` are, by one image; its errors, or UnfitError if the network fails.

    The pass runs on the meta device, which computes nothing; only networks that fail there get a dummy image.
    """
    errors: dict[torch.dtype, Exception] = {}  # the last ones are of the network's own device
    for imgs in _dark_images(network, channels, size):
        try:
            probed = _probed(network, submodules, imgs)
        except UnfitError:
            raise
        except Exception as err:
            errors[imgs.dtype] = err
        else:
            return probed._replace(dtype=None if imgs.dtype in (torch.float32, torch.uint8) else imgs.dtype)
    error = errors[own_dtype(network)]
    reason = first_line(error)
    if _ABOUT_SIZES.search(reason):
        raise UnfitError(
            f"The network can't take an image of {size[0]} x {size[1]} pixels ({reason}); say which size it takes with"
            " `input_size`"
        ) from error
    needed = re.search(r"to have (\d+) channels", reason)
    remedy = f"; give `channels={needed[1]}`" if needed and int(needed[1]) != channels else ""
    raise UnfitError(f"The network fails on images of shape {(1, channels, *size)}: {reason}{remedy}") from error


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
        remedy = "give it as the network takes it"
        raise UnfitError(f"The network fails on the example, of {forms}: {first_line(err)}; {remedy}") from err
    for layer, shape in probed.shapes.items():
        if len(shape) < 2 or shape[0] != count_of(few):
            raise UnfitError(
                f"Layer {layer!r} gives shape {tuple(shape)} for {count_of(few)} inputs; expected (B, n, *positions), a"
                " row for each input"
            )
    return probed._replace(shapes={layer: torch.Size([1, *shape[1:]]) for layer, shape in probed.shapes.items()})


class Trial(NamedTuple):
    """Outputs of a pass of a module, and the bytes of its buffers afterwards."""

    outputs: dict[str, Tensor]
    buffers: dict[str, bytes]


def tried(network: nn.Module, submodules: Mapping[str, str], batches: Iterable[Inputs]) -> list[Trial]:
    """Run a copy of a module on batches in turn; the module and torch's random numbers stay as they are.

    The module itself runs too where its first call sets buffers, such as a cache, which are part of its weights. The
    result is empty if it can't be copied, or fails on such batches.
    """
    trials = []
    copy = _copied(network)
    with suppress(Exception), same_random_numbers(network):
        for batch in batches if copy is not network else ():
            outputs = capture(copy, submodules, mapped(torch.clone, batch), copied=None)
            trials.append(Trial(outputs, _bytes_of_buffers(copy)))
        if trials and trials[0].buffers == trials[-1].buffers != _bytes_of_buffers(network):
            called(network, mapped(torch.clone, batch))
        return trials
    return []


def _bytes_of_buffers(network: nn.Module) -> dict[str, bytes]:
    buffers = {name: buffer.detach().cpu().flatten() for name, buffer in network.named_buffers()}
    return {name: values.view(torch.uint8).numpy().tobytes() for name, values in buffers.items()}


def two_images(network: nn.Module, size: tuple[int, int], channels: int) -> Iterator[Tensor]:
    """Yield a dark and a bright image of noise, in each dtype that a network may take."""
    noise = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    noise[0] /= 4
    for dtype in _image_dtypes(network):
        yield (noise if dtype.is_floating_point else noise * 255).to(device_of(network), dtype)


def two_inputs(network: nn.Module, example: Inputs) -> Inputs:
    """Return the first two inputs of an example, the second changed within its range where they are equal."""
    device = device_of(network)
    two: Inputs = mapped(lambda tensor: tensor[:2].detach().to(device).expand(2, *tensor.shape[1:]).clone(), example)
    tensors = tensors_of(two)
    if all(torch.equal(*tensor) for tensor in tensors):
        for tensor in tensors:
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape[1:], generator=torch.Generator().manual_seed(0))
                tensor[1] = tensor[1].float() / 2 + noise.to(device) / 4
            elif tensor.ndim > 1:
                tensor[1] = tensor[1].roll(1, -1)
    return two


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

    UnfitError if the output is something else.
    """
    outputs: Any = output
    if isinstance(output, Tensor):
        outputs = {"output": output}
    elif isinstance(output, (tuple, list)):
        outputs = {f"output_{i}": value for i, value in enumerate(output)}
    if not isinstance(outputs, Mapping) or not outputs:
        what = type(output).__name__ if outputs else f"an empty {type(output).__name__}"
        raise UnfitError(f"{_EXPECTED}, but got {what}")
    for name, value in outputs.items():
        if not isinstance(value, Tensor):
            raise UnfitError(
                f"{_EXPECTED}, but {name!r} is of type {type(value).__name__}; name submodules by `layers`, or"
                " give a module that returns its tensors side by side"
            )
    if len({*map(str, outputs)}) < len(outputs):
        raise UnfitError(
            f"{_EXPECTED}, but several of its names read alike: {', '.join(map(repr, outputs))}; rename one"
        )
    return {str(name): _activations(str(name), value) for name, value in outputs.items()}


_EXPECTED = "Expected a network whose output is a tensor, or a dict, list or tuple of tensors"


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU if there is none."""
    return next((t.device for t in chain(network.parameters(), network.buffers())), torch.device("cpu"))


def own_dtype(network: nn.Module) -> torch.dtype:
    """Return the dtype of the first parameter of floating point; float32 if there is none."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


_Seen = dict[str, list[tuple[Tensor, int | None]]]  # outputs of each layer, with torch's counter of writes to them


def _dark_images(network: nn.Module, channels: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield an image to probe a network with, in each dtype that it may take: on the meta device, then on its own."""
    for device, dtype in product((torch.device("meta"), device_of(network)), _image_dtypes(network)):
        yield torch.zeros(1, channels, *size, dtype=dtype, device=device)


def _image_dtypes(network: nn.Module) -> list[torch.dtype]:
    return list(dict.fromkeys((torch.float32, torch.uint8, own_dtype(network))))


def _probed(network: nn.Module, submodules: Mapping[str, str], inputs: Inputs) -> Probed:
    seen: _Seen = {layer: [] for layer in submodules}
    _look(network, submodules, inputs, seen)
    edited = frozenset(layer for layer, ((output, version),) in seen.items() if version_of(output) != version)
    return Probed({layer: output.shape for layer, ((output, _),) in seen.items()}, edited)


def _look(network: nn.Module, submodules: Mapping[str, str], inputs: Inputs, seen: _Seen) -> None:
    """Append the outputs of layers to ``seen``, as far as the pass gets; inputs on the meta device compute nothing."""
    on_meta = tensors_of(inputs)[0].device.type == "meta"

    def note(layer: str, output: Tensor) -> None:
        seen.setdefault(layer, []).append((output, version_of(output)))

    shadow = _copied(network, on_meta)
    # versions aren't counted in inference mode
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        same_random_numbers(network),
        _hooked(shadow, submodules, note),
        Skipping(*_SAME_SHAPE) if on_meta else nullcontext(),
    ):
        output = called(shadow, inputs)
    if not submodules:
        for layer, value in named_outputs(output).items():
            note(layer, value)


@contextmanager
def _hooked(network: nn.Module, submodules: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``visit(layer, output)`` for submodules within the context; UnfitError unless this thread runs each once."""
    mine, runs, elsewhere = get_ident(), dict.fromkeys(submodules, 0), set()

    def hook(layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if get_ident() != mine:  # which may be another thread on the same network
            elsewhere.add(layer)
            return
        runs[layer] += 1
        visit(layer, first_tensor(layer, output))

    parts = {layer: unwrapped(network).get_submodule(path) for layer, path in submodules.items()}
    handles = [part.register_forward_hook(partial(hook, layer)) for layer, part in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for layer, count in runs.items():
        if not count and layer in elsewhere:
            raise UnfitError(
                f"Layer {layer!r} runs in another thread than the module, where its passes can't be told from those of"
                " others; run it in the thread that calls the module, or choose submodules that do"
            )
        if count != 1:
            raise UnfitError(f"Layer {layer!r} runs {count} times in a forward pass; choose submodules that run once")


def first_tensor(layer: str, output: Any) -> Tensor:
    """Return a tensor output, or the first of a tuple or list, which many attention blocks return."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise UnfitError(f"Layer {layer!r} expected to give a tensor, but it gives {type(output).__name__}")
    return _activations(layer, output)


def _activations(layer: str, output: Tensor) -> Tensor:
    """Return the output of a layer; UnfitError if its values are no real numbers, one beside the other."""
    what = not_dense(output) or ("" if output.dtype in _NUMBERS else str(output.dtype).removeprefix("torch."))
    if what:
        raise UnfitError(
            f"Layer {layer!r} expected to give real numbers in a dense tensor, but its output is {what}; give a module"
            " that converts it"
        )
    return output


@contextmanager
def same_random_numbers(network: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Put torch's random numbers back after the context, in which they are those of a seed, if one is given."""
    device = device_of(network)
    devices = [device] if device.type == "cuda" and torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        if seed is not None:
            for generator in (torch.default_generator, *(torch.cuda.default_generators[d.index or 0] for d in devices)):
                generator.manual_seed(seed)
        yield


def _copied(network: nn.Module, on_meta: bool = False) -> nn.Module:
    """Return a copy of a network for passes that leave it as it is.

    A copy ``on_meta`` allocates no weights, another one shares the parameters; the network itself stands for it where
    it is on the meta device already, or can't be copied, such as one with a lock.
    """
    if on_meta:
        if device_of(network).type == "meta":
            return network
        memo: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in network.parameters()}
        return deepcopy(network, memo | {id(b): b.to("meta") for b in network.buffers()})
    with suppress(Exception):
        return deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
    return network
