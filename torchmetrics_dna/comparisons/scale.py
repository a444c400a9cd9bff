"""How far is far: distances beside those of held-out images, or beside what chance gives at this size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.dna.evidence import ratio_of
from torchmetrics_dna.files.visible import number

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.dna.evidence import Ratio

X_HELD_OUT = "x held-out"


def check_held_out(held_out: str | None, sets: Collection[str]) -> None:
    """Raise ValueError unless ``held_out`` is None or the name of one of several sets."""
    if held_out is None:
        return
    if held_out not in sets:
        expected = f"one of {', '.join(sets)}" if sets else "one of several sets, which `b` gives by name"
        raise ValueError(f"Argument `held_out` expected to be {expected}, but got {held_out!r}")
    if len(sets) == 1:
        raise ValueError(f"There is no other set beside the held-out {held_out!r}; give one to compare with it")


def ratio_to(held_out: Comparison, comparison: Comparison, distance: str) -> Ratio | None:
    """Return how many times as far from one reference a set is as the held-out one; None where that can't be said."""
    evidence = []
    for each in (comparison, held_out):
        result = each.results.get(distance)
        if result is None or result.evidence is None or each.shares_images:
            return None
        evidence.append(result.evidence)
    return ratio_of(*evidence)


def ratio_cell(ratios: Mapping[str, Ratio | None], name: str) -> str | None:
    """Return the cell of a set in a column of ratios; that of the held-out set, which has none, is 1."""
    ratio = ratios.get(name)
    return str(ratio) if ratio else None if name in ratios else "1"


def ratio_notes(comparisons: Comparisons) -> list[str]:
    """Return the line below a table of ratios that says what they are, if there are any."""
    ratios = [ratio for distance in comparisons._distances for ratio in comparisons.ratios(distance).values() if ratio]
    held_out = comparisons.held_out
    if not ratios and held_out is not None and comparisons[held_out].shares_images:
        return [f"No {X_HELD_OUT}: {held_out} shares images with {comparisons.reference}, or has some nearly alike."]
    if not ratios:
        return []
    note = f"{X_HELD_OUT}: times as far as {held_out}, without the noise of either ({ratios[0].level} interval)."
    if any(ratio.high is None for ratio in ratios):
        note += f" At least: {held_out} can't be told from {comparisons.reference}."
    return [note]


def ratio_figures(comparisons: Comparisons, name: str) -> dict[str, float | None]:
    """Return the ratios of one set, and the ends of their intervals, by key; nothing without a held-out set."""
    figures: dict[str, float | None] = {}
    for distance, record in comparisons._distances.items():
        if comparisons.held_out is not None and not record.higher_is_better:
            ratio = comparisons.ratios(distance).get(name)
            ends = (None, None, None) if ratio is None else (ratio.value, ratio.low, ratio.high)
            figures |= dict(zip((f"{record.key}_x_held_out{end}" for end in ("", "_low", "_high")), ends, strict=True))
    return figures


def ratio_in_words(comparisons: Comparisons, name: str) -> str:
    """Say how many times as far as the held-out set a set is, in a sentence, or why that can't be said."""
    ratio, held_out, reference = comparisons.ratios()[name], comparisons.held_out, comparisons.reference
    if ratio is None:
        sets = {each: comparisons[each] for each in (name, held_out) if each is not None}
        sharing = " and ".join(each for each, comparison in sets.items() if comparison.shares_images)
        tested = all(comparison[comparisons.distance].evidence is not None for comparison in sets.values())
        reason = "their noise hides it" if tested else "there are no folds of images"
        reason = f"{reference} shares images with {sharing}, or has some nearly alike" if sharing else reason
        return f"How far {name} is beside the held-out {held_out} can't be said: {reason}."
    far = f"{name} is {ratio.in_words} times as far from {reference} as the held-out {held_out}{ratio.ends}"
    return f"{far}, which can't be told from {reference}." if ratio.high is None else f"{far}."


def chance_in_words(comparison: Comparison) -> str:
    """Say what dna-emd is in multiples of what chance gives at this size; empty if that is no more, or not shown."""
    times, images = comparison["dna-emd"].times_chance, [*comparison.num_images.values()]
    if times is None or (shown := number(times, 2)) == "1" or times < 1 or comparison.shares_images:
        return ""
    sizes = " and ".join(f"{count:,}" for count in dict.fromkeys(images))
    each = " images each" if images[0] == images[1] else " images"
    return f"Uncorrected, it is {shown} times what chance alone gives with {sizes}{each}."
