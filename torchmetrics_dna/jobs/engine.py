"""Interface for running a job's splits on other machines and merging the results.

A further engine is one file with these two classes, and a line in ``elsewhere.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager


class Work(ABC):
    """Work on each of some numbers. It is pickled, and then kept by each worker for all its numbers."""

    label: str  # what to call that of which it is work

    @abstractmethod
    def begin(self, device: str, cores: int) -> None:
        """Get ready in a worker: on which device, with how many cores."""

    @abstractmethod
    def __call__(self, number: int) -> Any:
        """The work itself: the same result each time, since a worker may be lost and another begin anew."""


class LostError(RuntimeError):
    """A value that was kept on a machine is gone with it."""


class Session(ABC):
    """An engine at work. Handles stand for what is kept on its machines."""

    @abstractmethod
    def map(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Each number with what the work made of it, once, in the order in which they get finished.

        A number whose worker is lost is given to another one. Workers get no more than what they work on, and what they
        have made waits for whoever iterates.

        Raises:
            Exception: That of the work, of the lowest number that failed; before it, all lower ones come.
            ValueError: If the work can't be pickled.
            RuntimeError: If workers are lost over and over.

        """

    @abstractmethod
    def put(self, value: Any) -> Any:
        """Keep a value; gives its handle."""

    @abstractmethod
    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function somewhere, of values by their handles; gives a handle. Waits if many calls are not done."""

    @abstractmethod
    def get(self, handle: Any) -> Any:
        """Return the value that a handle stands for.

        Raises:
            LostError: If it, or what it was to be made of, is lost for good.
            Exception: That of the function that was called.

        """


class Engine(ABC):
    """Base class of engines: a place where work is done."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Session]:
        """Connect; at the end of the context, its workers are gone.

        Raises:
            ModuleNotFoundError: If a package is missing that it takes.
            ConnectionError: If it can't be reached.

        """
