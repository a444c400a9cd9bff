"""Options for reading images; imports neither torch nor numpy, so that wrong ones are told at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torchmetrics_dna.checks import brief, check_bool
from torchmetrics_dna.options import argument, option

Progress = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True)
class Reading:
    """Options for reading images.

    Args:
        batch_size: Number of images in a batch.
        num_workers: Number of processes that decode images; None for one per core available to this process, up to 8,
            divided among the processes of torchrun, and 0 for a few images.
        column: Location of each image in a row of several values: a key of dicts, a column of Parquet, an array of an
            ``.npz``, an extension in a tar. None to detect it.
        fps: Number of frames per second to take from videos; None for all.
        num_images: Number of images to take of each iterable or function, such as a generator, which may have no end;
            None for all.
        exif_orientation: Whether to rotate images by their EXIF tag. The official implementation does not.
        scale: Value of white in images of 16 bits, such as 4095 where 12 of them are used, or 10,000 of reflectances;
            larger values are clipped. None for 65535.
        skip_unreadable: Whether to skip unreadable images, and the rest of a damaged file of a stream, instead of
            raising an error that names up to ten of them. None for the default of a function: :func:`compare`,
            ``diff``, ``matrix``, :func:`rank`, :func:`report` and :func:`monitor` skip them with a warning, and what
            makes DNAs, ranges or other files to keep raises the error.
        progress: Callback after each batch, with the name of the source, the number of images done, and the total, or
            None for a stream of unknown length.

    Raises:
        ValueError: If a value is out of range.

    Example:
        >>> Reading(batch_size=64, column="image").num_workers is None
        True

    """

    batch_size: int = option(32, "Machine", "Number of images per batch.")
    num_workers: int | None = option(
        None, "Machine", "Number of processes that decode images. Default: one per available core, at most 8."
    )
    column: str | None = option(
        None,
        "Images",
        "Column of .parquet, array of .npz or extension in .tar files that holds the images. Default: detected.",
    )
    fps: float | None = option(None, "Images", "Number of frames per second to read from videos. Default: all.")
    num_images: int | None = None
    exif_orientation: bool = option(False, "Images", "Rotate images by their EXIF orientation.")
    scale: float | None = option(None, "Images", "Value of white in 16-bit images. Default: 65535.")
    skip_unreadable: bool | None = option(
        None,
        "Images",
        "Skip images that can't be read. Default: compare, diff, rank and monitor skip and list them, and a check then"
        " fails. make and ranges stop with an error.",
    )
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("num_workers", 0), ("num_images", 1)):
            value = getattr(self, name)
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_integer and value >= least):
                raise ValueError(f"{argument(name)} expected to be an integer of at least {least}, but got {value!r}")
        for name in ("fps", "scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{argument(name)} expected to be above 0, but got {value!r}")
        check_bool("exif_orientation", self.exif_orientation)
        if self.skip_unreadable is not None:
            check_bool("skip_unreadable", self.skip_unreadable)
        if self.column is not None and not isinstance(self.column, str):
            raise TypeError(f"{argument('column')} expected to be a name, but got {brief(self.column)}")
        if self.progress is not None and not callable(self.progress):
            raise TypeError(f"Argument `progress` expected to be a function, but got {brief(self.progress)}")

    def skipping(self) -> Reading:
        """Return these options with unreadable images skipped, unless they say otherwise."""
        if self.skip_unreadable is not None:
            return self
        return replace(self, skip_unreadable=True)
