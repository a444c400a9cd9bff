"""Classes: a state with a part for each class of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.statistics.grouped import Grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.statistics.base import DNAStatistic, State

_D = TypeVar("_D", bound=DNA)


class ClassedStatistic(Grouped[_D], Generic[_D]):
    """Statistic of each class, by name."""

    def __init__(self, statistic: DNAStatistic[_D], names: Sequence[str]) -> None:
        super().__init__(statistic, len(names))
        self.names = names

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return self.statistic.configuration | {"classes": list(self.names)}

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        if len(keys.unique()) > 1 and next(iter(state.values())).device.type == "cpu":  # type: ignore[no-untyped-call]
            check_finite(parts)  # before any class is added; on other devices each non-finite class is left out
        super().add_keyed_(state, parts, keys)

    def to_dnas(self, state: State) -> dict[str, _D]:
        """Return the DNA of each class by name; views of the state if possible."""
        return dict(zip(self.names, self.values(state), strict=True))


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Return names of classes from their number or names; ValueError if there are none, or duplicates.

    Example:
        >>> class_names(3)
        ('0', '1', '2')

    """
    names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Argument `classes` expected to be a number above 0, or different names, but got {classes!r}")
    return names


def class_numbers(classes: Tensor | Sequence[int | str], names: Sequence[str], num_images: int) -> Tensor:
    """Return the number of each image's class, by number or name, shape ``(B,)``, int64, on the CPU.

    Raises:
        ValueError: If not as many classes as images are given, or one is unknown.

    """
    labels = classes.tolist() if isinstance(classes, torch.Tensor) else list(classes)
    if not isinstance(labels, list) or len(labels) != num_images:
        got = len(labels) if isinstance(labels, list) else "a scalar"
        raise ValueError(f"Argument `classes` expected to have a class for each of {num_images} images, but got {got}")
    numbers: dict[object, int] = {name: k for k, name in enumerate(names)} | {k: k for k in range(len(names))}
    unknown = next((label for label in labels if label not in numbers), None)
    if unknown is not None:
        few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"Argument `classes` has {unknown!r}, which is not one of the {len(names)} classes ({few})")
    return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)
