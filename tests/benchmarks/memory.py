"""Memory of ``torchmetrics-dna make`` with a large network: ``python tests/benchmarks/memory.py``.

Weights are random, of the official form; a second process writes the DNA, and its peak is shown beside the network's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.extractors.architectures import build_network
from torchmetrics_dna.neurons import Neurons

NAME, IMAGES = "mugs_vit_large", 64
MAKE = """
import resource, sys
from torchmetrics_dna.__main__ import main
sys.argv[0] = "torchmetrics-dna"
try:
    main()
except SystemExit as end:
    assert not end.code
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    preset = PRESETS[NAME]
    state = {
        name: 0.02 * torch.randn(t.shape) + (t.ndim == 1) for name, t in build_network(preset).state_dict().items()
    }
    network = sum(4 * tensor.numel() for tensor in state.values())
    neurons = Neurons(preset.neurons)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        torch.save({"state_dict": state}, home / "weights.pth")
        del state
        ActivationRanges(torch.full((neurons.total,), -40.0), torch.full((neurons.total,), 40.0), neurons).save(
            home / "ranges.json"
        )
        (home / "images").mkdir()
        for i, photograph in enumerate(photographs(IMAGES)):
            Image.fromarray(photograph).save(home / "images" / f"{i:03}.png")
        print(f"{NAME}, {IMAGES} images, {neurons.total} neurons, 1000 bins; network {network / 1e6:.0f} MB")
        for ranges in (["--ranges", str(home / "ranges.json")], ["--ranges", "auto"]):
            arguments = ["make", home / "images", "-o", home / "x.dna.npz", "--feature", NAME]
            arguments += ["--weights-path", home / "weights.pth", *ranges]
            command = [sys.executable, "-c", MAKE, *map(str, arguments)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peak = int(re.search(r"peak (\d+)", output)[1])
            print(
                f"{Path(ranges[1]).name}: peak {peak / 1e6:.0f} MB, above the network {(peak - network) / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
