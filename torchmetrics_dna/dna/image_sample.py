"""ImageSample: spatial means and image properties of single images of a set, for outlier scores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.dna.codec import ByLayer, array_name
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.images.properties import VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torchmetrics_dna.files.container import Arrays
    from torchmetrics_dna.neurons.index import Neurons

# Number of images of a sample. It is enough for percentiles in steps of 0.1.
MOST = 1000
# Number of bytes of a value. The file format has no float32 arrays, so values are stored as bytes.
_BYTES_PER_VALUE = 4
# Names of the arrays in a file.
_MEANS = "sample"
_PROPERTIES = "sample_properties"


@dataclass(frozen=True, eq=False)
class ImageSample:
    """Values of up to 1,000 single images of a set.

    If a set has more images, the sample has the images with the smallest hashes of their values. So the sample of a
    merged set does not depend on the order in which sets are merged.

    Attributes:
        means: Spatial means of layers, float32, ``{layer: (images, n)}``.
        properties: Image properties, float32, ``(images, properties)``; None if they were not measured.
        version: Version of the definitions of the properties.

    """

    means: Mapping[str, Tensor]
    properties: Tensor | None = None
    version: int = VERSION

    @property
    def num_images(self) -> int:
        """Number of images in the sample."""
        first_layer = next(iter(self.means.values()))
        return len(first_layer)

    @classmethod
    def of(cls, means: Mapping[str, Tensor], properties: Tensor | None = None) -> ImageSample:
        """Choose the images of the sample from the values of all images of a set."""
        values = list(means.values())
        if properties is not None:
            values.append(properties)
        rows = torch.cat(values, 1).float().cpu().numpy()
        hashes = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
        by_hash = sorted(range(len(rows)), key=hashes.__getitem__)
        chosen = by_hash[:MOST]
        chosen_means = {layer: layer_means[chosen].float().cpu() for layer, layer_means in means.items()}
        if properties is None:
            return cls(chosen_means)
        return cls(chosen_means, properties[chosen].float().cpu())

    def merge(self, other: ImageSample) -> ImageSample:
        """Return the sample of both sets together."""
        means = {layer: torch.cat([layer_means, other.means[layer]]) for layer, layer_means in self.means.items()}
        if self.properties is None or other.properties is None or self.version != other.version:
            return ImageSample.of(means)
        properties = torch.cat([self.properties, other.properties])
        return replace(ImageSample.of(means, properties), version=self.version)

    def select(self, neurons: Neurons) -> ImageSample | None:
        """Return the sample with only those layers of which all neurons are selected; None if there are none."""
        means = {layer: values for layer, values in self.means.items() if neurons.get(layer) == values.shape[1]}
        if not means:
            return None
        return replace(self, means=means)

    def encode(self) -> tuple[dict[str, Any], Arrays]:
        """Return a description of the sample for the header of a file, and its arrays."""
        arrays = {array_name(_MEANS, layer): _packed(values) for layer, values in self.means.items()}
        described: dict[str, Any] = {"num_images": self.num_images, "properties": None}
        if self.properties is not None:
            arrays[_PROPERTIES] = _packed(self.properties)
            described["properties"] = self.version
        return {"sample": described}, arrays

    @classmethod
    def decode(cls, described: Any, arrays: ByLayer) -> ImageSample:
        """Build the sample that :meth:`encode` encoded."""
        check_type("sample", described, dict)
        num_images = check_type("num_images", described.get("num_images"), int)
        version = check_type("properties", described.get("properties"), int, NoneType)
        means = {}
        for layer, num_neurons in arrays.neurons.items():
            packed_means = arrays.arrays.get(array_name(_MEANS, layer))
            if packed_means is not None:
                means[layer] = _unpacked(packed_means, num_images, num_neurons)
        if not means:
            raise ValueError("its sample has no layers")
        if version is None:
            return cls(means)
        packed_properties = arrays.arrays[_PROPERTIES]
        if packed_properties.ndim != 2:
            raise ValueError(f"its sample of properties has shape {packed_properties.shape}, expected two axes")
        # Each version has its own number of properties.
        num_properties = packed_properties.shape[1] // _BYTES_PER_VALUE
        return cls(means, _unpacked(packed_properties, num_images, num_properties), version)


def _packed(values: Tensor) -> NDArray[np.uint8]:
    """Return float32 values as bytes, since the file format has no float32 arrays."""
    return np.ascontiguousarray(values.numpy(), "<f4").view(np.uint8)


def _unpacked(packed: NDArray[Any], count: int, width: int) -> Tensor:
    """Return float32 values ``(count, width)`` from their bytes; ValueError for another shape or type, or NaN."""
    shape = count, _BYTES_PER_VALUE * width
    if packed.dtype != np.uint8 or packed.shape != shape:
        raise ValueError(f"its sample is {packed.dtype} of shape {packed.shape}, expected uint8 of {shape}")
    values = torch.from_numpy(np.ascontiguousarray(packed).view("<f4").astype(np.float32))
    if not values.isfinite().all():
        raise ValueError("its sample has values that are NaN or infinite")
    return values
