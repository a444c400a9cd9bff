"""Rows of options in which every pair of values meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, islice
from random import Random
from typing import Any

Row = dict[str, Any]
_SELDOM = 12  # rows to try for a pair


def covering(
    options: Mapping[str, Sequence[Any]], fits: Callable[[Row], bool] = lambda _: True, *, seldom: bool = False
) -> list[Row]:
    """Return few rows, of a value for each option, so that every two values which some row may hold meet in one.

    Args:
        options: Values of each option.
        fits: Whether the values of a row go together.
        seldom: Whether so few rows do that they are made from a pair and the first values of all other options.

    """
    random, rows = Random(0), []
    places = [(name, number) for name, values in options.items() for number in range(len(values))]
    missing = {pair for pair in combinations(places, 2) if pair[0][0] != pair[1][0]}
    while missing:
        pair = min(missing)
        if seldom:
            tries = (_filled(dict(pair), options, fits, random) for _ in range(_SELDOM))
        else:
            tries = ({name: random.randrange(len(values)) for name, values in options.items()} for _ in range(400))
        fitting = (row for row in (each | dict(pair) for each in tries) if fits(_values(options, row)))
        best = max(islice(fitting, 20), key=lambda row: len(_pairs(row) & missing), default={})
        missing -= _pairs(best) | {pair}  # a pair that no row fits is left out
        if best:
            rows.append(_values(options, best))
    return rows


def _filled(
    pair: Mapping[str, int], options: Mapping[str, Sequence[Any]], fits: Callable[[Row], bool], random: Random
) -> dict[str, int]:
    """Return a row with a pair, and for each other option a random value if it fits, or else the first."""
    row = dict.fromkeys(options, 0) | dict(pair)
    if not fits(_values(options, row)):
        return row
    for name in random.sample(sorted(options.keys() - pair.keys()), len(options) - len(pair)):
        other = row | {name: random.randrange(len(options[name]))}
        row = other if fits(_values(options, other)) else row
    return row


def _pairs(row: Mapping[str, int]) -> set[Any]:
    return set(combinations(row.items(), 2))


def _values(options: Mapping[str, Sequence[Any]], row: Mapping[str, int]) -> Row:
    return {name: options[name][number] for name, number in row.items()}


def title(row: Row) -> str:
    """Return a readable id of a row, of what is not the default."""
    named = {name: getattr(value, "__name__", value) for name, value in row.items() if value not in (None, False)}
    named = {name: type(value).__name__ if len(str(value)) > 30 else value for name, value in named.items()}
    return " ".join(name if value is True else f"{name}={value}" for name, value in named.items())
