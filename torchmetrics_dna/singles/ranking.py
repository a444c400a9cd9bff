"""Ranking: the result of :func:`rank`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from torchmetrics_dna.dna.shown import Shown
from torchmetrics_dna.files.tables import as_html
from torchmetrics_dna.files.visible import images_in_words, number, shortened, visible
from torchmetrics_dna.functional.outlier_score import percentiles
from torchmetrics_dna.functional.outliers import OutlierTest, score_limit
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.functional.realism import heat
from torchmetrics_dna.images import Images, ImageSource, Reading, open_source
from torchmetrics_dna.images.cells import Crop, seen_of
from torchmetrics_dna.images.pixels import as_bytes
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.plots.figures import new_figure, put_title
from torchmetrics_dna.singles.nearest import ALIKE, NEAR, Nearest
from torchmetrics_dna.statistics.rows import ImageRows

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.comparisons.outliers import Outliers
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.files.tables import Table
    from torchmetrics_dna.images.pixels import Pixels
    from torchmetrics_dna.statistics.scores import ImageScorer

Score = Literal["outlier", "local", "contrast", "distance"]
WORST_FIRST = ("outlier", "local")
# Size of a contact sheet, in inches: the width per column, the height per row, and the margin in both directions.
_WIDTH_OF_COLUMN = 1.25
_HEIGHT_OF_ROW = 1.6
_MARGIN = 0.4


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Shown):
    """Ranked images. Outlier and local scores rank the worst image first, contrasts and distances the best one.

    The file of a ranking contains neither images nor DNAs. In a ranking that was loaded, the attributes ``images``,
    ``reference``, ``contrast``, ``index``, ``mapper`` and ``reference_images`` are None.

    Attributes:
        score: ``"outlier"``, ``"local"``, ``"contrast"`` or ``"distance"``, see :func:`rank`.
        names: Names of the images.
        scores: Score of each image, float64. A lower score means closer to the reference.
        numbers: Index of each image in the source. In a stream, it is the number of the image among the readable
            images.
        unreadable: One line for each image that was left out because it could not be read. This includes the images of
            the reference, the contrast and the index.
        distances: dna-emd of each image to the reference alone, in bins, float64. None unless the scores are contrasts.
        typical: Scores of the reference's own images, each scored against the other images of the reference. For
            outlier scores, they are the scores of all images of the reference, or of the sample of a DNA. For contrasts
            and distances, they are the scores of up to 200 images. None for local scores. For contrasts and distances,
            also None if the reference is a single image, a DNA or a stream.
        nearest: Nearest neighbours of the images in the index; None without an index.
        p_value: P-value of the test that pool and reference differ; None without a test.
        images: Source of the ranked images.
        reference: DNA with which the images were compared.
        contrast: DNA of the contrast, such as the pool of all ranked images; None without one.
        index: Features of the images of the index.
        mapper: Scorer whose heat maps show where an image is unlike the reference.
        reference_images: Images of the reference; None if the reference is a DNA or a stream.
        own: True for images whose pixels equal those of an image of the reference, bool, ``(B,)``. Such images are
            scored against the other images of the reference, except by local scores. None if the reference is a DNA.
        outliers: Outliers by outlier scores and properties, with reasons. The reference's own images are left out,
            unless all ranked images are the reference's own. None for other scores, for a reference without images or
            with fewer than 10, and in a filtered ranking.
        most_extreme: The property or layer in which each image is most extreme, with the value of the image and the
            range of the other images. None if there was no ``outliers``. A filtered ranking keeps this attribute.
        noun: Type of the ranked inputs: ``"image"``, ``"row"`` (of embeddings) or ``"input"``.
        why: Reason why the default score is not the outlier score, in words; empty if there is no such reason.

    """

    SHOWN_BY: ClassVar[str] = "ranking"
    UNSAVED: ClassVar[tuple[str, ...]] = ("images", "reference", "contrast", "index", "mapper", "reference_images")

    score: Score
    names: list[str]
    scores: Tensor
    numbers: list[int]
    unreadable: list[str]
    distances: Tensor | None = None
    typical: Tensor | None = None
    nearest: Nearest | None = None
    p_value: float | None = None
    images: Images | None = None
    reference: DNA | None = None
    contrast: DNA | None = None
    index: Features | None = None
    mapper: ImageScorer | None = None
    reference_images: ImageSource | None = None
    own: Tensor | None = None
    outliers: Outliers | None = None
    most_extreme: list[str] | None = None
    noun: str = "image"
    why: str = ""

    @property
    def worst_first(self) -> bool:
        """True if the first image is the one with the highest score."""
        return self.score in WORST_FIRST

    @property
    def percentiles(self) -> Tensor | None:
        """Percentage of the reference's own images that have a lower score, ``(B,)``; None without ``typical``."""
        return None if self.typical is None else percentiles(self.scores, self.typical)

    @property
    def is_alone(self) -> bool:
        """True if the images were ranked relative to each other, without another reference."""
        return self.outliers is not None and self.outliers.is_alone

    @property
    def question(self) -> str:
        """Order of the images in words, for a title."""
        return self.order_in_words("the reference", "the contrast")

    def order_in_words(self, reference: str, contrast: str) -> str:
        """Return the order of the images in words, with the names of the reference and of the contrast."""
        if self.is_alone:
            return "by how unusual they are among the others, most unusual first"
        return {
            "outlier": f"by how unusual they are among {reference}'s own {self.noun}s, most unusual first",
            "local": f"by the place that is least like {reference}, worst first",
            "distance": f"by their distance to {reference}, closest first",
            "contrast": f"by how much closer they are to {reference} than to {contrast}, best first",
        }[self.score]

    @property
    def outlier_test(self) -> OutlierTest | None:
        """Test for a small number of outliers among the images that no property flags; None if there is no test.

        See :func:`~torchmetrics_dna.functional.outlier_test`.
        """
        return None if self.outliers is None else self.outliers.outlier_test

    @cached_property
    def reasons(self) -> dict[int, str]:
        """Reasons why images are flagged, in words, by the number of the image; empty if no image is flagged."""
        return {} if self.outliers is None else self.outliers.reasons()

    @property
    def flagged_names(self) -> list[str]:
        """Names of the flagged images, relative to their source. Images of a single colour or value come first."""
        return [] if self.outliers is None else self.outliers.flagged_names

    def limit(self, share: float = 0.05) -> float:
        """Return an upper limit of the scores of typical images.

        If images are from the distribution of the reference, at most this share is expected to score above the limit.

        Args:
            share: The share. It must be at least ``1 / (n + 1)``, where n is the number of scores in ``typical``.

        Raises:
            ValueError: If ``typical`` is None, or if it has too few scores for the share.

        """
        if self.typical is None:
            raise ValueError(
                "A limit takes scores of the reference's own images, each left out, but this ranking has none; pass the"
                " reference as images, and a score other than 'local'"
            )
        return score_limit(self.typical, share)

    def filter(self, share: float = 0.05) -> Ranking:
        """Return the ranking of the images whose score is at most :meth:`limit`."""
        within_limit = (self.scores <= self.limit(share)).nonzero()[:, 0]
        places = within_limit.tolist()
        return replace(
            self,
            names=[self.names[place] for place in places],
            numbers=[self.numbers[place] for place in places],
            scores=self.scores[within_limit],
            distances=None if self.distances is None else self.distances[within_limit],
            nearest=None if self.nearest is None else self.nearest.take(within_limit),
            own=None if self.own is None else self.own[within_limit],
            most_extreme=None if self.most_extreme is None else [self.most_extreme[place] for place in places],
            outliers=None,
        )

    @property
    def notices(self) -> list[str]:
        """Caveats about the scores, one line each."""
        notices = []
        num_own = 0
        if self.own is not None and not self.is_alone:
            num_own = int(self.own.sum())
        if num_own:
            notices += self._notices_of_own(num_own)
        if self.p_value is not None and self.p_value > SIGNIFICANT:
            notices.append(
                f"Pool and reference do not differ measurably (p = {self.p_value:.2g}), so a contrast with the pool"
                f" says nothing about single {self.noun}s; pass others as the contrast, or rank by another score"
            )
        if self.nearest is not None and self.nearest.copies.any():
            notices.append(self._notice_of_copies(self.nearest))
        return notices

    def _notices_of_own(self, num_own: int) -> list[str]:
        """Return caveats about ranked images that are the reference's own; none for a reference of a single image."""
        belong = "belongs" if num_own == 1 else "belong"
        how_many = f"{num_own:,} of {self.size} {belong} to the reference"
        if self.score == "local" or (self.typical is None and self.score == "outlier"):
            return [f"{how_many}, so their scores are too low"]
        if self.reference is not None and self.reference.num_images < 2:
            return []
        compared = f"Each of these {self.noun}s was compared with the other {self.noun}s of the reference"
        if self.score == "outlier":
            compared += ", and the test for outliers did not use it"
        return [f"{how_many}. {compared}"]

    def _notice_of_copies(self, nearest: Nearest) -> str:
        """Return the caveat on the number of images that look like copies, with the rule that defines a copy."""
        num_copies = int(nearest.copies.sum())
        look = "looks like a copy" if num_copies == 1 else "look like copies"
        original = f"another {self.noun}" if self.is_alone else f"an {self.noun} of the index"
        if nearest.likeness is None:
            rule = f"The distance to its closest {self.noun} is less than half of the distance to every other one"
        else:
            rule = (
                "After alignment, mirroring or cropping, the pixels of both have a correlation of at least"
                f" {ALIKE:g} ({NEAR:g} for a near image)"
            )
        return f"{images_in_words(num_copies, self.noun)} of {len(self.names)} {look} of {original}. {rule}"

    def maps(self, places: Sequence[int]) -> Tensor:
        """Compute heat maps that show where images are unlike the reference. The images are read once more.

        Args:
            places: Places of images in the ranking, from 0.

        Returns:
            Heat maps, see :func:`~torchmetrics_dna.functional.heat`, float64, ``(images, side, side)``. For outlier and
            local scores, a value is the distance of this part of the image from the reference. For other scores, it is
            the contribution of this part to the score.

        Raises:
            ValueError: If the ranked images are a stream, or if the ranking was loaded.

        """
        images, mapper = self._images_and_mapper()
        if not isinstance(images, ImageSource):
            raise ValueError(
                f"Maps take images that can be read again, but {images.label!r} is a stream; rank a folder or list"
            )
        if mapper.extractor.example is not None:
            mapper.extractor.check_pictures("A map")
        return heat_maps(mapper, images.take([self.numbers[place] for place in places]))

    def _images_and_mapper(self) -> tuple[Images, ImageScorer]:
        """Return the images and the scorer; ValueError in a ranking that was loaded."""
        if self.images is None or self.mapper is None:
            raise ValueError("A ranking that was loaded has no images to show")
        return self.images, self.mapper

    def rows(self, top: int | None = None, worst: int | None = None) -> list[dict[str, Any]]:
        """Return one record per image in plain types.

        Args:
            top: Number of the best images to return, the best first. By default, all images are returned.
            worst: Number of the worst images to return, the worst first.

        """
        rows: list[dict[str, Any]] = self._shown_by.rows(self, top, worst)
        return rows

    def table_of(self, top: int | None = None, worst: int | None = None) -> Table:
        """Return a table of images in the order of the ranking.

        Args:
            top: Number of the best images to show.
            worst: Number of the worst images to show.

        """
        table: Table = self._shown_by.table(self, top, worst)
        return table

    @property
    def size(self) -> str:
        """Number of images or other inputs that were ranked, in words."""
        return images_in_words(len(self.names), self.noun)

    @property
    def title(self) -> str:
        """Title of the table."""
        return f"{self.size} {self.question}"

    def plot(self, columns: int = 8, maps: bool = False, most: int | None = None) -> Any:
        """Plot a contact sheet of ranked images, below examples of the reference.

        The examples are evenly spaced images of the reference. There are none if the reference is a DNA or a stream, or
        if the images were ranked without a reference.

        Args:
            columns: Number of images per row.
            maps: Whether to show heat maps below each row, see :meth:`maps`.
            most: Number of images to show, in the order of the ranking. By default, outlier and local scores show the
                two worst rows. Contrasts and distances show one row each of the best, middle and worst images.

        Returns:
            The matplotlib figure.

        Raises:
            ValueError: If the ranking was loaded or has no images, or if the images are neither grey nor RGB.

        """
        images, mapper = self._images_and_mapper()
        mapper.extractor.check_pictures("A contact sheet")
        count = len(self.scores)
        if not count:
            raise ValueError("A contact sheet shows images, but none is left in this ranking")
        columns = min(columns, count, most or count)
        sheet_rows = self._rows_of_sheet(columns, most)
        examples = self._examples(columns)
        num_rows = 2 * len(sheet_rows) if maps else len(sheet_rows)
        if examples:
            num_rows += 1
        width = _WIDTH_OF_COLUMN * columns + _MARGIN
        figure = new_figure(width=width, height=_MARGIN + _HEIGHT_OF_ROW * num_rows)
        rows_of_axes = iter(figure.subplots(num_rows, columns, squeeze=False, subplot_kw={"visible": False}))
        if examples:
            _show_examples(next(rows_of_axes), examples)
        reasons = {} if self.outliers is None else self.outliers.reasons(short=True)
        for sheet_row in sheet_rows:
            pictures = [images[self.numbers[place]] for place in sheet_row.places]
            self._show_row(next(rows_of_axes), sheet_row, pictures, reasons)
            if maps:
                heats = heat_maps(mapper, open_source(pictures))
                _show_maps(next(rows_of_axes), pictures, heats, mapper.extractor.crop)
        put_title(figure, self._title_of_sheet(has_reasons=bool(reasons)), width)
        return figure

    def _title_of_sheet(self, *, has_reasons: bool) -> str:
        """Return the title of a contact sheet, which lists what the text at each image says."""
        captions = ["rank", "score" if self.worst_first else "score in bins", "name"]
        if has_reasons:
            captions.append("why it is flagged")
        return f"{self.title}: {', '.join(captions)}"

    def _examples(self, count: int) -> list[tuple[str, Pixels]]:
        """Return names and pixels of evenly spaced images of the reference; none if its images can't be shown."""
        if self.reference_images is None or self.is_alone:
            return []
        return _evenly_spaced(self.reference_images, count)

    def _rows_of_sheet(self, columns: int, most: int | None) -> list[_SheetRow]:
        """Choose the images of each row of a contact sheet, see :meth:`plot`."""
        if most is None and not self.worst_first:
            return _best_middle_and_worst(len(self.scores), columns)
        places = range(min(len(self.scores), most or 2 * columns))
        rows: list[_SheetRow] = []
        for start in range(0, len(places), columns):
            label = "next" if rows else self._label_of_first_row
            rows.append(_SheetRow(label, places[start : start + columns]))
        return rows

    @property
    def _label_of_first_row(self) -> str:
        """Label of the first row of a contact sheet in the order of the ranking."""
        if self.score == "outlier":
            return "most unusual"
        return "worst" if self.worst_first else "best"

    def _show_row(
        self, axes: Sequence[Any], row: _SheetRow, pictures: Sequence[Pixels], reasons: Mapping[int, str]
    ) -> None:
        """Draw one row of ranked images, each with its rank, score, name and reason."""
        axes[0].set_ylabel(row.label)
        # The last row may have fewer images than axes.
        for place, axis, picture in zip(row.places, axes, pictures, strict=False):
            score = number(float(self.scores[place]), 3, zeros=True)
            reason = reasons.get(self.numbers[place], "")
            _show(axis, picture, f"{place + 1}: {score}", self.names[place], reason)

    def _repr_html_(self) -> str:
        return as_html(self._sentences, [self.table])

    def __str__(self) -> str:
        return "\n".join(self._sentences) or repr(self)

    @property
    def _sentences(self) -> list[str]:
        """The verdict and all caveats."""
        return [*self.verdict_lines, *(f"{notice}." for notice in self.notices)]

    def __repr__(self) -> str:
        scores: str = self.score
        if self.names:
            scores += f" {float(self.scores[0]):.4g} to {float(self.scores[-1]):.4g}"
            if not self.worst_first:
                scores += " bins"
        return f"Ranking({self.size}, {scores})"


