"""Activations that are not finite, found without waiting for the device.

On the CPU, counting finds them and raises at once. On other devices the host would have to wait for the answer, so the
device itself leaves such a batch out and notes it at the end of the state, in its tail: how many images each layer
refused, and how many were added. Whoever reads the state raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.binning.histogram import finite_layers

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts


def screen(parts: Parts, device: torch.device) -> Tensor | None:
    """Which layers are finite, bool, shape ``(layers,)``; None on the CPU."""
    return None if device.type == "cpu" else finite_layers(parts)


def accepted(finite: Tensor | None) -> Tensor | None:
    """1 if all layers are finite and 0 if not, one int64; None on the CPU."""
    return None if finite is None else finite.all().long()


def record_(tail: Tensor, finite: Tensor | None, num_images: int) -> None:
    """Count a batch in the tail of a state, as added or as refused."""
    if finite is None:
        tail[-1] += num_images
    else:
        tail[-1] += num_images * finite.all()
        tail[:-1] += num_images * ~finite


def read_tail(tail: Tensor, layers: Iterable[str]) -> int:
    """How many images were added.

    Raises:
        ValueError: If some were refused, since a layer was not finite.

    """
    *refused, images = (int(number) for number in tail.tolist())
    for layer, number in zip(layers, refused, strict=True):
        if number:
            raise ValueError(
                f"Layer {layer!r} gave activations that are NaN or infinite for batches of {number} images, which were"
                " left out; check the images and the network (half precision overflows), and reset"
            )
    return images
