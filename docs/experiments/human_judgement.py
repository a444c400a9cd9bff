"""Do distances rank generative models as people do? For images and error rates of Stein et al. (NeurIPS 2023).

    pip install torchmetrics-dna scipy
    python docs/experiments/human_judgement.py generated/ real/ human.csv
    python docs/experiments/human_judgement.py generated/ real/ human.csv --images images.csv

``generated/`` has a folder of images for each model, ``real/`` the real ones. ``human.csv`` is what was published: a
line for each person and model, with the columns ``model`` and ``err_rt``, the share of images that the person took for
what they were not. People err more where a model is better, so a distance should fall as the error rises: the table has
Spearman's correlation over models, of the negated distance, with p by all permutations of few models.

``images.csv``, where people judged single images, has the columns ``image``, a path within ``generated/``, and
``err_rt``: the last table has the correlation, within each model, of the negated contrasted score of :func:`rank`.
"""

from __future__ import annotations

import argparse
import csv
from itertools import permutations
from math import factorial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from torchmetrics_dna import DNAExtractor, compare, rank

if TYPE_CHECKING:
    from collections.abc import Sequence

DISTANCES = ("dna-emd", "dna-fd", "fd", "kid", "mind")
_EXACT = 7  # models; of more, p is by the t distribution


def mean_errors(table: Path, key: str) -> dict[str, float]:
    """The mean error rate of each model, or of each image.

    Raises:
        ValueError: If a column is missing, or a number is none.

    """
    with table.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        missing = {key, "err_rt"} - set(lines.fieldnames or ())
        if missing:
            raise ValueError(
                f"{str(table)!r} lacks the columns {', '.join(sorted(missing))}; it has {lines.fieldnames}"
            )
        rates: dict[str, list[float]] = {}
        for line in lines:
            rates.setdefault(line[key], []).append(float(line["err_rt"]))
    return {name: float(np.mean(values)) for name, values in rates.items()}


def agreement(distances: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """Spearman's correlation of negated distances with error rates, and its one-sided p."""
    nearness = -np.asarray(distances)
    found = spearmanr(nearness, errors, alternative="greater")
    if len(errors) > _EXACT:
        return float(found.statistic), float(found.pvalue)
    others = [spearmanr(nearness, order).statistic for order in permutations(errors)]
    return float(found.statistic), sum(rho >= found.statistic - 1e-12 for rho in others) / factorial(len(errors))


def of_models(
    generated: Path, real: Path, errors: dict[str, float], extractor: DNAExtractor
) -> tuple[dict[str, list[float]], list[str]]:
    """The distances of each model to the real images, by distance, and the models, in the order of the table.

    Raises:
        ValueError: If a model of the table has no folder, or there are fewer than three.

    """
    models = list(errors)
    absent = [model for model in models if not (generated / model).is_dir()]
    if absent or len(models) < 3:
        told = f"no folders of {', '.join(absent)}" if absent else f"only {len(models)} models"
        raise ValueError(
            f"Expected at least three models, each with a folder in {str(generated)!r}, but there are {told}"
        )
    found: dict[str, list[float]] = {name: [] for name in DISTANCES}
    for model in models:
        one = compare(real, generated / model, extractor, metrics=DISTANCES, num_folds=None)
        for name in DISTANCES:
            found[name].append(one[name].value)
        print(model, *(f"{name} {found[name][-1]:.4g}" for name in DISTANCES), sep=", ", flush=True)
    return found, models


def of_images(
    generated: Path, real: Path, errors: dict[str, float], extractor: DNAExtractor
) -> dict[str, tuple[float, float, int]]:
    """Of each model, the correlation of its images' contrasted scores with error rates, its p, and how many images."""
    found = {}
    for model in sorted({Path(image).parts[0] for image in errors}):
        ranking = rank(generated / model, real, extractor, score="contrast")
        scores = dict(zip(ranking.names, ranking.scores.tolist(), strict=True))
        by_path = {Path(model, Path(name).relative_to(generated / model)).as_posix(): scores[name] for name in scores}
        judged = [image for image in errors if image in by_path]
        rho = agreement([by_path[image] for image in judged], [errors[image] for image in judged])
        found[model] = (*rho, len(judged))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generated", type=Path, help="folder with a folder of images for each model")
    parser.add_argument("real", type=Path, help="real images")
    parser.add_argument("table", type=Path, help="csv with the columns model and err_rt")
    parser.add_argument("--images", type=Path, help="csv with the columns image and err_rt")
    parser.add_argument("--feature", default="efficientnet_lite0", help="the extractor")
    parser.add_argument("--weights-path", help="local file of its weights")
    parser.add_argument("--layers", help="its layers, with commas")
    given = parser.parse_args(arguments)
    try:
        layers = given.layers and given.layers.split(",")
        extractor = DNAExtractor(given.feature, layers=layers, weights_path=given.weights_path)
        errors = mean_errors(given.table, "model")
        found, models = of_models(given.generated, given.real, errors, extractor)
        rhos = {name: agreement(values, [errors[model] for model in models]) for name, values in found.items()}
        print(f"\n| distance | correlation with people's errors over {len(models)} models | p |\n| --- | --- | --- |")
        for name, (rho, p) in rhos.items():
            print(f"| {name} | {rho:.2f} | {p:.3f} |")
        if given.images:
            of_each = of_images(given.generated, given.real, mean_errors(given.images, "image"), extractor)
            print("\n| model | images | correlation of the contrasted score | p |\n| --- | --- | --- | --- |")
            for model, (rho, p, count) in of_each.items():
                print(f"| {model} | {count} | {rho:.2f} | {p:.3f} |")
    except (ValueError, OSError) as err:
        parser.error(str(err))


if __name__ == "__main__":
    main()
