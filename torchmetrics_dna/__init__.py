"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Submodules are imported on first use, so importing the package is fast; ``__init__.pyi`` lists the names.
"""

from difflib import get_close_matches

import lazy_loader

from torchmetrics_dna.version import __version__ as __version__

_get, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _get(name)
    except AttributeError as err:
        public = {each.lower(): each for each in __all__}
        meant = [public[each] for each in get_close_matches(name.lower(), public, 1, 0.7)]
        raise AttributeError(f"{err}{''.join(f'; did you mean {each!r}?' for each in meant)}", name=name) from None
