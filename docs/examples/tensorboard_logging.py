"""Checkpoints of a small GAN in TensorBoard: distances by layer, plots and worst images, the report as a text.

pip install "torchmetrics-dna[demo]" scikit-learn tensorboard
python tensorboard_logging.py && tensorboard --logdir runs
"""

from collections.abc import Sequence
from pathlib import Path

from gan_checkpoints import training
from torch.utils.tensorboard import SummaryWriter

from torchmetrics_dna import Checkpoints, make_dna, rank, report
from torchmetrics_dna.plots import plot_curve, plot_layers


def main(steps: Sequence[int] = (50, 200, 800), count: int = 64) -> None:
    real, drawn = training(steps, count)
    checkpoints = Checkpoints(real, "dna", layers=["block_0", "block_1"])
    reference = make_dna(real, kind="layer-gaussian")  # of outlier scores
    with SummaryWriter("runs") as writer:
        for step, images in drawn:
            result = checkpoints.add(step, images)
            for name, value in result.scalars().items():
                writer.add_scalar(name, value, step)
            writer.add_figure("dna/layers", plot_layers(result), step)
            writer.add_figure("dna/worst", rank(images, reference).plot(maps=True), step)
        writer.add_figure("dna/curve", plot_curve(checkpoints.comparisons), step)
        last = f"dna/step_{step:06}.dna.npz"  # or images, of which the report then shows some
        report(checkpoints.reference, last, "report.md", names=("real", "generated"))
        writer.add_text("dna/report", Path("report.md").read_text(encoding="utf-8"), step)


if __name__ == "__main__":
    main()
