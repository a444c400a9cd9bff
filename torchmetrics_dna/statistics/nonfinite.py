"""Non-finite activations, detected without a device sync.

On the CPU, adding a batch to a state checks them and raises at once. On other devices that would need a sync, so the
device itself skips such a batch and counts it in the tail of the state: the number of images refused by each layer, and
the number added. Reading the state raises the error.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torchmetrics_dna.binning.histogram import finite_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts

REMEDY = (
    "check the images, which with `normalize=True` must lie in [0, 1], and the network (half precision overflows), and"
    " reset"
)


@contextmanager
def screened(tail: Tensor, parts: Parts, num_images: int) -> Iterator[Tensor | None]:
    """Count a batch as added or refused in the tail of its state, around the code that adds it.

    ``parts`` are its activations, or values that are finite exactly if these are.

    Yields:
        1 if everything is finite, else 0, as an int64 scalar on the device. None on the CPU, where adding raises.

    """
    if tail.device.type == "cpu":
        yield None
        tail[-1] += num_images
        return
    finite = finite_layers(parts)
    accepted = finite.all().long()
    yield accepted
    tail[-1] += num_images * accepted
    tail[:-1] += num_images * ~finite


def read_tail(tail: Tensor, layers: Iterable[str]) -> int:
    """Return the number of images that were added.

    Raises:
        ValueError: If images were refused, since a layer was not finite.

    """
    *refused, images = (int(number) for number in tail.tolist())
    for layer, number in zip(layers, refused, strict=True):
        if number:
            raise ValueError(
                f"Layer {layer!r} gave activations that are NaN or infinite for batches of {number} images, which were"
                f" left out; {REMEDY}"
            )
    return images


def check_scores(scores: Tensor) -> None:
    """Raise ValueError if a score is NaN, since the image or its activations were not finite."""
    missing = int(scores.isnan().sum())
    if missing:
        raise ValueError(f"{missing} images have no score: activations of their batches are NaN or infinite; {REMEDY}")
