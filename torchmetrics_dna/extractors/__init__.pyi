from .base import DNAExtractor as DNAExtractor
from .presets import PRESETS as PRESETS
from .presets import Preset as Preset
from .sharing import PooledLayer as PooledLayer
