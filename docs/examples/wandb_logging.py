"""Checkpoints of a small GAN in Weights & Biases: distances by layer, plots as images, the report as an artefact.

    pip install "torchmetrics-dna[demo]" scikit-learn wandb
    python wandb_logging.py

With WANDB_MODE=offline it needs no account and no network.
"""

from collections.abc import Sequence

import wandb
from gan_checkpoints import training

from torchmetrics_dna import Checkpoints, report
from torchmetrics_dna.plots import plot_layers


def main(steps: Sequence[int] = (50, 200, 800), count: int = 64) -> None:
    real, drawn = training(steps, count)
    checkpoints = Checkpoints(real, "dna", layers=["block_0", "block_1"])
    with wandb.init(project="digits") as run:
        for step, images in drawn:
            result = checkpoints.add(step, images)
            run.log(result.scalars(), step=step)
            run.log({"dna/layers": wandb.Image(plot_layers(result))}, step=step)
            run.log({"dna/curve": wandb.Image("dna/curve.png")}, step=step)
        last = f"dna/step_{step:06}.dna.npz"  # or images, of which the report then shows some
        report(checkpoints.reference, last, "report.html", names=("real", "generated"))
        artefact = wandb.Artifact("dna", type="evaluation")
        artefact.add_file("report.html")
        artefact.add_dir("dna")
        run.log_artifact(artefact)


if __name__ == "__main__":
    main()
