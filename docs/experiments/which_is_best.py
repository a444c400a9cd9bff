"""Is the set that looks best the best? By simulation, on emoji.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/which_is_best.py

Emoji of google are the reference; six sets of other emoji, never the same pictures, are compared with it, as
:func:`compare` does with several sets: the nearest is called best, and surely so if the paired test says that it is
nearer than the second. The sets are alike in two cases, and differ by how much they are blurred in a third. Each image
is measured once at 64 pixels, its own size, in 100 bins; a draw shares images out to 20 folds at random.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from significance import RECORD, SIDE, Images, Measure, random_folds, remember

from torchmetrics_dna.comparisons.several_sets import Comparisons
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.dna import evidence as asked
from torchmetrics_dna.dna.evidence import paired_p_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from significance import Picture

    from torchmetrics_dna.dna import HistogramDNA

SIZES, FOLDS, SETS = (20, 100), 20, 6
BLURS = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # pixels, the best last
ALIKE, OTHER, BLURRED = "six of the same kind", "six of another maker", "blurred less and less"


def emoji(quick: bool) -> tuple[list[Picture], list[Picture], list[object]]:
    """Emoji of one maker, the same ones of another, and where they are from."""
    if quick:
        digits = data.at_hand(24, "digits")
        return digits, [255 - digit for digit in digits], ["scikit-learn"]
    google, facebook = ({one.name: one.path for one in data.emoji(maker)} for maker in ("google", "facebook"))
    both = [name for name in google if name in facebook]
    some, others = ([data.picture(made[name]) for name in both] for made in (google, facebook))
    return some, others, [data.EMOJI["google"], data.EMOJI["facebook"]]


def blurred(pictures: Sequence[Picture], radius: float) -> list[Picture]:
    return [np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))) for picture in pictures]


def against(reference: HistogramDNA, other: HistogramDNA) -> Comparison:
    sizes = {"a": reference.num_images, "b": other.num_images}
    return Comparison(reference.neurons, {RECORD.name: RECORD.result(reference, other)}, sizes, "")


def draw(
    measure: Measure, reference: Images, sets: Sequence[Images], size: int, generator: torch.Generator
) -> Comparisons:
    """One reference and six sets, of different pictures."""
    chosen = torch.randperm(len(reference), generator=generator)[: size * (SETS + 1)].split(size)
    made = [
        measure.in_folds(images, some, random_folds(size, FOLDS, generator))
        for images, some in zip((reference, *sets), chosen, strict=True)
    ]
    return Comparisons("reference", {str(i): against(made[0], one) for i, one in enumerate(made[1:])})


def shares(measure: Measure, reference: Images, sets: Sequence[Images], size: int, draws: int) -> list[float]:
    """Of draws: the last set is best; some set is surely best; one is, and it is not the last; two alone differ."""
    generator = torch.Generator().manual_seed(size)
    right = sure = wrong = pairs = 0
    for _ in range(draws):
        found = draw(measure, reference, sets, size, generator)
        best = found.best
        surely = all(p is not None and p <= 0.05 for name, p in found.p_values.items() if name != best)
        right += best == str(SETS - 1)
        sure += surely
        wrong += surely and best != str(SETS - 1)
        one, other = (found[name][RECORD.name].evidence for name in ("0", "1"))
        p = None if one is None or other is None else paired_p_value(one, other)
        pairs += p is not None and p <= 0.05
    return [right / draws, sure / draws, wrong / draws, pairs / draws]


def figure_of(cells: Sequence[Sequence[float]], sizes: Sequence[int]) -> Figure:
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    figure.suptitle("Sets blurred less and less: is the sharpest found?", x=0.01, ha="left", fontsize=11)
    axis = figure.subplots()
    for name, colour, marker, values in (
        ("called best", "dna-emd", "o", [cell[0] for cell in cells]),
        ("surely best", "dna-fd", "s", [cell[1] - cell[2] for cell in cells]),
    ):
        heights = [100 * value for value in values]
        axis.plot(list(map(str, sizes)), heights, color=results.COLOURS[colour], marker=marker, label=name)
    axis.set(xlabel="images of each set", ylabel="% of draws", ylim=(-3, 103))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of each cell")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    asked.NUM_RELABELINGS = 99  # enough for values, by which sets are ordered
    sizes, draws = ((3,), 2) if quick else (SIZES, arguments.draws)
    script = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = partial(remember, None if quick else data.CACHE / f"which_is_best-{script}-{draws}.json")
    (some, others, origin), measure = emoji(quick), Measure(input_size=SIDE)
    plain = measure(some)
    cases: dict[str, Callable[[], Sequence[Images]]] = {
        ALIKE: lambda: [plain] * SETS,
        OTHER: lambda: [measure(others)] * SETS,
        BLURRED: lambda: [measure(blurred(some, radius)) for radius in BLURS],
    }
    found: dict[str, list[list[float]]] = {}
    for name, make in cases.items():
        sets: list[Images] = []

        def compute(size: int, make: Callable[[], Sequence[Images]] = make, sets: list[Images] = sets) -> list[float]:
            if not sets:
                sets.extend(make())
            return shares(measure, plain, sets, size, draws)

        found[name] = [kept(f"{name} {size}", partial(compute, size)) for size in sizes]
    alike = [cell for name in (ALIKE, OTHER) for cell in found[name]]
    results.write(
        folder,
        "which_is_best",
        here=(
            f"If six sets are samples of the same distribution, one is reported as significantly closest in"
            f" {results.span([100 * cell[1] for cell in alike], '.1f')}% of draws. If two of them are picked in"
            f" advance, one is significantly closer in {results.span([100 * cell[3] for cell in alike], '.1f')}%."
        ),
        tables=[
            results.table(
                ["alike", "images", "surely best: one of six", "surely nearer: one of two"],
                [
                    [name, size, f"{100 * cell[1]:.1f} %", f"{100 * cell[3]:.1f} %"]
                    for name in (ALIKE, OTHER)
                    for size, cell in zip(sizes, found[name], strict=True)
                ],
            ),
            results.table(
                [
                    "blurred by 0.7 to 0.2 pixels, images",
                    "the sharpest is best",
                    "and surely so",
                    "another is surely best",
                ],
                [
                    [size, *(f"{100 * share:.1f} %" for share in (cell[0], cell[1] - cell[2], cell[2]))]
                    for size, cell in zip(sizes, found[BLURRED], strict=True)
                ],
            ),
        ],
        figures={"": figure_of(found[BLURRED], sizes)},
        seeds=f"of draws: the images of a set; {draws} draws of each cell",
        data=origin,
    )


if __name__ == "__main__":
    main()
