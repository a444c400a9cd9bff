"""Compile Triton's kernel for GPUs, with or without one, and count what an activation costs in machine instructions.

    python tests/helpers/compile_kernels.py [CAPABILITY ...]

One line for each GPU, type and layout: bytes of shared memory, registers and bytes of local memory of a thread,
instructions an activation in tiles that need no float64, and how many of these tiles' instructions are of float64.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from torchmetrics_dna.binning import cuda

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
POINTERS = {"counts": "*i64", "centre": "*fp64", "scale": "*fp64", "first": "*fp64"}
FLOATS = {"offset": "fp32", "factor": "fp32"}  # as Triton takes Python's floats
MAPS: dict[str, Any] = {"columns": 1, "tile_images": 32, "tile_positions": 128, "position_stride": 1}
TOKENS: dict[str, Any] = {"columns": 8, "tile_images": 1, "tile_positions": 512, "neuron_stride": 1}
LAYOUTS = {
    "maps": MAPS | {"is_grid": False},
    "maps-auto": MAPS | {"is_grid": True},
    "tokens": TOKENS | {"is_grid": False},
    "tokens-global": TOKENS | {"is_grid": False, "cells": 0, "columns": 32, "tile_positions": 128},
}
if cuda._BY_VOTES:
    del LAYOUTS["tokens"]  # so many cells are not counted in shared memory
# As in networks.
ALIGNED = {"values", "counts", "image_stride", "neuron_stride", "position_stride", "positions", "neurons"}
THREADS, FLOAT64 = 32 * cuda._WARPS, re.compile(r"\b(DADD|DMUL|DFMA|DSETP|MUFU\.RCP64H)\b|\.F64\b")


class Instruction(NamedTuple):
    """An instruction, and the index of the one to which it may jump."""

    text: str
    target: int | None


def compiled(layout: str, dtype: str, capability: int) -> Any:
    """Compile the kernel for 1,000 bins; Triton specializes on integers that are 1 or multiples of 16."""
    fixed = {"cells": 1024, "row_count": 1} | LAYOUTS[layout]
    types = POINTERS | FLOATS | {"values": f"*{dtype}"}
    names = cuda._count.arg_names
    signature = {name: "constexpr" if name in fixed else types.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in ALIGNED - fixed.keys()}
    options = {"enable_fp_fusion": False, "num_warps": cuda._WARPS, "maxnreg": cuda._REGISTERS}
    source = ASTSource(fn=cuda._count, signature=signature, constexprs=fixed, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def instructions(path: Path) -> list[Instruction]:
    """Disassemble machine code."""
    listing = subprocess.run([TOOLS / "nvdisasm", "-c", path], capture_output=True, text=True, check=True).stdout
    texts: list[str] = []
    places: dict[str, int] = {}
    for line in listing.splitlines():
        if label := re.match(r"\s*(\.L\w+):", line):
            places[label[1]] = len(texts)
        elif instruction := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            texts.append(instruction[1])
    targets = [re.search(r"\bBRA\b.*`\((\.L\w+)\)", text) for text in texts]
    return [
        Instruction(text, None if target is None else places.get(target[1]))
        for text, target in zip(texts, targets, strict=True)
    ]


def usual_path(code: Sequence[Instruction]) -> list[str]:
    """Return the instructions of the loop over tiles, without what it jumps over if no activation is near an edge."""
    jumps = [(i, instruction.target) for i, instruction in enumerate(code) if instruction.target is not None]
    begin, end = max(((target, i) for i, target in jumps if target <= i), key=lambda loop: loop[1] - loop[0])
    skipped = max(
        (range(i + 1, target) for i, target in jumps if begin <= i < target <= end and code[i].text.startswith("@")),
        key=len,
    )
    return [code[i].text for i in range(begin, end + 1) if i not in skipped]


def lines(capabilities: Sequence[int]) -> Iterator[str]:
    for capability in capabilities:
        for dtype in ("fp32", "fp16", "bf16")[: 2 if capability < 80 else 3]:
            for layout, sizes in LAYOUTS.items():
                kernel = compiled(layout, dtype, capability)
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder, "kernel.cubin")
                    path.write_bytes(kernel.asm["cubin"])
                    usage = [TOOLS / "cuobjdump", "-res-usage", path]
                    text = subprocess.run(usage, capture_output=True, text=True, check=True).stdout
                    usual = usual_path(instructions(path))
                registers, local = re.search(r"REG:(\d+) STACK:(\d+)", text).groups()  # type: ignore[union-attr]
                of_thread = sizes["tile_images"] * sizes["tile_positions"] * sizes["columns"] / THREADS
                slow = sum(bool(FLOAT64.search(instruction)) for instruction in usual)
                each = f"{len(usual) / of_thread:.1f}"
                yield f"{capability} {dtype} {layout} {kernel.metadata.shared} {registers} {local} {each} {slow}"


def main() -> None:
    for line in lines(list(map(int, sys.argv[1:])) or [75, 80, 86, 89, 90]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
