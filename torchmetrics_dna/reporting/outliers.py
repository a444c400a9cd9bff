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

# Largest number of images that a sentence lists without giving a reason for each of them.
_MOST_UNUSUAL = 3
# Largest number of flagged images that a sentence names with their reasons.
_MOST_FLAGGED = 5
# If a larger share of the images is flagged, sentences count the images instead of naming them.
_LARGE_SHARE = 0.25
#: Faults that the check can't detect, by type of the inputs.
UNSEEN = {
    "image": "most noise, watermarks, other content",
    "row": "other content",
    "input": "a flipped or rotated input",
}


def are_many(outliers: Outliers) -> bool:
    """True if so many images are flagged that sentences count the images instead of naming them."""
    return len(outliers.named) > max(_MOST_FLAGGED, _LARGE_SHARE * len(outliers.names))


def outlier_sentences(outliers: Outliers, reference: str, noun: str) -> list[str]:
    """Return sentences on the flagged images of a ranking with their reasons, and on the test of the other images."""
    if outliers.is_alone:
        return flagged_in_folder(outliers, noun)
    return flagged_beside_reference(outliers, reference, noun)


def flagged_beside_reference(outliers: Outliers, reference: str, noun: str) -> list[str]:
    """Return sentences on the images that a ranking flags as outliers relative to a reference."""
    # The estimated share also counts outliers that can't be identified one by one.
    has_more = outliers.share is not None and len(outliers.named) < outliers.share.low * len(outliers.names)
    lines = []
    if outliers.share is not None:
        interval = f"95% CI [{outliers.share.low:.0%}, {outliers.share.high:.0%}]"
        lines.append(f"An estimated {outliers.share.share:.0%} of these {noun}s are outliers ({interval}).")
        if has_more:
            lines.append("Not all of them can be identified one by one, so fewer are flagged.")
    lines += _flagged(outliers, reference, noun)
    lines += _test_of_the_others(outliers, noun, has_more=has_more)
    if are_many(outliers) and outliers.has_properties:
        lines.append(f"If all of these {noun}s were changed in the same way, `compare` can find the change.")
    # If the test for outliers flags images, they may have more than a single value.
    only_properties_flag = outliers.has_properties and not outliers.num_by_test
    if only_properties_flag and outliers.too_few is not None:
        single_valued = f"{noun}s of a single {value_of(noun)}"
        lines.append(
            f"With fewer than {outliers.too_few} {noun}s in {reference}, properties flag only {single_valued}."
        )
    return lines


def _test_of_the_others(outliers: Outliers, noun: str, *, has_more: bool) -> list[str]:
    """Return the sentence on the test for outliers among the images that no property flags; nothing without a test.

    Args:
        outliers: The outliers and the test.
        noun: Type of the inputs, such as "image".
        has_more: Whether an earlier sentence reports that more images are outliers than those that are flagged.

    """
    test = outliers.outlier_test
    if test is None:
        return []
    p = p_figure(test.p_value, "p")
    if outliers.num_by_test:
        return [f"{_flagged_by_test(outliers)} ({p})."]
    if outliers.candidates:
        images = f"Other {noun}s" if outliers.named else f"Some {noun}s"
        unusual = ", ".join(outliers.candidates[:_MOST_UNUSUAL])
        return [f"{images} may be outliers ({p}). The most unusual: {unusual}."]
    if has_more:
        return []
    if test.fewest is None:
        return [f"There are too few {noun}s to test the {noun}s that are not flagged."]
    further = "further outliers" if outliers.named else "outliers"
    return [
        f"No evidence of {further} ({p}). The test can detect {test.fewest:,} or more among {len(outliers.names):,}."
    ]


def _flagged_by_test(outliers: Outliers) -> str:
    """Return the clause on the number of flagged images that the test for a small number of outliers flagged."""
    num_flagged = len(outliers.flagged)
    num_by_test = outliers.num_by_test
    if num_flagged == 1:
        subject = "It was"
    elif num_by_test == num_flagged:
        subject = f"All {num_flagged:,} were"
    elif num_by_test == 1:
        subject = "1 of these was"
    else:
        subject = f"{num_by_test:,} of these were"
    return f"{subject} flagged by the test for outliers"


