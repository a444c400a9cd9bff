"""Private members of torchmetrics' ``Metric`` that metrics override or use are as listed here.

A release of torchmetrics may change them without notice: a member that is missing in the list, or not needed, fails.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import torchmetrics
from torchmetrics.aggregation import SumMetric

from torchmetrics_dna import metrics


class Hook(NamedTuple):
    """One private member of ``Metric``.

    Args:
        reason: Why this package overrides or uses it.
        users: Functions of ``Metric`` that use it, with the number of places in each.
        parameters: Names of its parameters, for a method; None for an attribute.

    """

    reason: str
    users: dict[str, int]
    parameters: tuple[str, ...] | None = None


OVERRIDDEN = {
    "_wrap_update": Hook(
        "`update` runs in inference mode and outside of compiled graphs, and a bad batch must not change the count of"
        " updates or drop the cached value. `__init__` and unpickling wrap `update` by it",
        {"__init__": 1, "__setstate__": 1},
        ("self", "update"),
    ),
    "_wrap_compute": Hook(
        "`compute` runs outside of compiled graphs. `__init__` and unpickling wrap `compute` by it",
        {"__init__": 1, "__setstate__": 1},
        ("self", "compute"),
    ),
    "_reduce_states": Hook(
        "`Running` calls it to merge the updates of its window; torchmetrics would add up states by `dist_reduce_fx`,"
        " which statistics do not have",
        {"_forward_reduce_state_update": 1, "merge_state": 1},
        ("self", "incoming_state"),
    ),
    "_apply": Hook(
        "states follow devices but keep their type, since counts must stay integers; on a device without float64 the"
        " metric stays where it is",
        {"_apply": 1},
        ("self", "fn", "exclude_state"),
    ),
    "_load_from_state_dict": Hook(
        "states of another configuration are refused, lists of rows are read from bytes, and tensors are copied, or"
        " counting would go on in the checkpoint",
        {"_load_from_state_dict": 1},
        (
            "self",
            "state_dict",
            "prefix",
            "local_metadata",
            "strict",
            "missing_keys",
            "unexpected_keys",
            "error_msgs",
        ),
    ),
}

USED = {
    "_defaults": Hook(
        "names of the states; lists are replaced before a reset, and the default of a tensor is held as one row",
        {
            "__init__": 1, "__hash__": 1, "_apply": 3, "_copy_state_dict": 1, "_load_from_state_dict": 1,
            "_move_list_states_to_cpu": 1, "_reduce_states": 1, "add_state": 1, "metric_state": 1, "reset": 1,
            "state_dict": 1,
        },
    ),
    "_update_count": Hook(
        "a merged or loaded state counts as an update, and a batch that fails does not",
        {
            "__init__": 1, "_forward_full_state_update": 2, "_forward_reduce_state_update": 2, "_reduce_states": 2,
            "_wrap_update": 1, "reset": 1, "update_called": 1, "update_count": 1,
        },
    ),
    "_computed": Hook(
        "the cached value is dropped when states are merged or loaded, and kept when a batch fails",
        {
            "__init__": 1, "_apply": 3, "_forward_full_state_update": 1, "_forward_reduce_state_update": 1,
            "_wrap_compute": 3, "_wrap_update": 1, "reset": 1,
        },
    ),
    "_forward_cache": Hook(
        "the last value of `forward`, which follows devices", {"__init__": 1, "forward": 3, "reset": 1, "_apply": 3}
    ),
    "_is_synced": Hook(
        "set by our `sync`, which reduces a copy of the states; `unsync` of torchmetrics brings back the local ones",
        {
            "__init__": 1, "_forward_full_state_update": 1, "_forward_reduce_state_update": 1, "forward": 1, "reset": 1,
            "sync": 2, "sync_context": 1, "unsync": 2,
        },
    ),
    "_cache": Hook(
        "local states that wait for `unsync`", {"__init__": 1, "reset": 1, "sync": 1, "unsync": 3}
    ),
    "_to_sync": Hook(
        "True if `compute` syncs: what reads a state over all processes, such as `to_dna`, does as it does",
        {"__init__": 1, "_forward_full_state_update": 2, "_forward_reduce_state_update": 2, "_wrap_compute": 1},
    ),
    "_plot": Hook("draws the values of `plot`", {}, ("self", "val", "ax")),
}  # fmt: skip

HOOKS = OVERRIDDEN | USED
OURS = sorted(Path(metrics.__file__).parent.glob("*.py"))


def attributes(node: ast.AST) -> list[str]:
    return [part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def methods(path: Path) -> list[ast.FunctionDef]:
    classes = [
        node for node in ast.parse(Path(path).read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)
    ]
    return [node for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)]


def users(name: str) -> dict[str, int]:
    """Methods of torchmetrics' ``Metric`` that name a member, with the number of places in each."""
    (tree,) = ast.parse(inspect.getsource(torchmetrics.Metric)).body
    counts = {
        method.name: attributes(method).count(name) for method in tree.body if isinstance(method, ast.FunctionDef)
    }
    return {method: count for method, count in counts.items() if count}


def check(name: str, hook: Hook) -> None:
    """Fail in one line that names the member, what differs, and why it is needed."""
    label = f"torchmetrics {torchmetrics.__version__}, Metric.{name}"
    member = getattr(SumMetric(), name, check)
    assert member is not check, f"{label} is gone; it is needed since {hook.reason}"
    parameters = tuple(inspect.signature(getattr(torchmetrics.Metric, name)).parameters) if callable(member) else None
    assert parameters == hook.parameters, (
        f"{label} takes {parameters}, but {hook.parameters} was expected; it is needed since {hook.reason}"
    )
    assert users(name) == hook.users, (
        f"{label} is used in {users(name)}, but {hook.users} was expected; it is needed since {hook.reason}"
    )


@pytest.mark.parametrize("name", HOOKS)
def test_torchmetrics_has_the_private_members_that_metrics_need(name: str) -> None:
    check(name, HOOKS[name])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("_gone", {}, r"Metric\._gone is gone; it is needed since `update` runs in inference mode"),
        ("_wrap_update", {"parameters": ("self",)}, r"takes \('self', 'update'\), but \('self',\) was expected; it is"),
        (
            "_wrap_update",
            {"users": {"__init__": 2}},
            r"is used in .*'__setstate__': 1.*, but \{'__init__': 2\} was",
        ),
    ],
)
def test_a_change_is_told(name: str, change: dict[str, object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(name, HOOKS["_wrap_update"]._replace(**change))


def test_the_list_has_the_private_members_that_metrics_use_and_no_others() -> None:
    private = {name for name in dir(SumMetric()) if name.startswith("_") and not name.startswith("__")}
    defined = Counter(method.name for path in OURS for method in methods(path))
    named = {name for path in OURS for name in attributes(parsed(path))}
    assert private & defined.keys() == set(OVERRIDDEN)
    assert private & (named | defined.keys()) == set(HOOKS)
    assert all(defined[name] == 1 for name in OVERRIDDEN), "overridden in one place"


def test_one_base_stands_between_a_metric_and_torchmetrics() -> None:
    exported = [getattr(metrics, name) for name in metrics.__all__]
    for metric_class in filter(inspect.isclass, exported):
        ours = [base.__name__ for base in metric_class.__mro__[1:] if base.__module__.startswith("torchmetrics_dna")]
        assert ours[-1] == "ImageMetric"
        assert len(ours) <= 2
