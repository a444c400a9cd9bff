"""Private members of torchmetrics' ``Metric`` that this package overrides or uses.

A release of torchmetrics may change them without notice, so ``tests/metrics/test_hooks.py`` compares this list with the
installed release, and with the code of this package: a member that is missing here, or not needed, fails there.
"""

from __future__ import annotations

from typing import NamedTuple


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
            "__init__": 1, "__hash__": 1, "_apply": 2, "_copy_state_dict": 1, "_load_from_state_dict": 1,
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
            "__init__": 1, "_forward_full_state_update": 1, "_forward_reduce_state_update": 1, "_wrap_compute": 3,
            "_wrap_update": 1, "reset": 1,
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
