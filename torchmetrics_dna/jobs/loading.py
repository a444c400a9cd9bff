"""Read images, and run them through an extractor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.extractors.cpu import cut
from torchmetrics_dna.images import ImageSource
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.jobs.processes import raise_if_peer_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Reading
    from torchmetrics_dna.images.loader import Notes

_FEW = 64  # images, for which torch takes less time than loading numba, about a second


def is_small_job(images: Images) -> bool:
    """True if loading numba would take longer than the work."""
    return images.count is not None and images.count <= _FEW


class Activated(NamedTuple):
    """Activations of a batch of images."""

    places: list[int]  # indices of the readable images; in a stream, numbers of their entries
    activations: dict[str, Tensor]  # {layer: (B, n, *positions)}
    left_out: list[str]  # one line for each image
    names: list[str]  # of the readable images
    notes: Mapping[str, Tensor]  # on them, (B, ...), by name
    ends: bool  # True if these are the last images of a part


def activate(
    images: Images,
    extractor: DNAExtractor,
    reading: Reading,
    notes: Notes | None = None,
    parts: Sequence[range] | None = None,
    window: int | None = None,
) -> Iterator[Activated]:
    """Yield the activations of images, batch by batch; ``notes``, ``parts`` and ``window`` as in :func:`load_batches`.

    On the CPU, batches are as large as the network runs at once. Delete the activations before the next iteration, so
    that two are never in memory.
    """
    done, total = 0, count_images(images, parts)
    run = partial(extractor, resized=extractor.input_size is not None)
    most = extractor.images_at_once if extractor.device.type == "cpu" else reading.batch_size
    for batch in load_batches(
        images,
        extractor.input_size,
        extractor.crop,
        extractor.resize,
        reading,
        properties=extractor.has_properties,
        notes=notes,
        parts=parts,
        window=window,
        pin_memory=extractor.device.type == "cuda",
    ):
        pixels = batch.images.to(extractor.device, non_blocking=True)
        more = [] if batch.properties is None else [batch.properties.to(extractor.device, non_blocking=True)]
        numbers, left_out = batch.numbers, batch.unreadable
        for part in cut(len(numbers), most):
            raise_if_peer_failed()
            inputs = [pixels[part], *(values[part] for values in more)]
            noted = {name: values[part] for name, values in batch.notes.items()}
            ends = batch.ends and part.stop == len(numbers)
            yield Activated(numbers[part], run(*inputs) if numbers else {}, left_out, batch.names[part], noted, ends)
            left_out = []
        done += len(numbers) + len(batch.unreadable)
        if reading.progress:
            reading.progress(images.label, done, total)
    if reading.progress and total is None and done:
        reading.progress(images.label, done, done)


def count_images(images: Images, parts: Sequence[range] | None) -> int | None:
    """Return the number of images in these parts; None for a stream of unknown length."""
    if isinstance(images, ImageSource):
        return len(images) if parts is None else sum(map(len, parts))
    return images.count if parts is None or sum(map(len, parts)) == len(images.shards) else None


def check_any_read(num_images: int, unreadable: Sequence[str], label: str = "") -> None:
    """Raise ValueError if all images were left out, or there were none."""
    if unreadable and num_images == 1:
        raise ValueError(f"The only image could not be read: {unreadable[0]}")
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} images could be read; the first: {unreadable[0]}")
    if not num_images:
        raise ValueError(f"There are no images in {label!r}")
