from .base import Images as Images
from .base import ImageSource as ImageSource
from .base import ImageStream as ImageStream
from .reading import Reading as Reading
from .sources import Source as Source
from .sources import open_source as open_source
