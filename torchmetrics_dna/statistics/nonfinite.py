"""Rules for activations that are not finite, which are detected without a device sync.

On the CPU, a statistic raises ValueError before it adds a batch with such activations. On a device, this check would
need a sync. So the batch is added like any other batch. The state also has a number for each layer, which counts the
images of batches in which an activation of the layer was not finite. These images are called refused. The other values
of such a state have no meaning. Each read of the state raises an error until the state is reset.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning import Activations

# Largest number of images in a state. If a neuron has fewer than 2**22 activations per image, counts fit into 63 bits.
_MOST = 1 << 40


def note_refused_(refused: Tensor, activations: Activations) -> None:
    """Add the images of a batch to the refused images of each layer that is not finite; only on a device.

    Args:
        refused: Number of refused images of each layer, ``(layers,)``, which is changed in place.
        activations: Activations of the batch.

    """
    if activations.device.type != "cpu":
        refused += len(activations) * ~activations.finite


def check_refused(refused: Iterable[int], layers: Iterable[str]) -> None:
    """Raise ValueError if the number of refused images of a layer is not 0."""
    for layer, number in zip(layers, refused, strict=True):
        if number:
            raise ValueError(
                f"Layer {layer!r} gave activations that are NaN or infinite for batches of {number} images; check the"
                " images, which with `normalize=True` must lie in [0, 1], and the network (half precision overflows),"
                " then call `reset`"
            )


def check_number(images: int) -> int:
    """Return the number of images.

    Raises:
        OverflowError: If their counts may not fit into 64 bits.

    """
    if not 0 <= images <= _MOST:
        raise OverflowError(f"At most {_MOST:,} images can be counted together, but got {images:,}")
    return images
