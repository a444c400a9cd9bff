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
        """Get ready in a worker: on which device, with how many cores."""

    @abstractmethod
    def __call__(self, number: int) -> Any:
        """Work on one split: the same result each time, since a worker may be lost and another begin anew."""


class Engine(ABC):
    """Base class of engines: a place where workers run splits."""

    @abstractmethod
    def run(self, work: Work, numbers: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        """Yield each number with its result, once, in the order in which they get finished.

        A number whose worker is lost is given to another one. There are at most as many results at a time as workers.
        When the generator is closed, its workers are gone.

        Args:
            work: What to do with each number.
            numbers: Those of the splits, ascending.

        Raises:
            Exception: That of the work, of the lowest number that failed; before it, all lower ones come.
            ModuleNotFoundError: If a package is missing that it takes.
            ConnectionError: If it can't be reached.
            ValueError: If the work can't be pickled.
            RuntimeError: If workers are lost over and over.

        """
