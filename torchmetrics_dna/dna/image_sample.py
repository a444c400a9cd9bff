"""ImageSample: spatial means and properties of some single images of a set, which outlier scores compare with."""

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

# Number of images of a sample: enough for percentiles of a tenth.
MOST = 1000
_MEANS, _PROPERTIES = "sample", "sample_properties"  # names of the arrays in a file


@dataclass(frozen=True, eq=False)
class ImageSample:
    """Values of up to 1,000 single images of a set.

    Of a larger set, those with the smallest hashes of their values are kept. So the sample of a merged set is the same
    in whatever order its parts are merged.

    Attributes:
        means: Spatial means of layers, float32, ``{layer: (images, n)}``.
        properties: Image properties, float32, ``(images, properties)``; None if they were not measured.
        version: Version of the definitions of these properties.

    """

    means: Mapping[str, Tensor]
    properties: Tensor | None = None
    version: int = VERSION

    @property
    def num_images(self) -> int:
        """Number of images in the sample."""
        return len(next(iter(self.means.values())))

    @classmethod
    def of(cls, means: Mapping[str, Tensor], properties: Tensor | None = None) -> ImageSample:
        """Choose the images of the sample from the values of all images of a set."""
        values = [*means.values()] if properties is None else [*means.values(), properties]
        rows = torch.cat(values, 1).float().cpu().numpy()
        hashes = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
        chosen = sorted(range(len(rows)), key=hashes.__getitem__)[:MOST]
        return cls(
            {layer: of_layer[chosen].float().cpu() for layer, of_layer in means.items()},
            None if properties is None else properties[chosen].float().cpu(),
        )

    def merge(self, other: ImageSample) -> ImageSample:
        """Return the sample of both sets together."""
        means = {layer: torch.cat([of_layer, other.means[layer]]) for layer, of_layer in self.means.items()}
        if self.properties is None or other.properties is None or self.version != other.version:
            return ImageSample.of(means)
        return replace(ImageSample.of(means, torch.cat([self.properties, other.properties])), version=self.version)

    def select(self, neurons: Neurons) -> ImageSample | None:
        """Return the sample of whole layers that are among these neurons; None if there are none."""
        means = {layer: values for layer, values in self.means.items() if neurons.get(layer) == values.shape[1]}
        return replace(self, means=means) if means else None

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
        """Invert :meth:`encode`."""
        check_type("sample", described, dict)
        count = check_type("num_images", described.get("num_images"), int)
        version = check_type("properties", described.get("properties"), int, NoneType)
        means = {}
        for layer, width in arrays.neurons.items():
            packed = arrays.arrays.get(array_name(_MEANS, layer))
            if packed is not None:
                means[layer] = _unpacked(packed, count, width)
        if not means:
            raise ValueError("its sample has no layers")
        if version is None:
            return cls(means)
        packed = arrays.arrays[_PROPERTIES]
        width = packed.shape[1] // 4 if packed.ndim == 2 else 0
        return cls(means, _unpacked(packed, count, width), version)


def _packed(values: Tensor) -> NDArray[np.uint8]:
    """Return float32 values as bytes, since files hold no other single precision."""
    return np.ascontiguousarray(values.numpy(), "<f4").view(np.uint8)


def _unpacked(packed: NDArray[Any], count: int, width: int) -> Tensor:
    if packed.dtype != np.uint8 or packed.shape != (count, 4 * width):
        raise ValueError(
            f"its sample is {packed.dtype} of shape {packed.shape}, expected uint8 of {(count, 4 * width)}"
        )
    values = torch.from_numpy(np.ascontiguousarray(packed).view("<f4").astype(np.float32))
    if not values.isfinite().all():
        raise ValueError("its sample has values that are NaN or infinite")
    return values
