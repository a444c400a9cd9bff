from .comparisons.compare import compare as compare
from .comparisons.monitor import monitor as monitor
from .dna.features import Features as Features
from .dna.load import load_dna as load_dna
from .dna.neuron_weights import NeuronWeights as NeuronWeights
from .extractors.base import DNAExtractor as DNAExtractor
from .images.reading import Reading as Reading
from .jobs.make import make_dna as make_dna
from .loops.checkpoints import Checkpoints as Checkpoints
from .metrics import DNAEMD as DNAEMD
from .metrics import ActivationRange as ActivationRange
from .metrics import DNAFrechet as DNAFrechet
from .metrics import DNARealism as DNARealism
from .metrics import LayerFrechetDistance as LayerFrechetDistance
from .metrics import OutlierShare as OutlierShare
from .metrics import SharedCollection as SharedCollection
from .metrics import published_metrics as published_metrics
from .neurons.ranges import ActivationRanges as ActivationRanges
from .reporting.build import report as report
from .singles.rank import rank as rank

__version__: str
