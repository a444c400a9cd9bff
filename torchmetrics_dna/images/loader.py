"""Batches of resized images from a source, decoded by worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchmetrics_dna.images.properties import image_properties
from torchmetrics_dna.images.resize import Crop, resize_image
from torchmetrics_dna.images.sources import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchmetrics_dna.images.sources import ImageSource

_SKIP = "; to leave out such images, set `skip_unreadable=True`, or `--skip-unreadable` in the command"
_FEW = 64  # images below which starting worker processes costs more than it saves


@dataclass(frozen=True)
class Batch:
    """Some images of a source.

    Attributes:
        images: Shape ``(B, 3, H, W)``: float32 in [0, 1], or as they were where they are not resized.
        unreadable: What is wrong with the images that could not be read, one line each.
        readable: Which images of the batch, by number, the readable ones are.
        error: Why the readable ones make no batch, if they don't.
        properties: Of the images before they were resized, ``(B, 21)``, if they were asked for.

    """

    images: Tensor
    unreadable: list[str]
    readable: list[int]
    error: str | None = None
    properties: Tensor | None = None


def load_batches(
    source: ImageSource,
    size: tuple[int, int] | None,
    crop: Crop = "none",
    *,
    batch_size: int = 32,
    num_workers: int | None = None,
    skip_unreadable: bool = False,
    properties: bool = False,
) -> Iterator[Batch]:
    """Decode and resize all images, in order.

    Args:
        source: The images.
        size: Height and width, by the 'clean' resize; None leaves images as they are, so all must be equally large.
        crop: See :func:`resize_image`.
        batch_size: Images in a batch; the last may be smaller.
        num_workers: Processes that decode; None: see :func:`default_workers`.
        skip_unreadable: Leave out, and report, images that can't be read.
        properties: Measure properties of the images, too.

    Raises:
        ValueError: If an image can't be read (unless left out), or sizes differ where nothing is resized.

    """
    if num_workers is None:
        num_workers = default_workers(len(source))
    loader: DataLoader[Any] = DataLoader(
        _Decoded(source, size, crop, properties), batch_size=batch_size, num_workers=num_workers, collate_fn=_collate
    )
    for batch in loader:
        if batch.error:
            raise ValueError(batch.error)
        if batch.unreadable and not skip_unreadable:
            raise ValueError(batch.unreadable[0] + _SKIP)
        yield batch


def default_workers(num_images: int) -> int:
    """Processes that decode images, unless it is said how many.

    None for a few images; else one for each core that this process may use, up to 8, where the processes that torchrun
    has started on this machine share the cores. Workers wait while the network is behind, so idle ones cost nothing.

    Example:
        >>> default_workers(10)
        0

    """
    if num_images < _FEW:
        return 0
    # cores that a container or `taskset` leaves; not every system tells
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class _Decoded(Dataset["tuple[Tensor, ...] | str"]):
    """Images as tensors, with their properties; a message for one that can't be read, since workers bury exceptions."""

    def __init__(self, source: ImageSource, size: tuple[int, int] | None, crop: Crop, properties: bool) -> None:
        self.source, self.size, self.crop, self.properties = source, size, crop, properties

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, ...] | str:
        try:
            image = self.source.decode(index)
            if self.size is None:
                made = torch.from_numpy(image.transpose(2, 0, 1).copy())
            else:
                made = torch.from_numpy(resize_image(image, self.size, self.crop))
            if not self.properties:
                return (made,)
            pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
            return made, image_properties(pixels, self.source.file_facts(index))[0]
        except Exception as err:
            return unreadable(self.source.names[index], err)


def _collate(items: list[tuple[Tensor, ...] | str]) -> Batch:
    made = [item for item in items if not isinstance(item, str)]
    images = [image for image, *_ in made]
    unreadable = [item for item in items if isinstance(item, str)]
    kinds = {(tuple(image.shape[1:]), image.dtype) for image in images}
    if len(kinds) > 1:
        sizes = " and ".join(f"{height} x {width}" for (height, width), _ in sorted(kinds, key=str)[:2])
        return Batch(torch.empty(0), [], [], f"Images differ in size ({sizes}); give the extractor an `input_size`")
    readable = [i for i, item in enumerate(items) if not isinstance(item, str)]
    properties = torch.stack([found[1] for found in made]) if made and len(made[0]) > 1 else None
    return Batch(torch.stack(images) if images else torch.empty(0), unreadable, readable, None, properties)
