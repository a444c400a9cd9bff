"""Classes: a state that keeps the images of each class apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.statistics.base import DNAStatistic, Field
from torchmetrics_dna.statistics.grouped import Grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.statistics import State

_D = TypeVar("_D", bound=DNA)


class ClassedStatistic(DNAStatistic[_D], Generic[_D]):
    """A statistic for each class, whose states lie one after the other; the DNA is that of all images.

    Args:
        statistic: How the images of a class add up.
        names: What the classes are called.

    """

    def __init__(self, statistic: DNAStatistic[_D], names: Sequence[str]) -> None:
        super().__init__(statistic.extractor)
        self.statistic, self.names = statistic, names
        self._classes = Grouped(statistic, len(names))

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return self.statistic.configuration | {"classes": list(self.names)}

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return self._classes.fields

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        raise ValueError("Each image needs its class; give `classes`")

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        """Add a batch in place, each image to its class; ``keys`` has shape ``(B,)``, numbers of classes, on the CPU.

        Raises:
            ValueError: As :meth:`add_`.

        """
        if len(keys.unique()) > 1 and next(iter(state.values())).device.type == "cpu":  # type: ignore[no-untyped-call]
            check_finite(parts)  # before the first class is added; a device leaves out each class that is not finite
        self._classes.add_(state, parts, keys)

    @override
    def merge_(self, state: State, other: State) -> None:
        self._classes.merge_(state, other)

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        self._classes.reduce_(state, group)

    @override
    def value(self, state: State) -> _D:
        return merged(self._classes.values(state))

    def to_dnas(self, state: State) -> dict[str, _D]:
        """The DNA of each class, by its name; views of the state where possible."""
        return dict(zip(self.names, self._classes.values(state), strict=True))


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Names of classes, from their number or their names; ValueError if there is none, or one twice.

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
