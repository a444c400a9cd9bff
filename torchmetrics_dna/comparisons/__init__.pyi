from .class_comparisons import ClassComparisons as ClassComparisons
from .comparison import Comparison as Comparison
from .comparisons import Comparisons as Comparisons
from .distance_matrix import DistanceMatrix as DistanceMatrix
from .distance_matrix import matrix as matrix
from .versions import Versions as Versions
from .versions import diff as diff
