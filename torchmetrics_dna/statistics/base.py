"""Base classes of statistics: accumulated states of activations, with their update, merge and reduction.

A statistic holds no state itself. The state of one set of images is a dict of flat tensors: metrics register them with
torchmetrics, a job keeps them in a split. The last entry of the first tensor counts images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import images_of
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.identity import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor

State = dict[str, Tensor]
_D = TypeVar("_D", bound=DNA)


class Field(NamedTuple):
    """One flat tensor of a state, or a list of tensors with rows of images."""

    size: int  # of the tensor, or of a row; 0 for rows that are numbers
    dtype: torch.dtype
    fill: float = 0
    reduction: Literal["sum", "max", "cat"] = "sum"  # of the tensors of all processes; "cat" for rows


class Statistic(ABC):
    """Base class of statistics: the layout of a state, with its update, merge and reduction.

    Args:
        extractor: Extractor of the activations.
        more: Further values that must be equal for two states to be merged, see :func:`identity`.

    """

    kind: ClassVar[str]
    reduces_by_field: ClassVar[bool] = True  # True if `reduce_` is that of this class
    by_image: ClassVar[bool] = False  # True if the value has a row for each image, in order of addition

    def __init__(self, extractor: DNAExtractor, **more: Any) -> None:
        self.extractor, self._more = extractor, more
        self.neurons = extractor.neurons

    @property
    def origin(self) -> dict[str, Any]:
        """Origin of the activations, with the current weights."""
        names = ("weights_digest", "preparation")
        return {"extractor": self.extractor.name} | {name: getattr(self.extractor, name) for name in names}

    @property
    def configuration(self) -> dict[str, Any]:
        """Values that must be equal for two states to be merged."""
        more = {**self._more, "extractors (digest)": self.extractor.digest}
        return identity(**self.origin, neurons=self.extractor.neurons, kind=self.kind, **more)

    @property
    @abstractmethod
    def fields(self) -> dict[str, Field]:
        """Layout of the tensors of a state, by name."""

    def empty(self, device: torch.device | str) -> State:
        """Return the state of no images."""
        return {
            name: cast("Tensor", [])
            if field.reduction == "cat"
            else torch.full((field.size,), field.fill, dtype=field.dtype, device=device)
            for name, field in self.fields.items()
        }

    @abstractmethod
    def value(self, state: State) -> Any:
        """Return the value of a state, such as a DNA; may be a view of it."""

    @abstractmethod
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        """Add a batch in place; raise ValueError, and add nothing, if an activation is not finite.

        On a device nothing is raised; the batch is refused: it adds nothing, and its images are counted as refused.

        Args:
            state: The state to update.
            parts: Activations of consecutive parts of the batch, each ``{layer: (b, n, *positions)}``.
            num_images: Number of images in the batch.
            finite: On a device, which layers are finite in the whole batch that this is a part of, ``(layers,)``; by
                default the parts are a whole one.

        """

    def forget_refused_(self, state: State) -> None:  # noqa: B027 - most of a job can't be refused
        """Forget, in place, how many images were refused."""

    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        """Add a batch in place like :meth:`add_`, with the fold or index of each image, which most ignore.

        Keys have shape ``(B,)``, int64, on the CPU.
        """
        self.add_(state, parts, len(keys))

    def merge_(self, state: State, other: State) -> None:
        """Add another state in place."""
        for name, field in self.fields.items():
            theirs = other[name].to(state[name].device)
            if field.reduction == "max":
                state[name].copy_(torch.maximum(state[name], theirs))
            else:
                state[name] += theirs

    def put_before_(self, state: State, earlier: State) -> None:
        """Add a state of earlier images in place; like :meth:`merge_`, unless images have an order."""
        self.merge_(state, earlier)

    def packed(self, state: State) -> dict[str, Tensor]:
        """Return one tensor for each name of a state, to gather or save it; lists of rows are concatenated."""
        return {name: tensor if isinstance(tensor, Tensor) else self.value(state) for name, tensor in state.items()}

    def unpacked(self, tensors: Mapping[str, Tensor]) -> State:
        """Return the state of tensors from :meth:`packed`."""
        empty = self.empty("cpu")
        return {
            name: tensor if isinstance(empty[name], Tensor) else cast("Tensor", [tensor])
            for name, tensor in tensors.items()
        }

    def joined(self, states: Sequence[State], device: torch.device) -> State:
        """Merge the states of all processes into a new one."""
        total = self.empty(device)
        for state in states:
            self.merge_(total, state)
        return total

    def reduce_(self, state: State, group: Any = None) -> None:
        """Replace the tensors of a state by those of all processes.

        That is one all-reduce for what is summed, and before it one for extremes, if there are any.
        """
        before = dict(state)
        for reduction, operation in (("max", dist.ReduceOp.MAX), ("sum", dist.ReduceOp.SUM)):
            names = [name for name, field in self.fields.items() if field.reduction == reduction]
            if not names:
                continue
            flat = torch.cat([state[name] for name in names])  # the only copy of the state
            state |= dict(zip(names, torch.split(flat, [len(state[name]) for name in names]), strict=True))
            if reduction == "sum":
                self.align_(state, before)
            dist.all_reduce(flat, operation, group)

    def align_(self, state: State, before: State) -> None:  # noqa: B027 - nothing to do for most
        """Fit what is summed to the extremes of all processes, in place; ``before`` has those of this one."""


class DNAStatistic(Statistic, Generic[_D]):
    """Base class of statistics whose values are DNAs."""

    @abstractmethod
    def value(self, state: State) -> _D:
        """Return the DNA of a state; may be a view of it."""

    @abstractmethod
    def tail(self, state: State) -> Tensor:
        """Return the end of a state, as a view: images that each layer refused, and images that were added."""

    @override
    def forget_refused_(self, state: State) -> None:
        self.tail(state)[:-1] = 0

    def add_each_(self, states: State, parts: Parts, keys: Tensor, finite: Tensor | None = None) -> None:
        """Add a batch in place like :meth:`add_`, each image to the state that is the row of its key in ``states``."""
        present = keys.unique().tolist()  # type: ignore[no-untyped-call]
        if len(present) > 1 and next(iter(states.values())).device.type == "cpu":
            check_finite(parts)  # before any key is added
        for k in present:
            chosen = keys == k
            self.add_(
                {name: rows[k] for name, rows in states.items()}, images_of(parts, chosen), int(chosen.sum()), finite
            )


def rows_of(state: State, name: str = "rows") -> list[Tensor]:
    """Return the rows of a state that keeps lists, a tensor for each batch."""
    return cast("list[Tensor]", state[name])


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Gather the rows ``(images, ...)`` of all processes, on the device that the group communicates on."""
    world = dist.get_world_size(group)
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device), group=group)
    sizes = [int(count) for count in counts]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded, group=group)
    return [rows[:size] for rows, size in zip(gathered, sizes, strict=True)]
