"""A ranking of single images in sentences, tables and records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.tables import Cell, Table
from torchmetrics_dna.files.visible import images_in_words, number
from torchmetrics_dna.functional.flagging import LEAST
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.reporting.outliers import outlier_sentences

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.singles.ranking import Ranking

# Largest number of images that a table shows by default.
_SHOWN = 5
# Headings of the columns of tables by key, in their order.
_COLUMNS = {
    "rank": "rank",
    "score": "score",
    "dna_emd": "dna-emd",
    "percentile": "percentile",
    "image": "image",
    "most_extreme": "most extreme",
    "reason": "flagged",
    "kind": "copy?",
    "likeness": "likeness",
    "nearest_ratio": "ratio",
    "nearest": "nearest",
}
# Keys of the columns of the table of copies.
_KEYS_OF_COPIES = ("kind", "image", "nearest", "likeness", "nearest_ratio", "rank")
# A smaller likeness rounds to 0.00.
_ROUNDS_TO_ZERO = 0.005


def sentences(ranking: Ranking) -> list[str]:
    """Return sentences on flagged images and the test for further outliers, or on the reason why none is flagged."""
    if ranking.outliers is not None:
        return outlier_sentences(ranking.outliers, "the reference", ranking.noun)
    if ranking.typical is not None and ranking.score == "outlier" and len(ranking.typical) < LEAST:
        size = images_in_words(len(ranking.typical), ranking.noun)
        return [f"No {ranking.noun} is flagged: the reference has {size}, but at least {LEAST} are needed."]
    return [ranking.why] if ranking.why else []


def table(
    ranking: Ranking,
    top: int | None = None,
    worst: int | None = None,
    *,
    reference: str = "the reference",
    contrast: str = "the contrast",
) -> Table:
    """Return a table of images in the order of the ranking. By default, it shows the first 5 images.

    Args:
        ranking: The ranking.
        top: Number of the best images to show.
        worst: Number of the worst images to show.
        reference: Name of the reference in the title.
        contrast: Name of the contrast in the title.

    """
    records = rows(ranking, top, worst)
    notes = []
    if top is None and worst is None and len(records) > _SHOWN:
        records = records[:_SHOWN]
        notes.append(f"These are the first {_SHOWN}. All are in the file of -o ranking.csv.")
    if ranking.most_extreme is not None:
        notes.append(f"This order alone does not mean that something is wrong with the {ranking.noun}s.")
        if any(record["most_extreme"].startswith("distance") for record in records):
            notes.append("Most extreme: distances are in multiples of their median.")
    notes += note_of_left_out(ranking.unreadable)
    keys = _keys(ranking)
    header = [_heading(ranking, key) for key in keys]
    cells = [[_cell(key, record[key]) for key in keys] for record in records]
    title = f"{ranking.size} {ranking.order_in_words(reference, contrast)}"
    return Table(header, cells, title, notes)


def _keys(ranking: Ranking) -> list[str]:
    """Return the keys of the columns of the table of images."""
    available = {"rank", *_columns(ranking)}
    # These columns are left out, because the table of copies has them.
    left_out: set[str] = set()
    if ranking.is_alone:
        left_out = {"kind", "likeness", "nearest_ratio", "nearest"}
    elif "likeness" in available:
        left_out = {"nearest_ratio"}
    return [key for key in _COLUMNS if key in available and key not in left_out]


def flagged_table(ranking: Ranking) -> Table | None:
    """Return the table of all flagged images with their reasons; None if no image is flagged."""
    cells = [[record["image"], record["reason"]] for record in rows(ranking) if record.get("reason")]
    if not cells:
        return None
    return Table([ranking.noun, "reason"], cells, f"{len(cells):,} of {ranking.size} flagged as outliers")


def terms(ranking: Ranking) -> list[str]:
    """Return the names of the terms that a page explains."""
    names = ["layer"]
    if ranking.score in ("contrast", "distance"):
        names += ["neuron", "bin", "dna-emd"]
    if ranking.outlier_test is not None or ranking.p_value is not None:
        names.append("p")
    if ranking.percentiles is not None:
        names.append("percentile")
    return names


def copies_table(ranking: Ranking) -> Table | None:
    """Return the table of copies and near images, the most similar first; None if there are none."""
    nearest = ranking.nearest
    if nearest is None or not any(nearest.kinds):
        return None
    records = [record for record in rows(ranking) if record["kind"]]
    if ranking.is_alone:
        records = _one_per_pair(records)
    records.sort(key=_most_similar_first)
    keys = [key for key in _KEYS_OF_COPIES if key in records[0]]
    header = [_heading(ranking, key) for key in keys]
    cells = [[_cell(key, record[key]) for key in keys] for record in records]
    num_copies = int(nearest.copies.sum())
    num_near = int(nearest.near.sum())
    title = f"{num_copies:,} of {ranking.size} look like copies, {num_near:,} are near one"
    return Table(header, cells, title)


def _most_similar_first(record: Mapping[str, Any]) -> tuple[bool, float]:
    """Return the sort key that puts copies before near images, and sorts each kind by descending likeness."""
    is_near = record["kind"] != "copy"
    # Low-texture pictures have no likeness, and neither have images of an index without pictures.
    likeness = record.get("likeness")
    return is_near, 0.0 if likeness is None else -likeness


def _one_per_pair(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first record of each pair of images."""
    first_of_pairs: dict[frozenset[str], dict[str, Any]] = {}
    # In reversed order, the first record of a pair is assigned last and replaces the second record.
    for record in reversed(records):
        pair = frozenset((record["image"], record["nearest"]))
        first_of_pairs[pair] = record
    return list(reversed(first_of_pairs.values()))


