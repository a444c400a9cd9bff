"""Inputs that are no images: tensors, or tuples and dicts of tensors, batch first, of the kind of an example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.images.noun import ROW
from torchmetrics_dna.images.tensors import check_dense, held_by, tensor_of

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]  # images, too
_MOST_BANDS = 256
_TYPES_OF_ROWS = ("float16", "bfloat16", "float32", "float64")


def mapped(function: Callable[..., Any], *inputs: Any) -> Any:
    """Apply a function to all tensors of inputs, or to corresponding tensors of several inputs.

    Unlike torch's pytrees, any mapping is a dict, such as what tokenizers return, and a list becomes a tuple.

    Example:
        >>> mapped(len, {"x": torch.zeros(2, 3), "more": (torch.zeros(2),)})
        {'x': 2, 'more': (2,)}

    """
    first = inputs[0]
    if isinstance(first, Tensor):
        return function(*inputs)
    if isinstance(first, Mapping):
        return {name: mapped(function, *(each[name] for each in inputs)) for name in first}
    return tuple(mapped(function, *parts) for parts in zip(*inputs, strict=True))


def tensors_of(inputs: Any) -> list[Tensor]:
    """Return all tensors of inputs, in order."""
    tensors: list[Tensor] = []
    mapped(tensors.append, inputs)
    return tensors


def count_of(inputs: Any) -> int:
    """Return the number of inputs in a batch."""
    return len(tensors_of(inputs)[0])


def is_table(source: Any) -> bool:
    """True for a DataFrame of pandas or polars."""
    return hasattr(source, "to_numpy") and hasattr(source, "columns")


def check_not_sparse(source: Any, noun: str) -> None:
    """Raise TypeError for a sparse matrix of scipy."""
    if hasattr(source, "toarray") and hasattr(source, "nnz"):
        raise TypeError(
            f"Expected {noun}s as a dense array, but got a sparse {type(source).__name__}; pass its `toarray()`"
        )


def check_rows(array: Any) -> None:
    """Raise ValueError unless an array in a file holds rows of embeddings: floating point numbers ``(N, D)``."""
    held = str(array.dtype).removeprefix("torch.") if isinstance(array, Tensor) else held_by(array.dtype)
    shape = tuple(array.shape)
    if held in _TYPES_OF_ROWS and len(shape) == 2 and 0 not in shape:
        return
    remedy = ""
    if held.startswith(("int", "uint", "bool")) and len(shape) == 2:
        remedy = "; save `rows.astype('float32')`"
    raise ValueError(f"it holds {held} of shape {shape}, expected floating point numbers of shape (N, D){remedy}")


def called(module: Callable[..., Any], inputs: Any) -> Any:
    """Call a module on its inputs: a tuple are its positional arguments, a dict its keyword arguments."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


@dataclass(frozen=True, eq=False)
class Example:
    """Structure, numbers of axes and dtypes of inputs; shapes are free."""

    like: Any  # one input as a batch, whose tensors are on the meta device
    noun: str = "input"  # or "row" of embeddings, whose floating point numbers are converted

    @classmethod
    def of(cls, example: Any, noun: str = "input") -> Example:
        """Return those of a batch; TypeError or ValueError if it is none of tensors of one length."""
        _check_tensors(example, "example")
        _check_lengths(example, "example")
        return cls(mapped(lambda tensor: tensor[:1].to("meta"), example), noun)

    @property
    def dtypes(self) -> str:
        """Dtypes in words.

        Example:
            >>> Example.of((torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))).dtypes
            'float32, int64'

        """
        return ", ".join(str(tensor.dtype).removeprefix("torch.") for tensor in tensors_of(self.like))

    @property
    def num_bytes(self) -> int:
        """Memory of one input of the example's size."""
        return sum(tensor.nbytes for tensor in tensors_of(self.like))

    @property
    def bands(self) -> int:
        """Length of axis 1 of the largest tensor, if two axes of positions or more follow it and it is 2 to 256."""
        shape = max(tensors_of(self.like), key=Tensor.numel).shape
        return shape[1] if len(shape) > 3 and 2 <= shape[1] <= _MOST_BANDS else 0

    def has_names_of(self, inputs: Mapping[Any, Any]) -> bool:
        """True if the inputs are a dict with the names of the example, rather than several sets by name."""
        return isinstance(self.like, Mapping) and self.like.keys() <= inputs.keys()

    def check(self, inputs: Any) -> None:
        """Check a batch, but not its values: TypeError for another structure than the example's.

        ValueError for another number of axes or dtype, parts of several lengths, or no inputs.
        """
        _check_like(inputs, self.like, _ARGUMENT)
        _check_lengths(inputs, "imgs")

    def batch(self, source: Any) -> Any:
        """Return a set that is one batch, as tensors; None if it is none.

        The rows of a table (a DataFrame) are a batch if they are numbers. Errors as of :meth:`check`.
        """
        if isinstance(self.like, Tensor) and is_table(source):
            source = source.to_numpy()
        kinds: tuple[type, ...] = (Tensor, np.ndarray)
        if not isinstance(self.like, Tensor):
            kinds = (Mapping,) if isinstance(self.like, Mapping) else (tuple,)
        if not isinstance(source, kinds):
            return None
        batch = self._taken(source, _ARGUMENT)
        self.check(batch)
        return batch

    def _taken(self, item: Any, subject: str) -> Any:
        inputs = _taken(item, self.like, subject)
        if self.noun != ROW:
            return inputs
        if not inputs.is_floating_point():
            held = str(inputs.dtype).removeprefix("torch.")
            remedy = "" if inputs.is_complex() else "; pass `numpy.float32(rows)`"
            raise ValueError(f"{subject.format('')} expected to be floating point numbers, but got {held}{remedy}")
        return inputs.float()

    def singles(self, item: Any) -> Iterator[Any]:
        """Yield the inputs of an item of a data set, without the batch axis: itself, or those of a batch.

        Arrays become tensors. What follows the inputs in a tuple, such as a label, and further names of a dict are left
        out; what has no names itself may be a dict's ``"image"``. Errors as of :meth:`check`.
        """
        inputs = self._taken(item, _ITEM)
        if tensors_of(inputs)[0].ndim == tensors_of(self.like)[0].ndim:
            _check_like(inputs, self.like, _ITEM)
            _check_lengths(inputs, "imgs")
            for i in range(count_of(inputs)):
                yield mapped(itemgetter(i), inputs)
        else:
            _check_like(inputs, mapped(itemgetter(0), self.like), _ITEM)
            yield inputs

    def single(self, item: Any) -> Any:
        """Return the only input of an item, see :meth:`singles`; ValueError for a batch of more."""
        first, *others = self.singles(item)
        if others:
            raise ValueError(f"expected one input, but got a batch of {1 + len(others)}; give a list of single inputs")
        return first


