"""Activations that are not finite, found without waiting for the device.

On the CPU, whatever adds a batch to a state finds them and raises at once. On other devices the host would have to wait
for the answer, so the device itself leaves such a batch out and notes it at the end of the state, in its tail: how many
images each layer refused, and how many were added. Whoever reads the state raises.
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
    """Count a batch in the tail of a state, as added or as refused, around what adds it.

    Args:
        tail: Images that each layer refused, and at last those that were added.
        parts: What must be finite, by layer: the activations, or what is finite just where they are.
        num_images: How many images the batch has.

    Yields:
        1 if all is finite and 0 if not, one int64 on the device. None on the CPU, where what adds the batch raises.

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
    """Read how many images were added.

    Raises:
        ValueError: If some were refused, since a layer was not finite.

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
    """ValueError if some images have none, since they or their activations were not finite."""
    missing = int(scores.isnan().sum())
    if missing:
        raise ValueError(f"{missing} images have no score: activations of their batches are NaN or infinite; {REMEDY}")
