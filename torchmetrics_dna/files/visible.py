"""Format text from outside (names of files, notes, layers), numbers and json values for display."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import floor, isfinite, log10
from typing import Any

from torchmetrics_dna.options import argument

# Name under which `in_known_letters` is registered as a handler of encoding errors.
ERRORS = "torchmetrics_dna"
# Smallest p-value that is shown. It is the resolution of a test with a thousand permutations.
LEAST_P = 0.001
# Characters that are escaped: control characters, line separators, bidirectional overrides, and surrogates, which UTF-8
# can't encode.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ASCII = {
    "≤": "<=",
    "≥": ">=",
    "±": "+-",
    "²": "^2",
    "\xd7": "x",
    "…": "...",
    "↑": "^",
    "↓": "v",
    "✓": "yes",
    "\xa0": " ",
}


def visible(text: str) -> str:
    r"""Escape control characters of a text.

    Example:
        >>> print(visible("\x1b[2Jred\u202egnp.exe"))
        \x1b[2Jred\u202egnp.exe

    """
    return _HIDDEN.sub(lambda match: _in_ascii(match[0]), text)


def strict_json(document: Any, **settings: Any) -> str:
    r"""Return a json text that any parser reads.

    NaN and infinity become null. Bytes of file names that are not UTF-8 are escaped, as in ``\\xff``.

    Example:
        >>> print(strict_json({"caf\udce9": float("inf")}))
        {"caf\\xe9": null}

    """
    return json.dumps(_strict(document), **settings)


def _strict(value: Any) -> Any:
    """Return a json value without surrogates, NaN and infinity."""
    if isinstance(value, str):
        return _SURROGATE.sub(lambda match: _in_ascii(match[0]), value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {_strict(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return value


def in_known_letters(error: UnicodeError) -> tuple[str, int]:
    r"""Replace characters that an encoding can't encode by ASCII.

    This is a handler of encoding errors for :func:`codecs.register_error`. It returns the replacement, and the position
    at which encoding continues.

    Example:
        >>> import codecs
        >>> codecs.register_error("in_known_letters", in_known_letters)
        >>> "p ≤ 0.001 of 雪".encode("cp1252", "in_known_letters")
        b'p <= 0.001 of \\u96ea'

    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(letter: str) -> str:
    """Return a character in ASCII."""
    # Python represents the bytes of a file name that are not UTF-8 as surrogates.
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) & 0xFF:02x}"
    return _ASCII.get(letter) or letter.encode("unicode_escape").decode()


def shortened(text: str, length: int) -> str:
    """Remove the middle of a text that is longer than ``length`` characters.

    Example:
        >>> shortened("generated/samples_017.png", 15)
        'gener…s_017.png'

    """
    if len(text) <= length:
        return text
    tail = 2 * (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def number(value: float | str | None, digits: int = 3, *, zeros: bool = False, error: float | None = None) -> str:
    """Format a number for display.

    Args:
        value: The number. None is shown as a dash, and a text is returned as it is.
        digits: Number of significant digits. Below a billion, all digits before the decimal point are shown.
        zeros: Whether to keep trailing zeros, so that all numbers of a column have the same precision.
        error: Standard error. It is shown with two significant digits, or as an integer if it is 10 or more. The
            number then has as many decimals as the error, and ``digits`` is ignored. If the error is infinite or NaN,
            the number has ``digits`` significant digits. None or 0 for no error.

    Example:
        >>> number(8.5824), number(12345.6), number(8.5824, 2), number(1.0, zeros=True), number(None)
        ('8.58', '12,346', '8.6', '1.00', '-')
        >>> number(34.567, error=0.123), number(1234.5, error=678.9), number(34.567, error=float("inf"))
        ('34.57 ± 0.12', '1,234 ± 679', '34.6 ± inf')

    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if error and isfinite(error):
        decimals = max(0, 1 - floor(log10(error)))
        return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"
    # The format "g" would write a number with an exponent if it has more than `digits` digits before the point.
    is_long_integer = 10**digits - 0.5 <= abs(value) < 10**9
    if is_long_integer:
        shown = f"{value:,.0f}"
    elif zeros:
        # "#" keeps trailing zeros. It also keeps a point after which there are no digits.
        shown = f"{value:#.{digits}g}".removesuffix(".").replace(".e", "e")
    else:
        shown = f"{value:.{digits}g}"
    if error:
        return f"{shown} ± {error}"
    return shown


def percent(share: float) -> str:
    """Format a share as a percentage.

    Example:
        >>> percent(0.95), percent(0.9999)
        ('95%', '100%')

    """
    return f"{number(100 * share)}%"


def images_in_words(count: int, noun: str = "image") -> str:
    """Format a number of images, or of other items that ``noun`` names in the singular.

    Example:
        >>> images_in_words(1), images_in_words(2000), images_in_words(2, "row")
        ('1 image', '2,000 images', '2 rows')

    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}s"


def bins_in_words(bins: float) -> str:
    """Format a distance in bins with three digits, as in "1 bin" or "2.13 bins"."""
    shown = number(bins)
    return "1 bin" if shown == "1" else f"{shown} bins"


def in_words(value: Any) -> str:
    """Format a json value as text. Keys of a dict whose value is None are left out."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, (list, tuple)):
        return " ".join(map(in_words, value))
    return "unknown" if value is None else str(value)


def p_figure(p: float | None, name: str = "") -> str:
    """Format a p-value or q-value with two digits. None is shown as a dash.

    With a name, the text can be part of a sentence.

    Example:
        >>> p_figure(0.0123), p_figure(0.0004), p_figure(1.0), p_figure(0.0123, "p"), p_figure(0.0004, "p")
        ('0.012', '≤ 0.001', '1', 'p = 0.012', 'p ≤ 0.001')

    """
    if p is None:
        return "-"
    if p > LEAST_P:
        return f"{name} = {p:.2g}" if name else f"{p:.2g}"
    return f"{name} ≤ {LEAST_P:g}" if name else f"≤ {LEAST_P:g}"


def plain_name(name: str) -> str:
    """Return a text that is the same for all spellings of a distance, such as "dna-emd", "dna_emd" and "DNAEMD"."""
    return str(name).lower().replace("-", "").replace("_", "")


def unknown_metrics(unknown: Sequence[str], allowed: Iterable[str]) -> str:
    """Return the error message for names of unknown distances, or for an empty list of names."""
    names = [str(name) for name in unknown]
    allowed = list(allowed)
    got = ", ".join(map(repr, names)) or "none"
    hint = _hint_for_unknown_metrics(names, allowed)
    return f"{argument('metrics')} expected to be any of {', '.join(allowed)}, but got {got}{hint}"


def _hint_for_unknown_metrics(names: Sequence[str], allowed: Sequence[str]) -> str:
    """Return which distances may be meant, as the end of a message. The text is empty if none is similar."""
    if "fid" in map(str.lower, names):
        return "; FID is fd of the feature inception_fid, or fid of compare"
    suggestions: list[str] = []
    for name in names:
        with_word = [distance for distance in allowed if name in distance.split("-")]
        similar = with_word or get_close_matches(name, allowed, 1, 0.7)
        suggestions += similar[:1]
    if not suggestions:
        return ""
    return f"; did you mean {', '.join(map(repr, suggestions))}?"
