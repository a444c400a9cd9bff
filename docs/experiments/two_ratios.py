"""How often does the ratio to held-out images have a lower end, and is it right?

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/two_ratios.py

Pictures of three sorts, which chose nothing, are divided at random into a reference, a held-out set and a compared set.
Held-out pictures are changed slightly and compared ones clearly, so that the true ratio is known: it is that of all
pictures of the sort. In further draws the compared set is changed as the held-out one is, so that the true ratio is 1.
The old rule asks for the mean over the neurons of the network, with confidence 95 %. The new rule also asks for the
mean over image properties, each with confidence 97.5 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import data
import numpy as np
import results
import torch
from PIL import Image, ImageEnhance, ImageFilter

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.dna.evidence import Ratio, ratio_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from torchmetrics_dna.comparisons import Comparisons

    Picture = NDArray[np.uint8]

SIDE, POOL = 64, 400
SIZES, DRAWS, DRAWS_OF_EQUAL = (36, 60), 3, 20
HELD_OUT, COMPARED = "held-out", "compared"
TOLERANCE = 1e-9


def jpeg(picture: Picture, quality: int) -> Picture:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def blurred(picture: Picture, radius: float) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def scaled(picture: Picture, factor: float) -> Picture:
    return (picture * factor).round().clip(0, 255).astype(np.uint8)


def with_contrast(picture: Picture, factor: float) -> Picture:
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(picture)).enhance(factor))


def with_saturation(picture: Picture, factor: float) -> Picture:
    return np.asarray(ImageEnhance.Color(Image.fromarray(picture)).enhance(factor))


def noisy(picture: Picture, deviation: float) -> Picture:
    random = np.random.default_rng(int(picture.sum()))
    return (picture + random.normal(0, deviation, picture.shape)).round().clip(0, 255).astype(np.uint8)


class Change(NamedTuple):
    """A change of pictures, with a slight and a clear amount."""

    apply: Callable[[Picture, float], Picture]
    slight: float
    clear: float


CHANGES = {
    "blur": Change(blurred, 0.35, 1.2),
    "noise": Change(noisy, 3, 15),
    "JPEG": Change(lambda picture, quality: jpeg(picture, int(quality)), 85, 20),
    "darker": Change(scaled, 0.93, 0.65),
    "less contrast": Change(with_contrast, 0.92, 0.6),
    "less saturation": Change(with_saturation, 0.9, 0.4),
}


@dataclass(frozen=True)
class Draw:
    """Old and new ratios of one draw, and the true ones."""

    differs: bool
    old: Ratio | None
    network: Ratio | None
    properties: Ratio | None
    true_network: float
    true_properties: float

    @property
    def has_lower_end(self) -> bool:
        return any(ratio is not None and ratio.low > 0 for ratio in (self.network, self.properties))

    @property
    def is_above(self) -> bool:
        """True if a lower end of the new rule is above the truth."""
        pairs = ((self.network, self.true_network), (self.properties, self.true_properties))
        return any(ratio is not None and ratio.low > true + TOLERANCE for ratio, true in pairs)


def pictures_of(quick: bool) -> dict[str, list[Picture]]:
    if quick:
        return {"photographs": data.at_hand(60), "digits": data.at_hand(60, "digits")}
    random = np.random.default_rng(0)
    emoji = [data.picture(one.path, SIDE) for one in data.emoji("google")]
    drawings = data.drawings()
    clip_art = [data.picture(drawings[i], SIDE) for i in random.permutation(len(drawings))[:POOL]]
    photographs = [data.picture(path, SIDE) for path in data.photographs()]
    sorts = {"emoji": emoji, "clip art": clip_art, "photographs": photographs}
    return {name: [of[i] for i in random.permutation(len(of))[:POOL]] for name, of in sorts.items()}


def compared(sets: Mapping[str, list[Picture]], extractor: DNAExtractor) -> Comparisons:
    tensors = {name: data.batch(pictures) for name, pictures in sets.items()}
    reference = tensors.pop("reference")
    return compare(reference, tensors, extractor, held_out=HELD_OUT, metrics=["dna-emd"], copies=False)


def true_ratios(pictures: list[Picture], slight: Change, clear: Change, extractor: DNAExtractor) -> tuple[float, float]:
    """Ratios of the distances of all pictures of a sort: by the network, and by image properties."""
    of_all = compared(
        {
            "reference": pictures,
            HELD_OUT: [slight.apply(picture, slight.slight) for picture in pictures],
            COMPARED: [clear.apply(picture, clear.clear) for picture in pictures],
        },
        extractor,
    )
    network = of_all[COMPARED]["dna-emd"].value / of_all[HELD_OUT]["dna-emd"].value
    near, far = (of_all[name].properties["dna-emd"].value for name in (HELD_OUT, COMPARED))
    return network, far / near


def draw(pictures: list[Picture], slight: Change, clear: Change, amount: float, size: int, random: np.random.Generator,
         extractor: DNAExtractor, true: tuple[float, float]) -> Draw:  # fmt: skip
    chosen = random.permutation(len(pictures))[: 3 * size]
    reference, held_out, others = ([pictures[i] for i in part] for part in np.split(chosen, 3))
    found = compared(
        {
            "reference": reference,
            HELD_OUT: [slight.apply(picture, slight.slight) for picture in held_out],
            COMPARED: [clear.apply(picture, amount) for picture in others],
        },
        extractor,
    )
    far, near = (found[name]["dna-emd"].evidence for name in (COMPARED, HELD_OUT))
    p_value = found[COMPARED].p_value_of_any
    return Draw(
        p_value is not None and p_value <= 0.05,
        ratio_of(far, near),
        found.ratios()[COMPARED],
        found.property_ratios()[COMPARED],
        *true,
    )


def row(name: str, draws: list[Draw]) -> list[object]:
    different = [each for each in draws if each.differs]
    old_ends = [each for each in different if each.old is not None and each.old.low > 0]
    old_above = sum(each.old.low > each.true_network + TOLERANCE for each in draws if each.old is not None)
    new_ends = sum(each.has_lower_end for each in different)
    new_at_least_one = sum(
        any(ratio is not None and ratio.low >= 1 for ratio in (each.network, each.properties)) for each in different
    )
    new_above = sum(each.is_above for each in draws)
    count = max(1, len(different))
    return [
        name, len(draws), len(different), f"{len(old_ends) / count:.2f}", f"{old_above} of {len(draws)}",
        f"{new_ends / count:.2f}", f"{new_at_least_one / count:.2f}", f"{new_above} of {len(draws)}",
    ]  # fmt: skip


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    torch.manual_seed(0)
    extractor = DNAExtractor(input_size=SIDE)
    changes = dict([*CHANGES.items()][:1]) if quick else CHANGES
    sizes, num_draws, num_equal = ((18,), 1, 1) if quick else (SIZES, DRAWS, DRAWS_OF_EQUAL)
    random = np.random.default_rng(1)
    by_sort: dict[str, list[Draw]] = {}
    equal: list[Draw] = []
    names = [*changes]
    for sort, pictures in pictures_of(quick).items():
        of_sort = by_sort.setdefault(sort, [])
        for number, (_name, clear) in enumerate(changes.items()):
            # The held-out pictures are changed in another way than the compared ones.
            slight = changes[names[(number + 1) % len(names)]]
            true = true_ratios(pictures, slight, clear, extractor)
            for size in sizes:
                of_sort += [
                    draw(pictures, slight, clear, clear.clear, size, random, extractor, true) for _ in range(num_draws)
                ]
        for number in range(num_equal):
            change = changes[names[number % len(names)]]
            size = sizes[number % len(sizes)]
            equal.append(draw(pictures, change, change, change.slight, size, random, extractor, (1.0, 1.0)))
        print(sort, row(sort, of_sort))
    all_draws = [each for draws in by_sort.values() for each in draws]
    rows = [row(sort, draws) for sort, draws in by_sort.items()]
    rows += [row("all", all_draws), row("true ratio 1", equal)]
    header = ["pictures", "draws", "differ", "old: lower end", "old: above the truth", "new: lower end",
              "new: at least 1", "new: above the truth"]  # fmt: skip
    _, _, num_different, old, old_above, new, _, new_above = rows[-2]
    here = (
        f"In {num_different} draws, the compared set differs significantly from the reference. In {float(new):.0%} of"
        f" them, the ratio has a lower bound (with the network alone: {float(old):.0%}). The lower bound is above the"
        f" true ratio in {new_above} draws (with the network alone: {old_above}). If the true ratio is 1, the lower"
        f" bound is above 1 in {rows[-1][-1]} draws."
    )
    origin = [data.EMOJI["google"], data.DRAWINGS, data.PHOTOGRAPHS]
    results.write(
        folder, "two_ratios", here=here, tables=[results.table(header, rows)], seeds="0 (pictures), 1 (draws)",
        data=["pictures at hand"] if quick else origin,
    )  # fmt: skip


if __name__ == "__main__":
    main()
