"""Ranking: the result of :func:`rank`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Shown):
    """Ranked images: by outlier and local scores the worst first, by contrasts and distances the best first.

    A file of it has neither images nor DNAs, so these are None in a ranking that was loaded.

    Attributes:
        score: ``"outlier"``, ``"local"``, ``"contrast"`` or ``"distance"``, see :func:`rank`.
        names: Names of the images.
        scores: Score of each image, float64; lower is closer to the reference.
        numbers: Index of each image in the source; in a stream, running number among the readable images.
        unreadable: One line for each image that was left out, of the ranked ones and of those they were compared with.
        distances: dna-emd of each image to the reference alone, where scores are contrasts; in bins, float64.
        typical: Scores of the reference's own images, each left out of the reference. These are all images for outlier
            scores, else up to 200. None for local scores, and if the reference is a DNA or, except for outlier scores,
            a stream.
        nearest: Nearest neighbours of the images in the index; None without an index.
        p_value: P-value of the test that pool and reference differ; None without a test.
        images: Source of the ranked images.
        reference: DNA with which the images were compared.
        contrast: DNA of the contrast, such as the pool of all ranked images; None without one.
        index: Features of the images of the index.
        mapper: Scorer whose maps show where images are off.
        reference_images: Images of the reference; None if they have no index, as for a DNA or a stream.
        own: True for images whose pixels are those of an image of the reference, bool, ``(B,)``. Except for local
            scores, these are scored against the other images of the reference. None if the reference is a DNA.
        outliers: Outliers among the images that are not the reference's own, by outlier scores and properties, with
            reasons. If all images are the reference's own, the outliers relative to the others. None for other scores,
            if the reference has no images or fewer than 10, and of a filtered ranking.
        most_extreme: The property or layer in which each image is most extreme, with its value and the range of the
            others; None if ``outliers`` is None, but a filtered ranking keeps it.
        noun: What was ranked: ``"image"``, ``"row"`` of embeddings, or another ``"input"``.
        why: Reason why the default score is not the outlier score, in words; else empty.

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
        """Test of whether a small number of outliers is among the images that no property flags; None without it.

        See :func:`~torchmetrics_dna.functional.outlier_test`.
        """
        return None if self.outliers is None else self.outliers.outlier_test

    @cached_property
    def reasons(self) -> dict[int, str]:
        """Reasons why images are flagged, in words, by their number; empty if none is flagged."""
        return {} if self.outliers is None else self.outliers.reasons()

    @property
    def flagged_names(self) -> list[str]:
        """Names, below their source, of the flagged images: those of one colour or value, then the worst."""
        return [] if self.outliers is None else self.outliers.flagged_names

    def limit(self, share: float = 0.05) -> float:
        """Return the score that at most this share of images of the reference's own kind are beyond.

        Args:
            share: A share from ``1 / (n + 1)``, where n is the number of scores in ``typical``.

        Raises:
            ValueError: If there is no ``typical``, or the share is too small for so few.

        """
        if self.typical is None:
            raise ValueError(
                "A limit takes scores of the reference's own images, each left out, but this ranking has none; give the"
                " reference as images, and a score other than 'local'"
            )
        return score_limit(self.typical, share)

    def filter(self, share: float = 0.05) -> Ranking:
        """Return the ranking of the images whose score is not beyond :meth:`limit`; ``names`` are to be kept."""
        near = (self.scores <= self.limit(share)).nonzero()[:, 0]
        places = near.tolist()
        return replace(
            self,
            names=[self.names[place] for place in places],
            numbers=[self.numbers[place] for place in places],
            scores=self.scores[near],
            distances=None if self.distances is None else self.distances[near],
            nearest=None if self.nearest is None else self.nearest.take(near),
            own=None if self.own is None else self.own[near],
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
                f" says nothing about single {self.noun}s; give others as the contrast, or rank by another score"
            )
        if self.nearest is not None and self.nearest.copies.any():
            notices.append(self._notice_of_copies(self.nearest))
        return notices

    def _notices_of_own(self, num_own: int) -> list[str]:
        """Return caveats about ranked images that are the reference's own; none if it is a single image."""
        verb = "is" if num_own == 1 else "are"
        how_many = f"{num_own:,} of {self.size} {verb} the reference's own"
        if self.score == "local" or (self.typical is None and self.score == "outlier"):
            return [f"{how_many}, which it is made of, so that their scores are too low"]
        if self.reference is not None and self.reference.num_images < 2:
            return []
        notice = f"{how_many}, and scored against its other {self.noun}s"
        if self.score == "outlier":
            notice += "; the test of whether a few are off leaves them out"
        return [notice]

    def _notice_of_copies(self, nearest: Nearest) -> str:
        """Say how many images look like copies, and by which rule."""
        num_copies = int(nearest.copies.sum())
        look = "looks like a copy" if num_copies == 1 else "look like copies"
        original = "another" if self.is_alone else f"one of the {self.noun}s that were looked up"
        if nearest.likeness is None:
            rule = "half as far from it, or less, than it is from all others there"
        else:
            rule = (
                f"aligned, mirrored or cropped, their pixels correlate by {ALIKE:g} or more; near is {NEAR:g} or more"
            )
        return f"{images_in_words(num_copies, self.noun)} of {len(self.names)} {look} of {original}: {rule}"

    def maps(self, places: Sequence[int]) -> Tensor:
        """Compute where images are off, by one more pass over them.

        Args:
            places: Places of images in the ranking, from 0.

        Returns:
            Heat maps, see :func:`~torchmetrics_dna.functional.heat`, float64, ``(images, side, side)``: for outlier and
            local scores the distance of each place from the places of the reference, else the part of the score that
            each place adds.

        Raises:
            ValueError: If the ranked images are a stream, or the ranking was loaded.

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
        if self.images is None or self.mapper is None:
            raise ValueError("A ranking that was loaded has no images to show")
        return self.images, self.mapper

    def rows(self, top: int | None = None, worst: int | None = None) -> list[dict[str, Any]]:
        """Return a record of each image in plain types.

        Args:
            top: Return so many of the best images only, best first.
            worst: Return so many of the worst images only, worst first.

        """
        rows: list[dict[str, Any]] = self._shown_by.rows(self, top, worst)
        return rows

    def table_of(self, top: int | None = None, worst: int | None = None) -> Table:
        """Return a table of images, in their order.

        Args:
            top: Show so many of the best images.
            worst: Show so many of the worst images.

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
        """Plot a contact sheet below examples of the reference.

        Args:
            columns: Number of images in each row.
            maps: Whether to show below each row where its images are off, by :meth:`maps`.
            most: Number of images to show, in their order; by default two rows of outlier and local scores, the worst
                first, and of others a row each of the best, middle and worst.

        Returns:
            The matplotlib figure. If the reference is images, evenly spaced examples are read for it.

        Raises:
            ValueError: If the ranking was loaded or has no images, or these are neither grey nor RGB.

        """
        images, mapper = self._images_and_mapper()
        mapper.extractor.check_pictures("A contact sheet")
        count = len(self.scores)
        if not count:
            raise ValueError("A contact sheet shows images, but none is left in this ranking")
        columns = min(columns, count, most or count)
        shown = self._rows_of_sheet(columns, most)
        examples: list[tuple[str, Pixels]] = []
        if self.reference_images is not None and not self.is_alone:
            examples = _evenly_spaced(self.reference_images, columns)
        num_rows = 2 * len(shown) if maps else len(shown)
        if examples:
            num_rows += 1
        width = 1.25 * columns + 0.4
        figure = new_figure(width=width, height=0.4 + 1.6 * num_rows)
        rows = iter(figure.subplots(num_rows, columns, squeeze=False, subplot_kw={"visible": False}))
        reasons: dict[int, str] = {}
        if self.outliers is not None:
            reasons = self.outliers.reasons(short=True)
        if examples:
            row = next(rows)
            row[0].set_ylabel("reference")
            for axis, (name, image) in zip(row, examples, strict=False):
                _show(axis, image, "", name)
        for label, places in shown:
            row = next(rows)
            row[0].set_ylabel(label)
            pictures = [images[self.numbers[place]] for place in places]
            for place, axis, picture in zip(places, row, pictures, strict=False):
                score = number(float(self.scores[place]), 3, zeros=True)
                reason = reasons.get(self.numbers[place], "")
                _show(axis, picture, f"{place + 1}: {score}", self.names[place], reason)
            if maps:
                _show_maps(next(rows), pictures, heat_maps(mapper, open_source(pictures)), mapper.extractor.crop)
        captions = ["rank", "score" if self.worst_first else "score in bins", "name"]
        if reasons:
            captions.append("why it is flagged")
        put_title(figure, f"{self.title}: {', '.join(captions)}", width)
        return figure

    def _rows_of_sheet(self, columns: int, most: int | None) -> list[tuple[str, Sequence[int]]]:
        """Return the label and the places of each row of a contact sheet."""
        count = len(self.scores)
        if not self.worst_first and most is None:
            last = count - columns
            return [
                ("best", range(columns)),
                ("middle", range(last // 2, last // 2 + columns)),
                ("worst", range(last, count)),
            ]
        first = "best"
        if self.score == "outlier":
            first = "most unusual"
        elif self.worst_first:
            first = "worst"
        order = range(min(count, most or 2 * columns))
        rows: list[tuple[str, Sequence[int]]] = []
        for start in range(0, len(order), columns):
            label = first if start == 0 else "next"
            rows.append((label, order[start : start + columns]))
        return rows

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
    """Map the scores of images by :func:`heat`, in one pass over them: float64, ``(images, side, side)``."""

    def maps(activations: Activations) -> Tensor:
        (layers,) = activations.parts
        return heat(mapper.maps(layers), mapper.extractor.input_size)

    job = Job(mapper.extractor, {"heat": ImageRows(maps)}, Reading(num_workers=0))
    return measure(job, images).rows["heat"]


def _show_maps(row: Any, pictures: Sequence[Any], maps: Tensor, crop: Crop) -> None:
    """Draw heat maps in red over grey images, all on one scale: what is higher is less transparent."""
    row[0].set_ylabel("where")
    low = float(maps.min())
    high = float(maps.max())
    # If all values are equal, the difference is 0 and so is every opacity.
    opacities = ((maps - low) / max(high - low, 1e-9)).numpy()
    for axis, picture, opacity in zip(row, pictures, opacities, strict=False):
        height, width = picture.shape[:2]
        top, left, rows, columns = seen_of(height, width, crop)
        extent = (left, left + columns, top + rows, top)
        axis.imshow(as_bytes(picture).mean(2), cmap="gray", vmin=-255, vmax=255)
        axis.imshow(np.ones_like(opacity), cmap="Reds", vmin=0, vmax=1.3, alpha=opacity, extent=extent)
        axis.set(visible=True, xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def _evenly_spaced(images: ImageSource, most: int) -> list[tuple[str, Pixels]]:
    """Return names and pixels of up to ``most`` evenly spaced images; unreadable ones are left out."""
    chosen: list[tuple[str, Pixels]] = []
    for index in np.linspace(0, len(images) - 1, min(most, len(images)), dtype=int).tolist():
        with suppress(ValueError):
            chosen.append((images.names[index], images[index]))
    return chosen


def _show(axis: Any, image: Any, title: str, name: str, reason: str = "") -> None:
    """Draw an image with its name, cut in the middle, and a reason."""
    axis.imshow(image)
    axis.set(visible=True, xticks=[], yticks=[])
    axis.set_title(title, fontsize=8)
    caption = shortened(visible(name), 22)
    if reason:
        caption += f"\n{visible(reason)}"
    axis.set_xlabel(caption, fontsize=6, parse_math=False)
