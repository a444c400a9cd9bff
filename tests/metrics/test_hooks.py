"""Private members of torchmetrics that metrics override or use are as metrics/hooks.py expects them."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from pathlib import Path

import pytest
import torchmetrics
from torchmetrics.aggregation import SumMetric

from torchmetrics_dna import metrics
from torchmetrics_dna.metrics.hooks import HOOKS, OVERRIDDEN, Hook

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
