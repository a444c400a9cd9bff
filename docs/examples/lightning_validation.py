"""dna-emd in the validation loop of a LightningModule, over several processes, with a checkpoint and a resumed run.

It is measured twice: by metrics in the module, and by a callback, which also keeps a curve of all epochs.

python lightning_validation.py --devices 2
"""

import argparse
import tempfile
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.loops.lightning import DNACallback

LAYERS = ["block_0", "block_1", "block_2"]


class Autoencoder(lightning.LightningModule):
    """Autoencoder of photographs; its validation measures how well it reproduces them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Sigmoid()
        )
        extractor = DNAExtractor("efficientnet_lite0", layers=LAYERS, properties=True)
        # Both metrics share one network, and each runs it. Checkpoints contain neither the network nor the counts.
        self.dna_emd = DNAEMD(extractor, normalize=True)
        self.dna_frechet = DNAFrechet(extractor, normalize=True)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.mse_loss(self.network(batch[0]), batch[0])

    def validation_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        images = self.network(batch[0])
        for metric in (self.dna_emd, self.dna_frechet):
            metric.update(batch[0], real=True)
            metric.update(images, real=False)
        # Log the metrics, not their values. At the end of the epoch, Lightning computes them over all processes, and
        # resets them.
        self.log("dna_emd", self.dna_emd, on_epoch=True)
        self.log("dna_frechet", self.dna_frechet, on_epoch=True)
        # The callback scores these images.
        return {"images": images}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def trainer(devices: int, epochs: int, folder: str, photos: Tensor) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=epochs,
        default_root_dir=folder,
        callbacks=[DNACallback(photos, "images", f"{folder}/dna", layers=LAYERS)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="dna-emd in Lightning")
    parser.add_argument("--devices", type=int, default=1)
    devices = parser.parse_args().devices
    lightning.seed_everything(0, verbose=False)
    photos = torch.from_numpy(np.stack([photo[::2, ::2] for photo in photographs(12)])).permute(0, 3, 1, 2) / 255
    data = DataLoader(TensorDataset(photos), batch_size=2)
    with tempfile.TemporaryDirectory() as folder:
        first = trainer(devices, 2, folder, photos)
        first.fit(Autoencoder(), data, data)
        saved = first.checkpoint_callback.best_model_path
        keys = set(torch.load(saved, weights_only=True)["state_dict"])
        assert all(key.startswith("network.") for key in keys), keys

        module = Autoencoder()
        resumed = trainer(devices, 3, folder, photos)
        resumed.fit(module, data, data, ckpt_path=saved)
        figures = resumed.callback_metrics
        if resumed.is_global_zero:
            print(f"dna-emd {float(figures['dna_emd']):.6f}")
            print(f"dna-fd {float(figures['dna_frechet']):.6f}")
            print(f"dna-callback {float(figures['dna/dna_emd']):.6f}")
            print(Path(folder, "dna", "checkpoints.csv").read_text(encoding="utf-8"))
            # Compute the same value on one process.
            with torch.no_grad():
                alone = DNAEMD(module.dna_emd.extractor, normalize=True, sync_on_compute=False)
                module.eval()
                # Use the same batch size, because it changes the last digits of the outputs of the autoencoder.
                for (batch,) in data:
                    alone.update(batch, real=True)
                    alone.update(module.network(batch), real=False)
                print(f"alone {float(alone.compute()):.6f}")
        resumed.strategy.barrier()


if __name__ == "__main__":
    main()
