"""Resize and measure images on the CPU by functions that numba compiles.

The results are equal to those of Pillow and torch to the last bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from torchmetrics_dna.compiled import compiled, has_machine_code
from torchmetrics_dna.images.properties import DEAD_ZONE, NEAR, NOISE, WHITE, WINDOW, step_of
from torchmetrics_dna.images.resize import kernels

# Number of rows that are resized at the same time, so that the processor uses vector instructions.
_ROWS = 8
# Number of values that are computed at the same time: three channels of each row.
_LANES = 3 * _ROWS
# Smallest height and width in pixels of an image whose texture is measured.
_LEAST_SIDE = 3
# Number of different colours with five bits per channel.
_NUM_COLOURS = 1 << 15
# Brightness below which a pixel is dark, and above which it is bright: 5% and 95% of white.
_DARK = WHITE // 20
_BRIGHT = WHITE - WHITE // 20
# Types of numpy that convert numbers in compiled functions. Type checkers do not know this use.
_int32, _int64 = cast("tuple[Any, Any]", (np.int32, np.int64))
_OF_COLOURS = (
    "brightness", "contrast", "dark pixels", "bright pixels", "saturation", "red against green", "blue against yellow",
    "colours", "dark corners",
)  # fmt: skip
_OF_TEXTURE = ("sharpness", "noise", "fine detail", "flat areas", "pixelation", "blockiness")
# Value in [0, 1] of each byte. It is rounded to float32, as in `resize_image`, and stored as float64.
_LEVELS = np.divide(np.arange(256), np.float32(255), dtype=np.float32).astype(np.float64)


@compiled
def _stage_rows(image: Any, levels: Any, top: Any, num_rows: Any, staged: Any) -> None:
    """Write the values of several rows of an image into ``staged``, those of one column next to each other.

    Args:
        image: The image, ``(H, W, 3)``, uint8.
        levels: Value of each byte, see ``_LEVELS``.
        top: Index of the first row.
        num_rows: Number of rows.
        staged: Buffer for the values, ``(W, lanes)``. With fewer rows than ``_ROWS``, some lanes are not written.

    """
    for x in range(image.shape[1]):
        for channel in range(3):
            for row in range(num_rows):
                staged[x, channel * _ROWS + row] = levels[image[top + row, x, channel]]


@compiled
def _resize_rows(image: Any, levels: Any, taps: Any, staged: Any, sums: Any, resized: Any) -> None:
    """Resize the rows of an image, several rows at a time.

    Each sum is computed in the order of its pixels, as in Pillow, so that it is rounded in the same way.

    Args:
        image: The image, ``(H, W, 3)``, uint8.
        levels: Value of each byte, see ``_LEVELS``.
        taps: Input pixels and weights of each output column, see :func:`_taps`.
        staged: Buffer for the values of several rows, ``(W, lanes)``.
        sums: Buffer for sums, ``(lanes,)``.
        resized: The result, ``(3, H, width)``, float32. This function fills it in.

    """
    first_pixels, num_pixels, weights = taps
    for top in range(0, len(image), _ROWS):
        num_rows = min(_ROWS, len(image) - top)
        _stage_rows(image, levels, top, num_rows, staged)
        for x in range(resized.shape[2]):
            for lane in range(_LANES):
                sums[lane] = 0.0
            for tap in range(num_pixels[x]):
                weight = weights[x, tap]
                for lane in range(_LANES):
                    # An unsigned index is faster, because numba need not test if it is negative.
                    sums[lane] += staged[np.uint64(first_pixels[x] + tap), lane] * weight
            for channel in range(3):
                for row in range(num_rows):
                    resized[channel, top + row, x] = np.float32(sums[channel * _ROWS + row])


@compiled
def _resize_columns(image: Any, taps: Any, sums: Any, resized: Any) -> None:
    """Resize the columns of an image, and clip the result to [0, 1].

    Args:
        image: The image, ``(3, H, width)``, float32.
        taps: Input pixels and weights of each output row, see :func:`_taps`.
        sums: Buffer for sums, ``(width,)``.
        resized: The result, ``(3, height, width)``, float32. This function fills it in.

    """
    first_pixels, num_pixels, weights = taps
    for channel in range(3):
        for y in range(resized.shape[1]):
            for x in range(resized.shape[2]):
                sums[x] = 0.0
            for tap in range(num_pixels[y]):
                weight = weights[y, tap]
                row = first_pixels[y] + tap
                for x in range(resized.shape[2]):
                    sums[x] += np.float64(image[channel, row, x]) * weight
            for x in range(resized.shape[2]):
                resized[channel, y, x] = min(max(np.float32(sums[x]), np.float32(0)), np.float32(1))


@lru_cache(64)
def _taps(num_in: int, num_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the input pixels and weights of each output pixel.

    Args:
        num_in: Number of input pixels in a row.
        num_out: Number of output pixels in a row.

    Returns:
        First input pixel, ``(num_out,)``, number of input pixels, ``(num_out,)``, and their weights, padded with zeros,
        ``(num_out, largest number)``.

    """
    first_pixels = []
    kernel_weights = []
    for first, weights in kernels(num_in, num_out):
        first_pixels.append(first)
        kernel_weights.append(weights)
    num_pixels = [len(weights) for weights in kernel_weights]
    padded = np.zeros((num_out, max(num_pixels)))
    for row, weights in zip(padded, kernel_weights, strict=True):
        row[: len(weights)] = weights
    return np.array(first_pixels), np.array(num_pixels), padded


