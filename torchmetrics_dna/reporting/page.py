"""The html page of two sets; pictures are data URIs, and histograms SVG paths."""

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
from torchmetrics_dna.reporting.two_sets import TERMS, num_significant, title, unit_of, why_small

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.singles.look import Gallery, ShownImage

# Number of neurons whose histograms are shown.
_TOP = 12
# Largest number of ticks of an axis, without the one at 0.
_TICKS = 5
# Number of unreadable images that are listed.
_NAMED = 100
# Histograms are logarithmic: a share of 10 to the minus this has no height.
_FAINTEST = 5
# Largest height in a histogram.
_FULL = 255
# A bin with at least this share of all activations is mentioned.
_SPIKE = 0.1
# Colour of heat maps, as red, green and blue.
_YELLOW = (254, 232, 56)
# Brightness of an image under its map, so that yellow is lighter than all of it.
_DIM = 0.45
# Opacity of the yellow where a map is highest, so that the image stays visible.
_OPAQUE = 0.85
# Quantiles of the maps of a set that are the ends of their scale, so that single places do not set it.
_MAPPED = (0.01, 0.99)
# Spread of a flat map, relative to the largest value: rounding.
_FLAT = 1e-9
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
# JPEG qualities that are tried one after another, and the number of bytes that a picture has at most, if possible.
_QUALITIES = (80, 50, 25, 10)
_LARGEST = 16_000
# Parts of a file name, after which a line may break.
_PART_OF_NAME = re.compile("[^/_.-]*[/_.-]?")


class MappedImage(NamedTuple):
    """Image with its heat map.

    Attributes:
        image: The image.
        map: Picture of the heat map; None for flat maps.
        place: Part of the image where the map is highest, in words; empty for flat maps.

    """

    image: ShownImage
    map: Image.Image | None = None
    place: str = ""


def as_html(comparison: Comparison, gallery: Gallery | None = None) -> str:
    """Render a comparison as one html page; without a gallery, it shows no images."""
    explanation = comparison.explain()
    properties = property_rows(comparison)
    outliers: list[MappedImage] = []
    unlike: dict[str, list[MappedImage]] = {}
    if gallery is not None:
        outliers = with_maps(gallery.outliers, gallery.crop)
        # A change that explains the difference applies to all images, so the least similar ones add nothing to it.
        if not explanation.causes:
            unlike = {side: with_maps(shown, gallery.crop) for side, shown in gallery.unlike.items()}
    differs = comparison.differs is not False and not comparison.same_images
    return render(
        "two_sets.html",
        title=title(comparison),
        sentences=comparison.verdict_lines,
        terms=terms_of(TERMS, comparison.noun),
        comparison=comparison,
        noun=comparison.noun,
        names=dict(zip("ab", comparison.names, strict=True)),
        sides=sides_in_words(comparison),
        properties=properties,
        has_properties=bool(properties) or comparison.noun == "image",
        gallery=gallery,
        cause=explanation.causes.in_words if explanation.causes else "",
        flagged=flagged_images(comparison),
        outliers=outliers,
        unlike=unlike,
        has_interval=comparison["dna-emd"].evidence is not None,
        tested=num_significant(comparison),
        axis=_axis(comparison),
        differs=differs,
        top=top_histograms(comparison) if differs else [],
        settings=settings_of(comparison, gallery),
        unreadable=comparison.unreadable[:_NAMED],
        # Functions that the template calls.
        jpeg=jpeg,
        step_path=step_path,
        parts_of_name=_PART_OF_NAME.findall,
        debiased_in_words=debiased_in_words,
        interval_in_words=interval_in_words,
        unit_of=unit_of,
        why_small=why_small,
    )


def with_maps(images: Sequence[ShownImage], crop: Crop) -> list[MappedImage]:
    """Return images with their heat maps, drawn on one scale; without maps if these are flat.

    Args:
        images: The images.
        crop: Part of an image that is the network's input, and that the maps cover.

    """
    heats = [image.heat for image in images if image.heat is not None]
    # Maps of layers without positions are flat.
    if not heats or _are_flat(torch.stack(heats)):
        return [MappedImage(image) for image in images]
    values = torch.stack(heats)
    low, high = values.flatten().quantile(torch.tensor(_MAPPED, dtype=values.dtype)).tolist()
    span = max(high - low, 1e-300)
    mapped = []
    for image, heat in zip(images, heats, strict=True):
        share = ((heat - low) / span).clamp(0, 1)
        mapped.append(MappedImage(image, heat_picture(image.picture, share, crop), place_of(heat)))
    return mapped


