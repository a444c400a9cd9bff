"""Sentences on the images of a set that are flagged as outliers."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from torchmetrics_dna.files.visible import images_in_words, p_figure
from torchmetrics_dna.images.noun import value_of
from torchmetrics_dna.words.reasons import REASONS, full_reason, short_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.comparisons.outliers import Outliers
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.functional.flagging import Outlier

# Number of images without a reason of their own that a sentence names at most.
_MOST_UNUSUAL = 3
# Number of flagged images that a sentence names at most.
_MOST_FLAGGED = 5
# If a larger share of images is flagged, the sentence is about the set.
_LARGE_SHARE = 0.25
#: Faults that no property or number shows, by what was judged.
UNSEEN = {
    "image": "most noise, watermarks, other content",
    "row": "other content",
    "input": "a flipped or rotated input",
}


def are_many(outliers: Outliers) -> bool:
    """True if so many images are flagged that sentences are about the set."""
    return len(outliers.named) > max(_MOST_FLAGGED, _LARGE_SHARE * len(outliers.names))


def outlier_sentences(outliers: Outliers, reference: str, noun: str) -> list[str]:
    """Return which images of a ranking are flagged and why, and the result of the test of the others."""
    if outliers.is_alone:
        return flagged_in_folder(outliers, noun)
    return flagged_beside_reference(outliers, reference, noun)


def flagged_beside_reference(outliers: Outliers, reference: str, noun: str) -> list[str]:
    """Return sentences on the images that a ranking flags as outliers relative to a reference."""
    # The share counts outliers that no test can identify.
    has_more = outliers.share is not None and len(outliers.named) < outliers.share.low * len(outliers.names)
    lines = []
    if outliers.share is not None:
        interval = f"95% CI [{outliers.share.low:.0%}, {outliers.share.high:.0%}]"
        lines.append(f"About {outliers.share.share:.0%} of these {noun}s are outliers ({interval}).")
        if has_more:
            lines.append("Not all of them can be identified one by one.")
    lines += _flagged(outliers, reference, noun)
    lines += _test_of_the_others(outliers, noun, has_more=has_more)
    if are_many(outliers) and outliers.has_properties:
        lines.append(f"So many {noun}s may have been changed in the same way. Use `compare` to find the change.")
    if outliers.has_properties and outliers.too_few is not None and not outliers.num_by_test:
        single = f"{noun}s of a single {value_of(noun)}"
        lines.append(
            f"With fewer than {outliers.too_few} {noun}s in {reference}, only {single} are flagged one by one."
        )
    return lines


def _test_of_the_others(outliers: Outliers, noun: str, *, has_more: bool) -> list[str]:
    """Return the result of the test of the images that no property flags; nothing without a test."""
    test = outliers.outlier_test
    if test is None:
        return []
    p = p_figure(test.p_value, "p")
    if outliers.num_by_test:
        which = "1 of these was" if outliers.num_by_test == 1 else f"{outliers.num_by_test:,} of these were"
        return [f"{which} flagged by the test for a small number of outliers ({p})."]
    if outliers.candidates:
        which = f"Other {noun}s" if outliers.named else f"Some {noun}s"
        unusual = ", ".join(outliers.candidates[:_MOST_UNUSUAL])
        return [f"{which} may be outliers ({p}). The most unusual: {unusual}."]
    if has_more:
        return []
    if test.fewest is None:
        return [f"There are too few {noun}s for a test of the others."]
    what = "further outliers" if outliers.named else "outliers"
    return [f"No evidence of {what} ({p}). The test can detect {test.fewest:,} or more among {len(outliers.names):,}."]


def flagged_in_folder(outliers: Outliers, noun: str) -> list[str]:
    """Return sentences on the images that are flagged among the others of their set, and what can't be detected."""
    if not outliers.has_properties:
        return [f"No {noun}s were checked for faults, since properties are only measured of grey and RGB images."]
    lines = _flagged(outliers, "the others", noun)
    if not lines:
        lines = [f"No {noun} is flagged."]
    if outliers.too_few is not None:
        single = f"those of a single {value_of(noun)}"
        lines.append(f"With fewer than {outliers.too_few} {noun}s, only {single} are flagged.")
    elif noun != "image":
        lines.append(
            f"{noun.capitalize()}s of a single value, and {noun}s far beyond all others, are flagged. This check can't"
            f" detect faults that more than a tenth of the {noun}s share, or {UNSEEN[noun]}."
        )
    else:
        lines.append(
            "This check flags images of a single colour, and images far beyond all others in brightness, contrast,"
            " saturation, blur, noise, pixelation or JPEG blocks. It can't detect faults that more than a tenth of the"
            " images share, slight faults, most noise, watermarks, or other content."
        )
    if noun == "image":
        lines.append("A reference of about 16 sound images (`--reference`) reveals more faults.")
    return lines


