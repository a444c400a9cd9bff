"""Base classes of statistics: accumulated states of activations, with their update, merge and reduction.

A statistic holds no state itself. The state of one set of images is a dict of flat tensors: metrics register them with
torchmetrics, a job keeps them in a split. The last entry of the first tensor counts images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import images_of
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.identity import identity

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor

State = dict[str, Tensor]
Gather = Callable[..., list[Tensor]]
_D = TypeVar("_D", bound=DNA)


class Field(NamedTuple):
    """One flat tensor of a state, or a list of tensors with rows of images."""

    size: int  # of the tensor, or of a row; 0 for rows that are numbers
    dtype: torch.dtype
    fill: float = 0
    # of tensors, stacked, of all processes, as in torchmetrics; "cat" for rows
    reduction: Literal["sum", "max", "cat"] | Callable[[Tensor], Tensor] = "sum"
    on_host: bool = False  # stays on the CPU, where updates read it


class Statistic(ABC):
    """Base class of statistics: the layout of a state, with its update, merge and reduction.

    Args:
        extractor: Extractor of the activations.
        more: Further values that must be equal for two states to be merged, see :func:`identity`.

    """

    kind: ClassVar[str]
    shared_by: ClassVar[Literal["sum", "max"] | None] = None  # reduction of `shared`, if there is any
    by_image: ClassVar[bool] = False  # True if the value has a row for each image, in order of addition

    def __init__(self, extractor: DNAExtractor, **more: Any) -> None:
        self.extractor, self._more = extractor, more
        self.neurons = extractor.neurons

    @property
    def origin(self) -> dict[str, Any]:
        """Origin of the activations, with the current weights."""
        names = ("weights_digest", "preparation", "fingerprint")
        return {"extractor": self.extractor.name} | {name: getattr(self.extractor, name) for name in names}

    @property
    def settings(self) -> dict[str, Any]:
        """Values that must be equal for two states to be merged, beside weights and preparation of images."""
        return identity(self.extractor.name, neurons=self.extractor.neurons, kind=self.kind, **self._more)

    @property
    def identity(self) -> dict[str, Any]:
        """All values that must be equal for two states to be merged, with the current weights."""
        origin = identity(**{**self.origin, "fingerprint": None}, **{"extractors (digest)": self.extractor.digest})
        return self.settings | origin

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

    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        """Add a batch in place like :meth:`add_`, with the fold or index of each image, which most ignore.

        Keys have shape ``(B,)``, int64, on the CPU.
        """
        self.add_(state, parts, len(keys))

    def merge_(self, state: State, earlier: State) -> None:
        """Add the state of other images in place; if images have an order, those come first."""
        for name, field in self.fields.items():
            if field.reduction == "cat":
                rows_of(state, name)[:0] = rows_of(earlier, name)
                continue
            theirs = earlier[name].to(state[name].device)
            if field.reduction == "sum":
                state[name] += theirs
            else:
                state[name].copy_(_reduced(torch.stack([state[name], theirs]), field))

    def merged(self, stacked: Tensor) -> Tensor:
        """Merge states of one tensor, one in each row of ``stacked``; the reduction of what does not simply add up."""
        (name,) = self.fields
        total = {name: stacked[0].clone()}
        for state in stacked[1:]:
            self.merge_(total, {name: state})
        return total[name]

    def reduce_(self, state: State, group: Any = None, gather: Gather | None = None) -> None:
        """Replace the tensors of a state by those of all processes.

        That is one all-reduce for what is summed, and before it one for extremes or means, if there are any; or
        ``gather``, a function like :func:`torchmetrics.utilities.distributed.gather_all_tensors`, gathers all tensors.
        """
        fields = {name: field for name, field in self.fields.items() if field.reduction != "cat"}
        if gather is not None:
            state |= {n: _reduced(torch.stack(gather(state[n], group=group)), field) for n, field in fields.items()}
            return
        operations = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}
        largest = [name for name, field in fields.items() if field.reduction == "max"]
        for names, reduction in ((largest, "max"), ([name for name in fields if name not in largest], "sum")):
            if not names:
                continue
            flat = torch.cat([state[name] for name in names])  # the only copy of the state
            state |= dict(zip(names, torch.split(flat, [len(state[name]) for name in names]), strict=True))
            if reduction == "sum" and self.shared_by:
                shared = self.shared(state)
                dist.all_reduce(shared, operations[self.shared_by], group)
                self.align_(state, shared, is_first=dist.get_rank(group) == 0)
            dist.all_reduce(flat, operations[reduction], group)

    def shared(self, state: State) -> Tensor:
        """Return what processes must know of each other before states add up; they reduce it by ``shared_by``."""
        return next(iter(state.values())).new_zeros(0)

    def align_(self, state: State, shared: Tensor, is_first: bool) -> None:  # noqa: B027 - nothing to do for most
        """Fit a state, in place, to what all processes know, which only the state of the first one keeps itself."""


class DNAStatistic(Statistic, Generic[_D]):
    """Base class of statistics whose values are DNAs."""

    @abstractmethod
    def value(self, state: State) -> _D:
        """Return the DNA of a state; may be a view of it."""

    def tail(self, state: State) -> Tensor:
        """Return the end of a state, as a view: images that each layer refused, and images that were added."""
        return state[next(iter(self.fields))][-len(self.neurons) - 1 :]

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


def copied(state: State) -> State:
    """Return a copy of a state."""
    return {name: cast("Tensor", [*held]) if isinstance(held, list) else held.clone() for name, held in state.items()}


def put_back_(state: State, before: State) -> None:
    """Write a copy of a state back into it, to the last bit."""
    for name, held in before.items():
        if isinstance(held, list):
            rows_of(state, name)[:] = held
        else:
            state[name].copy_(held)


def rows_of(state: State, name: str = "rows") -> list[Tensor]:
    """Return the rows of a state that keeps lists, a tensor for each batch."""
    return cast("list[Tensor]", state[name])


def _reduced(stacked: Tensor, field: Field) -> Tensor:
    """Reduce the tensors of several processes, one in each row."""
    if callable(field.reduction):
        return field.reduction(stacked)
    return stacked.sum(0) if field.reduction == "sum" else stacked.amax(0)