def heat_maps(mapper: ImageScorer, images: Images) -> Tensor:
    """Compute the heat maps of the scores of images, see :func:`heat`: float64, ``(images, side, side)``."""

    def maps(activations: Activations) -> Tensor:
        (layers,) = activations.parts
        return heat(mapper.maps(layers), mapper.extractor.input_size)

    job = Job(mapper.extractor, {"heat": ImageRows(maps)}, Reading(num_workers=0))
    return measure(job, images).rows["heat"]


class _SheetRow(NamedTuple):
    """Row of a contact sheet.

    Attributes:
        label: Label at its left.
        places: Places of its images in the ranking, from 0.

    """

    label: str
    places: Sequence[int]


def _best_middle_and_worst(count: int, columns: int) -> list[_SheetRow]:
    """Return three rows of a contact sheet: the best, the middle and the worst of ``count`` images."""
    start_of_worst = count - columns
    start_of_middle = start_of_worst // 2
    return [
        _SheetRow("best", range(columns)),
        _SheetRow("middle", range(start_of_middle, start_of_middle + columns)),
        _SheetRow("worst", range(start_of_worst, count)),
    ]


def _show_examples(axes: Sequence[Any], examples: Sequence[tuple[str, Pixels]]) -> None:
    """Draw images of the reference with their names."""
    axes[0].set_ylabel("reference")
    # There may be fewer examples than axes.
    for axis, (name, image) in zip(axes, examples, strict=False):
        _show(axis, image, "", name)


