"""Tell networks apart: by their weights, and by what they compute of one fixed input, since weights don't tell all."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Hashable, Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# differences relative to the size of a layer's activations: in float32, threads, memory formats, batches before, and
# instruction sets moved them by 2e-6 at most; GPUs and half precision may by more
TOLERANCE, TOLERANCE_OF_HALF = 1e-4, 5e-2
_SAMPLES = 16  # values of each tensor
_NAMES: dict[str, int] = {}  # hash of the names of the tensors that a digest is of, for errors of this process
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # which numpy has, too


class Watch:
    """Parameters and buffers of a network, and whether their values changed, told in less than a millisecond.

    Walking through a network takes milliseconds. So its modules are listed once, and again if one of them holds another
    module or tensor than before. With ``samples``, values may change unseen by torch's version counters, as by writes
    to ``.data``.
    """

    def __init__(self, network: nn.Module, samples: bool) -> None:
        self.network, self._samples = network, samples
        self._listed: tuple[list[nn.Module], list[Any], list[Tensor], list[Tensor]] = ([], [], [], [])
        # addresses and types of tensors, views of their values, and tensors without views
        self._sampled: tuple[list[Any], list[list[NDArray[Any]]], list[Tensor]] = ([], [], [])
        self._digest: tuple[Hashable, str] | None = None  # with the values that it is of

    def __reduce__(self) -> Any:
        return Watch, (self.network, self._samples)

    @property
    def parameters(self) -> list[Tensor]:
        """Parameters that the network has now."""
        return self._list()[0]

    @property
    def tensors(self) -> list[Tensor]:
        """Parameters and buffers that the network has now."""
        parameters, buffers = self._list()
        return [*parameters, *buffers]

    @property
    def digest(self) -> str:
        """Digest of parameters and buffers, 16 hexadecimal digits; computed anew where they changed."""
        values = self.snapshot(waits=True)
        if self._digest is None or self._digest[0] != values:
            network = unwrapped(self.network)
            tensors = network.state_dict()
            tensors |= {name: buffer for name, buffer in network.named_buffers() if name not in tensors}
            self._digest = values, digest_of(tensors)
            _NAMES[self._digest[1]] = hash(tuple(tensors))
        return self._digest[1]

    def snapshot(self, waits: bool = False) -> Hashable:
        """Return a value that is equal as long as all tensors are: addresses, torch's version counters, samples.

        On devices other than the CPU values are sampled only if the host may wait (``waits``).
        """
        tensors = self.tensors
        places = [(tensor.data_ptr(), tensor.dtype) for tensor in tensors]
        counters = tuple(map(version_of, tensors))
        if not self._samples:
            return *places, counters
        sampled = self._sampled
        if sampled[0] != places:  # until then, views hold memory that a tensor may have left
            views: dict[int, list[NDArray[Any]]] = {}  # by size of a value
            others = []
            for tensor in tensors:
                formats = [torch.contiguous_format, *([torch.channels_last] if tensor.ndim == 4 else [])]
                is_dense = any(tensor.is_contiguous(memory_format=form) for form in formats)
                if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu" or not is_dense:
                    others.append(tensor)
                elif count := tensor.numel():
                    step, size = count // _SAMPLES + 1, tensor.element_size()
                    values = tensor.detach().as_strided(((count - 1) // step + 1,), (step,))
                    values = values.view(_BITS[size]) if size in _BITS else values
                    views.setdefault(size, []).append(values.numpy())
            self._sampled = sampled = places, list(views.values()), others
        samples: list[Any] = [np.concatenate(views_of_size).tobytes() for views_of_size in sampled[1]]
        for tensor in sampled[2]:
            if waits or tensor.device.type == "cpu":
                flat = tensor.detach().flatten()
                samples.append(tuple(flat[:: len(flat) // _SAMPLES + 1].tolist()))
        return *places, counters, *samples

    def _list(self) -> tuple[list[Tensor], list[Tensor]]:
        modules, held, parameters, buffers = self._listed
        now = _held_by(modules)
        if not modules or len(now) != len(held) or not all(map(is_, now, held)):
            modules = list(self.network.modules())
            parameters, buffers = list(self.network.parameters()), list(self.network.buffers())
            self._listed = modules, _held_by(modules), parameters, buffers
        return parameters, buffers


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile``, ``DataParallel`` and the like wrap: it computes the same.

    A wrapper has another class, and a prefix before each name.
    """
    while True:
        wraps = isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = "module" if wraps else "_orig_mod"
        if inner not in dict(network.named_children()):
            return network
        network = network.get_submodule(inner)


