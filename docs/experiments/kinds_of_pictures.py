"""How much of the difference between kinds of pictures the packaged dictionary of changes explains by chance.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/kinds_of_pictures.py

Photographs, drawings, emoji, icons, letters and digits differ in what they show, and no change turned one into another;
so any change that is named here is wrong. Every second kind set the share of a difference below which no change is
named; the others are reported. Blurred, compressed and otherwise changed pictures of one kind show what this leaves.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.dna.changes import LEAST_EXPLAINED, changes_for
from torchmetrics_dna.images.changes import CHANGES, change_image
from torchmetrics_dna.images.resize import resize_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

IMAGES, SIZE, DRAWS, SEED = 100, 50, 2, 0
CHANGED, STRENGTHS = 30, (2, 4)
KINDS = (
    "photographs", "demo", "digits", "emoji google", "drawings", "emoji apple", "icons", "game art", "letters",
    "emoji twitter", "emoji facebook",
)  # fmt: skip
WITH_CHANGES = ("photographs", "digits")


def pictures(kind: str, most: int) -> list[NDArray[np.uint8]]:
    """Pictures of a kind, none of which is in the dictionary, but for those of the demonstration."""
    if kind in ("demo", "digits"):
        return data.at_hand(most, "digits" if kind == "digits" else "photographs")
    if kind == "letters":
        return data.letters(most, 64)
    if kind.startswith("emoji "):
        paths = [one.path for one in data.emoji(kind.removeprefix("emoji "))]
    elif kind == "drawings":
        paths = data.drawings()
        in_dictionary = set(np.random.default_rng(2).permutation(len(paths))[:60].tolist())
        paths = [path for i, path in enumerate(paths) if i not in in_dictionary]
    else:
        paths = {"photographs": data.photographs()[1::2], "icons": data.icons(), "game art": data.game_art()}[kind]
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:most]
    return [data.picture(paths[i], 256 if kind == "drawings" else None) for i in chosen]


def means_of(images: list[NDArray[np.uint8]], extractor: DNAExtractor) -> Tensor:
    """Mean activation of each neuron for each image, shape ``(images, N)``."""
    parts = []
    for first in range(0, len(images), 32):
        resized = np.stack([resize_image(image, (224, 224)) for image in images[first : first + 32]])
        activations = extractor(torch.from_numpy(resized))
        parts.append(torch.cat([spatial_means([values]) for values in activations.values()]).T)
    return torch.cat(parts)


def kept(
    folder: Path | None, name: str, images: Callable[[], list[NDArray[np.uint8]]], extractor: DNAExtractor
) -> Tensor:
    """Mean activations from the folder, or measured and put there."""
    path = None if folder is None else folder / f"{name}.pt"
    if path is not None and path.exists():
        stored: Tensor = torch.load(path)
        return stored
    means = means_of(images(), extractor)
    if path is not None:
        torch.save(means, path)
    return means


def fits(a: Tensor, b: Tensor, extractor: DNAExtractor, size: int, generator: torch.Generator) -> tuple[str, float]:
    """The change that the dictionary names first, and the share that all explain, for sets drawn at random."""
    known = changes_for(None, extractor.name)
    assert known is not None
    mean_a, mean_b = (m[torch.randperm(len(m), generator=generator)[:size]].double().mean(0) for m in (a, b))
    fit = known.fit(mean_b - mean_a, extractor.neurons)
    return (known.names[fit.changes[0][0]] if fit.changes else "none"), 1 - fit.unexplained


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="folder that keeps what was measured")
    arguments = parser.parse_args()
    folder, store = results.begin(arguments), arguments.activations
    sources = ["scikit-image"] if arguments.quick else [data.PHOTOGRAPHS, data.DRAWINGS, data.ICONS, data.GAME_ART]
    extractor, generator = DNAExtractor("efficientnet_lite0"), torch.Generator().manual_seed(SEED)
    kinds = ("demo", "digits", "letters") if arguments.quick else KINDS
    images, size, draws = (4, 2, 1) if arguments.quick else (IMAGES, SIZE, DRAWS)
    plain = {kind: kept(store, kind, lambda kind=kind: pictures(kind, images), extractor) for kind in kinds}
    rows, largest = [], {}
    for what, some in (("that set it", kinds[::2]), ("others", kinds[1::2])):
        found = [
            (share, a, b, name)
            for a, b in permutations(some, 2)
            for name, share in (fits(plain[a], plain[b], extractor, size, generator) for _ in range(draws))
        ]
        shares = [share for share, *_ in found]
        largest[what] = max(found, default=(0.0, "", "", ""))
        silent = sum(share < LEAST_EXPLAINED for share in shares)
        quantiles = (f"{np.quantile(shares or [0], q):.2f}" for q in (0.5, 0.95, 1))
        rows.append([what, ", ".join(some), *quantiles, f"{silent} of {len(shares)}"])
    changed_rows = []
    for kind in ("demo",) if arguments.quick else WITH_CHANGES:
        cells = []
        for same in (True, False):
            right = wrong = pairs = 0
            for change in CHANGES:
                for strength in STRENGTHS:
                    b = kept(
                        store, f"{kind}, {change} {strength}",
                        lambda kind=kind, change=change, strength=strength: [
                            change_image(np.ascontiguousarray(image), change, strength, seed)
                            for seed, image in enumerate(pictures(kind, images)[: min(CHANGED, size)])
                        ],
                        extractor,
                    )  # fmt: skip
                    a = plain[kind][: len(b)] if same else plain[kind][len(b) :]
                    name, share = fits(a, b, extractor, max(len(a), len(b)), generator)
                    pairs += 1
                    if share >= LEAST_EXPLAINED:
                        right, wrong = right + (name == change), wrong + (name != change)
            cells += [f"{right} of {pairs}", str(wrong)]
        changed_rows.append([kind, *cells])
    share, a, b, name = largest["others"]
    results.write(
        folder,
        "kinds_of_pictures",
        paper="does not name changes.",
        here="among the kinds that set the threshold, changes explain at most"
        f" {results.percent(largest['that set it'][0])} of the difference between two kinds, so below"
        f" {results.percent(LEAST_EXPLAINED)} none is named. Of pairs of the other kinds, {rows[1][-1]} are then"
        f" silent; the most that is explained is {results.percent(share)}, of {a} against {b}, by {name}.",
        tables=[
            results.table(["kinds", "which", "explained, median", "95 % below", "most", "silent"], rows),
            results.table(
                ["changed pictures", "same pictures: right", "wrong", "other pictures: right", "wrong"], changed_rows
            ),
        ],
        seeds=f"{SEED}, of draws",
        data=sources + ([] if arguments.quick else list(data.EMOJI.values())),
    )


if __name__ == "__main__":
    main()
