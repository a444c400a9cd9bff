"""Checkpoints of a small GAN in MLflow: distances by layer, plots as images, the report as an artefact.

pip install "torchmetrics-dna[demo]" scikit-learn mlflow
python mlflow_logging.py && mlflow ui
"""

from collections.abc import Sequence

import mlflow
from gan_checkpoints import training

from torchmetrics_dna import Checkpoints, report
from torchmetrics_dna.plots import plot_layers


def main(steps: Sequence[int] = (50, 200, 800), count: int = 64) -> None:
    real, drawn = training(steps, count)
    checkpoints = Checkpoints(real, "dna", layers=["block_0", "block_1"])
    with mlflow.start_run():
        for step, images in drawn:
            result = checkpoints.add(step, images)
            mlflow.log_metrics(result.scalars(), step=step)
            mlflow.log_figure(plot_layers(result), f"layers/step_{step:06}.png")
        last = f"dna/step_{step:06}.dna.npz"  # or images, of which the report then shows some
        report(checkpoints.reference, last, "report.html", names=("real", "generated"))
        mlflow.log_artifact("report.html")
        mlflow.log_artifacts("dna", "dna")  # with the curve, a table and the DNAs


if __name__ == "__main__":
    main()
