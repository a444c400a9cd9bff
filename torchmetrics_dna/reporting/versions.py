"""The differences between two versions of a data set in sentences, tables and records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import images_in_words, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.reporting.figures import distance_in_words
from torchmetrics_dna.words.explanation import what_was_measured

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.comparisons.versions import Versions

# Largest number of characters of all names in a cell. At least one name is always shown.
_MOST_LETTERS = 60


def sentences(versions: Versions) -> list[str]:
    """Return sentences on the number of changed images, and on the tests of added and of removed images.

    Added and removed images are compared with the images that are in both versions.
    """
    lines = _counts(versions)
    if versions.whole is not None:
        lines.append(f"Distance between the two versions: {_how_far(versions.whole)}, not debiased.")
    for change, comparison in (("added", versions.of_added), ("removed", versions.of_removed)):
        if comparison is not None:
            changed = f"{change} or edited" if versions.edited else change
            lines += _against_kept(comparison, changed, versions.noun)
            lines += what_was_measured(comparison.explain(("kept", changed)))
    return lines


def _counts(versions: Versions) -> list[str]:
    """Return sentences on the number of changed images."""
    noun = versions.noun
    before, now = versions.num_images
    same = before - len(versions.removed) - len(versions.edited)
    numbers = f"{images_in_words(before, noun)} before, {images_in_words(now, noun)} now: {same:,} the same"
    lines = [f"{numbers}, {len(versions.added):,} added, {len(versions.removed):,} removed."]
    if versions.renamed:
        lines.append(f"{images_in_words(len(versions.renamed), noun)} renamed.")
    if versions.edited:
        changed = "pixels" if noun == "image" else "values"
        lines.append(f"{images_in_words(len(versions.edited), noun)} edited (same name, different {changed}).")
    return lines


def _how_far(comparison: Comparison) -> str:
    """Return the first distance, with its name and unit."""
    result = next(iter(comparison.values()))
    return f"{result.distance.name} {distance_in_words(result.distance, result.value)}"


def _against_kept(comparison: Comparison, changed: str, noun: str) -> list[str]:
    """Return sentences on whether added or removed images differ from the images that both versions have."""
    distance = _how_far(comparison)
    p_value = comparison.p_value_of_any
    if p_value is None:
        lines = [f"Distance between {noun}s {changed} and those kept: {distance}, not debiased."]
        if comparison.why_untested:
            lines.append(f"Not tested: {comparison.why_untested}.")
        return lines
    differ = "differ significantly" if p_value <= SIGNIFICANT else "do not differ significantly"
    return [f"{noun.capitalize()}s {changed} {differ} from those kept ({distance}, {p_figure(p_value, 'p')})."]


def table(versions: Versions) -> Table:
    """Return the table of changed images, with their number and some names."""
    names_by_change: dict[str, list[str]] = {change: [] for change in ("added", "removed", "renamed", "edited")}
    for row in versions.rows():
        name = f"{row['before']} -> {row['image']}" if row["before"] else row["image"]
        names_by_change[row["change"]].append(name)
    rows: list[tuple[str, int, str]] = []
    has_more_names = False
    for change, names in names_by_change.items():
        shown = _names_that_fit(names)
        if len(shown) < len(names):
            has_more_names = True
            shown.append("...")
        rows.append((change, len(names), ", ".join(shown)))
    notes = note_of_left_out(versions.unreadable)
    if has_more_names:
        notes.append("All names: -o changes.csv.")
    return Table([f"{versions.noun}s", "number", "such as"], rows, notes=notes)


def _names_that_fit(names: Sequence[str]) -> list[str]:
    """Return the first names that fit into a cell; at least one if there are any."""
    shown = list(names[:1])
    for name in names[1:]:
        if len(", ".join([*shown, name])) > _MOST_LETTERS:
            break
        shown.append(name)
    return shown


def tables(versions: Versions) -> list[Table]:
    """Return the table of changed images."""
    return [versions.table]


def rows(versions: Versions) -> list[dict[str, Any]]:
    """Return one record per changed image in plain types. ``"before"`` is the old name of a renamed image."""
    changes = {"added": versions.added, "removed": versions.removed, "edited": versions.edited}
    rows: list[dict[str, Any]] = []
    for change, names in changes.items():
        rows += [{"change": change, "image": name, "before": None} for name in names]
    rows += [{"change": "renamed", "image": now, "before": before} for before, now in versions.renamed]
    return rows


def whole(versions: Versions) -> dict[str, Any]:
    """Return all results in plain types, ready for json."""
    return {
        "num_images": {"old": versions.num_images[0], "new": versions.num_images[1]},
        "added": list(versions.added),
        "removed": list(versions.removed),
        "renamed": [list(pair) for pair in versions.renamed],
        "edited": list(versions.edited),
        "verdict": versions.verdict,
        "whole": _whole_of_part(versions.whole),
        "of_added": _whole_of_part(versions.of_added),
        "of_removed": _whole_of_part(versions.of_removed),
        "unreadable": list(versions.unreadable),
    }


def _whole_of_part(comparison: Comparison | None) -> dict[str, Any] | None:
    """Return all results of a comparison of some images; None if it was not made."""
    return None if comparison is None else comparison.to_dict()
