"""The html page of a comparison; pictures are data URIs, and histograms SVG paths."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.tables import sentence_in_html
from torchmetrics_dna.files.visible import images_in_words, number, p_figure, visible
from torchmetrics_dna.images.cells import Crop, seen_of
from torchmetrics_dna.images.properties import neuron_in_words
from torchmetrics_dna.reporting.figures import debiased_in_words, interval_in_words
from torchmetrics_dna.reporting.findings import GROUPS, property_rows, settings_of, sides_in_words
from torchmetrics_dna.reporting.two_sets import num_significant, unit_of, why_small

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.two_sets import Comparison
    from torchmetrics_dna.singles.look import Gallery, ShownImage

# Number of neurons whose histograms are shown.
_TOP = 12
# Number of ticks of an axis, at most, beside 0.
_TICKS = 5
# Number of unreadable images that are listed.
_NAMED = 100
# Histograms are logarithmic: a share of 10 to the minus this has no height.
_FAINTEST = 5
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
_HERE = "torchmetrics_dna.reporting"


def as_html(comparison: Comparison, gallery: Gallery | None = None) -> str:
    """Render a comparison as one html page; without a gallery, it shows no images."""
    env = Environment(
        loader=PackageLoader(_HERE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Values of a subtype, Markup, are made here and contain no text from outside.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    env.filters |= {"number": number, "p": p_figure, "images": images_in_words, "path": step_path, "jpeg": jpeg}
    env.filters |= {"debiased": debiased_in_words, "ends": interval_in_words}
    env.globals |= {"unit_of": unit_of, "why_small": why_small}
    # `sentence_in_html` escapes the text.
    env.filters["sentence"] = lambda text: Markup(sentence_in_html(text))
    env.filters["parts"] = re.compile("[^/_.-]*[/_.-]?").findall
    headline, *sentences = comparison.verdict_lines
    explanation = comparison.explain()
    differs = comparison.differs is not False and not comparison.same_images
    properties = property_rows(comparison)
    odd: list[Any] = []
    unlike: dict[str, Any] = {}
    if gallery is not None:
        odd = with_maps(gallery.odd, gallery.crop)
        # A cause that is named changes all images, so single ones that are least like the other set say no more.
        if not explanation.causes:
            unlike = {side: with_maps(shown, gallery.crop) for side, shown in gallery.unlike.items()}
    return env.get_template("page.html").render(
        comparison=comparison,
        noun=comparison.noun,
        names=dict(zip("ab", comparison.names, strict=True)),
        sides=sides_in_words(comparison),
        headline=headline.replace(" %", "\N{NO-BREAK SPACE}%"),
        sentences=sentences,
        properties=properties,
        has_words=bool(properties) or comparison.noun == "image",
        gallery=gallery,
        cause=explanation.causes.in_words if explanation.causes else "",
        odd=odd,
        unlike=unlike,
        sure=comparison["dna-emd"].evidence is not None,
        tested=num_significant(comparison),
        axis=_axis(comparison),
        differs=differs,
        top=top_histograms(comparison) if differs else [],
        settings=settings_of(comparison, gallery),
        unreadable=comparison.unreadable[:_NAMED],
        style=Markup(files(_HERE).joinpath("page.css").read_text(encoding="utf-8")),
    )


def with_maps(images: Sequence[ShownImage], crop: Crop) -> list[tuple[ShownImage, Image.Image | None, str]]:
    """Return images with their heat maps, drawn on one scale, and where these are highest; None for flat maps."""
    heats = torch.stack([image.heat for image in images if image.heat is not None] or [torch.zeros(1, 1)])
    spread = heats.amax((1, 2)) - heats.amin((1, 2))
    # Maps of layers without positions are flat.
    if bool((spread <= _FLAT * heats.abs().amax()).all()):
        return [(image, None, "") for image in images]
    low, high = heats.flatten().quantile(torch.tensor(_MAPPED, dtype=heats.dtype)).tolist()
    shares = ((heats - low) / max(high - low, 1e-300)).clamp(0, 1)
    return [
        (image, heat_picture(image.picture, share, crop), place_of(heat))
        for image, share, heat in zip(images, shares, heats, strict=True)
    ]


def heat_picture(picture: Image.Image, shares: Tensor, crop: Crop) -> Image.Image:
    """Draw a heat map of shares ``(side, side)`` of what the network sees of an image, in yellow over dim grey."""
    top, left, height, width = seen_of(picture.height, picture.width, crop)
    resized = Image.fromarray(shares.float().numpy()).resize((width, height), Image.Resampling.BILINEAR)
    opacities = np.zeros((picture.height, picture.width, 1))
    opacities[top : top + height, left : left + width, 0] = _OPAQUE * np.asarray(resized)
    grey = _DIM * np.asarray(picture.convert("L"))[..., None]
    return Image.fromarray(((1 - opacities) * grey + opacities * np.array(_YELLOW)).round().astype(np.uint8))


def place_of(heat: Tensor) -> str:
    """Name the ninth of a heat map ``(side, side)`` whose mean is highest.

    Example:
        >>> place_of(torch.eye(9) * torch.arange(9))
        'lower right'

    """
    ninths = adaptive_avg_pool2d(heat[None], 3)[0]
    row, column = divmod(int(ninths.argmax()), 3)
    return "centre" if row == column == 1 else f"{_ROWS[row]} {_COLUMNS[column]}"


def jpeg(picture: Image.Image) -> str:
    """Return a picture as the data URI of a JPEG of about 16 kB at most: of noise it is coarser."""
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
    steps = (
        f"V{height - level * height / 255:.4g}H{(i + 1) * width / len(levels):.4g}" for i, level in enumerate(levels)
    )
    return f"M0 {height}{''.join(steps)}V{height}"


def _axis(comparison: Comparison) -> dict[str, Any]:
    """Return round ticks from 0, and the end of the axis, for the distance of each layer."""
    layers = comparison.of_grain("neuron", "layer")[0].layers.values()
    largest = max((figure.interval.high if figure.interval else figure.value) for figure in layers) or 1.0
    power = 10 ** math.floor(math.log10(largest))
    step = next(step for step in (0.2 * power, 0.5 * power, power, 2 * power, 5 * power) if largest / step <= _TICKS)
    return {"ticks": [step * i for i in range(int(largest / step) + 1)], "largest": 1.04 * largest}


def top_histograms(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the neurons that differ most clearly, with figures and their histograms.

    Each has ``heights`` of its histograms in A and in B on a logarithmic scale, at most 255; ``low`` and ``high``,
    activations at the ends; and ``spike``: its fullest bin in words, such as the zeros of a ReLU, if that stands out.
    """
    top = comparison.top_neurons(_TOP)
    places = [comparison.neurons.index(row["layer"], row["neuron"]) for row in top]
    a, b = comparison.aligned(places)
    shares, used, ends = grouped(a, b, GROUPS)
    levels = torch.where(shares > 0, (255 * (1 + shares.log10() / _FAINTEST)).round().clamp(1, 255), 0).int()
    edges = a.bin_edges()
    share_of_bins = torch.stack([dna.counts / dna.counts.sum(1, keepdim=True) for dna in (a, b)])
    for place, row in zip(places, top, strict=True):
        # A selection is in the order of the neurons.
        i = sorted(places).index(place)
        row["called"] = neuron_in_words(row["layer"], row["neuron"])
        row["low"], row["high"] = ends[i].tolist()
        row["heights"] = levels[i, :, : int(used[i])].tolist()
        fullest = int(share_of_bins[:, i].sum(0).argmax())
        in_a, in_b = share_of_bins[:, i, fullest].tolist()
        low, high = edges[i, fullest : fullest + 2].tolist()
        where = "of 0" if low <= 0 < high else f"from {low:.3g}"
        spike = f"one bin, {where}, holds {100 * in_a:.0f} % of A and {100 * in_b:.0f} % of B"
        row["spike"] = spike if max(in_a, in_b) >= _SPIKE else ""
    return top
