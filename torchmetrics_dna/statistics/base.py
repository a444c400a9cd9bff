"""Base classes of statistics: accumulated states of activations, with their update, merge and reduction.

A statistic object does not contain a state. The state of one set of images is a dict of flat tensors. Metrics register
these tensors with torchmetrics. Jobs store them in their splits.
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
# Origin of activations: values for the fields of a DNA that `DNAExtractor.origin` returns.
Origin = Mapping[str, Any]
Gather = Callable[..., list[Tensor]]
_D = TypeVar("_D", bound=DNA)


class Field(NamedTuple):
    """Description of one field of a state: a flat tensor, or a list of tensors with one row per image.

    Attributes:
        size: Number of elements of the tensor, or of a row; 0 if a row is a single number.
        dtype: Type of the tensor.
        fill: Value of all elements in a state without images.
        reduction: Reduction of the stacked tensors of all processes, as in torchmetrics; ``"cat"`` for rows.
        on_host: True if the tensor stays on the CPU, because updates read it there.

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

    #: Name of the statistic in the identity of a state. States with different names are never merged.
    kind: ClassVar[str]
    #: Reduction over processes of the values of :meth:`to_align`; None if states can be added without being aligned.
    aligned_by: ClassVar[Literal["sum", "max"] | None] = None
    #: True if the value has one row per image, in order of addition.
    by_image: ClassVar[bool] = False

    def __init__(self, extractor: DNAExtractor, **more: Any) -> None:
        self.extractor = extractor
        self._more = more
        self.neurons = extractor.neurons

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the identity of a state, except for those that depend on the network's weights."""
        extractor = self.extractor
        identity = Identity.of(extractor.name, neurons=extractor.neurons, kind=self.kind, **self._more)
        return dict(identity.settings)

    @property
    def identity(self) -> Identity:
        """Identity of a state whose images are counted with the current weights, without a fingerprint."""
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
        """Return the value of a state, such as a DNA. The value may share memory with the state.

        Args:
            state: The state.
            origin: Extractor, weights and preparation of the images. Only some values, such as DNAs, store it.

        """

    @abstractmethod
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        """Add a batch to a state in place.

        Args:
            state: The state.
            activations: Activations of the batch.
            keys: Fold of each image for statistics with folds, or its index in the data set for statistics with
                indices; ``(B,)``, int64, on the CPU.

        Raises:
            ValueError: If an activation is not finite. The state has not changed then, see :mod:`.nonfinite`.

        """

    def merge_(self, state: State, earlier: State) -> None:
        """Add ``earlier``, a state of other images, to ``state``. Its rows come before the rows of ``state``."""
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
        """Merge several states of a single tensor, each a row of ``stacked``, and return the tensor of the result.

        This is the reduction of states whose tensors can't just be added.
        """
        (name,) = self.fields
        total = {name: stacked[0].clone()}
        for state in stacked[1:]:
            self.merge_(total, {name: state})
        return total[name]

    def reduce_(self, state: State, group: Any = None, gather: Gather | None = None) -> None:
        """Replace the tensors of a state by their reductions over all processes.

        One all-reduce sums all tensors whose reduction is a sum. If the statistic has maxima, or values on which the
        states must be aligned, another all-reduce comes first. Lists of rows are left as they are, because the metrics
        gather them.

        Args:
            state: The state of this process.
            group: Process group; None for all processes.
            gather: Function with the signature of :func:`torchmetrics.utilities.distributed.gather_all_tensors`. If it
                is passed, it gathers each tensor, and no all-reduce is used.

        """
        fields = {name: field for name, field in self.fields.items() if field.reduction != "cat"}
        if gather is not None:
            for name, field in fields.items():
                gathered = gather(state[name], group=group)
                state[name] = _reduced(torch.stack(gathered), field)
            return
        names_of_maxima = [name for name, field in fields.items() if field.reduction == "max"]
        # Tensors with a function as their reduction can be added, too, once the states are aligned.
        names_of_sums = [name for name in fields if name not in names_of_maxima]
        if names_of_maxima:
            _all_reduce_in_state(state, names_of_maxima, dist.ReduceOp.MAX, group)
        if names_of_sums and self.aligned_by:
            # Alignment changes tensors in place. The tensors of the caller must stay as they are.
            for name in names_of_sums:
                state[name] = state[name].clone()
            self._align_processes(state, group)
        if names_of_sums:
            _all_reduce_in_state(state, names_of_sums, dist.ReduceOp.SUM, group)

    def _align_processes(self, state: State, group: Any) -> None:
        """Align the states of all processes, so that they can be added."""
        common = self.to_align(state)
        operation = dist.ReduceOp.SUM if self.aligned_by == "sum" else dist.ReduceOp.MAX
        dist.all_reduce(common, operation, group)
        self.align_(state, common, is_first=dist.get_rank(group) == 0)

    def to_align(self, state: State) -> Tensor:
        """Return values that must be equal in all processes before their states can be added, such as extremes."""
        raise NotImplementedError

    def align_(self, state: State, common: Tensor, is_first: bool) -> None:
        """Move a state, in place, to the grid or the shift that the common values of all processes determine.

        Each state then contains a copy of the common values. The states are added next. To keep a single copy in the
        sum, only the first process keeps its copy, and the other processes set theirs to 0.
        """
        raise NotImplementedError


