"""Train a small GAN on scikit-learn's digits, and write digits of six of its checkpoints, to compare them.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python gan_checkpoints.py -o digits
    torchmetrics-dna compare digits/real digits/step_* --plot curve.png

It takes some minutes on two cores, offline.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from gan_loop import NOISE, as_images, networks, train
from PIL import Image
from rich.progress import track
from sklearn.datasets import load_digits
from torch import Tensor

STEPS = (50, 200, 800, 3200, 6400, 12_800)


def training(steps: Sequence[int], count: int) -> tuple[Tensor, Iterator[tuple[int, Tensor]]]:
    """Real digits, and what a GAN that never saw them draws after some steps; uint8, ``(count, 3, 32, 32)``."""
    torch.manual_seed(0)
    digits = torch.from_numpy(load_digits().data).float() / 16
    digits = digits[torch.randperm(len(digits))]
    return as_bytes(digits[:count]), drawn(digits[count:], steps, count)


def drawn(digits: Tensor, steps: Sequence[int], count: int) -> Iterator[tuple[int, Tensor]]:
    generator, discriminator = networks()
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    done = 0
    for step in track(steps, "training"):
        train(generator, discriminator, digits, step - done, optimizers)
        done = step
        with torch.no_grad():
            yield step, as_bytes(generator.eval()(torch.randn(count, NOISE)))


def as_bytes(digits: Tensor) -> Tensor:
    return (as_images(digits) * 255).round().byte()


def write(images: Tensor, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:03}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Digits of a GAN's checkpoints")
    parser.add_argument("-o", "--output", type=Path, default=Path("digits"))
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--images", type=int, default=256, help="of each checkpoint")
    arguments = parser.parse_args()
    real, checkpoints = training(arguments.steps, arguments.images)
    write(real, arguments.output / "real")
    for step, images in checkpoints:
        write(images, arguments.output / f"step_{step:05}")


if __name__ == "__main__":
    main()
