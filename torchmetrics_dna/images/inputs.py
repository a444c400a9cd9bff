"""Inputs of a network other than images: tensors, or tuples and dicts of tensors.

Their first axis is the batch. Their structure is that of an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.images.noun import ROW
from torchmetrics_dna.images.tensors import check_dense, held_by, tensor_of

# Type of a batch of inputs. This includes batches of images, which are tensors.
Inputs = Tensor | tuple[Any, ...] | dict[str, Any]
# Maximum length of an axis that counts as bands. Hyperspectral cameras have up to about 250 bands.
_MOST_BANDS = 256
# Dtypes of rows of embeddings.
_TYPES_OF_ROWS = ("float16", "bfloat16", "float32", "float64")


def mapped(function: Callable[..., Any], *inputs: Any) -> Any:
    """Apply a function to each tensor of inputs. With several inputs, apply it to their corresponding tensors.

    Each mapping counts as a dict, such as the result of a tokenizer, and a list becomes a tuple. Pytrees of torch
    support neither.

    Example:
        >>> mapped(len, {"x": torch.zeros(2, 3), "more": (torch.zeros(2),)})
        {'x': 2, 'more': (2,)}

    """
    first = inputs[0]
    if isinstance(first, Tensor):
        return function(*inputs)
    if isinstance(first, Mapping):
        return {name: mapped(function, *map(itemgetter(name), inputs)) for name in first}
    return tuple(mapped(function, *parts) for parts in zip(*inputs, strict=True))


def tensors_of(inputs: Any) -> list[Tensor]:
    """Return all tensors of inputs as a list."""
    tensors: list[Tensor] = []
    mapped(tensors.append, inputs)
    return tensors


def count_of(inputs: Any) -> int:
    """Return the number of inputs in a batch."""
    return len(tensors_of(inputs)[0])


def is_table(source: Any) -> bool:
    """Return True for a DataFrame of pandas or polars."""
    return hasattr(source, "to_numpy") and hasattr(source, "columns")


def check_not_sparse(source: Any, noun: str) -> None:
    """Raise TypeError for a sparse matrix of scipy."""
    if hasattr(source, "toarray") and hasattr(source, "nnz"):
        raise TypeError(
            f"Expected {noun}s as a dense array, but got a sparse {type(source).__name__}; pass its `toarray()`"
        )


def check_rows(array: Any) -> None:
    """Raise ValueError unless an array holds rows of embeddings, which are floating point numbers ``(N, D)``."""
    type_ = _name_of_dtype(array) if isinstance(array, Tensor) else held_by(array.dtype)
    shape = tuple(array.shape)
    if type_ in _TYPES_OF_ROWS and len(shape) == 2 and 0 not in shape:
        return
    remedy = ""
    if type_.startswith(("int", "uint", "bool")) and len(shape) == 2:
        remedy = "; save `rows.astype('float32')`"
    raise ValueError(f"it holds {type_} of shape {shape}, expected floating point numbers of shape (N, D){remedy}")


def _name_of_dtype(tensor: Tensor) -> str:
    """Return the name of a tensor's dtype, such as "float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def called(module: Callable[..., Any], inputs: Any) -> Any:
    """Call a module on inputs. A tuple is passed as positional arguments, and a dict as keyword arguments."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(inputs)


@dataclass(frozen=True, eq=False)
class Example:
    """Structure of inputs, with the number of axes and the dtype of each tensor. The lengths of axes may vary.

    Attributes:
        like: A batch of one input. Its tensors are on the meta device, so that they have no values.
        noun: Noun for an input in messages: ``"input"``, or ``"row"`` for embeddings. Rows of any floating point dtype
            are converted to float32.

    """

    like: Any
    noun: str = "input"

    @classmethod
    def of(cls, example: Any, noun: str = "input") -> Example:
        """Make an example from a batch of inputs.

        Raises:
            TypeError: If the batch is not a tensor, or a tuple or a dict of tensors.
            ValueError: If its tensors differ in length, are empty, or are not dense.

        """

        def first_without_values(tensor: Tensor) -> Tensor:
            return tensor[:1].to("meta")

        _check_tensors(example, "example")
        _check_lengths(example, "example")
        return cls(mapped(first_without_values, example), noun)

    @property
    def dtypes(self) -> str:
        """Dtypes of all tensors as a text.

        Example:
            >>> Example.of((torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))).dtypes
            'float32, int64'

        """
        return ", ".join(_name_of_dtype(tensor) for tensor in tensors_of(self.like))

    @property
    def num_bytes(self) -> int:
        """Memory that one input of the same shape as the example takes, in bytes."""
        return sum(tensor.nbytes for tensor in tensors_of(self.like))

    @property
    def bands(self) -> int:
        """Number of bands, or 0 if the inputs have no bands.

        Bands are axis 1 of the largest tensor. The axis must have a length from 2 to 256, and at least two axes must
        follow it.
        """
        largest = max(tensors_of(self.like), key=Tensor.numel)
        if largest.ndim <= 3 or not 2 <= largest.shape[1] <= _MOST_BANDS:
            return 0
        return largest.shape[1]

    def has_names_of(self, inputs: Mapping[Any, Any]) -> bool:
        """Return True if a dict has all names of the example. Otherwise, it is a dict of several sets by name."""
        return isinstance(self.like, Mapping) and self.like.keys() <= inputs.keys()

    def check(self, inputs: Any) -> None:
        """Check the structure of a batch. Its values are not checked.

        Raises:
            TypeError: If the structure is not that of the example.
            ValueError: If a tensor has another number of axes or dtype than in the example, or is empty. Also if the
                tensors differ in length.

        """
        _check_like(inputs, self.like, _ARGUMENT)
        _check_lengths(inputs, "imgs")

    def batch(self, source: Any) -> Any:
        """Convert a batch of arrays or tensors to tensors. The rows of a DataFrame of numbers are a batch, too.

        Returns:
            The batch. None if the source is not a batch.

        Raises:
            TypeError: If the structure is not that of the example.
            ValueError: If the batch does not fit the example, see :meth:`check`.

        """
        if isinstance(self.like, Tensor) and is_table(source):
            source = source.to_numpy()
        if not isinstance(source, self._types_of_batch):
            return None
        batch = self._select(source, _ARGUMENT)
        self.check(batch)
        return batch

    @property
    def _types_of_batch(self) -> tuple[type, ...]:
        """Types of batches with the structure of the example."""
        if isinstance(self.like, Tensor):
            return Tensor, np.ndarray
        if isinstance(self.like, Mapping):
            return (Mapping,)
        return (tuple,)

    def _select(self, item: Any, subject: str) -> Any:
        """Select the inputs in an item and convert them to tensors.

        Args:
            item: Item of a dataset, or a batch.
            subject: Subject of error messages, with a placeholder for the part that is wrong.

        Raises:
            TypeError: If the item has no inputs with the structure of the example.
            ValueError: If the inputs are rows, but not floating point numbers.

        """
        inputs = _select_like(item, self.like, subject)
        if self.noun != ROW:
            return inputs
        if not inputs.is_floating_point():
            type_ = _name_of_dtype(inputs)
            remedy = "" if inputs.is_complex() else "; pass `numpy.float32(rows)`"
            raise ValueError(f"{subject.format('')} expected to be floating point numbers, but got {type_}{remedy}")
        return inputs.float()

    def singles(self, item: Any) -> Iterator[Any]:
        """Yield the single inputs of an item of a dataset, without a batch axis.

        The item is one input or a batch. Arrays are converted to tensors. Values after the inputs in a tuple, such as
        labels, are ignored, and so are other keys of a dict. If the example is not a dict, the input may be the value
        of ``"image"`` in a dict. Errors are those of :meth:`check`.
        """
        inputs = self._select(item, _ITEM)
        is_batch = tensors_of(inputs)[0].ndim == tensors_of(self.like)[0].ndim
        if is_batch:
            _check_like(inputs, self.like, _ITEM)
            _check_lengths(inputs, "imgs")
            for i in range(count_of(inputs)):
                yield mapped(itemgetter(i), inputs)
        else:
            _check_like(inputs, mapped(itemgetter(0), self.like), _ITEM)
            yield inputs

    def single(self, item: Any) -> Any:
        """Return the only input of an item, see :meth:`singles`. Raise ValueError for a batch of several inputs."""
        first, *others = self.singles(item)
        if others:
            raise ValueError(f"expected one input, but got a batch of {1 + len(others)}; pass a list of single inputs")
        return first


# Example of rows of embeddings.
ROWS = Example(torch.empty(1, 1, device="meta"), ROW)
# Subjects of error messages, with a placeholder for the part that is wrong.
_ARGUMENT = "Argument `imgs{}`"
_ITEM = "it{}"


def _check_tensors(inputs: Any, name: str) -> None:
    """Check that inputs consist of dense tensors with a batch axis.

    Raises:
        TypeError: If a part of the inputs is not a tensor, or a tuple or a dict of tensors.
        ValueError: If a tensor has no axis or is not dense.

    """
    if isinstance(inputs, Tensor):
        check_dense(inputs, f"Argument `{name}`")
        if not inputs.ndim:
            raise ValueError(f"Argument `{name}` expected to be batch first, but got a number; pass `{name}[None]`")
        return
    parts = _parts(inputs)
    if not parts:
        raise TypeError(
            f"Argument `{name}` expected to be a tensor, or a tuple or dict of tensors, but got {_in_words(inputs)}"
        )
    for key, part in parts.items():
        _check_tensors(part, f"{name}[{key!r}]")


def _check_lengths(inputs: Any, name: str) -> None:
    """Raise ValueError if the tensors of inputs differ in the length of their first axis, or a tensor is empty."""
    shapes = [tuple(tensor.shape) for tensor in tensors_of(inputs)]
    listed = ", ".join(map(str, shapes))
    if len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"Argument `{name}` expected to have parts of one length, but got shapes {listed}")
    if any(0 in shape for shape in shapes):
        raise ValueError(f"Argument `{name}` expected to hold inputs, but got shape {listed}")


def _check_like(inputs: Any, like: Any, subject: str, path: str = "") -> None:
    """Check that inputs have the same structure, numbers of axes and dtypes as an example.

    Args:
        inputs: Inputs, or a part of them.
        like: Corresponding part of the example.
        subject: Subject of error messages, with a placeholder for the path.
        path: Path of the part in the inputs, such as ``"[0]['x']"``.

    Raises:
        TypeError: If the structure differs.
        ValueError: If a number of axes or a dtype differs, or a tensor is not dense.

    """
    if isinstance(like, Tensor) and isinstance(inputs, Tensor):
        _check_tensor_like(inputs, like, subject, path)
        return
    expected_parts = _parts(like)
    parts = _parts(inputs)
    if expected_parts is None or parts is None or expected_parts.keys() != parts.keys():
        raise TypeError(
            f"{subject.format(path)} expected to be {_in_words(like)}, as in the example, but got {_in_words(inputs)}"
        )
    for key, expected_part in expected_parts.items():
        _check_like(parts[key], expected_part, subject, f"{path}[{key!r}]")


def _check_tensor_like(tensor: Tensor, like: Tensor, subject: str, path: str) -> None:
    """Raise ValueError unless a tensor is dense and has the same number of axes and dtype as that of the example."""
    name = subject.format(path)
    check_dense(tensor, name)
    if tensor.ndim != like.ndim:
        batch_first = ""
        remedy = ""
        # An item of a dataset may have no batch axis.
        if subject == _ARGUMENT:
            batch_first = ", batch first"
            remedy = _remedy_of_missing_axis(tensor, like, path)
        raise ValueError(
            f"{name} expected to have {like.ndim} axes{batch_first}, as in the example, but got shape"
            f" {tuple(tensor.shape)}{remedy}"
        )
    if tensor.dtype != like.dtype:
        raise ValueError(
            f"{name} expected to be {_name_of_dtype(like)}, as in the example, but got {_name_of_dtype(tensor)};"
            " convert it, or pass an example of that type"
        )


def _remedy_of_missing_axis(tensor: Tensor, like: Tensor, path: str) -> str:
    """Return the indexing that adds a missing axis to a tensor, as the end of a message.

    The text is empty unless exactly one axis is missing.
    """
    if tensor.ndim != like.ndim - 1:
        return ""
    is_single_input = tensor.shape == like.shape[1:]
    if is_single_input:
        return f"; pass `imgs{path}[None]`"
    fits_without_channels = like.shape[1] == 1 and tensor.shape[1:] == like.shape[2:]
    if fits_without_channels:
        return f"; pass `imgs{path}[:, None]`"
    return f"; pass `imgs{path}[None]`"


def _select_like(item: Any, like: Any, subject: str, path: str = "") -> Any:
    """Select the inputs in an item that have the structure of an example, and convert them to tensors.

    Args:
        item: Item of a dataset, or a part of it.
        like: Corresponding part of the example.
        subject: Subject of error messages, with a placeholder for the path.
        path: Path of the part in the item, such as ``"[0]['x']"``.

    Raises:
        TypeError: If the item has no inputs with the structure of the example.

    """
    inputs = _without_other_values(item, like)
    if not _has_structure(inputs, like):
        raise TypeError(
            f"{subject.format(path)} expected to be {_in_words(like)}, as in the example, but got {_in_words(inputs)}"
        )
    if isinstance(like, Mapping):
        return {key: _select_like(inputs[key], part, subject, f"{path}[{key!r}]") for key, part in like.items()}
    if not isinstance(like, Tensor):
        return tuple(_select_like(inputs[i], part, subject, f"{path}[{i}]") for i, part in enumerate(like))
    if isinstance(inputs, np.ndarray):
        return tensor_of(inputs, subject.format(path))
    return torch.as_tensor(inputs).detach()


def _without_other_values(item: Any, like: Any) -> Any:
    """Return the inputs in an item of a dataset, without the labels and other values that the item holds.

    The inputs are returned as they are. Their structure may differ from that of the example.
    """
    inputs = item
    # In datasets of MONAI, an input without names is the value of "image", and a label is another value.
    if isinstance(item, Mapping) and not isinstance(like, Mapping) and "image" in item:
        inputs = item["image"]
    if isinstance(inputs, (tuple, list)) and inputs:
        return _without_labels(inputs, like)
    return inputs


def _has_structure(item: Any, like: Any) -> bool:
    """Return True if an item has at least the parts of an example. The parts themselves are not checked."""
    if isinstance(like, Tensor):
        return isinstance(item, (np.ndarray, Tensor, np.generic, int, float, list))
    if isinstance(like, Mapping):
        return isinstance(item, Mapping) and like.keys() <= item.keys()
    return isinstance(item, (tuple, list)) and len(item) >= max(len(like), 1)


def _without_labels(item: Sequence[Any], like: Any) -> Any:
    """Remove the labels that follow the inputs in a tuple or a list. Return a sequence without labels as it is."""
    first = item[0]
    if isinstance(like, Mapping):
        return first
    if isinstance(like, Tensor):
        # A list of numbers is a tensor itself.
        is_list_of_numbers = isinstance(first, (int, float, list))
        return item if is_list_of_numbers else first
    # The inputs of a tuple are the first item of another tuple, or they are not packed and come before the labels.
    is_tuple_of_inputs = isinstance(first, (tuple, list)) and len(first) == len(like)
    return first if is_tuple_of_inputs else item


def _parts(inputs: Any) -> dict[Any, Any] | None:
    """Return the parts of a dict by name, or those of a tuple by index. Return None for other types."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if isinstance(inputs, tuple):
        return dict(enumerate(inputs))
    return None


def _in_words(inputs: Any) -> str:
    """Return the type of inputs as a text."""
    if isinstance(inputs, Mapping):
        return f"a dict with {', '.join(map(repr, inputs)) or 'nothing'}"
    if isinstance(inputs, (tuple, list)):
        return f"a {type(inputs).__name__} of {len(inputs)}"
    return f"a {type(inputs).__name__}"
