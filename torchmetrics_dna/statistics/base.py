"""Base classes of statistics: accumulated states of activations, with their update, merge and reduction.

A statistic holds no state itself. The state of one set of images is a dict of flat tensors: metrics register them with
torchmetrics, a job keeps them in a split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    """One flat tensor of a state, or a list of tensors with rows of images.

    Attributes:
        size: Size of the tensor, or of a row; 0 for rows that are numbers.
        dtype: Type of the tensor.
        fill: Value of the elements without images.
        reduction: Reduction of the stacked tensors of all processes, as in torchmetrics; ``"cat"`` for rows.
        on_host: True if the tensor stays on the CPU, where updates read it.

    """

    size: int
    dtype: torch.dtype
    fill: float = 0
    reduction: Literal["sum", "max", "cat"] | Callable[[Tensor], Tensor] = "sum"
    on_host: bool = False


class Statistic(ABC):
    """Base class of statistics: the layout of a state, with its update, merge and reduction.

    Args:
        extractor: Extractor of the activations.
        more: Further settings of the identity of a state, see :meth:`Identity.of`.

    """

    kind: ClassVar[str]
    #: Reduction of :meth:`to_align`; None if states of processes add up without being aligned.
    aligned_by: ClassVar[Literal["sum", "max"] | None] = None
    #: True if the value has a row for each image, in order of addition.
    by_image: ClassVar[bool] = False

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
        state: State = {}
        for name, field in self.fields.items():
            if field.reduction == "cat":
                state[name] = cast("Tensor", [])
            else:
                state[name] = torch.full((field.size,), field.fill, dtype=field.dtype, device=device)
        return state

    @abstractmethod
    def value(self, state: State, origin: Origin) -> Any:
        """Return the value of a state, such as a DNA; it may share memory with the state.

        Args:
            state: The state.
            origin: Extractor, weights and preparation of the images, for values that keep them.

        """

    @abstractmethod
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        """Add a batch in place.

        Args:
            state: The state.
            activations: Activations of the batch.
            keys: Fold of each image, or its index in the data set, for statistics with folds or indices: ``(B,)``,
                int64, on the CPU.

        Raises:
            ValueError: If an activation is not finite, before anything is added, see :mod:`.nonfinite`.

        """

    def merge_(self, state: State, earlier: State) -> None:
        """Add the state of other images in place; if images have an order, those come first."""
        for name, field in self.fields.items():
            if field.reduction == "cat":
                rows_of(state, name)[:0] = rows_of(earlier, name)
                continue
            added = earlier[name].to(state[name].device)
            if field.reduction == "sum":
                state[name] += added
            else:
                stacked = torch.stack([state[name], added])
                state[name].copy_(_reduced(stacked, field))

    def merged(self, stacked: Tensor) -> Tensor:
        """Merge states of one tensor, one in each row of ``stacked``: a reduction for states that do not add up."""
        (name,) = self.fields
        total = {name: stacked[0].clone()}
        for state in stacked[1:]:
            self.merge_(total, {name: state})
        return total[name]

    def reduce_(self, state: State, group: Any = None, gather: Gather | None = None) -> None:
        """Replace the tensors of a state by the reduced tensors of all processes.

        All tensors that are summed take one all-reduce together. If there are extremes or means, these take one
        all-reduce before the sums.

        Args:
            state: The state of this process.
            group: The group of processes; None for all.
            gather: Function like :func:`torchmetrics.utilities.distributed.gather_all_tensors`. If it is given, it
                gathers each tensor, and there is no all-reduce.

        """
        fields = {name: field for name, field in self.fields.items() if field.reduction != "cat"}
        if gather is not None:
            for name, field in fields.items():
                gathered = gather(state[name], group=group)
                state[name] = _reduced(torch.stack(gathered), field)
            return
        names_of_maxima = [name for name, field in fields.items() if field.reduction == "max"]
        if names_of_maxima:
            maxima = _as_one_tensor(state, names_of_maxima)
            dist.all_reduce(maxima, dist.ReduceOp.MAX, group)
        names_of_sums = [name for name in fields if name not in names_of_maxima]
        if names_of_sums:
            self._all_reduce_sums(state, names_of_sums, group)

    def _all_reduce_sums(self, state: State, names: Sequence[str], group: Any) -> None:
        """Sum tensors of a state over all processes, after the states of all processes are aligned."""
        sums = _as_one_tensor(state, names)
        if self.aligned_by:
            common = self.to_align(state)
            operation = dist.ReduceOp.SUM if self.aligned_by == "sum" else dist.ReduceOp.MAX
            dist.all_reduce(common, operation, group)
            self.align_(state, common, is_first=dist.get_rank(group) == 0)
        dist.all_reduce(sums, dist.ReduceOp.SUM, group)

    def to_align(self, state: State) -> Tensor:
        """Return values that must be equal in all processes before their states add up, such as extremes or a mean."""
        raise NotImplementedError

    def align_(self, state: State, common: Tensor, is_first: bool) -> None:
        """Move a state, in place, to the grid or the shift that follows from the common values of all processes.

        Each state has a copy of the common values then. States are added next, so all but that of the first process
        set their copy to 0.
        """
        raise NotImplementedError


class Numbers(NamedTuple):
    """Views of the parts of the tensor of a :class:`DNAStatistic`, in their order.

    Attributes:
        whole: Numbers of all images, ``(size,)``.
        folds: Numbers of each fold, ``(num_folds, fold_size)``.
        images_of_folds: Number of images of each fold, ``(num_folds,)``.
        refused: Number of images that each layer refused, ``(layers,)``, see :mod:`.nonfinite`.
        images: Number of images, ``(1,)``.

    """

    whole: Tensor
    folds: Tensor
    images_of_folds: Tensor
    refused: Tensor
    images: Tensor


class DNAStatistic(Statistic, Generic[_D]):
    """Base class of statistics whose values are DNAs, with or without folds of images for tests and intervals.

    A state is one flat tensor, see :class:`Numbers`.

    Args:
        extractor: Extractor of the activations.
        num_folds: Number of folds; None for none.
        more: As for :class:`Statistic`.

    Raises:
        ValueError: If there are too few folds.

    """

    #: Name of the tensor.
    tensor: ClassVar[str]
    #: Type of the tensor.
    dtype: ClassVar[torch.dtype]
    #: Number of values of all images.
    size: int
    #: Number of values of each fold.
    fold_size: int

    def __init__(self, extractor: DNAExtractor, num_folds: int | None = None, **more: Any) -> None:
        if num_folds is not None:
            check_num_folds(num_folds)
        super().__init__(extractor, **more)
        self.num_folds = num_folds

    @property
    @override
    def settings(self) -> dict[str, Any]:
        settings = super().settings
        if self.num_folds is not None:
            settings["kinds"] = f"{self.kind} in {self.num_folds} folds"
        return settings

    @property
    @override
    def fields(self) -> dict[str, Field]:
        num_folds = self.num_folds or 0
        # Each fold has its values and its number of images.
        size_of_folds = num_folds * (self.fold_size + 1)
        size = self.size + size_of_folds + len(self.neurons) + 1
        if self.aligned_by:
            return {self.tensor: Field(size, self.dtype, reduction=self.merged)}
        return {self.tensor: Field(size, self.dtype)}

    def numbers(self, state: State) -> Numbers:
        """Return the parts of the tensor of a state, as views."""
        num_folds = self.num_folds or 0
        sizes = [self.size, num_folds * self.fold_size, num_folds, len(self.neurons), 1]
        whole, folds, images_of_folds, refused, images = torch.split(state[self.tensor], sizes)
        return Numbers(whole, folds.view(num_folds, self.fold_size), images_of_folds, refused, images)

    @override
    def value(self, state: State, origin: Origin) -> _D:
        """Return the DNA of a state; may share memory with it. Errors are those of :mod:`.nonfinite`."""
        num_folds = self.num_folds or 0
        # All numbers of images are at the end, so one copy from the device is enough.
        size = num_folds + len(self.neurons) + 1
        numbers_of_images = [int(number) for number in state[self.tensor][-size:].tolist()]
        images_of_folds = numbers_of_images[:num_folds]
        refused = numbers_of_images[num_folds:-1]
        check_refused(refused, self.neurons)
        whole = self.dna_of(state, check_number(numbers_of_images[-1]), origin)
        if self.num_folds is None:
            return whole
        folds = []
        for numbers, num_images in zip(self.numbers(state).folds, images_of_folds, strict=True):
            folds.append(self.fold_of(whole, numbers, num_images))
        return replace(whole, folds=tuple(folds))

    @abstractmethod
    def dna_of(self, state: State, num_images: int, origin: Origin) -> _D:
        """Return the DNA of all images of a state, without folds; it may share memory with the state."""

    def fold_of(self, whole: _D, numbers: Tensor, num_images: int) -> DNA:
        """Return the DNA of the numbers of a fold; by default these are sums of :func:`image_moments`."""
        return GaussianDNA.from_moments(
            numbers.view(-1, whole.neurons.total), whole.neurons, num_images, **whole.origin
        )

    def count_images_(self, state: State, activations: Activations, keys: Tensor | None) -> None:
        """Add the numbers of images of a batch: of the whole, of each fold, and of images that layers refused."""
        numbers = self.numbers(state)
        note_refused_(numbers.refused, activations)
        numbers.images.add_(len(activations))
        if self.num_folds is not None:
            assert keys is not None
            images_of_folds = keys.bincount(minlength=self.num_folds)
            numbers.images_of_folds.add_(sent(images_of_folds, activations.device))


def check_num_folds(num_folds: int) -> None:
    """Raise ValueError unless there are enough folds."""
    if not isinstance(num_folds, int) or num_folds < LEAST_FOLDS:
        raise ValueError(
            f"{argument('num_folds')} expected to be an integer of at least {LEAST_FOLDS}, but got {num_folds!r};"
            f" for no folds, pass {written('num_folds', None)}"
        )


def copied(state: State) -> State:
    """Return a copy of a state."""
    copy: State = {}
    for name, values in state.items():
        if isinstance(values, list):
            copy[name] = cast("Tensor", list(values))
        else:
            copy[name] = values.clone()
    return copy


def rows_of(state: State, name: str = "rows") -> list[Tensor]:
    """Return the rows of a state that keeps lists, a tensor for each batch."""
    return cast("list[Tensor]", state[name])


def _as_one_tensor(state: State, names: Sequence[str]) -> Tensor:
    """Copy some tensors of a state to one new tensor, and replace them by views of it."""
    flat = torch.cat([state[name] for name in names])
    views = torch.split(flat, [len(state[name]) for name in names])
    for name, view in zip(names, views, strict=True):
        state[name] = view
    return flat


def _reduced(stacked: Tensor, field: Field) -> Tensor:
    """Reduce the tensors of several processes, one in each row."""
    if callable(field.reduction):
        return field.reduction(stacked)
    if field.reduction == "sum":
        return stacked.sum(0)
    return stacked.amax(0)
