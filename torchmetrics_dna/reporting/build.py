"""Compare two image sets and write what differs: a page, Markdown or json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torchmetrics_dna.comparisons.compare import compare_opened, open_by_network
from torchmetrics_dna.comparisons.comparisons import names_of
from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES, named_in
from torchmetrics_dna.files.atomic import check_folder, replacing
from torchmetrics_dna.files.tables import as_markdown
from torchmetrics_dna.files.visible import strict_json
from torchmetrics_dna.images.sets import indexed
from torchmetrics_dna.jobs.arguments import ALL, Arguments, taking
from torchmetrics_dna.jobs.processes import in_step, rank
from torchmetrics_dna.reporting.findings import words_and_tables
from torchmetrics_dna.reporting.page import as_html
from torchmetrics_dna.singles.look import look

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from torchmetrics_dna.comparisons.compare import Check
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.images import Source
    from torchmetrics_dna.jobs.sides import Sides
    from torchmetrics_dna.singles.look import Gallery
    from torchmetrics_dna.statistics.resolve import Feature

Format = Literal["html", "markdown", "json"]
_FORMATS: dict[str, Callable[[Comparison, Gallery | None], str]] = {
    "html": as_html,
    "markdown": lambda comparison, _: as_markdown(*words_and_tables(comparison)),
    "json": lambda comparison, _: strict_json(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n",
}


@taking(*ALL)
def report(
    a: Source | DNA,
    b: Source | DNA,
    output: str | os.PathLike[str],
    feature: Feature | None = None,
    *,
    format: Format | None = None,  # noqa: A002 - what users call it
    names: tuple[str, str] | None = None,
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
    return report_with_arguments(a, b, output, Arguments(feature, **options), format, names)


def report_with_arguments(
    a: Source | DNA,
    b: Source | DNA,
    output: str | os.PathLike[str],
    arguments: Arguments,
    format: Format | None = None,  # noqa: A002
    names: tuple[str, str] | None = None,
    check: Check | None = None,
) -> Comparison:
    """Report as :func:`report` does; ``check`` may refuse the sides that were opened, before an image is read."""
    _check_format(format)
    names = names or names_of(a, b)
    with in_step(arguments.distributed):
        check_folder(Path(output))
        _check(arguments)
        opened = open_by_network((a, b), arguments)
        _check_sides(opened[0])
        if check is not None:
            check(opened, names)
        comparison = compare_opened(opened, names)[0]
        gallery = look(opened[0], comparison)
        if rank() == 0:
            write(output, comparison, gallery, format=format)
        return comparison


def write(
    output: str | os.PathLike[str],
    comparison: Comparison,
    gallery: Gallery | None = None,
    *,
    format: Format | None = None,  # noqa: A002
) -> None:
    """Write a comparison as a page, Markdown or json.

    Args:
        output: The file to write.
        comparison: A comparison by dna-emd, also one that was loaded.
        gallery: Single images to show, from :func:`~torchmetrics_dna.singles.look.look`; by default none.
        format: As for :func:`report`.

    Raises:
        FileNotFoundError: If the folder of ``output`` does not exist.
        ValueError: If the comparison is without dna-emd, or without histograms of known ranges.

    """
    _check_format(format)
    check_folder(Path(output))
    if "dna-emd" not in comparison:
        raise ValueError(f"A report shows dna-emd, but got a comparison by {', '.join(comparison)}; compare by it")
    for dna in comparison.aligned():
        _ = dna.known_ranges
    by_suffix = {".md": "markdown", ".json": "json"}.get(Path(output).suffix.lower(), "html")
    text = _FORMATS[format or by_suffix](comparison, gallery)
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_format(format: str | None) -> None:  # noqa: A002
    if format is not None and format not in _FORMATS:
        raise ValueError(f"Argument `format` expected to be one of {', '.join(_FORMATS)}, but got {format!r}")


def _check(arguments: Arguments) -> None:
    metrics = [str(getattr(metric, "name", metric)) for metric in arguments.metrics or ["dna-emd"]]
    if all((record := named_in(DISTANCES, name)) is None or record.name != "dna-emd" for name in metrics):
        raise ValueError(f"A report shows dna-emd; add it to `metrics`, which got {', '.join(metrics)}")


def _check_sides(sides: Sides) -> None:
    """Raise ValueError for sides that can't be shown, before any work."""
    for side in sides.images:
        if isinstance(side, HistogramDNA):
            _ = side.known_ranges
        elif isinstance(side, DNA):
            raise ValueError(f"A report takes histograms, but got {side!r}; make a DNA of kind 'histogram'")
        else:
            indexed(side, "A report")
