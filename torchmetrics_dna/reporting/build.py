"""Make a report from two image sets: a page, Markdown or json."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torchmetrics_dna.comparisons.compare import compare_sides
from torchmetrics_dna.comparisons.comparisons import names_of
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.distances import resolve_distances
from torchmetrics_dna.dna.load import is_dna_path
from torchmetrics_dna.extractors.network import Network
from torchmetrics_dna.files.atomic import check_folder, replacing
from torchmetrics_dna.images.addresses import public
from torchmetrics_dna.images.base import indexed
from torchmetrics_dna.jobs.arguments import ALL, Arguments, taking
from torchmetrics_dna.jobs.groups import partners
from torchmetrics_dna.jobs.processes import in_step, rank
from torchmetrics_dna.jobs.sides import Sides, open_sides
from torchmetrics_dna.reporting.findings import Findings, as_json, as_markdown
from torchmetrics_dna.reporting.page import as_html
from torchmetrics_dna.singles.cards import NUM_IMAGES, cards_of
from torchmetrics_dna.statistics.scores import Scorer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource, Source
    from torchmetrics_dna.statistics.resolve import Feature

Format = Literal["html", "markdown", "json"]
FORMATS = {"html": as_html, "markdown": as_markdown, "json": as_json}


@taking(*ALL)
def report(
    a: Source | DNA,
    b: Source | DNA,
    output: str | os.PathLike[str],
    feature: Feature | None = None,
    *,
    format: Format | None = None,  # noqa: A002 - what users call it
    names: tuple[str, str] | None = None,
    num_scored: int = NUM_IMAGES,
    **options: Any,
) -> Comparison:
    """Compare two image sets, and write a report: one html page that opens offline, Markdown or json.

    Args:
        a: Images, or a histogram DNA or the path of one, as for :func:`compare`.
        b: As ``a``.
        output: The file to write.
        feature: As for :func:`compare`.
        format: ``"html"``, ``"markdown"`` or ``"json"``; by default from the suffix of ``output``, else html.
        names: Names of A and B; by default their paths.
        num_scored: Number of images of each side to sample, with a fixed seed. The report shows crops of them that
            excite neurons most, and those least like the other side. They pass through the network once more.
        options: All other :class:`Arguments`; dna-emd is among the ``metrics``.

    Properties of images are measured too if both sides are images and the extractor is given by name.

    Returns:
        The comparison that the report shows.

    Raises:
        FileNotFoundError: If images, or the folder of ``output``, do not exist.
        ValueError: If an argument is wrong, an image can't be read, two DNAs do not fit together, or one is without
            histograms or ranges.

    Example:
        >>> import numpy as np, tempfile
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report(black, white, f"{folder}/report.html", layers=["head"]).num_images
        {'a': 2, 'b': 2}

    """
    write = _writer(format, output)
    if not any(isinstance(side, DNA) or is_dna_path(side) for side in (a, b)) and (
        feature is None or isinstance(feature, (Network, str))
    ):
        network = feature if isinstance(feature, Network) else Network(feature)
        feature = network if network.properties is not None else replace(network, properties=True)
    arguments = Arguments(feature, **options)
    reading, distributed = arguments.reading, arguments.distributed
    with in_step(distributed):
        opened = _open(a, b, output, num_scored, arguments)
        sides = {
            name: side if isinstance(side, DNA) else indexed(side, "A report")
            for name, side in zip("ab", opened.images, strict=True)
        }
        images = {name: side for name, side in sides.items() if not isinstance(side, DNA)}
        extractor = opened.job.extractor if images else None
        comparison = compare_sides(opened, names or names_of(a, b))[0]
        scorers, cards = dict[str, Scorer](), None
        if extractor is not None:
            alone = extractor.without_properties() if comparison.properties else extractor
            scorers = {name: _scorer(comparison, alone, name) for name in images}
            cards = cards_of(
                images, comparison, alone, scorers, num_images=num_scored, reading=reading, distributed=distributed
            )
        if rank() == 0:
            settings = _settings(sides, comparison, extractor, num_scored)
            pairs = options.get("pairs")
            paired = partners(images["a"], images["b"], pairs) if pairs else None
            _write(Findings(comparison, cards, scorers, settings, paired), write, output)
        return comparison


def write_report(comparison: Comparison, output: str | os.PathLike[str], *, format: Format | None = None) -> None:  # noqa: A002
    """Write the report of a comparison that was made before, such as a loaded one; it shows no images.

    Args:
        comparison: A comparison by dna-emd.
        output: The file to write.
        format: As for :func:`report`.

    Raises:
        FileNotFoundError: If the folder of ``output`` does not exist.
        ValueError: If the comparison is without dna-emd, or without histograms of known ranges.

    """
    write = _writer(format, output)
    check_folder(Path(output))
    if "dna-emd" not in comparison:
        raise ValueError(f"A report shows dna-emd, but got a comparison by {', '.join(comparison)}; compare by it")
    for dna in comparison.aligned():
        _ = dna.known_ranges
    _write(Findings(comparison, None, {}, {}), write, output)


def _write(findings: Findings, write: Callable[[Findings], str], output: str | os.PathLike[str]) -> None:
    with replacing(output) as temporary:
        temporary.write_text(write(findings), encoding="utf-8")


def _writer(format: Format | None, output: str | os.PathLike[str]) -> Callable[[Findings], str]:  # noqa: A002
    """Return the function that renders findings; ValueError if the format is unknown."""
    if format is not None and format not in FORMATS:
        raise ValueError(f"Argument `format` expected to be one of {', '.join(FORMATS)}, but got {format!r}")
    by_suffix = {".md": "markdown", ".json": "json"}.get(Path(output).suffix.lower(), "html")
    return FORMATS[format or by_suffix]


def _scorer(comparison: Comparison, extractor: DNAExtractor, name: str) -> Scorer:
    """Return the scorer of images of a side: distances from the other side and from its own."""
    assert comparison.measured is not None
    references = list[HistogramDNA]()
    for measured in comparison.measured[:: -1 if name == "a" else 1]:
        dna = measured.dnas["histogram"]
        assert isinstance(dna, HistogramDNA)
        references.append(replace(dna.restrict(extractor.neurons), folds=()))
    return Scorer(references, extractor, comparison.neuron_weights)


def _open(
    a: Source | DNA,
    b: Source | DNA,
    output: str | os.PathLike[str],
    num_scored: int,
    arguments: Arguments,
) -> Sides:
    """Open both sides and check the arguments, so that errors come before any work."""
    check_folder(Path(output))
    if num_scored < 1:
        raise ValueError(f"Argument `num_scored` expected to be at least 1, but got {num_scored}")
    metrics = arguments.metrics
    if metrics is not None and "dna-emd" not in [record.name for record in resolve_distances(metrics, ())]:
        got = metrics if isinstance(metrics, str) else ", ".join(map(str, metrics))
        raise ValueError(f"A report shows dna-emd; add it to `metrics`, which got {got}")
    sides = open_sides((a, b), arguments)
    for side in sides.images:
        if isinstance(side, HistogramDNA):
            _ = side.known_ranges
        elif isinstance(side, DNA):
            raise ValueError(f"A report takes histograms, but got {side!r}; make a DNA of kind 'histogram'")
    return sides


def _settings(
    sides: dict[str, ImageSource | DNA], comparison: Comparison, extractor: DNAExtractor | None, num_scored: int
) -> dict[str, str]:
    """Return settings of the report that the comparison does not hold, by name."""
    settings = {
        name.upper(): "a DNA" if isinstance(side, DNA) else f"images, {side.label}" for name, side in sides.items()
    }
    if Path(sys.argv[0]).name in ("torchmetrics-dna", "__main__.py"):
        settings["command"] = public(shlex.join(["torchmetrics-dna", *sys.argv[1:]]))
    if interval := comparison.interval:
        settings["folds of images"] = str(interval.num_folds)
    if extractor is None:
        return settings
    return {
        **settings,
        "images looked at one by one": f"{num_scored} of each side at most, drawn with seed 0",
        "turned by their EXIF tag": "yes"
        if any(getattr(s, "exif_orientation", False) for s in sides.values())
        else "no",
    }