def resize_clean(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an image ``(H, W, 3)`` by the method "clean" of :func:`torchmetrics_dna.images.resize.resize_image`.

    This makes a comparison of 40 images per set with the default network 3% faster.
    """
    image = np.require(image, requirements=("C", "W"))
    height, width = size
    num_rows, num_columns = image.shape[:2]
    staged = np.empty((num_columns, _LANES))
    rows = np.empty((3, num_rows, width), np.float32)
    resized = np.empty((3, height, width), np.float32)
    _resize_rows(image, _LEVELS, _taps(num_columns, width), staged, np.empty(_LANES), rows)
    _resize_columns(rows, _taps(num_rows, height), np.empty(width), resized)
    return resized


@compiled
def _grey(red: Any, green: Any, blue: Any) -> Any:
    """Return the brightness of a colour in thousandths of a grey level, from 0 to 255,000."""
    return red * _int32(299) + green * _int32(587) + blue * _int32(114)


@compiled
def _grey_of(pixel: Any) -> Any:
    """Return the brightness of a pixel in thousandths of a grey level, from 0 to 255,000."""
    return _grey(_int32(pixel[0]), _int32(pixel[1]), _int32(pixel[2]))


@compiled
def _colours(image: Any, step: Any) -> Any:
    """Return the colour properties of an image ``(H, W, 3)``, in the order of ``_OF_COLOURS``.

    Only every ``step``-th row and column is measured.
    """
    height = (image.shape[0] + step - 1) // step
    width = (image.shape[1] + step - 1) // step
    count = height * width
    (
        sum_of_grey,
        sum_of_squares,
        num_dark,
        num_bright,
        sum_of_saturation,
        sum_of_red_green,
        sum_of_blue_yellow,
        num_colours,
    ) = _sums_of_colours(image, step, height, width)
    mean_grey = sum_of_grey / count
    variance = max(sum_of_squares / count - mean_grey * mean_grey, 0.0)
    brightness = mean_grey / WHITE
    # The standard deviation is largest, half of white, if half of the pixels are black and the others are white.
    contrast = 2 * np.sqrt(variance) / WHITE
    dark_pixels = num_dark / count
    bright_pixels = num_bright / count
    saturation = sum_of_saturation / (255 * count)
    # Red minus green is between -255 and 255, and 2 blue - red - green is between -510 and 510.
    red_against_green = 0.5 + sum_of_red_green / (2 * 255 * count)
    blue_against_yellow = 0.5 + sum_of_blue_yellow / (2 * 510 * count)
    colours = np.sqrt(num_colours / min(count, _NUM_COLOURS))
    dark_corners = _dark_corners(image, step, height, width)
    return (
        brightness,
        contrast,
        dark_pixels,
        bright_pixels,
        saturation,
        red_against_green,
        blue_against_yellow,
        colours,
        dark_corners,
    )


@compiled
def _sums_of_colours(image: Any, step: Any, height: Any, width: Any) -> Any:
    """Return sums over the measured pixels of an image, from which its colour properties are computed.

    Args:
        image: The image, ``(H, W, 3)``.
        step: Stride of the measured rows and columns.
        height: Number of measured rows.
        width: Number of measured columns.

    Returns:
        Sum of the brightness and of its square, number of dark and of bright pixels, and sums of the saturation, of red
        minus green, and of 2 blue - red - green. The last value is the number of different colours.

    """
    sum_of_grey = 0
    sum_of_squares = 0
    num_dark = 0
    num_bright = 0
    sum_of_saturation = 0
    sum_of_red_green = 0
    sum_of_blue_yellow = 0
    is_present = np.zeros(_NUM_COLOURS, np.uint8)
    for y in range(height):
        for x in range(width):
            pixel = image[y * step, x * step]
            red, green, blue = _int32(pixel[0]), _int32(pixel[1]), _int32(pixel[2])
            grey = _grey(red, green, blue)
            sum_of_grey += grey
            # The square of a brightness does not fit into 32 bits.
            sum_of_squares += _int64(grey) * grey
            num_dark += grey < _DARK
            num_bright += grey > _BRIGHT
            sum_of_saturation += max(red, green, blue) - min(red, green, blue)
            sum_of_red_green += red - green
            sum_of_blue_yellow += 2 * blue - red - green
            # The index of a colour consists of the upper five bits of each channel.
            is_present[(red >> 3 << 10) + (green >> 3 << 5) + (blue >> 3)] = 1
    return (
        sum_of_grey,
        sum_of_squares,
        num_dark,
        num_bright,
        sum_of_saturation,
        sum_of_red_green,
        sum_of_blue_yellow,
        is_present.sum(),
    )


@compiled
def _dark_corners(image: Any, step: Any, height: Any, width: Any) -> Any:
    """Compare the brightness of the corners and the centre. Each part has an eighth of the height and of the width.

    Args:
        image: The image, ``(H, W, 3)``.
        step: Stride of the measured rows and columns.
        height: Number of measured rows.
        width: Number of measured columns.

    """
    rows = max(1, height // 8)
    columns = max(1, width // 8)
    last_top = height - rows
    last_left = width - columns
    four_corners = _sum_of_grey(image, step, 0, 0, rows, columns)
    four_corners += _sum_of_grey(image, step, 0, last_left, rows, columns)
    four_corners += _sum_of_grey(image, step, last_top, 0, rows, columns)
    four_corners += _sum_of_grey(image, step, last_top, last_left, rows, columns)
    centre = _sum_of_grey(image, step, last_top // 2, last_left // 2, rows, columns)
    return 0.5 + (centre - four_corners / 4) / (2 * WHITE * rows * columns)


@compiled
def _sum_of_grey(image: Any, step: Any, top: Any, left: Any, rows: Any, columns: Any) -> Any:
    """Return the sum of the brightness of a part of an image. Positions and sizes count measured rows and columns."""
    total = 0
    for y in range(top, top + rows):
        for x in range(left, left + columns):
            total += _grey_of(image[y * step, x * step])
    return total


@compiled
def _texture(image: Any, top: Any, left: Any, grey: Any) -> Any:
    """Return the texture properties of a part of an image, in the order of ``_OF_TEXTURE``.

    Args:
        image: The image, ``(H, W, 3)``.
        top: First row of the part.
        left: First column of the part.
        grey: Buffer for the brightness of the part. It has the same size as the part.

    """
    height, width = grey.shape
    _fill_with_grey(image, top, left, grey)
    # Sum of the absolute differences between each two neighbouring columns, and between each two neighbouring rows.
    column_steps = np.zeros(width - 1, np.int32)
    row_steps = np.zeros(height - 1, np.int32)
    num_changes, sum_wide_across, sum_wide_down, sum_of_laplacian, sum_of_kernel = _sums_of_texture(
        grey, column_steps, row_steps
    )
    num_across = height * (width - 1)
    num_down = (height - 1) * width
    num_inner = (height - 2) * (width - 2)
    # Mean absolute horizontal difference plus mean absolute vertical difference. Those of `narrow` are differences of
    # neighbours, and those of `wide` are differences of pixels two apart.
    narrow = column_steps.sum() / num_across + row_steps.sum() / num_down
    wide = sum_wide_across / (height * (width - 2)) + sum_wide_down / ((height - 2) * width)
    sharpness = sum_of_laplacian / num_inner / max(narrow * 4, 1.0)
    noise = sum_of_kernel / num_inner * NOISE
    fine_detail = narrow / max(narrow + wide, 1.0)
    flat_areas = 1 - num_changes / (num_across + num_down)
    num_still = _num_still(column_steps) + _num_still(row_steps)
    pixelation = num_still / (len(column_steps) + len(row_steps))
    blockiness = _blockiness(column_steps, row_steps, height, width)
    return sharpness, noise, fine_detail, flat_areas, pixelation, blockiness


@compiled
def _fill_with_grey(image: Any, top: Any, left: Any, grey: Any) -> None:
    """Write the brightness of a part of an image into ``grey``. Arguments are those of :func:`_texture`."""
    height, width = grey.shape
    for y in range(height):
        for x in range(width):
            grey[y, x] = _grey_of(image[top + y, left + x])


@compiled
def _sums_of_texture(grey: Any, column_steps: Any, row_steps: Any) -> Any:
    """Return sums over a part of an image, from which its texture properties are computed.

    Args:
        grey: Brightness of the part, ``(height, width)``.
        column_steps: Sum of the absolute differences between each two neighbouring columns. All are 0 when this
            function is called, which fills them in.
        row_steps: Sum of the absolute differences between each two neighbouring rows. This function fills it in.

    Returns:
        Number of pairs of neighbours that differ, and four sums of absolute values. The sums are those of differences
        of pixels two columns apart, of differences of pixels two rows apart, of the Laplacian beyond its dead zone, and
        of the response of Immerkaer's kernel.

    """
    height = len(grey)
    num_changes = _int32(0)
    sum_wide_across = 0
    sum_wide_down = 0
    sum_of_laplacian = 0
    sum_of_kernel = 0
    for y in range(height):
        num_changes += _add_steps_across(grey[y], column_steps)
        sum_wide_across += _distance(grey[y, 2:], grey[y, :-2])
        if y < height - 1:
            row_steps[y] = _distance(grey[y + 1], grey[y])
            num_changes += _num_unequal(grey[y + 1], grey[y])
        if y < height - 2:
            sum_wide_down += _distance(grey[y + 2], grey[y])
            laplacian_of_row, kernel_of_row = _second_differences(grey[y], grey[y + 1], grey[y + 2])
            sum_of_laplacian += laplacian_of_row
            sum_of_kernel += kernel_of_row
    return num_changes, sum_wide_across, sum_wide_down, sum_of_laplacian, sum_of_kernel


# This function and the next ones use 32-bit integers, which are faster to add. A row has at most 192 pixels, so sums of
# 192 values up to 8 * 255,000 fit.
@compiled
def _add_steps_across(row: Any, column_steps: Any) -> Any:
    """Add the absolute differences between neighbours of a row to ``column_steps``. Return how many are not 0."""
    num_changes = _int32(0)
    for x in range(len(column_steps)):
        difference = abs(row[x + 1] - row[x])
        column_steps[x] += difference
        num_changes += _int32(difference != 0)
    return num_changes


@compiled
def _distance(row: Any, other: Any) -> Any:
    """Return the sum of the absolute differences of two rows."""
    total = _int32(0)
    for x in range(len(row)):
        total += abs(row[x] - other[x])
    return total


@compiled
def _num_unequal(row: Any, other: Any) -> Any:
    """Return the number of pixels in which two rows differ."""
    count = _int32(0)
    for x in range(len(row)):
        count += _int32(row[x] != other[x])
    return count


@compiled
def _second_differences(above: Any, row: Any, below: Any) -> Any:
    """Return the sums of two absolute responses at a row: the Laplacian beyond its dead zone, and Immerkaer's kernel.

    Args:
        above: Brightness of the row above.
        row: Brightness of the row.
        below: Brightness of the row below.

    """
    sum_of_laplacian = _int32(0)
    sum_of_kernel = _int32(0)
    for x in range(1, len(row) - 1):
        # Horizontal second differences of the three rows.
        second_above = above[x + 1] - 2 * above[x] + above[x - 1]
        second = row[x + 1] - 2 * row[x] + row[x - 1]
        second_below = below[x + 1] - 2 * below[x] + below[x - 1]
        laplacian = second + below[x] - 2 * row[x] + above[x]
        sum_of_laplacian += _int32(max(abs(laplacian) - DEAD_ZONE, 0))
        sum_of_kernel += _int32(abs(second_below - 2 * second + second_above))
    return sum_of_laplacian, sum_of_kernel


@compiled
def _num_still(steps: Any) -> Any:
    """Return the number of sums of differences that are less than a tenth of the largest sum nearby."""
    count = 0
    for i in range(len(steps)):
        count += steps[i] * 10 < steps[max(i - NEAR, 0) : i + NEAR + 1].max()
    return count


@compiled
def _blockiness(column_steps: Any, row_steps: Any, height: Any, width: Any) -> Any:
    """Compare differences of neighbours at the borders of 8-pixel blocks with other differences.

    The value is the mean at borders, divided by the sum of the mean at borders and the mean elsewhere. Each mean is
    that of horizontal differences plus that of vertical differences. The value is 0.5 for a part that is too small.

    Args:
        column_steps: Sum of the absolute differences between each two neighbouring columns.
        row_steps: Sum of the absolute differences between each two neighbouring rows.
        height: Height of the part of the image.
        width: Width of the part of the image.

    """
    if min(len(column_steps), len(row_steps)) <= 8:
        return 0.5
    mean_at_borders = 0.0
    mean_elsewhere = 0.0
    for steps, num_pixels in ((column_steps, height), (row_steps, width)):
        # The first border is between lines 7 and 8.
        num_borders = len(steps[7::8])
        num_others = len(steps) - num_borders
        sum_at_borders = steps[7::8].sum()
        sum_elsewhere = steps.sum() - sum_at_borders
        mean_at_borders += sum_at_borders / max(num_borders * num_pixels, 1)
        mean_elsewhere += sum_elsewhere / max(num_others * num_pixels, 1)
    return mean_at_borders / max(mean_at_borders + mean_elsewhere, 1.0)


def colours_and_texture(image: NDArray[np.uint8]) -> dict[str, float]:
    """Return the colour and texture properties of a contiguous RGB image ``(H, W, 3)``, by name.

    A comparison of 40 images per set with the default network is 9% faster than with torch's operations.
    """
    height, width = image.shape[:2]
    colours = _colours(image, step_of(height * width))
    # Texture is measured in a central crop, which is aligned to the blocks of 8 pixels of JPEG.
    top = max(0, (height - WINDOW) // 16 * 8)
    left = max(0, (width - WINDOW) // 16 * 8)
    crop_height = min(WINDOW, height - top)
    crop_width = min(WINDOW, width - left)
    if min(crop_height, crop_width) < _LEAST_SIDE:
        texture = (0.0,) * len(_OF_TEXTURE)
    else:
        # `_texture` writes the grey values of the crop into this array.
        grey = np.empty((crop_height, crop_width), np.int32)
        texture = _texture(image, top, left, grey)
    names = _OF_COLOURS + _OF_TEXTURE
    return dict(zip(names, colours + texture, strict=True))


def is_ready() -> bool:
    """Return True if all functions are compiled already. Compiling them takes 6 seconds."""
    return all(has_machine_code(function) for function in (_resize_rows, _resize_columns, _colours, _texture))


def prepare() -> None:
    """Compile all functions, or load them from numba's cache."""
    resize_clean(np.zeros((1, 1, 3), np.uint8), (1, 1))
    colours_and_texture(np.zeros((_LEAST_SIDE, _LEAST_SIDE, 3), np.uint8))
