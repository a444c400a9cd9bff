"""Properties of images before the resize, such as brightness and sharpness. Each property is used as a neuron."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from torchmetrics_dna.images.fast import compiled_images
from torchmetrics_dna.images.tensors import lacks_float64
from torchmetrics_dna.registry import Registry

if TYPE_CHECKING:
    from torchmetrics_dna.images.pixels import FileFacts, Pixels
    from torchmetrics_dna.neurons.index import Neurons

LAYER = "properties"
# Layer for inputs other than images. It has two neurons per band, see `_OF_BAND`.
BANDS = "numbers of bands"
_OF_BAND = ("mean", "deviation")
# Version of the definitions. Increment it if any value changes.
VERSION = 3
# Number of bytes per pixel for which the property has the value 1.
_MOST_BYTES = 8


class Fault(NamedTuple):
    """Fault of an image whose property is much larger, or much smaller, than that of other images.

    Args:
        least: Smallest difference from other images that counts as a fault. The difference is that of the property
            after the transformation ``tails``.
        verb: Verb of the statement about an image: ``"is"``, ``"has"``, ``"looks"`` or ``"shows"``.
        words: End of the short statement about an image, such as ``"much darker"``.
        details: Text that follows in the full statement. The placeholder ``{}`` stands for the reference, or for "the
            others".
        maybe: Value of the property from which an image far beyond all others has the fault. NaN if the property is a
            matter of style. It is then only reported as the reason for an outlier that was found by other evidence.
        plain: Value of the property from which a fault is nearly certain, so that less evidence is required. NaN if
            there is no such value.

    """

    least: float
    verb: Literal["is", "has", "looks", "shows"]
    words: str
    details: str = ""
    maybe: float = math.nan
    plain: float = math.nan


@dataclass(frozen=True)
class Property:
    """Registry entry of a property of images.

    Args:
        name: Name of the property.
        meaning: Meaning of a printed value, for reports and for the table in the documentation.
        measure: Function of :class:`Originals` that returns the value of each image, ``(B,)``, or one value for all
            images.
        written: Function that formats a value with its unit. None to format it with significant digits.
        needs: Requirement without which the value is 0: the ``"size"`` of the images, their ``"file"``, ``"pixels"``,
            or ``"texture"`` (a height and width of at least three pixels).
        of_pixels: Whether the property is used for outlier scores and for the choice of candidate changes. This changes
            verdicts.
        higher: Fault of an image whose value is much larger than those of a reference. None if this is not a fault.
        lower: Fault of an image whose value is much smaller than those of a reference. None if this is not a fault.
        tails: Transformation after which the distribution of the property has approximately exponential tails. None if
            the property needs no transformation.
        plain: Whether a verdict prefers the property to others if it is among the clearest differences.

    """

    name: str
    meaning: str
    measure: Callable[[Any], Tensor | float]
    written: Callable[[float], str] | None = None
    needs: Literal["size", "file", "pixels", "texture"] = "pixels"
    of_pixels: bool = False
    higher: Fault | None = None
    lower: Fault | None = None
    tails: Callable[[Tensor], Tensor] | None = None
    plain: bool = False

    def in_words(self, value: float, digits: int = 3) -> str:
        """Format a value with its unit. A property without a unit is formatted with ``digits`` significant digits."""
        if self.written is None:
            return f"{value:.{digits}g}"
        return self.written(value)

    @property
    def faults(self) -> dict[str, Fault]:
        """Faults of the property, by its name and the sign of the difference, such as ``"sharpness -"``."""
        faults = {}
        if self.higher is not None:
            faults[f"{self.name} +"] = self.higher
        if self.lower is not None:
            faults[f"{self.name} -"] = self.lower
        return faults


# Height and width in pixels of the central crop whose texture is measured.
WINDOW = 192
# Maximum number of pixels whose colours are measured.
_PIXELS = 1 << 14
# Number of different colours with five bits per channel.
_NUM_COLOURS = 1 << 15
# Brightness of white, in thousandths of a grey level.
WHITE = 255_000
# Radius in pixels in which pixelation searches for a large difference between neighbouring lines.
NEAR = 4
# A Laplacian of at most two grey levels is ignored, in thousandths of a grey level. It is the sum of two second
# differences, and rounding to bytes changes each of them by about one grey level. Otherwise, a strongly blurred image
# would seem to be sharp.
DEAD_ZONE = 2_000
# Factor that converts the mean response of Immerkaer's kernel to the property "noise".
NOISE = math.sqrt(math.pi / 2) / 6 * 8 / WHITE


def image_properties(imgs: Tensor, file: FileFacts | None = None) -> Tensor:
    """Measure properties of original images.

    The values of an image do not depend on its batch and process, because they are sums of integers up to a final
    division.

    Args:
        imgs: RGB or greyscale images ``(B, C, H, W)``, uint8, or floating point in [0, 1].
        file: Metadata of the image file, which is that of all images. If it is None, the properties of files are 0.

    Returns:
        Properties, float32 in [0, 1], one row per image and one column for each of ``PROPERTIES``. Width and height are
        the logarithm to base 2, divided by 16. Bytes per pixel are divided by 8. Some properties have the neutral value
        0.5. It means a square image, no colour cast, corners as bright as the centre, or equal differences between
        pixels at the borders of 8-pixel blocks and elsewhere.

    Example:
        >>> grey = torch.full((1, 3, 16, 16), 128, dtype=torch.uint8)
        >>> values = dict(zip(PROPERTIES, image_properties(grey)[0].tolist(), strict=True))
        >>> values["width"], values["aspect ratio"], round(values["brightness"], 3), values["flat areas"]
        (0.25, 0.5, 0.502, 1.0)

    """
    if lacks_float64(imgs.device):
        imgs = imgs.cpu()
    imgs = imgs.expand(-1, 3, -1, -1)
    if imgs.dtype != torch.uint8:
        imgs = imgs.mul(255).round().to(torch.uint8)
    properties = torch.zeros(len(imgs), len(PROPERTIES), dtype=torch.float64, device=imgs.device)
    originals = Originals(imgs, file)
    # Set columns one by one. Stacking single numbers would copy them to the device, which synchronizes it.
    for column, record in enumerate(RECORDS.values()):
        if originals.has[record.needs]:
            properties[:, column] = record.measure(originals)
    return properties.clamp_(0, 1).float()


def properties_of(image: Pixels, file: FileFacts | None = None) -> Tensor:
    """Measure the properties ``(properties,)`` of one image ``(H, W, C)``, as :func:`image_properties` does."""
    compiled = compiled_images() if image.dtype == np.uint8 else None
    if compiled is None:
        return image_properties(torch.from_numpy(image.transpose(2, 0, 1).copy())[None], file)[0]
    rgb = np.broadcast_to(image, (*image.shape[:2], 3))
    # Copy a read-only array, because torch warns of it.
    image = np.require(rgb, requirements=("C", "W"))
    originals = Originals(torch.from_numpy(image).permute(2, 0, 1)[None], file)
    compiled_values = compiled.colours_and_texture(image)
    values = []
    for name, record in RECORDS.items():
        if name in compiled_values:
            values.append(compiled_values[name])
        elif originals.has[record.needs]:
            values.append(float(record.measure(originals)))
        else:
            values.append(0.0)
    return torch.tensor(values, dtype=torch.float64).clamp_(0, 1).float()


def property_note(image: Pixels) -> dict[str, Tensor]:
    """Return the properties of an image ``(H, W, C)`` as a note of a job. The properties of its file are 0."""
    return {LAYER: properties_of(image)}


def step_of(pixels: int) -> int:
    """Return the stride of the rows and columns whose colours are measured, for an image with this many pixels."""
    return math.ceil(math.sqrt(pixels / _PIXELS))


def neuron_name(layer: str, number: int) -> str:
    """Return the name of a property or of a number of a band. For other neurons, return the number within the layer.

    Example:
        >>> neuron_name("head", 7), neuron_name("properties", 3), neuron_name("numbers of bands", 7)
        ('7', 'brightness', 'deviation of band 3')

    """
    if layer == BANDS:
        band, number_in_band = divmod(number, len(_OF_BAND))
        return f"{_OF_BAND[number_in_band]} of band {band}"
    if layer == LAYER and number < len(PROPERTIES):
        return PROPERTIES[number]
    return str(number)


def neuron_in_words(layer: str, number: int) -> str:
    """Return the name of a neuron with its layer.

    Example:
        >>> neuron_in_words("head", 7), neuron_in_words("properties", 3)
        ('head neuron 7', 'brightness (properties)')

    """
    name = neuron_name(layer, number)
    if name == str(number):
        return f"{layer} neuron {number}"
    return f"{name} ({layer})"


def without_properties(neurons: Neurons) -> Neurons | None:
    """Return the neurons of the network, without the properties of images.

    Return None if there are no properties, or no other neurons.
    """
    layers = [layer for layer in neurons if layer != LAYER]
    if len(layers) in (0, len(neurons)):
        return None
    return neurons.take(neurons.positions(layers))


def property_in_words(name: str, value: float, digits: int = 3) -> str:
    """Format a value of a property with its unit. Without a unit, use ``digits`` significant digits.

    Example:
        >>> property_in_words("width", 0.5), property_in_words("dark pixels", 0.25), property_in_words("noise", 0.0123)
        ('256 pixels', '25%', '0.0123')

    """
    record = RECORDS.find(name)
    if record is None:
        return f"{value:.{digits}g}"
    return record.in_words(value, digits)


def _grey(imgs: Tensor) -> Tensor:
    """Compute the brightness of each pixel in thousandths of a grey level, from 0 to 255,000, int32."""
    red, green, blue = imgs.int().unbind(1)
    grey: Tensor = red * 299 + green * 587 + blue * 114
    return grey


class Originals:
    """Images before the resize, and values that several properties use. Each value is computed once.

    Args:
        imgs: The images, ``(B, 3, H, W)``, uint8.
        file: Metadata of the image file; None for images in memory.

    Attributes:
        file: Metadata of the image file.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        has: Whether the requirements of properties are met, by the name of the requirement.

    """

    def __init__(self, imgs: Tensor, file: FileFacts | None) -> None:
        self.file = file
        self._imgs = imgs
        self.height, self.width = imgs.shape[2:]
        has_images = len(imgs) > 0
        has_neighbours = min(self.height, self.width) >= 3
        self.has = {
            "size": True,
            "file": file is not None,
            "pixels": has_images,
            "texture": has_images and has_neighbours,
        }

    @cached_property
    def sample(self) -> Tensor:
        """Pixels whose colours are measured. There are at most 2^14 per image, so that sums do not overflow."""
        step = step_of(self.height * self.width)
        return self._imgs[:, :, ::step, ::step].contiguous()

    @cached_property
    def channels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Red, green and blue of the sample, each int32."""
        red, green, blue = self.sample.int().unbind(1)
        return red, green, blue

    @cached_property
    def grey(self) -> Tensor:
        """Brightness of the sample, see :func:`_grey`."""
        return _grey(self.sample)

    @cached_property
    def count(self) -> int:
        """Number of pixels of the sample per image."""
        return self.grey[0].numel()

    @cached_property
    def mean(self) -> Tensor:
        """Mean brightness of the sample, ``(B,)``."""
        return _total(self.grey) / self.count

    @cached_property
    def middle(self) -> Tensor:
        """Brightness of the central crop whose texture is measured. The crop is aligned to blocks of 8 pixels."""
        top = max(0, (self.height - WINDOW) // 16 * 8)
        left = max(0, (self.width - WINDOW) // 16 * 8)
        return _grey(self._imgs[:, :, top : top + WINDOW, left : left + WINDOW])

    @cached_property
    def steps(self) -> tuple[Tensor, Tensor]:
        """Differences between horizontal neighbours, and between vertical neighbours, in the central crop."""
        return self.middle.diff(dim=2), self.middle.diff(dim=1)

    @cached_property
    def seconds(self) -> tuple[Tensor, Tensor]:
        """Second differences, horizontal and vertical. Their sum is the Laplacian."""
        across, down = self.steps
        return across.diff(dim=2), down.diff(dim=1)

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor]:
        """Sum of the absolute differences between adjacent columns, and between adjacent rows.

        A sum has at most 192 steps of at most 255,000 each.
        """
        across, down = self.steps
        return across.abs().sum(1), down.abs().sum(2)

    @cached_property
    def narrow(self) -> Tensor:
        """Mean absolute horizontal step plus mean absolute vertical step, ``(B,)``."""
        columns, rows = self.sums
        across, down = self.steps
        return _total(columns) / across[0].numel() + _total(rows) / down[0].numel()


def _contrast(images: Originals) -> Tensor:
    mean_of_squares = _total(images.grey.long() * images.grey) / images.count
    variance = (mean_of_squares - images.mean * images.mean).clamp(min=0)
    return variance.sqrt() * 2 / WHITE


def _colours(images: Originals) -> Tensor:
    # Each colour has a code of 15 bits: the upper five bits of its channels.
    upper_bits = images.sample >> 3
    codes = (upper_bits[:, 0].long() << 10) + (upper_bits[:, 1].int() << 5) + upper_bits[:, 2]
    is_present = torch.zeros(len(codes), _NUM_COLOURS, dtype=torch.uint8, device=codes.device)
    is_present.scatter_(1, codes.flatten(1), 1)
    return (_count(is_present) / min(images.count, _NUM_COLOURS)).sqrt()


def _saturation(images: Originals) -> Tensor:
    return _total(images.sample.amax(1).int() - images.sample.amin(1).int()) / (255 * images.count)


def _red_against_green(images: Originals) -> Tensor:
    # The difference is between -255 and 255.
    red, green, _ = images.channels
    return 0.5 + _total(red - green) / (510 * images.count)


def _blue_against_yellow(images: Originals) -> Tensor:
    # The difference is between -510 and 510.
    red, green, blue = images.channels
    return 0.5 + _total(2 * blue - red - green) / (1020 * images.count)


def _dark_corners(images: Originals) -> Tensor:
    """Return 0.5, plus half the difference in brightness between the centre and the mean of the four corners.

    Each part has an eighth of the height and of the width. The brightness of white is 1.
    """
    grey = images.grey
    num_rows, num_columns = grey.shape[1:]
    height = max(1, num_rows // 8)
    width = max(1, num_columns // 8)
    corners = [
        grey[:, :height, :width],
        grey[:, :height, -width:],
        grey[:, -height:, :width],
        grey[:, -height:, -width:],
    ]
    mean_of_corners = torch.stack([_total(corner) for corner in corners]).sum(0) / 4
    top = (num_rows - height) // 2
    left = (num_columns - width) // 2
    centre = _total(grey[:, top : top + height, left : left + width])
    return 0.5 + (centre - mean_of_corners) / (2 * WHITE * height * width)


def _sharpness(images: Originals) -> Tensor:
    """Divide the mean absolute Laplacian beyond the dead zone by the mean absolute step between neighbours."""
    across, down = images.seconds
    laplacian = across[:, 1:-1] + down[:, :, 1:-1]
    beyond = (laplacian.abs() - DEAD_ZONE).clamp(min=0)
    return _mean(beyond) / (images.narrow * 4).clamp(min=1)


def _noise(images: Originals) -> Tensor:
    """Compute the mean absolute response of Immerkaer's kernel (1996), which hardly responds to edges."""
    across, _ = images.seconds
    return _mean(across[:, 2:] - 2 * across[:, 1:-1] + across[:, :-2]) * NOISE


def _fine_detail(images: Originals) -> Tensor:
    grey = images.middle
    wide = _mean(grey[:, :, 2:] - grey[:, :, :-2]) + _mean(grey[:, 2:] - grey[:, :-2])
    return images.narrow / (images.narrow + wide).clamp(min=1)


def _flat_areas(images: Originals) -> Tensor:
    across, down = images.steps
    return 1 - (_count(across) + _count(down)) / (across[0].numel() + down[0].numel())


def _total(values: Tensor) -> Tensor:
    """Return the exact sum of the integers of each image, ``(B,)``, float64."""
    return values.flatten(1).sum(1, dtype=torch.int64).double()


def _count(values: Tensor) -> Tensor:
    """Return the number of nonzero values of each image, ``(B,)``, float64."""
    return values.flatten(1).count_nonzero(1).double()


def _mean(values: Tensor) -> Tensor:
    """Return the mean absolute value of the integers of each image, ``(B,)``. Only the division is rounded."""
    return _total(values.abs()) / values[0].numel()


def _pixelation(images: Originals) -> Tensor:
    """Compute the share of lines that hardly differ from the next line, although there are large differences nearby.

    A line is a row or a column. In an enlarged image, the lines within an enlarged pixel are nearly equal.
    """
    num_small = torch.zeros_like(images.narrow)
    num_lines = 0
    for steps in images.sums:
        largest_nearby = max_pool1d(steps.double()[:, None], kernel_size=2 * NEAR + 1, stride=1, padding=NEAR)[:, 0]
        # A difference is small if it is less than a tenth of the largest difference nearby.
        num_small = num_small + _total(steps * 10 < largest_nearby)
        num_lines += steps.shape[1]
    return num_small / num_lines


def _blockiness(images: Originals) -> Tensor:
    """Compare differences of neighbours at the borders of 8-pixel blocks with other differences.

    The value is the mean at borders, divided by the sum of the mean at borders and the mean elsewhere.
    """
    columns, rows = images.sums
    if min(columns.shape[1], rows.shape[1]) <= 8:
        # Small images have no borders between blocks.
        return torch.full_like(images.narrow, 0.5)
    # Sums of the horizontal mean and the vertical mean.
    at_borders = torch.zeros_like(images.narrow)
    elsewhere = torch.zeros_like(images.narrow)
    for steps, length in zip(images.sums, images.middle.shape[1:], strict=True):
        # Step 7 is the difference between lines 7 and 8, which are in different blocks.
        is_border = torch.arange(steps.shape[1], device=steps.device) % 8 == 7
        num_at_borders = (is_border.sum() * length).clamp(min=1)
        num_elsewhere = ((~is_border).sum() * length).clamp(min=1)
        at_borders = at_borders + _total(steps * is_border) / num_at_borders
        elsewhere = elsewhere + _total(steps * ~is_border) / num_elsewhere
    return at_borders / (at_borders + elsewhere).clamp(min=1)


def in_percent(value: float) -> str:
    """Format a share as a percentage."""
    return f"{value * 100:.0f}%"


def _pixels(value: float) -> str:
    """Format the property "width" or "height" in pixels."""
    return f"{2 ** (16 * value):,.0f} pixels"


def log(shift: float) -> Callable[[Tensor], Tensor]:
    """Return a function that adds ``shift`` to values and returns their logarithm."""
    return lambda values: (values + shift).log()


def log_odds(shift: float) -> Callable[[Tensor], Tensor]:
    """Return a function that returns the log odds of shares. Both parts of the odds are increased by ``shift``."""
    return lambda values: ((values + shift) / (1 - values + shift)).log()


_of_file = partial(Property, needs="file")
_of_colour = partial(Property, needs="pixels", of_pixels=True)
_of_texture = partial(Property, needs="texture", of_pixels=True)
#: All properties by name, in the order of their neurons. Append a new property at the end, and increment ``VERSION``.
RECORDS = Registry(
    "property",
    (
        Property(
            "width", "in pixels; the mean is geometric", lambda images: math.log2(images.width) / 16, _pixels, "size",
            plain=True,
        ),
        Property(
            "height", "in pixels; the mean is geometric", lambda images: math.log2(images.height) / 16, _pixels, "size",
            plain=True,
        ),
        Property(
            "aspect ratio", "width divided by height; the mean is geometric",
            lambda images: 0.5 + math.log2(images.width / images.height) / 8,
            lambda value: f"{2 ** (8 * (value - 0.5)):.3g}", "size",
        ),
        _of_colour(
            "brightness", "mean grey value, from 0 (black) to 1 (white)", lambda images: images.mean / WHITE,
            tails=log_odds(0.02), plain=True,
            higher=Fault(0.1, "is", "much brighter", " than all of {}", maybe=0.7),
            lower=Fault(0.1, "is", "much darker", " than all of {}", maybe=0.15, plain=0.08),
        ),
        _of_colour(
            "contrast", "twice the standard deviation of the grey values; 1 if half black and half white",
            _contrast, tails=log(0.02), plain=True,
            lower=Fault(0.1, "has", "far less contrast", " than all of {}", maybe=0.06),
        ),
        _of_colour(
            "dark pixels", "share of pixels in the darkest 5% of the grey scale",
            lambda images: _count(images.grey < WHITE // 20) / images.count, in_percent, tails=log_odds(0.05),
            higher=Fault(0.2, "has", "far more dark pixels", " than all of {}", maybe=0.3, plain=0.9),
        ),
        _of_colour(
            "bright pixels", "share of pixels in the brightest 5% of the grey scale",
            lambda images: _count(images.grey > WHITE - WHITE // 20) / images.count, in_percent,
            tails=log_odds(0.05),
            higher=Fault(0.2, "has", "far more bright pixels", " than all of {}", maybe=0.5),
        ),
        _of_colour(
            "saturation", "mean difference between the largest and the smallest channel of a pixel; 0 is grey",
            _saturation, tails=log(0.01), plain=True,
            higher=Fault(0.1, "has", "stronger colours", " than all of {}"),
            lower=Fault(0.5, "has", "far less colour", " than all of {}", maybe=0.01, plain=0.002),
        ),
        _of_colour("red against green", "0.5 if equal on average, more if red is stronger", _red_against_green),
        _of_colour("blue against yellow", "0.5 if equal on average, more if blue is stronger", _blue_against_yellow),
        _of_colour(
            "colours", "square root of the share of different 15-bit colours", _colours, tails=log(0.0),
            higher=Fault(0.1, "has", "far more colours", " than all of {}, as noise gives"),
            lower=Fault(0.1, "has", "far fewer colours", " than all of {}"),
        ),
        _of_colour(
            "dark corners", "0.5 if corners and middle are equally bright, more if the corners are darker",
            _dark_corners,
        ),
        _of_texture(
            "sharpness",
            "mean Laplacian beyond two grey levels, divided by the mean step between neighbours; 0 is smooth",
            _sharpness, tails=log(0.01), plain=True,
            lower=Fault(0.05, "is", "much more blurred", " than all of {}", maybe=0.07, plain=0.05),
        ),
        _of_texture(
            "noise", "Immerkær's estimate (1996); 0.1 is about 3 of 255 grey levels",
            _noise, tails=log(0.005), plain=True,
            higher=Fault(0.1, "is", "much noisier", " than all of {}", maybe=0.4, plain=0.5),
        ),
        _of_texture(
            "fine detail", "mean step between neighbours, relative to the step over two pixels; 0.5 if equal",
            _fine_detail,
        ),
        _of_texture(
            "flat areas", "share of neighbouring pixels that are equal", _flat_areas, in_percent, tails=log_odds(0.05),
            higher=Fault(0.1, "has", "far more flat areas", " than all of {}"),
        ),
        _of_texture(
            "pixelation", "share of rows and columns with hardly any difference to the next, near large ones",
            _pixelation, tails=log_odds(0.05),
            higher=Fault(0.5, "looks", "upscaled", maybe=0.35, plain=0.42),
        ),
        _of_texture(
            "blockiness", "differences at the borders of 8 x 8 blocks, relative to others; 0.5 if equal", _blockiness,
            higher=Fault(0.01, "shows", "blocks of 8 pixels", ", as strong JPEG compression leaves", maybe=0.6),
        ),
        _of_file(
            "JPEG files", "share of files in this format", lambda images: images.file.format == "JPEG",
            in_percent, plain=True,
        ),
        _of_file(
            "PNG files", "share of files in this format", lambda images: images.file.format == "PNG",
            in_percent, plain=True,
        ),
        _of_file(
            "bytes per pixel", "size of the file, divided by the number of pixels",
            lambda images: images.file.num_bytes / (images.height * images.width * _MOST_BYTES),
            lambda value: f"{value * _MOST_BYTES:.2g}",
        ),
    ),
)  # fmt: skip
PROPERTIES = tuple(RECORDS)
#: Names of the properties that are used for the choice of candidate changes and for outlier scores.
OF_PIXELS = tuple(record.name for record in RECORDS.values() if record.of_pixels)
# All properties, those of files before those of pixels.
_FILES_FIRST = sorted(RECORDS.values(), key=lambda record: record.of_pixels)
#: Names of the properties that a verdict prefers.
PLAIN = tuple(record.name for record in _FILES_FIRST if record.plain)
#: All faults, by the name of the property and the sign of the difference.
FAULTS = {name: fault for record in RECORDS.values() for name, fault in record.faults.items()}
