"""Of several sets, is one odd, and which? Beside "the furthest": that with the largest mean distance from the others.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/which_set.py --activations FOLDER

The nine kinds of one_level.py, which chose nothing here; sets of 80 pictures are of two kinds, mixed. Pictures are
measured once, at 64 pixels in 25 bins, and kept in FOLDER; a draw adds those of its sets up and asks what
:func:`matrix` asks, by the same function.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import causes
import data
import numpy as np
import one_level
import results
import torch
from one_level import COARSE, FOLDS, KINDS, Measure, Sets

from torchmetrics_dna.comparisons.outlier_sets import find_outlier_sets, in_fewer_folds
from torchmetrics_dna.dna.histogram import pairwise_emd
from torchmetrics_dna.functional.permutation import SIGNIFICANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMS = ((4, 20), (4, 40), (8, 20), (4, 80))  # numbers of sets and of pictures of each
CHANGES = ("none", "darker by 20 %", "blur 0.7", "JPEG 50", "a fifth of another kind")
NUM_SEEDS = {"none": 4, "changed": 1}  # of each kind and form
Draw = dict[str, Any]


def drawn(sets: Sets, kind: str, num_sets: int, size: int, change: str, seed: int) -> Draw:
    """Answer of some sets of one kind, or two, of which one is changed."""
    number, mixed = KINDS.index(kind), size > 40
    random = np.random.default_rng([seed, number, num_sets, size])  # the same split for each change
    kinds = [kind, KINDS[(number + 2) % len(KINDS)]][: 1 + mixed]
    pool = [(name, i) for name in kinds for i in range(len(sets.measure(name)))]
    size = min(size, len(pool) // num_sets)
    order = random.permutation(len(pool))[: num_sets * size].reshape(num_sets, size)
    odd, measured = int(random.integers(num_sets)), {}
    other, foreign = KINDS[(number + 5) % len(KINDS)], np.zeros(0, np.int64)
    if change == CHANGES[-1]:
        foreign = random.permutation(len(sets.measure(other)))[: round(0.2 * size)]
    for k in range(num_sets):
        chosen = [pool[i] for i in order[k]]
        is_mixed = k == odd and len(foreign) > 0
        of_set = change if k == odd and change in one_level.CHANGES else ""
        chosen = chosen[len(foreign) :] if is_mixed else chosen
        parts = [(name, of_set, np.array([i for of, i in chosen if of == name], np.int64)) for name in kinds]
        parts += [(other, "", foreign)] * is_mixed
        folds = random.integers(0, FOLDS, size)
        measured[f"set {k}"] = in_fewer_folds(sets.measured([part for part in parts if len(part[2])], folds), num_sets)
    dnas = [side.select(sets.network).dnas["histogram"] for side in measured.values()]
    distances = torch.zeros(num_sets, num_sets, dtype=torch.float64)
    distances[*torch.triu_indices(num_sets, num_sets, 1)] = pairwise_emd(dnas).mean(1)  # type: ignore[arg-type]
    distances = distances + distances.T
    answer = find_outlier_sets(measured, sets.plan, distances)
    return {
        "p": answer.p_value,
        "named": [int(name.removeprefix("set ")) for name in answer.outliers],
        "odd": odd,
        "furthest": int(distances.sum(1).argmax()),
        "properties": [each.name for each in answer.properties],
    }


def tasks(quick: bool) -> Iterator[tuple[str, int, int, str, int]]:
    """All draws: kind, number and size of the sets, change, and seed."""
    kinds, forms, changes = (
        KINDS[-1:] if quick else KINDS,
        FORMS[: 1 if quick else None],
        CHANGES[: 2 if quick else None],
    )
    equal = [(change, seed) for change in changes[:1] for seed in range(NUM_SEEDS["none"])]
    others = [(change, seed) for seed in range(NUM_SEEDS["changed"]) for change in changes[1:]]
    for change, seed in equal[:1] + others[:1] if quick else equal + others:
        yield from ((kind, *form, change, seed) for form, kind in product(forms, kinds))


def kept(folder: Path, sets: Sets, quick: bool) -> list[Draw]:
    """All draws; those that the folder has are read."""
    file, draws = folder / "which_set.jsonl", list[Draw]()
    lines = [json.loads(line) for line in file.open(encoding="utf-8")] if file.exists() else []
    before = {json.dumps(line["of"]): line for line in lines}
    for of in tasks(quick):
        draw = before.get(json.dumps(of))
        if draw is None:
            draw = {"of": of, **drawn(sets, *of)}
            with file.open("a", encoding="utf-8") as lines_of_file:
                lines_of_file.write(json.dumps(draw) + "\n")
            print(*of, draw["p"], draw["named"], draw["odd"], flush=True)
        draws.append(draw)
    return draws


def shares(draws: Sequence[Draw]) -> dict[str, float]:
    """Shares of the answers, and of those of "the furthest"."""
    answers: dict[str, list[bool]] = {name: [] for name in ("right", "a clean one", "more than one", "furthest")}
    for draw in draws:
        odd = {draw["odd"]}
        answers["right"].append({*draw["named"]} == odd)
        answers["a clean one"].append(bool({*draw["named"]} - odd))
        answers["more than one"].append(draw["p"] <= SIGNIFICANT and not draw["named"])
        answers["furthest"].append(draw["furthest"] == draw["odd"])
    return {name: float(np.mean(values)) for name, values in answers.items()}


def main() -> None:
    with results.keeping_activations(__doc__) as (folder, quick, place):
        draws = kept(place, Sets(Measure(place), COARSE), quick)
    by_form = {form: [draw for draw in draws if tuple(draw["of"][1:3]) == form] for form in FORMS}
    of = {form: {c: [d for d in each if d["of"][3] == c] for c in CHANGES} for form, each in by_form.items()}
    rows = list[list[object]]()
    for (num_sets, size), by_change in of.items():
        if equal := by_change["none"]:
            level = np.mean([draw["p"] <= SIGNIFICANT for draw in equal])
            cells = [f"{level:.3f} of {len(equal)}"]
            for change in CHANGES[1:]:
                part = shares(by_change[change]) if by_change[change] else None
                cells.append("-" if part is None else " / ".join(f"{value:.2f}" for value in part.values()))
            rows.append([f"{num_sets} of {size}", *cells])
    header = [
        "sets: right, a clean one, more than one / the furthest is right",
        "equal sets: any sentence",
        *CHANGES[1:],
    ]
    equal = [draw for draw in draws if draw["of"][3] == "none"]
    changed = [draw for draw in draws if draw["of"][3] != "none"]
    level, part = np.mean([draw["p"] <= SIGNIFICANT for draw in equal]), shares(changed)
    results.write(
        folder,
        "which_set",
        here=(
            f"If all sets are samples of the same distribution, `compare` reports at least one of them as different in"
            f" {level:.1%} of {len(equal)} draws. If one set is changed, only this set is reported in"
            f" {part['right']:.0%} of {len(changed)} draws. An unchanged set is reported in {part['a clean one']:.0%},"
            f" and more than one set in {part['more than one']:.0%}. The set that is farthest from the others in the"
            f" matrix is the changed set in {part['furthest']:.0%}."
        ),
        tables=[results.table(header, rows)],
        seeds=f"0 to {NUM_SEEDS['none'] - 1} of equal sets, 0 to {NUM_SEEDS['changed'] - 1} of others",
        data=["digits of scikit-learn"] if quick else [
            causes.LANDSCAPES, causes.ICONS, causes.RENDERS, one_level.TEXTURES, one_level.CHARTS, one_level.HEDGEHOGS,
            one_level.ELEMENTARY, *data.WALLPAPERS,
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
