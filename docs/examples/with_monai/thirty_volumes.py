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
from operator import itemgetter

import numpy as np
import torch
from monai.data import DataLoader, Dataset, create_test_image_3d
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet
from monai.transforms import (
    AdjustContrast,
    Compose,
    GaussianSmooth,
    GibbsNoise,
    RandBiasField,
    RandRicianNoise,
    Resize,
    ScaleIntensity,
    ScaleIntensityd,
)
from monai.utils import set_determinism

from torchmetrics_dna import DNAExtractor, compare, rank

SIDE, VOLUMES, CLASSES = 32, 30, 3
LAYERS = [f"down_layers.{i}" for i in range(4)]  # of SegResNet; each has spatial axes (B, neurons, x, y, z)

# what another scanner may do to a volume (1, x, y, z) from 0 to 1
SPOILT = {
    "nothing": Compose([]),
    "contrast, gamma 1.2": AdjustContrast(1.2),
    "bias field": RandBiasField(prob=1, coeff_range=(0, 0.05)).set_random_state(0),
    "Rician noise": RandRicianNoise(prob=1, std=0.05, sample_std=False).set_random_state(0),
    "Gibbs ringing": GibbsNoise(0.5),
    "blur, 0.5 voxels": GaussianSmooth(0.5),
    "slices twice as thick": Compose([Resize((SIDE, SIDE, SIDE // 2)), Resize((SIDE, SIDE, SIDE))]),
}


def drawn(first: int, count: int = VOLUMES) -> list[dict[str, np.ndarray]]:
    """Volumes that MONAI draws, by number; yours may be dicts of file names, with `LoadImaged` below."""
    options = {"num_objs": 12, "rad_min": 2, "rad_max": 8, "noise_max": 0.3, "num_seg_classes": CLASSES}
    pairs = (
        create_test_image_3d(SIDE, SIDE, SIDE, **options, channel_dim=0, random_state=np.random.RandomState(number))
        for number in range(first, first + count)
    )
    return [{"image": image.astype(np.float32), "label": label} for image, label in pairs]


PREPARED = ScaleIntensityd("image")


def volumes(items: list[dict[str, np.ndarray]], spoil: Compose) -> Dataset:
    """A side: a data set of tensors (1, x, y, z), so the last transform takes the image out of the dict."""
    return Dataset(items, Compose([PREPARED, itemgetter("image"), spoil, ScaleIntensity()]))


def trained(steps: int) -> SegResNet:
    network = SegResNet(init_filters=8, in_channels=1, out_channels=CLASSES + 1)
    optimizer, loss = torch.optim.Adam(network.parameters(), 3e-3), DiceCELoss(to_onehot_y=True, softmax=True)
    data = Dataset(drawn(10**6, 64), PREPARED)
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
    example = torch.stack([*volumes(drawn(0, 2), SPOILT["nothing"])])
    extractors = {
        name: DNAExtractor(network, inputs="any", example=example, layers=LAYERS) for name, network in networks.items()
    }
    rows = {spoilt: {name: ([], [], []) for name in extractors} for spoilt in SPOILT}
    for draw in range(arguments.draws):
        ours, new, *rest = (drawn(VOLUMES * (10 * draw + number)) for number in range(2 + len(SPOILT)))
        theirs = {
            spoilt: torch.stack([*volumes(items, transform)])
            for items, (spoilt, transform) in zip(rest, SPOILT.items(), strict=True)
        }
        ours, new = (torch.stack([*volumes(items, SPOILT["nothing"])]) for items in (ours, new))
        for name, extractor in extractors.items():
            ranking = rank(torch.cat([new, *theirs.values()]), ours, extractor)
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
