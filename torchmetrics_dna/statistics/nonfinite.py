"""Rules for activations that are not finite, which are detected without a device sync.

On the CPU, adding a batch raises ValueError before its state changes. On a device that would need a sync. So the batch
is added like any other, and the state counts how many images each layer refused. The values of such a state have no
meaning. Each read of the state raises the error that ``update`` would have raised, until the state is reset.
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
