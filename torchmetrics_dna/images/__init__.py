"""Image files and arrays to tensors."""

from torchmetrics_dna.images.resize import Crop, resize_image, resize_tensor
from torchmetrics_dna.images.sources import ImageSource, Source, open_source
from torchmetrics_dna.images.tensors import check_images

__all__ = ["Crop", "ImageSource", "Source", "check_images", "open_source", "resize_image", "resize_tensor"]
