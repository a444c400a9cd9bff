"""Checks of the shape, dtype and values of images in tensors and arrays, with remedies in their error messages."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# Tolerance for floating point images beyond [0, 1]. Rounding may cause such values, and so may a resize that was
# clipped in another dtype. They are clamped. The limits are rounded to float32, so that a float32 of 1.001 is accepted.
_BEYOND = 1e-3
LOWEST, HIGHEST = torch.tensor([-_BEYOND, 1 + _BEYOND]).tolist()
# Range of values for which clamping is suggested.
_SLIGHTLY_LOW = -0.1
_SLIGHTLY_HIGH = 2.0


def check_images(imgs: Tensor, normalize: bool, channels: Sequence[int], values: bool) -> None:
    """Check a batch of images ``(B, C, H, W)``.

    Args:
        imgs: The images, uint8, or floating point if ``normalize`` is True.
        normalize: Whether images are floating point.
        channels: Allowed numbers of channels C.
        values: Whether to check that floating point values are in [0, 1], with a tolerance of 0.001. On a GPU, this
            check synchronizes the device.

    Raises:
        TypeError: If ``imgs`` is not a tensor.
        ValueError: If it is not a batch of images of this dtype and range.

    """
    if not isinstance(imgs, Tensor):
        remedy = _remedy_of_type(imgs, normalize, channels)
        raise TypeError(f"Argument `imgs` expected to be a Tensor, but got {type(imgs).__name__}{remedy}")
    check_dense(imgs, "Argument `imgs`")
    if imgs.ndim != 4 or imgs.shape[1] not in channels:
        expected = f"(B, {' or '.join(map(str, channels))}, H, W)"
        remedy = _shape_remedy(imgs) if channels == (3,) else ""
        raise ValueError(f"Argument `imgs` expected to have shape {expected}, but got {tuple(imgs.shape)}{remedy}")
    if 0 in imgs.shape:
        raise ValueError(f"Argument `imgs` expected to hold images, but got shape {tuple(imgs.shape)}")
    _check_dtype(imgs, normalize)
    if normalize and values:
        _check_range(imgs)


def _check_dtype(imgs: Tensor, normalize: bool) -> None:
    """Raise ValueError unless images are uint8, or floating point if ``normalize`` is True."""
    if normalize and not imgs.is_floating_point():
        raise ValueError(
            f"Argument `imgs` expected to be floating point with `normalize=True`, but got {imgs.dtype};"
            " for uint8 set `normalize=False`"
        )
    if not normalize and imgs.dtype != torch.uint8:
        if imgs.is_floating_point():
            remedy = "for floats in [0, 1] set `normalize=True`"
        else:
            remedy = "if they lie in 0 to 255, pass `imgs.to(torch.uint8)`"
        raise ValueError(f"Argument `imgs` expected to be uint8, but got {imgs.dtype}; {remedy}")


def _check_range(imgs: Tensor) -> None:
    """Raise ValueError unless all values are in [0, 1], with a tolerance of 0.001."""
    low, high = torch.stack(torch.aminmax(imgs.detach())).tolist()
    # The condition is negated so that it also finds NaN.
    if not (low >= LOWEST and high <= HIGHEST):
        raise ValueError(
            "Argument `imgs` expected to lie in [0, 1] with `normalize=True`, but got values from"
            f" {in_digits(low)} to {in_digits(high)}{scale_remedy(low, high)}"
        )


def in_digits(value: float) -> str:
    """Return a value as a text with all significant digits of float32.

    Example:
        >>> in_digits(1.0015), in_digits(255.0)
        ('1.0015', '255')

    """
    return str(np.float32(value)).removesuffix(".0")


def _remedy_of_type(imgs: Any, normalize: bool, channels: Sequence[int]) -> str:
    """Return how an object that is not a tensor can be converted to a batch of images, as the end of a message.

    The text is empty if there is no obvious conversion.
    """
    if isinstance(imgs, np.ndarray):
        has_channels_last = imgs.ndim == 4 and imgs.shape[3] in channels and imgs.shape[1] not in channels
        moved = ".movedim(3, 1)" if has_channels_last else ""
        return f"; pass `{_from_numpy('imgs', [imgs])}{moved}`"
    if isinstance(imgs, dict):
        return "; pass images, the metric runs the network"
    if isinstance(imgs, str):
        return "; paths go to `compare`, `rank` and `make_dna`"
    if not isinstance(imgs, (list, tuple)) or not imgs:
        return ""
    if all(isinstance(img, Tensor) for img in imgs):
        return _remedy_of_tensors(imgs)
    if all(isinstance(img, np.ndarray) for img in imgs):
        return _remedy_of_arrays(imgs, channels)
    # Import Pillow only here, because functions of tensors can be used without it.
    from PIL.Image import Image as Picture

    if all(isinstance(img, Picture) for img in imgs):
        return _remedy_of_pictures(imgs, normalize, channels)
    return ""


# Remedy for images of different sizes. A metric accepts them one at a time, because it resizes each image itself.
_ONE_AT_A_TIME = "; their sizes differ: pass one at a time, each as `{}`"


def _remedy_of_tensors(imgs: Sequence[Tensor]) -> str:
    """Return how a list of image tensors or batches can be converted to one batch, as the end of a message."""
    are_batches = imgs[0].ndim != 3
    has_one_size = len({img.shape[-3:] for img in imgs}) == 1
    if has_one_size:
        return "; pass `torch.cat(imgs)`" if are_batches else "; pass `torch.stack(imgs)`"
    return _ONE_AT_A_TIME.format("img" if are_batches else "img[None]")


def _remedy_of_arrays(imgs: Sequence[NDArray[Any]], channels: Sequence[int]) -> str:
    """Return how a list of arrays can be converted to a batch, as the end of a message."""
    has_channels_last = imgs[0].ndim == 3 and imgs[0].shape[2] in channels
    moved = ".movedim(3, 1)" if has_channels_last else ""
    has_one_size = len({img.shape for img in imgs}) == 1
    if has_one_size:
        return f"; pass `{_from_numpy('numpy.stack(imgs)', imgs)}{moved}`"
    return _ONE_AT_A_TIME.format(f"{_from_numpy('numpy.stack([img])', imgs)}{moved}")


def _remedy_of_pictures(imgs: Sequence[Image.Image], normalize: bool, channels: Sequence[int]) -> str:
    """Return how a list of Pillow images can be converted to a batch, as the end of a message."""
    mode = "RGB" if 3 in channels else "L"
    axes = ".movedim(3, 1)" if mode == "RGB" else "[:, None]"
    scale = " / 255" if normalize else ""
    has_one_size = len({img.size for img in imgs}) == 1
    if has_one_size:
        return f"; pass `torch.from_numpy(numpy.stack([img.convert({mode!r}) for img in imgs])){axes}{scale}`"
    return _ONE_AT_A_TIME.format(f"torch.from_numpy(numpy.stack([img.convert({mode!r})])){axes}{scale}")


def _from_numpy(code: str, arrays: Sequence[NDArray[Any]]) -> str:
    """Return the call that converts an array to a tensor, as code.

    torch only supports arrays in native byte order without negative strides.

    Args:
        code: Code of the array.
        arrays: The array itself, or the arrays from which it is stacked.

    """
    if not all(array.dtype.isnative for array in arrays):
        code += f".astype({arrays[0].dtype.name!r})"
    elif len(arrays) == 1 and any(stride < 0 for stride in arrays[0].strides):
        code += ".copy()"
    return f"torch.from_numpy({code})"


def tensor_of(array: NDArray[Any], subject: str) -> Tensor:
    """Convert an array of any memory layout and byte order to a tensor. It is only copied if torch requires a copy.

    Raises:
        ValueError: If the array is masked, or torch does not support its dtype.

    """
    check_unmasked(array, subject)
    has_negative_stride = any(stride < 0 for stride in array.strides)
    if has_negative_stride or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    try:
        # Ignore torch's warning about read-only arrays, because inputs are never written to.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.as_tensor(array)
    except TypeError as err:
        held = held_by(array.dtype)
        raise ValueError(f"{subject} expected to hold numbers of a type that torch has, but got {held}") from err


def check_unmasked(array: Any, subject: str) -> None:
    """Raise ValueError for a masked array, because its masked values would be used."""
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(
            f"{subject} expected to be a plain array, but got a masked one; pass `numpy.ma.filled(array, value)`, or"
            " omit what is masked"
        )


_KINDS_OF_TYPES = {"O": "Python objects", "U": "text", "S": "text", "M": "dates", "m": "durations", "V": "records"}


def held_by(dtype: np.dtype[Any]) -> str:
    """Return the type of the values of an array: the name of its dtype, or a noun if the values are not numbers.

    Example:
        >>> held_by(np.dtype(">f4")), held_by(np.dtype("<U3"))
        ('float32', 'text')

    """
    return _KINDS_OF_TYPES.get(dtype.kind, dtype.name)


def check_dense(tensor: Tensor, subject: str) -> None:
    """Raise ValueError if a tensor is on the meta device, or is not dense."""
    if tensor.device.type == "meta":
        raise ValueError(f"{subject} expected to hold values, but got a tensor on the meta device")
    layout = not_dense(tensor)
    if layout:
        convert = "torch.nested.to_padded_tensor" if tensor.is_nested else "torch.Tensor.to_dense"
        raise ValueError(f"{subject} expected to be a dense tensor, but got layout {layout}; convert it by `{convert}`")


def not_dense(tensor: Tensor) -> str:
    """Return the layout of a tensor that is not dense, such as "sparse_coo". The text is empty for a dense tensor."""
    if tensor.layout == torch.strided:
        return "nested" if tensor.is_nested else ""
    return str(tensor.layout).removeprefix("torch.")


def lacks_float64(device: torch.device) -> bool:
    """Return True if a device does not support float64, such as Apple's GPUs and some of Intel's GPUs."""
    if device.type == "xpu":
        return not torch.xpu.get_device_properties(device).has_fp64
    return device.type == "mps"


def in_unit_range(imgs: Tensor) -> Tensor:
    """Test if all values are in [0, 1], with a tolerance of 0.001, without synchronizing the device.

    Returns:
        A bool tensor without axes. It is False if a value is NaN.

    """
    low, high = torch.aminmax(imgs)
    is_valid: Tensor = (low >= LOWEST) & (high <= HIGHEST)
    return is_valid


def scale_remedy(low: float, high: float, clamp: str = "clamp") -> str:
    """Return a remedy for pixels beyond [0, 1], as the end of a message. The text is empty if none is obvious.

    Args:
        low: Smallest value.
        high: Largest value.
        clamp: Name of the method that limits values: ``clamp`` for tensors, ``clip`` for arrays.

    """
    # Pixels in [0, 255] have values far above 1.
    if low >= 0 and _SLIGHTLY_HIGH < high <= 255:
        return "; pass `imgs / 255`"
    # Images that were normalized by the mean and deviation of a network have values from about -3 to 3.
    if -3 <= low < -1 and high <= 3:
        return "; omit `Normalize`, which is the extractor's"
    # Many generators return images with values from -1 to 1.
    if -1 <= low < _SLIGHTLY_LOW and high <= 1:
        return "; pass `(imgs + 1) / 2`"
    if low >= _SLIGHTLY_LOW and high <= _SLIGHTLY_HIGH:
        return f"; pass `imgs.{clamp}(0, 1)`"
    return ""


def _shape_remedy(imgs: Tensor) -> str:
    """Return a remedy for a shape other than ``(B, 3, H, W)``, as the end of a message."""
    match tuple(imgs.shape):
        case (_, 1, _, _):
            return "; pass `imgs.expand(-1, 3, -1, -1)`, or a DNAExtractor with `channels=1`"
        case (_, 4, _, _):
            return "; pass `imgs[:, :3]`"
        case (_, _, _, 3):
            return "; pass `imgs.permute(0, 3, 1, 2)`"
        case (3, _, _):
            return "; pass `imgs[None]`"
        case (_, _, 3):
            return "; pass `imgs.permute(2, 0, 1)[None]`"
        case (_, _, _):
            return "; pass `imgs[:, None].expand(-1, 3, -1, -1)`"
        case (_, _):
            return "; pass a grey image as `imgs.expand(1, 3, -1, -1)`, and other inputs to `inputs='any'`"
        case (_, channels, _, _):
            return f"; for other images than RGB, pass a DNAExtractor of your own network with `channels={channels}`"
        case _:
            return "; for inputs that are no images, pass a DNAExtractor with `inputs='any'`"


# Numbers of channels that are converted to each other.
_GREY_OR_RGB = (1, 3)
# Remedy for embeddings.
EMBEDDINGS = "pass embeddings to the feature 'identity', whose neurons are their columns"


class _Remedy(NamedTuple):
    """Remedies for an array of images with a wrong shape.

    Attributes:
        channel_axis: Axis of the channels if the axes are in the order of the other type, array or tensor.
        move_channels: Code that moves the channels to the right axis.
        first_channels: Code that selects the first three channels.

    """

    channel_axis: int
    move_channels: str
    first_channels: str


# Remedies by whether images are a tensor, and by their number of axes.
_REMEDIES = {
    (False, 3): _Remedy(0, "imgs.transpose(1, 2, 0)", "imgs[..., :3]"),
    (False, 4): _Remedy(1, "imgs.transpose(0, 2, 3, 1)", "imgs[..., :3]"),
    (True, 3): _Remedy(2, "imgs.permute(2, 0, 1)", "imgs[:3]"),
    (True, 4): _Remedy(3, "imgs.permute(0, 3, 1, 2)", "imgs[:, :3]"),
}


class ArrayFormat(NamedTuple):
    """Shape and dtype of images in an array or a tensor.

    An array is an image ``(H, W, C)`` or ``(H, W)``, or a batch ``(B, H, W, C)``. A tensor is an image ``(C, H, W)`` or
    ``(H, W)``, or a batch ``(B, C, H, W)``.

    Attributes:
        shape: Shape of the array or tensor.
        dtype: Name of its dtype, or a noun if its values are not numbers.
        is_tensor: True for a tensor.

    """

    shape: tuple[int, ...]
    dtype: str
    is_tensor: bool = False

    @classmethod
    def of(cls, images: NDArray[Any] | Tensor) -> ArrayFormat:
        """Return the format of an array or a tensor."""
        if isinstance(images, Tensor):
            return cls(tuple(images.shape), str(images.dtype), True)
        return cls(images.shape, held_by(images.dtype))

    def check(self, what: str, most_axes: int, channels: int | None = None) -> None:
        """Check the shape and the dtype of an image, or of a batch of images.

        Args:
            what: Name of the array in the error message.
            most_axes: Maximum number of axes: 3 for an image, 4 to allow a batch.
            channels: Number of channels of the images of a network. None if it is unknown.

        Raises:
            ValueError: If the shape or the dtype is not that of images. The message has a remedy.

        """
        self._check_shape(what, most_axes, channels)
        self._check_type(what, most_axes)

    def _check_shape(self, what: str, most_axes: int, channels: int | None) -> None:
        """Raise ValueError with a remedy unless the shape is that of an image, or of a batch of images."""
        has_axes = 2 <= len(self.shape) <= most_axes and 0 not in self.shape[-3:]
        has_channels = channels is None or self._num_channels in accepted(channels)
        if has_axes and has_channels:
            return
        axes_of_image = "C, H, W" if self.is_tensor else "H, W, C"
        expected = f"(B, {axes_of_image})" if most_axes == 4 else f"({axes_of_image})"
        if channels is not None:
            expected += f" with C = {' or '.join(map(str, accepted(channels)))}"
        message = f"{what} must have shape {expected}, {self._got}"
        remedy = self._remedy(most_axes, channels or 3)
        if remedy:
            message += f"; pass {remedy}"
        raise ValueError(message)

    def _check_type(self, what: str, most_axes: int) -> None:
        """Raise ValueError with a remedy unless the dtype is that of images."""
        name = self.dtype.removeprefix("torch.")
        is_float = name.startswith(("float", "bfloat"))
        are_probably_embeddings = len(self.shape) == 2 and most_axes == 4 and is_float
        if are_probably_embeddings:
            raise ValueError(
                f"{what} must have shape (B, H, W, C), {self._got}; {EMBEDDINGS}, and a grey image as `imgs[None]`"
            )
        if is_float or name in ("uint8", "uint16"):
            return
        remedy = self._remedy_of_dtype(name)
        raise ValueError(f"{what} must be uint8, uint16, or floating point in [0, 1], {self._got}{remedy}")

    def _remedy_of_dtype(self, name: str) -> str:
        """Return how values of a dtype with this name can be converted, as the end of a message.

        The text is empty if there is no obvious conversion.
        """
        if name == "bool":
            return "; pass `imgs * 1.0`"
        if "int" not in name:
            return ""
        to_uint8 = "imgs.to(torch.uint8)" if self.is_tensor else 'imgs.astype("uint8")'
        to_uint16 = to_uint8.replace("uint8", "uint16")
        return f"; pass `{to_uint8}` if they lie in 0 to 255, `{to_uint16}` if in 0 to 65535"

    @property
    def _got(self) -> str:
        """Part of an error message with the shape and dtype."""
        return f"but got shape {self.shape} and type {self.dtype}"

    @property
    def _num_channels(self) -> int:
        """Number of channels; 0 for arrays with fewer than two axes."""
        if len(self.shape) < 2:
            return 0
        # A greyscale image may have no channel axis.
        if len(self.shape) == 2:
            return 1
        channel_axis = -3 if self.is_tensor else -1
        return self.shape[channel_axis]

    def _remedy(self, most_axes: int, channels: int) -> str:
        """Return how images of a wrong shape can be converted for a network with this number of channels.

        The text is empty if there is no obvious remedy.
        """
        num_axes = len(self.shape)
        if num_axes == 4 and most_axes == 3:
            return "one image at a time"
        if num_axes > 4:
            return "what is no image to a DNAExtractor with `inputs='any'`"
        if num_axes < 2 or 0 in self.shape:
            return ""
        if num_axes == 2:
            return _other_images_or_network(channels, self._num_channels)
        return self._remedy_of_channels(channels)

    def _remedy_of_channels(self, channels: int) -> str:
        """Return how images of three or four axes can be converted for a network with this number of channels."""
        num_channels = self._num_channels
        remedy = _REMEDIES[self.is_tensor, len(self.shape)]
        num_channels_in_other_order = self.shape[remedy.channel_axis]
        if num_channels_in_other_order in accepted(channels):
            return f"`{remedy.move_channels}`"
        if num_channels == 4 and 3 in accepted(channels):
            return f"`{remedy.first_channels}`, or {own_network(4)}"
        if self._may_be_batch_of_grey and 1 in accepted(channels):
            return "`imgs[:, None]`" if self.is_tensor else "`imgs[..., None]`"
        # Either axis may be the channel axis. The shorter axis is more likely.
        return _other_images_or_network(channels, min(num_channels, num_channels_in_other_order))

    @property
    def _may_be_batch_of_grey(self) -> bool:
        """True if the shape may be that of a batch of greyscale images without a channel axis."""
        if len(self.shape) != 3:
            return False
        # In an array, the last axis is too long for channels if it is as long as another axis.
        return self.is_tensor or self._num_channels >= min(self.shape[:2])


def accepted(channels: int) -> tuple[int, ...]:
    """Return the accepted numbers of channels of arrays for a network with this number of channels."""
    return _GREY_OR_RGB if channels in _GREY_OR_RGB else (channels,)


def _other_images_or_network(channels: int, channels_of_images: int) -> str:
    """Return the remedy for images whose number of channels a network does not accept, as a noun phrase.

    Args:
        channels: Number of channels of the network.
        channels_of_images: Number of channels of the images.

    """
    return f"images of {' or '.join(map(str, accepted(channels)))} channels, or {own_network(channels_of_images)}"


def own_network(channels: int) -> str:
    """Return the remedy for images with this number of channels, as a noun phrase."""
    return f"a DNAExtractor of your own network with `channels={channels}`"
