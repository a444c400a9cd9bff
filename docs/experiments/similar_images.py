"""Find pictures that share an attribute, by neurons chosen on other pictures (section 5.3 and Fig. 6 of the paper).

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/similar_images.py

The pictures are emoji of people. Neurons that differ most between those with and without an attribute are chosen on
what Apple, Facebook and Google drew, and look for the attribute in what Twitter drew: one picture with it is given, and
the others are ranked by their distance to that one. The same person in another skin tone does not count.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import data
import numpy as np
import results
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageFilter
from singles import counts_of_each, dna_of, neuron_distances
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.functional import select_neurons

NUMBERS = (1, 4, 16, 64, 256)  # of neurons
SHOWN = (16, None)  # None: all
NEAREST = 10
NUM_BINS = 100  # a tenth of the usual, as every pair of pictures is compared
SEARCHED = "twitter"
SEED = 0
ATTRIBUTES = {  # any of these code points
    "headgear": {
        "1F46E", "1F477", "1F482", "1F385", "1F936", "1F384", "1F373", "1F692", "1F393", "1F9D9", "1F575", "1F472",
        "1F33E", "2708", "1F3ED", "1F527", "1F3A8", "1F473", "1F9D5", "1F478", "1F934", "1FAC5", "1F470",
    },
    "dark skin": {"1F3FE", "1F3FF"},
    "woman": {"1F469", "2640"},
}  # fmt: skip
GROUPS = ("person", "person-role", "person-fantasy")


class Picture(NamedTuple):
    """A picture, what it shows apart from the skin tone, and which attributes it has."""

    pixels: np.ndarray
    shows: str
    attributes: frozenset[str]


def people(maker: str) -> list[Picture]:
    """Emoji of people, in all skin tones."""
    package = data.EMOJI[maker].folder() / "package"
    found = []
    for one in sorted(json.loads((package / "emoji.json").read_text(encoding="utf-8")), key=lambda one: one["unified"]):
        if one["subcategory"] not in GROUPS:
            continue
        for tone in (one, *one.get("skin_variations", {}).values()):
            path = package / "img" / maker / "64" / tone["image"]
            code = set(tone["unified"].split("-"))
            has = frozenset(name for name, points in ATTRIBUTES.items() if code & points)
            if path.exists():
                found.append(Picture(data.picture(path, 64), one["unified"], has))
    return found


def at_hand(kind: str, number: int) -> list[Picture]:
    """Pictures of one kind, of which every other one is blurred."""
    found = []
    for i, pixels in enumerate(data.at_hand(number, kind)):
        blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5)))
        found.append(Picture(blurred if i % 2 else pixels, str(i), frozenset(["blurred"] if i % 2 else [])))
    return found


def draw(pictures: list[Picture], number: int, seed: int) -> list[Picture]:
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:number]
    return [pictures[i] for i in chosen]


def batch(pictures: list[Picture]) -> Tensor:
    return data.batch([picture.pixels for picture in pictures])


def order_neurons(sets: list[list[Picture]], attribute: str, number: int, extractor: DNAExtractor) -> Tensor:
    """Rank all neurons by how much they differ with the attribute, over several sets of pictures."""
    rows = []
    for pictures in sets:
        halves = [[one for one in pictures if (attribute in one.attributes) == has] for has in (True, False)]
        dnas = [dna_of(batch(draw(half, number, SEED)), extractor) for half in halves]
        rows.append(dnas[0].distances(dnas[1]))
    return select_neurons(torch.stack(rows), extractor.neurons.total)


class Search(NamedTuple):
    """One search for similar pictures.

    Attributes:
        attribute: What the neurons are chosen for; all given pictures have it.
        given: The pictures that others are compared with.
        pictures: The pictures that are searched.
        distances: dna-emd, ``(given, pictures, N)``; infinite between pictures that show the same.
        to_pool: dna-emd to all the pictures that are searched, ``(pictures, N)``.
        order: All neurons, from those that differ most with the attribute.

    """

    attribute: str
    given: list[Picture]
    pictures: list[Picture]
    distances: Tensor
    to_pool: Tensor
    order: Tensor

    def nearest(self, which: int, number: int | None, contrast: bool = False) -> list[Picture]:
        """The pictures closest to a given one, by the first so many neurons, or by all; or closer than to the pool."""
        scores = self.distances[which] - self.to_pool if contrast else self.distances[which]
        places = scores[:, self.order[:number]].mean(1).argsort(stable=True)[:NEAREST]
        return [self.pictures[i] for i in places.tolist()]

    def found(self, number: int | None, contrast: bool = False) -> float:
        """The share of the nearest pictures that have the attribute, in per cent."""
        every = [one for which in range(len(self.given)) for one in self.nearest(which, number, contrast)]
        return 100 * float(np.mean([self.attribute in one.attributes for one in every]))

    @property
    def chance(self) -> float:
        return 100 * float(np.mean([self.attribute in one.attributes for one in self.pictures]))


def search(
    attributes: list[str],
    searched: list[Picture],
    sizes: tuple[int, int],
    orders: list[Tensor],
    extractor: DNAExtractor,
) -> list[Search]:
    """Search for pictures like some that have each attribute, in one pass over all pictures."""
    num_given, num_pictures = sizes
    pictures = draw(searched, num_pictures, SEED + 1)
    given = [
        draw([one for one in searched if attribute in one.attributes], num_given, SEED) for attribute in attributes
    ]
    together = [one for some in given for one in some]
    references = list(counts_of_each(batch(together), extractor, NUM_BINS))
    pool = dna_of(batch(pictures), extractor, NUM_BINS).counts
    *rows, to_pool = neuron_distances(batch(pictures), [*references, pool], extractor)
    distances = torch.stack(rows)
    for row, one in zip(distances, together, strict=True):
        row[[other.shows == one.shows for other in pictures]] = torch.inf
    parts = distances.split([len(some) for some in given])
    return [Search(a, g, pictures, d, to_pool, o) for a, g, d, o in zip(attributes, given, parts, orders, strict=True)]


def plot(searches: list[Search]) -> Figure:
    """Plot the first picture given for each attribute, and those nearest to it."""
    rows = [(one, number) for one in searches for number in SHOWN]
    figure = Figure(figsize=(0.85 * (NEAREST + 1) + 1.2, 1.0 * len(rows) + 0.7), layout="constrained")
    for axes, (one, number) in zip(figure.subplots(len(rows), NEAREST + 1, squeeze=False), rows, strict=True):
        for axis, picture in zip(axes, [one.given[0], *one.nearest(0, number)], strict=True):
            has = one.attribute in picture.attributes
            axis.imshow(picture.pixels)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_linewidth(3)
            axis.spines[:].set_color("black" if axis is axes[0] else "#0072B2" if has else "#E69F00")
            axis.spines[:].set_linestyle("-" if has else ":")
        axes[0].set_ylabel(f"{one.attribute}\n{number or 'all'} neurons", fontsize=9)
    figure.suptitle(
        f"Given picture (left) and the {NEAREST} nearest; blue, solid: has the attribute; orange, dotted: lacks it",
        fontsize=10,
    )
    return figure


def conclude(searches: list[Search]) -> str:
    """Write the text about the results from the numbers."""
    few = SHOWN[0]
    parts = [
        f"For {one.attribute}, it is {one.found(few):.0f}%, {one.found(None):.0f}% and {one.chance:.0f}%."
        for one in searches
    ]
    ahead = sum(one.found(few) > one.found(None) for one in searches)
    return (
        f"Chosen neurons find {ahead} of {len(searches)} attributes better than all neurons do. The share of the"
        f" {NEAREST} nearest pictures that have the attribute is given with {few} chosen neurons, with all neurons, and"
        f" by chance. {' '.join(parts)}"
    )


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder = results.begin(arguments)
    number, sizes = (12, (2, 24)) if arguments.quick else (24, (8, 200))
    extractor = DNAExtractor("efficientnet_lite0")
    if arguments.quick:
        attributes, sets, searched = ["blurred"], [at_hand("photographs", 2 * number)], at_hand("digits", 40)
    else:
        sets = [people(maker) for maker in data.MAKERS if maker != SEARCHED]
        attributes, searched = list(ATTRIBUTES), people(SEARCHED)
    orders = [order_neurons(sets, attribute, number, extractor) for attribute in attributes]
    searches = search(attributes, searched, sizes, orders, extractor)
    header = [f"of the {NEAREST} nearest (%)", *(f"{k} neuron{'s' * (k > 1)}" for k in NUMBERS), "all", "chance"]
    rows = [
        [one.attribute + way, *(f"{one.found(k, contrast):.0f}" for k in (*NUMBERS, None)), f"{one.chance:.0f}"]
        for one in searches
        for way, contrast in (("", False), (", contrast", True))
    ]
    results.write(
        folder,
        "similar_images",
        paper="A few neurons that were chosen on CelebA find pictures in FFHQ that share eyeglasses or a hat with a"
        " given picture, with some errors.",
        here=conclude(searches),
        tables=[results.table(header, rows)],
        figures={"": plot(searches)},
        seeds=f"{SEED} and {SEED + 1}, of pictures",
        data=["scikit-image", "scikit-learn"] if arguments.quick else list(data.EMOJI.values()),
    )


if __name__ == "__main__":
    main()
