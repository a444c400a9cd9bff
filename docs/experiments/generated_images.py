"""Generated digits ranked by realism, with neurons chosen on other classes (section 5.4 and Fig. 7 of the paper).

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/generated_images.py

For each pair of digits a small GAN is trained on scikit-learn's. Neurons that differ most between real and generated
digits of the other four pairs rank what is generated of this pair, by the distance to its real digits. Two judges that
know nothing of neurons say how well: how sure a classifier is which digit it is, and how close in pixels the nearest
real digit is. Their agreement with a ranking is Spearman's correlation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import results
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from singles import dna_of, neuron_distances
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import dna_emd, select_neurons

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from gan_loop import NOISE, as_images, networks, train

GROUPS = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
NUMBERS = (8, 32, 128)  # of neurons
ALL, SHOWN = "all neurons", "32 chosen"
SEED = 0
COLUMNS = 12  # of the contact sheet


class Group(NamedTuple):
    """A pair of digits.

    Attributes:
        fake: Generated digits in [0, 1], ``(images, 64)``.
        of_sets: dna-emd of each neuron between real and generated digits, ``(N,)``.
        of_each: dna-emd of each neuron between real digits and each generated one, ``(images, N)``.
        to_pool: Likewise, between all generated digits and each of them.
        judged: By judge, how unreal each generated digit is.

    """

    fake: Tensor
    of_sets: Tensor
    of_each: Tensor
    to_pool: Tensor
    judged: dict[str, Tensor]


def generate(digits: Tensor, steps: int, num_images: int) -> Tensor:
    """Digits drawn by a GAN that was trained on some digits."""
    generator, discriminator = networks()
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    train(generator, discriminator, digits, steps, optimizers)
    with torch.no_grad():
        fake: Tensor = generator.eval()(torch.randn(num_images, NOISE))
    return fake


def judge(fake: Tensor, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Scores of generated digits, larger for less real ones: by a classifier, and by the nearest real digit."""
    classifier = SVC().fit(real.numpy(), labels.numpy())
    return {
        "classifier": -torch.from_numpy(classifier.decision_function(fake.numpy())).abs(),
        "nearest real digit": torch.cdist(fake, real).amin(1),
    }


def measure(fake: Tensor, real: Tensor, labels: Tensor, extractor: DNAExtractor) -> Group:
    """Compare generated digits with as many real ones."""
    shown = torch.randperm(len(real))[: len(fake)]
    real_counts = dna_of(_pictures(real[shown]), extractor).counts
    fake_counts = dna_of(_pictures(fake), extractor).counts
    of_sets = dna_emd(real_counts, fake_counts, reduction="none")
    of_each, to_pool = neuron_distances(_pictures(fake), [real_counts, fake_counts], extractor)
    return Group(fake, of_sets, of_each, to_pool, judge(fake, real, labels))


def rankings(groups: list[Group], which: int) -> dict[str, Tensor]:
    """Scores of a pair's generated digits, over all neurons and over those chosen on other pairs.

    They are the dna-emd to the pair's real digits, and in contrast that less the dna-emd to all that are generated.
    """
    own = groups[which].of_each
    apart = own - groups[which].to_pool
    others = torch.stack([group.of_sets for number, group in enumerate(groups) if number != which])
    found = {ALL: own.mean(1), f"{ALL}, contrast": apart.mean(1)}
    for k in NUMBERS:
        chosen = select_neurons(others, k)
        found |= {f"{k} chosen": own[:, chosen].mean(1), f"{k} chosen, contrast": apart[:, chosen].mean(1)}
    return found


def agreement(groups: list[Group]) -> dict[str, dict[str, list[float]]]:
    """The correlation of each ranking with each judge, group by group."""
    found: dict[str, dict[str, list[float]]] = {}
    for which, group in enumerate(groups):
        for ranking, scores in rankings(groups, which).items():
            for name, judged in group.judged.items():
                correlation = float(spearmanr(scores.numpy(), judged.numpy()).statistic)
                found.setdefault(ranking, {}).setdefault(name, []).append(correlation)
    return found


def plot(groups: list[Group]) -> Figure:
    """Plot the closest and the furthest of each group, by all neurons and by those chosen on other pairs."""
    figure = Figure(figsize=(10, 0.84 * len(groups) + 0.7), layout="constrained")
    panels = figure.subplots(len(groups), 4, squeeze=False)
    for which, (group, row, pair) in enumerate(zip(groups, panels, GROUPS, strict=True)):
        found = rankings(groups, which)
        for number, name in enumerate((ALL, SHOWN)):
            order = found[name].argsort()
            for place, (end, digits) in enumerate((("closest", order[:COLUMNS]), ("furthest", order[-COLUMNS:]))):
                axis = row[2 * number + place]
                axis.imshow(_sheet(group.fake[digits]).numpy(), cmap="gray", vmin=0, vmax=1)
                axis.set_xticks([])
                axis.set_yticks([])
                if not which:
                    axis.set_title(f"{name}: {end}", fontsize=10, loc="left")
        row[0].set_ylabel(" and ".join(map(str, pair)))
    figure.suptitle(f"Generated digits by their distance to real ones; {SHOWN} on other digits", fontsize=12)
    return figure


def conclude(found: dict[str, dict[str, list[float]]]) -> str:
    """Write the text about the results from the numbers."""
    parts = []
    for name in found[ALL]:
        means = {ranking: float(np.mean(of[name])) for ranking, of in found.items()}
        parts.append(
            f"If the {name} is the judge, it is {means[SHOWN]:.2f} for {SHOWN} neurons and {means[ALL]:.2f} for all"
            " neurons."
        )
    best = max(float(np.mean(values)) for judges in found.values() for values in judges.values())
    return f"No mean correlation with a judge exceeds {best:.2f}. {' '.join(parts)}"


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    steps, number = (10, 8) if arguments.quick else (4000, 96)
    digits, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    digits = digits.float() / 16
    extractor = DNAExtractor("efficientnet_lite0")
    groups = []
    for which, pair in enumerate(GROUPS):
        torch.manual_seed(SEED + which)
        own = torch.isin(labels, torch.tensor(pair))
        groups.append(measure(generate(digits[own], steps, number), digits[own], labels[own], extractor))
        print(f"{pair}: {steps} steps, {number} images", flush=True)
    found = agreement(groups)
    header = ["neurons", "judge", *(f"{a} and {b}" for a, b in GROUPS), "mean"]
    rows = [
        [ranking, name, *(f"{value:.2f}" for value in values), f"**{np.mean(values):.2f}**"]
        for ranking, judges in found.items()
        for name, values in judges.items()
    ]
    results.write(
        folder,
        "generated_images",
        paper="Neurons that were chosen on other classes rank StyleGAN2's pictures more as people would than all"
        " neurons do. Both find outliers.",
        here=conclude(found),
        tables=[results.table(header, rows)],
        figures={"": plot(groups)},
        seeds=f"{SEED} to {SEED + len(GROUPS) - 1}, of a pair's GAN and real digits",
        data=["scikit-learn's digits"],
    )


def _pictures(digits: Tensor) -> Tensor:
    return (as_images(digits) * 255).round().byte()


def _sheet(digits: Tensor) -> Tensor:
    """Draw digits in two rows, framed."""
    framed = torch.nn.functional.pad(digits.view(2, -1, 8, 8), (1, 1, 1, 1), value=0.35)
    return framed.transpose(1, 2).flatten(0, 1).reshape(20, -1)


if __name__ == "__main__":
    main()
