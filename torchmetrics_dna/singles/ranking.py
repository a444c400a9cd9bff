"""Ranking: the result of :func:`rank`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.files.visible import images_in_words, percent
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.singles.nearest import COPY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.singles.nearest import Nearest


@dataclass(frozen=True, eq=False, repr=False)
class Ranking:
    """Images ranked from the best to the worst score.

    Attributes:
        names: Names of the images.
        scores: dna-emd of each image to the reference, minus that to the contrast if there is one; in bins, float64,
            ascending. Below 0, an image is more like the reference than like the contrast.
        numbers: Index of each image in the source; in a stream, running number among the readable images.
        images: Source of the ranked images.
        reference: DNA with which the images were compared.
        unreadable: One line for each image that was left out.
        distances: dna-emd of each image to the reference alone, where scores are contrasts; in bins, float64.
        contrast: DNA of the contrast, such as the pool of all ranked images; None without one.
        shares: Share of the reference's own images that score worse, each left out of the reference: 0.5 for a typical
            image. None if the reference is a DNA or a stream.
        nearest: Nearest neighbours of the images in the index; None without an index.
        index: Features of the images of the index.
        p_value: P-value of the test that pool and reference differ; None without a test.
        reference_images: Images of the reference; None if they have no index, as for a DNA or a stream.

    """

    names: list[str]
    scores: Tensor
    numbers: list[int]
    images: Images
    reference: HistogramDNA
    unreadable: list[str]
    distances: Tensor | None = None
    contrast: HistogramDNA | None = None
    shares: Tensor | None = None
    nearest: Nearest | None = None
    index: Features | None = None
    p_value: float | None = None
    reference_images: ImageSource | None = None

    @property
    def notices(self) -> list[str]:
        """Caveats about the scores, one line each."""
        notices = []
        if self.p_value is not None and self.p_value > 0.05:
            notices.append(
                f"Pool and reference do not differ measurably (p = {self.p_value:.2g}), so a contrast with the pool"
                " says nothing about single images; give other images as the contrast, or none to rank by the"
                " distance alone"
            )
        copies = 0 if self.nearest is None else int(self.nearest.copies.sum())
        if copies:
            notices.append(
                f"{images_in_words(copies)} of {len(self.names)} look like copies: less than {percent(COPY)} as far"
                " from an image that was looked up as that image is from all others there"
            )
        return notices

    def rows(self, top: int | None = None) -> list[dict[str, Any]]:
        """Return a dict per image in plain types, best first, at most ``top``."""
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
        return [{"rank": i, **row} for i, row in enumerate(rows[:top], 1)]

    def precision_recall(self, relevant: Sequence[bool]) -> tuple[Tensor, Tensor, float]:
        """Compute the precision-recall curve of the ranking for relevant images.

        Args:
            relevant: Whether each image is relevant, in source order; for a stream, of each readable image.

        Returns:
            Precision and recall at each number of images taken, closest first, and the area under the curve (average
            precision), by torchmetrics.

        Raises:
            ValueError: Unless there is one entry for each image of the source.

        """
        from torchmetrics.functional import classification  # slow to import

        count = len(self.images) if isinstance(self.images, ImageSource) else len(self.names)
        if len(relevant) != count:
            raise ValueError(f"Expected one entry for each of {count} images, but got {len(relevant)}")
        truth = torch.tensor([int(relevant[number]) for number in self.numbers])
        span = (self.scores[-1] - self.scores[0]).clamp(min=torch.finfo(torch.float64).tiny)
        closeness = (self.scores[-1] - self.scores) / span  # in [0, 1], so that torchmetrics applies no sigmoid
        precision, recall, _ = classification.binary_precision_recall_curve(closeness, truth)
        return precision, recall, float(classification.binary_average_precision(closeness, truth))

    def __repr__(self) -> str:
        ends = f", {float(self.scores[0]):.4g} to {float(self.scores[-1]):.4g} bins"
        return f"Ranking({images_in_words(len(self.names))}{ends})"
