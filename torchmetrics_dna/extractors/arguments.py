"""Checks of the arguments of ``DNAExtractor`` that concern several arguments at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.images.inputs import ROWS
from torchmetrics_dna.images.noun import is_identity
from torchmetrics_dna.images.properties import LAYER

# Default values of arguments about images. If an argument has none of these values, the user passed it.
_DEFAULTS = (None, False, "none", 3)


def autocast_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return the dtype of torch's autocast that the argument ``dtype`` names, or None if it is None.

    Raises:
        ValueError: If the dtype is neither float16 nor bfloat16.

    """
    named: Any = dtype
    if isinstance(dtype, str):
        # A name that torch does not have stays a text, which is refused below.
        named = getattr(torch, dtype, dtype)
    if named not in (None, torch.float16, torch.bfloat16):
        raise ValueError(f"Argument `dtype` expected to be 'float16', 'bfloat16' or None, but got {dtype!r}")
    return named  # type: ignore[no-any-return]


def check_inputs(
    inputs: str,
    example: object,
    channels_last: object,
    feature: object,
    layers: Sequence[str] | None,
    about_images: Mapping[str, Any],
) -> None:
    """Raise ValueError unless the arguments of ``DNAExtractor`` about its inputs go together.

    Args:
        inputs: Argument ``inputs``.
        example: Argument ``example``.
        channels_last: Argument ``channels_last``.
        feature: Argument ``feature``.
        layers: Argument ``layers``.
        about_images: Arguments by name that must have their defaults for inputs other than images.

    """
    check_one_of("inputs", inputs, Literal["images", "any"])
    if is_identity(feature):
        _check_rows(feature, inputs, example, layers)
    if inputs == "images":
        _check_no_other_inputs(example, channels_last)
        return
    if example is None:
        raise ValueError("Argument `inputs` is 'any', so `example` expected to be a batch of inputs, but got None")
    if not isinstance(feature, nn.Module) and not is_identity(feature):
        raise ValueError(f"Argument `inputs` is 'any', so `feature` expected to be a module, but got {feature!r}")
    for name, value in about_images.items():
        if value not in _DEFAULTS:
            raise ValueError(f"Argument `{name}` is for pictures, but `inputs` is 'any'")
    if LAYER in (layers or ()):
        raise ValueError(f"Argument `layers` has {LAYER!r}, which are for pictures, but `inputs` is 'any'")


def _check_rows(feature: object, inputs: str, example: object, layers: Sequence[str] | None) -> None:
    """Raise ValueError unless the arguments fit a feature for embeddings."""
    has_example_of_rows = inputs == "any" and isinstance(example, Tensor)
    has_layers = layers is not None
    if not has_example_of_rows or has_layers:
        raise ValueError(
            f"Feature {feature!r} takes embeddings, which have no layers; pass `inputs='any'` and, as `example`, a"
            " batch of them (N, D)"
        )
    ROWS.check(example)


def _check_no_other_inputs(example: object, channels_last: object) -> None:
    """Raise ValueError if an argument was passed that is only for inputs other than images."""
    if example is not None:
        raise ValueError("Argument `example` requires `inputs='any'`; omit it, or pass both")
    if channels_last is not False:
        raise ValueError("Argument `channels_last` requires `inputs='any'`; omit it, or pass both")
