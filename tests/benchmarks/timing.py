"""Fair timing: everything in turns, in one run; and photographs as files."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from torchmetrics_dna.demo import photographs


def in_turns(rounds: int, **calls: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each call, once in every round, in an order drawn anew, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    draw = random.Random(0)
    for turn in range(rounds + 1):
        for name, call in draw.sample(list(calls.items()), len(calls)):
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_mebibytes() -> float:
    """Peak memory of this process on Linux; `ru_maxrss` begins with that of the process that started it."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return int(peak[1]) / 1024


def write_photographs(
    folder: Path, count: int, size: tuple[int, int] = (512, 512), seed: int = 0, blur: float = 0
) -> None:
    """Crops of photographs, enlarged a little differently each, at qualities from 75 to 95 and all chroma samplings."""
    draw = np.random.default_rng(seed)
    crops = [Image.fromarray(crop) for crop in photographs(96)[48 * (seed % 2) :][:48]]  # other crops
    folder.mkdir(exist_ok=True)
    for i in range(count):
        crop = crops[i % len(crops)]
        left, top = draw.integers(0, 64, 2)
        box = (int(left), int(top), int(left) + 128, int(top) + 128)
        picture = crop.resize(size, Image.Resampling.BICUBIC, box=box)
        grain = draw.normal(0, 4, (*size[::-1], 3))  # of a sensor, which enlarging smooths away
        picture = Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))
        picture = picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture
        picture.save(folder / f"{i:05}.jpg", quality=int(draw.integers(75, 96)), subsampling=i % 3)
