"""Verdict on two sets: what B looks like, how far it is from A, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.files.visible import figure, p_in_words
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, SIGNIFICANT

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.comparison import Comparison

_MOST_LAYERS = 3  # that are named


def verdict(comparison: Comparison) -> str:
    """Say what B looks like, how far it is from A by dna-emd, and how sure that is.

    Args:
        comparison: A comparison of histograms.

    """
    a, b = comparison.names
    emd, interval, p = comparison["dna-emd"].value, comparison["dna-emd"].interval, comparison.p_value
    if emd == 0:
        return f"{a} and {b} are 0 bins apart: their histograms are equal, as those of the same images are."
    if p is not None and interval is not None:
        return _tested(comparison)
    headline = comparison.explain().headline if comparison.measured else ""
    start = f"{headline}. " if headline else ""
    if interval is None:
        return (
            f"{start}{a} and {b} are {figure(emd)} bins apart by dna-emd. Whether that is more than noise can't be"
            f" said: that takes images in {LEAST_FOLDS} folds on a side; give at least {LEAST_FOLDS} images, or DNAs"
            " made with folds."
        )
    return (
        f"{start}{a} and {b} are {figure(interval.value)} bins apart by dna-emd, corrected for sampling noise"
        f" ({interval.in_words}). Whether they differ can't be tested, since one side has no folds; give its images, or"
        " a DNA that was made with folds."
    )


def _tested(comparison: Comparison) -> str:
    a, b = comparison.names
    emd, interval, p = comparison["dna-emd"], comparison["dna-emd"].interval, comparison.p_value
    assert interval is not None
    assert p is not None
    if p > SIGNIFICANT:
        of_properties = comparison.p_value_of_properties
        shown = f"No difference between {a} and {b} can be shown"
        if of_properties is not None and of_properties <= SIGNIFICANT:
            shown += f" by the network, but properties of their images differ ({p_in_words(of_properties)})"
        chance = "" if comparison.null is None else f", where equal sets of this size give {figure(comparison.null)}"
        most = (
            f"it is at most {figure(interval.high)} bins ({interval.level} interval)"
            if interval.high
            else "nothing is left"
        )
        value = f"dna-emd is {figure(emd.value)} bins{chance}"
        return f"{shown}. {value}; corrected for sampling noise, {most}; {p_in_words(p)}."
    headline = comparison.explain().headline if comparison.measured else f"{b} differs from {a}"
    distance = f"{figure(interval.value)} bins ({interval.in_words})"
    if not interval.value:
        distance = f"below noise, at most {figure(interval.high)} bins ({interval.level} interval)"
    return f"{headline}. dna-emd, corrected for sampling noise: {distance}{_where(comparison)}; {p_in_words(p)}."


def _where(comparison: Comparison) -> str:
    """Name the layers in which the test finds a difference, if they are few."""
    p_values = {layer: result.p_value or 0 for layer, result in comparison["dna-emd"].layers.items()}
    significant = [layer for layer, p in p_values.items() if p <= SIGNIFICANT]
    if not significant:
        return ", in a few neurons and in no layer as a whole"
    if len(significant) == len(p_values) or len(significant) > _MOST_LAYERS:
        return ""
    *others, last = significant
    return f", most clearly in {', '.join(others)}{' and ' * bool(others)}{last}"
