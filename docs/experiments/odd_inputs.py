"""Of 25 volumes, is the one that is spoilt named, and are clean sets left alone?

    pip install "torchmetrics-dna[demo]" scikit-learn scipy nibabel
    python docs/experiments/odd_inputs.py

Blocks of 16 and of 24 voxels of a T1 template of the brain and of its map of grey matter (nilearn), which chose
nothing; heads, CT and latents by formula, on which the limits of :func:`outlier_inputs` were read. Layers are those of
three convolutions with random weights. A draw takes 25 volumes, clean, and then each sort of fault in one.

Bands: blocks of 8 voxels of three maps of one brain, and six correlated bands by formula, in halves that are equal or
of which one band of B is shifted by half the deviation of its means; which bands does ``compare`` name?
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import data
import numpy as np
import results
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.functional.flagging import outlier_inputs
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.numbers import GRID, input_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Volume = NDArray[np.float64]

SIZE, DRAWS = 25, 60
MAPS = "T1", "grey matter", "white matter"
BRAIN = data.Package("pip", "nilearn", "0.12.1")
FILES = {name: f"*{short}_tal*converted.nii.gz" for name, short in zip(MAPS, ("t1", "gm", "wm"), strict=True)}
BLOCK, A_SIDE, DRAWS_OF_BANDS = 8, (25, 50, 100), 50
KINDS = {
    "T1, 16": "real",
    "T1, 24": "real",
    "grey matter, 24": "real",
    "head": "formula",
    "CT": "formula",
    "latent": "formula",
}
SORTS: dict[str, Callable[[Volume, np.random.Generator], Volume]] = {
    "empty": lambda x, _: np.zeros_like(x),
    "constant": lambda x, _: np.full_like(x, np.median(x) + x.std()),
    "doubled": lambda x, _: 2 * x,
    "halved": lambda x, _: x / 2,
    "noise": lambda x, random: x + x.std() / 2 * random.normal(size=x.shape),
    "blurred": lambda x, _: gaussian_filter(x, 1.5),
    "half empty": lambda x, _: np.where(np.arange(len(x))[:, None, None] < len(x) // 2, x, x.min()),
    "one spike": lambda x, random: np.where(
        np.arange(x.size).reshape(x.shape) == random.integers(x.size), x.max() + 50 * x.std(), x
    ),
    "shuffled": lambda x, random: random.permutation(x.ravel()).reshape(x.shape),
    "flipped": lambda x, _: x[::-1].copy(),
}


@cache
def volume(name: str) -> Volume:
    import nibabel

    return np.asarray(nibabel.load(next(BRAIN.folder().rglob(FILES[name]))).dataobj, np.float64)


@cache
def blocks_of_bands() -> Volume:
    """Blocks of all maps, ``(blocks, maps, 8, 8, 8)``, that show more than air."""
    whole = np.stack([volume(name) / volume(name).max() for name in MAPS])
    counts = [length // BLOCK for length in whole.shape[1:]]
    cut = whole[:, : counts[0] * BLOCK, : counts[1] * BLOCK, : counts[2] * BLOCK]
    cut = cut.reshape(3, counts[0], BLOCK, counts[1], BLOCK, counts[2], BLOCK)
    found = cut.transpose(1, 3, 5, 0, 2, 4, 6).reshape(-1, 3, BLOCK, BLOCK, BLOCK)
    return found[(found[:, 0] > 0.1).mean((1, 2, 3)) > 0.5]


def bands_by_formula(random: np.random.Generator, count: int) -> Volume:
    """Six bands of 16 x 16 pixels: a level and a pattern that all share, and those of each."""
    level = 0.4 + 0.1 * random.normal(size=(count, 1, 1, 1)) + 0.05 * random.normal(size=(count, 6, 1, 1))
    pattern = [gaussian_filter(random.normal(size=(count, bands, 16, 16)), (0, 0, 2, 2)) for bands in (1, 6)]
    return level + sum(0.1 * each / each.std() for each in pattern)


def named_bands(draws: int, sizes: Sequence[int], quick: bool) -> list[list[str]]:
    """Rows of a table: which bands are named of equal sides, and of those with a shifted band."""
    rows = []
    for kind in ["six, by formula"] if quick else ["three maps of a brain", "six, by formula"]:
        for size in sizes:
            found: dict[str, list[bool]] = {name: [] for name in ("false", "right", "wrong", "network")}
            for draw in range(draws):
                random = np.random.default_rng([size, draw])
                if kind == "six, by formula":
                    both = bands_by_formula(random, 2 * size)
                else:
                    both = random.permutation(blocks_of_bands())[: 2 * size]
                band = draw % both.shape[1]
                spread = both[:, band].reshape(2 * size, -1).mean(1).std()
                for is_shifted in (False, True):
                    sides = [torch.from_numpy(each).float() for each in (both[:size], both[size:])]
                    sides[1][:, band] += is_shifted * spread / 2
                    result = compare(*sides, network_of_bands(both.shape[1], both.ndim - 2), metrics=["dna-emd"])
                    named = {int(number) for number in re.findall(r"of band (\d+)", str(result.explain()))}
                    if is_shifted:
                        found["right"].append(band in named)
                        found["wrong"].append(bool(named - {band}))
                        found["network"].append(result.p_value <= SIGNIFICANT)
                    else:
                        found["false"].append(bool(named))
            shares = {name: f"{np.mean(each):.2f}" for name, each in found.items()}
            rows.append([kind, f"{size}", *shares.values()])
            print(rows[-1], flush=True)
    return rows


@cache
def network_of_bands(bands: int, axes: int) -> DNAExtractor:
    torch.manual_seed(0)
    convolution = nn.Conv3d if axes == 3 else nn.Conv2d
    module = nn.Sequential(convolution(bands, 16, 3), nn.ReLU(), convolution(16, 32, 3, stride=2), nn.ReLU())
    return DNAExtractor(module.eval(), layers=["1", "3"], inputs="any", example=torch.zeros(2, bands, *[16] * axes))


@cache
def blocks(name: str, side: int) -> list[Volume]:
    """Blocks of a volume that show more than air."""
    whole = volume(name)
    starts = [range(0, length - side + 1, side) for length in whole.shape]
    cut = [whole[x : x + side, y : y + side, z : z + side] for x in starts[0] for y in starts[1] for z in starts[2]]
    return [block for block in cut if (block > 0.1 * whole.max()).mean() > 0.5]


def by_formula(kind: str, random: np.random.Generator, side: int = 16) -> Volume:
    smooth = gaussian_filter(random.normal(size=(side,) * 3), side / 14)
    if kind == "latent":
        return 1.3 * random.uniform(0.9, 1.1) * gaussian_filter1d(random.normal(size=(side,) * 3), 0.8, axis=0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij"))
    far = ((grid / random.uniform(0.6, 0.85, 3)[:, None, None, None]) ** 2).sum(0)
    noise = random.normal(size=(side,) * 3)
    if kind == "CT":
        bone = np.where(far > 0.8, random.uniform(500, 900), 40.0)
        return np.where(far < 1, bone, -1000.0) + np.where(far < 1, 30 * smooth / smooth.std(), 0) + 12 * noise
    shells = (600 + 250 * np.cos(3 * far * random.uniform(0.9, 1.1)) + 80 * smooth / smooth.std()) * random.uniform(
        0.75, 1.3
    )
    return np.maximum(np.where(far < 1, shells + 15 * noise, 0), 0)


def drawn(kind: str, random: np.random.Generator, quick: bool) -> list[Volume]:
    name, _, side = kind.partition(", ")
    if KINDS[kind] == "formula" or quick:
        return [by_formula(name, random) for _ in range(SIZE)]
    pool = blocks(name, int(side))
    return [pool[i] for i in random.permutation(len(pool))[:SIZE]]


@cache
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 8, 3), nn.ReLU(), nn.Conv3d(8, 16, 3, stride=2), nn.ReLU(), nn.Conv3d(16, 32, 3), nn.ReLU()
    ).eval()


def layers_of(volumes: list[Volume], unit: float) -> dict[str, Tensor]:
    """Means of the neurons of three layers."""
    values = torch.from_numpy(np.stack(volumes) / unit).float()[:, None]
    found = {}
    with torch.inference_mode():
        for name, module in network().named_children():
            values = module(values)
            if isinstance(module, nn.ReLU):
                found[name] = values.flatten(2).mean(2)
    return found


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    kinds, draws = (["head"], 1) if quick else (list(KINDS), DRAWS // 3)
    named: dict[str, dict[str, list[bool]]] = {}
    false: dict[str, list[bool]] = {}
    for k, kind in enumerate(kinds):
        found = named.setdefault(KINDS[kind], {sort: [] for sort in SORTS})
        for draw in range(draws):
            random = np.random.default_rng([k, draw])
            clean = drawn(kind, random, quick)
            unit = float(np.std(clean[0]))
            numbers = torch.stack([input_numbers(torch.from_numpy(each[None]), axes=GRID) for each in clean])
            layers = layers_of(clean, unit)
            false.setdefault(kind, []).append(bool(outlier_inputs(numbers, layers)))
            for sort, spoil in SORTS.items():
                at = int(random.integers(SIZE))
                made = spoil(clean[at], random)
                of_set = numbers.clone()
                of_set[at] = input_numbers(torch.from_numpy(made[None]), axes=GRID)
                of_one = layers_of([made], unit)
                means = {layer: rows.clone() for layer, rows in layers.items()}
                for layer, rows in means.items():
                    rows[at] = of_one[layer][0]
                found[sort].append(at in {odd.image for odd in outlier_inputs(of_set, means)})
        print(kind, np.mean(false[kind]), {sort: np.mean(each[-draws:]) for sort, each in found.items()}, flush=True)
    rows = [[sort, *(f"{np.mean(of[sort]):.2f}" for of in named.values())] for sort in SORTS]
    clean_rows = [[kind, f"{sum(each)} of {len(each)}"] for kind, each in false.items()]
    tables = [
        results.table(
            [
                "one of 25 inputs is",
                *(f"flagged, {'blocks of a brain' if key == 'real' else 'by formula'}" for key in named),
            ],
            rows,
        ),
        results.table(["clean sets of 25", "with a name"], clean_rows),
        results.table(
            ["bands", "a side", "equal: a band named", "shifted: it", "another", "a difference by the network alone"],
            named_bands(2 if quick else DRAWS_OF_BANDS, A_SIDE[: 1 if quick else None], quick),
        ),
    ]
    total = [each for of_kind in false.values() for each in of_kind]
    here = f"An input is flagged in {sum(total)} of {len(total)} clean sets. A flipped volume is hardly ever flagged."
    seeds = "kind and draw; 0 of the network's weights"
    results.write(folder, "odd_inputs", here=here, tables=tables, seeds=seeds, data=[BRAIN])


if __name__ == "__main__":
    main()