def _flagged(outliers: Outliers, reference: str, noun: str) -> list[str]:
    """Return how many images are flagged, and a sentence for each reason."""
    flagged = outliers.flagged
    if not flagged:
        return []
    total = images_in_words(len(outliers.names), noun)
    if len(flagged) == 1:
        lines = [f"1 of {total} is flagged as an outlier."]
    else:
        lines = [f"{len(flagged):,} of {total} are flagged as outliers."]
    by_reason: dict[str, list[str]] = {}
    for name, image in flagged:
        by_reason.setdefault(image.reason, []).append(name)
    for reason, names in by_reason.items():
        predicate = full_reason(reason, reference, len(names))
        if len(names) == 1:
            lines.append(f"{names[0]} {predicate}.")
            continue
        shown = ", ".join(names[:_MOST_UNUSUAL])
        if len(names) > _MOST_UNUSUAL:
            shown += f" and {len(names) - _MOST_UNUSUAL:,} more"
        lines.append(f"{len(names):,} {predicate}: {shown}.")
    return lines


def outliers_of_b(comparison: Comparison) -> list[str]:
    """Return the sentence on a small number of outliers among the images of B, or nothing."""
    outliers = comparison.outliers
    if outliers is None:
        return []
    if outliers.named:
        return _flagged_in_b(comparison, outliers)
    # If the sets differ, the test of a small number of images adds nothing to that of all.
    if outliers.candidates and outliers.outlier_test is not None and not comparison.differs:
        p = p_figure(outliers.outlier_test.p_value, "p")
        unusual = ", ".join(outliers.candidates[:_MOST_UNUSUAL])
        return [
            f"A small number of {comparison.noun}s in {comparison.names[1]} may be outliers ({p}). The most unusual:"
            f" {unusual}."
        ]
    return []


def _flagged_in_b(comparison: Comparison, outliers: Outliers) -> list[str]:
    """Return the sentence on the flagged images of B; nothing if they are just the difference between the sets."""
    has_reasons = any(image.reason in REASONS for image in outliers.named)
    if are_many(outliers) and comparison.differs and not has_reasons:
        return []
    reference = comparison.names[0]
    if outliers.is_alone:
        relative_to = "within the set"
    elif comparison.explanation is not None and comparison.explanation.causes is not None:
        # The sentence before this one is about a changed A.
        relative_to = f"relative to unchanged {reference}"
    else:
        relative_to = f"relative to {reference}"
    count = f"of {images_in_words(len(outliers.names), comparison.noun)} in {comparison.names[1]}"
    return [_which(outliers, count, relative_to)]


def _which(outliers: Outliers, of_all: str, relative_to: str) -> str:
    """Name flagged images with their reasons; if there are many, count those with the most frequent reason.

    Images of one colour or value are always named.

    Args:
        outliers: The flagged images.
        of_all: Number of all images and name of their set, such as "of 40 images in B".
        relative_to: The set that they are outliers of, such as "relative to A".

    """
    verb = "is an outlier" if len(outliers.flagged) == 1 else "are outliers"
    head = f"{len(outliers.flagged):,} {of_all} {verb} {relative_to}"
    reason, count = Counter(image.reason for _, image in outliers.flagged).most_common(1)[0]
    if not are_many(outliers) or count == 1:
        clauses = _with_reasons(outliers.flagged[:_MOST_FLAGGED])
        if len(outliers.flagged) > _MOST_FLAGGED:
            clauses.append(f"and {len(outliers.flagged) - _MOST_FLAGGED:,} more")
        return f"{head}: {'; '.join(clauses)}."
    if count == len(outliers.flagged):
        return f"{count:,} {of_all} {short_reason(reason, count)} {relative_to}."
    single_valued = [(name, image) for name, image in outliers.flagged if image.is_fact and image.reason != reason]
    clauses = _with_reasons(single_valued[:_MOST_FLAGGED])
    clauses.append(f"{count:,} {short_reason(reason, count)}")
    return f"{head}: {'; '.join(clauses)}."


def _with_reasons(flagged: Sequence[tuple[str, Outlier]]) -> list[str]:
    """Return a clause for each run of images with the same reason."""
    clauses = []
    for reason, run in groupby(flagged, lambda pair: pair[1].reason):
        names = [name for name, _ in run]
        clauses.append(f"{', '.join(names)} {short_reason(reason, len(names))}")
    return clauses
