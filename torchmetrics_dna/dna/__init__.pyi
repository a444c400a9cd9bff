from .base import DNA as DNA
from .base import TooFewImagesError as TooFewImagesError
from .base import check_comparable as check_comparable
from .gaussian import GaussianDNA as GaussianDNA
from .gaussian import LayerGaussianDNA as LayerGaussianDNA
from .histogram import HistogramDNA as HistogramDNA
