"""A distance, a kind of file and a preset of your own: each is a record, and is then wherever its like are named.

    python plugin.py

In a package of yours, the part up to `main` is a module that its entry point in `torchmetrics_dna` names.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from torchmetrics_dna import compare
from torchmetrics_dna.dna.distances import DISTANCES, Distance
from torchmetrics_dna.extractors.build import build_network
from torchmetrics_dna.extractors.presets import PRESETS, Preset
from torchmetrics_dna.extractors.probing import probe
from torchmetrics_dna.images.kinds import KINDS, FileKind
from torchmetrics_dna.images.sets import ImageSource

if TYPE_CHECKING:
    from torchmetrics_dna.dna import GaussianDNA
    from torchmetrics_dna.images.reading import Reading


def hellinger(a: GaussianDNA, b: GaussianDNA) -> torch.Tensor:
    """One value per neuron."""
    total = a.var + b.var
    overlap = (2 * (a.var * b.var).sqrt() / total).sqrt() * torch.exp(-(a.mean - b.mean).square() / (4 * total))
    return (1 - overlap).clamp(min=0).sqrt()


def open_digits(files: list[Path], label: str, _reading: Reading) -> ImageSource:
    """The images of one file, of 16 x 16 bytes after a head of 16."""
    digits = np.fromfile(files[0], np.uint8, offset=16).reshape(-1, 16, 16, 1)
    return ImageSource([f"{label}[{i}]" for i in range(len(digits))], digits.__getitem__, label)


DISTANCES.register(
    Distance(
        name="dna-hellinger",
        key="dna_hellinger",
        unit="",
        sentence="Hellinger distance between the Gaussians of each neuron",
        granularity="neuron",
        kinds=("gaussian", "layer-gaussian"),  # the first is measured; the others contain it
        least=2,
        between=hellinger,  # or Lazy("my_package.distances:hellinger"), which is imported when it is called
    )
)
KINDS.register(FileKind(".idx3-ubyte", (".idx3-ubyte",), open_digits))
PRESETS.register(
    Preset(
        "resnet18_a1",
        "timm:resnet18",
        submodules={f"stage_{i}": f"layer{i}" for i in range(1, 5)},
        neurons={f"stage_{i}": 32 * 2**i for i in range(1, 5)},
        weights="hub:timm/resnet18.a1_in1k/model.safetensors",
        licence="Apache-2.0",
        unused=("fc.",),  # in the file, but after the last layer
    )
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.idx3-ubyte" for name in "ab"]
        for seed, path in enumerate(paths):
            digits = np.random.default_rng(seed).integers(0, 256, (4, 16, 16), np.uint8)
            path.write_bytes(bytes(16) + digits.tobytes())
        print(compare(*paths, layers=["block_0"], metrics=["dna-hellinger"])["dna-hellinger"].value)

    preset = PRESETS["resnet18_a1"]
    shapes = probe(build_network(preset), preset.submodules, preset.input_size).shapes
    print({layer: shape[1] for layer, shape in shapes.items()} == preset.neurons)


if __name__ == "__main__":
    main()
