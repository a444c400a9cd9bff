"""What `metrics/checked.py` relies on of torchmetrics, beyond its documents, is in the installed version, as used."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from makers import emd
from networks import random_images
from torch import nn
from torchmetrics import Metric, MetricCollection

import torchmetrics_dna
from torchmetrics_dna import DNAEMD
from torchmetrics_dna.extractors.sharing import leaders


class Plain(Metric):
    def update(self) -> None: ...
    def compute(self) -> None: ...


PRIVATE = {  # members that are overridden, called, read or written: parameters of methods, types of attributes
    "_copy_state_dict": "self",
    "_sync_dist": "self, dist_sync_fn, process_group",
    "_reduce_states": "self, incoming_state",
    "_wrap_update": "self, update",
    "_wrap_compute": "self, compute",
    "_plot": "self, val, ax",
    "_defaults": dict,
    "_persistent": dict,
    "_update_count": int,
    "_computed": type(None),
    "_forward_cache": type(None),
    "_is_synced": bool,
    "_cache": type(None),
    "_to_sync": bool,
}
# public ones that are overridden, or called with these arguments, and torch's own that take a different form there
PUBLIC = {
    "sync_context": "self, dist_sync_fn, process_group, should_sync, should_unsync, distributed_available",
    "sync": "self, dist_sync_fn, process_group, should_sync, distributed_available",
    "unsync": "self, should_unsync",
    "merge_state": "self, incoming_state",
    "add_state": "self, name, default, dist_reduce_fx, persistent",
    "state_dict": "self, destination, prefix, keep_vars",
    "reset": "self",
    "_apply": "self, fn, exclude_state",
    "_load_from_state_dict": "self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,"
    " error_msgs",
}
USES = {  # what torchmetrics must do with them, or an override would never be called
    "sync": ("_copy_state_dict()", "_sync_dist(dist_sync_fn, process_group=process_group)", "_is_synced = True"),
    "unsync": ("_cache.items()", "_is_synced = False"),
    "sync_context": ("self.sync(", "self.unsync("),
    "__init__": ("_wrap_update(self.update)", "_wrap_compute(self.compute)"),
    "__setstate__": ("_wrap_update(self.update)", "_wrap_compute(self.compute)"),
    "_wrap_compute": ("self._computed is not None", "should_sync=self._to_sync", "self.sync_context("),
    "_wrap_update": ("self._computed = None", "self._update_count += 1"),
}
# of torchmetrics' classes, without what torch's modules have, too
_OF_TORCH = {*dir(nn.Module), *vars(nn.Module())}
HIDDEN = {
    name
    for each in (Plain(), MetricCollection([Plain()]))
    for name in (*dir(type(each)), *vars(each))
    if name.startswith("_") and not name.startswith("__") and name not in _OF_TORCH
}


@pytest.mark.parametrize("name", PRIVATE | PUBLIC)
def test_each_member_is_as_it_is_used(name: str) -> None:
    expected = (PRIVATE | PUBLIC)[name]
    if isinstance(expected, str):
        assert ", ".join(inspect.signature(getattr(Metric, name)).parameters) == expected
    else:
        assert type(getattr(Plain(), name)) is expected
        assert hasattr(emd(), name)


@pytest.mark.parametrize("name", [name for name in PRIVATE | PUBLIC if callable(getattr(Metric, name, None))])
def test_an_override_has_the_defaults_of_what_it_overrides(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(each, name)).parameters for each in (DNAEMD, Metric))
    for argument in ours.keys() & theirs.keys():
        assert ours[argument].default == theirs[argument].default


@pytest.mark.parametrize("name", USES)
def test_torchmetrics_calls_what_is_overridden(name: str) -> None:
    for use in USES[name]:
        assert use in inspect.getsource(getattr(Metric, name))


def members_named(path: Path) -> set[str]:
    """All members that a file reads, writes or defines, and the names in its strings."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        elif isinstance(node, (ast.AnnAssign, ast.Assign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_private_members_are_used_in_one_file_alone_and_each_is_in_the_contract() -> None:
    package = Path(torchmetrics_dna.__file__).parent
    used = {path.relative_to(package): members_named(path) & HIDDEN for path in package.rglob("*.py")}
    assert {str(path): names for path, names in used.items() if names} == {"metrics/checked.py": set(PRIVATE)}
    assert set(PRIVATE) < HIDDEN


def test_states_are_told_by_name() -> None:
    """As `metric_state` has them: the tensors themselves, in the order in which they were added."""
    metric = emd()
    assert list(metric.metric_state) == ["real_counts", "real_identity", "fake_counts", "fake_identity"]
    assert all(state is getattr(metric, name) for name, state in metric.metric_state.items())


def test_one_member_of_each_group_is_updated() -> None:
    """As `compute_groups` has them: names in lists, by number, once a first update has made them."""
    metrics = MetricCollection({"a": emd(), "b": emd(reduction="layer"), "c": emd(ranges="auto")})
    metrics.update(random_images(3, 0), real=True)
    assert sorted(map(sorted, metrics.compute_groups.values())) == [["a", "b"], ["c"]]
    assert leaders(metrics) == [metrics[groups[0]] for groups in metrics.compute_groups.values()]


def test_a_side_is_found_whatever_the_arguments_of_update_are_called() -> None:
    class Renamed(DNAEMD):
        def update(self, pictures: object, is_real: bool) -> None:  # type: ignore[override]
            super().update(pictures, is_real)  # type: ignore[arg-type]

    plain, renamed = (cls(emd().extractor, ranges="auto", num_bins=40) for cls in (DNAEMD, Renamed))
    for seed, real in ((0, True), (1, False), (2, True), (3, False)):
        images = random_images(4, seed)
        of_batch = plain(images, real), renamed(images, real)
        assert str(of_batch[0]) == str(of_batch[1])
    assert plain.compute() == renamed.compute()


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