class Numbers(NamedTuple):
    """Views of the parts of the flat tensor of a :class:`DNAStatistic`, in their order in memory.

    Attributes:
        whole: Values of all images together, such as counts, ``(size,)``.
        folds: Values of each fold, ``(num_folds, fold_size)``.
        images_of_folds: Number of images of each fold, ``(num_folds,)``.
        refused: Number of images with activations of a layer that are not finite, ``(layers,)``, see :mod:`.nonfinite`.
        images: Number of images, ``(1,)``.

    """

    whole: Tensor
    folds: Tensor
    images_of_folds: Tensor
    refused: Tensor
    images: Tensor


class DNAStatistic(Statistic, Generic[_D]):
    """Base class of statistics whose values are DNAs. They can keep folds of images for tests and intervals.

    A state is one flat tensor, whose parts are described by :class:`Numbers`.

    Args:
        extractor: Extractor of the activations.
        num_folds: Number of folds; None to keep no folds.
        more: As for :class:`Statistic`.

    Raises:
        ValueError: If there are too few folds.

    """

    #: Name of the tensor in a state.
    tensor: ClassVar[str]
    #: Type of the tensor.
    dtype: ClassVar[torch.dtype]
    #: Number of values for all images together.
    size: int
    #: Number of values for each fold.
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
        # Each fold has one more value, its number of images.
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
        """Return the DNA of a state, which may share memory with the state.

        Raises:
            ValueError: If images were refused because their activations were not finite.

        """
        num_folds = self.num_folds or 0
        # All numbers of images are at the end of the tensor, so one copy from the device is enough.
        size = num_folds + len(self.neurons) + 1
        numbers_of_images = [int(number) for number in state[self.tensor][-size:].tolist()]
        images_of_folds = numbers_of_images[:num_folds]
        refused = numbers_of_images[num_folds:-1]
        check_refused(refused, self.neurons)
        whole = self.dna_of(state, check_number(numbers_of_images[-1]), origin)
        if self.num_folds is None:
            return whole
        folds = []
        for values_of_fold, num_images in zip(self.numbers(state).folds, images_of_folds, strict=True):
            folds.append(self.fold_of(whole, values_of_fold, num_images))
        return replace(whole, folds=tuple(folds))

    @abstractmethod
    def dna_of(self, state: State, num_images: int, origin: Origin) -> _D:
        """Return the DNA of all images of a state, without folds; it may share memory with the state."""

    def fold_of(self, whole: _D, numbers: Tensor, num_images: int) -> DNA:
        """Return the DNA of a fold from its values; by default, the values are sums of :func:`image_moments`."""
        return GaussianDNA.from_moments(
            numbers.view(-1, whole.neurons.total), whole.neurons, num_images, **whole.origin
        )

    def count_images_(self, state: State, activations: Activations, keys: Tensor | None) -> None:
        """Add the number of images in a batch to the numbers of all images, of each fold, and of refused images."""
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
    """Return the list with the rows of a state, one tensor per batch."""
    return cast("list[Tensor]", state[name])


def _all_reduce_in_state(state: State, names: Sequence[str], operation: Any, group: Any) -> None:
    """Replace several tensors of a state by their reductions over all processes, in one all-reduce."""
    flat = torch.cat([state[name] for name in names])
    dist.all_reduce(flat, operation, group)
    reduced = torch.split(flat, [len(state[name]) for name in names])
    for name, values in zip(names, reduced, strict=True):
        state[name] = values


def _reduced(stacked: Tensor, field: Field) -> Tensor:
    """Reduce the tensors of several processes, each a row of ``stacked``."""
    if callable(field.reduction):
        return field.reduction(stacked)
    if field.reduction == "sum":
        return stacked.sum(0)
    return stacked.amax(0)
