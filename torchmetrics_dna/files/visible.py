"""Format text from outside (names of files, notes, layers), numbers and json values for display."""

from __future__ import annotations

import re
from math import floor, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAST_P = 0.001  # resolution of a thousand relabelings
# control characters, line separators, bidirectional overrides, and surrogates, which UTF-8 can't encode
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Escape control characters of a text.

    Example:
        >>> print(visible("\x1b[2Jred\u202egnp.exe"))
        \x1b[2Jred\u202egnp.exe

    """
    return _HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shortened(text: str, length: int) -> str:
    """Cut the middle out of a text that is too long.

    Example:
        >>> shortened("generated/samples_017.png", 15)
        'gener…s_017.png'

    """
    if len(text) <= length:
        return text
    tail = 2 * (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def number(value: float | str | None) -> str:
    """Format with four significant digits; None as a dash, text unchanged."""
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def figure(value: float) -> str:
    """Format with three significant digits, for running text.

    Example:
        >>> figure(8.5824), figure(12345.6)
        ('8.58', '12,346')

    """
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def three_digits(value: float) -> str:
    """Format with three significant digits, trailing zeros too, so that the numbers of a column have one precision.

    Example:
        >>> three_digits(1.0), three_digits(0.01234), three_digits(249.6), three_digits(12345.6)
        ('1.00', '0.0123', '250', '12,346')

    """
    return f"{value:#.3g}".removesuffix(".") if not abs(value) >= 999.5 else f"{value:,.0f}"


def with_error(value: float, error: float | None) -> str:
    """Format a value and its error, with two digits of the error; without one, with three digits of the value.

    Example:
        >>> with_error(34.567, 0.123), with_error(1234.5, 678.9), with_error(0.5, None)
        ('34.57 ± 0.12', '1,234 ± 679', '0.500')

    """
    if not error:
        return three_digits(value)
    decimals = max(0, 1 - floor(log10(error)))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def percent(share: float) -> str:
    """Format a share.

    Example:
        >>> percent(0.95), percent(0.999)
        ('95 %', '99.9 %')

    """
    return f"{100 * share:.3g} %"


def images_in_words(count: int) -> str:
    """Format a number of images.

    Example:
        >>> images_in_words(1), images_in_words(2000)
        ('1 image', '2,000 images')

    """
    return f"{count:,} image{'' if count == 1 else 's'}"


def in_words(value: Any) -> str:
    """Format a json value."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(in_words, value))
    return "unknown" if value is None else str(value)


def p_in_words(p: float) -> str:
    """Format a p-value for running text."""
    return f"p {'= ' if p > LEAST_P else ''}{p_figure(p)}"


def p_figure(p: float | None) -> str:
    """Format a p-value or q with two digits; None as a dash.

    Example:
        >>> p_figure(0.0123), p_figure(0.0004), p_figure(1.0)
        ('0.012', '≤ 0.001', '1')

    """
    if p is None:
        return "-"
    return f"{p:.2g}" if p > LEAST_P else f"≤ {LEAST_P:g}"


def plain_name(name: str) -> str:
    """Return what all spellings of a distance have in common: "dna-emd", "dna_emd" and "DNAEMD" are one."""
    return name.lower().replace("-", "").replace("_", "")


def unknown_metrics(unknown: Sequence[str], known: Iterable[str]) -> str:
    """Return the error text for names that are no distances, or for none at all."""
    hint = "; FID is fd of the feature inception_fid, or fid of compare" if "fid" in map(str.lower, unknown) else ""
    got = ", ".join(map(repr, unknown)) or "none"
    return f"Argument `metrics` expected to be of {', '.join(known)}, but got {got}{hint}"
