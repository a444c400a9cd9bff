"""Two image sets in, one page out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.files.atomic import check_folder, replacing
from torchmetrics_dna.reporting.page import render
from torchmetrics_dna.reporting.scored import score_some
from torchmetrics_dna.sets.compare import compare, open_indexed_sides
from torchmetrics_dna.sets.loading import Loading
from torchmetrics_dna.sets.processes import in_step, rank
from torchmetrics_dna.tally.resolve import device_for, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor
    from typing_extensions import Unpack

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.neurons.names import GivenNames
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.reporting.scored import Scored
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.groups import Groups
    from torchmetrics_dna.sets.loading import LoadingOptions, SetOptions
    from torchmetrics_dna.tally.resolve import Feature

NUM_SCORED = 256  # images of each side


def report(
    a: Source | DNA,
    b: Source | DNA,
    output: str | os.PathLike[str],
    feature: Feature | None = None,
    *,
    names: tuple[str, str] | None = None,
    confidence: float = 0.95,
    groups: Groups | tuple[Groups, Groups] | None = None,
    num_scored: int = NUM_SCORED,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    neuron_names: GivenNames | None = None,
    device: str | torch.device | None = None,
    **options: Unpack[SetOptions],
) -> Comparison:
    """Compare two image sets, and write what differs to one html page that opens without a network.

    Args:
        a: Images, or a histogram DNA or the path of one, as for :func:`compare`.
        b: Likewise.
        output: The page to write.
        feature: As for :func:`compare`.
        names: What to call A and B; by default their paths.
        confidence: Level of the confidence interval.
        groups: Which images belong together, as for :func:`compare`.
        num_scored: Images of each side that are compared with both sides one by one, of which those most and
            least like the other side are shown; drawn at random, the same ones each time. They pass through the
            network again.
        metrics: As for :func:`compare`, dna-emd among them.
        layers: As for :func:`compare`, and so are all that follow.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges.
        neuron_weights: Weights of Eq. (5).
        neuron_names: What to call neurons.
        device: Where the network runs.
        options: As for :func:`make_dna`.

    Returns:
        The comparison that the page shows.

    Raises:
        FileNotFoundError: If images, or the folder to write to, are not there.
        ValueError: If an argument is wrong, an image can't be read, two DNAs do not fit together, or one is without
            histograms or ranges.

    Example:
        >>> import numpy as np, tempfile
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report(black, white, f"{folder}/report.html", layers=["head"]).num_images
        {'a': 2, 'b': 2}

    """
    reading, settings = Loading.of("report", options)
    loading: Any = {name: value for name, value in options.items() if name not in settings}
    with in_step(reading.distributed):
        sides = _open(a, b, output, num_scored, metrics, layers, ranges, reading)
        images = {name: side for name, side in sides.items() if not isinstance(side, DNA)}
        dnas = [side for side in sides.values() if isinstance(side, DNA)]
        given: Any = {**settings, "device": device_for(feature, device)}
        extractor = resolve(feature, layers, num_bins, ranges, dnas, **given).extractor if images else None
        found = compare(
            sides["a"],
            sides["b"],
            feature if extractor is None else extractor,
            metrics=metrics,
            num_bins=num_bins,
            ranges=ranges,
            neuron_weights=neuron_weights,
            neuron_names=neuron_names,
            confidence=confidence,
            groups=groups,
            **loading,
        )
        scored = {} if extractor is None else _score(images, found, num_scored, extractor, loading)
        if rank() == 0:
            names = names or (_called(a, sides["a"]), _called(b, sides["b"]))
            _write(render(found, names, scored, _settings(sides, found, extractor, num_scored)), output)
        return found


def _write(page: str, output: str | os.PathLike[str]) -> None:
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _score(
    images: dict[str, ImageSource],
    found: Comparison,
    num_scored: int,
    extractor: DNAExtractor,
    loading: LoadingOptions,
) -> dict[str, Scored]:
    """Some images of each side, by how much closer they are to the other side than to their own."""
    return {
        name: score_some(
            side,
            num_scored,
            _histograms(found, "b" if name == "a" else "a"),
            _histograms(found, name),
            extractor,
            found.neuron_weights,
            **loading,
        )
        for name, side in images.items()
    }


def _open(
    a: Source | DNA,
    b: Source | DNA,
    output: str | os.PathLike[str],
    num_scored: int,
    metrics: Sequence[str] | None,
    layers: Sequence[str] | None,
    ranges: ActivationRanges | str | os.PathLike[str] | None,
    loading: Loading,
) -> dict[str, ImageSource | DNA]:
    """Both sides; errors come before any work."""
    check_folder(Path(output))
    if num_scored < 1:
        raise ValueError(f"Argument `num_scored` expected to be at least 1, but got {num_scored}")
    if metrics is not None and "dna-emd" not in metrics:
        raise ValueError(f"A report shows dna-emd; add it to `metrics`, which got {', '.join(metrics)}")
    opened = open_indexed_sides((a, b), "A report", layers, ranges, loading)
    sides = dict(zip("ab", opened, strict=True))
    for side in sides.values():
        if isinstance(side, HistogramDNA):
            _ = side.known_ranges
        elif isinstance(side, DNA):
            raise ValueError(f"A report takes histograms, but got {side!r}; make a DNA of kind 'histogram'")
    return sides


def _histograms(found: Comparison, name: str) -> HistogramDNA:
    """The histogram DNA of one side."""
    assert found.measured is not None
    dna = found.measured["ab".index(name)].dnas["histogram"]
    assert isinstance(dna, HistogramDNA)
    return dna


def _settings(
    sides: dict[str, ImageSource | DNA], found: Comparison, extractor: DNAExtractor | None, num_scored: int
) -> dict[str, str]:
    """What else figures depend on, for the record."""
    kinds = {
        name.upper(): "a DNA" if isinstance(side, DNA) else f"images, {side.label}" for name, side in sides.items()
    }
    if interval := found.interval:
        kinds["folds of images"] = str(interval.num_folds)
    if extractor is None:
        return kinds
    return {
        **kinds,
        "images looked at one by one": f"{num_scored} of each side at most, drawn with seed 0",
        "turned by their EXIF tag": "yes"
        if any(getattr(s, "exif_orientation", False) for s in sides.values())
        else "no",
        "ran on": str(extractor.device),
    }


def _called(given: Source | DNA, side: ImageSource | DNA) -> str:
    """What to call a side: its path, or what it is."""
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    return repr(side) if isinstance(side, DNA) else side.label
