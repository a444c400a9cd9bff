"""Non-finite activations, detected without a device sync: the only place that says what becomes of them.

On the CPU, adding a batch raises ValueError before its state changes. On a device that would need a sync. So there such
a batch is added like any other, though what it adds means nothing, and the state notes how many images each layer
refused. From then on each read of the state is the error that ``update`` would have raised, until it is reset.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning import Activations

# Largest number of images, each with less than 2**22 activations of a neuron, whose counts fit into 63 bits.
_MOST = 1 << 40


def note_refused_(refused: Tensor, activations: Activations) -> None:
    """Add the images of a batch to those that layers refused, ``(layers,)``, where they are not finite, on a device."""
    if activations.device.type != "cpu":
        refused += len(activations) * ~activations.finite


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
        raise OverflowError(f"At most {_MOST:,} images can be counted together, but got {images:,}")
    return images
