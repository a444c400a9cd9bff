"""How many images does the test need to find a difference? On emoji and photographs, by simulation.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/how_many_images.py

Emoji of google, one population, against others: saved as JPEG, blurred, by another maker, or with some of the images
replaced by photographs. Each image is measured once at 64 pixels, its own size, in 100 bins. A draw takes different
images for A and for B, shares them out to 20 folds at random, and asks what :func:`compare` asks, with 200 relabelings
instead of 1000. What is found is kept in the cache, so that an interrupted run goes on. 4 GB of memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import data
import results
import torch
from matplotlib.figure import Figure
from significance import RECORD, RELABELINGS, SIDE, Images, Measure, blur, jpeg, random_folds, remember
from torch import Tensor

from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.evidence import weigh_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from significance import Picture

    Chooser = Callable[[torch.Generator, int, int], tuple[Tensor, Tensor]]

SIZES, FOLDS, CHOSEN = (20, 50, 100, 200, 400), 20, 32
SHARES = (0.05, 0.2)  # of the images of B that are of another kind
UNEQUAL = ((50, 100), (50, 200), (50, 400), (100, 400))


@dataclass
class Sets:
    """Images of A, those of B, and how a draw chooses from both."""

    a: Images
    b: Images
    choose: Chooser


def different(total: int, generator: torch.Generator, size_a: int, size_b: int) -> tuple[Tensor, Tensor]:
    """Images of A and of B, none of which shows the same picture."""
    order = torch.randperm(total, generator=generator)
    return order[:size_a], order[size_a : size_a + size_b]


def mixed(
    total: int, others: int, share: float, generator: torch.Generator, size_a: int, size_b: int
) -> tuple[Tensor, Tensor]:
    """As :func:`different`, but each image of B is of the other kind, which follows in the pool, by this chance."""
    a, b = different(total, generator, size_a, size_b)
    strangers = total + torch.randperm(others, generator=generator)
    replaced = (torch.rand(size_b, generator=generator) < share).nonzero()[: len(strangers), 0]
    b[replaced] = strangers[: len(replaced)]
    return a, b


def share_found(
    measure: Measure, sets: Sets, sizes: tuple[int, int], draws: int, weigh: Callable[..., Tensor] | None = None
) -> float:
    """In which share of draws p is 0.05 or less; with ``weigh``, by random weights of neurons."""
    generator = torch.Generator().manual_seed(1000 * sizes[0] + sizes[1])
    found = 0
    for _ in range(draws):
        chosen = sets.choose(generator, *sizes)
        a, b = (
            measure.in_folds(images, some, random_folds(len(some), FOLDS, generator))
            for images, some in zip((sets.a, sets.b), chosen, strict=True)
        )
        weights = None if weigh is None else weigh(a.neurons.total, generator)
        test = weigh_evidence(a.distances(b), RECORD.folded(a, b), RECORD.power, weights).test
        found += test.p_value <= 0.05
    return found / draws


def at_sizes(measure: Measure, sets: Sets, sizes: Sequence[int], draws: int) -> list[float | None]:
    """The share found of each size; None, and not drawn, after two sizes at which all draws find it."""
    found: list[float | None] = []
    for size in sizes:
        sure = len(found) > 1 and all(share in (1, None) for share in found[-2:])
        found.append(None if sure else share_found(measure, sets, (size, size), draws))
    return found


def some_neurons(total: int, generator: torch.Generator) -> Tensor:
    """The same weight for a few neurons, drawn at random, and 0 for the others."""
    weights = torch.zeros(total, dtype=torch.float64)
    weights[torch.randperm(total, generator=generator)[:CHOSEN]] = 1 / CHOSEN
    return weights


@dataclass
class Pictures:
    """Emoji of one maker, the same ones of another, photographs, and where they are from."""

    emoji: list[Picture]
    others: list[Picture]
    photographs: list[Picture]
    origin: Sequence[object]

    @classmethod
    def of(cls, quick: bool) -> Pictures:
        if quick:
            digits = data.at_hand(24, "digits")
            photographs = [picture[:SIDE, :SIDE] for picture in data.at_hand(8)]
            return cls(digits, [255 - digit for digit in digits], photographs, ["scikit-image", "scikit-learn"])
        google, facebook = ({one.name: one.path for one in data.emoji(maker)} for maker in ("google", "facebook"))
        both = [name for name in google if name in facebook]
        emoji, others = ([data.picture(made[name]) for name in both] for made in (google, facebook))
        photographs = [data.picture(path, SIDE) for path in data.photographs()]
        return cls(emoji, others, photographs, [data.EMOJI["google"], data.EMOJI["facebook"], data.PHOTOGRAPHS])


def differences(measure: Measure, given: Pictures, plain: Images) -> dict[str, Callable[[], Sets]]:
    """What B is, by name; each is measured when it is asked for."""
    total, others = len(given.emoji), len(given.photographs)

    def changed(pictures: Callable[[], list[Picture]]) -> Sets:
        return Sets(plain, measure(pictures()), partial(different, total))

    def contaminated(share: float) -> Sets:
        strangers = measure(given.photographs)
        pool = Images(*(torch.cat([getattr(x, name) for x in (plain, strangers)]) for name in ("counts", "means")))
        return Sets(pool, pool, partial(mixed, total, others, share))

    return {
        "JPEG of quality 90": partial(changed, lambda: [jpeg(picture) for picture in given.emoji]),
        "blur of 0.5 pixels": partial(changed, lambda: [blur(picture) for picture in given.emoji]),
        "emoji of another maker": partial(changed, lambda: given.others),
        **{f"{results.percent(share)} photographs": partial(contaminated, share) for share in SHARES},
    }


def levels(measure: Measure, plain: Images, draws: int, quick: bool) -> dict[str, Callable[[], float]]:
    """False alarms, by name: of sides of unequal size, and by few neurons."""
    sets = Sets(plain, plain, partial(different, len(plain)))
    unequal, equal = (((10, 14),), (12,)) if quick else (UNEQUAL, SIZES[1:3])
    found = {f"{a} and {b} images": partial(share_found, measure, sets, (a, b), draws) for a, b in unequal}
    for size in equal:
        name = f"{size} images a side, {CHOSEN} neurons of weight 1/{CHOSEN}"
        found[name] = partial(share_found, measure, sets, (size, size), draws, some_neurons)
    return found


def draw(found: dict[str, list[float | None]], sizes: Sequence[int]) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    figure.suptitle("Share of draws in which the test finds a difference, by images a side")
    axis = figure.subplots()
    colours = [results.COLOURS[name] for name in ("dna-emd", "dna-fd", "fd", "KID", "other")]
    for (name, shares), colour, marker in zip(found.items(), colours, "osDv^", strict=True):
        heights = [100 if share is None else 100 * share for share in shares]
        axis.plot(sizes, heights, color=colour, marker=marker, label=name)
    axis.axhline(5, color="black", linestyle=":", linewidth=1, label="found of nothing: 5 %")
    axis.set(xscale="log", xlabel="images a side", ylabel="p ≤ 0.05 (% of draws)", ylim=(-3, 103))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right center")
    return figure


def first(shares: Sequence[float | None], sizes: Sequence[int]) -> str:
    """From how many images on a difference is found in 95 % of draws."""
    return next(
        (f"{n}" for n, share in zip(sizes, shares, strict=True) if share is None or share >= 0.95), f"over {sizes[-1]}"
    )


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of each cell; false alarms take twice as many")
    arguments = parser.parse_args()
    folder = results.begin(arguments)
    quick = arguments.quick
    asked.NUM_RELABELINGS = RELABELINGS
    sizes, draws = ((10, 12), 2) if quick else (SIZES, arguments.draws)
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = partial(remember, None if quick else data.CACHE / f"how_many_images-{script}-{draws}.json")
    given, measure = Pictures.of(quick), Measure(input_size=SIDE)
    plain = measure(given.emoji)
    found = {}
    for name, sets in differences(measure, given, plain).items():
        found[name] = kept(name, lambda made=sets: at_sizes(measure, made(), sizes, draws))
    alarms = {name: kept(name, compute) for name, compute in levels(measure, plain, 2 * draws, quick).items()}
    needed = ", ".join(f"{first(shares, sizes)} for {name}" for name, shares in found.items())
    least, most = min(alarms.values()), max(alarms.values())
    results.write(
        folder,
        "how_many_images",
        here=(
            f"to find a difference in 95 % of draws, the test needs so many images a side: {needed}. False alarms at"
            f" 5 % are {100 * least:.1f} to {100 * most:.1f} % of draws."
        ),
        tables=[
            results.table(
                ["found in so many draws", *(f"{n} images" for n in sizes)],
                [
                    [name, *("-" if share is None else f"{100 * share:.0f} %" for share in shares)]
                    for name, shares in found.items()
                ],
            ),
            results.table(
                ["no difference", "p ≤ 0.05", "draws"],
                [[name, f"{100 * share:.1f} %", 2 * draws] for name, share in alarms.items()],
            ),
        ],
        figures={"": draw(found, sizes)},
        seeds="of draws: 1000 times the images of A, and those of B",
        data=given.origin,
    )


if __name__ == "__main__":
    main()
