"""Non-finite activations, detected without a device sync.

On the CPU, adding a batch to a state checks them and raises at once. On other devices that would need a sync, so the
device itself skips such a batch and counts it in the tail of the state: the number of images refused by each layer, and
the number added. Reads of the state raise the error that ``update`` would have raised, until it is reset.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torchmetrics_dna.binning.histogram import finite_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts

_MOST = 1 << 40  # images, each with less than 2**22 activations of a neuron, whose counts fit into 63 bits


@contextmanager
def screened(tail: Tensor, parts: Parts, num_images: int, finite: Tensor | None = None) -> Iterator[Tensor | None]:
    """Count a batch as added or refused in the tail of its state, around the code that adds it.

    ``parts`` are its activations, or values that are finite exactly if these are; ``finite`` tells it for each layer if
    it is known.

    Yields:
        1 if everything is finite, else 0, as an int64 scalar on the device. None on the CPU, where adding raises.

    """
    if tail.device.type == "cpu":
        yield None
        tail[-1] += num_images
        return
    finite = finite_layers(parts) if finite is None else finite
    accepted = finite.all().long()
    yield accepted
    tail[-1] += num_images * accepted
    tail[:-1] += num_images * ~finite


def read_tail(tail: Tensor, layers: Iterable[str]) -> int:
    """Return the number of images that were added.

    Raises:
        ValueError: If images were refused, since a layer was not finite.
        OverflowError: If there are so many images that their counts may not fit into 64 bits.

    """
    *refused, images = (int(number) for number in tail.tolist())
    check_refused(refused, layers)
    return check_number(images)


def check_refused(refused: Iterable[int], layers: Iterable[str]) -> None:
    """Raise ValueError if a layer refused images."""
    for layer, number in zip(layers, refused, strict=True):
        if number:
            raise ValueError(
                f"Layer {layer!r} gave activations that are NaN or infinite for batches of {number} images; check the"
                " images, which with `normalize=True` must lie in [0, 1], and the network (half precision overflows),"
                " then call `reset`"
            )


def check_number(images: int) -> int:
    """Return the number of images; OverflowError if their counts may not fit into 64 bits."""
    if not 0 <= images <= _MOST:
        raise OverflowError(f"At most {_MOST:,} images can be counted together, but got {images:,}; merge fewer states")
    return images
