"""EfficientNet-Lite0, the default network, without timm, whose import takes longer than comparing a few images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d, hardtanh, pad

# Kernel, stride, expansion, output channels and number of blocks of each stage: Tan & Le, EfficientNet, 2019, Table 1.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Epsilon of batch normalization in TensorFlow, where the weights were trained.
_EPS = 1e-3


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its head; tensors have the names and the order of timm's ``tf_efficientnet_lite0``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _Conv(3, 32, 3, stride=2)
        self.bn1 = _NormAct(32, eps=_EPS)
        stages = []
        channels = 32
        for kernel, stride, expansion, out_channels, num_blocks in _STAGES:
            blocks = []
            for i in range(num_blocks):
                stride_of_block = stride if i == 0 else 1
                blocks.append(_Block(channels, out_channels, kernel, stride_of_block, expansion))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _Conv(channels, 1280, 1)
        self.bn2 = _NormAct(1280, eps=_EPS)
        # The file of weights has this layer, but it does not run.
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, imgs: Tensor) -> Tensor:
        """Return the head's maps, shape ``(B, 1280, H / 32, W / 32)``."""
        maps = self.blocks(self.bn1(self.conv_stem(imgs)))
        output: Tensor = self.bn2(self.conv_head(maps))
        return output


class _Block(nn.Module):
    """Inverted residual: expand (unless by 1), convolve each channel, project; ReLU6 after the first two."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.has_residual = stride == 1 and in_channels == out_channels
        # The order of the layers is the one in which they run.
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
    """Batch normalization, then ReLU6."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return hardtanh(super().forward(input), 0, 6, inplace=True)


class _Conv(nn.Conv2d):
    """Convolution without bias that pads as TensorFlow does: with a stride, more after than before."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        (step, _), (kernel, _) = self.stride, self.kernel_size
        if step == 1:
            return super().forward(input)
        height, width = input.shape[-2:]
        full = kernel // 2
        # If the number of rows or columns is even, one less is added before them than after them.
        less_left = 1 - width % 2
        less_above = 1 - height % 2
        if input.device.type == "cpu":
            # Padding the kernel with zeros has the same effect, and is faster than a padded copy of the maps.
            weight = pad(self.weight, [less_left, 0, less_above, 0])
            return conv2d(input, weight, None, step, full, groups=self.groups)
        return super().forward(pad(input, [full - less_left, full, full - less_above, full]))
