"""Recognise modules that ``torch.compile`` compiles, and keep its compiler, Dynamo, away from this package's code.

Dynamo compiles the Python functions that run within a compiled module, so also the ``__torch_function__`` of an active
function mode. It sets no guard on a method of tensors, such as ``Tensor.sub``, that a function gets as an argument.
What Dynamo compiled for one method then runs for another method whose arguments have the same types.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

_Function = TypeVar("_Function", bound="Callable[..., Any]")
_DYNAMO = "torch._dynamo"
# Name under which the module that `torch.compile` returns holds the original one.
WRAPPED = "_orig_mod"


def are_compiled(modules: Iterable[nn.Module]) -> bool:
    """True if ``torch.compile`` compiles one of the modules."""
    # Nothing is compiled before Dynamo is loaded, and loading it would take a second.
    if _DYNAMO not in sys.modules:
        return False
    return any(_is_wrapper(module) or _has_compiled_call(module) for module in modules)


def _is_wrapper(module: nn.Module) -> bool:
    """True for a module that ``torch.compile`` returned."""
    return WRAPPED in module._modules


def _has_compiled_call(module: nn.Module) -> bool:
    """True after ``module.compile()``, or if the method ``forward`` is compiled."""
    if getattr(module, "_compiled_call_impl", None) is not None:
        return True
    forward = getattr(module, "forward", None)
    return hasattr(forward, "_torchdynamo_orig_callable")


def uncompiled_copy(network: nn.Module, copies_of_tensors: Mapping[int, Any]) -> nn.Module:
    """Return a deep copy without compiled modules, so that trying it out fills no cache of the user's modules.

    Args:
        network: Module to copy.
        copies_of_tensors: Copy of each parameter, and of buffers, by the id of the original.

    """
    memo = dict(copies_of_tensors)
    # A wrapper is copied as the module that it wraps. Wrappers within other wrappers come first.
    for module in reversed(list(network.modules())):
        if _is_wrapper(module):
            memo[id(module)] = deepcopy(module._modules[WRAPPED], memo)
    copied = deepcopy(network, memo)
    for module in copied.modules():
        # A compiled function can't be copied: it would run the original module.
        if "forward" in vars(module) and _has_compiled_call(module):
            del module.forward
    return copied


def uncompiled(function: _Function) -> _Function:
    """Return a function that compiled code calls without compiling it, such as a hook."""
    if _DYNAMO not in sys.modules:
        return function
    return cast("_Function", torch.compiler.disable(function))  # type: ignore[no-untyped-call]


def outside_graphs(method: _Function) -> _Function:
    """Decorate a method that compiled code may call, at any time after it was defined, without compiling it."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return uncompiled(method)(*args, **kwargs)

    return cast("_Function", call)


class UncompiledMode(TorchFunctionMode):
    """Function mode whose ``__torch_function__`` Dynamo does not compile on its own.

    Modes are not entered around compiled modules. But a module may call a compiled function, and the call of an
    extractor may itself be within one, neither of which can be recognised.
    """

    def __enter__(self) -> Self:
        eval_frame: Any = sys.modules.get(f"{_DYNAMO}.eval_frame")
        if hasattr(eval_frame, "skip_code"):
            eval_frame.skip_code(type(self).__torch_function__.__code__)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self
