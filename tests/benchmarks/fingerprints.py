"""How far rounding moves fingerprints, and how far changes do: what their tolerances stand on, and what they cost.

    python tests/benchmarks/fingerprints.py [--networks resnet18 vit_tiny_patch16_224 ...]

Each network is a module of timm with random weights, run as its user has it. Every way to run it is a process of its
own, so that another instruction set stands for another machine. "Apart" is the largest difference of any layer relative
to its size, as fingerprints are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

import timm
import torch
from torch import nn

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.extractors.fingerprint import furthest_layer

NETWORKS = [
    "resnet18",
    "resnet50",
    "densenet121",
    "mobilenetv3_small_100",
    "regnety_002",
    "convnext_atto",
    "efficientnet_b0",
    "inception_v3",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "levit_128s",
    "mixer_s32_224",
    "ghostnet_100",
]
PLAIN: dict[str, str] = {"OMP_NUM_THREADS": "1"}
WAYS: dict[str, tuple[dict[str, str], str]] = {
    "again": ({}, ""),
    "two threads": ({"OMP_NUM_THREADS": "2"}, ""),
    "channels last": ({}, "channels last"),
    "after batches of 64": ({}, "after batches"),
    "oneDNN for SSE4.1": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, ""),
    "oneDNN for AVX2": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, ""),
    "torch without AVX": ({"ATEN_CPU_CAPABILITY": "default"}, ""),
    "without oneDNN": ({}, "without onednn"),
    "MKL for SSE4.2": ({"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}, ""),
}
CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "eps of norms x 10": lambda network: [
        setattr(module, "eps", 10 * module.eps) for module in network.modules() if hasattr(module, "eps")
    ],
    "one weight in a hundred thousand, by 10 %": lambda network: [
        weight.data.view(-1)[::100_000].mul_(1.1) for weight in network.parameters()
    ],
    "last block scaled by 1.001": lambda network: [*network.children()][-2].register_forward_hook(
        lambda module, args, output: output * 1.001 if isinstance(output, torch.Tensor) else output
    ),
}


def fingerprint(name: str, way: str, dtype: str, change: str) -> tuple[object, float]:
    """The fingerprint, and its time relative to a pass of one input by itself."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=100).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    if way == "channels last":
        network.to(memory_format=torch.channels_last)
    if dtype != "float32":
        network.to(getattr(torch, dtype))
    if change:
        CHANGES[change](network)
    size = network.default_cfg["input_size"][1:]  # type: ignore[index]
    paths = [path for path, module in network.named_children() if list(module.parameters())]
    extractor = DNAExtractor(network, layers=paths, input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3)
    if way == "after batches":
        extractor(torch.randint(0, 256, (64, 3, *size), dtype=torch.uint8))
    form = extractor.input_form(images := torch.zeros(1, 3, *size, dtype=torch.uint8))
    with torch.backends.mkldnn.flags(enabled=way != "without onednn"):
        taken = extractor.take_fingerprint(form)
        seconds = [0.0, 0.0]
        for _ in range(3):
            for i, call in enumerate((lambda: extractor.take_fingerprint(form), lambda: extractor(images))):
                start = perf_counter()
                call()
                seconds[i] += perf_counter() - start
    return taken, seconds[0] / seconds[1]


def in_a_process(*arguments: str, **environment: str) -> tuple[dict[str, object], float]:
    command = [sys.executable, __file__, "--child", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | PLAIN | environment)
    return json.loads(run.stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description="rounding and changes of fingerprints")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(fingerprint(*arguments.child)))
        return
    runs = {label: (way, "", environment) for label, (environment, way) in WAYS.items()}
    runs |= {f"changed: {change}": ("", change, {}) for change in CHANGES}
    for dtype in arguments.dtypes:
        apart: dict[str, list[float]] = {}
        for name in arguments.networks:
            plain, cost = in_a_process(name, "", dtype, "")
            apart.setdefault("time, in passes of one input", []).append(cost)
            for label, (way, change, environment) in runs.items():
                other, _ = in_a_process(name, way, dtype, change, **environment)
                furthest = furthest_layer(plain | {"tolerance": -1}, other | {"tolerance": -1})
                apart.setdefault(label, []).append(furthest[1] if furthest else 0.0)
            of_network = ", ".join(f"{label} {values[-1]:.2g}" for label, values in apart.items())
            print(f"{name}, {dtype}: {of_network}", flush=True)
        print(f"{dtype}, {len(arguments.networks)} networks: least, median, most")
        for label, values in apart.items():
            ordered = sorted(values)
            print(f"  {label:45}{ordered[0]:10.2g}{ordered[len(ordered) // 2]:10.2g}{ordered[-1]:10.2g}", flush=True)


if __name__ == "__main__":
    main()
