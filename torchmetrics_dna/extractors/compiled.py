"""Recognise compiled modules, and keep Dynamo, the compiler of ``torch.compile``, away from this package's code.

Dynamo compiles the Python functions that run within a compiled module. The ``__torch_function__`` of an active function
mode is one of them. A function may get a method of tensors as an argument, such as ``Tensor.sub``. Dynamo sets no guard
on this argument. Code that was compiled for one method then also runs for another method with arguments of the same
types, which is wrong.
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
    # Before Dynamo is loaded, nothing can be compiled. Do not load it here, because this takes a second.
    if _DYNAMO not in sys.modules:
        return False
    return any(_is_wrapper(module) or _has_compiled_call(module) for module in modules)


def _is_wrapper(module: nn.Module) -> bool:
    """True if ``torch.compile`` returned this module."""
    return WRAPPED in module._modules


def _has_compiled_call(module: nn.Module) -> bool:
    """True if ``module.compile()`` was called, or if the method ``forward`` is compiled."""
    if getattr(module, "_compiled_call_impl", None) is not None:
        return True
    forward = getattr(module, "forward", None)
    return hasattr(forward, "_torchdynamo_orig_callable")


def uncompiled_copy(network: nn.Module, copies_of_tensors: Mapping[int, Any]) -> nn.Module:
    """Return a deep copy of a module that is not compiled, so that runs of the copy do not fill the compiler's cache.

    Args:
        network: Module to copy.
        copies_of_tensors: Tensors that the copy uses, by the id of the original parameter or buffer.

    """
    memo = dict(copies_of_tensors)
    # Copy a wrapper as the module that it wraps. Inner wrappers must be copied before outer ones.
    for module in reversed(list(network.modules())):
        if _is_wrapper(module):
            memo[id(module)] = deepcopy(module._modules[WRAPPED], memo)
    copied = deepcopy(network, memo)
    for module in copied.modules():
        # The copy of a compiled `forward` would still run the original module.
        if "forward" in vars(module) and _has_compiled_call(module):
            del module.forward
    return copied


def uncompiled(function: _Function) -> _Function:
    """Return a function that Dynamo does not compile if compiled code calls it, such as a hook."""
    if _DYNAMO not in sys.modules:
        return function
    return cast("_Function", torch.compiler.disable(function))  # type: ignore[no-untyped-call]


def outside_graphs(method: _Function) -> _Function:
    """Decorate a method that Dynamo must not compile if compiled code calls it."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        # Dynamo may be loaded only after the method was decorated, so this is decided at each call.
        return uncompiled(method)(*args, **kwargs)

    return cast("_Function", call)


class UncompiledMode(TorchFunctionMode):
    """Function mode whose ``__torch_function__`` is not compiled by Dynamo.

    The mode is not used for compiled modules. Two cases remain that can't be recognised: a module may call a compiled
    function, and a compiled function may call the extractor.
    """

    def __enter__(self) -> Self:
        eval_frame: Any = sys.modules.get(f"{_DYNAMO}.eval_frame")
        if hasattr(eval_frame, "skip_code"):
            eval_frame.skip_code(type(self).__torch_function__.__code__)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self