def _show_maps(axes: Sequence[Any], pictures: Sequence[Any], maps: Tensor, crop: Crop) -> None:
    """Draw heat maps in red over grey images, all on one scale. Higher values are less transparent."""
    axes[0].set_ylabel("where")
    low = float(maps.min())
    high = float(maps.max())
    # If all values are equal, the difference is 0 and so is every opacity.
    opacities = ((maps - low) / max(high - low, 1e-9)).numpy()
    # The last row may have fewer images than axes.
    for axis, picture, opacity in zip(axes, pictures, opacities, strict=False):
        height, width = picture.shape[:2]
        top, left, height_of_map, width_of_map = seen_of(height, width, crop)
        extent = (left, left + width_of_map, top + height_of_map, top)
        # With these scales, images are light grey, and maps are a red that is not the darkest one.
        axis.imshow(as_bytes(picture).mean(2), cmap="gray", vmin=-255, vmax=255)
        axis.imshow(np.ones_like(opacity), cmap="Reds", vmin=0, vmax=1.3, alpha=opacity, extent=extent)
        axis.set(visible=True, xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def _evenly_spaced(images: ImageSource, most: int) -> list[tuple[str, Pixels]]:
    """Return the names and pixels of up to ``most`` evenly spaced images. Unreadable images are left out."""
    chosen: list[tuple[str, Pixels]] = []
    for index in np.linspace(0, len(images) - 1, min(most, len(images)), dtype=int).tolist():
        with suppress(ValueError):
            chosen.append((images.names[index], images[index]))
    return chosen


def _show(axis: Any, image: Any, title: str, name: str, reason: str = "") -> None:
    """Draw an image with its name and a reason. Long names are shortened in the middle."""
    axis.imshow(image)
    axis.set(visible=True, xticks=[], yticks=[])
    axis.set_title(title, fontsize=8)
    caption = shortened(visible(name), 22)
    if reason:
        caption += f"\n{visible(reason)}"
    axis.set_xlabel(caption, fontsize=6, parse_math=False)
