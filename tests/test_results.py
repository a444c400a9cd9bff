"""Contract of all results: their words, json, identity, pickling and copying."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from all_results import RESULTS


@pytest.mark.parametrize("name", RESULTS)
def test_a_result(name: str) -> None:
    make, words = RESULTS[name]
    result, other = make(), make()
    assert repr(result).startswith(words)
    if name not in ("a window", "what was measured", "a demonstration"):  # told by all their fields
        assert len(repr(result)) < 300
        assert "\n" not in repr(result)
        assert "None" not in repr(result)
    if name != "a window":  # of numbers alone, which are equal if these are
        assert result == result
        assert result != other
        assert {result, other, result} == {result, other}
    if hasattr(result, "to_dict"):
        values = result.to_dict()
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert other.to_dict() == values
    for duplicate in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert type(duplicate) is type(result)
        assert repr(duplicate) == repr(result)
        assert not hasattr(result, "to_dict") or duplicate.to_dict() == values
