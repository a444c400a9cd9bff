"""Load images from files, arrays and datasets as tensors."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.images.base import Images, ImageSource, ImageStream
    from torchmetrics_dna.images.cells import Crop
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.images.resize import RESIZES, Resize, check_resize, resize_image, resize_tensor
    from torchmetrics_dna.images.sources import Source, open_source
    from torchmetrics_dna.images.tensors import check_images

__all__ = [
    "RESIZES",
    "Crop",
    "ImageSource",
    "ImageStream",
    "Images",
    "Reading",
    "Resize",
    "Source",
    "check_images",
    "check_resize",
    "open_source",
    "resize_image",
    "resize_tensor",
]

_HOME = {
    "Crop": "images.cells",
    "ImageSource": "images.base",
    "ImageStream": "images.base",
    "Images": "images.base",
    "RESIZES": "images.resize",
    "Reading": "images.reading",
    "Resize": "images.resize",
    "Source": "images.sources",
    "check_images": "images.tensors",
    "check_resize": "images.resize",
    "open_source": "images.sources",
    "resize_image": "images.resize",
    "resize_tensor": "images.resize",
}
__getattr__ = lazily(__name__, _HOME)
