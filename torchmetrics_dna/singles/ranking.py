"""Ranking: the result of :func:`rank`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from torchmetrics_dna.dna.saving import Saved
from torchmetrics_dna.files.tables import Table, notebook_html
from torchmetrics_dna.files.visible import images_in_words, percent, three_digits
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images import ImageSource, Reading
from torchmetrics_dna.jobs.features import Heat
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import measure
from torchmetrics_dna.plots import NO_IMAGES, plot_ranking
from torchmetrics_dna.singles.nearest import COPY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.singles.nearest import Nearest
    from torchmetrics_dna.statistics.scores import ImageScorer

Score = Literal["outlier", "local", "contrast", "distance"]
WORST_FIRST = ("outlier", "local")
_SHOWN = 10  # images, in a notebook
# columns of the table, in order
_COLUMNS = {
    "rank": "rank",
    "score": "score",
    "dna_emd": "dna-emd",
    "share_worse": "worse",
    "image": "image",
    "nearest_ratio": "ratio",
    "nearest": "nearest",
}
_BEYOND = 0.05  # share of the reference's own images beyond which images are counted


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Saved):
    """Ranked images: by outlier and local scores the worst first, by contrasts and distances the best first.

    A file of it has neither images nor DNAs, so these are None in a ranking that was loaded.

    Attributes:
        score: ``"outlier"``, ``"local"``, ``"contrast"`` or ``"distance"``, see :func:`rank`.
        names: Names of the images.
        scores: Score of each image, float64; lower is closer to the reference.
        numbers: Index of each image in the source; in a stream, running number among the readable images.
        unreadable: One line for each image that was left out.
        distances: dna-emd of each image to the reference alone, where scores are contrasts; in bins, float64.
        typical: Scores of the reference's own images, each left out of the reference: of all for outlier scores, else
            of up to 200. None for local scores, and if the reference is a DNA or, except for outlier scores, a stream.
        nearest: Nearest neighbours of the images in the index; None without an index.
        p_value: P-value of the test that pool and reference differ; None without a test.
        images: Source of the ranked images.
        reference: DNA with which the images were compared.
        contrast: DNA of the contrast, such as the pool of all ranked images; None without one.
        index: Features of the images of the index.
        mapper: Scorer whose maps show where images are off.
        reference_images: Images of the reference; None if they have no index, as for a DNA or a stream.

    """

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

    @property
    def worst_first(self) -> bool:
        """True if the first image is the one with the highest score."""
        return self.score in WORST_FIRST

    @property
    def shares(self) -> Tensor | None:
        """Share of the reference's own images that score worse: 0.5 for a typical image; ties count by half."""
        if self.typical is None:
            return None
        typical = self.typical.sort().values
        below, up_to = (torch.searchsorted(typical, self.scores, right=right) for right in (False, True))
        return 1 - (below + up_to).double() / (2 * len(typical))

    @property
    def question(self) -> str:
        """Order of the images in words, for a title."""
        return {
            "outlier": "by how far they are from the reference's own images, worst first",
            "local": "by the place that is least like the reference, worst first",
            "distance": "by their distance to the reference, nearest first",
            "contrast": "by how much closer they are to the reference than to the contrast, best first",
        }[self.score]

    @property
    def notices(self) -> list[str]:
        """Caveats about the scores, one line each."""
        notices = []
        if self.worst_first and self.typical is not None:
            limit = float(self.typical.quantile(1 - _BEYOND))
            beyond = int((self.scores > limit).sum())
            notices.append(
                f"{images_in_words(beyond)} of {len(self.names)} score above {three_digits(limit)}, as"
                f" {percent(_BEYOND)} of the reference's own images do; {_BEYOND * len(self.names):.3g} would be"
                " expected by chance"
            )
        if self.p_value is not None and self.p_value > SIGNIFICANT:
            notices.append(
                f"Pool and reference do not differ measurably (p = {self.p_value:.2g}), so a contrast with the pool"
                " says nothing about single images; give other images as the contrast, or rank by another score"
            )
        copies = 0 if self.nearest is None else int(self.nearest.copies.sum())
        if copies:
            notices.append(
                f"{images_in_words(copies)} of {len(self.names)} look like copies: less than {percent(COPY)} as far"
                " from an image that was looked up as that image is from all others there"
            )
        return notices

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
        if self.images is None or self.mapper is None:
            raise ValueError(NO_IMAGES)
        if not isinstance(self.images, ImageSource):
            raise ValueError(
                f"Maps take images that can be read again, but {self.images.label!r} is a stream; rank a folder or list"
            )
        return heat_maps(self.mapper, self.images, [self.numbers[place] for place in places])

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json."""
        return {"score": self.score, "question": self.question, "notices": self.notices, "images": self.rows()}

    def rows(self, top: int | None = None, worst: int | None = None) -> list[dict[str, Any]]:
        """Return a dict per image in plain types.

        Args:
            top: Return so many of the best images only, best first.
            worst: Return so many of the worst images only, worst first.

        """
        columns: dict[str, Sequence[Any]] = {"image": self.names, "score": self.scores.tolist()}
        if self.distances is not None:
            columns["dna_emd"] = self.distances.tolist()
        if self.shares is not None:
            columns["share_worse"] = self.shares.tolist()
        if self.nearest is not None:
            columns["nearest"] = self.nearest.names
            columns["nearest_ratio"] = [None if x != x else x for x in self.nearest.ratios.tolist()]
            columns["copy"] = self.nearest.copies.tolist()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        ranked = [{"rank": i, **row} for i, row in enumerate(rows, 1)]
        if worst is not None:
            return (ranked if self.worst_first else ranked[::-1])[:worst]
        if top is not None:
            return (ranked[::-1] if self.worst_first else ranked)[:top]
        return ranked

    def table(self, rows: Sequence[Mapping[str, Any]] | None = None) -> Table:
        """Return a table of images.

        Args:
            rows: Rows of :meth:`rows`; by default all.

        """
        records = self.rows() if rows is None else rows
        header = [name for key, name in _COLUMNS.items() if key in records[0]]
        if self.score == "distance":
            header[1] = "dna-emd"
        cells = [[_cell(key, record[key]) for key in _COLUMNS if key in record] for record in records]
        return Table(header, cells, f"{images_in_words(len(self.names))} {self.question}")

    def plot(self, columns: int = 8, maps: bool = False) -> Any:
        """Plot a contact sheet, see :func:`~torchmetrics_dna.plots.plot_ranking`."""
        return plot_ranking(self, columns, maps)

    def precision_recall(self, relevant: Sequence[bool]) -> tuple[Tensor, Tensor, float]:
        """Compute the precision-recall curve of the ranking for relevant images.

        Args:
            relevant: Whether each image is relevant, in source order; for a stream, of each readable image.

        Returns:
            Precision and recall at each number of images taken in the order of the ranking, and the area under the
            curve (average precision), by torchmetrics.

        Raises:
            ValueError: Unless there is one entry for each image of the source.

        """
        from torchmetrics.functional import classification  # slow to import

        count = len(self.images) if isinstance(self.images, ImageSource) else len(self.names)
        if self.images is None:  # images that could not be read may come after the last one that could
            count = max(len(relevant), max(self.numbers) + 1)
        if len(relevant) != count:
            raise ValueError(f"Expected one entry for each of {count} images, but got {len(relevant)}")
        truth = torch.tensor([int(relevant[number]) for number in self.numbers])
        span = (self.scores[-1] - self.scores[0]).abs().clamp(min=torch.finfo(torch.float64).tiny)
        closeness = (self.scores[-1] - self.scores).abs() / span  # in [0, 1], so that torchmetrics applies no sigmoid
        precision, recall, _ = classification.binary_precision_recall_curve(closeness, truth)
        return precision, recall, float(classification.binary_average_precision(closeness, truth))

    def _repr_html_(self) -> str:
        return notebook_html("; ".join(self.notices), self.table(self.rows()[:_SHOWN]))

    def __repr__(self) -> str:
        first, last = (f"{float(self.scores[i]):.4g}" for i in (0, -1))
        unit = "" if self.worst_first else " bins"
        return f"Ranking({images_in_words(len(self.names))}, {self.score} {first} to {last}{unit})"


def heat_maps(mapper: ImageScorer, images: ImageSource, numbers: Sequence[int]) -> Tensor:
    """Map the scores of some images, by one pass over them.

    Args:
        mapper: Scorer of the images.
        images: Source of the images.
        numbers: Their indices in it.

    Returns:
        See :func:`~torchmetrics_dna.functional.heat`, float64, ``(images, side, side)``.

    """
    job = Job(mapper.extractor, {"heat": Heat(mapper)}, Reading(num_workers=0))
    return Heat.maps_of(measure(job, images.take(numbers)).rows["heat"])


def _cell(key: str, value: Any) -> Any:
    if key == "share_worse":
        return f"{100 * value:3.0f} %"
    return three_digits(value) if isinstance(value, float) else value
