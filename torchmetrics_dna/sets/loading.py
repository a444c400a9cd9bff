"""Read images, and run them through an extractor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypedDict

from torchmetrics_dna.extractors.cpu import cut
from torchmetrics_dna.images.loader import load_batches
from torchmetrics_dna.sets.processes import heed, rank, world_size

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Crop, ImageSource

Progress = Callable[[str, int, int], None]


class LoadingOptions(TypedDict, total=False):
    """Keyword arguments that say how images are read; see :class:`Loading`."""

    batch_size: int
    num_workers: int | None
    exif_orientation: bool
    skip_unreadable: bool
    progress: Progress | None
    distributed: bool


class SetOptions(LoadingOptions, total=False):
    """:class:`LoadingOptions`, and keyword arguments of a named extractor; see :class:`DNAExtractor`."""

    weights_path: str | os.PathLike[str] | None
    crop: Crop | None
    properties: bool | None


@dataclass(frozen=True)
class Loading:
    """How images are read.

    Args:
        batch_size: Images in a batch.
        num_workers: Processes that decode images; None: one for each core that this process may use, up to 8 and
            shared with the other processes of torchrun, and none for a few images.
        exif_orientation: Turn images as their EXIF tag says. The official implementation does not.
        skip_unreadable: Leave out images that can't be read, instead of stopping.
        progress: Called after each batch with the name of the source, the number of images done, and that of all.
        distributed: Share the images among the processes of torch.distributed; all must make the same call, and all
            get the same result.

    Raises:
        ValueError: If a number is out of range.

    """

    batch_size: int = 32
    num_workers: int | None = None
    exif_orientation: bool = False
    skip_unreadable: bool = False
    progress: Progress | None = None
    distributed: bool = False

    @classmethod
    def of(cls, function: str, options: SetOptions) -> tuple[Loading, dict[str, Any]]:
        """Split the keyword arguments of a function into how images are read, and those of the extractor.

        Raises:
            TypeError: If there is no such argument, as Python says it.
            ValueError: If a number is out of range.

        """
        given: dict[str, Any] = dict(options)
        settings = {name: given.pop(name, None) for name in ("weights_path", "crop", "properties")}
        known = list(LoadingOptions.__annotations__)
        if unknown := [name for name in given if name not in known]:
            close = get_close_matches(unknown[0], known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"those that say how to read images: {', '.join(known)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}; {hint}")
        return cls(**given), settings

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("num_workers", self.num_workers or 0, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")

    def share(self, num_images: int) -> range:
        """The numbers of the images that this process measures."""
        return range(rank(), num_images, world_size()) if self.distributed else range(num_images)


def activate(
    images: ImageSource, extractor: DNAExtractor, loading: Loading
) -> Iterator[tuple[list[int], dict[str, Tensor], list[str]]]:
    """Run images through an extractor, part by part.

    Yields the places of the images that could be read, their activations, and a line for each image that was left out.
    On the CPU, a part is what goes through the network at once; else it is a batch. Delete its activations before the
    next part is asked for, so that there are never two.
    """
    done = 0
    most = extractor.images_at_once if extractor.device.type == "cpu" else loading.batch_size
    for batch in load_batches(
        images,
        extractor.input_size,
        extractor.crop,
        batch_size=loading.batch_size,
        num_workers=loading.num_workers,
        skip_unreadable=loading.skip_unreadable,
        properties=extractor.has_properties,
    ):
        pixels = batch.images.to(extractor.device, non_blocking=True)
        more = [] if batch.properties is None else [batch.properties.to(extractor.device, non_blocking=True)]
        places, left_out = [done + i for i in batch.readable], batch.unreadable
        for part in cut(len(places), most):
            heed()
            given = [pixels[part], *(values[part] for values in more)]
            yield places[part], extractor(*given) if places else {}, left_out
            left_out = []
        done += len(batch.readable) + len(batch.unreadable)
        if loading.progress:
            loading.progress(images.label, done, len(images))


def check_any_read(num_images: int, unreadable: Sequence[str]) -> None:
    """Raise ValueError if all images were left out."""
    if unreadable and len(unreadable) == num_images:
        raise ValueError(f"None of the {num_images} images could be read; the first: {unreadable[0]}")
