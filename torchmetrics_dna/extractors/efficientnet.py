"""EfficientNet-Lite0, the default network. It does not need timm, whose import takes longer than a small comparison."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, hardtanh, pad


class _Stage(NamedTuple):
    """Settings of a stage.

    Attributes:
        kernel: Size of the depthwise kernels.
        stride: Stride of the first block.
        expansion: Factor by which a block expands its channels.
        channels: Number of output channels.
        num_blocks: Number of blocks.

    """

    kernel: int
    stride: int
    expansion: int
    channels: int
    num_blocks: int


# Tan & Le, EfficientNet, 2019, Table 1.
_STAGES = (
    _Stage(3, 1, 1, 16, 1),
    _Stage(3, 2, 6, 24, 2),
    _Stage(5, 2, 6, 40, 2),
    _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3),
    _Stage(5, 2, 6, 192, 4),
    _Stage(3, 1, 6, 320, 1),
)
# Epsilon of batch normalization in TensorFlow, where the weights were trained.
_EPS = 1e-3


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its head.

    The tensors have the names and the order of timm's ``tf_efficientnet_lite0``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _Conv(3, 32, 3, stride=2)
        self.bn1 = _NormAct(32, eps=_EPS)
        stages = []
        channels = 32
        for stage in _STAGES:
            blocks = []
            for i in range(stage.num_blocks):
                stride = stage.stride if i == 0 else 1
                blocks.append(_Block(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _Conv(channels, 1280, 1)
        self.bn2 = _NormAct(1280, eps=_EPS)
        # This layer is in the file of weights, but does not run.
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, imgs: Tensor) -> Tensor:
        """Return the head's maps, shape ``(B, 1280, H / 32, W / 32)``."""
        maps = self.blocks(self.bn1(self.conv_stem(imgs)))
        output: Tensor = self.bn2(self.conv_head(maps))
        return output


class _Block(nn.Module):
    """Inverted residual block: expand the channels, convolve each channel, project to the output channels.

    A ReLU6 follows the expansion and the convolution of channels. With an expansion of 1, the first step is left out.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.has_residual = stride == 1 and in_channels == out_channels
        # `forward` runs the layers in the order of these lines.
        if expansion == 1:
            self.conv_dw = _Conv(width, width, kernel, stride=stride, groups=width)
            self.bn1 = _NormAct(width, eps=_EPS)
            self.conv_pw = _Conv(width, out_channels, 1)
            self.bn2 = nn.BatchNorm2d(out_channels, eps=_EPS)
        else:
            self.conv_pw = _Conv(in_channels, width, 1)
            self.bn1 = _NormAct(width, eps=_EPS)
            self.conv_dw = _Conv(width, width, kernel, stride=stride, groups=width)
            self.bn2 = _NormAct(width, eps=_EPS)
            self.conv_pwl = _Conv(width, out_channels, 1)
            self.bn3 = nn.BatchNorm2d(out_channels, eps=_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of the block."""
        values = maps
        for layer in self.children():
            values = layer(values)
        if self.has_residual:
            values += maps
        return values


class _NormAct(nn.BatchNorm2d):
    """Batch normalization, then ReLU6.

    On a CPU, it writes to its input, the output of a convolution that nothing else reads. The memory of a new output
    would make the network about a tenth slower.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        is_inference = not self.training and not torch.is_grad_enabled()
        if is_inference and input.is_cpu and input.dtype == torch.float32:
            # torch also returns the statistics of the batch, which are empty in evaluation mode.
            outputs = (input, torch.empty(0), torch.empty(0))
            torch.native_batch_norm(
                input, self.weight, self.bias, self.running_mean, self.running_var, False, 0, self.eps, out=outputs
            )
        elif not input.is_meta:
            input = super().forward(input)  # noqa: A001
        # On the meta device, only this write is of interest: it shows that the output of the convolution changes.
        return hardtanh(input, 0, 6, inplace=True)


class _Conv(nn.Conv2d):
    """Convolution without bias that pads like TensorFlow, for stride 1 or 2.

    With stride 2, TensorFlow pads an even number of rows with one row of zeros less above than below. The same holds
    for columns.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Convolve a batch of maps."""
        stride, _ = self.stride
        if stride == 1:
            return super().forward(input)
        kernel_size, _ = self.kernel_size
        height, width = input.shape[-2:]
        padding = kernel_size // 2
        # Number of columns and rows of zeros that TensorFlow adds less than PyTorch, on the left and above.
        less_left = 1 - width % 2
        less_above = 1 - height % 2
        if input.device.type == "cpu":
            # Padding the kernel with zeros has the same effect, and is faster than a padded copy of the maps.
            weight = pad(self.weight, [less_left, 0, less_above, 0])
            return conv2d(input, weight, None, stride, padding, groups=self.groups)
        left = padding - less_left
        above = padding - less_above
        return super().forward(pad(input, [left, padding, above, padding]))
