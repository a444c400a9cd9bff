"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Submodules are imported on first use, so importing the package is fast; ``__init__.pyi`` lists the names.
"""

import lazy_loader

from torchmetrics_dna.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
