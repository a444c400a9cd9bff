"""Compile Triton's kernels for a GPU, with or without one: for each, its name, shared memory and machine code in bytes.

python tests/helpers/compile_kernels.py
"""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from torchmetrics_dna.binning import cuda

POINTERS = {"counts": "*i64", "accepted": "*i64", "centre": "*fp64", "scale": "*fp64", "first": "*fp64"}
FLOATS = {"offset": "fp32", "factor": "fp32"}  # as Triton takes Python's floats
SIZES = {
    "_count_rows": {"cells": 1024, "block": 1024, "blocks": 16},
    "_count_columns": {"rows": 32, "columns": 32, "blocks": 16},
}
ONES = ("num_bins", "neurons", "total", "per_image", "positions", "neuron_stride", "stride")


def compiled(name: str, dtype: str, ones: tuple[str, ...], capability: int) -> Any:
    """Compile a kernel for activations of this dtype; Triton specializes on integers that are 1, as constants."""
    kernel = getattr(cuda, name)
    fixed: dict[str, Any] = SIZES[name] | dict.fromkeys(ones, 1)
    types = POINTERS | FLOATS | {"values": f"*{dtype}"}
    signature = {
        argument: "constexpr" if argument in fixed else types.get(argument, "i32") for argument in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": False})


def main() -> None:
    for name in SIZES:
        for dtype, ones, capability in (("fp32", (), 80), ("bf16", ONES, 90)):
            kernel = compiled(name, dtype, ones, capability)
            print(name, dtype, kernel.metadata.shared, len(kernel.asm["cubin"]), kernel.asm["ptx"].count("div.rn.f64"))


if __name__ == "__main__":
    main()