def flagged_in_folder(outliers: Outliers, noun: str) -> list[str]:
    """Return sentences on images that are outliers within their own set, and on faults that can't be detected."""
    if not outliers.has_properties:
        return [f"No {noun}s were checked for faults, since properties are only measured of grey and RGB images."]
    lines = _flagged(outliers, "the others", noun)
    if not lines:
        lines = [f"No {noun} is flagged."]
    if outliers.too_few is not None:
        single_valued = f"those of a single {value_of(noun)}"
        lines.append(f"With fewer than {outliers.too_few} {noun}s, only {single_valued} are flagged.")
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
    """Return the sentence on the number of flagged images, and a sentence for each reason."""
    flagged = outliers.flagged
    if not flagged:
        return []
    total = images_in_words(len(outliers.names), noun)
    if len(flagged) == 1:
        lines = [f"1 of {total} is flagged as an outlier."]
    else:
        lines = [f"{len(flagged):,} of {total} are flagged as outliers."]
    names_by_reason: dict[str, list[str]] = {}
    for name, image in flagged:
        names_by_reason.setdefault(image.reason, []).append(name)
    for reason, names in names_by_reason.items():
        lines.append(_flagged_for_one_reason(names, full_reason(reason, reference, len(names))))
    return lines


def _flagged_for_one_reason(names: Sequence[str], predicate: str) -> str:
    """Return the sentence on images that are flagged for the same reason; ``predicate`` is the reason in words."""
    if len(names) == 1:
        return f"{names[0]} {predicate}."
    shown = ", ".join(names[:_MOST_UNUSUAL])
    if len(names) > _MOST_UNUSUAL:
        shown += f" and {len(names) - _MOST_UNUSUAL:,} more"
    return f"{len(names):,} {predicate}: {shown}."


def outliers_of_b(comparison: Comparison) -> list[str]:
    """Return the sentence on outliers among the images of B; nothing if there are none."""
    outliers = comparison.outliers
    if outliers is None:
        return []
    if outliers.named:
        return _flagged_in_b(comparison, outliers)
    # If the sets differ, the test for a small number of outliers adds nothing to the test of all images.
    if outliers.candidates and outliers.outlier_test is not None and not comparison.differs:
        p = p_figure(outliers.outlier_test.p_value, "p")
        unusual = ", ".join(outliers.candidates[:_MOST_UNUSUAL])
        return [
            f"A small number of {comparison.noun}s in {comparison.names[1]} may be outliers ({p}). The most unusual:"
            f" {unusual}."
        ]
    return []


def _flagged_in_b(comparison: Comparison, outliers: Outliers) -> list[str]:
    """Return the sentence on the flagged images of B; nothing if they only repeat that the sets differ."""
    has_faults = any(image.reason in REASONS for image in outliers.named)
    if are_many(outliers) and comparison.differs and not has_faults:
        return []
    reference = comparison.names[0]
    if outliers.is_alone:
        relative_to = "within the set"
    elif comparison.explanation is not None and comparison.explanation.causes is not None:
        # The previous sentence is about A after a change.
        relative_to = f"relative to the original {reference}"
    else:
        relative_to = f"relative to {reference}"
    total = f"of {images_in_words(len(outliers.names), comparison.noun)} in {comparison.names[1]}"
    return [_flagged_in_words(outliers, total, relative_to)]


def _flagged_in_words(outliers: Outliers, total: str, relative_to: str) -> str:
    """Return the sentence that names the flagged images with their reasons.

    If there are many flagged images, it gives the number of images with the most frequent reason. Images of a single
    colour or value are still named.

    Args:
        outliers: The flagged images.
        total: Number of all images and name of their set, such as "of 40 images in B".
        relative_to: The set to which the images are compared, such as "relative to A".

    """
    flagged = outliers.flagged
    num_flagged = len(flagged)
    are_flagged = "is flagged as an outlier" if num_flagged == 1 else "are flagged as outliers"
    how_many = f"{num_flagged:,} {total} {are_flagged} {relative_to}"
    main_reason, count = Counter(image.reason for _, image in flagged).most_common(1)[0]
    is_shared_reason = count > 1
    if not are_many(outliers) or not is_shared_reason:
        clauses = _with_reasons(flagged[:_MOST_FLAGGED])
        if num_flagged > _MOST_FLAGGED:
            clauses.append(f"and {num_flagged - _MOST_FLAGGED:,} more")
        return f"{how_many}: {'; '.join(clauses)}."
    main_reason_in_words = short_reason(main_reason, count)
    if count == num_flagged:
        return f"{count:,} {total} {main_reason_in_words} {relative_to}."
    single_valued = [(name, image) for name, image in flagged if image.is_fact and image.reason != main_reason]
    clauses = _with_reasons(single_valued[:_MOST_FLAGGED])
    clauses.append(f"{count:,} {main_reason_in_words}")
    return f"{how_many}: {'; '.join(clauses)}."


def _with_reasons(flagged: Sequence[tuple[str, Outlier]]) -> list[str]:
    """Return a clause for each run of consecutive images with the same reason."""
    clauses = []
    for reason, run in groupby(flagged, lambda pair: pair[1].reason):
        names = [name for name, _ in run]
        clauses.append(f"{', '.join(names)} {short_reason(reason, len(names))}")
    return clauses
