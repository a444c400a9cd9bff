"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Submodules are imported on first use, so importing the package is fast; ``__init__.pyi`` lists the names.
"""

import re
from pathlib import Path

import lazy_loader

from torchmetrics_dna.options import meant
from torchmetrics_dna.version import __version__ as __version__

_get, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _get(name)
    except AttributeError as err:
        public = {each.lower(): each for each in __all__}
        packages = Path(__file__).parent.glob("*/__init__.py*")
        homes = [path.parent.name for path in packages if re.search(rf'as {name}$|"{name}",$', path.read_text(), re.M)]
        remedy = f"it is `torchmetrics_dna.{homes[0]}.{name}`" if homes else ""
        remedy = remedy or meant(name, public, lambda ours, _: f"did you mean {public[ours]!r}?")
        remedy = remedy or f"it has {', '.join(public.values())}"
        raise AttributeError(f"{err}; {remedy}", name=name) from None
