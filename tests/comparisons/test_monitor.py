"""Windows of a stream: their distances are those of their images, and alarms keep their promise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from networks import Pixels
from PIL import Image

from torchmetrics_dna import DNAExtractor, compare, make_dna, monitor
from torchmetrics_dna.comparisons.conformal import ConformalEvidence
from torchmetrics_dna.comparisons.monitor import Monitor, Order
from torchmetrics_dna.images import Reading

OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 64}


def images(count: int, shift: int = 0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    level = generator.normal(90 + shift, 20, (count, 1, 1, 3))
    return (level + generator.normal(0, 20, (count, 8, 8, 3))).clip(0, 255).astype(np.uint8)


REFERENCE, STREAM = images(40), np.concatenate([images(90, seed=1), images(44, 60, seed=2)])


@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
def test_windows_are_those_of_their_images(kind: Any) -> None:
    extractor = DNAExtractor(Pixels())
    options = OPTIONS if kind == "histogram" else {}
    reference = make_dna(REFERENCE, extractor, kind=kind, **options)

    def one_by_one() -> Iterator[np.ndarray]:
        yield from STREAM

    windows = [*monitor(reference, one_by_one(), extractor, window=7, learn=8, reading=Reading(batch_size=5))]
    assert [window.number for window in windows] == list(range(1, 20))  # one image is left over
    for window, first in zip(windows, range(0, len(STREAM), 7), strict=False):
        alone = compare(reference, STREAM[first : first + 7], extractor, num_folds=None)
        assert window.value == pytest.approx(alone[window.distance].value, rel=1e-9)
    assert [window.evidence is None for window in windows] == [True] * 8 + [False] * 11
    assert [window.changed for window in windows[:12]] == [False] * 12
    assert windows[-1].changed
    assert "warm-up" in str(windows[0])
    assert str(windows[-1]).endswith("changed")


@pytest.mark.parametrize("batch_size", [2, 32])
def test_a_full_window_waits_for_no_image(batch_size: int) -> None:
    """Even where the source breaks right after it; windows hold the images that have come, in their order."""
    yielded = []

    def breaks() -> Iterator[np.ndarray]:
        for image in STREAM[:12]:
            yielded.append(image)
            yield image
        raise OSError("no camera")

    windows = monitor(
        REFERENCE,
        breaks(),
        DNAExtractor(Pixels()),
        window=6,
        learn=2,
        reading=Reading(batch_size=batch_size),
        **OPTIONS,
    )
    for count in (6, 12):
        assert next(windows).seed is None
        assert len(yielded) == count
    with pytest.raises(ValueError, match="no camera"):
        next(windows)


@pytest.mark.parametrize("order", ["source", "random"])
def test_what_can_not_be_read_is_named(order: Order) -> None:
    """In the reference, within a window, and after the last full one; windows are full of what is left."""
    reference, stream = ([*map(Image.fromarray, each)] for each in (REFERENCE, STREAM[:14]))
    reference[3], stream[2], stream[13] = b"no reference", b"no picture", b"none at the end"
    reading = Reading(batch_size=4, skip_unreadable=True)
    extractor = DNAExtractor(Pixels())
    with pytest.warns(UserWarning, match="Can't read image 'image .*'.*; it is left out") as warned:
        windows = [*monitor(reference, stream, extractor, window=6, learn=2, order=order, reading=reading, **OPTIONS)]
    named = [re.findall(r"'image (\d+)'", str(warning.message)) for warning in warned]
    assert sorted(named) == [["13"], ["2"], ["3"]]
    assert {warning.filename for warning in warned} == {__file__}
    assert len(windows) == 2


def test_what_has_an_index_is_drawn_in_random_order() -> None:
    """Or else images that stand by subject, the usual ones first, look like a change."""
    subjects = STREAM[:90][abs(STREAM[:90].mean((1, 2, 3)) - 90).argsort()]
    permutation = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    reference = make_dna(REFERENCE, DNAExtractor(Pixels()), **OPTIONS)
    orders: tuple[Order, ...] = ("random", "source")
    windows = {
        order: list(monitor(reference, subjects, DNAExtractor(Pixels()), window=6, learn=5, order=order))
        for order in orders
    }
    assert [windows[order][-1].changed for order in orders] == [False, True]
    assert {window.seed for window in windows["random"]} == {0}
    shuffled = monitor(reference, iter(subjects[permutation]), DNAExtractor(Pixels()), window=6, learn=5)
    assert [window.value for window in shuffled] == [window.value for window in windows["random"]]


@pytest.mark.parametrize("past", [[], [3.5], [0.2, 9.0, 9.5, 4.1, 9.2]])
def test_bets_are_fair(past: list[float]) -> None:
    """The next figure lies in any gap between those so far, equally likely: the mean of the evidence stays as it is."""
    conformal, last, known = ConformalEvidence(), 1.0, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    for figure in known:
        conformal.learn(figure)
    for figure in past:
        last = conformal.add(figure)
    ends = np.array([-1.0, *sorted(known + past), 20.0])
    values = [deepcopy(conformal).add(figure) for figure in (ends[1:] + ends[:-1]) / 2]
    assert np.mean(values) == pytest.approx(last)
    assert max(values) > last


@pytest.mark.outer  # 600 streams
@pytest.mark.parametrize(
    ("draw", "count", "most"),  # of a binomial with a chance of 5 %, 99 % are below
    [(lambda rng: rng.normal(size=300), 400, 30), (lambda rng: rng.integers(0, 5, 120), 200, 17)],
    ids=["normal", "of five levels"],
)
def test_false_alarms_keep_their_promise(draw: Any, count: int, most: int) -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(count):
        detector = Monitor()
        alarms += any(detector.add(figure).changed for figure in draw(rng))
    assert alarms <= most


def test_a_change_is_seen_soon() -> None:
    rng, delays = np.random.default_rng(0), []
    for _ in range(20):
        detector = Monitor()
        figures = np.concatenate([rng.normal(size=60), rng.normal(4, 1, size=20)])
        changed = [detector.add(figure).changed for figure in figures]
        delays.append(changed.index(True) - 59 if True in changed else 99)
    assert np.median(delays) <= 6


def test_a_long_slight_change_is_not_taken_for_usual() -> None:
    """Figures after it enter no reference: of 20 changes by 1.5 deviations, right after learning, most are seen."""
    rng, seen = np.random.default_rng(1), 0
    for _ in range(20):
        detector = Monitor()
        seen += any(detector.add(figure).changed for figure in [*rng.normal(size=20), *rng.normal(1.5, 1, size=30)])
    assert seen >= 17


def test_the_command(tmp_path: Path, cli: Command) -> None:
    np.savez(tmp_path / "stream.npz", np.concatenate([images(66, seed=1), images(12, 90, seed=3)]).repeat(4, 1))
    make_dna(REFERENCE.repeat(4, 1), layers=["block_0"]).save(tmp_path / "real.dna.npz")
    arguments = ["monitor", tmp_path / "real.dna.npz", tmp_path / "stream.npz", "--window", 3]
    figure = tmp_path / "windows.png"
    captured = cli(*arguments, "--in-order", "--plot", figure, "--fail-if-changed", code=1)
    lines = captured.out.splitlines()
    assert lines[0].startswith("window 1: dna-emd ")
    assert lines[-1].endswith("changed")
    assert 22 < len(lines) <= 26
    assert " of 20: no change" in lines[12]
    assert "Failed: a change was detected" in captured.err
    with Image.open(figure) as image:
        assert image.width > 500
    captured = cli(*arguments, "--learn", 50, "--format", "json", "--fail-if-changed")
    assert json.loads(captured.out.splitlines()[-1])["changed"] is False
    assert "random order (seed 0)" in captured.err
    assert re.search("window 51.* 150 images", captured.err)
