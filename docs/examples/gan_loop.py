"""Train a small GAN on scikit-learn's digits and watch dna-emd, dna-fd, FID and KID, all from one forward pass.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python gan_loop.py -o gan_loop.png

It takes a few minutes on two cores, offline. FID and KID use the spatial means of one layer of the same network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import torch
from rich.progress import track
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet

mpl.use("Agg")
import matplotlib.pyplot as plt

NOISE = 24
TITLES = {
    "dna-emd": "dna-emd (bins)",
    "dna-fd": "dna-fd (squared activations)",
    "fid": "FID of block_6 (squared activations)",
    "kid": "KID of block_6",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito


def networks() -> tuple[nn.Module, nn.Module]:
    """A generator of 8 x 8 pictures in [0, 1], and a discriminator."""
    generator = nn.Sequential(
        nn.Linear(NOISE, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 256), nn.BatchNorm1d(256), nn.ReLU(),
        nn.Linear(256, 64), nn.Sigmoid(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Linear(64, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(128, 1),
    )  # fmt: skip
    return generator, discriminator


def train(generator: nn.Module, discriminator: nn.Module, digits: Tensor, steps: int, optimizers: list) -> None:
    """Train generator and discriminator against each other for some steps."""
    generator.train()
    loss = nn.functional.binary_cross_entropy_with_logits
    for_generator, for_discriminator = optimizers
    for _ in range(steps):
        real = digits[torch.randint(len(digits), (64,))]
        fake = generator(torch.randn(64, NOISE))
        told_real, told_fake = discriminator(real), discriminator(fake.detach())
        error = loss(told_real, torch.full_like(told_real, 0.9)) + loss(told_fake, torch.zeros_like(told_fake))
        for_discriminator.zero_grad()
        error.backward()
        for_discriminator.step()
        logits = discriminator(fake)
        error = loss(logits, torch.ones_like(logits))
        for_generator.zero_grad()
        error.backward()
        for_generator.step()


def as_images(digits: Tensor) -> Tensor:
    """Grey (B, 64) in [0, 1] to RGB (B, 3, 32, 32)."""
    small = digits.view(-1, 1, 8, 8)
    return nn.functional.interpolate(small, (32, 32), mode="bicubic").clamp(0, 1).repeat(1, 3, 1, 1)


def add(metrics: MetricCollection, images: Tensor, real: bool) -> None:
    """Update all metrics with images in batches: one forward pass of the network per batch."""
    for batch in images.split(32):
        metrics.update(batch, real=real)


def plot(steps: list[int], curves: dict[str, list[float]], floors: dict[str, float], samples: list[Tensor]) -> None:
    """Plot four curves over training, and what the generator drew at some of the steps."""
    figure = plt.figure(figsize=(10, 7), dpi=120, layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2.1, 1))
    for axes, (name, values), colour in zip(
        upper.subplots(2, 2, sharex=True).flat, curves.items(), COLOURS, strict=True
    ):
        axes.plot(steps, values, marker="o", color=colour, label="generated against real")
        axes.axhline(floors[name], color="0.4", linestyle="--", label="real against other real")
        axes.set_title(TITLES[name], loc="left", fontsize=11)
        axes.set_xscale("symlog", linthresh=100)
        axes.set_ylim(bottom=min(0, *values))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(steps, [str(step) if i % 2 == 0 else "" for i, step in enumerate(steps)])
        axes.minorticks_off()
    for axes in upper.axes[2:]:
        axes.set_xlabel("generator steps")
    upper.axes[0].legend(frameon=False)
    shown = range(0, len(steps), 2)
    for axes, i in zip(lower.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        framed = nn.functional.pad(samples[i].view(4, 4, 8, 8), (1, 1, 1, 1), value=0.35)
        picture = framed.transpose(1, 2).reshape(40, 40)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"step {steps[i]}", fontsize=10)
        axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description="A GAN's training seen by four metrics")
    parser.add_argument("-o", "--output", type=Path, default=Path("gan_loop.png"))
    parser.add_argument("--num-images", type=int, default=256, help="images on each side of every comparison")
    parser.add_argument("--steps", type=int, default=12_800, help="steps of training, at least 100")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    digits = torch.from_numpy(load_digits().data).float() / 16
    digits = digits[torch.randperm(len(digits))]
    real, other = digits[: arguments.num_images], digits[-arguments.num_images :]

    extractor = DNAExtractor("efficientnet_lite0")
    half = arguments.num_images // 2
    metrics = MetricCollection(
        {
            "dna-emd": DNAEMD(extractor, reset_real_features=False, normalize=True),
            "dna-fd": DNAFrechet(extractor, reset_real_features=False, normalize=True),
            "fid": FrechetInceptionDistance(extractor.pooled("block_6"), reset_real_features=False, normalize=True),
            "kid": KernelInceptionDistance(
                extractor.pooled("block_6"), subsets=20, subset_size=half, reset_real_features=False, normalize=True
            ),
        }
    )

    def measure(images: Tensor) -> dict[str, float]:
        add(metrics, as_images(images), real=False)
        values = metrics.compute()
        metrics.reset()  # keeps the real side
        return {name: float(values[name][0] if name == "kid" else values[name]) for name in TITLES}

    add(metrics, as_images(real), real=True)
    floors = measure(other)
    generator, discriminator = networks()
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    steps = [0, *(100 * 2**i for i in range(20) if 100 * 2**i <= arguments.steps)]
    curves: dict[str, list[float]] = {name: [] for name in TITLES}
    samples, done, noise = [], 0, torch.randn(arguments.num_images, NOISE)
    for step in track(steps, "Training"):
        train(generator, discriminator, digits, step - done, optimizers)
        done = step
        with torch.no_grad():
            fake = generator.eval()(noise)
        for name, value in measure(fake).items():
            curves[name].append(value)
        samples.append(fake[:16])
    plot(steps, curves, floors, samples)
    plt.savefig(arguments.output)
    for name, values in curves.items():
        print(f"{name:8} from {values[0]:8.3f} to {values[-1]:8.3f}; real against other real {floors[name]:8.3f}")
    print(f"The figure is in {arguments.output}")


if __name__ == "__main__":
    main()
