"""DNA of an image or a set of images, as frozen values; modules are imported on first use."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA, TooFewImagesError, check_comparable
    from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
    from torchmetrics_dna.dna.histogram import HistogramDNA

__all__ = [
    "DNA",
    "GaussianDNA",
    "HistogramDNA",
    "LayerGaussianDNA",
    "TooFewImagesError",
    "check_comparable",
]

_HOME = {
    "DNA": "dna.load",  # which imports all kinds, for DNA.load
    "GaussianDNA": "dna.gaussian",
    "HistogramDNA": "dna.histogram",
    "LayerGaussianDNA": "dna.gaussian",
    "TooFewImagesError": "dna.base",
    "check_comparable": "dna.base",
}
__getattr__ = lazily(__name__, _HOME)
