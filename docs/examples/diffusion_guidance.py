"""Train a small diffusion model of digits by class, and measure what guidance does to its pictures.

    pip install "torchmetrics-dna[demo,diffusers]" scikit-learn
    python diffusion_guidance.py -o guidance.png

It takes some minutes on two cores, offline. It never sees the real digits that it
is compared with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import torch
from diffusers import DDIMScheduler
from gan_checkpoints import as_bytes
from rich.progress import track
from sklearn.datasets import load_digits
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.metrics import PRDC

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.several_sets import Comparisons

mpl.use("Agg")
import matplotlib.pyplot as plt

NO_CLASS, TIMES = 10, 250


class Denoiser(nn.Module):
    """Tells digits of 64 pixels from noise, given the time and the class, one of ten or none."""

    def __init__(self, width: int = 256, blocks: int = 4) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 64)
        self.times, self.classes = nn.Embedding(TIMES, width), nn.Embedding(11, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width)) for _ in range(blocks)
        )

    def forward(self, digits: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        hidden = self.first(digits)
        for block in self.blocks:
            hidden = hidden + block(hidden + self.times(times) + self.classes(classes))
        return self.last(hidden)


def train(model: Denoiser, scheduler: DDIMScheduler, digits: Tensor, labels: Tensor, steps: int) -> None:
    """Learn to take noise away; one digit in six comes without its class."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in track(range(steps), "training"):
        chosen = torch.randint(len(digits), (128,))
        classes = torch.where(torch.rand(128) < 1 / 6, NO_CLASS, labels[chosen])
        noise, times = torch.randn(128, 64), torch.randint(TIMES, (128,))
        predicted = model(scheduler.add_noise(digits[chosen], noise, times), times, classes)
        optimizer.zero_grad()
        nn.functional.mse_loss(predicted, digits[chosen]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def generate(model: Denoiser, scheduler: DDIMScheduler, labels: Tensor, scale: float) -> Tensor:
    """One picture of each label, from the same noise for every scale."""
    digits = torch.randn(len(labels), 64, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(50)
    for time in scheduler.timesteps:
        with_class = model(digits, time, labels)
        without = model(digits, time, torch.full_like(labels, NO_CLASS))
        digits = scheduler.step(without + scale * (with_class - without), time, digits).prev_sample
    return as_bytes((digits.clamp(-1, 1) + 1) / 2)


def precision_and_recall(extractor: DNAExtractor, real: Tensor, drawn: list[Tensor]) -> list[tuple[float, float]]:
    metric, points = PRDC(extractor, reset_real_features=False), []
    for batch in real.split(64):
        metric.update(batch, real=True)
    for pictures in drawn:
        for batch in pictures.split(64):
            metric.update(batch, real=False)
        shares = metric.compute()
        points.append((float(shares["precision"]), float(shares["recall"])))
        metric.reset()  # keeps the real side
    return points


def plot(
    scales: list[float], comparisons: Comparisons, shares: list[tuple[float, float]], drawn: list[Tensor]
) -> plt.Figure:
    """Distance without noise, precision and recall over the scale, and the same twelve pictures at each."""
    figure = plt.figure(figsize=(10, 6), dpi=90, layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    left, right = upper.subplots(1, 2)
    middle = [comparison["dna-emd"].debiased for comparison in comparisons.values()]
    ends = [[getattr(comparison.interval, end) for comparison in comparisons.values()] for end in ("low", "high")]
    left.plot(scales, middle, marker="o", color="#0072B2")
    left.fill_between(scales, *ends, color="#0072B2", alpha=0.2)
    left.set_title("dna-emd without noise (bins), 95 % interval", loc="left", fontsize=11)
    left.set_ylim(bottom=0)
    for name, values, colour, marker in zip(
        ("precision", "recall"), zip(*shares, strict=True), ("#D55E00", "#009E73"), "os", strict=True
    ):
        right.plot(scales, values, marker=marker, color=colour, label=name)
    right.set_title("of 5 nearest neighbours", loc="left", fontsize=11)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xlabel("guidance scale")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    for axes, scale, pictures in zip(lower.subplots(1, len(scales), squeeze=False)[0], scales, drawn, strict=True):
        framed = nn.functional.pad(pictures[:12, 0].view(4, 3, 32, 32), (2, 2, 2, 2), value=90)
        axes.imshow(framed.transpose(1, 2).reshape(144, 108), cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{scale:g}", fontsize=10)
        axes.axis("off")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="What guidance does to the pictures of a small diffusion model")
    parser.add_argument("-o", "--output", type=Path, default=Path("guidance.png"))
    parser.add_argument("--steps", type=int, default=6000, help="of training")
    parser.add_argument("--images", type=int, default=200, help="real ones, and of each scale, at least 12")
    parser.add_argument("--scales", type=float, nargs="+", default=(1.0, 1.5, 2.0, 3.0, 5.0), help="1 is no guidance")
    arguments = parser.parse_args()
    scales = arguments.scales
    torch.manual_seed(0)
    data, count = load_digits(), arguments.images
    order = torch.randperm(len(data.data))
    digits, labels = torch.from_numpy(data.data).float()[order], torch.from_numpy(data.target)[order]
    real, classes = as_bytes(digits[:count] / 16), labels[:count]

    model, scheduler = Denoiser(), DDIMScheduler(TIMES, beta_schedule="squaredcos_cap_v2", prediction_type="sample")
    train(model, scheduler, digits[count:] / 8 - 1, labels[count:], arguments.steps)
    drawn = [generate(model, scheduler, classes, scale) for scale in scales]  # of the classes of the real ones

    extractor = DNAExtractor()
    sets = {f"guidance {scale:g}": pictures for scale, pictures in zip(scales, drawn, strict=True)}
    comparisons = compare(real, sets, extractor, metrics=["dna-emd", "fd"])
    shares = precision_and_recall(extractor, real, drawn)
    print("| guidance scale | dna-emd without noise | 95 % interval | fd | precision | recall |")
    print("|---|--:|---|--:|--:|--:|")
    for scale, comparison, (precision, recall) in zip(scales, comparisons.values(), shares, strict=True):
        ends = (
            "-" if comparison.interval is None else f"{comparison.interval.low:.1f} to {comparison.interval.high:.1f}"
        )
        debiased, fd = comparison["dna-emd"].debiased, comparison["fd"].value
        print(f"| {scale:g} | {debiased:.1f} | {ends} | {fd:.0f} | {precision:.2f} | {recall:.2f} |")
    print(comparisons.verdict)
    plot(scales, comparisons, shares, drawn).savefig(arguments.output, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
