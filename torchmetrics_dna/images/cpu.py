"""Resize and measure images on the CPU, compiled by numba, to the last bit like Pillow and torch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from torchmetrics_dna.compiled import compiled, has_machine_code
from torchmetrics_dna.images.properties import DEAD_ZONE, NEAR, NOISE, WHITE, WINDOW, step_of
from torchmetrics_dna.images.resize import kernels

_ROWS = 8  # side by side
_LANES = 3 * _ROWS
_LEAST = 3  # pixels of a side of texture
_int32, _int64 = cast("tuple[Any, Any]", (np.int32, np.int64))  # functions, in what numba compiles
_OF_COLOURS = (
    "brightness", "contrast", "dark pixels", "bright pixels", "saturation", "red against green", "blue against yellow",
    "colours", "dark corners",
)  # fmt: skip
_OF_TEXTURE = ("sharpness", "noise", "fine detail", "flat areas", "pixelation", "blockiness")
_LEVELS = np.divide(np.arange(256), np.float32(255), dtype=np.float32).astype(np.float64)


@compiled
def _resize(image: Any, levels: Any, across: Any, down: Any, memory: Any, resized: Any) -> None:
    """Resize an image of bytes, ``(H, W, 3)``: rows and then columns, each sum in the order of its pixels."""
    (first_across, num_across, weights_across), (first_down, num_down, weights_down) = across, down
    staged, rows, sums, column_sums = memory
    for top in range(0, len(image), _ROWS):
        height = min(_ROWS, len(image) - top)
        for x in range(image.shape[1]):
            for c in range(3):
                for j in range(height):
                    staged[x, c * _ROWS + j] = levels[image[top + j, x, c]]
        for x in range(resized.shape[2]):
            for j in range(_LANES):
                sums[j] = 0.0
            for t in range(num_across[x]):
                weight = weights_across[x, t]
                for j in range(_LANES):
                    sums[j] += staged[np.uint64(first_across[x] + t), j] * weight
            for c in range(3):
                for j in range(height):
                    rows[c, top + j, x] = np.float32(sums[c * _ROWS + j])
    for c in range(3):
        for y in range(resized.shape[1]):
            for x in range(resized.shape[2]):
                column_sums[x] = 0.0
            for t in range(num_down[y]):
                weight, row = weights_down[y, t], first_down[y] + t
                for x in range(resized.shape[2]):
                    column_sums[x] += np.float64(rows[c, row, x]) * weight
            for x in range(resized.shape[2]):
                resized[c, y, x] = min(max(np.float32(column_sums[x]), np.float32(0)), np.float32(1))


@lru_cache(64)
def _taps(num_in: int, num_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the first pixel, the number of pixels and their weights, for each output pixel."""
    taps = [*kernels(num_in, num_out)]
    padded = np.zeros((num_out, max(len(weights) for _, weights in taps)))
    for row, (_, weights) in zip(padded, taps, strict=True):
        row[: len(weights)] = weights
    return np.array([first for first, _ in taps]), np.array([len(weights) for _, weights in taps]), padded


