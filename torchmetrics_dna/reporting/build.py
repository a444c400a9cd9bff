"""Compare image sets and write what differs: a page, or a document of another format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from torchmetrics_dna.comparisons.compare import open_sets
from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.comparisons.versions import Versions
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.files.atomic import check_folder
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.sets import warn_of_left_out
from torchmetrics_dna.jobs.arguments import ALL, Arguments, taking
from torchmetrics_dna.jobs.processes import in_step, rank
from torchmetrics_dna.reporting.document import FORMATS, HTML, Document, Format, format_of, save
from torchmetrics_dna.reporting.matrix import narrow_table
from torchmetrics_dna.reporting.page import as_html
from torchmetrics_dna.singles.look import Gallery, look
from torchmetrics_dna.singles.ranking import Ranking

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.classes import ClassComparisons
    from torchmetrics_dna.comparisons.compare import ByClass, Opened, Side
    from torchmetrics_dna.comparisons.several_sets import Comparisons
    from torchmetrics_dna.statistics.setup import Feature

    AnyResult: TypeAlias = Comparison | Comparisons | ClassComparisons | DistanceMatrix | Versions | Ranking


@taking(*ALL)
def report(
    a: Side,
    b: Side | Mapping[str, Side],
    output: str | os.PathLike[str],
    feature: Feature | None = None,
    *,
    by: ByClass | None = None,
    held_out: str | None = None,
    format: str | None = None,  # noqa: A002 - what users call it
    names: tuple[str, str] | None = None,
    **options: Any,
) -> Comparison | Comparisons | ClassComparisons:
    """Compare image sets, and write a report: one html page that opens offline, or a document of another format.

    A page of two sets shows images, layers and neurons if dna-emd of histograms is measured; any other has the
    sentences and the tables of the result.

    Args:
        a: As for :func:`compare`, and so are ``b``, ``feature``, ``by`` and ``held_out``.
        b: One set, or several by name.
        output: The file to write.
        feature: A :class:`DNAExtractor`, or its ``feature``.
        by: Where the class of each image is told.
        held_out: Name of the set of real images that no model saw.
        format: Name of a format, such as ``"html"``, ``"markdown"`` or ``"json"``; by default from the suffix of
            ``output``, else html.
        names: Names of A and B; by default their paths.
        options: All other :class:`Arguments`.

    Returns:
        What :func:`compare` returns.

    Raises:
        FileNotFoundError: If images, or the folder of ``output``, do not exist.
        ValueError: As for :func:`compare`.

    Example:
        >>> import numpy as np, tempfile
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report(black, white, f"{folder}/report.html", layers=["head"]).num_images
        {'a': 2, 'b': 2}

    """
    form = _format(format, output)
    arguments = Arguments(feature, **options)
    if names is not None and (isinstance(names, str) or len(names) != 2):
        raise ValueError(f"Argument `names` expected to be two names, but got {names!r}")
    with in_step(arguments.distributed):
        check_folder(Path(output))
        opened = open_sets(a, b, arguments, by=by, held_out=held_out, names=names)
        result = opened.compared()
        gallery = gallery_of(opened, result) if form.is_page else None
        if rank() == 0:
            save(document_of(result, gallery), form, output)
        warn_of_left_out(result.unreadable, arguments.reading)
        return result


def write(
    output: str | os.PathLike[str],
    result: AnyResult,
    gallery: Gallery | None = None,
    *,
    format: str | None = None,  # noqa: A002
) -> None:
    """Write a result as a page, or a document of another format.

    Args:
        output: The file to write.
        result: The result, also one that was loaded.
        gallery: Single images to show, from :func:`~torchmetrics_dna.singles.look.look`; by default none.
        format: As for :func:`report`.

    Raises:
        FileNotFoundError: If the folder of ``output`` does not exist.

    """
    save(document_of(result, gallery), _format(format, output), output)


def _format(name: str | None, output: str | os.PathLike[str]) -> Format:
    suffix = Path(output).suffix.lower()
    if name is None and suffix and FORMATS.find(suffix) is None:
        listed = ", ".join(each.suffixes[0] for each in FORMATS.values())
        raise ValueError(f"Argument `output` expected to end in {listed}, but got {str(output)!r}; or give `format`")
    form = format_of(output, HTML) if name is None else FORMATS.get(name)
    if form is None or (name is not None and form.render is None):
        documents = [each.name for each in FORMATS.values() if each.render is not None]
        raise ValueError(f"Argument `format` expected to be one of {', '.join(documents)}, but got {name!r}")
    return form if form.render is not None else HTML


def document_of(
    result: AnyResult,
    gallery: Gallery | None = None,
    *,
    gates: Sequence[Any] | None = None,
    top: int | None = None,
    worst: int | None = None,
    called: Mapping[str, str] | None = None,
) -> Document:
    """Return a result as a document.

    Args:
        result: The result.
        gallery: Single images that its page shows.
        gates: What was asked of it, which its json has, too.
        top: Number of the best images of a ranking to show; by default json and csv have all.
        worst: Number of its worst images, likewise.
        called: Words for sets in the title of a ranking, by those that stand there.

    """
    more: dict[str, Any] = {} if gates is None else {"gates": [gate._asdict() for gate in gates]}
    document = Document(
        whole=lambda: result.to_dict() | more,
        records=cast("Callable[[], Sequence[Mapping[str, Any]]]", result.rows),
        sentences=result.verdict_lines,
        tables=result.tables,
    )
    if isinstance(result, Comparison) and _has_page(result):
        return replace(document, page=partial(as_html, result, gallery))
    if isinstance(result, Ranking):
        more["images"] = result.rows(top, worst)
        of_images = result.table_of(top, worst)
        for word, name in (called or {}).items():
            of_images = replace(of_images, title=of_images.title.replace(word, name))
        tables = [*result.tables[:-1], of_images]
        return replace(document, records=partial(result.rows, top, worst), tables=tables)
    if isinstance(result, DistanceMatrix):
        return replace(document, text=[*result.verdict_lines, "", narrow_table(result)])
    if isinstance(result, Versions):
        return replace(document, columns=("change", "image", "before"))
    return document


def gallery_of(opened: Opened, result: AnyResult) -> Gallery | None:
    """Return the single images that a page of two sets shows; None for another page, and for streams."""
    if not isinstance(result, Comparison) or not _has_page(result):
        return None
    sides = opened.networks[0]
    if any(isinstance(side, ImageStream) for side in sides.images):
        return None
    return look(sides, result)


def _has_page(result: Comparison) -> bool:
    """True if a page shows layers and neurons: by dna-emd, of histograms whose ranges are known."""
    histograms = [side.dnas.get("histogram") for side in result.measured or ()]
    return "dna-emd" in result and all(isinstance(dna, HistogramDNA) and dna.ranges is not None for dna in histograms)
