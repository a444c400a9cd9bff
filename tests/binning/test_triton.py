"""Triton's kernels compile for GPUs: the interpreter, in which their counts are tested, takes more than the compiler."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from torchmetrics_dna.binning import cuda

POINTERS = {"counts": "*i64", "accepted": "*i64", "centre": "*fp64", "scale": "*fp64", "first": "*fp64"}
FLOATS = {"offset": "fp32", "factor": "fp32"}  # as Triton takes Python's floats


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """The module once more, where Triton does not interpret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET", raising=False)
        spec = importlib.util.spec_from_file_location("kernels_to_compile", cuda.__file__)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


# Triton compiles anew for integers that are 1, as if they stood in the code
@pytest.mark.parametrize(
    ("name", "dtype", "ones"),
    [
        ("_count_rows", "fp32", ()),
        ("_count_rows", "bf16", ("num_bins", "neurons", "total", "per_image", "positions", "stride")),
        ("_count_columns", "bf16", ()),
        ("_count_columns", "fp64", ("num_bins", "neurons", "total", "per_image", "positions", "neuron_stride")),
    ],
)
def test_kernels_compile_for_a_gpu(kernels: ModuleType, name: str, dtype: str, ones: tuple[str, ...]) -> None:
    kernel = getattr(kernels, name)
    sizes = (
        {"cells": 1024, "block": 1024, "blocks": 16}
        if name == "_count_rows"
        else {"rows": 32, "columns": 32, "blocks": 16}
    )
    fixed: dict[str, Any] = sizes | dict.fromkeys(ones, 1)
    known = POINTERS | FLOATS | {"values": f"*{dtype}"}
    signature = {each: "constexpr" if each in fixed else known.get(each, "i32") for each in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
    made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"enable_fp_fusion": False})
    assert made.asm["cubin"]
    assert made.metadata.shared <= 48 * 1024
    assert "fma.rn.f64" not in made.asm["ptx"].split("div.rn.f64")[0]  # each step rounds by itself, as in torch
