"""Load images from files, arrays and datasets as tensors."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.images.base import Images, ImageSource, ImageStream
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.images.sources import Source, open_source

__all__ = ["ImageSource", "ImageStream", "Images", "Reading", "Source", "open_source"]

_HOME = {
    "ImageSource": "images.base",
    "ImageStream": "images.base",
    "Images": "images.base",
    "Reading": "images.reading",
    "Source": "images.sources",
    "open_source": "images.sources",
}
__getattr__ = lazily(__name__, _HOME)
