"""Private parts of torchmetrics that `metrics/checked.py` uses are in the installed version, as it relies on them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from makers import emd
from torchmetrics import Metric, MetricCollection

import torchmetrics_dna.metrics

METHODS = {  # that are overridden or called, with their parameters
    "_copy_state_dict": "self",
    "_sync_dist": "self, dist_sync_fn, process_group",
    "_reduce_states": "self, incoming_state",
    "_load_from_state_dict": "self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,"
    " error_msgs",
    "_wrap_update": "self, update",
    "_wrap_compute": "self, compute",
    "_apply": "self, fn, exclude_state",
    "_plot": "self, val, ax",
}
ATTRIBUTES = {
    "_defaults": dict, "_persistent": dict, "_update_signature": inspect.Signature, "_update_count": int,
    "_computed": type(None), "_forward_cache": type(None), "_is_synced": bool, "_cache": type(None), "_to_sync": bool,
}  # fmt: skip
USES = {  # what torchmetrics must do with them, or an override would never be called
    "sync": ("_copy_state_dict()", "_sync_dist(dist_sync_fn, process_group=process_group)", "_is_synced = True"),
    "unsync": ("_cache.items()", "_is_synced = False"),
    "__init__": ("_wrap_update(self.update)", "_wrap_compute(self.compute)"),
    "__setstate__": ("_wrap_update(self.update)", "_wrap_compute(self.compute)"),
    "_wrap_compute": ("self._computed is not None", "should_sync=self._to_sync"),
}


@pytest.mark.parametrize("name", METHODS)
def test_each_private_method_has_its_parameters(name: str) -> None:
    assert ", ".join(inspect.signature(getattr(Metric, name)).parameters) == METHODS[name]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_private_attribute_is_there(name: str) -> None:
    class Plain(Metric):
        def update(self) -> None: ...
        def compute(self) -> None: ...

    assert type(getattr(Plain(), name)) is ATTRIBUTES[name]
    assert hasattr(emd(), name)


@pytest.mark.parametrize("name", USES)
def test_torchmetrics_calls_what_is_overridden(name: str) -> None:
    for use in USES[name]:
        assert use in inspect.getsource(getattr(Metric, name))


def test_they_are_used_in_one_file_alone() -> None:
    folder = Path(torchmetrics_dna.metrics.__file__).parent
    parts = "|".join([*METHODS, *ATTRIBUTES])
    users = [path.name for path in sorted(folder.glob("*.py")) if re.search(rf"\b({parts})\b", path.read_text())]
    assert users == ["checked.py"]


def test_overrides_have_the_defaults_of_what_they_override() -> None:
    """Callers in torchmetrics leave out what is usual there."""
    modules = pkgutil.iter_modules(torchmetrics_dna.metrics.__path__, "torchmetrics_dna.metrics.")
    values = [value for module in modules for value in vars(importlib.import_module(module.name)).values()]
    compared = 0
    for value in (
        value for value in values if isinstance(value, type) and issubclass(value, Metric | MetricCollection)
    ):
        above = Metric if issubclass(value, Metric) else MetricCollection
        for name in (
            name for name in vars(value) if name != "__init__" and inspect.isfunction(getattr(above, name, None))
        ):
            theirs, ours = (inspect.signature(getattr(each, name)).parameters for each in (above, value))
            for parameter in theirs.keys() & ours.keys():
                usual, own = (
                    None if each[parameter].default in ("", ()) else each[parameter].default for each in (theirs, ours)
                )
                assert own == usual, (value.__name__, name, parameter)
                compared += 1
    assert compared > 20
