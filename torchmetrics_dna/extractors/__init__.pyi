from .base import DNAExtractor as DNAExtractor
from .base import PooledLayer as PooledLayer
from .presets import PRESETS as PRESETS
from .presets import Preset as Preset
