"""Interface for running the splits of a job on other machines.

A further engine is one file with a subclass of :class:`Engine`, and a line in ``elsewhere.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


class Work(ABC):
    """Work on splits, by their numbers. It is pickled, and each worker keeps it for all its splits."""

    label: str  # the image set, for messages

    @abstractmethod
    def begin(self, device: str, cores: int) -> None:
        """Prepare the work in a worker, on this device and with this number of cores."""

    @abstractmethod
    def __call__(self, number: int) -> Any:
        """Work on one split; must be idempotent, since a split is repeated if its worker is lost."""


class Engine(ABC):
    """Base class of engines, whose workers run splits."""

    @abstractmethod
    def run(self, work: Work, numbers: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        """Yield each number with its result, once, in order of completion.

        The number of a lost worker goes to another one. At most one result per worker is in memory. Closing the
        generator ends its workers.

        Args:
            work: The work on each split.
            numbers: Numbers of the splits, ascending.

        Raises:
            Exception: The error of the work on the lowest number that failed, after the results of all lower ones.
            ModuleNotFoundError: If a required package is missing.
            ConnectionError: If the engine can't be reached.
            ValueError: If the work can't be pickled.
            RuntimeError: If workers are lost repeatedly.

        """