def _are_flat(heats: Tensor) -> bool:
    """True if each heat map ``(images, side, side)`` has one value, up to rounding."""
    spread = heats.amax((1, 2)) - heats.amin((1, 2))
    return bool((spread <= _FLAT * heats.abs().amax()).all())


def heat_picture(picture: Image.Image, shares: Tensor, crop: Crop) -> Image.Image:
    """Draw a heat map of shares ``(side, side)`` over the part that the crop leaves, in yellow over dim grey."""
    top, left, height, width = seen_of(picture.height, picture.width, crop)
    resized = Image.fromarray(shares.float().numpy()).resize((width, height), Image.Resampling.BILINEAR)
    opacities = np.zeros((picture.height, picture.width, 1))
    opacities[top : top + height, left : left + width, 0] = _OPAQUE * np.asarray(resized)
    grey = _DIM * np.asarray(picture.convert("L"))[..., None]
    blended = (1 - opacities) * grey + opacities * np.array(_YELLOW)
    return Image.fromarray(blended.round().astype(np.uint8))


def place_of(heat: Tensor) -> str:
    """Return the name of the ninth of a heat map ``(side, side)`` whose mean is highest.

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
    """Return a picture as the data URI of a JPEG of about 16 kB at most. The quality decreases until it fits."""
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= _LARGEST:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def step_path(levels: Sequence[int], width: int, height: int) -> str:
    """Return the outline of a histogram, of levels up to 255, as an SVG path.

    Example:
        >>> step_path([255, 0], 10, 100)
        'M0 100V0H5V100H10V100'

    """
    steps = []
    for i, level in enumerate(levels):
        top = height - level * height / _FULL
        right = (i + 1) * width / len(levels)
        steps.append(f"V{top:.4g}H{right:.4g}")
    return f"M0 {height}{''.join(steps)}V{height}"


def _axis(comparison: Comparison) -> dict[str, Any]:
    """Return round ticks from 0, and the end of the axis, for the distance of each layer."""
    findings = comparison.of_granularity("neuron", "layer")[0].layers.values()
    ends = [finding.interval.high if finding.interval else finding.value for finding in findings]
    largest = max(ends) or 1.0
    power = 10 ** math.floor(math.log10(largest))
    steps = (0.2 * power, 0.5 * power, power, 2 * power, 5 * power)
    step = next(step for step in steps if largest / step <= _TICKS)
    ticks = [step * i for i in range(int(largest / step) + 1)]
    return {"ticks": ticks, "largest": 1.04 * largest}


def top_histograms(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the neurons that differ most clearly, with their figures and histograms.

    Each record also has ``called``, the neuron in words; ``heights`` of its histograms in A and in B on a logarithmic
    scale, at most 255; ``low`` and ``high``, the activations at the ends; and ``spike``, a sentence on its fullest bin,
    such as the zeros of a ReLU, if this bin stands out.
    """
    records = comparison.top_neurons(_TOP)
    places = [comparison.neurons.index(record["layer"], record["neuron"]) for record in records]
    a, b = comparison.aligned(places)
    # A selection is in the order of the neurons.
    rows = [sorted(places).index(place) for place in places]
    shares, num_used, ends = grouped(a, b, GROUPS)
    heights = _logarithmic_heights(shares)
    edges = a.bin_edges()
    # Shares of the activations by set, neuron and bin.
    bin_shares = torch.stack([dna.counts / dna.counts.sum(1, keepdim=True) for dna in (a, b)])
    for row, record in zip(rows, records, strict=True):
        record["called"] = neuron_in_words(record["layer"], record["neuron"])
        record["low"], record["high"] = ends[row].tolist()
        record["heights"] = heights[row, :, : int(num_used[row])].tolist()
        record["spike"] = _spike_in_words(bin_shares[:, row], edges[row])
    return records


def _logarithmic_heights(shares: Tensor) -> Tensor:
    """Return shares as heights from 1 to 255 on a logarithmic scale, int32; 0 for a share of 0."""
    heights = (_FULL * (1 + shares.log10() / _FAINTEST)).round().clamp(1, _FULL)
    return torch.where(shares > 0, heights, 0).int()


def _spike_in_words(bin_shares: Tensor, edges: Tensor) -> str:
    """Return a sentence on the fullest bin of a neuron; empty if it does not stand out.

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
