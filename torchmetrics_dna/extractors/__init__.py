"""Frozen networks that map images to named activations; the list of presets loads without torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
