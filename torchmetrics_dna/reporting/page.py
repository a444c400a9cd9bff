"""The html page of two sets. Pictures are embedded as data URIs, and histograms as SVG paths."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.images.cells import Crop, seen_of
from torchmetrics_dna.images.properties import neuron_in_words
from torchmetrics_dna.reporting.figures import debiased_in_words, interval_in_words
from torchmetrics_dna.reporting.findings import GROUPS, flagged_images, property_rows, settings_of, sides_in_words
from torchmetrics_dna.reporting.templates import render
from torchmetrics_dna.reporting.terms import terms_of
from torchmetrics_dna.reporting.two_sets import TERMS, described_value, num_significant, title, why_small

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.singles.look import Gallery, ShownImage

# Number of neurons whose histograms are shown.
_TOP = 12
# Largest number of ticks of an axis. The tick at 0 is not counted.
_TICKS = 5
# Largest number of unreadable images that are listed.
_NAMED = 100
# Number of decades of the logarithmic scale of histograms. A share of 10^-5 or less has the least height.
_DECADES = 5
# Largest height in a histogram.
_FULL_HEIGHT = 255
# Least share of all activations of a neuron in one bin, for a sentence on this bin.
_SPIKE = 0.1
# Colour of heat maps, as red, green and blue.
_YELLOW = (254, 232, 56)
# Factor that darkens an image below its map, so that the yellow of the map is lighter than the image.
_DIM = 0.45
# Opacity of the yellow where a map is highest. Below 1, the image stays visible.
_OPAQUE = 0.85
# Quantiles of all values of the maps of a set. The two ends of the maps' scale are these quantiles, so that single
# places do not decide the scale.
_MAPPED = (0.01, 0.99)
# A map is flat if its spread is at most this share of its largest value. Rounding errors are about as large.
_FLAT = 1e-9
# Least span of the scale of maps, so that no value is divided by 0 if both ends of the scale are equal.
_LEAST_SPAN = 1e-300
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
# JPEG qualities that are tried one after another, until a picture has at most the number of bytes below.
_QUALITIES = (80, 50, 25, 10)
_LARGEST = 16_000
# Part of a file name. A line may break after each part.
_PART_OF_NAME = re.compile("[^/_.-]*[/_.-]?")


class MappedImage(NamedTuple):
    """Image with its heat map.

    Attributes:
        image: The image.
        map: Picture of the heat map; None if the maps are flat.
        place: Part of the image where the map is highest, in words; empty if the maps are flat.

    """

    image: ShownImage
    map: Image.Image | None = None
    place: str = ""


class _Axis(NamedTuple):
    """Axis of a chart, from 0.

    Attributes:
        ticks: Positions of the ticks, ascending from 0.
        largest: Value at the end of the axis.

    """

    ticks: list[float]
    largest: float


def as_html(comparison: Comparison, gallery: Gallery | None = None) -> str:
    """Render a comparison as one html page.

    Args:
        comparison: The comparison.
        gallery: Single images that the page shows; by default none.

    """
    return render(
        "two_sets.html",
        title=title(comparison),
        sentences=comparison.verdict_lines,
        terms=terms_of(TERMS, comparison.noun),
        comparison=comparison,
        noun=comparison.noun,
        names=dict(zip("ab", comparison.names, strict=True)),
        sides=sides_in_words(comparison),
        settings=settings_of(comparison, gallery),
        unreadable=comparison.unreadable[:_NAMED],
        **_values_of_images(comparison, gallery),
        **_values_of_differences(comparison),
        **_functions_of_template(),
    )


def _values_of_images(comparison: Comparison, gallery: Gallery | None) -> dict[str, Any]:
    """Return the values of the sections on single images."""
    causes = comparison.explain().causes
    outliers: list[MappedImage] = []
    unlike: dict[str, list[MappedImage]] = {}
    if gallery is not None:
        outliers = with_maps(gallery.outliers, gallery.crop)
        # A change that explains the difference applies to all images, so the least similar images add no information.
        if causes is None:
            unlike = {side: with_maps(shown, gallery.crop) for side, shown in gallery.unlike.items()}
    return {
        "gallery": gallery,
        "cause": "" if causes is None else causes.in_words,
        "flagged": flagged_images(comparison),
        "outliers": outliers,
        "unlike": unlike,
    }


def _values_of_differences(comparison: Comparison) -> dict[str, Any]:
    """Return the values of the sections on properties, distances, layers and neurons."""
    properties = property_rows(comparison)
    differs = comparison.differs is not False and not comparison.same_images
    return {
        "properties": properties,
        "has_properties": bool(properties) or comparison.noun == "image",
        "has_interval": comparison["dna-emd"].evidence is not None,
        "tested": num_significant(comparison),
        "axis": _axis(comparison),
        "differs": differs,
        "top": top_histograms(comparison) if differs else [],
    }


def _functions_of_template() -> dict[str, Any]:
    """Return the functions that the template calls."""
    return {
        "jpeg": jpeg,
        "step_path": step_path,
        "parts_of_name": _PART_OF_NAME.findall,
        "debiased_in_words": debiased_in_words,
        "interval_in_words": interval_in_words,
        "described_value": described_value,
        "why_small": why_small,
    }


def with_maps(images: Sequence[ShownImage], crop: Crop) -> list[MappedImage]:
    """Draw the heat maps of images, all on one scale.

    Args:
        images: The images.
        crop: Part of an image that is the network's input. The maps cover this part.

    Returns:
        The images with their maps. If the maps are flat, the images have no maps.

    """
    heats = [image.heat for image in images if image.heat is not None]
    if not heats:
        return [MappedImage(image) for image in images]
    values = torch.stack(heats)
    # Maps of layers without positions are flat.
    if _are_flat(values):
        return [MappedImage(image) for image in images]
    low, high = values.flatten().quantile(torch.tensor(_MAPPED, dtype=values.dtype)).tolist()
    span = max(high - low, _LEAST_SPAN)
    mapped = []
    for image, heat in zip(images, heats, strict=True):
        shares = ((heat - low) / span).clamp(0, 1)
        mapped.append(MappedImage(image, heat_picture(image.picture, shares, crop), place_of(heat)))
    return mapped


def _are_flat(heats: Tensor) -> bool:
    """True if every heat map is constant, up to rounding errors. The maps have the shape ``(images, side, side)``."""
    spread = heats.amax((1, 2)) - heats.amin((1, 2))
    return bool((spread <= _FLAT * heats.abs().amax()).all())


def heat_picture(picture: Image.Image, shares: Tensor, crop: Crop) -> Image.Image:
    """Draw a heat map in yellow over a dim grey picture.

    Args:
        picture: The picture.
        shares: The heat map, from 0 to 1, ``(side, side)``.
        crop: Part of the picture that the map covers.

    """
    top, left, height, width = seen_of(picture.height, picture.width, crop)
    resized = Image.fromarray(shares.float().numpy()).resize((width, height), Image.Resampling.BILINEAR)
    opacities = np.zeros((picture.height, picture.width, 1))
    opacities[top : top + height, left : left + width, 0] = _OPAQUE * np.asarray(resized)
    grey = _DIM * np.asarray(picture.convert("L"))[..., None]
    blended = (1 - opacities) * grey + opacities * np.array(_YELLOW)
    return Image.fromarray(blended.round().astype(np.uint8))


def place_of(heat: Tensor) -> str:
    """Divide a heat map ``(side, side)`` into 3 x 3 parts, and return the name of the part with the highest mean.

    Example:
        >>> place_of(torch.eye(9) * torch.arange(9))
        'lower right'

    """
    ninths = adaptive_avg_pool2d(heat[None], 3)[0]
    row, column = divmod(int(ninths.argmax()), 3)
    if row == column == 1:
        return "centre"
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def jpeg(picture: Image.Image) -> str:
    """Encode a picture as a JPEG, and return its data URI.

    The JPEG quality is reduced in steps until the file has at most 16 kB, or until the lowest quality.
    """
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= _LARGEST:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def step_path(levels: Sequence[int], width: int, height: int) -> str:
    """Return the outline of a histogram as an SVG path.

    Args:
        levels: Height of each bin, from 0 to 255.
        width: Width of the path.
        height: Height of the path for a level of 255.

    Example:
        >>> step_path([255, 0], 10, 100)
        'M0 100V0H5V100H10V100'

    """
    steps = []
    for i, level in enumerate(levels):
        top = height - level * height / _FULL_HEIGHT
        right = (i + 1) * width / len(levels)
        steps.append(f"V{top:.4g}H{right:.4g}")
    return f"M0 {height}{''.join(steps)}V{height}"


def _axis(comparison: Comparison) -> _Axis:
    """Return the axis for the distances of layers, with ticks at round numbers."""
    findings = comparison.of_granularity("neuron", "layer")[0].layers.values()
    upper_ends = [finding.interval.high if finding.interval else finding.value for finding in findings]
    largest = max(upper_ends) or 1.0
    power = 10 ** math.floor(math.log10(largest))
    # Steps between ticks. The smallest step with few enough ticks is chosen.
    candidates = (0.2 * power, 0.5 * power, power, 2 * power, 5 * power)
    step = next(candidate for candidate in candidates if largest / candidate <= _TICKS)
    ticks = [step * i for i in range(int(largest / step) + 1)]
    # A margin of 4% keeps the largest value off the edge.
    return _Axis(ticks, 1.04 * largest)


def top_histograms(comparison: Comparison) -> list[dict[str, Any]]:
    """Return records of the neurons that differ most clearly, with their histograms.

    Returns:
        The records of :meth:`Comparison.top_neurons`, with these further keys:

        - ``called``: Name of the neuron in words.
        - ``heights``: Heights of its histograms in A and in B, up to 255, on a logarithmic scale.
        - ``low`` and ``high``: Activations at the left and right ends of the histograms.
        - ``spike``: Sentence on the fullest bin, such as the zeros of a ReLU. It is empty if this bin has a small share
          of the activations.

    """
    records = comparison.top_neurons(_TOP)
    places = [comparison.neurons.index(record["layer"], record["neuron"]) for record in records]
    a, b = comparison.aligned(places)
    # The selected neurons are in ascending order of their places, not in the order of the records.
    ascending_places = sorted(places)
    rows = [ascending_places.index(place) for place in places]
    shares, num_used, ends = grouped(a, b, GROUPS)
    heights = _logarithmic_heights(shares)
    edges = a.bin_edges()
    # Shares of the activations, (2 sets, neurons, bins).
    bin_shares = torch.stack([dna.counts / dna.counts.sum(1, keepdim=True) for dna in (a, b)])
    for row, record in zip(rows, records, strict=True):
        record["called"] = neuron_in_words(record["layer"], record["neuron"])
        record["low"], record["high"] = ends[row].tolist()
        record["heights"] = heights[row, :, : int(num_used[row])].tolist()
        record["spike"] = _spike_in_words(bin_shares[:, row], edges[row])
    return records


def _logarithmic_heights(shares: Tensor) -> Tensor:
    """Convert shares to heights on a logarithmic scale.

    Returns:
        Heights from 1 to 255, int32. A share of 0 has the height 0.

    """
    # The logarithm of a share of 0 is negative infinity, which becomes the least height here and 0 below.
    heights = (_FULL_HEIGHT * (1 + shares.log10() / _DECADES)).round().clamp(1, _FULL_HEIGHT)
    return torch.where(shares > 0, heights, 0).int()


def _spike_in_words(bin_shares: Tensor, edges: Tensor) -> str:
    """Return a sentence on the fullest bin of a neuron; empty if the bin has a small share of the activations.

    Args:
        bin_shares: Share of the activations in each bin, of A and of B, ``(2, bins)``.
        edges: Edges of the bins, ``(bins + 1,)``.

    """
    fullest = int(bin_shares.sum(0).argmax())
    in_a, in_b = bin_shares[:, fullest].tolist()
    if max(in_a, in_b) < _SPIKE:
        return ""
    low, high = edges[fullest : fullest + 2].tolist()
    where = "at 0" if low <= 0 < high else f"from {low:.3g}"
    return f"The bin {where} contains {100 * in_a:.0f}% of the activations of A and {100 * in_b:.0f}% of B."
