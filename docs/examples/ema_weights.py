"""Score a diffusion model and its copy with averaged (EMA) weights during training.

python ema_weights.py
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchmetrics_dna import DNAEMD
from torchmetrics_dna.demo import photographs


class Diffusion(nn.Module):
    """A toy diffusion model that holds its metric: it predicts a photograph from its mixture with noise."""

    def __init__(self, real: Tensor) -> None:
        super().__init__()
        self.denoiser = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.dna_emd = DNAEMD(layers=["block_0"], normalize=True, reset_real_features=False)
        self.dna_emd.update(real, real=True)

    def loss(self, photos: Tensor) -> Tensor:
        share = torch.rand(len(photos), 1, 1, 1)
        mixture = torch.lerp(torch.rand_like(photos), photos, share)
        return nn.functional.mse_loss(self.denoiser(mixture), photos)

    @torch.no_grad()
    def sample(self, noise: Tensor, steps: int = 4) -> Tensor:
        images = noise
        for step in range(steps):
            images = torch.lerp(images, self.denoiser(images), 1 / (steps - step))
        return images.clamp(0, 1)


def train(model: Diffusion, photos: Tensor, noise: Tensor, steps: int = 20) -> dict[str, float]:
    # AveragedModel makes a deep copy of the model. The copy has a metric of its own, with the same real images.
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(photos).backward()
        optimizer.step()
        ema.update_parameters(model)
    distances = {}
    for name, network in (("weights", model), ("averaged weights", ema.module)):
        # The same noise for both, so that only the weights differ.
        network.dna_emd.update(network.sample(noise), real=False)
        distances[name] = float(network.dna_emd.compute())
        network.dna_emd.reset()
    return distances


def main() -> None:
    torch.manual_seed(0)
    photos = torch.from_numpy(np.stack([photo[::4, ::4] for photo in photographs(16)])).movedim(3, 1) / 255
    distances = train(Diffusion(photos), photos, torch.rand_like(photos))
    for name, distance in distances.items():
        print(f"{name}: dna-emd {distance!r}")


if __name__ == "__main__":
    main()
