"""KeptFeatures: the features of single images, as a value and a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, override

from torchmetrics_dna.dna.codec import Encoded, Joined, Stored, array_name
from torchmetrics_dna.files.container import content_digest
from torchmetrics_dna.files.damage import check_type
from torchmetrics_dna.files.visible import images_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False, repr=False)
class KeptFeatures(Stored):
    """Spatial means of one layer, image by image: the real side of :class:`MIND`, :class:`CMMD` and :class:`PRDC`.

    In memory and in a file they take ``4 n`` bytes an image.

    Args:
        values: Shape ``(images, n)``; kept as float32, on the CPU.
        neurons: The layer and its n neurons.
        extractor: Name of the extractor.
        weights_digest: Digest of the extractor's weights; None if unknown.
        preparation: How images were prepared for the extractor; None if unknown.

    Raises:
        ValueError: If shapes do not fit, or a number is not finite.

    Example:
        >>> from torchmetrics_dna import Neurons
        >>> KeptFeatures(torch.rand(5, 3), Neurons({"head": 3}), "tiny")
        KeptFeatures(5 images, 'tiny', Neurons(3 in 1 layer: head 3))

    """

    kind: ClassVar[str] = "features"

    values: Tensor
    neurons: Neurons
    extractor: str
    weights_digest: str | None = None
    preparation: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        values = self.values.detach().float().cpu()
        if values.ndim != 2 or list(self.neurons.values()) != [values.shape[1]]:
            raise ValueError(f"Features expected to have shape (images, n) of one layer, but got {tuple(values.shape)}")
        if not values.isfinite().all():
            raise ValueError("Expected finite features, but got NaN or infinity")
        object.__setattr__(self, "values", values)

    @property
    def layer(self) -> str:
        """The layer's name."""
        return next(iter(self.neurons))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that they are."""
        return content_digest(*self._encode()[:2])

    @override
    def _encode(self) -> Encoded:
        described, _, _ = super()._encode()
        described |= {"preparation": self.preparation, "num_images": len(self.values)}
        little_endian = np.ascontiguousarray(self.values.numpy().astype("<f4", copy=False))
        return described, {array_name("features", self.layer): little_endian.view(np.uint8)}, {}

    @classmethod
    @override
    def _decode(cls, header: dict[str, Any], arrays: Joined, **fields: Any) -> Self:
        ((layer, packed),) = arrays.parts("features").items()
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != 4 * arrays.neurons[layer]:
            raise ValueError(f"features of layer {layer!r} are {packed.dtype} of shape {packed.shape}")
        if check_type("num_images", header["dna"]["num_images"], int) != len(packed):
            raise ValueError(f"it has features of {len(packed)} images, but is of {header['dna']['num_images']}")
        values = torch.from_numpy(np.ascontiguousarray(packed).view("<f4").astype(np.float32))
        preparation = check_type("preparation", header["dna"]["preparation"], dict, NoneType)
        return super()._decode(header, arrays, values=values, preparation=preparation, **fields)

    def __repr__(self) -> str:
        return f"KeptFeatures({images_in_words(len(self.values))}, {self.extractor!r}, {self.neurons!r})"

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # it is a value


def given_features(reference: KeptFeatures | str | os.PathLike[str] | None) -> KeptFeatures | None:
    """Features that an argument `reference` gives, or the path of a file of them; TypeError if it is something else."""
    if isinstance(reference, (str, os.PathLike)):
        return KeptFeatures.load(reference)
    if reference is not None and not isinstance(reference, KeptFeatures):
        raise TypeError(
            f"Argument `reference` expected to be KeptFeatures or the path of a file of them, but got {reference!r}"
        )
    return reference
