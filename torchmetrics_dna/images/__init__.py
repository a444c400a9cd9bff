"""Image files and arrays to tensors."""

from torchmetrics_dna.images.base import Images, ImageSource, ImageStream
from torchmetrics_dna.images.resize import RESIZES, Crop, Resize, check_resize, resize_image, resize_tensor
from torchmetrics_dna.images.sources import Source, open_source
from torchmetrics_dna.images.tensors import check_images

__all__ = [
    "RESIZES",
    "Crop",
    "ImageSource",
    "ImageStream",
    "Images",
    "Resize",
    "Source",
    "check_images",
    "check_resize",
    "open_source",
    "resize_image",
    "resize_tensor",
]
