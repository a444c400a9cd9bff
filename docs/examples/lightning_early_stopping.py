"""Train in Lightning over two processes, score each epoch, stop when training no longer improves, and resume.

python lightning_early_stopping.py --devices 2
"""

import argparse
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from torchmetrics_dna.demo import photographs
from torchmetrics_dna.loops.lightning import DNACallback


class Generator(lightning.LightningModule):
    """A toy generator: it darkens photographs, and learns to darken them less."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.1))

    def forward(self, photos: Tensor) -> Tensor:
        return (self.gain * photos).clamp(0, 1)

    def training_step(self, photos: Tensor) -> Tensor:
        return (self(photos) - photos).abs().mean()

    def validation_step(self, photos: Tensor) -> dict[str, Tensor]:
        # The callback scores these images.
        return {"images": self(photos)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.15)


def train(real: Tensor, inputs: Tensor, folder: Path, devices: int, epochs: int) -> lightning.Trainer:
    dna = DNACallback(real, "images", folder / "dna", layers=["block_0"])
    best = ModelCheckpoint(folder / "best", monitor="dna/dna_emd_debiased")
    # A ModelCheckpoint with `monitor` saves an epoch only if it is one of the best, also with `save_last=True`.
    last = ModelCheckpoint(folder / "last", save_last=True)
    stop = EarlyStopping("dna/last_improvement", mode="max", patience=3)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp",
        max_epochs=epochs,
        default_root_dir=folder,
        callbacks=[dna, best, last, stop],
    )
    data = DataLoader(inputs, batch_size=4)
    # The first run starts anew. A later run with the same folder resumes from the last checkpoint.
    trainer.fit(Generator(), data, data, ckpt_path="last")
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description="Early stopping in Lightning")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path("run"))
    arguments = parser.parse_args()
    photos = torch.from_numpy(np.stack([photo[::2, ::2] for photo in photographs(48)])).movedim(3, 1) / 255
    trainer = train(photos[:24], photos[24:], arguments.folder, arguments.devices, arguments.epochs)
    if trainer.is_global_zero:
        print(f"epochs {trainer.current_epoch}")


if __name__ == "__main__":
    main()
