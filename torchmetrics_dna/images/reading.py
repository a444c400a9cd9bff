"""Options for reading images. This module does not import torch or numpy, so that wrong options are reported fast."""

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
        batch_size: Number of images per batch.
        num_workers: Number of processes that decode images. By default, 0 for fewer than 64 images. Otherwise, one
            process per core available to this process, up to 8. The cores are divided among the processes of torchrun.
        column: Location of the image in a row of several values: a key of a dict, a column of a Parquet file, an array
            of an ``.npz``, or an extension in a tar. None to detect the column.
        fps: Number of frames per second to read from videos. None for all frames.
        num_images: Number of images to read from each iterable or function, which may be endless. None for all images.
        exif_orientation: Whether to rotate images by their EXIF tag. The reference implementation does not.
        scale: Value of white in 16-bit images. For example, pass 4095 for images that use 12 bits, or 10,000 for
            reflectances. Larger values are clipped. None for 65535.
        skip_unreadable: Whether to skip unreadable images, and the remaining images of a damaged file in a stream. If
            False, they raise an error that names up to ten images. None for the default of each function.
            :func:`compare`, ``diff``, ``matrix``, :func:`rank`, :func:`report` and :func:`monitor` skip unreadable
            images with a warning. Functions that make files to keep, such as DNAs and ranges, raise an error.
        progress: Callback that is called after each batch. Its arguments are the name of the source, the number of
            images that were read, and the total number of images. The total is None for a stream of unknown length.

    Raises:
        ValueError: If a value is out of range.
        TypeError: If ``column`` is not a text, or ``progress`` is not a function.

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
        "Skip images that can't be read. By default, the commands compare, diff, rank and monitor skip these images and"
        " list them, and checks such as --fail-above fail. The commands make and ranges stop with an error.",
    )
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self._check_integer("batch_size", 1)
        self._check_integer("num_workers", 0)
        self._check_integer("num_images", 1)
        self._check_above_0("fps")
        self._check_above_0("scale")
        check_bool("exif_orientation", self.exif_orientation)
        if self.skip_unreadable is not None:
            check_bool("skip_unreadable", self.skip_unreadable)
        if self.column is not None and not isinstance(self.column, str):
            raise TypeError(f"{argument('column')} expected to be a name, but got {brief(self.column)}")
        if self.progress is not None and not callable(self.progress):
            raise TypeError(f"Argument `progress` expected to be a function, but got {brief(self.progress)}")

    def _check_integer(self, name: str, least: int) -> None:
        """Raise ValueError unless an option is None or an integer of at least ``least``."""
        value = getattr(self, name)
        if value is None:
            return
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not is_integer or value < least:
            raise ValueError(f"{argument(name)} expected to be an integer of at least {least}, but got {value!r}")

    def _check_above_0(self, name: str) -> None:
        """Raise ValueError unless an option is None or a number above 0."""
        value = getattr(self, name)
        # The comparison is negated so that it also finds NaN.
        if value is not None and not value > 0:
            raise ValueError(f"{argument(name)} expected to be above 0, but got {value!r}")

    def skipping(self) -> Reading:
        """Return these options with ``skip_unreadable=True`` if it is None."""
        if self.skip_unreadable is not None:
            return self
        return replace(self, skip_unreadable=True)
