"""Find augmented pictures of one domain among pictures of others (section 5.1 and Fig. 3 of the paper).

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/retrieval.py

The domains are photographs, drawings and the emoji of four makers, all of 64 pixels. Each in turn is the reference:
other pictures of it, blurred, noisy, moved or recoloured, are hidden among pictures of the other domains, and all are
ranked: by their distance to the reference, and by that distance less the distance to the pool of all that are ranked.
Neurons are chosen with the references alone, plain and augmented: those that tell this domain's best from the others',
and as many as do so best together. Nothing else knows of other domains. Variants of the contrast were compared on five
other domains: icons, a game's art, letters, digits and crops of large photographs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import baselines
import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from singles import BATCH, dna_of, neuron_distances
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchvision.transforms import v2

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.functional import dna_realism, select_neurons
from torchmetrics_dna.images import Reading

if TYPE_CHECKING:
    from torchmetrics_dna.dna import HistogramDNA

SIDE, SEED = 64, 0
NUMBERS = [2**i for i in range(4, 11)]  # of neurons
RARITY_NEIGHBOURS = 3  # as its authors do
FORWARD = "forward pass"
CONTRAST, PLAIN = "dna-emd, contrast with the pool", "dna-emd to the reference"
SHOWN = {
    CONTRAST: ("dna-emd", "-"), PLAIN: ("second", "-"), "logistic regression": ("third", "-"),
    "perceptual loss, nearest": ("fd", "--"), "SSIM, nearest": ("KID", "--"), "spatial means, nearest": ("other", "-."),
    "rarity score": ("reference", ":"),
}  # fmt: skip
NEEDS_FORWARD = ("dna-emd", "perceptual", "rarity", "spatial means")

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


class Task(NamedTuple):
    """One domain as the reference, what is ranked, which of this belongs to the domain, and neurons chosen for it."""

    reference: Tensor
    queries: Tensor
    relevant: list[bool]
    chosen: Tensor


def augment(pictures: Tensor) -> Tensor:
    return torch.stack([AUGMENT(picture) for picture in pictures])


def load(num_images: int) -> tuple[Domains, Domains]:
    """Equally many pictures of each domain; first those that are reported, then those on which variants were tried."""
    random = np.random.default_rng(SEED)
    paths = {"photographs": data.photographs(), "drawings": data.drawings()}
    paths |= {f"{maker}'s emoji": [one.path for one in data.emoji(maker)] for maker in data.MAKERS}
    chosen = {domain: random.permutation(np.array(some))[:num_images] for domain, some in paths.items()}
    found = {domain: data.batch([data.picture(path, SIDE) for path in some]) for domain, some in chosen.items()}
    others = {
        name: data.batch([data.picture(path, SIDE) for path in random.permutation(np.array(some))[:num_images]])
        for name, some in (("icons", data.icons()), ("game art", data.game_art()))
    }
    others["letters"] = data.batch(data.letters(num_images, SIDE))
    others["digits"] = data.batch(data.at_hand(num_images, "digits"))
    others["crops"] = v2.Resize(SIDE)(data.batch(data.at_hand(num_images, "photographs")))
    return found, others


def load_at_hand(num_images: int) -> tuple[Domains, Domains]:
    kinds = {kind: v2.Resize(SIDE)(data.batch(data.at_hand(num_images, kind))) for kind in ("photographs", "digits")}
    return kinds, kinds


def choose_neurons(own: Tensor, others: Tensor) -> Tensor:
    """Choose the neurons whose distances tell pictures of other domains from augmented pictures of this one."""
    apart = (others.mean(0) - own.mean(0)) / (others.std(0) + own.std(0)).clamp(min=1e-6)
    truth = [True] * len(own) + [False] * len(others)
    distances = torch.cat([own, others])

    def precision(k: int) -> float:
        return float(average_precision_score(truth, -distances[:, select_neurons(apart, k)].mean(1)))

    return select_neurons(apart, max(NUMBERS, key=precision))


def tasks(domains: dict[str, Domain], extractor: DNAExtractor) -> dict[str, Task]:
    """Each domain as the reference: its augmented queries among the plain ones of the others."""
    counts = [dna_of(domain.reference, extractor).counts for domain in domains.values()]
    plain = {name: neuron_distances(domain.reference, counts, extractor) for name, domain in domains.items()}
    found = {}
    for number, (name, domain) in enumerate(domains.items()):
        own = neuron_distances(augment(domain.reference), counts[number : number + 1], extractor)[0]
        others = [other for other in domains if other != name]
        chosen = choose_neurons(own, torch.cat([plain[other][number] for other in others]))
        queries = torch.cat([domain.augmented, *(domains[other].plain for other in others)])
        relevant = [True] * len(domain.augmented) + [False] * (len(queries) - len(domain.augmented))
        found[name] = Task(domain.reference, queries, relevant, chosen)
    return found


def methods(task: Task, extractor: DNAExtractor, dna: HistogramDNA, pool: HistogramDNA) -> dict[str, Method]:
    """Distances of pictures to the reference, ``(pictures,)``; or to each of its ``(pictures, reference)``."""
    known = [extractor(batch) for batch in task.reference.split(BATCH)]
    vectors = torch.cat([baselines.perceptual_vectors(one) for one in known])
    means = torch.cat([one["head"].mean((2, 3)) for one in known])
    bounds = dna.known_ranges.bounds()
    chosen = task.chosen
    weights = torch.zeros(dna.neurons.total, dtype=torch.float64).index_fill(0, chosen, 1 / len(chosen))
    return {
        CONTRAST: lambda _, found: dna_realism(found, dna.counts, *bounds, contrast_counts=pool.counts),
        PLAIN: lambda _, found: dna_realism(found, dna.counts, *bounds),
        "dna-emd, chosen neurons": lambda _, found: dna_realism(found, dna.counts, *bounds, weights),
        "dna-emd, chosen neurons, contrast": lambda _, found: dna_realism(
            found, dna.counts, *bounds, weights, pool.counts
        ),
        "perceptual loss": lambda _, found: baselines.perceptual_distances(
            baselines.perceptual_vectors(found), vectors
        ),
        "SSIM": lambda pictures, _: baselines.ssim_distances(pictures, task.reference),
        "L2": lambda pictures, _: baselines.pixel_distances(pictures, task.reference),
        "spatial means, nearest": lambda _, found: torch.cdist(found["head"].mean((2, 3)), means).amin(1),
        "rarity score": lambda _, found: baselines.rarity(found["head"].mean((2, 3)), means, RARITY_NEIGHBOURS),
    }


def spatial_means(pictures: Tensor, extractor: DNAExtractor) -> Tensor:
    """Of all neurons, ``(pictures, N)``."""
    every = [extractor(batch) for batch in pictures.split(BATCH)]
    return torch.cat([torch.cat([x.mean((2, 3)) for x in found.values()], 1) for found in every])


def logistic_regression(reference: Tensor, pool: Tensor) -> Tensor:
    """How surely spatial means are of the pool, where each fold of the pool is judged by the others."""
    scores = torch.empty(len(pool))
    for train, test in KFold(5, shuffle=True, random_state=SEED).split(pool):
        known = torch.cat([reference, pool[train]]).numpy()
        truth = [0] * len(reference) + [1] * len(train)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000, class_weight="balanced"))
        scores[test] = torch.from_numpy(model.fit(known, truth).decision_function(pool[test].numpy())).float()
    return scores


def variants(task: Task, extractor: DNAExtractor, dna: HistogramDNA, pool: HistogramDNA) -> dict[str, Tensor]:
    """Other ways to contrast with the pool, or to do without it; scores of all queries."""
    sets = [dna.counts, pool.counts]
    own, other = neuron_distances(task.queries, sets, extractor)
    apart, layers = own - other, dna.neurons.slices.values()
    n, count = len(task.reference), len(task.queries)
    inside = neuron_distances(task.reference, sets[:1], extractor)[0] * (n / (n - 1))  # each left out
    comparison = compare(
        list(task.reference), list(task.queries), extractor, metrics=["dna-emd"], reading=Reading(num_workers=0)
    )
    test = comparison["dna-emd"].evidence.test
    assert test is not None
    sure = test.neurons <= 0.05
    known, asked = (spatial_means(pictures, extractor) for pictures in (task.reference, task.queries))
    head = list(layers)[-1]
    to_known, among = torch.cdist(asked[:, head], known[:, head]), torch.cdist(asked[:, head], asked[:, head])
    return {
        "without the image itself in the pool": (own - other * (count / (count - 1))).mean(1),
        "each layer of equal weight": torch.stack([apart[:, rows].mean(1) for rows in layers]).mean(0),
        "the last layer only": apart[:, head].mean(1),
        "neurons that surely differ (max-T)": apart[:, sure if sure.any() else slice(None)].mean(1),
        "100 neurons of most evidence": apart[:, test.z.topk(100).indices].mean(1),
        "share of the two distances": (own / (own + other).clamp(min=1e-9)).mean(1),
        "no pool, standardised by the reference": ((own - inside.mean(0)) / inside.std(0).clamp(min=1e-3)).mean(1),
        "spatial means, nearest, contrast": to_known.amin(1) - among.fill_diagonal_(torch.inf).amin(1),
        "logistic regression": logistic_regression(known, asked),
    }


class Search:
    """Scores of queries by all methods, and the time that they took.

    Attributes:
        scores: By reference and method, of each query.
        relevant: By reference, whether each query belongs to it.
        seconds: By method, of processor time for a query.

    """

    def __init__(self, domains: dict[str, Domain], extractor: DNAExtractor) -> None:
        self.extractor = extractor
        self.scores: dict[str, dict[str, list[float]]] = {}
        self.relevant: dict[str, list[bool]] = {}
        self._spent: dict[str, list[float]] = defaultdict(list)
        for name, task in tasks(domains, extractor).items():
            dna, pool = (dna_of(pictures, extractor) for pictures in (task.reference, task.queries))
            self.relevant[name] = task.relevant
            self.scores[name] = self._scores(task.queries, methods(task, extractor, dna, pool))
            self.scores[name] |= {kind: score.tolist() for kind, score in variants(task, extractor, dna, pool).items()}
            print(f"{name}: {len(task.chosen)} neurons", flush=True)

    @property
    def seconds(self) -> dict[str, float]:
        return {method: float(np.mean(spent)) for method, spent in self._spent.items()}

    @property
    def means(self) -> dict[str, float]:
        """Of the areas over all references, by method."""
        names = list(self.scores)
        return {kind: float(np.mean([self.precision(name, kind) for name in names])) for kind in self.scores[names[0]]}

    def precision(self, name: str, method: str) -> float:
        """The area under precision and recall."""
        return float(average_precision_score(self.relevant[name], -np.array(self.scores[name][method])))

    def _scores(self, queries: Tensor, ways: dict[str, Method]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = defaultdict(list)
        for batch in queries.split(BATCH):
            activations = self._timed(FORWARD, len(batch), partial(self.extractor, batch))
            for method, run in ways.items():
                values = self._timed(method, len(batch), partial(run, batch, activations))
                kinds = {", mean": values.mean(1), ", nearest": values.amin(1)} if values.ndim == 2 else {"": values}
                for kind, score in kinds.items():
                    found[method + kind] += score.tolist()
        return dict(found)

    def _timed(self, what: str, number: int, run: Callable[[], T]) -> T:
        started = time.process_time()
        found = run()
        self._spent[what].append((time.process_time() - started) / number)
        return found


def plot(search: Search) -> Figure:
    """Plot precision over recall, a panel for each reference domain."""
    names = list(search.scores)
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


def conclude(search: Search) -> str:
    """Write the text about the results from the numbers."""
    means, chance = search.means, float(np.mean(next(iter(search.relevant.values()))))
    rivals = {
        m: v for m, v in means.items() if not m.startswith("dna-emd") and m in SHOWN and m != "logistic regression"
    }
    best = max(rivals, key=rivals.__getitem__)
    lost = [
        name
        for name in search.scores
        if search.precision(name, CONTRAST) < max(search.precision(name, m) for m in (PLAIN, *rivals))
    ]
    behind = f" The contrast is behind one of these methods for: {', '.join(lost)}." if lost else ""
    return (
        f"The area under precision and recall is {means[PLAIN]:.3f} for the distance to the reference and"
        f" {means[CONTRAST]:.3f} for the contrast with the pool. The best of the other methods"
        f' ("{best}") has {rivals[best]:.3f}.{behind} A random order has {chance:.3f}.'
    )


def table(search: Search, timed: bool) -> str:
    """All methods that were timed, or the contrast and the variants of it."""
    milliseconds = {method: 1000 * spent for method, spent in search.seconds.items()}
    rows = []
    for method, mean in search.means.items():
        base = method.removesuffix(", mean").removesuffix(", nearest") if method not in milliseconds else method
        if timed != (base in milliseconds) and not (not timed and method in (CONTRAST, PLAIN)):
            continue
        areas = [method, *(f"{search.precision(name, method):.3f}" for name in search.scores), f"**{mean:.3f}**"]
        if timed:
            shared = milliseconds[FORWARD] if method.startswith(NEEDS_FORWARD) else 0
            areas += [f"{milliseconds[base]:.1f}", f"{shared + milliseconds[base]:.0f}"]
        rows.append(areas)
    header = ["area under precision and recall", *search.scores, "mean"]
    return results.table(header + (["ms", "ms with the network"] if timed else []), rows)


def split(loaded: Domains, number: int) -> dict[str, Domain]:
    halves = {name: some.split(number) for name, some in loaded.items()}
    return {name: Domain(first, second, augment(second)) for name, (first, second) in halves.items()}


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--num-images", type=int, help="in each reference, and queries of each domain; default: 48")
    arguments = parser.parse_args()
    folder = results.begin(arguments)
    torch.manual_seed(SEED)
    number = arguments.num_images or (6 if arguments.quick else 48)
    extractor = DNAExtractor("efficientnet_lite0")
    reported, tried = (load_at_hand if arguments.quick else load)(2 * number)
    others = Search(split(tried, number), extractor)
    search = others if arguments.quick else Search(split(reported, number), extractor)
    results.write(
        folder,
        "retrieval",
        paper="Augmented Cityscapes pictures are hidden among those of four other datasets. dna-emd over all neurons"
        " finds them better than perceptual loss, LPIPS, SSIM, L2 and rarity score, and compares no pairs of pictures.",
        here=conclude(search),
        tables=[
            table(search, timed=True),
            "Variants of the contrast, on these domains:", table(search, timed=False),
            "Five other domains, on which variants were compared before:", table(others, timed=False),
        ],
        figures={"": plot(search)},
        seeds=f"{SEED}, of pictures and augmentations",
        data=["scikit-image", "scikit-learn"] if arguments.quick else [
            data.PHOTOGRAPHS, data.DRAWINGS, *data.EMOJI.values(), data.ICONS, data.GAME_ART,
            "matplotlib's fonts", "scikit-learn's digits", "scikit-image's photographs",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
