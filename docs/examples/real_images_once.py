"""Add the real images once, and compare the images of each epoch with them.

torchrun --standalone --nproc-per-node 2 real_images_once.py
"""

import os

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader

from torchmetrics_dna import DNAEMD
from torchmetrics_dna.demo import photographs


def score_epochs(real: Tensor, inputs: Tensor, gains: list[float], rank: int, world: int) -> list[float]:
    metric = DNAEMD(layers=["block_0"], reset_real_features=False)
    # Each process adds its own part of the real images, before the first epoch.
    for batch in DataLoader(real[rank::world], batch_size=4):
        metric.update(batch, real=True)
    distances = []
    for gain in gains:
        for batch in DataLoader(inputs[rank::world], batch_size=4):
            metric.update((gain * batch).byte(), real=False)
        # All processes compute and reset. `reset` keeps the real images.
        distances.append(float(metric.compute()))
        metric.reset()
    return distances


def main() -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        distributed.init_process_group("gloo")
    photos = torch.from_numpy(np.stack(photographs(24))).movedim(3, 1)
    distances = score_epochs(photos[:12], photos[12:], [0.3, 0.6, 0.9], rank, world)
    if rank == 0:
        for epoch, distance in enumerate(distances):
            print(f"epoch {epoch}: dna-emd {distance!r}")
    if world > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
