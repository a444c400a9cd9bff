"""Base classes of statistics: accumulated states of activations, with their update, merge and reduction.

A statistic holds no state itself. The state of one set of images is a dict of flat tensors: metrics register them with
torchmetrics, a job keeps them in a split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.activations import sent
from torchmetrics_dna.dna import DNA, GaussianDNA
from torchmetrics_dna.dna.identity import EXTRACTOR_DIGEST, Identity
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.options import argument, written
from torchmetrics_dna.statistics.nonfinite import check_number, check_refused, note_refused_

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.extractors import DNAExtractor

State = dict[str, Tensor]
# Origin of activations: the fields of a DNA that `DNAExtractor.origin` has.
Origin = Mapping[str, Any]
Gather = Callable[..., list[Tensor]]
_D = TypeVar("_D", bound=DNA)


class Field(NamedTuple):
    """One flat tensor of a state, or a list of tensors with rows of images."""

    size: int  # size of the tensor, or of a row; 0 for rows that are numbers
    dtype: torch.dtype
    fill: float = 0
    # Reduction of the stacked tensors of all processes, as in torchmetrics; "cat" for rows.
    reduction: Literal["sum", "max", "cat"] | Callable[[Tensor], Tensor] = "sum"
    on_host: bool = False  # stays on the CPU, where updates read it


class Statistic(ABC):
    """Base class of statistics: the layout of a state, with its update, merge and reduction.

    Args:
        extractor: Extractor of the activations.
        more: Further settings of the identity of a state, see :meth:`Identity.of`.

    """

    kind: ClassVar[str]
    aligned_by: ClassVar[Literal["sum", "max"] | None] = None  # reduction of `to_align`, if states must be aligned
    by_image: ClassVar[bool] = False  # True if the value has a row for each image, in order of addition

    def __init__(self, extractor: DNAExtractor, **more: Any) -> None:
        self.extractor = extractor
        self._more = more
        self.neurons = extractor.neurons

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the identity of a state, without those that depend on the weights."""
        extractor = self.extractor
        identity = Identity.of(extractor.name, neurons=extractor.neurons, kind=self.kind, **self._more)
        return dict(identity.settings)

    @property
    def identity(self) -> Identity:
        """Identity of a state of images that are counted with the current weights, without a fingerprint."""
        extractor = self.extractor
        settings = self.settings | {EXTRACTOR_DIGEST: extractor.digest}
        return Identity(extractor.weights_digest, extractor.preparation, settings)

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
    def value(self, state: State, origin: Origin) -> Any:
        """Return the value of a state, such as a DNA; may be a view of it.

        ``origin`` is what its images were counted with, for values that keep it.
        """

    @abstractmethod
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        """Add a batch in place; ValueError, before anything is added, if it is not finite, see :mod:`.nonfinite`.

        ``keys`` are the fold of each image, or its index in the data set, for statistics that have these: ``(B,)``,
        int64, on the CPU.
        """

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
            if reduction == "sum" and self.aligned_by:
                common = self.to_align(state)
                dist.all_reduce(common, operations[self.aligned_by], group)
                self.align_(state, common, is_first=dist.get_rank(group) == 0)
            dist.all_reduce(flat, operations[reduction], group)

    def to_align(self, state: State) -> Tensor:
        """Return what the states of all processes must agree on before they add up, such as extremes or a mean."""
        raise NotImplementedError

    def align_(self, state: State, common: Tensor, is_first: bool) -> None:
        """Bring a state, in place, to the grid or the shift that follows from the extremes or mean of all processes.

        It is in every state then, so all but that of the first process drop it, for states are added next.
        """
        raise NotImplementedError


class Numbers(NamedTuple):
    """The tensor of a state of a :class:`DNAStatistic`, as views of what it has one after the other."""

    whole: Tensor  # (size,), of all images
    folds: Tensor  # (num_folds, fold_size)
    images_of_folds: Tensor  # (num_folds,)
    refused: Tensor  # images that each layer refused, see nonfinite
    images: Tensor  # (1,)


