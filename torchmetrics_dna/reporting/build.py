"""Compare image sets, and write the result as an html page or as a document of another format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from torchmetrics_dna.comparisons.classes import ClassComparisons
from torchmetrics_dna.comparisons.compare import open_sets
from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix
from torchmetrics_dna.comparisons.several_sets import Comparisons
from torchmetrics_dna.comparisons.two_sets import Comparison
from torchmetrics_dna.comparisons.versions import Versions
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.files.atomic import check_folder
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.images.sets import warn_of_left_out
from torchmetrics_dna.jobs.arguments import ALL, Arguments, taking
from torchmetrics_dna.jobs.processes import in_step, rank
from torchmetrics_dna.reporting import ranking, two_sets
from torchmetrics_dna.reporting.document import FORMATS, HTML, Document, Format, format_of, save
from torchmetrics_dna.reporting.matrix import narrow_table
from torchmetrics_dna.reporting.page import as_html
from torchmetrics_dna.reporting.terms import Term, terms_of
from torchmetrics_dna.singles.look import Gallery, look
from torchmetrics_dna.singles.ranking import Ranking

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.compare import ByClass, Opened, Side
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

    The page of two sets shows images, layers and neurons if the dna-emd of histograms is measured. All other pages
    contain the sentences and the tables of the result.

    Args:
        a: The reference, as for :func:`compare`.
        b: One set, or several sets by name, as for :func:`compare`.
        output: The file to write.
        feature: A :class:`DNAExtractor`, or its ``feature``.
        by: Source of the class of each image, as for :func:`compare`.
        held_out: Name of the set of real images that were not used for training, as for :func:`compare`.
        format: Name of a format, such as ``"html"``, ``"markdown"`` or ``"json"``. By default, the suffix of ``output``
            selects the format. Without a suffix, the format is html.
        names: Names of A and B. The default is their paths.
        options: All other :class:`Arguments`.

    Returns:
        The result of :func:`compare`.

    Raises:
        FileNotFoundError: If images, or the folder of ``output``, do not exist.
        ValueError: If an argument is wrong, or for the reasons that :func:`compare` lists.

    Example:
        >>> import numpy as np, tempfile
        >>> black, white = np.zeros((2, 40, 50, 3), np.uint8), np.full((2, 40, 50, 3), 255, np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report(black, white, f"{folder}/report.html", layers=["head"]).num_images
        {'a': 2, 'b': 2}

    """
    chosen_format = _format(format, output)
    arguments = Arguments(feature, **options)
    if names is not None and (isinstance(names, str) or len(names) != 2):
        raise ValueError(f"Argument `names` expected to be two names, but got {names!r}")
    with in_step(arguments.distributed):
        check_folder(Path(output))
        opened = open_sets(a, b, arguments, by=by, held_out=held_out, names=names)
        result = opened.compared()
        gallery = gallery_of(opened, result) if chosen_format.is_page else None
        if rank() == 0:
            save(document_of(result, gallery), chosen_format, output)
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
        result: A result that was computed or loaded.
        gallery: Single images to show, from :func:`~torchmetrics_dna.singles.look.look`; by default none.
        format: Name of a format, as for :func:`report`.

    Raises:
        FileNotFoundError: If the folder of ``output`` does not exist.

    """
    save(document_of(result, gallery), _format(format, output), output)


def _format(name: str | None, output: str | os.PathLike[str]) -> Format:
    """Return the format with a name. If the name is None, return the format of the output's suffix.

    Raises:
        ValueError: If there is no such format.

    """
    if name is None:
        return _format_of_suffix(output)
    named_format = FORMATS.get(name)
    if named_format is None or named_format.render is None:
        names = [candidate.name for candidate in FORMATS.values() if candidate.render is not None]
        raise ValueError(f"Argument `format` expected to be one of {', '.join(names)}, but got {name!r}")
    return named_format


def _format_of_suffix(output: str | os.PathLike[str]) -> Format:
    """Return the format of the output's suffix; html without a suffix.

    Raises:
        ValueError: If no format has this suffix.

    """
    suffix = Path(output).suffix.lower()
    if suffix and FORMATS.find(suffix) is None:
        suffixes = ", ".join(candidate.suffixes[0] for candidate in FORMATS.values())
        raise ValueError(f"Argument `output` expected to end in {suffixes}, but got {str(output)!r}; or pass `format`")
    suffix_format = format_of(output, HTML)
    if suffix_format.render is None:
        # Only the command line can render text, because the layout of text depends on the terminal.
        return HTML
    return suffix_format


def document_of(
    result: AnyResult,
    gallery: Gallery | None = None,
    *,
    gates: Sequence[Any] | None = None,
    top: int | None = None,
    worst: int | None = None,
    reference: str = "the reference",
    contrast: str = "the contrast",
) -> Document:
    """Convert a result to a document.

    Args:
        result: The result.
        gallery: Single images that the page of the result shows.
        gates: Results of checks. The json document contains them.
        top: Number of the best images of a ranking to show. By default, json and csv contain all images.
        worst: Number of the worst images of a ranking to show. By default, json and csv contain all images.
        reference: Name of the reference in the title of a ranking.
        contrast: Name of the contrast in the title of a ranking.

    """
    additions: dict[str, Any] = {}
    if gates is not None:
        additions["gates"] = [gate._asdict() for gate in gates]
    if isinstance(result, Ranking):
        return _document_of_ranking(result, additions, top=top, worst=worst, reference=reference, contrast=contrast)
    document = Document(
        title=_title(result),
        terms=_terms(result),
        whole=lambda: result.to_dict() | additions,
        records=cast("Callable[[], Sequence[Mapping[str, Any]]]", result.rows),
        sentences=result.verdict_lines,
        tables=result.tables,
    )
    if isinstance(result, (Comparison, Comparisons)):
        document = replace(document, protocol=result.protocol)
    if isinstance(result, Comparison) and _has_page(result):
        return replace(document, page=partial(as_html, result, gallery))
    if isinstance(result, DistanceMatrix):
        narrow = narrow_table(result)
        return replace(document, text=[*result.verdict_lines, "", narrow], page_tables=[narrow])
    if isinstance(result, Versions):
        return replace(document, columns=("change", "image", "before"))
    return document


def _document_of_ranking(
    result: Ranking, additions: dict[str, Any], *, top: int | None, worst: int | None, reference: str, contrast: str
) -> Document:
    """Convert a ranking to a document. ``additions`` are further keys of the json document."""
    images = ranking.table(result, top, worst, reference=reference, contrast=contrast)
    # The last table of a ranking is the table of images with the default number of images and default names.
    tables = [*result.tables[:-1], images]
    flagged = ranking.flagged_table(result)
    return Document(
        title=f"Ranking of {result.size}",
        terms=terms_of(ranking.terms(result), result.noun),
        whole=lambda: result.to_dict() | additions | {"images": result.rows(top, worst)},
        records=partial(result.rows, top, worst),
        sentences=result.verdict_lines,
        tables=tables,
        page_tables=tables if flagged is None else [flagged, *tables],
    )


def _title(result: Comparison | Comparisons | ClassComparisons | DistanceMatrix | Versions) -> str:
    """Return the title of a page."""
    if isinstance(result, Comparison):
        return two_sets.title(result)
    if isinstance(result, Comparisons):
        return f"{len(result)} sets compared with {result.reference}"
    if isinstance(result, ClassComparisons):
        return f"Comparison of {len(result)} classes"
    if isinstance(result, DistanceMatrix):
        return f"Distances between {len(result.names)} sets"
    return "Changes between two versions"


def _terms(result: Comparison | Comparisons | ClassComparisons | DistanceMatrix | Versions) -> list[Term]:
    """Return the terms that a page explains."""
    if isinstance(result, Comparison):
        return terms_of(two_sets.TERMS, result.noun)
    if isinstance(result, Comparisons):
        return terms_of(("layer", "neuron", "bin", "dna-emd", "p", "Holm", "debiased", "95% CI"), result.noun)
    if isinstance(result, ClassComparisons):
        names = ("layer", "neuron", "bin", "dna-emd", "p", "Holm", "q", "debiased", "95% CI")
        return terms_of(names, result.total.noun)
    return terms_of(("layer", "neuron", "bin", "dna-emd", "p", "debiased"), result.noun)


def gallery_of(opened: Opened, result: AnyResult) -> Gallery | None:
    """Return the single images that a page of two sets shows; None for other pages, and for streams."""
    if not isinstance(result, Comparison) or not _has_page(result):
        return None
    sides = opened.networks[0]
    if any(isinstance(side, ImageStream) for side in sides.images):
        return None
    return look(sides, result)


def _has_page(result: Comparison) -> bool:
    """True if a page can show layers and neurons.

    The page requires dna-emd, and known activation ranges of all histograms.
    """
    if "dna-emd" not in result:
        return False
    histograms = [side.dnas.get("histogram") for side in result.measured or ()]
    return all(isinstance(dna, HistogramDNA) and dna.ranges is not None for dna in histograms)
