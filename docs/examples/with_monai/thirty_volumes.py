"""MONAI: do the volumes of another scanner look different to your network, and which are off, at 30 a side?

    pip install -r requirements.txt
    python thirty_volumes.py [--draws 10] [--steps 150]

A SegResNet learns to segment what MONAI draws. Then 30 new volumes as it was trained on are compared with 30 others, as
they are or as a scanner spoils them, by that network and by one with random weights. The table says in which share of
draws a difference was found (by chance, 5 %), how large it is in the median, without noise, and how often a volume of
theirs gets a worse score by `rank` than one as before (by chance, 50 %).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from monai.data import DataLoader, Dataset, create_test_image_3d
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet
from monai.transforms import (
    AdjustContrastd,
    Compose,
    GaussianSmoothd,
    GibbsNoised,
    RandBiasFieldd,
    RandRicianNoised,
    Resized,
    ScaleIntensityd,
    Transform,
)
from monai.utils import set_determinism

from torchmetrics_dna import DNAExtractor, compare, rank

SIDE, VOLUMES, CLASSES = 32, 30, 3
LAYERS = [f"down_layers.{i}" for i in range(4)]  # of SegResNet; each has spatial axes (B, neurons, x, y, z)

# what another scanner may do to a volume (1, x, y, z) from 0 to 1
SPOILT = {
    "nothing": Compose([]),
    "contrast, gamma 1.2": AdjustContrastd("image", 1.2),
    "bias field": RandBiasFieldd("image", prob=1, coeff_range=(0, 0.05)).set_random_state(0),
    "Rician noise": RandRicianNoised("image", prob=1, std=0.05, sample_std=False).set_random_state(0),
    "Gibbs ringing": GibbsNoised("image", 0.5),
    "blur, 0.5 voxels": GaussianSmoothd("image", 0.5),
    "slices twice as thick": Compose([Resized("image", (SIDE, SIDE, SIDE // 2)), Resized("image", (SIDE, SIDE, SIDE))]),
}


def drawn(first: int, count: int = VOLUMES) -> list[dict[str, np.ndarray]]:
    """Volumes that MONAI draws, by number; yours may be dicts of file names, with `LoadImaged` below."""
    options = {"num_objs": 12, "rad_min": 2, "rad_max": 8, "noise_max": 0.3, "num_seg_classes": CLASSES}
    pairs = (
        create_test_image_3d(SIDE, SIDE, SIDE, **options, channel_dim=0, random_state=np.random.RandomState(number))
        for number in range(first, first + count)
    )
    return [{"image": image.astype(np.float32), "label": label} for image, label in pairs]


SCALED = ScaleIntensityd("image")


def volumes(first: int, spoil: Transform = SPOILT["nothing"]) -> list[dict[str, np.ndarray]]:
    """A side: 30 dicts with an image (1, x, y, z), which random transforms spoil once; a `Dataset` will do as well."""
    return [*Dataset(drawn(first), Compose([SCALED, spoil, SCALED]))]


def trained(steps: int) -> SegResNet:
    network = SegResNet(init_filters=8, in_channels=1, out_channels=CLASSES + 1)
    optimizer, loss = torch.optim.Adam(network.parameters(), 3e-3), DiceCELoss(to_onehot_y=True, softmax=True)
    data = Dataset(drawn(10**6, 64), SCALED)
    for step in range(steps):
        if step % 16 == 0:
            batches = iter(DataLoader(data, batch_size=4, shuffle=True))
        batch = next(batches)
        value = loss(network(batch["image"]), batch["label"])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    print(f"loss {value.item():.2f}")
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    set_determinism(0)
    networks = {"trained": trained(arguments.steps), "random": SegResNet(init_filters=8, in_channels=1, out_channels=4)}
    example = volumes(0)[0]["image"][None]
    extractors = {
        name: DNAExtractor(network, inputs="any", example=example, layers=LAYERS) for name, network in networks.items()
    }
    rows = {spoilt: {name: ([], [], []) for name in extractors} for spoilt in SPOILT}
    for draw in range(arguments.draws):
        numbers = iter(range(300 * draw, 300 * (draw + 1), VOLUMES))
        ours, new = volumes(next(numbers)), volumes(next(numbers))
        theirs = {name: volumes(next(numbers), spoil) for name, spoil in SPOILT.items()}
        for name, extractor in extractors.items():
            ranking = rank(sum(theirs.values(), new), ours, extractor)
            scores = ranking.scores[np.argsort(ranking.numbers)].reshape(-1, VOLUMES)
            for i, (spoilt, result) in enumerate(compare(ours, theirs, extractor).items(), 1):
                p_values, distances, worse = rows[spoilt][name]
                p_values.append(result.p_value)
                distances.append(result["dna-emd"].debiased)
                worse.append((scores[i] > scores[0][:, None]).double().mean())
    print(f"| their volumes have | {' | '.join(f'{name}: p ≤ 0.05 | bins | worse' for name in extractors)} |")
    print(f"|---|{'--:|--:|--:|' * len(extractors)}")
    for spoilt, by_network in rows.items():
        cells = (
            f"{np.mean(np.array(p_values) <= 0.05):.0%} | {np.median(distances):.1f} | {np.mean(worse):.0%}"
            for p_values, distances, worse in by_network.values()
        )
        print(f"| {spoilt} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