class DNAStatistic(Statistic, Generic[_D]):
    """Base class of statistics whose values are DNAs, perhaps with disjoint folds of images, for tests and intervals.

    A state is one flat tensor, see :class:`Numbers`.

    Args:
        extractor: Extractor of the activations.
        num_folds: Number of folds; None for none.
        more: As for :class:`Statistic`.

    Raises:
        ValueError: If there are too few folds.

    """

    tensor: ClassVar[str]  # name of the tensor
    dtype: ClassVar[torch.dtype]
    size: int  # numbers of all images
    fold_size: int  # number of values of each fold

    def __init__(self, extractor: DNAExtractor, num_folds: int | None = None, **more: Any) -> None:
        if num_folds is not None:
            check_num_folds(num_folds)
        super().__init__(extractor, **more)
        self.num_folds = num_folds

    @property
    @override
    def settings(self) -> dict[str, Any]:
        in_folds = {} if self.num_folds is None else {"kinds": f"{self.kind} in {self.num_folds} folds"}
        return super().settings | in_folds

    @property
    @override
    def fields(self) -> dict[str, Field]:
        # Each fold has its number of images beside its values.
        size_of_folds = 0 if self.num_folds is None else self.num_folds * (self.fold_size + 1)
        size = self.size + size_of_folds + len(self.neurons) + 1
        return {self.tensor: Field(size, self.dtype, reduction=self.merged if self.aligned_by else "sum")}

    def numbers(self, state: State) -> Numbers:
        """Return what is in the tensor of a state."""
        num_folds = self.num_folds or 0
        sizes = [self.size, num_folds * self.fold_size, num_folds, len(self.neurons), 1]
        whole, folds, *images = torch.split(state[self.tensor], sizes)
        return Numbers(whole, folds.view(num_folds, self.fold_size), *images)

    @override
    def value(self, state: State, origin: Origin) -> _D:
        """Return the DNA of a state; may be a view of it. Errors are those of :mod:`.nonfinite`."""
        num_folds = self.num_folds or 0
        *refused, images = map(int, state[self.tensor][-num_folds - len(self.neurons) - 1 :].tolist())
        of_folds = refused[:num_folds]
        refused = refused[num_folds:]
        check_refused(refused, self.neurons)
        whole = self.dna_of(state, check_number(images), origin)
        if self.num_folds is None:
            return whole
        folds = [self.fold_of(whole, *fold) for fold in zip(self.numbers(state).folds, of_folds, strict=True)]
        return replace(whole, folds=tuple(folds))

    @abstractmethod
    def dna_of(self, state: State, num_images: int, origin: Origin) -> _D:
        """Return the DNA of all images of a state, as a view of it or not, without folds."""

    def fold_of(self, whole: _D, numbers: Tensor, num_images: int) -> DNA:
        """Return the DNA of the numbers of a fold; by default these are sums of :func:`image_moments`."""
        return GaussianDNA.from_moments(
            numbers.view(-1, whole.neurons.total), whole.neurons, num_images, **whole.origin
        )

    def count_images_(self, state: State, activations: Activations, keys: Tensor | None) -> None:
        """Count a batch that was added, and those images of it that layers refused."""
        numbers = self.numbers(state)
        note_refused_(numbers.refused, activations)
        numbers.images.add_(len(activations))
        if self.num_folds is not None:
            assert keys is not None
            numbers.images_of_folds.add_(sent(keys.bincount(minlength=self.num_folds), activations.device))


def check_num_folds(num_folds: int) -> None:
    """Raise ValueError unless there are enough folds."""
    if not isinstance(num_folds, int) or num_folds < LEAST_FOLDS:
        raise ValueError(
            f"{argument('num_folds')} expected to be an integer of at least {LEAST_FOLDS}, but got {num_folds!r};"
            f" for no folds, pass {written('num_folds', None)}"
        )


def copied(state: State) -> State:
    """Return a copy of a state."""
    return {name: cast("Tensor", [*held]) if isinstance(held, list) else held.clone() for name, held in state.items()}


def rows_of(state: State, name: str = "rows") -> list[Tensor]:
    """Return the rows of a state that keeps lists, a tensor for each batch."""
    return cast("list[Tensor]", state[name])


def _reduced(stacked: Tensor, field: Field) -> Tensor:
    """Reduce the tensors of several processes, one in each row."""
    if callable(field.reduction):
        return field.reduction(stacked)
    return stacked.sum(0) if field.reduction == "sum" else stacked.amax(0)