def tables(ranking: Ranking) -> list[Table]:
    """Return the table of images. If there are copies, the table of copies comes first."""
    copies = copies_table(ranking)
    return [table(ranking)] if copies is None else [copies, table(ranking)]


def _heading(ranking: Ranking, key: str) -> str:
    """Return the heading of a column."""
    if key == "image":
        return ranking.noun
    if key == "score" and ranking.score == "distance":
        return "dna-emd"
    return _COLUMNS[key]


def _cell(key: str, value: Any) -> Cell:
    """Return the cell for a value of a column."""
    if key == "likeness" and isinstance(value, float) and abs(value) < _ROUNDS_TO_ZERO:
        return "-"
    if key == "percentile":
        return "above all" if value == 100 else f"{value:.1f}%"
    if isinstance(value, float):
        return number(value, zeros=True)
    cell: Cell = value
    return cell


def rows(ranking: Ranking, top: int | None = None, worst: int | None = None) -> list[dict[str, Any]]:
    """Return one record per image in plain types.

    Args:
        ranking: The ranking.
        top: Number of the best images to return, the best first. By default, all images are returned.
        worst: Number of the worst images to return, the worst first.

    """
    columns = _columns(ranking)
    ranked: list[dict[str, Any]] = []
    for position, values in enumerate(zip(*columns.values(), strict=True), 1):
        ranked.append({"rank": position, **dict(zip(columns, values, strict=True))})
    best_first = ranked[::-1] if ranking.worst_first else ranked
    if worst is not None:
        worst_first = best_first[::-1]
        return worst_first[:worst]
    if top is not None:
        return best_first[:top]
    return ranked


def _columns(ranking: Ranking) -> dict[str, Sequence[Any]]:
    """Return the values of each column for all images, by the keys of :func:`rows`."""
    columns: dict[str, Sequence[Any]] = {"image": ranking.names, "score": ranking.scores.tolist()}
    if ranking.distances is not None:
        columns["dna_emd"] = ranking.distances.tolist()
    if ranking.percentiles is not None:
        columns["percentile"] = ranking.percentiles.tolist()
    if ranking.most_extreme is not None:
        columns["most_extreme"] = ranking.most_extreme
    if ranking.reasons:
        columns["reason"] = [ranking.reasons.get(image, "") for image in ranking.numbers]
    nearest = ranking.nearest
    if nearest is None:
        return columns
    columns["nearest"] = nearest.names
    columns["nearest_ratio"] = _without_nan(nearest.ratios)
    columns["copy"] = nearest.copies.tolist()
    columns["kind"] = nearest.kinds
    if nearest.likeness is not None:
        columns["likeness"] = _without_nan(nearest.likeness)
    return columns


def _without_nan(values: Tensor) -> list[float | None]:
    """Return values as a list, with None in place of NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def whole(ranking: Ranking) -> dict[str, Any]:
    """Return all results in plain types, ready for json."""
    return {
        "score": ranking.score,
        "question": ranking.question,
        "verdict": ranking.verdict,
        "outliers": None if ranking.outliers is None else ranking.outliers.to_dict(),
        "flagged": ranking.flagged_names,
        "notices": ranking.notices,
        "unreadable": ranking.unreadable,
        "images": rows(ranking),
    }
