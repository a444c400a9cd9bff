"""Inception-v3 of FID: the TensorFlow network of 2015-12-05. Its pooling differs from torchvision's network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d
from torchvision.models.inception import BasicConv2d, Inception3, InceptionA, InceptionC, InceptionE
from typing_extensions import override


def fid_inception() -> nn.Module:
    """Build torchvision's Inception-v3 with the pooling and the classes of TensorFlow's network.

    The logits have no bias.
    """
    network = Inception3(aux_logits=False, init_weights=False)
    network.fc = nn.Linear(2048, 1008, bias=False)
    network.Mixed_5b = _A(192, pool_features=32)
    network.Mixed_5c = _A(256, pool_features=64)
    network.Mixed_5d = _A(288, pool_features=64)
    network.Mixed_6b = _C(768, channels_7x7=128)
    network.Mixed_6c = _C(768, channels_7x7=160)
    network.Mixed_6d = _C(768, channels_7x7=160)
    network.Mixed_6d.branch1x1 = _Spatial(768, 192, kernel_size=1)
    network.Mixed_6e = _C(768, channels_7x7=192)
    network.Mixed_7b = _E(1280, _average)
    network.Mixed_7c = _E(2048, partial(max_pool2d, kernel_size=3, stride=1, padding=1))
    return cast("nn.Module", network)


def _average(x: Tensor) -> Tensor:
    """Average over 3 x 3 positions without the padding. torchvision's network includes the padding."""
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _Spatial(BasicConv2d):  # type: ignore[misc]
    """Convolution whose first seven channels, at all positions, are the output of a submodule.

    The evaluator of ADM computes sFID from these values.
    """

    def __init__(self, in_channels: int, out_channels: int, **kwargs: int) -> None:
        super().__init__(in_channels, out_channels, **kwargs)
        self.first_channels = nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = super().forward(x)
        self.first_channels(output[:, :7].flatten(1))
        return output


class _A(InceptionA):  # type: ignore[misc]
    """Block A with TensorFlow's pooling."""

    @override
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_average(x)),
        ]


class _C(InceptionC):  # type: ignore[misc]
    """Block C with TensorFlow's pooling."""

    @override
    def _forward(self, x: Tensor) -> list[Tensor]:
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(twice)),
            self.branch_pool(_average(x)),
        ]


class _E(InceptionE):  # type: ignore[misc]
    """Block E with another pooling function."""

    def __init__(self, in_channels: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__(in_channels)
        self._pool = pool

    @override
    def _forward(self, x: Tensor) -> list[Tensor]:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(once), self.branch3x3_2b(once)], 1),
            torch.cat([self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)], 1),
            self.branch_pool(self._pool(x)),
        ]
