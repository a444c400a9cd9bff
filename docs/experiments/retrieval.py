"""Find augmented pictures of one domain among pictures of others (section 5.1 and Fig. 3 of the paper).

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/retrieval.py

The domains are photographs, drawings and the emoji of four makers, all of 64 pixels. Each in turn is the reference:
other pictures of it, blurred, noisy, moved or recoloured, are hidden among pictures of the other domains, and all are
ranked by their distance to the reference. Neurons are chosen with the references alone, plain and augmented: those that
tell this domain's best from the others', and as many as do so best together. The queries have no part in it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import baselines
import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from singles import BATCH, dna_of, neuron_distances
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import Tensor
from torchvision.transforms import v2

from torchmetrics_dna import DNAExtractor, HistogramDNA
from torchmetrics_dna.functional import dna_realism, select_neurons

SIDE, SEED = 64, 0
NUMBERS = [2**i for i in range(4, 11)]  # of neurons
RARITY_NEIGHBOURS = 3  # as its authors do
FORWARD = "forward pass"
SHOWN = {
    "dna-emd, chosen neurons": ("dna-emd", "-"), "dna-emd, all neurons": ("second", "-"),
    "perceptual loss, mean": ("fd", "--"), "SSIM, mean": ("KID", "--"), "L2, mean": ("dna-fd", "-."),
    "rarity score": ("reference", ":"),
}  # fmt: skip
NEEDS_FORWARD = ("dna-emd", "perceptual", "rarity")

AUGMENT = v2.Compose([
    v2.ToDtype(torch.float32, scale=True),
    v2.RandomChoice([
        v2.GaussianBlur(5, (0.4, 1.0)),
        v2.GaussianNoise(sigma=0.04),
        v2.RandomAffine(15, (0.1, 0.1), (0.8, 1.2), fill=1),
        v2.ColorJitter(0.3, 0.3, 0.3, 0.05),
    ]),
    v2.ToDtype(torch.uint8, scale=True),
])  # fmt: skip

T = TypeVar("T")
Domains = dict[str, Tensor]  # uint8 (pictures, 3, SIDE, SIDE)
Method = Callable[[Tensor, dict[str, Tensor]], Tensor]  # of pictures and their activations


class Domain(NamedTuple):
    """Pictures of a domain: a reference, plain queries, and augmented queries."""

    reference: Tensor
    plain: Tensor
    augmented: Tensor


class Reference(NamedTuple):
    """What describes a reference, for all the ways of comparing pictures with it."""

    dna: HistogramDNA
    chosen: Tensor
    methods: dict[str, Method]


def augment(pictures: Tensor) -> Tensor:
    return torch.stack([AUGMENT(picture) for picture in pictures])


def load(num_images: int) -> Domains:
    """Take equally many pictures of each domain."""
    random = np.random.default_rng(SEED)
    paths = {"photographs": data.photographs(), "drawings": data.drawings()}
    paths |= {f"{maker}'s emoji": [one.path for one in data.emoji(maker)] for maker in data.MAKERS}
    chosen = {domain: random.permutation(np.array(some))[:num_images] for domain, some in paths.items()}
    return {domain: data.batch([data.picture(path, SIDE) for path in some]) for domain, some in chosen.items()}


def load_at_hand(num_images: int) -> Domains:
    resize = v2.Resize(SIDE)
    return {kind: resize(data.batch(data.at_hand(num_images, kind))) for kind in ("photographs", "digits")}


def choose_neurons(own: Tensor, others: Tensor) -> Tensor:
    """Choose the neurons whose distances tell pictures of other domains from augmented pictures of this one."""
    apart = (others.mean(0) - own.mean(0)) / (others.std(0) + own.std(0)).clamp(min=1e-6)
    truth = [True] * len(own) + [False] * len(others)
    distances = torch.cat([own, others])

    def precision(k: int) -> float:
        return float(average_precision_score(truth, -distances[:, select_neurons(apart, k)].mean(1)))

    return select_neurons(apart, max(NUMBERS, key=precision))


def methods(reference: Tensor, dna: HistogramDNA, chosen: Tensor, extractor: DNAExtractor) -> dict[str, Method]:
    """Distances of pictures to the reference, ``(pictures,)``; or to each of its ``(pictures, reference)``."""
    known = [extractor(batch) for batch in reference.split(BATCH)]
    vectors = torch.cat([baselines.perceptual_vectors(one) for one in known])
    means = torch.cat([one["head"].mean((2, 3)) for one in known])
    bounds = dna.known_ranges.bounds()
    weights = torch.zeros(dna.neurons.total, dtype=torch.float64).index_fill(0, chosen, 1 / len(chosen))
    return {
        "dna-emd, chosen neurons": lambda _, found: dna_realism(found, dna.counts, *bounds, weights),
        "dna-emd, all neurons": lambda _, found: dna_realism(found, dna.counts, *bounds),
        "perceptual loss": lambda _, found: baselines.perceptual_distances(
            baselines.perceptual_vectors(found), vectors
        ),
        "SSIM": lambda pictures, _: baselines.ssim_distances(pictures, reference),
        "L2": lambda pictures, _: baselines.pixel_distances(pictures, reference),
        "rarity score": lambda _, found: baselines.rarity(found["head"].mean((2, 3)), means, RARITY_NEIGHBOURS),
    }


def prepare(domains: dict[str, Domain], extractor: DNAExtractor) -> dict[str, Reference]:
    """DNA and neurons of each domain."""
    dnas = {name: dna_of(domain.reference, extractor) for name, domain in domains.items()}
    counts = [dna.counts for dna in dnas.values()]
    plain = {name: neuron_distances(domain.reference, counts, extractor) for name, domain in domains.items()}
    found = {}
    for number, (name, domain) in enumerate(domains.items()):
        own = neuron_distances(augment(domain.reference), counts[number : number + 1], extractor)[0]
        chosen = choose_neurons(own, torch.cat([plain[other][number] for other in domains if other != name]))
        found[name] = Reference(dnas[name], chosen, methods(domain.reference, dnas[name], chosen, extractor))
        print(f"{name}: {len(chosen)} neurons", flush=True)
    return found


class Search:
    """Distances of queries to all references, and the time that they took.

    Attributes:
        scores: By reference and method, of each query.
        relevant: By reference, whether each query belongs to it.
        seconds: By method, of processor time for a query.

    """

    def __init__(self, references: dict[str, Reference], extractor: DNAExtractor) -> None:
        self.references, self.extractor = references, extractor
        self.scores: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in references}
        self.relevant: dict[str, list[bool]] = {name: [] for name in references}
        self._spent: dict[str, list[float]] = defaultdict(list)

    @property
    def seconds(self) -> dict[str, float]:
        return {method: float(np.mean(spent)) for method, spent in self._spent.items()}

    def precision(self, name: str, method: str) -> float:
        """The area under precision and recall."""
        return float(average_precision_score(self.relevant[name], -np.array(self.scores[name][method])))

    def add(self, pictures: Tensor, names: list[str], relevant: bool) -> None:
        """Compare queries with references; either all queries belong to them, or none."""
        for batch in pictures.split(BATCH):
            activations = self._timed(FORWARD, len(batch), partial(self.extractor, batch))
            for name in names:
                self.relevant[name] += [relevant] * len(batch)
                for method, run in self.references[name].methods.items():
                    values = self._timed(method, len(batch), partial(run, batch, activations))
                    of_pairs = values.ndim == 2
                    kinds = {", mean": values.mean(1), ", nearest": values.amin(1)} if of_pairs else {"": values}
                    for kind, score in kinds.items():
                        self.scores[name][method + kind] += score.tolist()

    def _timed(self, what: str, number: int, run: Callable[[], T]) -> T:
        started = time.process_time()
        found = run()
        self._spent[what].append((time.process_time() - started) / number)
        return found


def plot(search: Search) -> Figure:
    """Plot precision over recall, a panel for each reference domain."""
    names = list(search.references)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.1 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis, name in zip(panels.flat, names, strict=True):
        relevant = search.relevant[name]
        for method, (colour, line) in SHOWN.items():
            precision, recall, _ = precision_recall_curve(relevant, -np.array(search.scores[name][method]))
            axis.step(recall, precision, where="post", color=results.COLOURS[colour], linestyle=line, label=method)
        axis.axhline(np.mean(relevant), color="0.6", linewidth=0.8, label="chance")
        axis.set_title(name, loc="left", fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
    for axis in panels[-1]:
        axis.set_xlabel("recall")
    for axis in panels[:, 0]:
        axis.set_ylabel("precision")
    figure.suptitle("Augmented pictures of a domain, looked up by its reference", fontsize=12)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def conclude(search: Search, means: dict[str, float]) -> str:
    """Write the text about the results from the numbers."""
    chosen, everything, *others = means
    as_paper = [method for method in others if not method.endswith(", nearest")]
    best, any_best = (max(some, key=means.__getitem__) for some in (as_paper, others))
    chance = float(np.mean(next(iter(search.relevant.values()))))
    agrees = "as in the paper, more" if means[everything] > means[best] else "unlike in the paper, no more"
    return (
        f"the area is {means[everything]:.3f} for all neurons, {agrees} than the"
        f" {means[best]:.3f} of the best that it compares with ({best}); the best of all others here is {any_best} with"
        f" {means[any_best]:.3f}. Chosen neurons reach {means[chosen]:.3f}, but they have seen other domains, which"
        f" nothing else here has. By chance it is {chance:.3f}."
    )


def tables(search: Search, means: dict[str, float]) -> list[str]:
    milliseconds = {method: 1000 * spent for method, spent in search.seconds.items()}
    rows = []
    for method, mean in means.items():
        own = milliseconds[method.removesuffix(", mean").removesuffix(", nearest")]
        shared = milliseconds[FORWARD] if method.startswith(NEEDS_FORWARD) else 0
        areas = [f"{search.precision(name, method):.3f}" for name in search.references]
        rows.append([method, *areas, f"**{mean:.3f}**", f"{own:.1f}", f"{shared + own:.0f}"])
    header = ["area under precision and recall", *search.references, "mean", "ms", "ms with the network"]
    return [results.table(header, rows)]


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--num-images", type=int, help="in each reference, and queries of each domain; default: 48")
    arguments = parser.parse_args()
    folder = results.begin(arguments)
    torch.manual_seed(SEED)
    number = arguments.num_images or (8 if arguments.quick else 48)
    loaded = (load_at_hand if arguments.quick else load)(2 * number)
    halves = {name: some.split(number) for name, some in loaded.items()}
    domains = {name: Domain(first, second, augment(second)) for name, (first, second) in halves.items()}
    extractor = DNAExtractor("efficientnet_lite0")
    search = Search(prepare(domains, extractor), extractor)
    for name, domain in domains.items():
        search.add(domain.augmented, [name], relevant=True)
        search.add(domain.plain, [other for other in domains if other != name], relevant=False)
    first = next(iter(search.scores.values()))
    means = {m: float(np.mean([search.precision(name, m) for name in domains])) for m in first}
    results.write(
        folder,
        "retrieval",
        paper="dna-emd over all neurons finds augmented Cityscapes pictures among those of four other datasets better"
        " than perceptual loss, LPIPS, SSIM, L2 and rarity score, without comparing pairs of pictures.",
        here=conclude(search, means),
        tables=tables(search, means),
        figures={"": plot(search)},
        seeds=f"{SEED}, of pictures and augmentations",
        data=["scikit-image", "scikit-learn"] if arguments.quick else [
            data.PHOTOGRAPHS, data.DRAWINGS, *data.EMOJI.values()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
