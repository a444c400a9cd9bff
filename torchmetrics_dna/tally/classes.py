"""Classes: a state that keeps the images of each class apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.tally.base import DNATally, Field
from torchmetrics_dna.tally.folds import images_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.tally import Side

_D = TypeVar("_D", bound=DNA)


class ClassedTally(DNATally[_D], Generic[_D]):
    """A tally for each class; a side holds those of all classes one after the other, and its DNA is that of all images.

    Args:
        tally: How the images of a class add up.
        names: What the classes are called.

    """

    def __init__(self, tally: DNATally[_D], names: Sequence[str]) -> None:
        super().__init__(tally.extractor)
        self.tally, self.names = tally, names

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return self.tally.configuration | {"classes": list(self.names)}

    @property
    @override
    def fields(self) -> dict[str, Field]:
        count = len(self.names)
        return {name: field._replace(size=field.size * count) for name, field in self.tally.fields.items()}

    @override
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        raise ValueError("Each image needs its class; give `classes`")

    def add_classed_(self, side: Side, parts: Parts, classes: Tensor) -> None:
        """Add a batch in place, each image to its class; ``classes`` has shape ``(B,)``, numbers of them, on the CPU.

        Raises:
            ValueError: As :meth:`add_`.

        """
        present = classes.unique().tolist()  # type: ignore[no-untyped-call]
        if len(present) > 1 and next(iter(side.values())).device.type == "cpu":
            check_finite(parts)  # before the first class is added; a device leaves out each class that is not finite
        for k in present:
            some = images_of(parts, classes == k) if len(present) > 1 else parts
            self.tally.add_(self._class(side, k), some, int((classes == k).sum()))

    @override
    def merge_(self, side: Side, other: Side) -> None:
        if self.tally.additive:
            super().merge_(side, other)
            return
        for k in range(len(self.names)):
            self.tally.merge_(self._class(side, k), self._class(other, k))

    @override
    def all_reduce_(self, side: Side, group: Any = None) -> None:
        if self.tally.additive:
            for name in self.fields:
                dist.all_reduce(side[name], group=group)
            return
        for k in range(len(self.names)):
            self.tally.all_reduce_(self._class(side, k), group)

    @override
    def to_dna(self, side: Side) -> _D:
        return merged(self.tally.to_dna(self._class(side, k)) for k in range(len(self.names)))

    def to_dnas(self, side: Side) -> dict[str, _D]:
        """The DNA of each class, by its name; views of the side where possible."""
        return {name: self.tally.to_dna(self._class(side, k)) for k, name in enumerate(self.names)}

    def _class(self, side: Side, k: int) -> Side:
        """The side of one class: views."""
        return {name: side[name][k * field.size : (k + 1) * field.size] for name, field in self.tally.fields.items()}


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """What classes are called, for how many there are or their names; ValueError if there is none, or one twice.

    Example:
        >>> class_names(3)
        ('0', '1', '2')

    """
    names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Argument `classes` expected to be a number above 0, or different names, but got {classes!r}")
    return names


def class_numbers(classes: Tensor | Sequence[int | str], names: Sequence[str], num_images: int) -> Tensor:
    """The number of each image's class, shape ``(B,)``, int64, on the CPU.

    Args:
        classes: A class for each image: its number, or its name.
        names: What the classes are called.
        num_images: How many images there are.

    Raises:
        ValueError: If there are not as many, or one is unknown.

    """
    given = classes.tolist() if isinstance(classes, torch.Tensor) else list(classes)
    if not isinstance(given, list) or len(given) != num_images:
        got = len(given) if isinstance(given, list) else "a scalar"
        raise ValueError(f"Argument `classes` expected to have a class for each of {num_images} images, but got {got}")
    known: dict[object, int] = {name: k for k, name in enumerate(names)} | {k: k for k in range(len(names))}
    unknown = next((one for one in given if one not in known), None)
    if unknown is not None:
        few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"Argument `classes` has {unknown!r}, which is not one of the {len(names)} classes ({few})")
    return torch.tensor([known[one] for one in given], dtype=torch.int64)
