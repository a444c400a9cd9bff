from __future__ import annotations

from typing import Any

import pytest

from torchmetrics_dna import numba_compile


def test_without_a_place_for_a_cache_code_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    njit, tried = numba_compile.njit, []

    def nowhere(**options: Any) -> Any:
        tried.append(options.pop("cache", False))
        if tried[-1]:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba_compile, "njit", nowhere)
    assert numba_compile.compiled(lambda x: x + 1)(1) == 2
    assert tried == [True, False]
