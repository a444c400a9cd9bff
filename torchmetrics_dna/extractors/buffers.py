"""Write the result of a function into its input, where nothing else in the network reads that input."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


# functions whose output is in memory of its own
MAKERS = (torch.conv1d, torch.conv2d, torch.conv3d, functional.linear)
_ONLY_ASKING = (Tensor.dim, Tensor.size, Tensor.shape.__get__, Tensor.ndim.__get__, Tensor.dtype.__get__)  # type: ignore[attr-defined]


class Tracing(TorchFunctionMode):
    """Mode that finds out which calls of :data:`IN_PLACE`, by number, may write into their input.

    Such an input is the output of a convolution, a linear layer or another such call, and no other function takes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, Tensor] = {}  # by id, which stays theirs as long as they are kept
        self._uses: Counter[int] = Counter()
        self._inputs: list[int | None] = []  # of the calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        values = [*args, *kwargs.values()]
        if func not in _ONLY_ASKING:
            self._uses.update(key for key in map(id, _flat(values)) if key in self._made)
        if func in IN_PLACE:
            self._inputs.append(id(values[0]) if id(values[0]) in self._made else None)
        output = func(*args, **kwargs)
        if func in MAKERS or func in IN_PLACE:
            self._made[id(output)] = output
        return output

    def reusable(self, outputs: Iterable[Tensor]) -> frozenset[int]:
        """Return the numbers of these calls; inputs that are among ``outputs`` are read later."""
        single = {key for key, uses in self._uses.items() if uses == 1} - set(map(id, outputs))
        return frozenset(number for number, key in enumerate(self._inputs) if key in single)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Return the values, and those of lists and tuples among them."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def _batch_norm(
    input: Tensor,  # noqa: A002 - torch's own word
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: ARG001 - networks stay in evaluation mode
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Replace ``torch.nn.functional.batch_norm``."""
    unused = torch.empty(0), torch.empty(0)  # statistics of a batch
    torch.native_batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps, out=(input, *unused))
    return input


def _gelu(input: Tensor, *, approximate: str = "none") -> Tensor:  # noqa: A002 - torch's own word
    """Replace ``torch.nn.functional.gelu``."""
    output: Tensor = torch.ops.aten.gelu_(input, approximate=approximate)
    return output


# function and what computes the same in its input, bit for bit
IN_PLACE: dict[Callable[..., Any], Callable[..., Tensor]] = {functional.batch_norm: _batch_norm, functional.gelu: _gelu}
