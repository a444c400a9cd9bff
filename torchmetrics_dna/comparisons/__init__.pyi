from .classes import ClassComparisons as ClassComparisons
from .two_sets import Comparison as Comparison
from .several_sets import Comparisons as Comparisons
from .distance_matrix import DistanceMatrix as DistanceMatrix
from .distance_matrix import matrix as matrix
from .versions import Versions as Versions
from .versions import diff as diff
