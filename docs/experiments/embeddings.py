"""Are two sets of embeddings shown to differ, and in which columns? Beside the tests of alibi-detect and evidently.

    pip install "torchmetrics-dna[demo]" scikit-learn alibi-detect evidently
    python docs/experiments/embeddings.py

Spatial means of the last block of EfficientNet-Lite0, 320 columns, of clip art and of a desktop's icons. A draw takes
other pictures for A and for B: all as they are; or five columns of B, chosen anew, are shifted by half their deviation;
or B's pictures are 8 % darker. :func:`compare` takes the feature identity, with 200 relabelings in place of 1,000.
KSDrift of alibi-detect is a Kolmogorov-Smirnov test of each column, corrected by Bonferroni; if it is not installed,
scipy computes the same. evidently tells two sets of embeddings apart by a classifier, or by the share of columns that
drift; neither has a level, and they are left out where it is not installed. ``--activations FILE`` keeps the draws.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import causes
import data
import numpy as np
import results
import torch
from scipy.stats import ks_2samp
from significance import remember

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.dna import evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float64]

SIZES, DRAWS, POOL, COLUMNS, SHIFT = (50, 100, 200), 100, 600, 5, 0.5
ICONS = data.Package("apt", "oxygen-icon-theme")
KINDS, CASES = ("clip art", "icons"), ("none", "five columns", "8 % darker")
DARKER: causes.Done = (("darker", 8),)


@cache
def pictures(kind: str, quick: bool) -> list[Any]:
    if quick:
        return data.at_hand(40, "photographs" if kind == "clip art" else "digits")
    paths = data.drawings() if kind == "clip art" else sorted(ICONS.folder().rglob("64x64/*/*.png"))
    paths = [path for path in paths if path.is_file() and not path.is_symlink()]
    order = np.random.default_rng(0).permutation(len(paths))
    distinct = {each.tobytes(): each for each in (data.picture(paths[i], 128) for i in order[: 2 * POOL])}
    return list(distinct.values())[:POOL]


@cache
def embedded(kind: str, done: causes.Done, quick: bool) -> Rows:
    """Rows of embeddings, as anyone may have them in a file."""
    head = DNAExtractor(layers=["block_6"]).pooled("block_6")
    made = causes.after(pictures(kind, quick), done)
    rows = [head(torch.from_numpy(each).permute(2, 0, 1)[None].contiguous()) for each in made]
    return torch.cat(rows).double().numpy()


def drawn(kind: str, case: str, size: int, number: int, quick: bool) -> dict[str, Any]:
    """What each test says of one draw; columns that it names, right and wrong."""
    random = np.random.default_rng([KINDS.index(kind), CASES.index(case), size, number])
    plain = embedded(kind, (), quick)
    order = random.permutation(len(plain))
    a, b = plain[order[:size]], plain[order[size : 2 * size]].copy()
    columns = random.choice(plain.shape[1], COLUMNS, replace=False) if case == "five columns" else np.zeros(0, int)
    b[:, columns] += SHIFT * plain.std(0)[columns]
    if case == "8 % darker":
        b = embedded(kind, DARKER, quick)[order[size : 2 * size]]
    test = compare(a, b, "identity", metrics=["dna-emd"])["dna-emd"].evidence.test
    p_values = by_alibi(a, b)
    named = {"compare": test.neurons.numpy() <= 0.05, "KS": p_values * len(p_values) <= 0.05}
    found: dict[str, Any] = {"compare": test.p_value <= 0.05, "KS": bool(named["KS"].any()), **by_evidently(a, b)}
    for name, which in named.items():
        right = int(which[columns].sum())
        found |= {f"{name}, right": right, f"{name}, wrong": int(which.sum()) - right}
    return {name: value if isinstance(value, int) else bool(value) for name, value in found.items()}


def by_alibi(a: Rows, b: Rows) -> Rows:
    """P-value of each column."""
    try:
        from alibi_detect.cd import KSDrift
    except ImportError:
        return ks_2samp(a, b, axis=0, method="asymp").pvalue  # as alibi-detect does
    answer = KSDrift(a, p_val=0.05, correction="bonferroni").predict(b, return_p_val=True)
    return answer["data"]["p_val"]


def by_evidently(a: Rows, b: Rows) -> dict[str, bool]:
    """Whether its two methods say that embeddings drift; none if it is not installed."""
    try:
        import pandas as pd
        from evidently.legacy.metrics.data_drift.embedding_drift_methods import model, ratio
    except ImportError:
        return {}
    frames = pd.DataFrame(a), pd.DataFrame(b)
    methods = {"evidently, classifier": model(bootstrap=False), "evidently, share of columns": ratio()}
    return {name: bool(method(*frames)[1]) for name, method in methods.items()}


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--activations", type=Path, help="file that keeps what was drawn")
    arguments = parser.parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    evidence.NUM_RELABELINGS = 200
    sizes, draws = ((15,), 2) if quick else (SIZES, DRAWS)
    rows, named = [], []
    for case in CASES:
        for size in sizes if case != CASES[-1] else sizes[-2:][:1]:
            each = [
                remember(arguments.activations, " ".join(map(str, draw)), partial(drawn, *draw, quick))
                for draw in product(KINDS, [case], [size], range(draws // len(KINDS)))
            ]
            methods = [name for name in each[0] if not name.endswith(("right", "wrong"))]
            rows.append([case, size, *(f"{np.mean([one[name] for one in each]):.2f}" for name in methods)])
            if case != CASES[-1]:
                ends = [
                    f"{np.mean([one[f'{name}, {end}'] for one in each]):.2f}"
                    for name in ("compare", "KS")
                    for end in ("right", "wrong")
                ]
                named.append([case, size, *ends])
    header = ["shift", "a side", *("KS, Bonferroni (alibi-detect)" if name == "KS" else name for name in methods)]
    tables = [
        results.table(header, rows),
        results.table(["shift", "a side", "compare: right of 5", "wrong", "KS: right of 5", "wrong"], named),
    ]
    none = [row[2] for row in rows if row[0] == CASES[0]]
    here = (
        f"The tables contain the share of {draws} draws per row in which a test finds a difference. The draws are"
        f" halves of sets of clip art and of icons. Without a shift, `compare` finds a difference in"
        f" {results.percents([float(each) for each in none])} of draws."
    )
    versions = "each draw by its kind, shift, size and number"
    results.write(folder, "embeddings", here=here, tables=tables, seeds=versions, data=[data.DRAWINGS, ICONS])


if __name__ == "__main__":
    main()
