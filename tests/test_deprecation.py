from __future__ import annotations

import pickle

import pytest

from torchmetrics_dna.deprecation import deprecated


class Old:
    def __init__(self, x: int = 1) -> None:
        self.x = x


def call(x: int, *, y: int = 2) -> int:
    """Add."""
    return x + y


def test_what_is_deprecated_works_and_warns_at_the_callers_line() -> None:
    old = deprecated("0.3", "0.4", "`add`")(call)
    assert (old.__name__, old.__doc__) == ("call", "Add.")
    with pytest.warns(
        FutureWarning, match=r"`call` is deprecated since version 0.3 .* gone in 0.4; use `add`"
    ) as record:
        assert old(1, y=4) == 5
    assert record[0].filename == __file__
    marked = deprecated("0.3", "0.4", "`New`")(Old)
    assert marked is Old  # isinstance and pickles go on
    with pytest.warns(FutureWarning, match="`Old` is deprecated"):
        assert pickle.loads(pickle.dumps(marked(3))).x == 3
