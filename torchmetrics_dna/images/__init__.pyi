from .reading import Reading as Reading
from .sets import Images as Images
from .sets import ImageSource as ImageSource
from .sets import ImageStream as ImageStream
from .sources import Source as Source
from .sources import open_source as open_source
