"""What does an extractor see? In how many draws of a few photographs `compare` finds a change, as a Markdown table.

    python what_it_sees.py efficientnet_lite0 resnet18 resnet18:random

An extractor is the name of a preset or a timm model; with `:random`, a timm model as it is before training. For a
network of your own, call `table({"mine": DNAExtractor(network, layers=[...])}, images=24, draws=10)`. Both sides are
different crops of photographs that scikit-image ships, shared out at random in each draw; those of B are changed.
--page writes the table into a page, between two comments.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import AMOUNTS, DEGRADATIONS, STRENGTHS, photographs
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.version import __version__

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]
BINS, FOLDS = 100, 12
BEGIN, END = "<!-- what it sees -->", "<!-- end of what it sees -->"


def grey(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))


def upside_down(picture: Picture) -> Picture:
    return picture[::-1].copy()


def changes(strengths: Sequence[int]) -> dict[str, Change]:
    by_name: dict[str, Change] = {"none (false alarms)": np.asarray}
    for name, degrade in DEGRADATIONS.items():
        unit, of = AMOUNTS[name]
        by_name |= {f"{name}, {unit.format(f'{of(s):g}')}": partial(degrade, strength=s) for s in strengths}
    return by_name | {"grey instead of colours": grey, "upside down": upside_down}


def in_folds(dnas: Sequence[DNA]) -> DNA:
    """The DNA of some images, in folds of equal size."""
    folds = tuple(merged(dnas[i::FOLDS]) for i in range(FOLDS))
    return replace(merged(folds), folds=folds)


def found_in(extractor: DNAExtractor, images: int, draws: int, strengths: Sequence[int]) -> dict[str, int]:
    """In how many draws the test finds each change; each image is measured once for each."""
    photos = photographs(2 * images)
    orders = [np.random.default_rng(seed).permutation(len(photos)) for seed in range(draws)]
    num_found, unchanged = {}, list[DNA]()
    for name, change in changes(strengths).items():
        dnas = [make_dna([change(photo)], extractor, num_bins=BINS) for photo in photos]
        unchanged = unchanged or dnas
        sides = [([unchanged[i] for i in order[:images]], [dnas[i] for i in order[images:]]) for order in orders]
        num_found[name] = sum((compare(*map(in_folds, pair)).p_value or 1) <= SIGNIFICANT for pair in sides)
    return num_found


def table(extractors: Mapping[str, DNAExtractor], images: int, draws: int, strengths: Sequence[int] = STRENGTHS) -> str:
    """A row for each change, a column for each extractor."""
    num_found = {name: found_in(extractor, images, draws, strengths) for name, extractor in extractors.items()}
    rows = [[change, *(f"{of[change]} of {draws}" for of in num_found.values())] for change in changes(strengths)]
    lines = [["B is changed by", *num_found], ["---"] * (1 + len(num_found)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def extractor_of(name: str) -> DNAExtractor:
    model, _, state = name.partition(":")
    if state not in ("", "random"):
        raise SystemExit(f"{name!r}: expected the name of an extractor, or of a timm model and ':random'")
    torch.manual_seed(0)
    return DNAExtractor(timm.create_model(model, pretrained=False).eval() if state else model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extractors", nargs="+", metavar="EXTRACTOR")
    parser.add_argument("--images", type=int, default=24, help="of each side")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--strengths", type=int, nargs="+", default=STRENGTHS, help="1 (slight) to 4")
    parser.add_argument("--page", type=Path, help="write the table into this page, instead of printing it")
    arguments = parser.parse_args()
    made = {name: extractor_of(name) for name in arguments.extractors}
    versions = f"torchmetrics-dna {__version__}, torch {torch.__version__}, timm {timm.__version__}"
    text = f"""{table(made, arguments.images, arguments.draws, arguments.strengths)}

<sub>In how many draws p ≤ {SIGNIFICANT}, of {arguments.images} images a side, {FOLDS} folds, {BINS} bins.
`{shlex.join(["python", "docs/examples/what_it_sees.py", *sys.argv[1:]])}`;
seeds: 0 to {arguments.draws - 1} of draws, 0 of random weights; data: photographs of scikit-image; {versions}.</sub>"""
    if arguments.page is None:
        print(text)
        return
    page = arguments.page.read_text(encoding="utf-8")
    page, places = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page, flags=re.DOTALL)
    if places != 1:
        raise SystemExit(f"{arguments.page} has {places} places for a table, expected one: {BEGIN} and {END}")
    arguments.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
