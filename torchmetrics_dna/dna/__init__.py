"""The DNA of an image or of a set of images, as frozen values."""

from torchmetrics_dna.dna.base import DNA, TooFewImagesError, check_comparable
from torchmetrics_dna.dna.gaussian import GaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.dna.layer_gaussian import LayerGaussianDNA

__all__ = ["DNA", "GaussianDNA", "HistogramDNA", "LayerGaussianDNA", "TooFewImagesError", "check_comparable"]