def names_differ(*digests: str) -> bool:
    """True if digests of weights, as far as they were computed in this process, are of tensors with other names."""
    return len({_NAMES[digest] for digest in digests if digest in _NAMES}) > 1


def version_of(tensor: Tensor) -> int | None:
    """Return torch's counter of writes to a tensor; None for one of inference mode, which has none."""
    return None if tensor.is_inference() else tensor._version


def _held_by(modules: Sequence[nn.Module]) -> list[Any]:
    """Return submodules, parameters and buffers of modules."""
    return [
        value
        for module in modules
        for values in (module._modules, module._parameters, module._buffers)
        for value in values.values()
    ]


def digest_of(tensors: Mapping[Any, Any]) -> str:
    """Return the digest of named tensors, 16 hexadecimal digits."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):  # a module may keep other things, too
            sha.update(str(name).encode())
            sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


def fixed_images(channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return the image that fingerprints are taken of, as a batch: smooth shapes with noise, uint8 or in [0, 1]."""
    noise = torch.randint(0, 128, (1, channels, *size), generator=torch.Generator().manual_seed(0))
    rows, columns = (torch.arange(length) * 512 // length for length in size)
    smooth = ((rows[:, None] + columns) % 256 - 128).abs()
    images = (noise + smooth).clamp(max=255).to(torch.uint8)
    return images if dtype == torch.uint8 else images.to(dtype) / 255


def noise_like(example: Tensor, signed: bool = True) -> Tensor:
    """Return one input of noise: evenly in the range of an example, or about its only value; integers are its own."""
    # zeros, as an example may only say a shape, would hide much
    generator, shape = torch.Generator().manual_seed(0), (1, *example.shape[1:])
    values = example.detach().cpu().flatten()
    if not example.is_floating_point():
        return values[torch.randint(len(values), shape, generator=generator)]
    low, high = values.double().aminmax()
    middle, half = (low + high) / 2, (high - low) / 2 or torch.ones(())
    noise = (middle + half * (2 * torch.rand(shape, generator=generator) - 1)).to(example.dtype)
    return noise if signed else noise.abs()


def fingerprint_of(form: Sequence[Any], activations: Mapping[str, Tensor], dtype: str | None) -> dict[str, Any]:
    """Summarize activations of one input, ``{layer: (1, n, *positions)}``, by four numbers a layer.

    The result is JSON-serializable: the form of the input, the tolerance of a comparison, which depends on the dtype of
    the network (None for float32), and for each layer, in base64, its size (root mean square) and projections of the
    neurons' means, two, and of their sizes, float32.
    """
    layers = {}
    for layer, values in activations.items():
        neurons = values[0].detach().reshape(values.shape[1], -1).double()
        mean, square = neurons.mean(1), neurons.square().mean(1)
        angles = torch.arange(len(mean), dtype=torch.float64, device=mean.device)
        across, along = angles.cos(), angles.sin()
        summary = [square.mean().sqrt(), mean @ across, mean @ along, square.sqrt() @ across]
        numbers = torch.stack(summary).cpu().numpy().astype("<f4")
        numbers[1:] /= len(mean) ** 0.5  # what one neuron changes stands out of what rounding changes in all
        layers[layer] = b64encode(numbers.tobytes()).decode()
    tolerance = TOLERANCE if dtype is None or dtype.startswith("float64") else TOLERANCE_OF_HALF
    return {"input": list(form), "tolerance": tolerance, "layers": layers}


def furthest_layer(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the layer that differs most between two fingerprints, and by how much relative to its size.

    The layer is "" if only one of two networks takes an input. None if they agree, or can't be compared: of bytes and
    floats, of unlike examples, or without a layer in common.
    """
    if a["input"][0] != b["input"][0]:
        return None
    if a["input"] != b["input"] or bool(a["layers"]) != bool(b["layers"]):
        return "", np.inf
    differences = {}
    for layer in a["layers"].keys() & b["layers"].keys():
        ours, theirs = (np.frombuffer(b64decode(each["layers"][layer]), "<f4").astype(float) for each in (a, b))
        size = np.nanmax([ours[0], theirs[0], np.finfo(np.float32).tiny])
        apart = np.abs(ours - theirs) / size
        apart[(ours == theirs) | (np.isnan(ours) & np.isnan(theirs))] = 0
        differences[layer] = float(np.nan_to_num(apart, nan=np.inf).max())
    layer = max(sorted(differences), key=differences.__getitem__, default="")
    return (layer, differences[layer]) if layer and differences[layer] > max(a["tolerance"], b["tolerance"]) else None
