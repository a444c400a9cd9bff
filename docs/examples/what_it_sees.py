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
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.reporting.words import SIGNIFICANT
from torchmetrics_dna.sets.demo import AMOUNTS, DEGRADATIONS, STRENGTHS, photographs
from torchmetrics_dna.version import __version__

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]
BEGIN, END = "<!-- what it sees -->", "<!-- end of what it sees -->"


def grey(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))


def upside_down(picture: Picture) -> Picture:
    return picture[::-1].copy()


def changes(strengths: Sequence[int]) -> dict[str, Change]:
    found: dict[str, Change] = {"none (false alarms)": np.asarray}
    for name, degrade in DEGRADATIONS.items():
        unit, of = AMOUNTS[name]
        found |= {f"{name}, {unit.format(f'{of(s):g}')}": partial(degrade, strength=s) for s in strengths}
    return found | {"grey instead of colours": grey, "upside down": upside_down}


def found_in(extractor: DNAExtractor, images: int, draws: int, strengths: Sequence[int]) -> dict[str, int]:
    """In how many draws the test finds each change."""
    photos = photographs(2 * images)
    found = dict.fromkeys(changes(strengths), 0)
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(photos))
        a, b = ([photos[i] for i in some] for some in (order[:images], order[images:]))
        dna = make_dna(a, extractor, num_folds=20)
        for name, change in changes(strengths).items():
            p_value = compare(dna, [change(photo) for photo in b], extractor).p_value
            found[name] += p_value is not None and p_value <= SIGNIFICANT
    return found


def table(extractors: Mapping[str, DNAExtractor], images: int, draws: int, strengths: Sequence[int] = STRENGTHS) -> str:
    """A row for each change, a column for each extractor."""
    found = {name: found_in(extractor, images, draws, strengths) for name, extractor in extractors.items()}
    rows = [[change, *(f"{of[change]} of {draws}" for of in found.values())] for change in changes(strengths)]
    lines = [["B is changed by", *found], ["---"] * (1 + len(found)), *rows]
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
    given = parser.parse_args()
    made = {name: extractor_of(name) for name in given.extractors}
    versions = f"torchmetrics-dna {__version__}, torch {torch.__version__}, timm {timm.__version__}"
    text = f"""{table(made, given.images, given.draws, given.strengths)}

<sub>In how many draws p ≤ {SIGNIFICANT}, of {given.images} images a side.
`{shlex.join(["python", "docs/examples/what_it_sees.py", *sys.argv[1:]])}`;
seeds: 0 to {given.draws - 1} of draws, 0 of random weights; data: photographs of scikit-image; {versions}.</sub>"""
    if given.page is None:
        print(text)
        return
    page = given.page.read_text(encoding="utf-8")
    page, places = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page, flags=re.DOTALL)
    if places != 1:
        raise SystemExit(f"{given.page} has {places} places for a table, expected one: {BEGIN} and {END}")
    given.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
