"""Write the files beside it with version 0.3.0 of the package: ``python make.py``. Every later version reads them."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

import torchmetrics_dna
from torchmetrics_dna import DNAExtractor, NeuronWeights, compare, make_dna
from torchmetrics_dna.neurons import Neurons

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "helpers"))

from dnas import every_kind, in_folds, ranges  # noqa: E402

NAMES = ("histogram", "self_ranging", "gaussian", "layer_gaussian")


def network() -> nn.Module:
    """A small network whose weights depend on no random numbers."""
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(4 * 27).reshape(4, 3, 3, 3) % 7 - 3.0)
        layer.bias.zero_()
    return nn.Sequential(layer, nn.ReLU())


def main() -> None:
    """Write each kind of file, and the digests of what they hold."""
    assert torchmetrics_dna.__version__ == "0.3.0"
    digests = {}

    def save(name: str, value: object) -> None:
        value.save(HERE / name)
        digests[name] = value.digest

    for name, dna in zip(NAMES, every_kind(), strict=True):
        save(f"{name}.dna.npz", dna)
    for name, dna in zip(NAMES, in_folds(), strict=True):
        save(f"{name}_in_folds.dna.npz", dna)
    images = torch.arange(12 * 3 * 16 * 16).reshape(12, 3, 16, 16).mul(37).remainder(251).byte()
    extractor = DNAExtractor(network(), layers=["0", "1"], input_size=(16, 16))
    save("of_images.dna.npz", make_dna(images, extractor, ranges="auto", num_bins=16, num_folds=5))
    comparison = compare(images, images // 2, feature=extractor, metrics="dna-fd")
    comparison.save(HERE / "comparison.result.npz")
    neurons = Neurons({"conv": 2, "head": 2})
    save("neuron_weights.npz", NeuronWeights.of_neurons([3, 0], neurons, "tiny", name="edges"))
    save("ranges.json", ranges(neurons))
    (HERE / "digests.json").write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":  # pytest imports it, looking for doctests
    main()
