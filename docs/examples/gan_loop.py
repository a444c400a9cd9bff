"""Train a small GAN on scikit-learn's digits; watch dna-emd by layer, dna-fd, FID and KID, all from one forward pass.

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
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, SharedCollection

mpl.use("Agg")
import matplotlib.pyplot as plt

NOISE = 24
NAMES = {"dna-emd": "dna-emd", "dna-fd": "dna-fd", "fid": "FID of block_6", "kid": "KID of block_6"}
COLOURS = {"dna-emd": "#0072B2", "dna-fd": "#D55E00", "fid": "#009E73"}  # Okabe and Ito


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


def add(metrics: SharedCollection, images: Tensor, real: bool) -> None:
    """Update all metrics with images in batches: one forward pass of the network per batch."""
    for batch in images.split(32):
        metrics.update(batch, real=real)


def plot(
    steps: list[int], curves: dict[str, list[float]], layers: dict[str, list[float]], samples: list[Tensor]
) -> None:
    """Plot metrics and layers over training, as multiples of held-out digits, and what the generator drew."""
    figure = plt.figure(figsize=(10, 5.6), dpi=120, layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.9, 1))
    of_layers, of_metrics = upper.subplots(1, 2, sharex=True, width_ratios=(1.6, 1))
    places = range(len(steps))
    for k, (layer, values) in enumerate(layers.items()):
        colour = mpl.colormaps["viridis"](0.88 * k / max(1, len(layers) - 1))
        of_layers.plot(places, values, marker="o", markersize=4, color=colour, label=layer)
    of_layers.set_title("dna-emd of each layer", loc="left", fontsize=11)
    for name, colour in COLOURS.items():
        of_metrics.plot(places, curves[name], marker="o", markersize=4, color=colour, label=NAMES[name])
    of_metrics.set_title("over all layers, and FID of one", loc="left", fontsize=11)
    for axes in (of_layers, of_metrics):
        axes.axhline(1, color="0.4", linestyle="--", label="held-out digits")
        axes.set(xlabel="generator steps", ylabel="times as far as held-out digits", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xticks(places, [str(step) if i % 2 == 0 else "" for i, step in enumerate(steps)])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
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
    metrics = SharedCollection(
        {
            "dna-emd": DNAEMD(extractor, reset_real_features=False, normalize=True),
            "layers": DNAEMD(extractor, reset_real_features=False, normalize=True, reduction="layer"),
            "dna-fd": DNAFrechet(extractor, reset_real_features=False, normalize=True),
            "fid": FrechetInceptionDistance(extractor.pooled("block_6"), reset_real_features=False, normalize=True),
            "kid": KernelInceptionDistance(
                extractor.pooled("block_6"), subsets=20, subset_size=half, reset_real_features=False, normalize=True
            ),
        }
    )

    def measure(images: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """Distances of images to the real ones, over all layers and of each layer."""
        add(metrics, as_images(images), real=False)
        values = metrics.compute()
        metrics.reset()  # keeps the real side
        whole = {name: float(values[name][0] if name == "kid" else values[name]) for name in NAMES}
        return whole, {layer: float(values[layer]) for layer in extractor.neurons}

    add(metrics, as_images(real), real=True)
    held_out, held_out_layers = measure(other)
    generator, discriminator = networks()
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    steps = [0, *(100 * 2**i for i in range(20) if 100 * 2**i <= arguments.steps)]
    curves: dict[str, list[float]] = {name: [] for name in NAMES}
    layers: dict[str, list[float]] = {layer: [] for layer in extractor.neurons}
    samples, done, noise = [], 0, torch.randn(arguments.num_images, NOISE)
    for step in track(steps, "Training"):
        train(generator, discriminator, digits, step - done, optimizers)
        done = step
        with torch.no_grad():
            fake = generator.eval()(noise)
        whole, by_layer = measure(fake)
        for name, value in whole.items():
            curves[name].append(value)
        for layer, value in by_layer.items():
            layers[layer].append(value / held_out_layers[layer])
        samples.append(fake[:16])
    ratios = {name: [value / held_out[name] for value in values] for name, values in curves.items()}
    plot(steps, ratios, layers, samples)
    plt.savefig(arguments.output)
    for name, values in curves.items():
        print(f"{name:8} from {values[0]:8.3f} to {values[-1]:8.3f}; held-out digits {held_out[name]:8.3f}")
    print(f"The figure is in {arguments.output}")


if __name__ == "__main__":
    main()
