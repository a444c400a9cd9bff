"""Features: spatial means of single images, with a file format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.codec import ByLayer, Encoded, Stored, array_name
from torchmetrics_dna.files.damage import check_type, parse_json
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.likeness import PICTURE
from torchmetrics_dna.images.noun import noun_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False, repr=False)
class Features(Stored):
    """Spatial means of N neurons for each image of a set.

    Features are the real set of the metrics MIND, CMMD and PRDC. They are also an index, in which :func:`rank` finds
    the closest images. In memory and in a file, they take ``4 N`` bytes per image.

    Args:
        values: Features, shape ``(images, N)``; kept as float32, on the CPU.
        neurons: The N neurons.
        extractor: Name of the extractor.
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: Image preprocessing; None if unknown.
        names: Names of the images; empty if unknown.
        pictures: Small pictures of the images, uint8, ``(images, values)``, to detect duplicates; None without
            pictures.
        fingerprint: As for :class:`~torchmetrics_dna.dna.base.DNA`.

    Raises:
        ValueError: If shapes do not fit, or a number is not finite.

    Example:
        >>> from torchmetrics_dna.neurons import Neurons
        >>> Features(torch.rand(5, 3), Neurons({"head": 3}), "tiny")
        Features(5 images, 'tiny', Neurons(3 in 1 layer: head 3))

    """

    kind: ClassVar[str] = "features"

    values: Tensor
    neurons: Neurons
    extractor: str
    weights_digest: str | None = None
    preparation: Mapping[str, Any] | None = None
    names: Sequence[str] = ()
    pictures: Tensor | None = None
    fingerprint: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        values = self.values.detach().float().cpu()
        if values.ndim != 2 or values.shape[1] != self.neurons.total:
            raise ValueError(
                f"Features expected to have shape (images, {self.neurons.total}), but got {tuple(values.shape)}"
            )
        if self.names and len(self.names) != len(values):
            raise ValueError(f"Argument `names` expected to have {len(values)} names, but got {len(self.names)}")
        if self.pictures is not None and len(self.pictures) != len(values):
            raise ValueError(f"Argument `pictures` expected to be {len(values)}, but got {len(self.pictures)}")
        if not values.isfinite().all():
            raise ValueError("Expected finite features, but got NaN or infinity")
        object.__setattr__(self, "values", values)

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.values)

    @property
    def layer(self) -> str:
        """Name of the last layer."""
        return list(self.neurons)[-1]

    def select(self, layers: Sequence[str]) -> Self:
        """Select layers. The neurons keep their order. Raise ValueError if a layer is missing."""
        if list(layers) == list(self.neurons):
            return self
        positions = self.neurons.positions(layers)
        return replace(self, values=self.values[:, positions], neurons=self.neurons.take(positions))

    @override
    def _encode(self) -> Encoded:
        described, _, remarks = super()._encode()
        described["num_images"] = self.num_images
        arrays = {}
        for layer, columns in self.neurons.slices.items():
            # The file format has no float32 arrays, so features are stored as their bytes, (images, 4 n).
            values = self.values[:, columns].numpy().astype("<f4", copy=False)
            arrays[array_name("features", layer)] = np.ascontiguousarray(values).view(np.uint8)
        if self.names:
            # The length of the header is limited, so names are an array.
            arrays["names"] = np.frombuffer(json.dumps(list(self.names)).encode(), np.uint8)
        if self.pictures is not None:
            arrays["pictures"] = self.pictures.numpy()
        return described, arrays, remarks

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: ByLayer, **fields: Any) -> Self:
        num_images = check_type("num_images", header["dna"]["num_images"], int)
        columns = []
        for layer, packed in arrays.field_of_layers("features").items():
            columns.append(_unpacked(packed, layer, num_images, arrays.neurons[layer]))
        # Features of a single layer are not copied.
        fields["values"] = columns[0] if len(columns) == 1 else torch.cat(columns, 1)
        pictures = arrays.arrays.get("pictures")
        if pictures is not None:
            if pictures.dtype != np.uint8 or pictures.shape != (num_images, PICTURE):
                raise ValueError(f"pictures are {pictures.dtype} of shape {pictures.shape}")
            fields["pictures"] = torch.from_numpy(pictures.copy())
        fields["names"] = []
        if "names" in arrays.arrays:
            names = parse_json(arrays.arrays["names"].tobytes(), list)
            fields["names"] = [check_type("name", name, str) for name in names]
        return super()._decode(header, arrays, **fields)

    def __repr__(self) -> str:
        return f"Features({images_in_words(self.num_images, noun_of(self))}, {self.extractor!r}, {self.neurons!r})"


def _unpacked(packed: NDArray[Any], layer: str, num_images: int, num_neurons: int) -> Tensor:
    """Return the features of a layer from their bytes; ValueError for another shape or type.

    Args:
        packed: Bytes of little-endian float32 values, 4 per neuron, uint8, ``(images, 4 n)``.
        layer: Name of the layer, for errors.
        num_images: Number of images that the array must have.
        num_neurons: Number of neurons of the layer, n.

    """
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != 4 * num_neurons:
        raise ValueError(f"features of layer {layer!r} are {packed.dtype} of shape {packed.shape}")
    if len(packed) != num_images:
        raise ValueError(f"it has features of {len(packed)} images, but is of {num_images}")
    values = np.ascontiguousarray(packed).view("<f4").astype(np.float32)
    return torch.from_numpy(values)
