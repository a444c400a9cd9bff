"""dna-emd in a plain PyTorch evaluation over several processes.

torchrun --standalone --nproc-per-node 2 ddp_pytorch.py
"""

import os

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Subset, TensorDataset

from torchmetrics_dna import DNAEMD, DNAExtractor
from torchmetrics_dna.demo import noise, photographs


def pairs(count: int = 12) -> TensorDataset:
    """Return photographs, and noisy copies in place of generated images; uint8."""
    photos = photographs(count)
    sides = photos, [noise(photo, 2) for photo in photos]
    return TensorDataset(*(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) for images in sides))


def main() -> None:
    several = "RANK" in os.environ
    if several:
        # On GPUs, use nccl and a device for each process.
        distributed.init_process_group("gloo")
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)

    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "block_1", "block_2"], properties=True)
    metric = DNAEMD(extractor)
    data = pairs()
    # Each image belongs to one process. A DistributedSampler would repeat some images to make the parts equal.
    for real, fake in DataLoader(Subset(data, range(rank, len(data), world)), batch_size=4):
        metric.update(real, real=True)
        metric.update(fake, real=False)
    # Every process calls `compute`, because it synchronizes them.
    value = float(metric.compute())
    if rank == 0:
        print(f"dna-emd {value!r}")
    if several:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