def resize_clean(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an image ``(H, W, 3)``, like :func:`torchmetrics_dna.images.resize.resize_image`.

    It is worth 3 % of a comparison of 40 images a side with the default network.
    """
    image = np.require(image, requirements=("C", "W"))
    (height, width), (num_rows, num_columns) = size, image.shape[:2]
    resized = np.empty((3, height, width), np.float32)
    memory = np.empty((num_columns, _LANES)), np.empty((3, num_rows, width), np.float32)
    sums = np.empty(_LANES), np.empty(width)
    _resize(image, _LEVELS, _taps(num_columns, width), _taps(num_rows, height), (*memory, *sums), resized)
    return resized


@compiled
def _grey(red: Any, green: Any, blue: Any) -> Any:
    return red * _int32(299) + green * _int32(587) + blue * _int32(114)


@compiled
def _colours(image: Any, step: Any) -> Any:
    """Return the properties of colours of an image ``(H, W, 3)``, in their order."""
    height, width = (image.shape[0] + step - 1) // step, (image.shape[1] + step - 1) // step
    down, right = max(1, height // 8), max(1, width // 8)
    top, left, count = (height - down) // 2, (width - right) // 2, height * width
    total, squares, dark, bright, seen = 0, 0, 0, 0, np.zeros(1 << 15, np.uint8)
    saturation, red_green, blue_yellow, middle, corners = 0, 0, 0, 0, 0
    for y in range(height):
        corner_rows, is_middle = (y < down) + (y >= height - down), top <= y < top + down
        for x in range(width):
            row, column = y * step, x * step
            red, green = _int32(image[row, column, 0]), _int32(image[row, column, 1])
            blue = _int32(image[row, column, 2])
            grey = _grey(red, green, blue)
            total += grey
            squares += _int64(grey) * grey
            dark += grey < WHITE // 20
            bright += grey > WHITE - WHITE // 20
            saturation += max(red, green, blue) - min(red, green, blue)
            red_green += red - green
            blue_yellow += 2 * blue - red - green
            seen[(red >> 3 << 10) + (green >> 3 << 5) + (blue >> 3)] = 1
            if is_middle and left <= x < left + right:
                middle += grey
            if corner_rows:  # which are one in an image of one row
                corners += corner_rows * ((x < right) + (x >= width - right)) * _int64(grey)
    mean = total / count
    return (
        mean / WHITE,
        np.sqrt(max(squares / count - mean * mean, 0.0)) * 2 / WHITE,
        dark / count,
        bright / count,
        saturation / (255 * count),
        0.5 + red_green / (510 * count),
        0.5 + blue_yellow / (1020 * count),
        np.sqrt(seen.sum() / min(count, 1 << 15)),
        0.5 + (middle - corners / 4) / (2 * WHITE * down * right),
    )


@compiled
def _texture(image: Any, top: Any, left: Any, grey: Any) -> Any:
    """Return the properties of texture of the middle of an image, in their order; ``grey`` is memory for it."""
    height, width = grey.shape
    for y in range(height):
        for x in range(width):
            pixel = image[top + y, left + x]
            grey[y, x] = _grey(_int32(pixel[0]), _int32(pixel[1]), _int32(pixel[2]))
    columns, rows = np.zeros(width - 1, np.int32), np.zeros(height - 1, np.int32)
    changes, wide_across, wide_down, sharp, noise = _int32(0), 0, 0, 0, 0
    for y in range(height):
        # sums of a row: at most 192 times 8 * 255,000
        below, far, far_below, laplacian, kernel = _int32(0), _int32(0), _int32(0), _int32(0), _int32(0)
        for x in range(width - 1):
            difference = abs(grey[y, x + 1] - grey[y, x])
            columns[x] += difference
            changes += _int32(difference != 0)
        for x in range(width - 2):
            far += abs(grey[y, x + 2] - grey[y, x])
        wide_across += far
        for x in range(width if y < height - 1 else 0):
            difference = abs(grey[y + 1, x] - grey[y, x])
            below += difference
            changes += _int32(difference != 0)
        if y < height - 1:
            rows[y] = below
        for x in range(width if y < height - 2 else 0):
            far_below += abs(grey[y + 2, x] - grey[y, x])
        wide_down += far_below
        for x in range(1, width - 1 if y < height - 2 else 0):
            second = grey[y, x + 1] - 2 * grey[y, x] + grey[y, x - 1]
            next_second = grey[y + 1, x + 1] - 2 * grey[y + 1, x] + grey[y + 1, x - 1]
            last_second = grey[y + 2, x + 1] - 2 * grey[y + 2, x] + grey[y + 2, x - 1]
            next_laplacian = abs(next_second + grey[y + 2, x] - 2 * grey[y + 1, x] + grey[y, x])
            laplacian += _int32(max(next_laplacian - DEAD_ZONE, 0))
            kernel += _int32(abs(last_second - 2 * next_second + second))
        sharp += laplacian
        noise += kernel
    sizes, inner = (height * (width - 1), (height - 1) * width), (height - 2) * (width - 2)
    narrow = columns.sum() / sizes[0] + rows.sum() / sizes[1]
    wide = wide_across / (height * (width - 2)) + wide_down / ((height - 2) * width)
    still, borders, elsewhere = 0, 0.0, 0.0
    for steps, length in ((columns, height), (rows, width)):
        border = steps[7::8].sum()
        borders += border / max(len(steps[7::8]) * length, 1)
        elsewhere += (steps.sum() - border) / max((len(steps) - len(steps[7::8])) * length, 1)
        for i in range(len(steps)):
            still += steps[i] * 10 < steps[max(i - NEAR, 0) : i + NEAR + 1].max()
    return (
        sharp / inner / max(narrow * 4, 1.0),
        noise / inner * NOISE,
        narrow / max(narrow + wide, 1.0),
        1 - changes / (sizes[0] + sizes[1]),
        still / (len(columns) + len(rows)),
        0.5 if min(len(columns), len(rows)) <= 8 else borders / max(borders + elsewhere, 1.0),
    )


def measured_of(image: NDArray[np.uint8]) -> dict[str, float]:
    """Return the properties of an RGB image ``(H, W, 3)``, contiguous, that are measured here, by name.

    It is worth 9 % of a comparison of 40 images a side with the default network.
    """
    colours = _colours(image, step_of(image.shape[0] * image.shape[1]))
    top, left = (max(0, (side - WINDOW) // 16 * 8) for side in image.shape[:2])  # aligned to blocks of 8 pixels
    grey = np.empty((min(WINDOW, image.shape[0] - top), min(WINDOW, image.shape[1] - left)), np.int32)
    texture = _texture(image, top, left, grey) if min(grey.shape) >= _LEAST else (0.0,) * len(_OF_TEXTURE)
    return dict(zip((*_OF_COLOURS, *_OF_TEXTURE), (*colours, *texture), strict=True))


def is_ready() -> bool:
    """Return whether no function has to be compiled, which takes 6 s."""
    return all(has_machine_code(function) for function in (_resize, _colours, _texture))


def prepare() -> None:
    """Compile all functions, or load them from numba's cache."""
    resize_clean(np.zeros((1, 1, 3), np.uint8), (1, 1))
    measured_of(np.zeros((_LEAST, _LEAST, 3), np.uint8))
