"""Interrupt a call anywhere, as Ctrl-C does: Python raises where a function begins, or where one of C has returned."""

from __future__ import annotations

import contextlib
import gc
import pathlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import torchmetrics

import torchmetrics_dna

PACKAGE = Path(torchmetrics_dna.__file__).parent
# beside files of ours, those whose functions run between a change and its end
_BETWEEN = (contextlib.__file__, pathlib.__file__, torchmetrics.metric.__file__)


class Interrupt(KeyboardInterrupt):
    """What is raised, so that no other is taken for it."""


def interrupted(make: Callable[[], Callable[[], object]], *rooms: str) -> Iterator[str]:
    """Call what ``make`` returns again and again, each time with an interrupt at another place, and yield the place.

    Places are lines of the package's files in these rooms, and of what they call between, each where it is run for the
    first and for the last time. What the call and its traceback held is collected before.
    """
    files = (*(str(PACKAGE / room) for room in rooms), *_BETWEEN)
    places = _profiled(make(), files)
    events: dict[str, list[int]] = {}
    for event, place in enumerate(places):
        events.setdefault(place, []).append(event)
    report = sys.unraisablehook
    gc.freeze()  # or each collection goes through all of torch
    try:
        sys.unraisablehook = lambda _: None  # of interrupts in what is collected; pytest's keeps what they hold alive
        for event in sorted({number for numbers in events.values() for number in (numbers[0], numbers[-1])}):
            with contextlib.suppress(Interrupt):
                _profiled(make(), files, event)
            gc.collect()
            yield places[event]
    finally:
        gc.unfreeze()
        sys.unraisablehook = report


def _of_torch(frame: FrameType | None) -> bool:
    """True for a context manager of torch's, which no handler of ours could restore."""
    while frame is not None and frame.f_code.co_filename == contextlib.__file__:
        frame = frame.f_back
    return frame is not None and "/torch/" in frame.f_code.co_filename


def _profiled(call: Callable[[], object], files: tuple[str, ...], stop: int = -1) -> list[str]:
    """Call a function; return the places that it passes, up to number ``stop``, where it is interrupted."""
    places: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(files) and not _of_torch(frame):
            if len(places) == stop:
                raise Interrupt
            places.append(f"{frame.f_code.co_filename}:{frame.f_lineno} ({event})")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return places
