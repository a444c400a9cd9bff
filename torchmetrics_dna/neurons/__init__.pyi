from .index import Neurons as Neurons
from .ranges import ActivationRanges as ActivationRanges
