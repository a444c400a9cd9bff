"""Comparisons of image sets: two, many, class by class, over time."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix, matrix
    from torchmetrics_dna.comparisons.versions import Versions, diff

__all__ = ["ClassComparisons", "Comparison", "Comparisons", "DistanceMatrix", "Versions", "diff", "matrix"]

_HOME = {
    "ClassComparisons": "comparisons.class_comparisons",
    "Comparison": "comparisons.comparison",
    "Comparisons": "comparisons.comparisons",
    "DistanceMatrix": "comparisons.distance_matrix",
    "Versions": "comparisons.versions",
    "diff": "comparisons.versions",
    "matrix": "comparisons.distance_matrix",
}
__getattr__ = lazily(__name__, _HOME)
