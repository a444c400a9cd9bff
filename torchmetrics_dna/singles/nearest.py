"""The nearest image of a set to each of others, which shows copies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import check_same, identity
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.container import content_digest
from torchmetrics_dna.files.damage import check_type, parse_json, refusing

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.extractors import DNAExtractor

SUFFIX = ".safetensors"
COPY = 0.5  # nearer than this share of what is usual there, an image is called a likely copy
_AT_ONCE = 1024  # images whose distances to all others are in memory: 40 MB for 10,000


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """Spatial means of the last layer of each image of a set, to look up those that are nearest to others.

    Attributes:
        names: What each image is called.
        means: Float32, shape ``(images, n)``: with the default extractor 5 kB an image.
        layer: Which layer they are of.
        extractor: Name of the extractor.
        weights_digest: Digest of its weights; None if unknown.

    """

    names: list[str]
    means: Tensor
    layer: str
    extractor: str
    weights_digest: str | None = None

    @classmethod
    def of(cls, names: list[str], means: Tensor, extractor: DNAExtractor) -> ImageIndex:
        """Of spatial means of an extractor's last layer."""
        return cls(names, means, list(extractor.neurons)[-1], extractor.name, extractor.weights_digest)

    def check_made_by(self, extractor: DNAExtractor) -> None:
        """ValueError unless it is of this extractor's last layer."""
        check_same(
            "The index of images does not fit",
            identity(self.extractor, self.weights_digest, layers=[self.layer]),
            identity(extractor.name, extractor.weights_digest, layers=list(extractor.neurons)[-1:]),
            remedy="; make it anew with this extractor and these layers",
        )

    def nearest(self, means: Tensor) -> Nearest:
        """The nearest image to each of others, by Euclidean distance of their spatial means, ``(B, n)``."""
        places, distances = _nearest(means, self.means)
        found = torch.unique(places)
        _, apart = _nearest(self.means[found], self.means, found)
        usual = torch.full((len(self.means),), torch.nan).index_copy_(0, found, apart)
        return Nearest([self.names[place] for place in places.tolist()], distances, distances / usual[places])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a ``.safetensors`` file.

        Raises:
            OSError: If it can't be written.

        """
        from safetensors.torch import save_file

        about: dict[str, Any] = {"layer": self.layer, "extractor": self.extractor}
        about |= {"weights_digest": self.weights_digest, "names": self.names}
        digest = content_digest(about, {"means": self.means.numpy()})  # safetensors has no checksum
        with replacing(path) as temporary:
            metadata = {"torchmetrics_dna": json.dumps(about | {"digest": digest})}
            save_file({"means": self.means.contiguous()}, temporary, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImageIndex:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is something else, or damaged.

        """
        from safetensors import safe_open

        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no index of images {str(path)!r}")
        with refusing(path, "an index of images"), safe_open(path, "pt") as file:
            about = parse_json((file.metadata() or {})["torchmetrics_dna"].encode(), dict)
            means = file.get_tensor("means")
            names = [check_type("name", name, str) for name in check_type("names", about["names"], list)]
            if means.dtype != torch.float32 or means.ndim != 2 or len(means) != len(names) or not len(names):
                raise ValueError(f"its means are {means.dtype} of shape {tuple(means.shape)}, for {len(names)} names")
            if about.pop("digest", None) != content_digest(about, {"means": means.numpy()}):
                raise ValueError("its content is not what its digest says; make the index anew")
            if not means.isfinite().all():
                raise ValueError("its means are not finite")
            layer, extractor = (check_type(key, about[key], str) for key in ("layer", "extractor"))
            return cls(names, means, layer, extractor, check_type("digest", about["weights_digest"], str, type(None)))

    def __repr__(self) -> str:
        return f"ImageIndex({len(self.names)} images, {self.extractor!r}, {self.layer!r})"


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest image of an index to each of others.

    Attributes:
        names: Of the nearest images.
        distances: Euclidean distances of spatial means, float32, shape ``(B,)``.
        ratios: These over the distance from the nearest image to the one that is nearest to it in the index. About 1
            and more is usual; far below 1, an image is nearer to this one than any other of the set is: a copy.

    """

    names: list[str]
    distances: Tensor
    ratios: Tensor

    @property
    def copies(self) -> Tensor:
        """Which images are likely copies, bool, shape ``(B,)``."""
        return (self.ratios < COPY) | (self.distances == 0)

    def take(self, order: Tensor) -> Nearest:
        """Those of some images, in this order."""
        return Nearest([self.names[i] for i in order.tolist()], self.distances[order], self.ratios[order])


def _nearest(means: Tensor, index: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Place of the nearest in the index, and its distance, for each of some images; ``own`` places do not count."""
    places, distances = [], []
    for first in range(0, len(means), _AT_ONCE):
        some = means[first : first + _AT_ONCE]
        apart = torch.cdist(some, index)
        if own is not None:
            apart[torch.arange(len(some)), own[first : first + _AT_ONCE]] = torch.inf
        found = apart.argmin(1)
        places.append(found)
        # anew, for a matrix product loses the digits of small distances
        exact = (some - index[found]).norm(dim=1)
        distances.append(torch.where(apart.amin(1).isinf(), torch.nan, exact))  # there is no other
    return torch.cat(places), torch.cat(distances)
