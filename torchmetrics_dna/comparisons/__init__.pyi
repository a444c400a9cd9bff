from .classes import ClassComparisons as ClassComparisons
from .distance_matrix import DistanceMatrix as DistanceMatrix
from .distance_matrix import matrix as matrix
from .several_sets import Comparisons as Comparisons
from .two_sets import Comparison as Comparison
from .versions import Versions as Versions
from .versions import diff as diff