ROWS = Example(torch.empty(1, 1, device="meta"), ROW)  # of embeddings
_ARGUMENT, _ITEM = "Argument `imgs{}`", "it{}"  # subjects of messages


def _check_tensors(inputs: Any, name: str) -> None:
    if isinstance(inputs, Tensor):
        check_dense(inputs, f"Argument `{name}`")
        if not inputs.ndim:
            raise ValueError(f"Argument `{name}` expected to be batch first, but got a number; give `{name}[None]`")
        return
    parts = _parts(inputs)
    if not parts:
        raise TypeError(
            f"Argument `{name}` expected to be a tensor, or a tuple or dict of tensors, but got {_in_words(inputs)}"
        )
    for key, part in parts.items():
        _check_tensors(part, f"{name}[{key!r}]")


def _check_lengths(inputs: Any, name: str) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors_of(inputs)]
    listed = ", ".join(map(str, shapes))
    if len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"Argument `{name}` expected to have parts of one length, but got shapes {listed}")
    if any(0 in shape for shape in shapes):
        raise ValueError(f"Argument `{name}` expected to hold inputs, but got shape {listed}")


def _check_like(inputs: Any, like: Any, subject: str, path: str = "") -> None:
    """Check the structure, numbers of axes and dtypes."""
    what = f"{subject.format(path)} expected to"
    if isinstance(like, Tensor) and isinstance(inputs, Tensor):
        check_dense(inputs, subject.format(path))
        if inputs.ndim != like.ndim:
            batch = ", batch first" if subject == _ARGUMENT else ""
            remedy = ""
            if batch and inputs.ndim == like.ndim - 1:  # a batch without an axis of channels, or a single input
                is_batch = inputs.shape != like.shape[1:] and like.shape[1] == 1 and inputs.shape[1:] == like.shape[2:]
                remedy = f"; give `imgs{path}[{':, ' * is_batch}None]`"
            raise ValueError(
                f"{what} have {like.ndim} axes{batch}, as in the example, but got shape {tuple(inputs.shape)}{remedy}"
            )
        if inputs.dtype != like.dtype:
            expected, got = (str(dtype).removeprefix("torch.") for dtype in (like.dtype, inputs.dtype))
            raise ValueError(
                f"{what} be {expected}, as in the example, but got {got}; convert it, or give an example of that type"
            )
        return
    parts, theirs = _parts(like), _parts(inputs)
    if parts is None or theirs is None or parts.keys() != theirs.keys():
        raise TypeError(f"{what} be {_in_words(like)}, as in the example, but got {_in_words(inputs)}")
    for key, part in parts.items():
        _check_like(theirs[key], part, subject, f"{path}[{key!r}]")


def _taken(item: Any, like: Any, subject: str, path: str = "") -> Any:
    """Take what the example has from an item, as tensors."""
    if isinstance(item, Mapping) and not isinstance(like, Mapping) and "image" in item:
        item = item["image"]  # as in the data sets of MONAI, beside a label
    is_row = isinstance(item, (tuple, list)) and len(item)
    if isinstance(like, Tensor):
        if is_row and not isinstance(item[0], (int, float, list)):
            item = item[0]  # labels come after it
        if isinstance(item, np.ndarray):
            return tensor_of(item, subject.format(path))
        if isinstance(item, (Tensor, np.generic, int, float, list)):
            return torch.as_tensor(item).detach()
    elif isinstance(like, Mapping):
        item = item[0] if is_row else item
        if isinstance(item, Mapping) and like.keys() <= item.keys():
            return {key: _taken(item[key], part, subject, f"{path}[{key!r}]") for key, part in like.items()}
    elif is_row:
        item = item[0] if isinstance(item[0], (tuple, list)) and len(item[0]) == len(like) else item
        if len(item) >= len(like):
            return tuple(_taken(item[i], part, subject, f"{path}[{i}]") for i, part in enumerate(like))
    raise TypeError(
        f"{subject.format(path)} expected to be {_in_words(like)}, as in the example, but got {_in_words(item)}"
    )


def _parts(inputs: Any) -> dict[Any, Any] | None:
    """Return the parts of a dict or tuple by name or place; None for others."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return dict(enumerate(inputs)) if isinstance(inputs, tuple) else None


def _in_words(inputs: Any) -> str:
    if isinstance(inputs, Mapping):
        return f"a dict with {', '.join(map(repr, inputs)) or 'nothing'}"
    if isinstance(inputs, (tuple, list)):
        return f"a {type(inputs).__name__} of {len(inputs)}"
    return f"a {type(inputs).__name__}"
